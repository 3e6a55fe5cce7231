// Estimators that measure a costate by perturbed relaxations, and contract it with dI/dtheta from a model or
// from held steps.
#pragma once

#include <memory>
#include <string>

#include "estimators/perturbed_relaxations.hpp"
#include "estimators/gradient_sum.hpp"

namespace ness {

class CostateEstimator : public PerturbationEstimator {
 public:
  std::string_view name() const final { return name_; }
  std::string unmet_needs(const DeviceInfo& info) const final;
  double cost(const DeviceInfo& info) const override;
  Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
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
