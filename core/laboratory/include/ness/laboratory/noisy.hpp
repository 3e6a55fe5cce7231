// A device with the shortcomings of a laboratory, around any other device.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ness/device/wrapping_device.hpp"

namespace ness {

/// Each source of noise alone, or together. "In its scale" means for a parameter: linear: absolute, in its unit; log: relative (the
/// logarithm deviates). Relaxation number `ordinal` is read, and its parameters are imposed, at time ordinal + 1 of every drift.
struct NoiseOptions {
  std::uint64_t seed = 0;

  // Of what is read.
  double read = 0;          ///< standard deviation of each potential reading (kT); reported in Relaxation::sigma
  double read_current = 0;  ///< standard deviation of each measured current (units of current); reported in current_sigma, which is
                            ///< then NaN where a current is
  double drift = 0;         ///< random walk of each reading's offset: standard deviation per square root of a relaxation (kT)
  double drift_rate = 0;    ///< steady drift of each reading's offset, kT per relaxation, up or down: a sign drawn for each reading
  double flicker = 0;       ///< 1/f noise of each reading, standard deviation (kT): flicker_octaves independent Ornstein-Uhlenbeck processes
                            ///< of equal variance, of correlation times 1, 2, 4, .. 2^19 relaxations. No drift and no flicker is part of sigma.
  static constexpr std::uint32_t flicker_octaves = 20;

  // Of what is imposed. Constants of the device (not trainable) are not written, and do not drift.
  double write = 0;         ///< standard deviation of each parameter as imposed, in its scale, anew in each relaxation
  double variation = 0;     ///< fixed deviation of each parameter from its setpoint, in its scale: one device of many. Constants deviate too.
  double parameter_drift = 0;       ///< random walk of each parameter away from its setpoint, in its scale, per square root of a relaxation
  double parameter_drift_rate = 0;  ///< steady drift of each parameter, in its scale, per relaxation, with a sign drawn for each
  double jump_rate = 0;     ///< charge jumps: probability in each relaxation that a parameter of `jump_kinds` is shifted for good
  double jump_size = 0;     ///< standard deviation of each such shift, in the parameter's scale (kT for levels). Constants jump too.
  std::vector<std::string> jump_kinds{"a"};  ///< ParameterInfo::kind; the device must have each
  double cross_talk = 0;    ///< each knob moves the others of its kind: value_i = setpoint_i + sum over j != i of X_ij setpoint_j, for the n
                            ///< trainable parameters of a kind in linear scale, X_ij fixed and normal with deviation cross_talk / sqrt(n - 1)
  static constexpr std::size_t cross_talk_limit = 2000;  ///< the largest n
  double resolution = 0;    ///< setpoints of parameters, clamped levels and holds are rounded to multiples of this; 0: not
  double nudge_resolution = 0;  ///< nudges are rounded to multiples of this (units of current); 0: not
  bool readback = false;    ///< Relaxation::theta_readback is what the sources were told: setpoints after rounding, without any deviation

  /// Empty if usable; otherwise the reason.
  std::string problem() const;
  /// True if a device with these is not the device itself.
  bool any() const;
  /// True if the same drive need not give the same reading again.
  bool varies_in_time() const;
};

/// Adds noise to another device. Every number drawn is a function of (seed, ordinal of the relaxation, channel), so that
/// threads, batches, order and resuming change nothing; what jumps is summed from its first jump. Values that leave a
/// parameter's, level's or nudge's range are put at its end. Outlives neither: keeps a reference to the device.
class Noisy final : public WrappingDevice {
 public:
  /// Throws std::invalid_argument for unusable options, for jump_kinds that the device has not, and for cross-talk where no two
  /// knobs couple, or more than cross_talk_limit of a kind.
  Noisy(Device& device, const NoiseOptions& options);
  ~Noisy() override;
  const DeviceInfo& info() const override { return info_; }
  /// Throws std::invalid_argument for ordinals of 2^62 and more.
  void seek(std::uint64_t ordinal) override;
  /// The fixed deviation of each parameter from its setpoint, in its scale, [n_parameters]: what a calibration should find.
  Vector variation() const;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override;

 private:
  class Knobs;    // parameters, on their way to the device
  class Offsets;  // of readings
  Pattern imposed(const Pattern& clamp) const;
  void round_sources(Drive& drive) const;
  Relaxation read(Relaxation relaxation, std::uint64_t ordinal, const Observe& observe);
  NoiseOptions options_;
  DeviceInfo info_;
  std::vector<std::uint32_t> clamped_, nudgeable_;
  std::uint64_t ordinal_ = 0;
  std::unique_ptr<Knobs> knobs_;
  std::unique_ptr<Offsets> offsets_;
};

}  // namespace ness
