#include "ness/training/csv_task.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <stdexcept>

#include "ness/device/error.hpp"
#include "ness/device/number_text.hpp"
#include "ness/device/random.hpp"
#include "task/csv_reader.hpp"

namespace ness {
namespace {

constexpr std::uint64_t share_stream = 0x7368617265;  // stream of Random; that of split_off is another

// The rows of one file, in its own units.
struct Rows {
  std::vector<double> inputs, targets;  // [rows x columns]
  std::vector<std::string> words;       // [rows] of the one target column, where it holds classes
  std::shared_ptr<SampleOrigin> origin = std::make_shared<SampleOrigin>();

  std::uint64_t size() const { return origin->lines.size(); }
  [[noreturn]] void refuse(std::uint64_t row, const std::string& column, const std::string& what) const {
    throw FileError(origin->file + ":" + std::to_string(origin->lines[row]) + ": column '" + column +
                    "': " + what);
  }
};

Rows rows_of(const std::string& path, const CsvOptions& options, std::vector<std::string>& inputs,
             bool classes) {
  CsvReader file(path, options.dialect);
  if (inputs.empty()) inputs = file.chosen(options.inputs, options.targets);
  const std::vector<std::size_t> from = file.find(inputs), to = file.find(options.targets);
  Rows rows;
  rows.origin->file = path;
  rows.origin->inputs = inputs;
  rows.origin->targets = options.targets;
  CsvRow row;
  while (file.row(row)) {
    for (const std::size_t column : from) rows.inputs.push_back(file.number(row.texts[column], column));
    if (classes) rows.words.push_back(row.texts[to[0]]);
    else
      for (const std::size_t column : to) rows.targets.push_back(file.number(row.texts[column], column));
    rows.origin->lines.push_back(row.line);
  }
  if (rows.size() == 0) throw FileError(path + ": no row of data after the header");
  return rows;
}

// ---- classes --------------------------------------------------------------------------------------------

std::optional<double> number_in(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The labels of a training file in the order of their bytes; none where a label is a number.
std::vector<std::string> labels_in(const Rows& rows, std::uint32_t classes, const std::string& column) {
  std::set<std::string> all;
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    if (number_in(rows.words[i])) return {};
    if (rows.words[i].empty()) rows.refuse(i, column, "''; expected a label");
    all.insert(rows.words[i]);
  }
  if (all.size() != classes) {
    std::string some;
    std::size_t named = 0;
    for (const std::string& one : all) {
      if (named++ < 5) some += (some.empty() ? "'" : ", '") + one + "'";
    }
    throw FileError(rows.origin->file + ": column '" + column + "': " + std::to_string(all.size()) +
                    " labels, " + some + (named > 5 ? ", .." : "") +
                    "; expected as many as classes = " + std::to_string(classes));
  }
  return {all.begin(), all.end()};
}

void classify(Rows& rows, std::uint32_t classes, const std::vector<std::string>& labels) {
  const std::string& column = rows.origin->targets[0];
  std::map<std::string, double> place;
  for (const std::string& label : labels) place.emplace(label, static_cast<double>(place.size()));
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    const std::string& word = rows.words[i];
    if (!labels.empty()) {
      const auto found = place.find(word);
      if (found == place.end()) {
        std::string all;
        for (const std::string& label : labels) all += (all.empty() ? "'" : ", '") + label + "'";
        rows.refuse(i, column, "'" + word + "'; expected a label, one of " + all);
      }
      rows.targets.push_back(found->second);
      continue;
    }
    const std::optional<double> target = number_in(word);
    if (target && *target >= 0 && *target < classes && *target == std::floor(*target)) {
      rows.targets.push_back(*target);
      continue;
    }
    rows.refuse(i, column,
                (target ? number_text(*target) : "'" + word + "'") +
                    "; expected a class, a whole number below " + std::to_string(classes) +
                    (target && *target != classes ? "" : " (other labels are named by 'labels')"));
  }
}

// ---- parts ----------------------------------------------------------------------------------------------

// How many of each class go into a part of this share: whole numbers that add up to the share of all, by the
// largest remainders.
std::vector<std::uint64_t> quotas(const std::vector<std::uint64_t>& sizes, double share) {
  std::vector<std::uint64_t> taken;
  std::vector<std::pair<double, std::size_t>> rest;
  double total = 0;
  std::uint64_t sum = 0;
  for (std::size_t k = 0; k < sizes.size(); ++k) {
    const double exact = share * static_cast<double>(sizes[k]);
    taken.push_back(static_cast<std::uint64_t>(exact));
    rest.emplace_back(static_cast<double>(taken[k]) - exact, k);
    total += static_cast<double>(sizes[k]);
    sum += taken[k];
  }
  std::sort(rest.begin(), rest.end());
  const auto all = static_cast<std::uint64_t>(std::floor(share * total + 0.5));
  for (std::size_t i = 0; i < rest.size() && sum < all; ++i, ++sum) ++taken[rest[i].second];
  return taken;
}

struct Parts {
  std::vector<std::uint64_t> train, validation, test;  // rows, ascending
};

Parts parts_of(const Rows& rows, const CsvOptions& options, std::uint32_t classes) {
  std::vector<std::uint64_t> sizes(std::max<std::uint32_t>(classes, 1), 0);
  const auto stratum = [&](std::uint64_t row) {
    return classes > 0 ? static_cast<std::size_t>(rows.targets[row]) : std::size_t{0};
  };
  for (std::uint64_t i = 0; i < rows.size(); ++i) ++sizes[stratum(i)];
  std::vector<std::uint64_t> test = quotas(sizes, options.test_share),
                             validation = quotas(sizes, options.validation_share);
  Parts parts;
  for (const std::uint64_t row : Random(options.split_seed, share_stream).permutation(rows.size())) {
    const std::size_t k = stratum(row);
    if (test[k] > 0) --test[k], parts.test.push_back(row);
    else if (validation[k] > 0) --validation[k], parts.validation.push_back(row);
    else parts.train.push_back(row);
  }
  for (auto* part : {&parts.train, &parts.validation, &parts.test}) std::sort(part->begin(), part->end());
  const auto refuse = [&](const std::string& what) {
    throw FileError(rows.origin->file + ": " + std::to_string(rows.size()) + " rows; " + what);
  };
  if (options.test_share > 0 && parts.test.empty()) refuse("test_share leaves none to test with");
  if (options.validation_share > 0 && parts.validation.empty())
    refuse("validation_share leaves none to validate with");
  if (parts.train.empty()) refuse("the shares leave none to train on");
  return parts;
}

// ---- levels ---------------------------------------------------------------------------------------------

std::vector<std::pair<double, double>> standard_of(const Rows& rows, std::size_t inputs,
                                                   const std::vector<std::uint64_t>& train) {
  std::vector<std::pair<double, double>> standard;
  const auto count = static_cast<double>(train.size());
  for (std::size_t k = 0; k < inputs; ++k) {
    // Means of shares, and squares of shares of the largest: neither sum overflows.
    double mean = 0, largest = 0, sum = 0;
    for (const std::uint64_t row : train) mean += rows.inputs[row * inputs + k] / count;
    for (const std::uint64_t row : train)
      largest = std::max(largest, std::abs(rows.inputs[row * inputs + k] - mean));
    bool varies = false;
    for (const std::uint64_t row : train) {
      varies = varies || rows.inputs[row * inputs + k] != rows.inputs[train[0] * inputs + k];
      const double part = largest > 0 ? (rows.inputs[row * inputs + k] - mean) / largest : 0;
      sum += part * part / count;
    }
    const double deviation = largest * std::sqrt(sum);
    // The mean of equal numbers may be off by its rounding.
    if (!varies) mean = rows.inputs[train[0] * inputs + k];
    standard.emplace_back(mean, varies && deviation > 0 && std::isfinite(deviation) ? deviation : 1);
  }
  return standard;
}

// None where the file can be read once only, as a pipe.
std::optional<PatternSet::Source> source_of(const Rows& rows, const CsvOptions& options, bool standardised) {
  std::error_code none;
  const std::string& path = rows.origin->file;
  if (!std::filesystem::is_regular_file(path, none)) return std::nullopt;
  std::string columns;
  for (const std::string& column : rows.origin->inputs)
    columns += (columns.empty() ? "'" : ", '") + column + "'";
  const std::string value = standardised ? "(value - mean) / deviation" : "value";
  return PatternSet::Source{std::filesystem::absolute(path).lexically_normal().string(),
                            "columns " + columns + " of a CSV file: level = offset + scale " + value +
                                ", offset = " + number_text(options.input_offset) +
                                ", scale = " + number_text(options.input_scale)};
}

Dataset dataset_of(const std::string& name, Rows& rows, const CsvOptions& options,
                   const std::vector<std::pair<double, double>>& standard, bool classes) {
  const std::size_t inputs = rows.origin->inputs.size(), targets = rows.origin->targets.size();
  for (std::size_t i = 0; i < rows.inputs.size(); ++i) {
    const std::size_t k = i % inputs;
    const double value = rows.inputs[i];
    const double used = standard.empty() ? value : (value - standard[k].first) / standard[k].second;
    rows.inputs[i] = options.input_offset + options.input_scale * used;
    if (!std::isfinite(rows.inputs[i]))
      rows.refuse(i / inputs, rows.origin->inputs[k], number_text(value) + "; its level is not finite");
  }
  for (std::size_t i = 0; !classes && i < rows.targets.size(); ++i) {
    const double value = rows.targets[i];
    rows.targets[i] = options.target_offset + options.target_scale * value;
    if (!std::isfinite(rows.targets[i]))
      rows.refuse(i / targets, rows.origin->targets[i % targets],
                  number_text(value) + "; its target is not finite");
  }
  const auto count = static_cast<Eigen::Index>(rows.size());
  Dataset set;
  set.inputs = std::make_shared<DensePatterns>(
      name, Eigen::Map<const RowMatrix>(rows.inputs.data(), count, static_cast<Eigen::Index>(inputs)),
      source_of(rows, options, !standard.empty()));
  set.targets = Eigen::Map<const RowMatrix>(rows.targets.data(), count, static_cast<Eigen::Index>(targets));
  set.origin = rows.origin;
  set.rows.resize(rows.size());
  for (std::uint64_t i = 0; i < rows.size(); ++i) set.rows[i] = i;
  return set;
}

void check(const CsvOptions& options, std::uint32_t classes) {
  const auto refuse = [](const std::string& what) { throw std::invalid_argument("csv task: " + what); };
  if (options.inputs.empty() || options.targets.empty())
    refuse("at least one input column and one target column must be named");
  if (classes > 0 && options.targets.size() != 1)
    refuse(std::to_string(options.targets.size()) + " target columns; a classification has one");
  if (!std::isfinite(options.input_scale) || !std::isfinite(options.input_offset))
    refuse("input_scale and input_offset must be finite");
  if (!std::isfinite(options.target_scale) || !std::isfinite(options.target_offset) ||
      options.target_scale == 0)
    refuse("target_scale and target_offset must be finite, and target_scale not 0");
  const double test = options.test_share, validation = options.validation_share;
  if (!(test >= 0) || !(validation >= 0) || !(test + validation < 1))
    refuse("test_share and validation_share must be >= 0 and add up to less than 1");
  if (test > 0 && !options.test.empty())
    refuse("there is a test file, and a test_share too; expected one of the two");
  if (!options.learned.labels.empty() && options.learned.labels.size() != classes)
    refuse(std::to_string(options.learned.labels.size()) +
           " labels; expected as many as classes = " + std::to_string(classes));
}

}  // namespace

