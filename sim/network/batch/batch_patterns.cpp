#include "batch/batch_patterns.hpp"

#include <algorithm>
#include <limits>

#include "ness/device/parallel.hpp"

namespace ness::sim::batches {

namespace {
constexpr double least_share = 0.6;           // of the inputs at the commonest level
constexpr std::size_t ahead = 3;              // samples: levels are prefetched this far ahead
constexpr std::size_t looked_at = 4;          // samples that determine what is common,
constexpr std::size_t looked_at_inputs = 16;  // and which inputs are varied
}  // namespace

template <class T>
InputLevels<T>::InputLevels(std::span<const Pattern> patterns, T scale, T inverse, bool based,
                            unsigned threads, Memory memory)
    : patterns_(patterns.begin(), patterns.end()),
      width_(patterns.front().set->width()),
      singles_(std::move(memory)),
      wide_(patterns.size()) {
  singles_.resize(patterns.size());
  if (based) find_base(patterns);
  find_varied(patterns);
  std::vector<double> low(patterns.size()), high(patterns.size());
  for_each_index(patterns.size(), threads, [&](std::size_t i) {
    thread_local Vector levels;
    thread_local std::vector<SingleInput<T>> singles;
    thread_local std::vector<T> scratch;
    thread_local std::vector<double> chosen;
    if (i + ahead < patterns.size()) patterns[i + ahead].set->expect(patterns[i + ahead].row);
    levels.resize(static_cast<Eigen::Index>(width_));
    singles.resize(width_ + block);  // whole vectors are written
    scratch.resize(2 * width_);
    chosen.resize(width_);
    patterns[i].set->levels(patterns[i].row, levels);
    double ends[2] = {};
    const std::uint32_t count =
        arithmetic<T>().find_singles(width_, levels.data(), scale, base_of_.data(), varied_.data(),
                                     varied_.size(), singles.data(), ends, chosen.data(), scratch.data());
    singles_[i].assign(singles.begin(), singles.begin() + count);
    low[i] = ends[0];
    high[i] = ends[1];
    wide_[i] = std::max(-ends[0], ends[1]) * static_cast<double>(inverse) <= widest ? 0 : 1;
  });
  low_ = *std::min_element(low.begin(), low.end());
  high_ = *std::max_element(high.begin(), high.end());
}

template <class T>
bool InputLevels<T>::of(std::span<const Pattern> patterns) const {
  return std::equal(patterns.begin(), patterns.end(), patterns_.begin(), patterns_.end(),
                    [](const Pattern& a, const Pattern& b) { return a.row == b.row && a.set == b.set; });
}

// Boyer-Moore majority vote: a level that more than half of the inputs have wins, since every other level
// removes only one vote.
template <class T>
void InputLevels<T>::find_base(std::span<const Pattern> patterns) {
  const std::size_t samples = std::min(looked_at, patterns.size());
  Vector levels(static_cast<Eigen::Index>(samples * width_));
  for (std::size_t i = 0; i < samples; ++i)
    patterns[i].set->levels(patterns[i].row, levels.segment(static_cast<Eigen::Index>(i * width_),
                                                            static_cast<Eigen::Index>(width_)));
  std::size_t votes = 0;
  double candidate = 0;
  for (const double x : levels) {
    if (votes == 0) candidate = x;
    if (x == candidate) {
      ++votes;
    } else if (votes > 0) {  // 0 votes: the candidate is NaN
      --votes;
    }
  }
  const auto have = static_cast<double>(std::count(levels.begin(), levels.end(), candidate));
  if (!(have > least_share * static_cast<double>(levels.size()))) return;
  based_ = true;
  base_ = candidate;
  share_ = have / static_cast<double>(levels.size());
}

template <class T>
void InputLevels<T>::find_varied(std::span<const Pattern> patterns) {
  std::vector<std::uint32_t> often(width_, 0);
  const std::size_t samples = std::min(looked_at_inputs, patterns.size());
  Vector levels(static_cast<Eigen::Index>(width_));
  for (std::size_t i = 0; i < samples && based_; ++i) {
    if (i + ahead < samples) patterns[i + ahead].set->expect(patterns[i + ahead].row);
    patterns[i].set->levels(patterns[i].row, levels);
    const double* const level = levels.data();
    for (std::size_t k = 0; k < width_; ++k) often[k] += level[k] == base_ ? 0U : 1U;
  }
  common_.assign(width_, 0);
  base_of_.assign(width_, std::numeric_limits<double>::quiet_NaN());
  for (std::uint32_t k = 0; k < width_; ++k) {
    if (based_ && 2 * often[k] <= samples) {
      common_[k] = 1;
      base_of_[k] = base_;
    } else {
      varied_.push_back(k);
    }
  }
}

template class InputLevels<float>;
template class InputLevels<double>;

}  // namespace ness::sim::batches
