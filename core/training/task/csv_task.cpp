#include "ness/training/csv_task.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string_view>

#include "ness/device/error.hpp"
#include "ness/device/number_text.hpp"

namespace ness {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r";
  const std::size_t first = text.find_first_not_of(blank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  while (true) {
    const std::size_t comma = line.find(',');
    fields.push_back(trimmed(line.substr(0, comma)));
    if (comma == std::string_view::npos) return fields;
    line.remove_prefix(comma + 1);
  }
}

// One CSV file: the named columns as numbers, row by row.
// What is usual elsewhere, and not here.
std::string hint(const std::string& names) {
  if (names.find(',') == std::string::npos && names.find_first_of(";\t") != std::string::npos)
    return " (columns are separated by commas)";
  if (names.find('"') != std::string::npos) return " (names are written without quotes)";
  return names.starts_with("'#") ? " (the first line holds the names, not a comment)" : "";
}

class CsvReader {
 public:
  explicit CsvReader(const std::string& path) : path_(path), file_(path) {
    if (!file_ || std::filesystem::is_directory(path)) throw FileError(path + ": cannot be opened");
    std::string header;
    if (!next_line(header))
      throw FileError(path + ": empty; expected a header line with the names of the columns");
    if (header.starts_with("\xef\xbb\xbf")) header.erase(0, 3);
    for (const std::string_view name : fields_of(header)) names_.emplace_back(name);
  }

  // Finds the columns; `line_` is the header line.
  std::vector<std::size_t> find(const std::vector<std::string>& columns) const {
    std::vector<std::size_t> found;
    for (const std::string& column : columns) {
      const auto place = std::find(names_.begin(), names_.end(), column);
      if (place == names_.end()) {
        std::string all;
        for (const std::string& name : names_) all += (all.empty() ? "'" : ", '") + name + "'";
        throw FileError(here() + ": column '" + column + "': not there; the columns are " + all + hint(all));
      }
      if (std::find(place + 1, names_.end(), column) != names_.end()) {
        throw FileError(here() + ": column '" + column + "': is there twice");
      }
      found.push_back(static_cast<std::size_t>(place - names_.begin()));
    }
    return found;
  }

  // The numbers of the next row in the columns `wanted`; false at the end.
  bool row(const std::vector<std::size_t>& wanted, std::vector<double>& values) {
    std::string line;
    if (!next_line(line)) return false;
    const std::vector<std::string_view> fields = fields_of(line);
    if (fields.size() != names_.size()) {
      const std::size_t missing = std::min(fields.size(), names_.size() - 1);
      throw FileError(here() + ": column '" + names_[missing] + "': " + std::to_string(fields.size()) +
                      " fields; expected " + std::to_string(names_.size()) + ", as in the header");
    }
    values.clear();
    for (const std::size_t column : wanted) values.push_back(parsed(fields[column], column));
    return true;
  }

  std::uint64_t line() const { return line_; }
  std::string here() const { return path_ + ":" + std::to_string(line_); }
  const std::string& name(std::size_t column) const { return names_[column]; }

 private:
  bool next_line(std::string& line) {
    while (std::getline(file_, line)) {
      ++line_;
      if (!trimmed(line).empty()) return true;
    }
    if (file_.bad()) throw FileError(here() + ": cannot be read further");
    return false;
  }

  double parsed(std::string_view field, std::size_t column) const {
    double value = 0;
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    if (error == std::errc() && end == field.data() + field.size() && std::isfinite(value)) return value;
    throw FileError(here() + ": column '" + names_[column] + "': '" + std::string(field) +
                    "'; expected a finite number");
  }

  std::string path_;
  std::ifstream file_;
  std::uint64_t line_ = 0;
  std::vector<std::string> names_;
};

Dataset csv_dataset(const std::string& name, const std::string& path, const CsvOptions& options,
                    std::uint32_t classes) {
  CsvReader file(path);
  std::vector<std::string> columns = options.inputs;
  columns.insert(columns.end(), options.targets.begin(), options.targets.end());
  const std::vector<std::size_t> wanted = file.find(columns);
  const std::size_t inputs = options.inputs.size();

  auto origin = std::make_shared<SampleOrigin>();
  origin->file = path;
  origin->inputs = options.inputs;
  origin->targets = options.targets;
  std::vector<double> values, input_values, target_values;
  std::uint64_t count = 0;
  while (file.row(wanted, values)) {
    for (std::size_t i = 0; i < inputs; ++i) {
      const double level = options.input_offset + options.input_scale * values[i];
      if (!std::isfinite(level)) {
        throw FileError(file.here() + ": column '" + columns[i] + "': " + number_text(values[i]) +
                        "; its level is not finite");
      }
      input_values.push_back(level);
    }
    for (std::size_t i = inputs; i < values.size(); ++i) {
      const double target = values[i];
      if (classes > 0 && !(target >= 0 && target < classes && target == std::floor(target))) {
        throw FileError(file.here() + ": column '" + columns[i] + "': " + number_text(target) +
                        "; expected a class, a whole number below " + std::to_string(classes));
      }
      target_values.push_back(target);
    }
    origin->lines.push_back(file.line());
    ++count;
  }
  if (count == 0) throw FileError(path + ": no row of data after the header");

  const auto rows = static_cast<Eigen::Index>(count);
  Dataset set;
  set.inputs = std::make_shared<DensePatterns>(
      name, Eigen::Map<const RowMatrix>(input_values.data(), rows, static_cast<Eigen::Index>(inputs)));
  set.targets = Eigen::Map<const RowMatrix>(target_values.data(), rows,
                                            static_cast<Eigen::Index>(options.targets.size()));
  set.origin = std::move(origin);
  set.rows.resize(count);
  for (std::uint64_t i = 0; i < count; ++i) set.rows[i] = i;
  return set;
}

}  // namespace

Task csv_task(const CsvOptions& options, std::uint32_t classes, double readout_scale) {
  if (options.inputs.empty() || options.targets.empty()) {
    throw std::invalid_argument("csv task: at least one input column and one target column must be named");
  }
  if (classes > 0 && options.targets.size() != 1) {
    throw std::invalid_argument("csv task: " + std::to_string(options.targets.size()) +
                                " target columns; a classification has one");
  }
  if (!std::isfinite(options.input_scale) || !std::isfinite(options.input_offset)) {
    throw std::invalid_argument("csv task: input_scale and input_offset must be finite");
  }
  Task task;
  task.name = "csv";
  task.train = csv_dataset("train", options.train, options, classes);
  const auto threshold = threshold_of(task.train.targets);
  if (classes > 0) task.loss = std::make_shared<CrossEntropy>(readout_scale);
  else if (threshold) task.loss = std::make_shared<SquaredError>(*threshold);
  else task.loss = std::make_shared<SquaredError>();
  if (!options.test.empty()) task.test = csv_dataset("test", options.test, options, classes);
  return task;
}

}  // namespace ness
