// Estimators that measure a costate by perturbed relaxations, and contract it with dI/dtheta from a model or
// from held steps.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "estimators/perturbed_relaxations.hpp"
#include "estimators/gradient_sum.hpp"
#include "ness/device/dense_lu.hpp"

namespace ness {

/// How free potentials answer to injected currents at a free state, from the model.
class Response {
 public:
  static constexpr std::size_t most_nodes = 512;
  /// `model` may be null. The first use computes what is needed.
  Response(const Model* model, Drive drive, const Vector& potential);
  ~Response();
  /// R u [n_free] for currents u [n_free]; empty without a model, beyond `most_nodes` free nodes (a dense
  /// inverse would cost more than the relaxations), or where R is singular.
  Vector shift(const Vector& current) const;
  /// Empty if networks of so many free nodes are answered for; otherwise a reason.
  static std::string limit(std::size_t free_nodes);
  const Model* model() const { return model_; }
  const Drive& drive() const { return drive_; }
  /// G at the free state; needs a model.
  const Matrix& conductance() const;

 private:
  const Model* model_;
  Drive drive_;
  const Vector& potential_;
  mutable std::optional<Matrix> conductance_;
  mutable std::unique_ptr<DenseLu> lu_;
};

/// The redrawn rows of a sample, to which the answer to redrawn nudges and levels is added.
struct RedrawnSample {
  const Relaxation* free = nullptr;
  std::vector<Relaxation*> perturbations;
};

class CostateEstimator : public PerturbationEstimator {
 public:
  std::string_view name() const final { return name_; }
  std::string unmet_needs(const DeviceInfo& info) const final;
  double cost(const DeviceInfo& info) const override;
  Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) const final;
  std::unique_ptr<const ReadingErrors> errors_of_readings(
      const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
      std::span<const std::vector<Relaxation>> rows) const final;

 protected:
  /// `model` may be null if dI/dtheta is measured and `model_needed` is false.
  CostateEstimator(std::string name, std::shared_ptr<const Model> model,
                   const PerturbationOptions& perturbations, const CurrentLawOptions& law,
                   bool model_needed = false);

  /// Needs of the costate measurement only. Reading of every free potential, and the needs of dI/dtheta, are
  /// checked before.
  virtual std::string unmet_by_costate(const DeviceInfo& info) const = 0;
  /// Perturbations per sample, without those for dI/dtheta.
  virtual double costate_perturbations(const DeviceInfo& info) const = 0;
  virtual std::unique_ptr<const PerturbationPlan> costate_plan(const DeviceInfo& info, const Minibatch& batch,
                                                               const Loss& loss) const = 0;
  /// The costate of a sample, [n_free]; a sample whose costate is not finite is left out. The last
  /// perturbations of `sample` may be those for dI/dtheta. A measured asymmetry is written to `asymmetry`.
  virtual Vector costate(const DeviceInfo& info, const Minibatch& batch, const Sample& sample,
                         const Vector& cotangent, double& asymmetry) const = 0;

  /// True if the costate is computed from currents, too.
  virtual bool reads_currents(const DeviceInfo&) const { return false; }
  /// Adds to the redrawn perturbations of a sample what their nudges and levels, computed from redrawn
  /// readings, differ in from those imposed in `was`, to first order. Default: they do not depend on
  /// readings.
  virtual void follow(const DeviceInfo&, const Minibatch&, const Loss&, const Sample& /*was*/,
                      const RedrawnSample& /*now*/, const Response&) const {}
  /// The costate from redrawn rows. Default: as from any rows.
  virtual Vector redrawn_costate(const DeviceInfo& info, const Minibatch& batch, const Sample& was,
                                 const Sample& now, const Vector& cotangent,
                                 const std::function<double()>& normal) const;

  const Model* model() const { return model_.get(); }
  std::unique_ptr<const PerturbationPlan> plan(const DeviceInfo& info, const Minibatch& batch,
                                               const Loss& loss) const final;
  /// Relaxations of a sample with this many perturbations for the costate.
  double cost_with(const DeviceInfo& info, double costate_perturbations) const;

  /// Relaxes the samples of `batch` with the perturbations for the costate alone, labelled probe, and
  /// computes their costates; empty where that fails.
  struct Probed {
    std::vector<std::optional<Vector>> costates;
    std::uint64_t relaxations = 0;
  };
  Probed probe(Device& device, const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
               std::stop_token stop) const;

 private:
  class Redrawn;
  // The gradient, with the costate of a sample (its place in the minibatch) given by `of`.
  using CostateOf =
      std::function<Vector(std::size_t i, const Sample& sample, const Vector& c, double& asymmetry)>;
  Gradient form_with(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                     std::span<const std::vector<Relaxation>> rows, const CostateOf& of) const;
  std::string name_;
  std::shared_ptr<const Model> model_;
  CurrentLawOptions law_;
};

/// The nudge -+beta c at the outputs, with c frozen at the free state.
class Nudging {
 public:
  explicit Nudging(const DeviceInfo& info);
  /// beta, reduced where -+beta c would leave the range of an output. Callers divide the shift by this
  /// imposed value. `c` is dL/dmu [n_free].
  double beta(double wanted, const Vector& c) const;
  /// Currents [n_nudgeable] of sign x beta x c.
  Vector currents(double sign, double wanted, const Vector& c) const;
  /// The same by free node, [n_free].
  Vector at_free(double sign, double wanted, const Vector& c) const;

 private:
  std::vector<std::uint32_t> positions_;  // of each output among the readings
  std::vector<Eigen::Index> places_;      // of each output in Drive::nudge
  std::vector<Range> ranges_;
  Eigen::Index size_ = 0;
};
/// Empty if every output can be nudged both ways.
std::string unmet_by_nudging(const DeviceInfo& info);
/// Empty if this free terminal can be nudged both ways.
std::string unmet_by_nudging(const DeviceInfo& info, std::uint32_t terminal);
/// dL/dmu [n_read] of a sample at a free relaxation; zero except at the outputs.
Vector cotangent(const DeviceInfo& info, const Minibatch& batch, const Loss& loss, std::size_t sample,
                 const Relaxation& free);

}  // namespace ness
