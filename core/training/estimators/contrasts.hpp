// Estimators that compare a free relaxation with contrasts to it: how a sample's chain is laid out, and told apart again.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ness/training/estimator.hpp"

namespace ness {

/// What a chain has shown when its next contrast is chosen.
struct Seen {
  const Relaxation* free = nullptr;          ///< null where the estimator relaxes nothing freely
  std::vector<const Relaxation*> contrasts;  ///< so far, as read
  std::uint64_t lost = 0;                    ///< attempts at this sample whose branch was lost
};

/// The contrasts of a minibatch.
class ContrastPlan {
 public:
  virtual ~ContrastPlan() = default;
  virtual std::size_t contrasts(std::size_t sample) const = 0;
  /// Turns the free drive of a sample into its contrast number k. False: the chain ends here, and the sample is left out.
  virtual bool impose(Drive& drive, std::size_t sample, std::size_t k, const Seen& so_far) const = 0;
};

/// A sample whose chain is whole.
struct Sample {
  std::size_t index = 0;                 ///< in the minibatch
  const Relaxation* free = nullptr;
  std::vector<const Relaxation*> contrasts;
  std::uint64_t lost = 0;                ///< attempts before this one
  std::vector<Vector> potential;         ///< [contrasts][n_read] their readings, drift taken off where that is asked for
};

class ContrastEstimator : public Estimator {
 public:
  std::vector<Chain> chains(const DeviceInfo& info, const Minibatch& batch, const Loss& loss) const final;

 protected:
  /// Throws std::invalid_argument, beginning with `name`, for options that make no sense.
  ContrastEstimator(const std::string& name, const ContrastOptions& options);
  virtual std::unique_ptr<const ContrastPlan> plan(const DeviceInfo& info, const Minibatch& batch, const Loss& loss) const = 0;
  /// One chain a sample with the contrasts of any plan: what is measured to choose a size needs not all of the estimator's.
  std::vector<Chain> chains_of(std::shared_ptr<const ContrastPlan> plan, const DeviceInfo& info, const Minibatch& batch) const;
  /// Contrasts start as the free relaxation does, not from where it ended: what is compared is a state that will be used.
  virtual bool starts_afresh() const { return false; }
  /// False: there is nothing but contrasts.
  virtual bool relaxes_freely() const { return true; }

  /// Relaxations of a sample with this many contrasts.
  double relaxations(const DeviceInfo& info, double contrasts) const;

  /// All that has to be known of the rows.
  struct Told {
    std::vector<std::optional<Sample>> samples;  ///< [minibatch]; empty: to be left out
    std::uint64_t lost = 0;                      ///< attempts that ended on another branch
  };
  Told tell_apart(const DeviceInfo& info, const Minibatch& batch, const ContrastPlan& plan, std::span<const std::vector<Relaxation>> rows) const;

 private:
  struct Walk;
  std::uint32_t references(const DeviceInfo& info, std::size_t contrasts, bool at_a_time) const;
  Walk walk(const DeviceInfo& info, std::size_t contrasts, bool at_a_time, std::span<const Relaxation> rows) const;
  void take_drift_off(const Walk& walk, std::span<const Relaxation> rows, Sample& sample) const;
  ContrastOptions contrast_options_;
};

}  // namespace ness
