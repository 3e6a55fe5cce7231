// Estimators that measure a Jacobian column by column, by steps of one node at a time: order of the
// perturbations, size of the step, and tracking between measurements.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "estimators/costate_estimator.hpp"
#include "estimators/tracked_jacobian.hpp"

namespace ness {

/// The steps of one node from which its column is measured.
struct Probe {
  double first = 0, second = 0;
  enum class Kind : std::uint8_t {
    one_sided,  ///< `first` against the answer without a step: the error is of the order of the step
    pair,       ///< the two steps against each other: of second order if they are opposite
    parabola,   ///< both on one side, with the answer without a step: of second order
  } kind = Kind::pair;

  /// The derivative is base y(0) + first y(first) + second y(second).
  struct Weights {
    double base = 0, first = 0, second = 0;
    double norm() const;  ///< error of the derivative if each answer has error 1
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
  std::uint64_t prepare(Device& device, const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                        std::stop_token stop) final;
  void remember(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) final;
  Repeats repeats() const final { return tracks() ? Repeats::dependent : Repeats::independent; }
  /// The probe if it was chosen, and the stored Jacobians if they are tracked.
  Vector state() const final;
  void restore(const Vector& state) final;

 protected:
  /// Throws std::invalid_argument, beginning with `name`, for invalid options.
  MeasuredJacobian(const std::string& name, std::shared_ptr<const Model> model,
                   const MeasuredJacobianOptions& options, const PerturbationOptions& perturbations,
                   const CurrentLawOptions& law);
  bool central() const { return options_.central; }
  bool tracks() const { return options_.measure_every > 0; }

  /// The steps of `node`, of about `size`, at this free state.
  virtual Probe probe_of(const DeviceInfo& info, const Relaxation& free, std::size_t node,
                         double size) const = 0;
  /// Imposes the step; 0 means no step. False if it cannot be imposed.
  virtual bool impose_step(Drive& drive, const DeviceInfo& info, const Relaxation& free, std::size_t node,
                           double step) const = 0;
  /// True: the first perturbation has no step. False: the free relaxation is used for that.
  virtual bool has_base() const = 0;
  /// The answer of a relaxation, [n_answers]; `potential` are its readings, with the drift subtracted if that
  /// is enabled.
  virtual Vector answer(const DeviceInfo& info, const Relaxation& row, const Vector& potential) const = 0;
  /// The standard errors of an answer, [n_answers]; empty where the device does not know them.
  virtual Vector answer_error(const DeviceInfo& info, const Relaxation& row) const = 0;
  /// The mean variance of an answer's entries that noise of readings causes; NaN where it is not known.
  virtual double answer_variance(const DeviceInfo& info, const Relaxation& row) const = 0;
  virtual std::size_t answers(const DeviceInfo& info) const = 0;
  /// R^T c from the response, [n_free]; NaN if it cannot be computed.
  virtual Vector solved(const DeviceInfo& info, const Matrix& response, const Vector& c) const = 0;
  /// |G - G^T| / |G + G^T| of a sample that was measured in full.
  virtual double asymmetry_of(const DeviceInfo& info, const Sample& sample, const Matrix& response) const = 0;
  /// The free state has shifted as if the currents `equivalent` had been injected. Returns the input, the
  /// answer, and the standard error of the answer minus the prediction of `response`. `errors`: of the shift,
  /// [n_free].
  struct Shift {
    Vector input, answer;
    double error = 0;
  };
  virtual Shift shift_of(const DeviceInfo& info, const Matrix& response, const Vector& shift,
                         const Vector& equivalent, const Vector& errors) const = 0;

  /// Calls `of` with each perturbation of a sample's nodes: its number, the node, and its step.
  void for_steps(const DeviceInfo& info, const Minibatch& batch, const Sample& sample,
                 const std::function<void(std::size_t k, std::size_t node, double step)>& of) const;

  /// All potential shifts of a full measurement, per unit of each node's step: [n_read x n_free].
  Matrix all_potentials(const DeviceInfo& info, const Sample& sample) const;

 private:
  class ProbePlan;
  class ProbeChoice;
  // Nodes measured when a sample is visited.
  struct Layout {
    bool full = true;
    std::vector<std::size_t> nodes;
  };
  // Result of a visit.
  struct Visit {
    KnownJacobian known;
    bool full = true;
    bool moved = true;  // store the new free state in `known`
  };
  // Divided by four after each attempt at the sample that lost its branch.
  double probe_size(std::uint64_t lost) const;
  std::size_t each() const { return options_.central ? 2 : 1; }
  double perturbations_of(std::size_t nodes) const;
  Layout layout(const DeviceInfo& info, std::uint64_t sample) const;
  // Imposes perturbation k of a sample whose `nodes` are stepped.
  bool impose_perturbation(Drive& drive, const DeviceInfo& info, const Relaxation& free,
                           const std::vector<std::size_t>& nodes, std::size_t k, double size) const;
  template <typename Answer>
  Vector slope(const DeviceInfo& info, const Sample& sample, std::size_t place, std::size_t node, double size,
               const Answer& of, double* weight = nullptr) const;
  Visit visit(const DeviceInfo& info, const Minibatch& batch, const Sample& sample) const;

  double costate_perturbations(const DeviceInfo& info) const final;
  std::unique_ptr<const PerturbationPlan> costate_plan(const DeviceInfo& info, const Minibatch& batch,
                                                       const Loss& loss) const final;
  Vector costate(const DeviceInfo& info, const Minibatch& batch, const Sample& sample, const Vector& c,
                 double& asymmetry) const final;
  Vector redrawn_costate(const DeviceInfo& info, const Minibatch& batch, const Sample& was, const Sample& now,
                         const Vector& c, const std::function<double()>& normal) const final;

  MeasuredJacobianOptions options_;
  double chosen_ = 0;  // chosen probe; 0: not chosen yet
  TrackedJacobians tracked_;
};

/// For each potential reading, [n_read], the standard error plus the distance it may still be from settled.
Vector reading_errors(const Relaxation& row);

}  // namespace ness
