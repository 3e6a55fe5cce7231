// A step, and how readings follow it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "ness/device/device.hpp"

namespace ness::wiring {

struct StepOptions {
  double shortest = 1e-6, longest = 60;  ///< of the device's time
  double known = 1e-6;                   ///< what an earlier step took to its end
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

/// Relaxes until the readings have moved by `far` (a length, kT) from `from`, and waiting twice as long changes none by more than `least`, [n_read]; or until that takes
/// longer than `longest`. A network's time constants are not known before they are measured: no settle rule helps, and what does not move may only be slow.
struct Rested {
  Vector potential;
  double waited = 0;
  bool reached = false;  ///< moved so far, and at rest
};
Rested rest(const Relax& relax, Drive drive, const Vector& from, double far, const Vector& least, const StepOptions& options);

struct Followed {
  std::vector<Follow> reading;  ///< [n_read]
  double end = 0;               ///< read so long after a change, and nothing of it is left
};
/// Steps from `before` to `after` (from the present state), again and again, reading at ever later times after it. `expected`: how far the step should move
/// the readings, kT; where it does not, after `longest` nothing is said.
Followed follow_step(const Relax& relax, const Drive& before, const Drive& after, double expected, const StepOptions& options);

}  // namespace ness::wiring
