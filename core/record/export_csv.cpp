#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <system_error>

#include "exported_tables.hpp"
#include "ness/record/export.hpp"

namespace ness {
namespace {

using log_layout::Layout;

/// A file that is made, and taken away again unless it is kept.
class NewFile {
 public:
  explicit NewFile(std::string path) : path_(std::move(path)), file_(std::fopen(path_.c_str(), "wx")) {
    if (file_ == nullptr) fail("written");
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() {
    if (file_ != nullptr) std::fclose(file_);
    if (!kept_) std::remove(path_.c_str());
  }
  void write(const std::string& line) {
    if (std::fwrite(line.data(), 1, line.size(), file_) != line.size()) fail("written");
  }
  void end() {
    if (std::fclose(std::exchange(file_, nullptr)) != 0) fail("written");
  }
  void keep() { kept_ = true; }
  const std::string& path() const { return path_; }

 private:
  [[noreturn]] void fail(const char* what) {
    const int reason = errno;
    if (file_ == nullptr) kept_ = true;  // it is not ours
    throw LogError("'" + path_ + "' cannot be " + what + ": " +
                   (reason == EEXIST ? "it exists already, and is not overwritten" : std::strerror(reason)));
  }
  std::string path_;
  std::FILE* file_;
  bool kept_ = false;
};

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string cell = "\"";
  for (const char c : text) cell += c == '"' ? std::string("\"\"") : std::string(1, c);
  return cell + "\"";
}

std::string cell_of(double number) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", number);
  return text;
}
template <std::integral Whole>
std::string cell_of(Whole number) {
  return std::to_string(number);
}

/// One line: the names of the columns, or the values of a row, or as many nan.
class Line {
 public:
  enum class Of : std::uint8_t { names, values, damage };
  Line(Of of, const DeviceInfo& info) : of_(of), info_(info) {}

  void cell(const std::string& name, std::string_view unit, const std::string& value) {
    if (of_ == Of::names)
      add(quoted(unit.empty() || unit == "1" ? name : name + " [" + std::string(unit) + "]"));
    else add(of_ == Of::damage ? "nan" : value);
  }
  /// The index of the row, which a damaged one has too.
  void index(std::uint64_t row) { add(of_ == Of::names ? "row" : std::to_string(row)); }

  template <class T>
  void scalar(const char* name, std::string_view unit, const char*, const T& value,
              std::type_identity_t<T> = T{}) {
    cell(name, unit, cell_of(value));
  }
  /// A column an entry: of the terminals that are read, or of the parameters.
  void row(const char* name, std::string_view unit, const char*, const Vector& values, std::uint64_t width) {
    const bool theta = std::string_view(name) == "theta";
    const std::vector<std::string> names =
        theta ? exported::names_of(info_.parameters, [](const ParameterInfo& one) { return one.name; })
              : exported::terminal_names(info_, info_.read());
    for (std::uint64_t k = 0; k < width; ++k) {
      const auto at = static_cast<Eigen::Index>(k);
      cell(name + ("." + names.at(k)), theta ? std::string_view(info_.parameters.at(k).unit) : unit,
           at < values.size() ? cell_of(values[at]) : "nan");
    }
  }
  template <class T>
  void list(const char* name, std::string_view unit, const char*, const std::vector<T>& values) {
    std::string all;
    if constexpr (std::is_same_v<T, char>) {
      all = quoted(std::string(values.begin(), values.end()));
    } else {
      for (const T& value : values) all += (all.empty() ? "" : " ") + cell_of(value);
    }
    cell(name, unit.starts_with("as ") ? std::string_view() : unit, all);
  }
  std::string text() const { return text_ + "\n"; }

 private:
  void add(const std::string& cell) {
    if (!text_.empty()) text_ += ',';
    text_ += cell;
  }
  Of of_;
  const DeviceInfo& info_;
  std::string text_;
};

/// Writes the names of the columns, then each row. `line` fills a line from a row; none for the names.
template <class Row>
void write_table(NewFile& file, const DeviceInfo& info, std::uint64_t rows,
                 std::vector<std::uint64_t>& damaged, const std::function<Row(std::uint64_t)>& read,
                 const std::function<void(Line&, const Row&)>& fill) {
  const auto line = [&](Line::Of of, std::uint64_t index, const Row& row) {
    Line one(of, info);
    one.index(index);
    fill(one, row);
    file.write(one.text());
  };
  line(Line::Of::names, 0, Row{});
  for (std::uint64_t i = 0; i < rows; ++i) {
    const std::optional<Row> row = exported::read_row(i, damaged, read);
    line(row ? Line::Of::values : Line::Of::damage, i, row ? *row : Row{});
  }
  file.end();
}

}  // namespace

ExportReport export_csv(const LogReader& log, const std::string& folder) {
  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  if (problem) throw LogError("the folder '" + folder + "' cannot be made: " + problem.message());
  const std::filesystem::path in = folder;
  NewFile relaxations((in / "relaxations.csv").string()), steps((in / "steps.csv").string()),
      epochs((in / "epochs.csv").string());
  const Layout layout = exported::layout_of(log);
  const DeviceInfo& info = log.header().info;
  const std::vector<std::string> inputs = exported::terminal_names(info, info.clamped());
  const exported::Targets targets = exported::targets_of(log.header());
  ExportReport report{
      {relaxations.path(), steps.path(), epochs.path()}, log.rows(), log.steps(), log.epochs(), {}, {}, {}};

  write_table<LogRow>(
      relaxations, info, log.rows(), report.damaged_rows, [&](std::uint64_t i) { return log.row(i); },
      [&](Line& line, const LogRow& row) {
        exported::describe_row(line, row, layout);
        const auto all = [&](const std::string& what, const std::vector<std::string>& names,
                             const std::string& unit, const Vector& values) {
          for (std::size_t k = 0; k < names.size(); ++k) {
            const auto at = static_cast<Eigen::Index>(k);
            line.cell(what + "." + names[k], unit, at < values.size() ? cell_of(values[at]) : "nan");
          }
        };
        all("input", inputs, info.potential_unit, exported::input_levels(log, row));
        all("target", targets.names, targets.unit, targets(row));
      });
  using log_layout::StepRecord;
  write_table<StepRecord>(
      steps, info, log.steps(), report.damaged_steps,
      [&](std::uint64_t i) {
        return StepRecord{log.step(i), log.theta(i)};
      },
      [&](Line& line, const StepRecord& row) { log_layout::describe(line, row, layout); });
  using log_layout::EpochRecord;
  write_table<EpochRecord>(
      epochs, info, log.epochs(), report.damaged_epochs,
      [&](std::uint64_t i) { return log_layout::record_of(log.epoch(i), layout.version); },
      [&](Line& line, const EpochRecord& row) { log_layout::describe(line, row, layout); });
  for (NewFile* file : {&relaxations, &steps, &epochs}) file->keep();
  return report;
}

}  // namespace ness
