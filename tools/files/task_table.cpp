#include "ness/files/task_table.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <system_error>

#include "formula.hpp"
#include "ness/device/number_text.hpp"
#include "ness/training/csv_task.hpp"
#include "ness/training/find_data.hpp"
#include "ness/training/image_task.hpp"

namespace ness {

namespace {

TaskMaker read_xor(Keys& keys) {
  double low = 0, high = 3, target_low = 0, target_high = 1;
  keys.number("low", low, Number::finite, {"kT", "level of an input that is false"});
  keys.number("high", high, Number::finite, {"kT", "level of an input that is true"});
  keys.number("target_low", target_low, Number::finite,
              {"kT", "target of the output where it is to be false"});
  keys.number("target_high", target_high, Number::finite,
              {"kT", "target of the output where it is to be true"});
  return [=](const TaskContext&) { return xor_task(low, high, target_low, target_high); };
}

TaskMaker read_regression(Keys& keys) {
  RegressionOptions options;
  std::string text = "exp(-x^2/10)*sin(5*x)";
  keys.text("formula", text, {"", "the function of x that is to be learned"});
  std::pair<double, double> domain{options.low, options.high};
  keys.pair("domain", domain, {"", "first and last x"});
  options.low = domain.first;
  options.high = domain.second;
  keys.whole("points", options.points, 2, {"", "evenly spaced over the domain, both ends included"});
  keys.whole("hold_out_first", options.hold_out_first, 0, {"", "index of the first test point"});
  keys.whole("hold_out_every", options.hold_out_every, 0,
             {"", "points from a test point to the next; 0: no test points"});
  keys.whole("validate_first", options.validate_first, 0, {"", "index of the first validation point"});
  keys.whole(
      "validate_every", options.validate_every, 0,
      {"", "points from a validation point to the next, but for test points; 0: no validation points"});
  keys.number("input_scale", options.input_scale, Number::finite, {"kT", "level per unit of x"});
  keys.number("input_offset", options.input_offset, Number::finite, {"kT", "level at x = 0"});
  keys.number("target_scale", options.target_scale, Number::finite,
              {"kT", "target per unit of the function"});
  return [options, text, &keys](const TaskContext&) {
    keys.require(options.problem());
    try {
      return regression_task(formula(text), options);
    } catch (const std::invalid_argument& error) {
      keys.fail("formula", error.what());
      throw;  // not reached
    }
  };
}

std::string data_directory(const Keys& keys, const std::string& name, const TaskContext& context) {
  std::error_code ignored;
  if (std::filesystem::path(name).is_absolute()) return name;
  const bool recorded = context.data.empty() && !context.recorded.empty();
  if (recorded && std::filesystem::is_directory(context.recorded, ignored)) return context.recorded;
  try {
    return std::filesystem::absolute(find_data(name, context.data)).lexically_normal().string();
  } catch (const std::runtime_error& error) {
    keys.fail("data", error.what());
    throw;  // not reached
  }
}

TaskMaker read_images(Keys& keys) {
  ImageTaskOptions options;
  std::string data = "mnist";
  keys.text("data", data,
            {"", "the directory of the files, below the data root (--data), or an absolute path"});
  options.train_images = "train-images-idx3-ubyte.gz";
  options.train_labels = "train-labels-idx1-ubyte.gz";
  options.test_images = "t10k-images-idx3-ubyte.gz";
  options.test_labels = "t10k-labels-idx1-ubyte.gz";
  keys.text("train_images", options.train_images, {"", "IDX file, packed by gzip or not"});
  keys.text("train_labels", options.train_labels, {"", "IDX file, packed by gzip or not"});
  keys.text("test_images", options.test_images,
            {"", "IDX file, packed by gzip or not; an empty string: no test set"});
  keys.text("test_labels", options.test_labels, {"", "IDX file, packed by gzip or not"});
  std::pair<double, double> levels{options.encoding.low, options.encoding.high};
  keys.pair("levels", levels, {"kT", "levels of a black and of a white pixel"});
  options.encoding = {levels.first, levels.second};
  keys.whole("classes", options.classes, 2, {"", "number of classes; labels are below it"});
  keys.flag("shifts", options.shifts,
            {"", "training images are also shown shifted by a pixel, in one of 8 directions"});
  keys.whole("train_limit", options.train_limit, 0,
             {"images", "of the training set, from its beginning; 0: all"});
  keys.whole("test_limit", options.test_limit, 0, {"images", "of the test set, from its beginning; 0: all"});
  return [options, data, &keys](const TaskContext& context) {
    ImageTaskOptions found = options;
    found.whole_files = context.log_format > 0 && context.log_format < 6;
    const std::string directory = data_directory(keys, data, context);
    for (std::string* file :
         {&found.train_images, &found.train_labels, &found.test_images, &found.test_labels}) {
      if (file->empty()) continue;
      *file = path_from(directory, *file);
      // The public files are gzip'd, but many people keep them unpacked.
      if (!std::filesystem::exists(*file) && file->ends_with(".gz")) {
        const std::string unpacked = file->substr(0, file->size() - 3);
        if (std::filesystem::exists(unpacked)) *file = unpacked;
      }
    }
    return image_task(found, 1);
  };
}

// "mean deviation, mean deviation, ..": how `standard` is written.
std::string standard_text(const std::vector<std::pair<double, double>>& standard) {
  std::string text;
  for (const auto& [mean, deviation] : standard)
    text += (text.empty() ? "" : ", ") + number_text(mean) + " " + number_text(deviation);
  return text;
}

std::vector<std::pair<double, double>> standard_in(const Keys& keys, const std::string& text) {
  std::vector<std::pair<double, double>> standard;
  const char *at = text.data(), *end = text.data() + text.size();
  const auto refuse = [&](const char* place) {
    keys.fail("standard", "expected 'mean deviation, mean deviation, ..' with deviations > 0, found '" +
                              std::string(place, end) + "'");
  };
  while (at != end) {
    std::pair<double, double> one;
    const char* const begin = at;
    for (double* value : {&one.first, &one.second}) {
      const auto [stop, error] = std::from_chars(at, end, *value);
      if (error != std::errc() || !std::isfinite(*value)) refuse(begin);
      at = stop;
      if (value == &one.first && (at == end || *at++ != ' ')) refuse(begin);
    }
    if (!(one.second > 0)) refuse(begin);
    standard.push_back(one);
    if (at == end) break;
    if (end - at < 3 || at[0] != ',' || at[1] != ' ') refuse(begin);
    at += 2;
  }
  return standard;
}

void read_dialect(Keys& keys, CsvDialect& dialect) {
  keys.choice<char>(
      "separator", dialect.separator,
      {{"found", '\0'}, {"comma", ','}, {"semicolon", ';'}, {"tab", '\t'}, {"bar", '|'}, {"blanks", ' '}},
      {"", "between columns; found: the one that parts the first two lines alike"});
  keys.flag("decimal_comma", dialect.decimal_comma, {"", "numbers are written as 0,5 and not as 0.5"});
  keys.whole("skip", dialect.skip, 0, {"lines", "above the header that are not read"});
  keys.flag("header", dialect.header,
            {"", "a line names the columns; false: they are named by their numbers, \"1\", \"2\" and so on"});
}

void require_fitting_labels(const Keys& keys, const std::vector<std::string>& labels, std::uint32_t classes) {
  if (!labels.empty() && classes > 0 && labels.size() != classes)
    keys.fail("labels", "expected as many as classes = " + std::to_string(classes) + ", found " +
                            std::to_string(labels.size()));
  std::set<std::string> all;
  for (const std::string& label : labels) {
    if (!all.insert(label).second)
      keys.fail("labels", "expected different labels, found '" + label + "' twice");
  }
}

void require_fitting_shares(const Keys& keys, const CsvOptions& options, std::uint64_t validation) {
  if (options.target_scale == 0) keys.fail("target_scale", "expected a number other than 0, found 0");
  if (options.test_share > 0 && !options.test.empty())
    keys.fail("test_share", "there is a test file: expected one of the two");
  if (validation > 0 && options.validation_share > 0)
    keys.fail("validation_share", "there are samples of 'validation' already: expected one of the two");
  const double sum = options.test_share + options.validation_share;
  if (!(sum < 1))
    keys.fail(options.test_share >= 1 || options.validation_share == 0 ? "test_share" : "validation_share",
              "expected shares of 1 that add up to less than 1, found " + number_text(sum) +
                  (sum >= 2 ? " (per cent? 0.2 is 20 %)" : ""));
  if (options.test_targets.empty() != (options.test.empty() || options.train_targets.empty()))
    keys.fail("test_targets", options.test_targets.empty()
                                  ? "expected the file with the targets of 'test', as 'train_targets' is"
                                  : "expected 'test' and 'train_targets' beside it");
}

// A file that is not there, by its key and with what people take for a path.
void require_file(const Keys& keys, const std::string& key, const std::string& name,
                  const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) return;
  std::string hint;
  if (name.find('\\') != std::string::npos) hint = " (a path of Windows? here its parts are joined by '/')";
  else if (name.starts_with("~")) hint = " ('~' is for shells; write the whole path)";
  else if (name.find("://") != std::string::npos) hint = " (an address? fetch the file first)";
  else if (!std::filesystem::path(name).is_absolute())
    hint = " (names start from the directory of the experiment file)";
  keys.fail(key, "no such file: " + path + hint);
}

TaskMaker read_csv(Keys& keys) {
  CsvOptions options;
  std::uint32_t classes = 0;
  std::string standard;
  const bool given = keys.text("train", options.train, {"", "CSV file, packed by gzip or not; required"});
  keys.text("train_targets", options.train_targets,
            {"", "CSV file with the targets, row by row as in `train`; none: they are columns of `train`"});
  keys.text("test", options.test, {"", "CSV file, written like the other; none: no test file"});
  keys.text("test_targets", options.test_targets, {"", "of `test`, where there are `train_targets`"});
  const bool inputs =
      keys.texts("inputs", options.inputs,
                 {"",
                  "columns that are imposed; required. \"a..c\": from a to c; \"all\": all that have a "
                  "name, but for the targets; \"all but a, c..d\""}) &&
      !options.inputs.empty();
  const bool targets = keys.texts("targets", options.targets,
                                  {"", "columns that are to be learned; required; ranges as of `inputs`"}) &&
                       !options.targets.empty();
  read_dialect(keys, options.dialect);
  keys.flag("standardise", options.standardise,
            {"",
             "each input column less its mean, over its standard deviation, both of the training part "
             "alone, without what is drawn for validation and test"});
  keys.text(
      "standard", standard,
      {"", "those means and deviations, \"mean deviation, ..\"; the text in a log states what was learned",
       "learned"});
  keys.number("input_scale", options.input_scale, Number::finite,
              {"kT", "level per unit of an input column; of a standardised one, per deviation"});
  keys.number("input_offset", options.input_offset, Number::finite,
              {"kT", "level at 0 of an input column; of a standardised one, at its mean"});
  const bool scaled = keys.number("target_scale", options.target_scale, Number::finite,
                                  {"kT", "target per unit of a target column"});
  const bool moved = keys.number("target_offset", options.target_offset, Number::finite,
                                 {"kT", "target at 0 of a target column"});
  keys.whole(
      "classes", classes, 0,
      {"", "number of classes, where the one target column holds classes; 0: it holds potentials (kT)"});
  keys.texts("labels", options.learned.labels,
             {"", "what the target column holds for class 0, 1 and so on",
              "numbers from 0, or the texts in the training file in the order of their bytes"});
  keys.number("test_share", options.test_share, Number::not_negative,
              {"", "of the rows of `train`, drawn as the test set, of each class alike; 0: none"});
  keys.number("validation_share", options.validation_share, Number::not_negative,
              {"", "of the rows of `train`, drawn as the validation set, of each class alike; 0: none"});
  keys.whole("split_seed", options.split_seed, 0, {"", "seed of both draws"});
  return [=, &keys](const TaskContext& context) {
    if (!given) keys.fail("", "expected 'train', the name of a CSV file");
    if (!inputs) keys.fail("inputs", "expected names of columns of the CSV file");
    if (!targets) keys.fail("targets", "expected names of columns of the CSV file");
    CsvOptions found = options;
    const std::vector<std::string>& labels = options.learned.labels;
    const auto of_classes = static_cast<std::uint32_t>(classes == 0 ? labels.size() : classes);
    require_fitting_labels(keys, labels, classes);
    if (of_classes > 0 && (scaled || moved))
      keys.fail(scaled ? "target_scale" : "target_offset", "the targets are classes: expected none");
    require_fitting_shares(keys, options, context.validation);
    if (!standard.empty() && !options.standardise) keys.fail("standard", "it belongs to standardise = true");
    found.learned.standard = standard_in(keys, standard);
    found.validation = context.validation;
    found.validation_seed = context.validation_seed;
    for (const auto& [key, file] :
         {std::pair{"train", &found.train}, std::pair{"train_targets", &found.train_targets},
          std::pair{"test", &found.test}, std::pair{"test_targets", &found.test_targets}}) {
      if (file->empty()) continue;
      const std::string name = *file;
      *file = path_from(context.directory, name);
      require_file(keys, key, name, *file);
      if (*file != name) context.replace(key, *file);
    }
    try {
      CsvLearned learned;
      Task task = csv_task(found, of_classes, 1, &learned);
      if (standard.empty() && options.standardise)
        context.replace("standard", standard_text(learned.standard));
      if (labels.empty() && !learned.labels.empty()) context.replace_list("labels", learned.labels);
      return task;
    } catch (const std::length_error& error) {
      keys.fail("validation", error.what());
      throw;  // not reached
    } catch (const std::invalid_argument& error) {
      keys.fail("", error.what());
      throw;  // not reached
    }
  };
}

constexpr std::array table{
    TaskEntry{"xor", "exclusive or: two inputs, one output, four samples", read_xor},
    TaskEntry{"regression", "a function of one number, at points of an interval", read_regression},
    TaskEntry{"images", "classes of byte images, from IDX files", read_images},
    TaskEntry{
        "csv",
        "columns of CSV files, as potentials or as classes. Quotes, comments (#) above the header, names "
        "behind # and Excel's `sep=;` are read. Paths start from the directory of the experiment file",
        read_csv, true},
};

}  // namespace

std::span<const TaskEntry> task_table() { return table; }

std::string path_from(const std::string& directory, const std::string& path) {
  if (std::filesystem::path(path).is_absolute()) return path;
  return (std::filesystem::path(directory) / path).lexically_normal().string();
}

}  // namespace ness
