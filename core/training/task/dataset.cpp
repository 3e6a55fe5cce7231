#include "ness/training/dataset.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "ness/device/digest.hpp"
#include "ness/device/random.hpp"
#include "ness/device/number_text.hpp"
#include "task/split_rows.hpp"

namespace ness {
namespace {

constexpr std::uint64_t split_stream = 0x73706c6974;  // stream of Random; epochs use small numbers

Dataset dense_dataset(const std::string& name, RowMatrix inputs, RowMatrix targets) {
  Dataset set;
  set.rows.resize(static_cast<std::size_t>(inputs.rows()));
  for (std::size_t i = 0; i < set.rows.size(); ++i) set.rows[i] = i;
  set.inputs = std::make_shared<DensePatterns>(name, std::move(inputs));
  set.targets = std::move(targets);
  return set;
}

// A function gives equal inputs equal values, so samples with equal inputs are one point with the mean of
// their targets.
struct Point {
  Vector input;
  double weight = 0;  // number of samples
  double mean = 0;    // of their targets
};

std::vector<Point> pooled_points(const Dataset& set) {
  std::vector<Point> samples;
  for (std::uint64_t i = 0; i < set.size(); ++i)
    samples.push_back({set.pattern(i).levels(), 1, set.target(i)[0]});
  std::stable_sort(samples.begin(), samples.end(), [](const Point& a, const Point& b) {
    return std::lexicographical_compare(a.input.begin(), a.input.end(), b.input.begin(), b.input.end());
  });
  std::vector<Point> points;
  for (const Point& sample : samples) {
    if (points.empty() || points.back().input != sample.input) {
      points.push_back(sample);
      continue;
    }
    Point& same = points.back();
    same.weight += 1;
    same.mean += (sample.mean - same.mean) / same.weight;
  }
  return points;
}

// Isotonic regression of points in ascending order (pool adjacent violators): the fitted value at each.
std::vector<double> pool_adjacent_violators(const std::vector<Point>& points) {
  struct Block {
    double weight, mean;
    std::size_t points;
  };
  std::vector<Block> blocks;
  for (const Point& point : points) {
    blocks.push_back({point.weight, point.mean, 1});
    while (blocks.size() > 1 && blocks[blocks.size() - 2].mean >= blocks.back().mean) {
      const Block last = blocks.back();
      blocks.pop_back();
      Block& merged = blocks.back();
      merged.mean = (merged.weight * merged.mean + last.weight * last.mean) / (merged.weight + last.weight);
      merged.weight += last.weight;
      merged.points += last.points;
    }
  }
  std::vector<double> values;
  for (const Block& block : blocks) values.insert(values.end(), block.points, block.mean);
  return values;
}

// Isotonic regression over a partial order by recursive partitioning (Luss, Rosset & Shahar 2012): a block is
// split at the upper set that exceeds the block's mean most; if there is none, the mean is the block's value.
// All upper sets are enumerated.
class PartialOrder {
 public:
  explicit PartialOrder(const std::vector<Point>& points)
      : points_(points), above_(points.size(), 0), values_(points.size(), 0) {
    for (std::size_t i = 0; i < points.size(); ++i) {
      for (std::size_t j = 0; j < points.size(); ++j) {
        if ((points[j].input.array() >= points[i].input.array()).all()) above_[i] |= std::uint32_t{1} << j;
      }
    }
  }

  std::vector<double> regression() {
    split((std::uint32_t{1} << points_.size()) - 1);
    return values_;
  }

 private:
  template <class Visit>
  static void each_member(std::uint32_t set, Visit visit) {
    for (; set != 0; set &= set - 1) visit(static_cast<std::size_t>(std::countr_zero(set)));
  }

  bool is_upper(std::uint32_t set, std::uint32_t block) const {
    bool upper = true;
    each_member(set, [&](std::size_t i) { upper = upper && (above_[i] & block & ~set) == 0; });
    return upper;
  }

  void split(std::uint32_t block) {
    double weight = 0, sum = 0;
    each_member(block, [&](std::size_t i) {
      weight += points_[i].weight;
      sum += points_[i].weight * points_[i].mean;
    });
    const double mean = sum / weight;
    double most = 0;
    std::uint32_t best = 0;
    for (std::uint32_t set = (block - 1) & block; set != 0; set = (set - 1) & block) {  // proper subsets
      double excess = 0;
      each_member(set, [&](std::size_t i) { excess += points_[i].weight * (points_[i].mean - mean); });
      if (excess > most && is_upper(set, block)) {
        most = excess;
        best = set;
      }
    }
    if (best == 0) {
      each_member(block, [&](std::size_t i) { values_[i] = mean; });
      return;
    }
    split(best);
    split(block & ~best);
  }

