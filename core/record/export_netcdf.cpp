// netCDF-4 is HDF5 with dimension scales: a dataset a dimension, attached to each axis that it names. See
// "The NetCDF-4 File Format" in Unidata's file format specifications.
#include <hdf5_hl.h>

#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <unistd.h>

#include "exported_tables.hpp"
#include "ness/record/export.hpp"

namespace ness {
namespace {

using hdf5::Calls;
using hdf5::Handle;
using log_layout::Layout;

/// Rows that are written at once.
constexpr std::uint64_t block = 4096;

Handle creation_list(Calls& calls, hid_t kind) {
  Handle list(calls, H5Pcreate(kind), H5Pclose, "make a property list");
  if (kind == H5P_FILE_CREATE) {
    calls(H5Pset_link_creation_order(list, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED), "order links");
  }
  calls(H5Pset_attr_creation_order(list, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED), "order attributes");
  calls(H5Pset_obj_track_times(list, false), "leave out object times");
  return list;
}

/// The file, with its dimensions and variables.
class File {
 public:
  explicit File(const std::string& path) : calls_(path, Calls::Use::writing, "the file") {
    const Handle list = creation_list(calls_, H5P_FILE_CREATE);
    file_ = {calls_, H5Fcreate(path.c_str(), H5F_ACC_EXCL, list, H5P_DEFAULT), H5Fclose, "make it"};
  }

  Calls& calls() { return calls_; }
  hid_t id() const { return file_; }

  void attribute(const std::string& name, const std::string& text) {
    hdf5::write_attribute(calls_, file_, name, std::string_view(text));
  }

  /// A dimension whose coordinates are numbers from 0 on.
  void dimension(const std::string& name, std::uint64_t size, const std::string& meaning) {
    std::vector<std::uint64_t> numbers(size);
    for (std::uint64_t i = 0; i < size; ++i) numbers[i] = i;
    const Handle scale = dataset(name, H5T_STD_U64LE, {size});
    if (size > 0)
      calls_(H5Dwrite(scale, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers.data()),
             "write '" + name + "'");
    add(name, scale, size, meaning);
  }
  /// A dimension whose coordinates are names.
  void dimension(const std::string& name, const std::vector<std::string>& names, const std::string& meaning) {
    const Handle type = text_type();
    const Handle scale = dataset(name, type, {names.size()});
    std::vector<const char*> texts;
    for (const std::string& one : names) texts.push_back(one.c_str());
    if (!texts.empty())
      calls_(H5Dwrite(scale, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts.data()), "write '" + name + "'");
    add(name, scale, names.size(), meaning);
  }
  /// A text, as a variable without dimensions: an attribute may not be that long.
  void text(const std::string& name, const std::string& value, const std::string& meaning) {
    const Handle type = text_type();
    const Handle made = variable(name, type, {}, "", meaning);
    const char* const content = value.c_str();
    calls_(H5Dwrite(made, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &content), "write '" + name + "'");
  }
  std::uint64_t size(const std::string& dimension) const { return sizes_.at(dimension); }

  /// A variable over these dimensions.
  Handle variable(const std::string& name, hid_t type, const std::vector<std::string>& dimensions,
                  std::string_view unit, const std::string& meaning, const void* fill = nullptr,
                  hid_t fill_type = -1) {
    std::vector<hsize_t> sizes;
    for (const std::string& one : dimensions) sizes.push_back(size(one));
    Handle made = dataset(name, type, sizes, fill, fill_type);
    if (!unit.empty()) hdf5::write_attribute(calls_, made, "units", unit);
    hdf5::write_attribute(calls_, made, "long_name", std::string_view(meaning));
    for (unsigned axis = 0; axis < dimensions.size(); ++axis) {
      const Handle scale = hdf5::open_dataset(calls_, file_, dimensions[axis]);
      calls_(H5DSattach_scale(made, scale, axis), "name the axes of '" + name + "'");
    }
    return made;
  }
  /// Texts of any length, which netCDF calls strings.
  Handle text_type() {
    Handle type(calls_, H5Tcopy(H5T_C_S1), H5Tclose, "make a text type");
    calls_(H5Tset_size(type, H5T_VARIABLE), "size a text type");
    calls_(H5Tset_cset(type, H5T_CSET_UTF8), "encode a text type");
    return type;
  }
  void close() { file_.close("close it"); }

