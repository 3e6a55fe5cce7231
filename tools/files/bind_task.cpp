#include "bind_task.hpp"

#include <cmath>
#include <filesystem>
#include <stdexcept>

#include "formula.hpp"
#include "ness/training/data_files.hpp"

namespace ness {

namespace {

enum class TaskKind { exclusive_or, regression, images, csv };
enum class LossKind { squared_error, cross_entropy };

struct LossOptions {
  std::optional<LossKind> kind;
  double scale = 1;
};

LossOptions read_loss(Table& root) {
  LossOptions options;
  if (auto table = root.table("loss")) {
    LossKind kind = LossKind::squared_error;
    const std::vector<std::pair<std::string, LossKind>> kinds{{"squared-error", LossKind::squared_error},
                                                              {"cross-entropy", LossKind::cross_entropy}};
    if (table->choice("kind", kind, kinds)) options.kind = kind;
    if (table->number("scale", options.scale, Number::positive) && options.kind == LossKind::squared_error) {
      table->fail("scale", "belongs to kind = 'cross-entropy' (softmax of scale x potential), not to 'squared-error'");
    }
    table->finish();
  }
  return options;
}

/// The task's targets decide the loss: a loss that does not fit them is a mistake.
void check_loss(Table& root, const LossOptions& loss, const std::string& task, LossKind fits) {
  if (!loss.kind || *loss.kind == fits) return;
  const bool classes = fits == LossKind::cross_entropy;
  root.table("loss")->fail("kind",
                           "the targets of this " + task + " task are " +
                               (classes ? "classes: expected 'cross-entropy'" : "potentials: expected 'squared-error'"));
}

Task read_xor(Table& table) {
  double low = 0, high = 3, target_low = 0, target_high = 1;
  table.number("low", low);
  table.number("high", high);
  table.number("target_low", target_low);
  table.number("target_high", target_high);
  table.finish();
  return xor_task(low, high, target_low, target_high);
}

Task read_regression(Table& table) {
  RegressionOptions options;
  std::string text = "exp(-x^2/10)*sin(5*x)";
  table.text("formula", text);
  std::pair<double, double> domain{options.low, options.high};
  table.pair("domain", domain);
  options.low = domain.first;
  options.high = domain.second;
  table.whole("points", options.points, 2);
  table.whole("hold_out_first", options.hold_out_first);
  table.whole("hold_out_every", options.hold_out_every);
  table.whole("validate_first", options.validate_first);
  table.whole("validate_every", options.validate_every);
  table.number("input_scale", options.input_scale);
  table.number("input_offset", options.input_offset);
  table.number("target_scale", options.target_scale);
  table.finish();
  table.require(options.problem());
  try {
    return regression_task(formula(text), options);
  } catch (const std::invalid_argument& error) {
    table.fail("formula", error.what());
  }
}

std::string data_directory(Table& table, const std::string& name, const DataPlaces& places) {
  std::error_code ignored;
  if (std::filesystem::path(name).is_absolute()) return name;
  const bool recorded = places.data.empty() && !places.recorded.empty();
  if (recorded && std::filesystem::is_directory(places.recorded, ignored)) return places.recorded;
  try {
    return std::filesystem::absolute(find_data(name, places.data)).lexically_normal().string();
  } catch (const std::runtime_error& error) {
    table.fail("data", error.what());
  }
}

Task read_images(Table& table, const LossOptions& loss, const DataPlaces& places) {
  ImageTaskOptions options;
  std::string data = "mnist";
  table.text("data", data);
  options.train_images = "train-images-idx3-ubyte.gz";
  options.train_labels = "train-labels-idx1-ubyte.gz";
  options.test_images = "t10k-images-idx3-ubyte.gz";
  options.test_labels = "t10k-labels-idx1-ubyte.gz";
  table.text("train_images", options.train_images);
  table.text("train_labels", options.train_labels);
  table.text("test_images", options.test_images);
  table.text("test_labels", options.test_labels);
  std::pair<double, double> levels{options.encoding.low, options.encoding.high};
  table.pair("levels", levels);
  options.encoding = {levels.first, levels.second};
  table.whole("classes", options.classes, 2);
  table.flag("shifts", options.shifts);
  table.whole("train_limit", options.train_limit);
  table.whole("test_limit", options.test_limit);
  table.finish();
  const std::string directory = data_directory(table, data, places);
  for (std::string* file : {&options.train_images, &options.train_labels, &options.test_images, &options.test_labels}) {
    if (file->empty()) continue;
    *file = path_from(directory, *file);
    // The public files are gzip'd, but many people keep them unpacked.
    if (!std::filesystem::exists(*file) && file->ends_with(".gz")) {
      const std::string unpacked = file->substr(0, file->size() - 3);
      if (std::filesystem::exists(unpacked)) *file = unpacked;
    }
  }
  return image_task(options, loss.scale);
}

Task read_csv(Table& root, Table& table, const LossOptions& loss, const DataPlaces& places, Document& document) {
  CsvOptions options;
  std::uint32_t classes = 0;
  if (!table.text("train", options.train)) table.fail("", "expected 'train', the name of a CSV file");
  table.text("test", options.test);
  for (const auto& [key, names] : {std::pair{"inputs", &options.inputs}, std::pair{"targets", &options.targets}}) {
    if (!table.texts(key, *names) || names->empty()) table.fail(key, "expected names of columns of the CSV file");
  }
  table.number("input_scale", options.input_scale);
  table.number("input_offset", options.input_offset);
  table.whole("classes", classes);
  table.finish();
  for (const auto& [key, file] : {std::pair{"task.train", &options.train}, std::pair{"task.test", &options.test}}) {
    if (file->empty() || std::filesystem::path(*file).is_absolute()) continue;
    *file = path_from(places.directory, *file);
    document.set_text(key, *file);
  }
  check_loss(root, loss, "csv", classes > 0 ? LossKind::cross_entropy : LossKind::squared_error);
  try {
    return csv_task(options, classes, loss.scale);
  } catch (const std::invalid_argument& error) {
    table.fail("", error.what());
  }
}

}  // namespace

std::string path_from(const std::string& directory, const std::string& path) {
  if (std::filesystem::path(path).is_absolute()) return path;
  return (std::filesystem::path(directory) / path).lexically_normal().string();
}

std::shared_ptr<const Task> read_task(Table& root, const DataPlaces& places, Document& document) {
  const LossOptions loss = read_loss(root);
  std::optional<Table> table = root.table("task");
  if (!table) root.fail("", "expected a table [task] with kind = 'xor', 'regression', 'images' or 'csv'");
  TaskKind kind = TaskKind::exclusive_or;
  const bool known = table->choice<TaskKind>("kind", kind,
                                             {{"xor", TaskKind::exclusive_or},
                                              {"regression", TaskKind::regression},
                                              {"images", TaskKind::images},
                                              {"csv", TaskKind::csv}});
  if (!known) table->fail("", "expected kind = 'xor', 'regression', 'images' or 'csv'");
  std::uint64_t validation = 0, validation_seed = 0;
  table->whole("validation", validation);
  table->whole("validation_seed", validation_seed);

  auto task = std::make_shared<Task>();
  switch (kind) {
    case TaskKind::exclusive_or:
      check_loss(root, loss, "xor", LossKind::squared_error);
      *task = read_xor(*table);
      break;
    case TaskKind::regression:
      check_loss(root, loss, "regression", LossKind::squared_error);
      *task = read_regression(*table);
      break;
    case TaskKind::images:
      check_loss(root, loss, "images", LossKind::cross_entropy);
      *task = read_images(*table, loss, places);
      break;
    case TaskKind::csv:
      *task = read_csv(root, *table, loss, places, document);
      break;
  }
  if (validation > 0 && task->validation.size() > 0) {
    table->fail("validation", "the validation points are chosen by 'validate_every' here: expected one of the two");
  }
  if (validation > 0) {
    if (validation >= task->train.size()) {
      table->fail("validation", "expected fewer than the " + std::to_string(task->train.size()) + " training samples, found " +
                                    std::to_string(validation));
    }
    task->validation = split_off(task->train, validation, validation_seed);
  }
  return task;
}

}  // namespace ness
