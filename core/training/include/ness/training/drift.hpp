// Drift of readings, measured by one relaxation that is repeated throughout a run.
#pragma once

#include <span>
#include <vector>

#include "ness/device/drive.hpp"
#include "ness/device/relaxation.hpp"

namespace ness {

/// Estimates the drift of the readings since a run began, from a reference relaxation whose drive never
/// changes (parameters, input, start from rest). If its reading differs from the first one, the meter has an
/// offset, or the device has changed in a way that looks like one. Level and slope of the offset are smoothed
/// (Holt's linear method: a drift linear in time is followed without lag). Time is counted in relaxations.
class DriftMonitor {
 public:
  /// The mean of these first readings of the reference is the zero of the offset.
  void begin(std::span<const Relaxation> first);
  bool begun() const { return origin_.size() > 0; }
  /// A reading of the reference after `time` relaxations; ignored if it is not usable.
  void observe(const Relaxation& row, double time);
  /// The offset of each reading at a time, kT, [n_read].
  Vector offset(double time) const;
  /// Subtracts the offset from the readings.
  void correct(Relaxation& row, double time) const;

  /// Saved and restored bit for bit. restore throws std::invalid_argument for numbers that are not a state.
  Vector state() const;
  void restore(const Vector& state);

 private:
  Vector origin_, level_, slope_;
  double time_ = 0;
  std::uint64_t observed_ = 0;
};

}  // namespace ness
