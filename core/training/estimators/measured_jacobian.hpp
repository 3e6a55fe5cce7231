// Estimators that measure a Jacobian column by column, one node stepped at a time: the layout of their perturbations, the size of the step,
// and what is tracked between measurements.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "estimators/costate_estimator.hpp"
#include "estimators/tracked_jacobian.hpp"

namespace ness {

/// The inputs at which a column is measured, as steps of one node.
struct Probe {
  double first = 0, second = 0;
  enum class Kind : std::uint8_t {
    one_sided,  ///< the first alone, against the answer without a step: error of the order of the step
    pair,       ///< the two against each other: of its square where they are opposite
    parabola,   ///< both on one side, through the answer without a step: of its square
  } kind = Kind::pair;

  /// The slope is base y(0) + first y(first) + second y(second).
  struct Weights {
    double base = 0, first = 0, second = 0;
    double norm() const;  ///< error of the slope of answers whose error is 1
  };
  Weights weights() const;
};

struct MeasuredJacobianOptions {
  double probe = 0;
  bool central = true;
  std::uint64_t measure_every = 0;
  std::uint32_t refresh = 1;
  double reset = 0.3;
};

class MeasuredJacobian : public CostateEstimator {
 public:
  double cost(const DeviceInfo& info) const final;
  std::uint64_t prepare(Device& device, const DeviceInfo& info, const Minibatch& batch, const Loss& loss, std::stop_token stop) final;
  void remember(const DeviceInfo& info, const Minibatch& batch, const Loss& loss, std::span<const std::vector<Relaxation>> rows) final;
  /// The probe, where it was chosen, and the Jacobians remembered, where they are tracked.
  Vector state() const final;
  void restore(const Vector& state) final;

 protected:
  /// Throws std::invalid_argument, beginning with `name`, for options that make no sense.
  MeasuredJacobian(const std::string& name, std::shared_ptr<const Model> model, const MeasuredJacobianOptions& options, const PerturbationOptions& perturbations,
                   const CurrentLawOptions& law);
  bool central() const { return options_.central; }

  /// How node `node` is stepped by about `size` at this free state.
  virtual Probe probe_of(const DeviceInfo& info, const Relaxation& free, std::size_t node, double size) const = 0;
  /// Steps the node; by 0: nothing is stepped. False: that cannot be imposed.
  virtual bool impose_step(Drive& drive, const DeviceInfo& info, const Relaxation& free, std::size_t node, double step) const = 0;
  /// Perturbations begin with one in which nothing is stepped; else the free relaxation stands for it.
  virtual bool has_base() const = 0;
  /// What a relaxation answers, [n_answers]; `potential` are its readings, drift subtracted where that is asked for.
  virtual Vector answer(const DeviceInfo& info, const Relaxation& row, const Vector& potential) const = 0;
  /// The standard errors of an answer, [n_answers]; empty where the device does not know them.
  virtual Vector answer_error(const DeviceInfo& info, const Relaxation& row) const = 0;
  virtual std::size_t answers(const DeviceInfo& info) const = 0;
  /// R^T c from the response, [n_free]; NaN where there is none.
  virtual Vector solved(const DeviceInfo& info, const Matrix& response, const Vector& c) const = 0;
  /// |G - G^T| / |G + G^T| of a sample that was measured in full.
  virtual double asymmetry_of(const DeviceInfo& info, const Sample& sample, const Matrix& response) const = 0;
  /// The free state has shifted as if `equivalent` currents had been injected: what was put in, what came out, and the standard error of
  /// the difference from what `response` makes of it. `errors`: of the shift, [n_free].
  struct Shift {
    Vector input, answer;
    double error = 0;
  };
  virtual Shift shift_of(const DeviceInfo& info, const Matrix& response, const Vector& shift, const Vector& equivalent, const Vector& errors) const = 0;

  /// All potentials that a sample's full measurement shows, per unit of each node's step: [n_read x n_free].
  Matrix all_potentials(const DeviceInfo& info, const Sample& sample) const;

 private:
  class ProbePlan;
  class ProbeChoice;
  // What a visit of a sample measures.
  struct Layout {
    bool full = true;
    std::vector<std::size_t> nodes;
  };
  // A visit's outcome.
  struct Visit {
    KnownJacobian known;
    bool full = true;
    bool moved = true;  // the free state is that of `known` from now on
  };
  // A quarter after each attempt at the sample that lost its branch.
  double probe_size(std::uint64_t lost) const;
  std::size_t each() const { return options_.central ? 2 : 1; }
  bool tracks() const { return options_.measure_every > 0; }
  double perturbations_of(std::size_t nodes) const;
  Layout layout(const DeviceInfo& info, std::uint64_t sample) const;
  // Imposes perturbation k of a sample whose `nodes` are stepped.
  bool impose_perturbation(Drive& drive, const DeviceInfo& info, const Relaxation& free, const std::vector<std::size_t>& nodes, std::size_t k, double size) const;
  template <typename Answer>
  Vector slope(const DeviceInfo& info, const Sample& sample, std::size_t place, std::size_t node, double size, const Answer& of, double* weight = nullptr) const;
  Visit visit(const DeviceInfo& info, const Minibatch& batch, const Sample& sample) const;

  double costate_perturbations(const DeviceInfo& info) const final;
  std::unique_ptr<const PerturbationPlan> costate_plan(const DeviceInfo& info, const Minibatch& batch, const Loss& loss) const final;
  Vector costate(const DeviceInfo& info, const Minibatch& batch, const Sample& sample, const Vector& c, double& asymmetry) const final;

  MeasuredJacobianOptions options_;
  double chosen_ = 0;  // probe; 0: not yet
  TrackedJacobians tracked_;
};

/// The standard error of each potential reading, and how far it may yet be from settled: [n_read].
Vector reading_errors(const Relaxation& row);

}  // namespace ness