Task csv_task(const CsvOptions& options, std::uint32_t classes, double readout_scale, CsvLearned* learned) {
  check(options, classes);
  std::vector<std::string> inputs;
  Rows rows = rows_of(options.train, options, inputs, classes > 0);
  CsvLearned known = options.learned;
  if (classes > 0) {
    if (known.labels.empty()) known.labels = labels_in(rows, classes, options.targets[0]);
    classify(rows, classes, known.labels);
  }
  const Parts parts = parts_of(rows, options, classes);
  if (!options.standardise) known.standard.clear();
  else if (known.standard.empty()) known.standard = standard_of(rows, inputs.size(), parts.train);
  else if (known.standard.size() != inputs.size())
    throw std::invalid_argument("csv task: " + std::to_string(known.standard.size()) +
                                " means and deviations in 'standard'; expected one of each of the " +
                                std::to_string(inputs.size()) + " input columns");
  Task task;
  task.name = "csv";
  const Dataset all = dataset_of("train", rows, options, known.standard, classes > 0);
  task.train = all.subset(parts.train);
  if (!parts.validation.empty()) task.validation = all.subset(parts.validation);
  if (!parts.test.empty()) task.test = all.subset(parts.test);
  const auto threshold = threshold_of(task.train.targets);
  if (classes > 0) task.loss = std::make_shared<CrossEntropy>(readout_scale);
  else if (threshold) task.loss = std::make_shared<SquaredError>(*threshold);
  else task.loss = std::make_shared<SquaredError>();
  if (!options.test.empty()) {
    Rows test = rows_of(options.test, options, inputs, classes > 0);
    if (classes > 0) classify(test, classes, known.labels);
    task.test = dataset_of("test", test, options, known.standard, classes > 0);
  }
  if (learned) *learned = std::move(known);
  return task;
}

}  // namespace ness
