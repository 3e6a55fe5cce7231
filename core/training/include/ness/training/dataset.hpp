// Data sets and tasks: patterns with targets, split into train, validation and test.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ness/training/loss.hpp"
#include "ness/device/pattern.hpp"

namespace ness {

/// Where samples come from, for messages.
struct SampleOrigin {
  std::string file;
  std::vector<std::uint64_t> lines;              ///< of the file, [base rows of the pattern set]
  std::vector<std::string> inputs, targets;      ///< names of the columns
  std::string targets_file = {};                 ///< where the targets are; empty: in `file`
  std::vector<std::uint64_t> target_lines = {};  ///< of that file, if there is one
  std::vector<std::string> counting = {};        ///< inputs that count the rows by 1, as an index does
};

/// Samples: rows of a pattern set, each with a target. A subset is the same set with fewer rows.
struct Dataset {
  std::shared_ptr<const PatternSet> inputs;
  std::vector<std::uint64_t> rows;                  ///< [size] pattern row (variant 0) of each sample
  RowMatrix targets;                                ///< [size x target_size]
  std::shared_ptr<const SampleOrigin> origin = {};  ///< null: not known

  std::uint64_t size() const { return rows.size(); }
  Pattern pattern(std::uint64_t sample, std::uint32_t variant = 0) const {
    return {inputs, rows[sample] + variant * inputs->base_rows()};
  }
  std::span<const double> target(std::uint64_t sample) const {
    return {targets.data() + sample * static_cast<std::uint64_t>(targets.cols()),
            static_cast<std::size_t>(targets.cols())};
  }
  /// "points.csv:17", or "sample 3" (from 0) where the file is not known.
  std::string where(std::uint64_t sample) const;
  /// XXH3 (64 bit) of the levels of the pattern set, the rows and the targets together: sets with equal
  /// digests train alike.
  std::uint64_t digest() const;
  /// The same of its target, which may be in another file.
  std::string where_target(std::uint64_t sample) const;
  /// Hint: this sample is needed soon (PatternSet::expect).
  void expect(std::uint64_t sample) const;
  /// The samples with these indices.
  Dataset subset(std::span<const std::uint64_t> samples) const;
};

/// A task: the sets and the loss. The sets for validation and test may be empty.
struct Task {
  std::string name;
  Dataset train, validation, test;
  std::shared_ptr<const Loss> loss;
};

/// The same samples in the same order: equal levels and targets. Then a loss of `b` is one of `a`.
bool same_samples(const Dataset& a, const Dataset& b);

/// Halfway between the two targets of a set with one target column and two distinct targets: the potential
/// that tells its two classes apart; nothing for any other set.
std::optional<double> threshold_of(const RowMatrix& targets);

/// Exclusive or: two inputs at low or high (kT), one output at target_low or target_high. Four samples, in
/// the order 00, 01, 10, 11, train and test alike. Squared error; a class is
/// told apart halfway between the two targets.
Task xor_task(double low = 0, double high = 3, double target_low = 0, double target_high = 1);

struct RegressionOptions {
  double low = -3, high = 3;         ///< the domain of x
  std::uint32_t points = 60;         ///< evenly spaced, both ends included
  std::uint32_t hold_out_first = 2;  ///< test points are k = first, first + every, ..
  std::uint32_t hold_out_every = 5;  ///< 0: none held out
  /// Validation points are those of k = first, first + every, .. that are not test points
  std::uint32_t validate_first = 0;
  std::uint32_t validate_every = 0;  ///< 0: none
  double input_scale = 1;            ///< kT per unit of x
  double input_offset = 0;           ///< kT at x = 0
  double target_scale = 1;           ///< kT per unit of f(x)
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
};
/// Regression of f: input potential input_offset + input_scale * x, target target_scale * f(x). Squared
/// error. Throws std::invalid_argument for unusable options or where f(x) is not finite.
Task regression_task(const std::function<double(double)>& f, const RegressionOptions& options);

/// Moves `count` samples, chosen by a seeded permutation, from `set` to a new set. Throws
/// std::invalid_argument if count >= size.
Dataset split_off(Dataset& set, std::uint64_t count, std::uint64_t seed);

/// The least mean squared error of a monotone (increasing in every input) function on a set with one output:
/// the bound a cooperative network cannot pass (Theorem 1). Exact for one input (pool adjacent violators);
/// for more, by the isotonic regression over the partial order of the inputs, for at most 16 samples. Throws
/// std::invalid_argument otherwise.
double isotonic_bound(const Dataset& set);

}  // namespace ness