 private:
  Handle dataset(const std::string& name, hid_t type, const std::vector<hsize_t>& sizes,
                 const void* fill = nullptr, hid_t fill_type = -1) {
    const std::string doing = "make '" + name + "'";
    const Handle list = creation_list(calls_, H5P_DATASET_CREATE);
    Handle space;
    if (sizes.empty()) {
      space = {calls_, H5Screate(H5S_SCALAR), H5Sclose, doing};
    } else {
      std::vector<hsize_t> chunk = sizes;
      hsize_t width = 1;
      for (hsize_t& one : chunk) width *= one = std::max<hsize_t>(one, 1);
      width /= chunk[0];
      chunk[0] = std::clamp<hsize_t>((hsize_t{1} << 17) / width, 1, chunk[0]);
      const std::vector<hsize_t> most(sizes.size(), H5S_UNLIMITED);
      space = {calls_, H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), most.data()), H5Sclose,
               doing};
      calls_(H5Pset_chunk(list, static_cast<int>(chunk.size()), chunk.data()), doing);
      if (H5Tis_variable_str(type) <= 0) {
        calls_(H5Pset_shuffle(list), doing);
        calls_(H5Pset_deflate(list, 1), doing);
      }
    }
    if (fill != nullptr) calls_(H5Pset_fill_value(list, fill_type, fill), doing);
    return {calls_, H5Dcreate2(file_, name.c_str(), type, space, H5P_DEFAULT, list, H5P_DEFAULT), H5Dclose,
            doing};
  }
  void add(const std::string& name, hid_t scale, std::uint64_t size, const std::string& meaning) {
    hdf5::write_attribute(calls_, scale, "long_name", std::string_view(meaning));
    calls_(H5DSset_scale(scale, name.c_str()), "make '" + name + "' a dimension");
    // By this number netCDF knows the order of the dimensions.
    const Handle space(calls_, H5Screate(H5S_SCALAR), H5Sclose, "make a dataspace");
    const Handle number(calls_,
                        H5Acreate2(scale, "_Netcdf4Dimid", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT),
                        H5Aclose, "number '" + name + "'");
    const int id = static_cast<int>(sizes_.size());
    calls_(H5Awrite(number, H5T_NATIVE_INT, &id), "number '" + name + "'");
    sizes_.emplace(name, size);
  }
  Calls calls_;
  Handle file_;
  std::map<std::string, std::uint64_t> sizes_;
};

template <class T>
T fill_of() {
  if constexpr (std::is_floating_point_v<T>) return std::numeric_limits<T>::quiet_NaN();
  else return T{};
}

/// A column of a table, which becomes a variable as soon as there is something in it.
class Column {
 public:
  virtual ~Column() = default;
  /// Writes what was gathered since.
  virtual void flush(File& file) = 0;
};

/// So many numbers a row.
template <class T>
class Numbers final : public Column {
 public:
  Numbers(std::string name, std::string unit, std::string meaning, std::vector<std::string> dimensions,
          std::uint64_t width)
      : name_(std::move(name)),
        unit_(std::move(unit)),
        meaning_(std::move(meaning)),
        dimensions_(std::move(dimensions)),
        width_(width) {}

  /// `first`: the row's index; rows without one have fill values.
  void put(std::uint64_t row, const T* values) {
    if (values_.empty()) first_ = row;
    const std::size_t at = (row - first_) * width_;
    values_.resize(at, fill_of<T>());
    values_.insert(values_.end(), values, values + width_);
  }
  void make(File& file) {
    if (made_ || width_ == 0) return;
    const T fill = fill_of<T>();
    made_ = file.variable(name_, hdf5::file_type(hdf5::memory_type<T>()), dimensions_, unit_, meaning_, &fill,
                          hdf5::memory_type<T>());
  }
  void flush(File& file) override {
    if (values_.empty()) return;
    make(file);
    const std::string doing = "write '" + name_ + "'";
    const Handle space(file.calls(), H5Dget_space(made_), H5Sclose, doing);
    const hsize_t start[] = {first_, 0}, extent[] = {values_.size() / width_, width_};
    file.calls()(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, extent, nullptr), doing);
    const Handle memory(file.calls(), H5Screate_simple(static_cast<int>(dimensions_.size()), extent, nullptr),
                        H5Sclose, doing);
    file.calls()(H5Dwrite(made_, hdf5::memory_type<T>(), memory, space, H5P_DEFAULT, values_.data()), doing);
    values_.clear();
  }

 private:
  std::string name_, unit_, meaning_;
  std::vector<std::string> dimensions_;
  std::uint64_t width_, first_ = 0;
  std::vector<T> values_;
  Handle made_;
};