  const std::vector<Point>& points_;
  std::vector<std::uint32_t> above_;
  std::vector<double> values_;
};

}  // namespace

void Dataset::expect(std::uint64_t sample) const {
  constexpr std::size_t line = 8;  // numbers
  __builtin_prefetch(&rows[sample]);
  const std::span<const double> of_sample = target(sample);
  for (std::size_t at = 0; at < of_sample.size(); at += line) __builtin_prefetch(&of_sample[at]);
}

std::uint64_t Dataset::digest() const {
  const std::span<const double> all{targets.data(), static_cast<std::size_t>(targets.size())};
  const std::uint64_t parts[] = {inputs ? inputs->digest() : 0,
                                 inputs ? inputs->rows() : 0,
                                 rows.size(),
                                 ness::digest(std::as_bytes(std::span(rows))),
                                 static_cast<std::uint64_t>(targets.cols()),
                                 ness::digest(std::as_bytes(all))};
  return ness::digest(std::as_bytes(std::span(parts)));
}

std::string Dataset::where(std::uint64_t sample) const {
  if (origin && rows[sample] < origin->lines.size())
    return origin->file + ":" + std::to_string(origin->lines[rows[sample]]);
  return "sample " + std::to_string(sample);
}

std::string Dataset::where_target(std::uint64_t sample) const {
  if (origin && !origin->targets_file.empty() && rows[sample] < origin->target_lines.size())
    return origin->targets_file + ":" + std::to_string(origin->target_lines[rows[sample]]);
  return where(sample);
}

bool same_samples(const Dataset& a, const Dataset& b) {
  if (a.size() != b.size() || !a.inputs || !b.inputs || a.rows != b.rows) return false;
  if (a.targets.rows() != b.targets.rows() || a.targets.cols() != b.targets.cols()) return false;
  if (a.targets != b.targets) return false;
  return a.inputs == b.inputs ||
         (a.inputs->rows() == b.inputs->rows() && a.inputs->digest() == b.inputs->digest());
}

std::optional<double> threshold_of(const RowMatrix& targets) {
  if (targets.cols() != 1 || targets.rows() < 2) return std::nullopt;
  const double low = targets.minCoeff(), high = targets.maxCoeff();
  const bool two = (targets.array() == low || targets.array() == high).all();
  // The mean of two doubles next to each other is one of them, and tells nothing apart.
  const double middle = low + (high - low) / 2;
  if (!two || !(low < middle && middle < high)) return std::nullopt;
  return middle;
}

Dataset Dataset::subset(std::span<const std::uint64_t> samples) const {
  Dataset part;
  part.inputs = inputs;
  part.origin = origin;
  part.targets.resize(static_cast<Eigen::Index>(samples.size()), targets.cols());
  part.rows.reserve(samples.size());
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (samples[i] >= size()) {
      throw std::invalid_argument("subset: sample " + std::to_string(samples[i]) + " of " +
                                  std::to_string(size()));
    }
    part.rows.push_back(rows[samples[i]]);
    part.targets.row(static_cast<Eigen::Index>(i)) = targets.row(static_cast<Eigen::Index>(samples[i]));
  }
  return part;
}

Task xor_task(double low, double high, double target_low, double target_high) {
  RowMatrix inputs(4, 2), targets(4, 1);
  inputs << low, low, low, high, high, low, high, high;
  targets << target_low, target_high, target_high, target_low;
  Task task;
  task.name = "xor";
  task.train = dense_dataset("train", inputs, targets);
  task.test = task.train;
  const auto threshold = threshold_of(task.train.targets);
  task.loss = threshold ? std::make_shared<SquaredError>(*threshold) : std::make_shared<SquaredError>();
  return task;
}

std::string RegressionOptions::problem() const {
  if (!std::isfinite(low) || !std::isfinite(high) || !(low < high)) {
    return "the domain [" + number_text(low) + ", " + number_text(high) + "] must be finite, low below high";
  }
  if (points < 2) return std::to_string(points) + " points; at least 2 are needed";
  if (hold_out_every == 1) return "hold_out_every = 1 holds out every point; use 2 or more, or 0 for none";
  if (hold_out_every > 0 && hold_out_first >= points) {
    return "hold_out_first = " + std::to_string(hold_out_first) + " of " + std::to_string(points) +
           " points holds out none";
  }
  if (validate_every == 1)
    return "validate_every = 1 leaves no point to train on; use 2 or more, or 0 for none";
  if (!std::isfinite(input_scale) || input_scale == 0) return "input_scale must be finite and not 0";
  if (!std::isfinite(input_offset)) return "input_offset must be finite";
  if (!std::isfinite(target_scale) || target_scale == 0) return "target_scale must be finite and not 0";
  return {};
}

