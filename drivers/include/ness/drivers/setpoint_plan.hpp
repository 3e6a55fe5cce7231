// Setpoint plans: how levels get from where they are to where they should be, with every limit kept on the
// way.
//
// Limits are those of single channels (range, largest step, rate) and of several together (|g1 - g2| <= 2 V).
// A plan is a list of ramp steps. The writes of one step may reach their instruments in any order, and
// overlap: whatever mixture of old and new levels that makes, no limit is broken.
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ness/device/device.hpp"

namespace ness::drivers {

struct PlannedChannel {
  std::string name;
  Range limits;               ///< V or A
  double largest_step = 0.1;  ///< per ramp step, > 0
  double rate = 1;            ///< per second, > 0
  double resolution = 1e-6;   ///< moves shorter than this are not made before the last
};

/// low <= sum of factor x level <= high.
struct CrossLimit {
  std::string name;
  std::vector<std::pair<std::size_t, double>> terms;  ///< (channel, factor)
  Range limits;
};

struct RampStep {
  std::vector<std::pair<std::size_t, double>> writes;  ///< (channel, level), in any order
  double wait = 0;  ///< s before the next step: what the slowest channel's rate takes
};

/// There is no allowed path: a target breaks a limit, or every channel that should move is held back by one.
/// The message names it.
class PlanRefused : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

class SetpointPlanner {
 public:
  /// Throws std::invalid_argument for limits that cannot be: empty ranges, steps or rates not positive,
  /// unknown channels.
  SetpointPlanner(std::vector<PlannedChannel> channels, const std::vector<CrossLimit>& cross_limits);

  const std::vector<PlannedChannel>& channels() const { return channels_; }

  /// The same where some channels are not there (their outputs are off): limits that name one of them do not
  /// count. [channels]
  SetpointPlanner without(const std::vector<bool>& absent) const;

  /// Empty if the levels keep every limit; otherwise the first that is broken, with its values.
  std::string broken(std::span<const double> levels) const;

  /// From the levels read back to the targets, [channels], in volts or amperes of each channel. Each channel
  /// moves towards its target only. A start that breaks a limit (a reading within its error beyond it, a
  /// limit that was tightened) may be left, and never made worse. Throws PlanRefused. Where the cross-limits
  /// are on differences (factors 1 and -1), a way is always found between two states that keep them.
  std::vector<RampStep> plan(std::span<const double> from, std::span<const double> to) const;

  /// The allowed levels nearest to those wanted (least squares) while the `stuck` channels stay where they
  /// are: where the others go when a channel cannot be reached. Throws PlanRefused if no levels of the others
  /// keep every limit with the stuck ones.
  std::vector<double> nearest(std::span<const double> wanted, const std::vector<bool>& stuck) const;

 private:
  struct Bound {  // sum of factor x level <= limit
    std::string name;
    std::vector<std::pair<std::size_t, double>> terms;
    double limit = 0;
    double value(std::span<const double> levels) const;
  };
  double slack(const Bound& bound) const;
  /// How far a channel may move in a step.
  struct Move {
    double whole = 0, share = 1;        // the step without other limits, and how much of it they allow
    const Bound* in_the_way = nullptr;  // the last bound that reduced it
  };
  Move largest_move(std::size_t c, double wanted, std::span<const double> reached) const;
  void require(std::span<const double> from, std::span<const double> to) const;
  std::vector<PlannedChannel> channels_;
  std::vector<Bound> bounds_;  // all of them, one-sided
};

}  // namespace ness::drivers
