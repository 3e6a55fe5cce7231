// Measurement of a step response.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "ness/device/device.hpp"

namespace ness::wiring {

struct StepOptions {
  double shortest = 1e-6, longest = 60;  ///< of the device's time
  double known = 1e-6;                   ///< duration of an earlier step response
  Vector noise;                          ///< [n_read] standard deviation of one reading, kT
  std::uint32_t samples = 4;             ///< readings averaged for a settled one
};

/// The response of one reading.
struct Follow {
  double change = 0;          ///< between settled values, kT
  bool clear = false;         ///< large enough compared with the noise
  std::optional<double> tau;  ///< time constant of the slowest decay seen
  double bound = 0;           ///< upper bound of tau, if tau is not known
};

/// One relaxation.
using Relax = std::function<Relaxation(const Drive&)>;

/// Relaxes until the readings have moved by `far` (a length, kT) from `from`, and a wait twice as long
/// changes none by more than `least`, [n_read]; or until a wait reaches `longest`. The time constants are not
/// known yet, so no settling rule helps, and readings that do not move may only be slow.
struct Rested {
  Vector potential;
  double waited = 0;
  bool reached = false;  ///< moved by `far`, and at rest
};
Rested rest(const Relax& relax, Drive drive, const Vector& from, double far, const Vector& least,
            const StepOptions& options);

struct Followed {
  std::vector<Follow> reading;  ///< [n_read]
  double end = 0;               ///< time after a change when nothing of it is left
};
/// Steps from `before` to `after` repeatedly, starting from the present state, and reads at later and later
/// times after the step. `expected`: expected movement of the readings, kT; if they have not moved after
/// `longest`, the result is empty.
Followed follow_step(const Relax& relax, const Drive& before, const Drive& after, double expected,
                     const StepOptions& options);

}  // namespace ness::wiring
