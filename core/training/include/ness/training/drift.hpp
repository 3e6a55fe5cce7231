// Drift of readings, followed by a relaxation that is made again and again.
#pragma once

#include <span>
#include <vector>

#include "ness/device/drive.hpp"
#include "ness/device/relaxation.hpp"

namespace ness {

/// Follows how far readings have drifted since a run began, by a reference relaxation whose drive never changes (its parameters, its
/// input, from rest). A reading of it that differs from the first is an offset of the meter, or a change of the device that looks like
/// one; its level and slope are smoothed (Holt's linear method: a drift that is linear in time is followed without lag). "Time" is
/// counted in relaxations.
class DriftMonitor {
 public:
  /// The first readings of the reference are averaged; they stand for no offset.
  void begin(std::span<const Relaxation> first);
  bool begun() const { return origin_.size() > 0; }
  /// A reading of the reference after `time` relaxations. Not usable ones are passed over.
  void observe(const Relaxation& row, double time);
  /// The offset of each reading at a time, kT, [n_read].
  Vector offset(double time) const;
  /// The readings with the offset taken off.
  void correct(Relaxation& row, double time) const;

  /// To save and restore bit for bit. restore throws std::invalid_argument for what is no state.
  Vector state() const;
  void restore(const Vector& state);

 private:
  Vector origin_, level_, slope_;
  double time_ = 0;
  std::uint64_t observed_ = 0;
};

}  // namespace ness
