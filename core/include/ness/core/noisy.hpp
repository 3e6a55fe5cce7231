// A device with the shortcomings of a laboratory, around any other device.
#pragma once

#include <cstdint>
#include <string>

#include "ness/core/device.hpp"

namespace ness {

struct NoiseOptions {
  std::uint64_t seed = 0;
  double read = 0;          ///< standard deviation of each potential reading (kT)
  double write = 0;         ///< standard deviation of each parameter as imposed, in its scale (linear: absolute, log: relative);
                            ///< constants of the device (not trainable) are not written
  double variation = 0;     ///< fixed deviation of each parameter from its setpoint, in its scale: one device of many
  double drift = 0;         ///< random walk of each reading's offset: standard deviation per square root of a relaxation (kT)
  double resolution = 0;    ///< parameters and clamped levels are rounded to multiples of this; 0: not
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
  bool any() const { return read > 0 || write > 0 || variation > 0 || drift > 0 || resolution > 0; }
};

/// Adds noise to another device. Every number drawn is a function of (seed, ordinal of the relaxation, channel), so that
/// threads, order and resuming change nothing. Outlives neither: keeps a reference to the device.
class Noisy final : public Device {
 public:
  /// Throws std::invalid_argument for unusable options.
  Noisy(Device& device, const NoiseOptions& options);
  const DeviceInfo& info() const override { return info_; }
  void seek(std::uint64_t ordinal) override;
  /// The fixed deviation of each parameter from its setpoint, in its scale, [n_parameters]: what a calibration should find.
  Vector variation() const;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override;
  SafeReport do_make_safe(std::chrono::milliseconds budget, SafeProfile profile) override;

 private:
  double imposed(std::uint32_t parameter, double setpoint, std::uint64_t ordinal) const;
  Parameters imposed(const Parameters& theta, std::uint64_t ordinal) const;
  Pattern imposed(const Pattern& clamp) const;
  Relaxation read(Relaxation relaxation, std::uint64_t ordinal);
  void advance_drift(std::uint64_t ordinal);
  Device& device_;
  NoiseOptions options_;
  DeviceInfo info_;
  std::uint64_t ordinal_ = 0;
  Vector offset_;                  // accumulated drift of each reading after drift_steps_ relaxations
  std::uint64_t drift_steps_ = 0;
};

}  // namespace ness
