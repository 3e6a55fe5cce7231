// Calibration: the twin's offsets, the gains of readings and their noise, fitted to logged relaxations.
//
// The device that is told theta_set has theta = theta_set + offset, or theta_set exp(offset) where the scale
// is log: one unknown offset for every parameter, constants of the device included. Each logged relaxation
// that settled is a steady state I(mu, theta) = u, read as gain mu + reading offset with noise of one
// standard deviation a reading, under inputs held at gain x + offset (gains and offsets where they are asked
// for). The fit is weighted nonlinear least squares (Ceres) with the exact derivative d mu/d theta =
// -(dI/dmu)^-1 dI/dtheta; weights are the residuals' own variances, iterated.
//
// What can be known is decided by the Fisher matrix F = J^T J, J the derivatives of all residuals in units of
// their noise: along a unit vector v in the unknowns (kT, or factors of e: sizes that compare) the standard
// error is 1/sqrt(v F v). A principal direction of F whose standard error exceeds
// CalibrationOptions::largest, or whose singular value is below 1e-7 of the largest (as far as the states are
// exact), is not identified: the fit leaves it where it was, and it is told as the sum of unknowns that it
// is. No prior hides it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "ness/files/experiment.hpp"
#include "ness/record/log.hpp"
#include "ness/laboratory/twin.hpp"
#include "ness/network/steady_state.hpp"
#include "ness/runs/run.hpp"

