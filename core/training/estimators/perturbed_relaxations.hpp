// Estimators that compare a free relaxation with perturbed ones: the order of relaxations in a sample's
// chain, and the assignment of its rows.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ness/training/estimator.hpp"

namespace ness {

/// The rows of a chain so far, when its next perturbation is chosen.
struct ChainSoFar {
  const Relaxation* free = nullptr;              ///< null if the estimator makes no free relaxation
  std::vector<const Relaxation*> perturbations;  ///< so far, as read
  std::uint64_t lost = 0;                        ///< attempts at this sample that lost their branch
};

/// The perturbed relaxations of a minibatch.
class PerturbationPlan {
 public:
  virtual ~PerturbationPlan() = default;
  virtual std::size_t perturbations(std::size_t sample) const = 0;
  /// Turns the free drive of a sample into its perturbation number k. False: the chain ends here, and the
  /// sample is left out.
  virtual bool impose(Drive& drive, std::size_t sample, std::size_t k, const ChainSoFar& so_far) const = 0;
};

/// A sample whose chain is complete.
struct Sample {
  std::size_t index = 0;  ///< in the minibatch
  const Relaxation* free = nullptr;
  std::vector<const Relaxation*> perturbations;
  std::uint64_t lost = 0;  ///< attempts before this one
  /// [perturbations][n_read] Their readings, with the drift subtracted if PerturbationOptions::cancel_drift.
  std::vector<Vector> potential;
};

class PerturbationEstimator : public Estimator {
 public:
  std::vector<Chain> chains(const DeviceInfo& info, const Minibatch& batch, const Loss& loss) const final;

 protected:
  /// Throws std::invalid_argument, beginning with `name`, for invalid options.
  PerturbationEstimator(const std::string& name, const PerturbationOptions& options);
  virtual std::unique_ptr<const PerturbationPlan> plan(const DeviceInfo& info, const Minibatch& batch,
                                                       const Loss& loss) const = 0;
  /// One chain per sample with the perturbations of `plan`; these may be fewer than the estimator's.
  std::vector<Chain> chains_of(std::shared_ptr<const PerturbationPlan> plan, const DeviceInfo& info,
                               const Minibatch& batch) const;
  /// True: perturbed relaxations have the start of the free relaxation. False: they start where it ended.
  virtual bool starts_afresh() const { return false; }
  /// False: all relaxations of a chain are perturbed.
  virtual bool relaxes_freely() const { return true; }

  /// Relaxations of a sample with this many perturbations.
  double relaxations(const DeviceInfo& info, double perturbations) const;

  /// The rows of a minibatch by sample.
  struct SortedRows {
    std::vector<std::optional<Sample>> samples;  ///< [minibatch]; empty: left out
    std::uint64_t lost = 0;                      ///< attempts that ended on another branch
  };
  SortedRows sort_rows(const DeviceInfo& info, const Minibatch& batch, const PerturbationPlan& plan,
                       std::span<const std::vector<Relaxation>> rows) const;

 private:
  struct Walk;
  std::uint32_t references(const DeviceInfo& info, std::size_t perturbations, bool at_a_time) const;
  Walk walk(const DeviceInfo& info, std::size_t perturbations, bool at_a_time,
            std::span<const Relaxation> rows) const;
  void subtract_drift(const Walk& walk, std::span<const Relaxation> rows, Sample& sample) const;
  PerturbationOptions perturbation_options_;
};

}  // namespace ness