/// Any number of numbers a row: kept until the end, since the length of their dimension is then known.
template <class T>
class Lists final : public Column {
 public:
  Lists(std::string name, std::string unit, std::string meaning, std::string table, std::uint64_t rows)
      : name_(std::move(name)),
        unit_(std::move(unit)),
        meaning_(std::move(meaning)),
        table_(std::move(table)),
        counts_(rows) {}
  void put(std::uint64_t row, const std::vector<T>& values) {
    counts_[row] = values.size();
    values_.insert(values_.end(), values.begin(), values.end());
  }
  void flush(File&) override {}
  void end(File& file) {
    if (values_.empty()) return;
    const std::string entry = name_ + "_entry";
    file.dimension(entry, values_.size(), "entries of " + name_ + ", row after row");
    Numbers<T> numbers(name_, unit_, meaning_, {entry}, 1);
    for (std::uint64_t i = 0; i < values_.size(); ++i) numbers.put(i, &values_[i]);
    numbers.flush(file);
    Numbers<std::uint64_t> counts(name_ + "_count", "1", "entries of " + name_ + " that are the row's",
                                  {table_}, 1);
    for (std::uint64_t i = 0; i < counts_.size(); ++i) counts.put(i, &counts_[i]);
    counts.flush(file);
  }

 private:
  std::string name_, unit_, meaning_, table_;
  std::vector<std::uint64_t> counts_;
  std::vector<T> values_;
};

/// Texts, of which most rows have none.
class Texts final : public Column {
 public:
  Texts(std::string name, std::string meaning, std::string table, std::uint64_t rows)
      : name_(std::move(name)), meaning_(std::move(meaning)), table_(std::move(table)), rows_(rows) {}
  void put(std::uint64_t row, const std::vector<char>& text) {
    if (!text.empty()) texts_[row] = std::string(text.begin(), text.end());
  }
  void flush(File&) override {}
  void end(File& file) {
    if (texts_.empty()) return;
    const Handle type = file.text_type();
    const Handle made = file.variable(name_, type, {table_}, "", meaning_);
    std::vector<const char*> all(rows_, "");
    for (const auto& [row, text] : texts_) all[row] = text.c_str();
    file.calls()(H5Dwrite(made, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, all.data()), "write '" + name_ + "'");
  }

 private:
  std::string name_, meaning_, table_;
  std::uint64_t rows_;
  std::map<std::uint64_t, std::string> texts_;
};

/// The sheet of a table: its columns by name, each filled row by row.
class Table {
 public:
  Table(File& file, std::string dimension, std::string prefix)
      : file_(file), dimension_(std::move(dimension)), prefix_(std::move(prefix)) {}

  void begin(std::uint64_t row, bool damaged) {
    if (row - first_ >= block) flush(row);
    row_ = row;
    damaged_ = damaged;
    scalar("damaged", "1", "1: the row is damaged, and its numbers are none", std::uint8_t{damaged});
  }