namespace ness {

/// One number that every row may have: the potential of a free node, or the current into the network at a
/// node that a source holds.
struct CalibrationReading {
  std::uint32_t node = 0;
  bool current = false;
  std::string name;  ///< of the terminal; "current at .."
};

/// One logged relaxation, as the model needs it.
struct CalibrationRow {
  std::uint64_t row = 0;                ///< of the log
  std::shared_ptr<const Vector> theta;  ///< [n_parameters] setpoints, overrides applied
  Vector clamp;                         ///< [n_clamped]
  Vector nudge;                         ///< [n_free] injected currents as asked for; empty: none
  std::vector<std::pair<std::uint32_t, double>> held;  ///< (free index, level)
  bool rest = true;  ///< started from rest; else the state is sought from where it was read
  double rest_rate = 0;
  Vector reading, sigma;  ///< [n_readings] measured, and its standard error as logged; NaN: not had
};

struct CalibrationData {
  std::vector<CalibrationReading> readings;
  std::vector<CalibrationRow> rows;
  std::uint64_t logged = 0;          ///< rows of the log
  std::uint64_t usable = 0;          ///< of them settled, with known parameters
  std::uint64_t unknown_theta = 0;   ///< settled, but their parameters are in the log as a digest alone
  std::vector<bool> nudged_by_leak;  ///< [n_free] a current is injected through the node's own leak, so that
                                     ///< it grows with it
};

/// The rows to fit: `rows` of the usable ones, one from each of that many equal parts of the log, or all
/// where there are no more; which of a part is drawn (always the same), since the phases of a chain recur
/// with a period. On a bench currents are taken to be injected through the leak where no source reads them.
/// Throws LogError, naming the log, where nothing can be fitted to: no relaxations, outputs alone, no row
/// with known parameters that settled.
CalibrationData calibration_data(const LogReader& log, const Experiment& experiment, const Run& run,
                                 std::uint64_t rows);

/// What of a bench is not as it is told, beside the offsets: numbers that are 0 on a perfect bench.
enum class NuisanceKind : std::uint8_t {
  gate_gain,      ///< linear scale: value = (1 + g) setpoint + offset
  log_gate_gain,  ///< log scale: ln value = (1 + g) ln setpoint + offset
  log_gate_zero,  ///< log scale: added to the value, in the parameter's unit
  cross_talk,     ///< share of another parameter's setpoint that is added to the value; the same kind, linear
  reading_gain,   ///< of a potential: its distance from 1
  reading_offset,  ///< of a potential, kT
  current_gain,    ///< of a measured current: its distance from 1
  current_offset,  ///< of a measured current, units of current
  input_gain,      ///< of a clamped level: its distance from 1
  input_offset,    ///< of a clamped level, kT
  input_lead,      ///< resistance in front of a clamped node, kT per unit of current
  meter_gain,      ///< common to all potential readings: its distance from 1
  meter_zero,      ///< common to all potential readings, kT
  meter_load,      ///< a potential's meter draws this, conductance, from its node while it reads
};
constexpr std::size_t nuisance_kinds = 14;
/// "gains of gates", for messages.
const char* to_string(NuisanceKind kind);
/// "gate-gain", as options name it.
const char* key_of(NuisanceKind kind);

struct CalibrationOptions {
  bool gains = false;   ///< gain and offset of each reading are unknown too
  bool inputs = false;  ///< gain and offset of each input are unknown too. With both, nobody knows where 0
                        ///< is: told as a combination
  /// The deviations of all NuisanceKinds are estimated, and serial correlation of the readings' noise;
  /// without, offsets and white noise are all there is
  bool nuisances = true;
  /// Standard deviations of nuisances as data sheets state them, by NuisanceKind; 0: estimated, and for the
  /// meter's none. No data tell what all readings have in common: without a statement potentials are counted
  /// from the meter's own zero, and conductances in units of the ammeters'.
  std::array<double, nuisance_kinds> stated{};
  double confidence = 0.95;
  /// Standard error (kT, or factors of e) beyond which a combination counts as not identified
  double largest = 1;
  double outlier = 6;    ///< rows with a residual of more standard deviations are left out, and told
  unsigned threads = 0;  ///< 0: all cores. The results do not depend on it
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
};

/// One unknown, as fitted.
struct CalibratedUnknown {
  std::string name, unit;       ///< "a[0]", "kT"; "gain of node-2", "1"
  Scale scale = Scale::linear;  ///< log: the offset is of the logarithm
  /// The fitted value, where gates are not perfect that at the middle of the log's setpoints; a gain's
  /// distance from 1
  double offset = 0;
  bool identified = false;
  double standard_error = 0, low = 0, high = 0;  ///< where identified
};

/// A unit of ignorance: sum of coefficient x unknown, along which the data say nothing; the largest
/// coefficient is 1.
using Combination = std::vector<std::pair<double, std::size_t>>;

struct Calibration {
  std::vector<CalibratedUnknown> unknowns;  ///< parameters in order; then, as asked for, gains and offsets of
                                            ///< all readings, gains and offsets of all inputs
  std::vector<Combination> not_identified;  ///< a basis of all that is not, as sparse as elimination makes it
  std::size_t rank = 0;
  std::vector<double> noise;    ///< white: standard deviation of each reading
  std::vector<double> walk;     ///< of each reading's offset, per square root of a relaxation
  std::vector<double> flicker;  ///< 1/f: standard deviation of each reading
  std::array<double, nuisance_kinds> nuisance{};  ///< standard deviation of each NuisanceKind; 0: not found
  /// One nuisance of a kind that was found.
  struct Nuisance {
    NuisanceKind kind = NuisanceKind::gate_gain;
    std::uint32_t of = 0,
                  from = 0;  ///< parameter, reading or input; of cross-talk: the parameter it comes from
    double value = 0;
  };
  std::vector<Nuisance> effects;
  std::uint64_t numbers = 0;  ///< readings fitted
  double degrees_of_freedom = 0;
  double chi_squared = 0;  ///< by the standard errors in the log (rms of each reading), per degree of
                           ///< freedom; NaN where it has none
  struct LeftOut {
    std::uint64_t row = 0;  ///< of the log
    enum class Why : std::uint8_t { no_state, other_branch, unexplained } why = Why::unexplained;
  };
  std::vector<LeftOut> left_out;
  std::vector<std::string> doubts;  ///< what of the residuals the model does not describe, a line each
  double widened = 1;    ///< standard errors and intervals are wider by this than the model's, for the doubts
  std::string withheld;  ///< not empty: why no unknown has an interval
  std::uint32_t rounds = 0;
  bool converged = false;
  TwinOffsets twin;  ///< [n_parameters], [n_free]
};

/// Fits. `twin` is where the offsets are sought from, and where what is not identified stays; of its gains
/// those that are not asked for are taken as they are. Throws std::invalid_argument for unusable options;
/// std::runtime_error where readings are too few for the unknowns, or too many to be held in memory, or where
/// the model explains hardly any; Cancelled.
Calibration calibrate(const sim::Network& network, const sim::SteadyStateOptions& solver,
                      const CalibrationData& data, const TwinOffsets& twin, const CalibrationOptions& options,
                      std::stop_token stop = {});

/// The experiment with a table [twin] of what was found, as TOML. [device] variation and read_noise, which it
/// replaces, are gone.
std::string twin_text(const Experiment& experiment, const sim::Network& network, const CalibrationData& data,
                      const Calibration& found, const CalibrationOptions& options, const std::string& log);

}  // namespace ness
