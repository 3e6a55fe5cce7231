#include "ness/device/random.hpp"

#include <cmath>
#include <numbers>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace ness {
namespace {

// The fourth word of the counter separates the families: Random uses the high half of its stream number there
// (streams are small numbers), functions of an ordinal use these constants.
constexpr std::uint32_t uniform_family = 0x756e6966;
constexpr std::uint32_t normal_family = 0x6e6f726d;

std::uint32_t low_word(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
std::uint32_t high_word(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }
std::uint64_t joined(std::uint32_t high, std::uint32_t low) { return (std::uint64_t{high} << 32) | low; }

// 53 bits, so that every value is a double without rounding.
double in_unit_interval(std::uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

double box_muller(std::uint64_t radius_bits, std::uint64_t angle_bits) {
  const double u = static_cast<double>((radius_bits >> 11) + 1) * 0x1p-53;  // (0, 1]: its logarithm is finite
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * in_unit_interval(angle_bits));
}

std::array<std::uint32_t, 4> words_at(std::uint64_t seed, std::uint64_t ordinal, std::uint32_t channel,
                                      std::uint32_t family) {
  return philox({low_word(ordinal), high_word(ordinal), channel, family}, {low_word(seed), high_word(seed)});
}

}  // namespace

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {high_word(b) ^ counter[1] ^ key[0], low_word(b), high_word(a) ^ counter[3] ^ key[1],
               low_word(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

double uniform_at(std::uint64_t seed, std::uint64_t ordinal, std::uint32_t channel) {
  const auto words = words_at(seed, ordinal, channel, uniform_family);
  return in_unit_interval(joined(words[1], words[0]));
}

double normal_at(std::uint64_t seed, std::uint64_t ordinal, std::uint32_t channel) {
  const auto words = words_at(seed, ordinal, channel, normal_family);
  return box_muller(joined(words[1], words[0]), joined(words[3], words[2]));
}

std::uint64_t Random::next() {
  const auto words = philox({low_word(counter_), high_word(counter_), low_word(stream_), high_word(stream_)},
                            {low_word(seed_), high_word(seed_)});
  ++counter_;
  return joined(words[1], words[0]);
}

double Random::uniform() { return in_unit_interval(next()); }

double Random::uniform(double low, double high) {
  const double x = low + (high - low) * uniform();
  return x < high ? x : std::nextafter(high, low);  // rounding may reach `high`, which is outside
}

double Random::normal() {
  const std::uint64_t radius = next();
  return box_muller(radius, next());
}

std::uint64_t Random::below(std::uint64_t n) {
  if (n == 0)
    throw std::invalid_argument("Random::below(0): there is no number below 0; n must be at least 1");
  // 2^64 mod n: this many of the lowest values would make small results more likely
  const std::uint64_t biased = (~n + 1) % n;
  std::uint64_t x = next();
  while (x < biased) x = next();
  return x % n;
}

std::vector<std::uint64_t> Random::permutation(std::uint64_t n) {
  std::vector<std::uint64_t> order(n);
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  for (std::uint64_t i = n; i > 1; --i) std::swap(order[i - 1], order[below(i)]);
  return order;
}

}  // namespace ness
