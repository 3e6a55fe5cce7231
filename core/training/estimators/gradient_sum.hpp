// Sums over samples from which the estimators compute a gradient.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "ness/training/estimator.hpp"

namespace ness {

/// The loss, the counts and the quality flags of a gradient. Samples are added in order.
class GradientSum {
 public:
  GradientSum(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
              std::span<const std::vector<Relaxation>> rows);

  /// Output potentials of a relaxation.
  Vector outputs(const Relaxation& row) const { return outputs(row.potential); }
  Vector outputs(const Vector& potential) const;
  /// Loss of sample i at its relaxation `position`.
  double loss_at(std::size_t i, std::size_t position) const { return loss_at(i, position, nullptr); }
  /// Loss of sample i at potentials [n_read].
  double loss_of(std::size_t i, const Vector& potential) const;
  /// dL/dmu of sample i at its free relaxation, [n_free]. Every free potential must be read.
  Vector cotangent(std::size_t i) const;
  /// The same, and the loss there.
  Vector cotangent(std::size_t i, double& loss) const;

  /// For a classification loss: true if sample i is classified correctly at potentials [n_read].
  bool correct(std::size_t i, const Vector& potential) const;

  /// Counts sample i, with its loss.
  void use(std::size_t i);
  /// Counts a sample with a loss and fraction correct that are known already, or do not belong to its first
  /// relaxation.
  void use(double loss, double correct);
  void leave_out(std::size_t i) {
    ++gradient_.left_out;
    gradient_.without.push_back(static_cast<std::uint32_t>(i));
  }
  /// Counts attempts that ended on another branch.
  void lose(std::uint64_t attempts) { gradient_.lost += attempts; }
  /// Adds the asymmetry measured at one sample.
  void asymmetry(double found);
  /// The mean gradient over the samples used: `sum`, already divided by `divided_by`; NaN if no sample was
  /// used.
  Gradient finish(Vector sum, double divided_by = 1);

 private:
  double loss_at(std::size_t i, std::size_t position, Vector* gradient) const;
  const Minibatch& batch_;
  const Loss& loss_;
  std::span<const std::vector<Relaxation>> rows_;
  std::vector<std::uint32_t> output_positions_;
  Gradient gradient_;
  double asymmetry_sum_ = 0;
  std::uint64_t asymmetries_ = 0;
};

/// Costates, each with its sample, free drive and free state.
struct Contraction {
  std::vector<std::size_t> samples;
  std::vector<Drive> drives;  ///< free drives
  std::vector<Vector> potentials;
  std::vector<Vector> costates;

  /// Adds sample i at its free state; the caller sets its costate.
  void add(const Minibatch& batch, std::size_t i, const Relaxation& free);
};
/// Contracts the costates with the model's dI/dtheta at the free states. Samples without a finite costate are
/// left out.
Gradient contracted(const Model& model, GradientSum total, Contraction parts, std::size_t parameters);

/// The mean of passes over one minibatch, weighted by the samples used, with its errors.
///
/// Errors that every pass states are combined as those of independent figures. The scatter between passes
/// takes their place where they are not stated, or where it exceeds them by more than chance (once in 1000):
/// it has in it what readings do not know, such as noise of what is written. `repeats`: independent: so for
/// both errors; random: for Gradient::whole_error alone; dependent: for neither.
Gradient mean_of(std::span<const Gradient> passes, Estimator::Repeats repeats);

/// Empty if all potentials that a model needs can be read, and the model has the size of this device.
std::string unmet_by_model(const DeviceInfo& info, const Model& model);
/// Empty if every output and every free potential is read.
std::string unmet_by_readings(const DeviceInfo& info);
/// Empty if every free terminal can be held and its current read.
std::string unmet_by_holding(const DeviceInfo& info);
/// Empty if every output is read.
std::string unmet_by_outputs(const DeviceInfo& info);

}  // namespace ness
