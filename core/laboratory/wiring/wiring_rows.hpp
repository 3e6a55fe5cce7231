// The response of each reading to each channel: expected by the twin for any cabling, and compared with the measurement.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ness/laboratory/wiring_check.hpp"

namespace ness::wiring {

constexpr double nothing = 0.1;  ///< share of the expected response below which there is none

/// Where the cables lead: the place of channel j gets factor[j] times the level of channel source[j]; reading r shows
/// meter_factor[r] times the node of reading meter[r].
struct Cabling {
  std::vector<std::size_t> source, meter;
  Vector factor, meter_factor;
  /// The cabling without mistakes.
  static Cabling right(std::size_t channels, std::size_t readings);
};

/// Turns levels into drives.
class Levels {
 public:
  /// `info`: of the device that is driven; values are kept within its ranges.
  Levels(const DeviceInfo& info, const WiringCheckOptions& options, const Vector& theta);
  /// From the present state, read when settled.
  Drive drive(const Vector& level, const Cabling* cabling = nullptr) const;
  double value(std::size_t channel, double level) const;

 private:
  const std::vector<WiringChannel>& channels_;
  std::vector<Range> range_;          // of each channel's value
  std::vector<std::size_t> position_; // among the clamped terminals
  std::size_t clamped_;
  Parameters theta_;
};

/// The twin, with many relaxations computed at once.
class Twin {
 public:
  Twin(Device& twin, const DeviceInfo& bench, const WiringCheckOptions& options, const Vector& theta, std::stop_token stop);
  /// What is read, [n_read of the bench] a drive; not a number where the twin finds no steady state.
  std::vector<Vector> read(std::span<const Drive> drives) const;
  /// How each reading answers to a step of `channel` (2 x its step) at a point, in a cabling: [n_read]. All steps asked for at once.
  struct Ask {
    const Cabling* cabling = nullptr;
    const Vector* level = nullptr;
    std::size_t channel = 0;
  };
  std::vector<Vector> answers(std::span<const Ask> asks) const;
  /// Rows, [n_channels x points n_read], where the cables lead as in a cabling; as right meters would show them.
  Matrix rows(const Cabling& cabling, std::span<const Vector> points) const;

  const Vector& step() const { return step_; }  ///< of each channel, [n_channels]
  std::size_t readings() const { return position_.size(); }

 private:
  Device& twin_;
  Levels levels_;  // as drives of the twin
  Vector step_;
  std::vector<std::size_t> position_;  // of each of the bench's readings among the twin's
  std::stop_token stop_;
};

/// How far `row` is from any allowed multiple of `expected`, squared, in units of its own length. `noise`: variance that is no
/// misfit.
struct Fit {
  double gain = 1;     ///< the multiple, within the tolerance
  double misfit = 0;   ///< squared
};
/// From the sums row.row, row.expected, expected.expected; `size`: squared length by which it is counted.
Fit fit(double rr, double re, double ee, double noise, double size, double gain_tolerance);
/// The squared length by which a row is counted, whatever is compared with it: its own, but not less than the least one expects.
double size_of(double rr, double ee, const WiringCheckOptions& options);

/// A set of operating points at which exchanging two cables shows, and the pairs of which it does not.
struct Design {
  std::vector<Vector> points;  ///< levels of all channels, [n_channels]
  std::vector<std::pair<std::size_t, std::size_t>> undecided;
};
Design choose_points(const Twin& twin, const WiringCheckOptions& options, std::stop_token stop);

/// What was measured, of the rows and readings that can be judged.
struct Measured {
  Matrix rows, variance;         ///< [n_channels x points n_read]
  std::vector<bool> channel, reading;  ///< judged
};

/// The mistakes that explain what was measured, added to the right wiring one by one while one more explains most of what is left.
Cabling explain(const Twin& twin, const WiringCheckOptions& options, std::span<const Vector> points, const Measured& measured);

/// Misfits of all rows in a cabling whose rows the twin expects to be `expected`: by row, and by entry [n_channels x points n_read].
struct Misfit {
  std::vector<Fit> row;
  Matrix entry;
  double total = 0;
};
/// `usual`: what the twin expects where nothing is wrong, by which rows are counted.
Misfit misfit(const Measured& measured, const Matrix& expected, const Matrix& usual, const WiringCheckOptions& options);
/// `rows` as the meters of a cabling show them.
Matrix seen(const Matrix& rows, const Cabling& cabling);

}  // namespace ness::wiring
