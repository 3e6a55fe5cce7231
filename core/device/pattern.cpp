#include "ness/device/pattern.hpp"

#include <cmath>
#include <span>
#include <stdexcept>
#include <utility>

#include "ness/device/digest.hpp"
#include "ness/device/number_text.hpp"

namespace ness {

Vector PatternSet::levels(std::uint64_t row) const {
  Vector out(width());
  levels(row, out);
  return out;
}

std::uint64_t PatternSet::digest() const {
  if (digest_) return *digest_;
  // Row by row, so that the levels of a large set are not all in memory.
  std::vector<std::uint64_t> parts{base_rows(), width()};
  parts.reserve(base_rows() + 2);
  Vector row_levels(width());
  for (std::uint64_t row = 0; row < base_rows(); ++row) {
    levels(row, row_levels);
    parts.push_back(ness::digest(VectorView(row_levels)));
  }
  digest_ = ness::digest(std::as_bytes(std::span<const std::uint64_t>(parts)));
  return *digest_;
}

DensePatterns::DensePatterns(std::string name, RowMatrix levels, std::optional<Source> source)
    : name_(std::move(name)), levels_(std::move(levels)), source_(std::move(source)) {
  for (Eigen::Index i = 0; i < levels_.rows(); ++i) {
    for (Eigen::Index j = 0; j < levels_.cols(); ++j) {
      if (std::isfinite(levels_(i, j))) continue;
      throw std::invalid_argument("pattern set '" + name_ + "': level " + std::to_string(j) + " of row " +
                                  std::to_string(i) + " is " + number_text(levels_(i, j)) +
                                  "; levels must be finite");
    }
  }
}

void DensePatterns::levels(std::uint64_t row, Eigen::Ref<Vector> out) const {
  if (row >= rows()) {
    throw std::invalid_argument("pattern set '" + name_ + "': row " + std::to_string(row) + " of " +
                                std::to_string(rows()));
  }
  out = levels_.row(static_cast<Eigen::Index>(row)).transpose();
}

Pattern pattern_of(const Vector& levels) {
  RowMatrix one(1, levels.size());
  one.row(0) = levels.transpose();
  return {std::make_shared<DensePatterns>("single", std::move(one)), 0};
}

}  // namespace ness
