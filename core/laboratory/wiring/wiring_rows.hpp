// The response of each reading to each channel: expected by the twin for any cabling, and compared with
// measurements.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ness/laboratory/wiring_check.hpp"

namespace ness::wiring {

constexpr double nothing = 0.1;  ///< share of the expected response below which a response counts as missing

/// Cables and meters as connected: at channel j's terminal the level is factor[j] times that of channel
/// source[j]; reading r shows meter_factor[r] times the node of reading meter[r].
struct Cabling {
  std::vector<std::size_t> source, meter;
  Vector factor, meter_factor;
  /// The cabling without mistakes.
  static Cabling right(std::size_t channels, std::size_t readings);
};

/// Converts levels to drives.
class Levels {
 public:
  /// `info`: of the driven device; values are clamped to its ranges.
  Levels(const DeviceInfo& info, const WiringCheckOptions& options, const Vector& theta);
  /// A drive from the present state, read when settled.
  Drive drive(const Vector& level, const Cabling* cabling = nullptr) const;
  double value(std::size_t channel, double level) const;

 private:
  const std::vector<WiringChannel>& channels_;
  std::vector<Range> range_;           // of each channel's value
  std::vector<std::size_t> position_;  // among the clamped terminals
  std::size_t clamped_;
  Parameters theta_;
};

/// The twin; computes many relaxations at once.
class Twin {
 public:
  Twin(Device& twin, const DeviceInfo& bench, const WiringCheckOptions& options, const Vector& theta,
       std::stop_token stop);
  /// The readings for each drive, [n_read of the bench]; NaN where the twin finds no steady state.
  std::vector<Vector> read(std::span<const Drive> drives) const;
  /// Response of each reading to a step of `channel` (by 2 x its step) at a point, with a cabling: [n_read].
  /// All requested steps are computed at once.
  struct Ask {
    const Cabling* cabling = nullptr;
    const Vector* level = nullptr;
    std::size_t channel = 0;
  };
  std::vector<Vector> answers(std::span<const Ask> asks) const;
  /// Rows, [n_channels x points n_read], for the cables of a cabling and correct meters.
  Matrix rows(const Cabling& cabling, std::span<const Vector> points) const;

  const Vector& step() const { return step_; }  ///< of each channel, [n_channels]
  std::size_t readings() const { return position_.size(); }

 private:
  Device& twin_;
  Levels levels_;  // converts levels to drives of the twin
  Vector step_;
  std::vector<std::size_t> position_;  // index of each reading of the bench among the twin's readings
  std::stop_token stop_;
};

/// Squared distance of `row` from the nearest allowed multiple of `expected`, in units of the row's length.
/// `noise`: variance that does not count as misfit.
struct Fit {
  double gain = 1;    ///< the multiple, within the tolerance
  double misfit = 0;  ///< squared
};
/// From the sums row.row, row.expected, expected.expected; `size`: squared length used as the unit.
Fit fit(double rr, double re, double ee, double noise, double size, double gain_tolerance);
/// The squared length used as the unit for a row: its own, but at least the smallest expected.
double size_of(double rr, double ee, const WiringCheckOptions& options);

/// A set of operating points that reveal the exchange of two cables, and the pairs of cables for which they
/// do not.
struct Design {
  std::vector<Vector> points;  ///< levels of all channels, [n_channels]
  std::vector<std::pair<std::size_t, std::size_t>> undecided;
};
Design choose_points(const Twin& twin, const WiringCheckOptions& options, std::stop_token stop);

/// Measurements of the rows and readings that can be judged.
struct Measured {
  Matrix rows, variance;               ///< [n_channels x points n_read]
  std::vector<bool> channel, reading;  ///< judged
};

/// The mistakes that explain the measurement. Starting from the correct wiring, they are added one by one as
/// long as one more explains most of the remaining misfit.
Cabling explain(const Twin& twin, const WiringCheckOptions& options, std::span<const Vector> points,
                const Measured& measured);

/// Misfits of all rows for expected rows `expected`: per row, and per entry [n_channels x points n_read].
struct Misfit {
  std::vector<Fit> row;
  Matrix entry;
  double total = 0;
};
/// `usual`: rows expected without mistakes, which give the unit of each row.
Misfit misfit(const Measured& measured, const Matrix& expected, const Matrix& usual,
              const WiringCheckOptions& options);
/// `rows` as shown by the meters of a cabling.
Matrix seen(const Matrix& rows, const Cabling& cabling);

}  // namespace ness::wiring