  template <class T>
  void scalar(const char* name, std::string_view unit, const char* meaning, const T& value,
              std::type_identity_t<T> = T{}) {
    const T put = damaged_ && std::string_view(name) != "damaged" ? fill_of<T>() : value;
    numbers<T>(name, unit, meaning, {}, 1).put(row_, &put);
  }
  void row(const char* name, std::string_view unit, const char* meaning, const Vector& values,
           std::uint64_t width) {
    if (width == 0) return;
    const bool theta = std::string_view(name) == "theta";
    std::vector<double> put(width, fill_of<double>());
    for (std::size_t k = 0; k < width && static_cast<Eigen::Index>(k) < values.size(); ++k)
      put[k] = values[static_cast<Eigen::Index>(k)];
    numbers<double>(name, theta ? "" : unit, meaning, theta ? "parameter" : "terminal", width)
        .put(row_, put.data());
  }
  template <class Values>
  void list(const char* name, std::string_view unit, const char* meaning, const Values& values) {
    using T = std::remove_cvref_t<decltype(values[0])>;
    // States of the optimizer and its like are of use to Ness alone.
    if (const std::string_view n = name; n == "optimizer" || n == "trainer" || n == "estimator") return;
    const std::vector<T> copy(values.begin(), values.end());
    if constexpr (std::is_same_v<T, char>) {
      column<Texts>(name, prefix_ + name, meaning, dimension_, file_.size(dimension_)).put(row_, copy);
    } else {
      const auto known = axis_of.find(name);
      if (known != axis_of.end()) {
        const std::uint64_t width = file_.size(known->second);
        if (copy.size() == width && width > 0)
          numbers<T>(name, unit, meaning, known->second, width).put(row_, copy.data());
        if (copy.size() == width || copy.empty()) return;
      }
      const std::string own = std::string(name) + (known != axis_of.end() ? "_list" : "");
      column<Lists<T>>(own, prefix_ + own, unit_of(unit), meaning, dimension_, file_.size(dimension_))
          .put(row_, copy);
    }
  }
  void end() {
    flush(0);
    for (const auto& [name, one] : columns_) {
      if (auto* texts = dynamic_cast<Texts*>(one.get())) texts->end(file_);
      else if (auto* doubles = dynamic_cast<Lists<double>*>(one.get())) doubles->end(file_);
      else if (auto* indices = dynamic_cast<Lists<std::uint32_t>*>(one.get())) indices->end(file_);
      else if (auto* flags = dynamic_cast<Lists<std::uint16_t>*>(one.get())) flags->end(file_);
    }
  }

 private:
  static std::string unit_of(std::string_view unit) {
    return unit.starts_with("as ") ? std::string() : std::string(unit);
  }
  // Lists that have an entry for each of some things, wherever they have any.
  inline static const std::map<std::string, std::string, std::less<>> axis_of{
      {"sigma", "terminal"},
      {"terminal_flags", "terminal"},
      {"current", "every_terminal"},
      {"nudge", "nudgeable"},
      {"current_sigma", "every_terminal"},
      {"clamp_readback", "input"},
      {"theta", "parameter"},
      {"theta_readback", "parameter"},
      {"environment", "quantity"},
      {"input_level", "input"},
      {"target", "output"}};

  template <class Kind, class... Given>
  Kind& column(const std::string& name, Given&&... given) {
    std::unique_ptr<Column>& one = columns_[name];
    if (!one) one = std::make_unique<Kind>(std::forward<Given>(given)...);
    return static_cast<Kind&>(*one);
  }
  template <class T>
  Numbers<T>& numbers(const std::string& name, std::string_view unit, const char* meaning,
                      const std::string& axis, std::uint64_t width) {
    // A variable of a dimension's name would be its coordinates.
    const bool alone = prefix_ == "training_" && name == "theta";
    const std::string full =
        alone ? name : prefix_ + (prefix_.empty() && name == "step" ? "label_step" : name);
    std::vector<std::string> dimensions{dimension_};
    if (!axis.empty()) dimensions.push_back(axis);
    return column<Numbers<T>>(name, full, unit_of(unit), meaning, dimensions, width);
  }
  void flush(std::uint64_t next) {
    for (const auto& [name, one] : columns_) one->flush(file_);
    first_ = next;
  }

  File& file_;
  std::string dimension_, prefix_;
  std::map<std::string, std::unique_ptr<Column>> columns_;
  std::uint64_t row_ = 0, first_ = 0;
  bool damaged_ = false;
};

template <class Row, class Read, class Fill>
void write_table(File& file, const char* dimension, const char* prefix, std::uint64_t rows,
                 std::vector<std::uint64_t>& damaged, const Read& read, const Fill& fill) {
  Table table(file, dimension, prefix);
  for (std::uint64_t i = 0; i < rows; ++i) {
    const std::optional<Row> row = exported::read_row(i, damaged, read);
    table.begin(i, !row);
    fill(table, row ? *row : Row{});
  }
  table.end();
}

