// How strongly to nudge: chosen before training, from the noise of the readings and the curvature of the shift.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ness/training/estimator.hpp"

namespace ness {

/// beta as it was given, or as it was chosen: 0 stands for what prepare is to choose, and the choice is kept.
class NudgeStrength {
 public:
  /// Throws std::invalid_argument, beginning with `who`, for what is no strength.
  NudgeStrength(double given, const std::string& who);
  bool automatic() const { return automatic_; }
  /// Throws std::logic_error where it was not chosen.
  double value() const;
  void choose(double beta) { value_ = beta; }
  /// One number where it was chosen, none else.
  Vector state() const;
  void restore(const Vector& state, std::string_view who);

 private:
  bool automatic_;
  double value_;
};

/// How the error of a costate found with nudges -+beta c depends on beta.
struct NudgeError {
  int order = 2;     ///< of the bias in beta
  double noise = 1;  ///< standard error of an entry of the costate at beta = 1, of readings whose error is 1
};

struct NudgeSize {
  double beta = 0;
  std::uint64_t relaxations = 0;
};

/// The beta at which the error of the costates is least, from at most four samples of `batch`.
///
/// `measure(few, beta)` measures the costates of a minibatch, empty where one could not be had, and adds what it relaxed to its last
/// argument. They are measured at h and 2 h, where the largest nudge is 0.2 and 0.4 units of current, or a quarter and half of the
/// narrowest nudge range if that is less; where no sample can be had at both, at a quarter of that, and so on. The noise is
/// Relaxation::sigma of the free states; the scatter of four of them where the device does not know it; the bound on what was left to
/// settle where it is deterministic. beta stays <= 2 h, where the curvature was seen; it is 1e-3 where nothing could be seen.
NudgeSize best_nudge(Device& device, const DeviceInfo& info, const Minibatch& batch, const Loss& loss, const NudgeError& error,
                     const std::function<std::vector<std::optional<Vector>>(const Minibatch& few, double beta, std::uint64_t& relaxations)>& measure,
                     std::stop_token stop);

}  // namespace ness
