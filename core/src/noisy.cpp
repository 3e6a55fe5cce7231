#include "ness/core/noisy.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "ness/core/random.hpp"
#include "number_text.hpp"

namespace ness {
namespace {

// Channels of normal_at: one block of 2^28 for each source of noise.
constexpr std::uint32_t read_channels = 0;
constexpr std::uint32_t drift_channels = 1u << 28;
constexpr std::uint32_t write_channels = 2u << 28;
constexpr std::uint32_t variation_channels = 3u << 28;

double rounded(double value, double resolution) { return resolution > 0 ? std::round(value / resolution) * resolution : value; }

}  // namespace

std::string NoiseOptions::problem() const {
  const std::pair<const char*, double> all[] = {
      {"read", read}, {"write", write}, {"variation", variation}, {"drift", drift}, {"resolution", resolution}};
  for (const auto& [name, value] : all) {
    if (!(value >= 0) || std::isinf(value))
      return std::string(name) + " " + number_text(value) + "; it must be finite and >= 0";
  }
  return {};
}

Noisy::Noisy(Device& device, const NoiseOptions& options) : device_(device), options_(options), info_(device.info()) {
  if (const std::string problem = options.problem(); !problem.empty()) throw std::invalid_argument("noise: " + problem);
  if (options.any()) info_.identity += " with noise";
  // Variation and resolution alter every relaxation alike.
  if (options.read > 0 || options.write > 0 || options.drift > 0) info_.deterministic = false;
  offset_ = Vector::Zero(static_cast<Eigen::Index>(info_.read().size()));
}

void Noisy::seek(std::uint64_t ordinal) {
  ordinal_ = ordinal;
  device_.seek(ordinal);
}

Vector Noisy::variation() const {
  Vector deviation = Vector::Zero(static_cast<Eigen::Index>(info_.parameters.size()));
  for (Eigen::Index i = 0; i < deviation.size() && options_.variation > 0; ++i) {
    deviation[i] = options_.variation * normal_at(options_.seed, 0, variation_channels + static_cast<std::uint32_t>(i));
  }
  return deviation;
}

double Noisy::imposed(std::uint32_t parameter, double setpoint, std::uint64_t ordinal) const {
  const ParameterInfo& info = info_.parameters[parameter];
  double deviation = 0;
  if (options_.variation > 0) deviation += options_.variation * normal_at(options_.seed, 0, variation_channels + parameter);
  // A constant of the device is not written.
  if (info.trainable) {
    setpoint = rounded(setpoint, options_.resolution);
    if (options_.write > 0) deviation += options_.write * normal_at(options_.seed, ordinal, write_channels + parameter);
  }
  const double value = info.scale == Scale::log ? setpoint * std::exp(deviation) : setpoint + deviation;
  return std::clamp(value, info.range.low, info.range.high);
}

Parameters Noisy::imposed(const Parameters& theta, std::uint64_t ordinal) const {
  Vector values = *theta.base;
  for (Eigen::Index i = 0; i < values.size(); ++i) values[i] = imposed(static_cast<std::uint32_t>(i), values[i], ordinal);
  return Parameters::of(std::move(values));
}

Pattern Noisy::imposed(const Pattern& clamp) const {
  Vector levels = clamp.levels();
  const std::vector<std::uint32_t> clamped = info_.clamped();
  for (Eigen::Index i = 0; i < levels.size(); ++i) {
    const Range& range = info_.terminals[clamped[static_cast<std::size_t>(i)]].level;
    levels[i] = std::clamp(rounded(levels[i], options_.resolution), range.low, range.high);
  }
  return pattern_of(levels);
}

void Noisy::advance_drift(std::uint64_t ordinal) {
  if (options_.drift == 0) return;
  // The walk is summed from its beginning, in order, so that a resumed run sees the same bits.
  if (ordinal + 1 < drift_steps_) {
    drift_steps_ = 0;
    offset_.setZero();
  }
  for (; drift_steps_ <= ordinal; ++drift_steps_) {
    for (Eigen::Index k = 0; k < offset_.size(); ++k) {
      offset_[k] += options_.drift * normal_at(options_.seed, drift_steps_, drift_channels + static_cast<std::uint32_t>(k));
    }
  }
}

Relaxation Noisy::read(Relaxation relaxation, std::uint64_t ordinal) {
  advance_drift(ordinal);
  relaxation.potential += offset_;
  if (options_.read == 0) return relaxation;
  for (Eigen::Index k = 0; k < relaxation.potential.size(); ++k) {
    relaxation.potential[k] += options_.read * normal_at(options_.seed, ordinal, read_channels + static_cast<std::uint32_t>(k));
  }
  if (relaxation.sigma.size() == 0) relaxation.sigma = Vector::Zero(relaxation.potential.size());
  relaxation.sigma = (relaxation.sigma.array().square() + options_.read * options_.read).sqrt().matrix();
  return relaxation;
}

void Noisy::do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) {
  const std::uint64_t first = ordinal_;
  std::vector<Drive> altered(drives.begin(), drives.end());
  const Vector* last_base = nullptr;
  Parameters last;
  for (std::size_t i = 0; i < altered.size(); ++i) {
    const Parameters& asked = drives[i].theta;
    if (options_.write > 0 || asked.base.get() != last_base) {
      last = imposed(asked, first + i);
      last_base = asked.base.get();
    }
    altered[i].theta = last;
    altered[i].theta.overrides = asked.overrides;
    for (auto& [parameter, value] : altered[i].theta.overrides) value = imposed(parameter, value, first + i);
    if (options_.resolution > 0) altered[i].clamp = imposed(drives[i].clamp);
  }
  device_.relax(
      altered,
      [&](std::size_t index, const Relaxation& relaxation) {
        ordinal_ = first + index + 1;
        sink(index, read(relaxation, first + index));
      },
      stop);
}

SafeReport Noisy::do_make_safe(std::chrono::milliseconds budget, SafeProfile profile) { return device_.make_safe(budget, profile); }

}  // namespace ness
