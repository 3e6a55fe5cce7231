// A relaxation: everything observed while a device settled under one drive. One row of the log.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ness/device/vector.hpp"

namespace ness {

/// What can be wrong with a reading or a relaxation. Physics is reported here, never thrown.
enum class Flag : std::uint16_t {
  settled = 0,               ///< nothing is wrong
  drifting = 1 << 0,         ///< still moving beyond the settle bound
  timed_out = 1 << 1,        ///< the settle time ran out
  in_compliance = 1 << 2,    ///< a source limits: the level was not imposed
  over_range = 1 << 3,       ///< the meter's range was exceeded
  invalid = 1 << 4,          ///< no number was had
  oscillating = 1 << 5,      ///< does not come to rest: a limit cycle
  other_branch = 1 << 6,     ///< settled, but not on the branch of the state it started from
  no_stable_state = 1 << 7,  ///< this relaxation ends in no stable steady state
  not_converged =
      1 << 8,  ///< the solver could not decide: the potentials are the last iterate, not a steady state
  /// Settled, but small disturbances on the way would have led to another branch: noise or a tolerance
  /// decides.
  near_other_branch = 1 << 9,
};
constexpr std::uint16_t bit(Flag flag) { return static_cast<std::uint16_t>(flag); }

struct Quality {
  std::uint16_t whole = 0;              ///< flags of the relaxation
  std::vector<std::uint16_t> terminal;  ///< [n_read] flags of each reading; empty: all settled
  /// Held terminals whose source limits or is over range, where the device knows. For messages: not logged.
  std::vector<std::uint32_t> limited;

  void raise(Flag flag) { whole = static_cast<std::uint16_t>(whole | bit(flag)); }
  bool has(Flag flag) const { return (whole & bit(flag)) != 0; }
  /// All flags of the relaxation and its readings together.
  std::uint16_t all() const;
  /// True if the readings are those of a steady state (which branch it is on does not make them unusable).
  bool usable() const { return (all() & ~(bit(Flag::other_branch) | bit(Flag::near_other_branch))) == 0; }
};
/// "settled", or the names of the flags, joined by '+'.
std::string to_string_flags(std::uint16_t flags);

struct Timing {
  double start = 0;    ///< device time at which the drive was complete
  double settled = 0;  ///< device time of the verdict
  double read = 0;     ///< device time of the last reading
  double bound = 0;    ///< bound on |potential - steady state| (kT) at the verdict
};

/// Everything observed.
struct Relaxation {
  Vector potential;       ///< [n_read] settled means, kT, of the terminals DeviceInfo::read()
  Vector sigma;           ///< [n_read] their standard errors; empty where not measured
  Vector current;         ///< [n_terminals] measured currents into the network, NaN where not measured (free
                          ///< terminals: only while held); empty where none is
  Vector current_sigma;   ///< [n_terminals] their standard errors; empty where not known
  Vector clamp_readback;  ///< [n_clamped] measured levels; empty where not measured (never an echo)
  Vector theta_readback;  ///< [n_parameters] measured parameters; empty where not measured
  Vector environment;     ///< [n_environment] in DeviceInfo's order and units; empty where not measured
  /// [samples x n_read] the readings (kT), in order of time, whose mean is `potential`; empty unless
  /// At::path asks for them
  RowMatrix path;
  Quality quality;
  Timing timing;
};

}  // namespace ness
