// Schedules of the learning rate, by name. Adding one: its shape, the function that lists its keys, and a row
// of the table.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "ness/device/keys.hpp"

namespace ness {

/// Where a run is. All three are numbers of steps.
struct RunPosition {
  double step;     ///< from 0, not before the warm-up's end
  double warm_up;  ///< of the run's beginning
  double total;
};
/// The factor on the learning rate after the warm-up.
using ScheduleShape = std::function<double(const RunPosition&)>;

/// These throw std::invalid_argument for numbers that are not finite or out of range.
ScheduleShape constant_rate();
/// A half-period of the cosine, from 1 to `final_factor` (>= 0) at the end.
ScheduleShape cosine_rate(double final_factor = 0);
/// Multiplied by `factor` (> 0) again and again after each `every` of the run (a fraction of it, > 0).
ScheduleShape stepped_rate(double every = 0.5, double factor = 0.1);
/// The gain sequence of stochastic approximation, ((A + 1) / (A + k + 1))^power at step k after the warm-up
/// (Spall's a_k = a / (A + k + 1)^power, the rate being a_0); A = `stability` (>= 0), as a fraction of the
/// run; power >= 0.
ScheduleShape spsa_rate(double stability = 0.1, double power = 0.602);

/// Learning rate over a run: a linear warm-up, then a shape.
struct Schedule {
  double warm_up = 0;  ///< fraction of the run
  ScheduleShape shape = constant_rate();
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
  /// Factor on the rate at step `step` (from 0) of `total`.
  double factor(std::uint64_t step, std::uint64_t total) const;
  /// Lists the keys that all shapes read.
  void read(Keys& keys);
};

/// A row of the table.
struct ScheduleEntry {
  std::string_view name;
  std::string_view meaning;
  /// Lists the keys of this shape alone, and returns it.
  ScheduleShape (*read)(Keys& keys) = nullptr;
};
std::span<const ScheduleEntry> schedule_table();

}  // namespace ness