void write_dimensions(File& file, const LogReader& log) {
  const DeviceInfo& info = log.header().info;
  file.dimension("relaxation", log.rows(), "relaxation: row of the log");
  file.dimension("step", log.steps(), "training step: row of the log");
  file.dimension("epoch", log.epochs(), "epoch: row of the log");
  file.dimension("checkpoint", log.checkpoints(), "checkpoint: row of the log");
  const auto terminals = [&](const std::vector<std::uint32_t>& which) {
    return exported::terminal_names(info, which);
  };
  file.dimension("terminal", terminals(info.read()), "terminals whose potential is read");
  file.dimension("every_terminal",
                 exported::names_of(info.terminals, [](const Terminal& one) { return one.name; }),
                 "terminals of the device");
  file.dimension("input", terminals(info.clamped()), "clamped terminals");
  file.dimension("nudgeable", terminals(info.nudgeable()), "terminals where a current may be injected");
  file.dimension("parameter",
                 exported::names_of(info.parameters, [](const ParameterInfo& one) { return one.name; }),
                 "parameters of the device");
  file.dimension("quantity",
                 exported::names_of(info.environment, [](const EnvironmentInfo& one) { return one.name; }),
                 "quantities of the surroundings");
}

// Units that are not the same along an axis.
void write_units(File& file, const char* name, const char* axis, const std::vector<std::string>& units) {
  if (units.empty()) return;
  const Handle type = file.text_type();
  const Handle made = file.variable(name, type, {axis}, "", "unit of each");
  std::vector<const char*> texts;
  for (const std::string& one : units) texts.push_back(one.c_str());
  file.calls()(H5Dwrite(made, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts.data()),
               std::string("write '") + name + "'");
}

void write_all(File& file, const LogReader& log, ExportReport& report) {
  const LogHeader& header = log.header();
  const Layout layout = exported::layout_of(log);
  const exported::Targets targets = exported::targets_of(header);
  file.dimension("output", targets.names, "outputs that have targets");
  file.attribute("title", header.title);
  file.attribute("source", "a log of Ness, format " + std::to_string(log.format()));
  file.attribute("device", header.info.identity);
  file.text("experiment", header.experiment, "the experiment file, as run");
  file.attribute("exit_status", to_string(log.status()));
  write_dimensions(file, log);
  write_units(file, "parameter_unit", "parameter",
              exported::names_of(header.info.parameters, [](const ParameterInfo& one) { return one.unit; }));
  write_units(
      file, "quantity_unit", "quantity",
      exported::names_of(header.info.environment, [](const EnvironmentInfo& one) { return one.unit; }));
  write_table<LogRow>(
      file, "relaxation", "", log.rows(), report.damaged_rows, [&](std::uint64_t i) { return log.row(i); },
      [&](Table& table, const LogRow& row) {
        exported::describe_row(table, row, layout);
        table.list("input_level", header.info.potential_unit, "levels of the clamped terminals",
                   exported::input_levels(log, row));
        table.list("target", targets.unit, "what was wanted", targets(row));
      });
  using log_layout::StepRecord;
  write_table<StepRecord>(
      file, "step", "training_", log.steps(), report.damaged_steps,
      [&](std::uint64_t i) {
        return StepRecord{log.step(i), log.theta(i)};
      },
      [&](Table& table, const StepRecord& row) { log_layout::describe(table, row, layout); });
  using log_layout::EpochRecord;
  write_table<EpochRecord>(
      file, "epoch", "epochs_", log.epochs(), report.damaged_epochs,
      [&](std::uint64_t i) { return log_layout::record_of(log.epoch(i), layout.version); },
      [&](Table& table, const EpochRecord& row) { log_layout::describe(table, row, layout); });
  std::vector<std::uint64_t> damaged;
  write_table<Checkpoint>(
      file, "checkpoint", "checkpoints_", log.checkpoints(), damaged,
      [&](std::uint64_t i) { return log.checkpoint(i); },
      [&](Table& table, const Checkpoint& row) { log_layout::describe(table, row, layout); });
}

}  // namespace

ExportReport export_netcdf(const LogReader& log, const std::string& path) {
  ExportReport report{{path}, log.rows(), log.steps(), log.epochs(), {}, {}, {}};
  if (::access(path.c_str(), F_OK) == 0)
    throw LogError("'" + path + "' cannot be written: it exists already, and is not overwritten");
  const hdf5::Turn turn;
  File file(path);
  try {
    write_all(file, log, report);
    file.close();
  } catch (...) {
    ::unlink(path.c_str());
    throw;
  }
  return report;
}

}  // namespace ness
