// A step, and how readings follow it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "ness/core/device.hpp"

namespace ness::wiring {

struct StepOptions {
  double shortest = 1e-6, longest = 60;  ///< of the device's time
  Vector noise;                          ///< [n_read] standard deviation of one reading, kT
  std::uint32_t samples = 4;             ///< of a reading that is to be settled
};

/// One reading's answer.
struct Follow {
  double change = 0;          ///< from settled to settled, kT
  bool clear = false;         ///< it is large enough beside the noise to be followed
  std::optional<double> tau;  ///< time constant of the slowest decay seen
  double bound = 0;           ///< where there is none: it is at most this
};

/// One relaxation.
using Relax = std::function<Relaxation(const Drive&)>;

/// Relaxes until waiting twice as long changes nothing beyond `least`, [n_read], or takes longer than `longest`: a network's time constants are not known
/// before they are measured, and no settle rule is better than the one it was given. The last reading, and how long was waited.
struct Rested {
  Vector potential;
  double waited = 0;
};
Rested rest(const Relax& relax, Drive drive, const Vector& least, const StepOptions& options);

struct Followed {
  std::vector<Follow> reading;  ///< [n_read]
  double end = 0;               ///< read so long after a change, and nothing of it is left
};
/// Steps from `before` to `after` (from the present state), again and again, reading at ever later times after it.
Followed follow_step(const Relax& relax, const Drive& before, const Drive& after, const StepOptions& options);

}  // namespace ness::wiring
