// Random numbers as a function of (seed, stream, counter): the same anywhere, in any order, on any number of
// threads.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace ness {

/// Philox4x32-10 (Salmon et al., SC'11): four random 32-bit words from a 128-bit counter and a 64-bit key.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// A uniform number in [0, 1) with 53 random bits, a function of its arguments alone.
double uniform_at(std::uint64_t seed, std::uint64_t ordinal, std::uint32_t channel);

/// A standard normal number (Box-Muller), a function of its arguments alone. `channel` < 2^30.
double normal_at(std::uint64_t seed, std::uint64_t ordinal, std::uint32_t channel);

/// A sequence of random numbers: local, seeded, copied with its state. Streams of one seed are independent.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  double uniform();                                         ///< in [0, 1)
  double uniform(double low, double high);                  ///< in [low, high)
  double normal();                                          ///< mean 0, standard deviation 1
  std::uint64_t below(std::uint64_t n);                     ///< in {0, .., n-1}, without bias; n >= 1
  std::vector<std::uint64_t> permutation(std::uint64_t n);  ///< of 0 .. n-1 (Fisher-Yates)

 private:
  std::uint64_t next();
  std::uint64_t seed_, stream_, counter_ = 0;
};

}  // namespace ness
