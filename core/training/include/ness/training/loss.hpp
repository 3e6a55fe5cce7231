// Losses, by name: the functions that training minimises. Adding one: its class, the function that lists its
// keys, and a row of the table.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "ness/device/keys.hpp"
#include "ness/device/vector.hpp"

namespace ness {

/// The loss of one sample. The loss of a set is the mean over its samples. Samples are evaluated on several
/// threads at once.
class Loss {
 public:
  virtual ~Loss() = default;
  virtual std::string name() const = 0;
  /// Length of a target for `outputs` outputs.
  virtual std::size_t target_size(std::size_t outputs) const = 0;
  /// The loss of output potentials [n_outputs] against a target [target_size]. With `gradient`, writes
  /// dL/doutput there.
  virtual double value(const VectorView& output, std::span<const double> target,
                       Vector* gradient = nullptr) const = 0;
  /// True if targets are classes, so that `correct` has a meaning.
  virtual bool classifies() const { return false; }
  /// True if the output names the target's class; false for losses that do not classify.
  virtual bool correct(const VectorView& output, std::span<const double> target) const;
  /// True if `correct` has a meaning: targets are classes, or potentials of two classes told apart by a
  /// threshold.
  virtual bool has_accuracy() const { return classifies() || threshold().has_value(); }
  /// The potential (kT) between two classes at the one output; nothing where there is none.
  virtual std::optional<double> threshold() const { return std::nullopt; }
  /// The same loss with a threshold; null where the loss can have none.
  virtual std::shared_ptr<const Loss> with_threshold(double) const { return nullptr; }
};

/// Sum over outputs of (mu - target)^2 (Eq. 10). Target [n_outputs]. With a threshold (kT), which needs one
/// output: correct if output and target are on the same side of it.
class SquaredError final : public Loss {
 public:
  SquaredError() = default;
  explicit SquaredError(double threshold) : threshold_(threshold) {}
  std::string name() const override { return "squared-error"; }
  std::size_t target_size(std::size_t outputs) const override { return outputs; }
  double value(const VectorView& output, std::span<const double> target,
               Vector* gradient = nullptr) const override;
  bool correct(const VectorView& output, std::span<const double> target) const override;
  std::optional<double> threshold() const override { return threshold_; }
  std::shared_ptr<const Loss> with_threshold(double threshold) const override {
    return std::make_shared<SquaredError>(threshold);
  }

 private:
  std::optional<double> threshold_;
};

/// Softmax cross-entropy of scale * mu (natural logarithm); the target is one number, the class index.
/// Correct if the largest potential is the target's (the first of equals).
class CrossEntropy final : public Loss {
 public:
  /// Throws std::invalid_argument unless scale > 0 and finite. `scale` is in 1/kT.
  explicit CrossEntropy(double scale);
  std::string name() const override { return "cross-entropy"; }
  std::size_t target_size(std::size_t) const override { return 1; }
  double value(const VectorView& output, std::span<const double> target,
               Vector* gradient = nullptr) const override;
  bool classifies() const override { return true; }
  bool correct(const VectorView& output, std::span<const double> target) const override;

 private:
  double scale_;
};

/// A row of the table.
struct LossEntry {
  std::string_view name;
  std::string_view meaning;
  bool classifies = false;  ///< of targets that are classes; else potentials
  /// Lists the keys, and returns the loss with what they give.
  std::shared_ptr<const Loss> (*read)(Keys& keys) = nullptr;
};
std::span<const LossEntry> loss_table();

}  // namespace ness
