// Inputs by reference: a pattern is a row of a pattern set, so that 784 levels cost nothing to pass or to
// log.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ness/device/vector.hpp"

namespace ness {

/// Input levels, one row a pattern, immutable. A set may offer *variants* of its patterns (shifted images):
/// row `v * base_rows() + i` is variant v of pattern i; variant 0 is the pattern itself.
class PatternSet {
 public:
  virtual ~PatternSet() = default;

  /// A short name, unique within an experiment ("train", "test").
  virtual const std::string& name() const = 0;
  virtual std::uint64_t base_rows() const = 0;
  virtual std::uint32_t variants() const { return 1; }
  std::uint64_t rows() const { return base_rows() * variants(); }
  /// Levels per pattern: one for each clamped terminal, in terminal order.
  virtual std::uint32_t width() const = 0;
  /// Writes the levels of a row, [width], in units of the device's potential (kT). `row` < rows().
  virtual void levels(std::uint64_t row, Eigen::Ref<Vector> out) const = 0;
  Vector levels(std::uint64_t row) const;
  /// The levels of a row will be asked for in a moment: brings them nearer, where that helps.
  virtual void expect(std::uint64_t row) const { static_cast<void>(row); }

  /// Where the set can be had again, if it came from a file: a log names it by path and SHA-256, and copies
  /// its levels where they are few (LogOptions::largest_copy).
  struct Source {
    std::string path;      ///< of the file
    std::string encoding;  ///< how levels follow from the file's values, in words and numbers
  };
  virtual std::optional<Source> source() const { return std::nullopt; }

  /// Digest of all levels of variant 0 (computed on first use). Two sets with equal digests impose the same
  /// levels.
  std::uint64_t digest() const;

 private:
  mutable std::optional<std::uint64_t> digest_;
};

/// One input: a row of a set.
struct Pattern {
  std::shared_ptr<const PatternSet> set;
  std::uint64_t row = 0;

  Vector levels() const { return set->levels(row); }
};

/// Levels held in memory as they are, [rows x width].
class DensePatterns final : public PatternSet {
 public:
  /// `source`: the file they were read from, if any. Throws std::invalid_argument if a level is not finite.
  DensePatterns(std::string name, RowMatrix levels, std::optional<Source> source = {});
  const std::string& name() const override { return name_; }
  std::uint64_t base_rows() const override { return static_cast<std::uint64_t>(levels_.rows()); }
  std::uint32_t width() const override { return static_cast<std::uint32_t>(levels_.cols()); }
  void levels(std::uint64_t row, Eigen::Ref<Vector> out) const override;
  using PatternSet::levels;
  std::optional<Source> source() const override { return source_; }

 private:
  std::string name_;
  RowMatrix levels_;
  std::optional<Source> source_;
};

/// One pattern of its own: for single relaxations.
Pattern pattern_of(const Vector& levels);

}  // namespace ness
