// The imperfections of laboratory devices, added to any other device: noise, drift, variation, rounding.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ness/device/wrapping_device.hpp"

namespace ness {

/// Each is off at its default; they may be combined. "In its scale" means for a parameter: linear: absolute,
/// in its unit; log: relative (of the logarithm). For drifts, relaxation number `ordinal` takes place at time
/// ordinal + 1.
struct NoiseOptions {
  std::uint64_t seed = 0;

  // Readings.
  double read = 0;  ///< standard deviation of each potential reading (kT); reported in Relaxation::sigma
  double read_current = 0;  ///< standard deviation of each measured current (units of current); reported in
                            ///< current_sigma, which is then NaN where a current is
  /// Random walk of each reading's offset: standard deviation per square root of a relaxation (kT)
  double drift = 0;
  double drift_rate = 0;  ///< steady drift of each reading's offset, kT per relaxation, up or down: a sign
                          ///< drawn for each reading
  double flicker = 0;     ///< 1/f noise of each reading, standard deviation (kT): flicker_octaves independent
                       ///< Ornstein-Uhlenbeck processes of equal variance, of correlation times 1, 2, 4, ..
                       ///< 2^19 relaxations. No drift and no flicker is part of sigma.
  static constexpr std::uint32_t flicker_octaves = 20;

  // Parameters and levels. Constants of the device (not trainable) are not written, and do not drift.
  /// Standard deviation of each parameter from its setpoint, in its scale, drawn for each relaxation
  double write = 0;
  double variation = 0;  ///< standard deviation of a fixed deviation of each parameter, constants included,
                         ///< in its scale: one device differs from the next
  /// Standard deviation of a fixed relative error of each trainable parameter's gate: linear: value = (1 +
  /// error) setpoint; log: ln value = (1 + error) ln setpoint
  double gate_gain = 0;
  double parameter_drift = 0;  ///< random walk of each parameter away from its setpoint, in its scale, per
                               ///< square root of a relaxation
  /// Steady drift of each parameter, in its scale, per relaxation, with a sign drawn for each
  double parameter_drift_rate = 0;
  /// Charge jumps: probability per relaxation that a parameter of `jump_kinds` shifts permanently
  double jump_rate = 0;
  /// Standard deviation of a shift, in the parameter's scale (kT for levels); constants jump too
  double jump_size = 0;
  std::vector<std::string> jump_kinds{"a"};  ///< ParameterInfo::kind; the device must have each
  double cross_talk = 0;  ///< each parameter's setpoint moves the others of its kind: value_i = setpoint_i +
                          ///< sum over j != i of X_ij setpoint_j, for the n trainable parameters of a kind in
                          ///< linear scale, X_ij fixed and normal with deviation cross_talk / sqrt(n - 1)
  static constexpr std::size_t cross_talk_limit = 2000;  ///< the largest n
  /// Setpoints of parameters, clamped levels and holds are rounded to multiples of this; 0: off
  double resolution = 0;
  double nudge_resolution = 0;  ///< nudges are rounded to multiples of this (units of current); 0: off
  bool readback = false;  ///< Relaxation::theta_readback holds the rounded setpoints, without any deviation

  /// Empty if usable; otherwise the reason.
  std::string problem() const;
  /// True if any option is not at its default.
  bool any() const;
  /// True if readings of the same drive can differ.
  bool varies_in_time() const;
};

/// Adds noise to another device. Every random number is a function of (seed, ordinal of the relaxation,
/// channel), so that the results do not depend on threads, batches, order and resumption. Parameters, levels
/// and nudges that noise moves out of their range are set to its end. Keeps a reference to the device.
class Noisy final : public WrappingDevice {
 public:
  /// Throws std::invalid_argument for unusable options, for jump_kinds that the device does not have, and for
  /// cross-talk where no two parameters couple, or more than cross_talk_limit of a kind.
  Noisy(Device& device, const NoiseOptions& options);
  ~Noisy() override;
  const DeviceInfo& info() const override { return info_; }
  /// Throws std::invalid_argument for ordinals of 2^62 and more.
  void seek(std::uint64_t ordinal) override;
  /// The fixed deviation of each parameter from its setpoint, in its scale, [n_parameters]: what a
  /// calibration should find.
  Vector variation() const;
  /// The fixed deviation of each parameter at these setpoints [n_parameters], in its scale: `variation`,
  /// gains of gates and cross-talk, and the rounding of setpoints.
  Vector deviation(const Vector& setpoint) const;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override;

 private:
  class Imposed;  // parameters as the device gets them
  class Offsets;  // of readings
  Pattern imposed(const Pattern& clamp) const;
  void round_sources(Drive& drive) const;
  Relaxation read(Relaxation relaxation, std::uint64_t ordinal, const Observe& observe);
  void add_to_path(RowMatrix& path, const Vector& of_mean, std::uint64_t ordinal) const;
  NoiseOptions options_;
  DeviceInfo info_;
  std::vector<std::uint32_t> clamped_, nudgeable_;
  std::uint64_t ordinal_ = 0;
  std::unique_ptr<Imposed> imposed_;
  std::unique_ptr<Offsets> offsets_;
};

}  // namespace ness