Task regression_task(const std::function<double(double)>& f, const RegressionOptions& options) {
  if (const std::string problem = options.problem(); !problem.empty())
    throw std::invalid_argument("regression: " + problem);
  std::vector<double> train_x, validation_x, test_x;
  const auto is_of = [](std::uint32_t k, std::uint32_t first, std::uint32_t every) {
    return every > 0 && k >= first && (k - first) % every == 0;
  };
  for (std::uint32_t k = 0; k < options.points; ++k) {
    const double x = options.low + (options.high - options.low) * k / (options.points - 1);
    if (is_of(k, options.hold_out_first, options.hold_out_every)) test_x.push_back(x);
    else if (is_of(k, options.validate_first, options.validate_every)) validation_x.push_back(x);
    else train_x.push_back(x);
  }
  const auto sampled = [&](const char* name, const std::vector<double>& xs) {
    RowMatrix inputs(static_cast<Eigen::Index>(xs.size()), 1),
        targets(static_cast<Eigen::Index>(xs.size()), 1);
    for (std::size_t i = 0; i < xs.size(); ++i) {
      const double y = f(xs[i]);
      if (!std::isfinite(y)) {
        throw std::invalid_argument("regression: f(" + number_text(xs[i]) + ") is " + number_text(y) +
                                    "; it must be finite");
      }
      inputs(static_cast<Eigen::Index>(i), 0) = options.input_offset + options.input_scale * xs[i];
      targets(static_cast<Eigen::Index>(i), 0) = options.target_scale * y;
    }
    return dense_dataset(name, std::move(inputs), std::move(targets));
  };
  Task task;
  task.name = "regression";
  if (train_x.empty()) throw std::invalid_argument("regression: no point is left to train on");
  task.train = sampled("train", train_x);
  if (!validation_x.empty()) task.validation = sampled("validation", validation_x);
  task.test = sampled("test", test_x);
  task.loss = std::make_shared<SquaredError>();
  return task;
}

std::vector<std::uint64_t> split_rows(std::vector<std::uint64_t>& rows, std::uint64_t count,
                                      std::uint64_t seed) {
  std::vector<std::uint64_t> order = Random(seed, split_stream).permutation(rows.size());
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>(count);
  std::sort(order.begin(), middle);
  std::sort(middle, order.end());
  std::vector<std::uint64_t> taken, kept;
  for (auto it = order.begin(); it != order.end(); ++it) (it < middle ? taken : kept).push_back(rows[*it]);
  rows = std::move(kept);
  return taken;
}

Dataset split_off(Dataset& set, std::uint64_t count, std::uint64_t seed) {
  if (count >= set.size()) {
    throw std::invalid_argument("split_off: " + std::to_string(count) + " of " + std::to_string(set.size()) +
                                " samples; at least one must stay");
  }
  std::vector<std::uint64_t> kept(set.size());
  for (std::uint64_t i = 0; i < kept.size(); ++i) kept[i] = i;
  const std::vector<std::uint64_t> taken = split_rows(kept, count, seed);
  Dataset part = set.subset(taken);
  set = set.subset(kept);
  return part;
}

double isotonic_bound(const Dataset& set) {
  if (set.size() == 0) throw std::invalid_argument("isotonic bound of an empty set");
  if (set.targets.cols() != 1) {
    throw std::invalid_argument("isotonic bound: " + std::to_string(set.targets.cols()) +
                                " targets a sample; one is needed");
  }
  const std::uint32_t inputs = set.inputs->width();
  if (inputs > 1 && set.size() > 16) {
    throw std::invalid_argument("isotonic bound: " + std::to_string(set.size()) + " samples of " +
                                std::to_string(inputs) +
                                " inputs; with several inputs at most 16 samples are supported");
  }
  const std::vector<Point> points = pooled_points(set);
  const std::vector<double> values =
      inputs == 1 ? pool_adjacent_violators(points) : PartialOrder(points).regression();
  double sum = 0;
  for (std::uint64_t i = 0; i < set.size(); ++i) {
    const Vector input = set.pattern(i).levels();
    const auto point =
        std::find_if(points.begin(), points.end(), [&](const Point& p) { return p.input == input; });
    const double error = set.target(i)[0] - values[static_cast<std::size_t>(point - points.begin())];
    sum += error * error;
  }
  return sum / static_cast<double>(set.size());
}

}  // namespace ness
