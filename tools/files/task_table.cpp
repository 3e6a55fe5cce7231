#include "ness/files/task_table.hpp"

#include <array>
#include <filesystem>
#include <stdexcept>

#include "formula.hpp"
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

TaskMaker read_csv(Keys& keys) {
  CsvOptions options;
  std::uint32_t classes = 0;
  const bool given = keys.text("train", options.train, {"", "CSV file with a header line; required"});
  keys.text("test", options.test, {"", "CSV file with a header line; none: no test set"});
  const bool inputs = keys.texts("inputs", options.inputs, {"", "columns that are imposed; required"}) &&
                      !options.inputs.empty();
  const bool targets =
      keys.texts("targets", options.targets, {"", "columns that are to be learned; required"}) &&
      !options.targets.empty();
  keys.number("input_scale", options.input_scale, Number::finite,
              {"kT", "level per unit of an input column"});
  keys.number("input_offset", options.input_offset, Number::finite, {"kT", "level at 0 of an input column"});
  keys.whole(
      "classes", classes, 0,
      {"", "number of classes, where the one target column holds classes; 0: it holds potentials (kT)"});
  return [=, &keys](const TaskContext& context) {
    if (!given) keys.fail("", "expected 'train', the name of a CSV file");
    if (!inputs) keys.fail("inputs", "expected names of columns of the CSV file");
    if (!targets) keys.fail("targets", "expected names of columns of the CSV file");
    CsvOptions found = options;
    for (const auto& [key, file] : {std::pair{"train", &found.train}, std::pair{"test", &found.test}}) {
      if (file->empty() || std::filesystem::path(*file).is_absolute()) continue;
      *file = path_from(context.directory, *file);
      context.replace(key, *file);
    }
    try {
      return csv_task(found, classes, 1);
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
        "columns of CSV files, as potentials or as classes: separated by commas, names in the first line "
        "without quotes, "
        "decimal points; classes are numbered from 0. Paths start from the directory of the experiment file",
        read_csv},
};

}  // namespace

std::span<const TaskEntry> task_table() { return table; }

std::string path_from(const std::string& directory, const std::string& path) {
  if (std::filesystem::path(path).is_absolute()) return path;
  return (std::filesystem::path(directory) / path).lexically_normal().string();
}

}  // namespace ness
