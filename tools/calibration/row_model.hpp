// The model of logged relaxations as a function of what is unknown of the device.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ness/calibration/calibration.hpp"
#include "ness/network/sensitivity.hpp"
#include "ness/network/steady_state.hpp"

namespace ness {

/// kT: what the solver leaves of a steady state is of the square of its last correction (1e-8), and rounding
/// of the order of 1e-15.
constexpr double exact_to = 1e-13;

/// What the model says of one row.
struct Prediction {
  bool settled = false;
  Vector potential;   // [n_free] where
  Vector reading;     // [n_readings]
  Matrix derivative;  // [n_readings x (n_unknowns + n_effects)]
};

/// One nuisance: a number that is 0 on a perfect bench, and normal with the deviation of its kind otherwise.
/// The same kinds as NuisanceKind.
struct Effect {
  NuisanceKind kind = NuisanceKind::gate_gain;
  Eigen::Index of = 0;    // parameter, reading, or input
  Eigen::Index from = 0;  // of cross-talk: the parameter whose setpoint moves `of`
};

/// The model of all rows as a function of the unknowns: offsets of parameters; then gains - 1 and offsets of
/// readings, gains - 1 and offsets of inputs; then the nuisances.
class RowModel {
 public:
  RowModel(const sim::Network& network, const sim::SteadyStateOptions& solver, const CalibrationData& data,
           const TwinOffsets& given, const CalibrationOptions& options);

  Eigen::Index parameters() const { return static_cast<Eigen::Index>(parameters_.size()); }
  Eigen::Index readings() const { return static_cast<Eigen::Index>(data_.readings.size()); }
  Eigen::Index inputs() const {
    return with_inputs_ ? static_cast<Eigen::Index>(network_.clamped().size()) : 0;
  }
  Eigen::Index first_input() const { return parameters() + (gains_ ? 2 * readings() : 0); }
  Eigen::Index unknowns() const { return first_input() + 2 * inputs(); }
  const std::vector<Effect>& effects() const { return effects_; }
  /// All nuisances that the rows could tell are left out, for they are too many.
  bool too_many_effects() const { return too_many_effects_; }
  /// Of each parameter the middle of the rows' setpoints, geometric in log scale. Gains, zeros and cross-talk
  /// are counted from there, so that an offset is the deviation where the log is, and hardly depends on them.
  const Vector& middle() const { return middle_; }
  /// Unknowns and nuisances.
  Eigen::Index size() const { return unknowns() + static_cast<Eigen::Index>(effects_.size()); }
  /// Of a reading at the unknowns `x`; what is not asked for is taken as it was given.
  double gain(const Vector& x, Eigen::Index r) const;
  double zero(const Vector& x, Eigen::Index r) const;

  enum class From { logged, measured, states };
  /// All rows at x. From::logged: from the start they had; measured: from where they were read; states: from
  /// `start`. Rows for which `skip` holds are left as they are.
  std::vector<Prediction> predict(const Vector& x, From from, const std::vector<Prediction>* start,
                                  const std::vector<bool>& skip, bool derivatives);

 private:
  void find_effects(const CalibrationOptions& options);
  Vector setpoints(const CalibrationRow& row) const;
  struct Imposed {
    Vector theta, by_offset;  // [n_parameters] and d theta/d offset
  };
  Imposed imposed(const Vector& setpoint, const Vector& x) const;
  double effect(const Vector& x, std::size_t e) const { return x[unknowns() + static_cast<Eigen::Index>(e)]; }
  std::optional<Vector> as_measured(const CalibrationRow& row, const Vector& x) const;
  Vector cold(const CalibrationRow& row, const sim::Boundary& boundary) const;
  Prediction predict(const CalibrationRow& row, const Vector& x, From from, const Vector* start,
                     bool derivatives, sim::Network::Workspace& work) const;
  Vector levels(const CalibrationRow& row, const Vector& x) const;
  void derive(const CalibrationRow& row, const Vector& x, const Vector& setpoint, const Vector& by_offset,
              const sim::Boundary& boundary, const sim::Linearisation& at, Prediction& prediction) const;
  bool is_current(Eigen::Index r) const { return data_.readings[static_cast<std::size_t>(r)].current; }
  Eigen::Index node(Eigen::Index r) const { return data_.readings[static_cast<std::size_t>(r)].node; }

  const sim::Network& network_;
  const sim::SteadyStateOptions& solver_;
  const CalibrationData& data_;
  const TwinOffsets& given_;
  std::vector<ParameterInfo> parameters_;
  bool gains_, with_inputs_;
  unsigned threads_;
  std::vector<Eigen::Index> free_index_;
  std::vector<Effect> effects_;
  bool too_many_effects_ = false;
  Vector middle_;
  std::vector<sim::Network::WorkspacePtr> work_;
};

}  // namespace ness
