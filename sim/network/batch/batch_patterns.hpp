// Patterns of a minibatch, as batches use them: levels in the units and precision of the kernels, the
// commonest level, and the inputs that differ from it.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "batch/batch_kernels.hpp"
#include "ness/device/pattern.hpp"

namespace ness::sim::batches {

/// Bound of |mu|/(kT T) within which no product of exponentials overflows single precision.
constexpr double widest = 30;

template <class T>
class InputLevels {
 public:
  using Memory = std::vector<std::vector<SingleInput<T>>>;
  /// scale, inverse: as in Values. `based`: look for a commonest level; it is used if more than 60 % of the
  /// inputs have it. An input with another level in more than half of the first patterns is not common but
  /// varied: evaluating its edges at its own level in every sample takes less than evaluating them at both
  /// levels where they differ. `memory`: taken from an earlier object.
  InputLevels(std::span<const Pattern> patterns, T scale, T inverse, bool based, unsigned threads,
              Memory memory = {});
  Memory memory() && { return std::move(singles_); }

  /// True if this was made from these patterns.
  bool of(std::span<const Pattern> patterns) const;
  bool based() const { return based_; }
  double base() const { return base_; }    ///< the commonest level (kT)
  double share() const { return share_; }  ///< share of the inputs at the commonest level; 0 if there is none
  const std::vector<std::uint8_t>& common() const { return common_; }  ///< [inputs] 1: counts as common
  /// number of inputs that are not common
  std::size_t varied() const { return varied_.size(); }
  double low() const { return low_; }  ///< smallest and largest level (kT)
  double high() const { return high_; }
  /// The common inputs that differ from the commonest level, then the varied ones; without a commonest level
  /// all are varied.
  std::span<const SingleInput<T>> singles(std::size_t sample) const { return singles_[sample]; }
  /// True if a level is so large that products of exponentials overflow: the sample cannot be in a batch.
  bool wide(std::size_t sample) const { return wide_[sample] != 0; }

 private:
  void find_base(std::span<const Pattern> patterns);
  void find_varied(std::span<const Pattern> patterns);

  std::vector<Pattern> patterns_;
  std::size_t width_ = 0;
  bool based_ = false;
  double base_ = 0, share_ = 0, low_ = 0, high_ = 0;
  std::vector<std::uint8_t> common_;
  std::vector<std::uint32_t> varied_;
  std::vector<double> base_of_;  // [inputs] the commonest level; NaN: a varied input
  Memory singles_;
  std::vector<std::uint8_t> wide_;
};

}  // namespace ness::sim::batches
