// Choice of the nudge before training, from the noise of the readings and the curvature of the shift.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ness/training/estimator.hpp"

namespace ness {

/// beta: given, or chosen by prepare (given as 0) and kept.
class NudgeStrength {
 public:
  /// Throws std::invalid_argument, beginning with `who`, for an invalid beta.
  NudgeStrength(double given, const std::string& who);
  bool automatic() const { return automatic_; }
  /// Throws std::logic_error if it has not been chosen yet.
  double value() const;
  void choose(double beta) { value_ = beta; }
  /// One number if beta was chosen; empty if it was given.
  Vector state() const;
  void restore(const Vector& state, std::string_view who);

 private:
  bool automatic_;
  double value_;
};

/// How the error of a costate measured with nudges -+beta c depends on beta.
struct NudgeError {
  int order = 2;  ///< order of the bias in beta
  /// Standard error of an entry of the costate at beta = 1, if each reading has standard error 1.
  double noise = 1;
};

struct NudgeSize {
  double beta = 0;
  std::uint64_t relaxations = 0;
};

/// The beta with the smallest error of the costates, from at most four samples of `batch`.
///
/// `measure(few, beta)` measures the costates of a minibatch, empty where that failed, and adds its
/// relaxations to its last argument. They are measured at h and 2 h, where the largest nudge is 0.2 and 0.4
/// units of current, or a quarter and half of the narrowest nudge range if that is less. If no sample can be
/// measured at both, h is divided by four, and so on. The noise is Relaxation::sigma of the free states; or
/// the scatter of four of them if the device does not know it; or the bound on the remaining settling if the
/// device is deterministic. beta is at most 2 h, up to which the curvature was measured; it is 1e-3 if
/// nothing could be measured.
NudgeSize best_nudge(Device& device, const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                     const NudgeError& error,
                     const std::function<std::vector<std::optional<Vector>>(
                         const Minibatch& few, double beta, std::uint64_t& relaxations)>& measure,
                     std::stop_token stop);

}  // namespace ness
