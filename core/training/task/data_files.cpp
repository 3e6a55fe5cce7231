#include "ness/training/data_files.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string_view>
#include <utility>

#include "ness/device/error.hpp"
#include "ness/device/number_text.hpp"

namespace ness {
namespace {

std::string hex(std::uint8_t byte) {
  constexpr const char* digits = "0123456789abcdef";
  return {digits[byte >> 4], digits[byte & 15]};
}

// A file that may be gzip'd; zlib passes others through.
class GzipReader {
 public:
  explicit GzipReader(const std::string& path) : path_(path) {
    errno = 0;
    file_ = gzopen(path.c_str(), "rb");
    if (!file_) throw FileError(path + ": cannot be opened: " + (errno != 0 ? std::strerror(errno) : "out of memory"));
    gzbuffer(file_, 1 << 18);
  }
  ~GzipReader() { gzclose(file_); }
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  // Reads up to `count` bytes, fewer only at the end of the data.
  std::size_t read(std::uint8_t* into, std::size_t count) {
    std::size_t got = 0;
    while (got < count) {
      const auto want = static_cast<unsigned>(std::min<std::size_t>(count - got, 1 << 20));
      const int now = gzread(file_, into + got, want);
      if (now < 0) fail();
      got += static_cast<std::size_t>(now);
      if (now == static_cast<int>(want)) continue;
      int code = Z_OK;
      gzerror(file_, &code);
      if (code == Z_BUF_ERROR) throw FileError(path_ + ": damaged gzip data: the compressed stream ends early");
      break;
    }
    return got;
  }

 private:
  [[noreturn]] void fail() {
    int code = Z_OK;
    const int reason = errno;
    const char* message = gzerror(file_, &code);
    if (code == Z_ERRNO) throw FileError(path_ + ": cannot be read: " + std::strerror(reason));
    throw FileError(path_ + ": damaged gzip data: " + message);
  }

  std::string path_;
  gzFile file_;
};

std::uint32_t big_endian(const std::uint8_t* bytes) {
  return (std::uint32_t{bytes[0]} << 24) | (std::uint32_t{bytes[1]} << 16) | (std::uint32_t{bytes[2]} << 8) | bytes[3];
}

std::string shape_text(const std::vector<std::uint32_t>& shape) {
  std::string text;
  for (const std::uint32_t size : shape) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

std::vector<std::uint32_t> read_idx_shape(GzipReader& file, const std::string& path) {
  std::array<std::uint8_t, 4> magic{};
  const std::size_t got = file.read(magic.data(), magic.size());
  if (got < magic.size())
    throw FileError(path + ": not an IDX file: " + std::to_string(got) + " bytes long; a header has at least 8");
  if (magic[0] != 0 || magic[1] != 0) {
    throw FileError(path + ": not an IDX file: begins with the bytes " + hex(magic[0]) + " " + hex(magic[1]) +
                    "; expected 00 00");
  }
  if (magic[2] != 0x08) {
    throw FileError(path + ": IDX element type 0x" + hex(magic[2]) + "; expected 0x08 (unsigned bytes)");
  }
  if (magic[3] == 0) throw FileError(path + ": IDX file of 0 dimensions; expected at least 1");
  std::vector<std::uint8_t> sizes(std::size_t{4} * magic[3]);
  if (file.read(sizes.data(), sizes.size()) < sizes.size()) {
    throw FileError(path + ": truncated: the header ends within its " + std::to_string(magic[3]) + " sizes");
  }
  std::vector<std::uint32_t> shape(magic[3]);
  for (std::size_t i = 0; i < shape.size(); ++i) shape[i] = big_endian(sizes.data() + 4 * i);
  return shape;
}

std::uint64_t value_count(const std::vector<std::uint32_t>& shape, const std::string& path) {
  std::uint64_t count = 1;
  for (const std::uint32_t size : shape) {
    if (size != 0 && count > (std::uint64_t{1} << 40) / size)
      throw FileError(path + ": impossible IDX sizes " + shape_text(shape));
    count *= size;
  }
  return count;
}

// Images by the table of their 256 levels.
class ByteImages final : public PatternSet {
 public:
  ByteImages(std::string name, IdxFile images, ByteEncoding encoding, bool shifts)
      : name_(std::move(name)), images_(std::move(images)), encoding_(encoding), shifts_(shifts) {
    const std::string& path = images_.path;
    if (!std::isfinite(encoding.low) || !std::isfinite(encoding.high)) {
      throw std::invalid_argument("byte images: levels " + number_text(encoding.low) + " to " + number_text(encoding.high) +
                                  "; they must be finite");
    }
    const std::size_t dimensions = images_.shape.size();
    if (dimensions < 2 || (shifts && dimensions != 3)) {
      throw FileError(path + ": shape " + shape_text(images_.shape) + "; expected images x rows x columns");
    }
    const std::uint64_t all = value_count(images_.shape, path);
    width_ = images_.shape[0] == 0 ? 0 : static_cast<std::uint32_t>(all / images_.shape[0]);
    if (width_ == 0) throw FileError(path + ": shape " + shape_text(images_.shape) + " holds no pixel");
    if (images_.values.size() != all) {
      throw FileError(path + ": " + std::to_string(images_.values.size()) + " values for shape " + shape_text(images_.shape));
    }
    for (std::size_t p = 0; p < table_.size(); ++p) {
      table_[p] = encoding.low + (encoding.high - encoding.low) * static_cast<double>(p) / 255;
    }
  }

  const std::string& name() const override { return name_; }
  std::uint64_t base_rows() const override { return images_.shape[0]; }
  std::uint32_t variants() const override { return shifts_ ? 9 : 1; }
  std::uint32_t width() const override { return width_; }
  using PatternSet::levels;

  void levels(std::uint64_t row, Eigen::Ref<Vector> out) const override {
    if (row >= rows()) {
      throw std::invalid_argument("pattern set '" + name_ + "': row " + std::to_string(row) + " of " + std::to_string(rows()));
    }
    const std::uint64_t variant = row / base_rows();
    const std::uint8_t* pixels = images_.values.data() + (row % base_rows()) * width_;
    if (variant == 0) {
      decode(pixels, width_, out.data());
    } else {
      shifted(pixels, variant, out);
    }
  }

  // An epoch visits images in an order that no cache foresees.
  void expect(std::uint64_t row) const override {
    constexpr std::size_t line = 64;
    const std::uint8_t* const pixels = images_.values.data() + (row % base_rows()) * width_;
    for (std::size_t at = 0; at < width_; at += line) __builtin_prefetch(pixels + at);
  }

  std::optional<Source> source() const override {
    if (images_.path.empty()) return std::nullopt;
    std::string encoding = "byte p of an IDX file: level = low + (high - low) p / 255, low = " + number_text(encoding_.low) +
                           ", high = " + number_text(encoding_.high);
    if (shifts_) encoding += "; 9 variants, shifted by -1, 0, 1 pixels both ways, empty pixels 0";
    return Source{std::filesystem::absolute(images_.path).lexically_normal().string(), std::move(encoding)};
  }

 private:
  void shifted(const std::uint8_t* pixels, std::uint64_t variant, Eigen::Ref<Vector> out) const {
    // (dx, dy) of variants 0 to 8: unshifted first, then the neighbours row by row.
    static constexpr std::array<std::pair<int, int>, 9> shifts{
        {{0, 0}, {-1, -1}, {0, -1}, {1, -1}, {-1, 0}, {1, 0}, {-1, 1}, {0, 1}, {1, 1}}};
    const auto [dx, dy] = shifts[variant];
    const int height = static_cast<int>(images_.shape[1]), width = static_cast<int>(images_.shape[2]);
    const auto kept = static_cast<std::size_t>(std::max(0, width - std::abs(dx)));
    for (int y = 0; y < height; ++y) {
      double* const row = out.data() + y * width;
      const int from_y = y - dy;
      std::fill_n(row, width, table_[0]);
      if (from_y >= 0 && from_y < height) decode(pixels + from_y * width + std::max(0, -dx), kept, row + std::max(0, dx));
    }
  }

  // Images are black for the most part: eight pixels at a time.
  void decode(const std::uint8_t* pixels, std::size_t n, double* out) const {
    const double black = table_[0];
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8) {
      std::uint64_t eight;
      std::memcpy(&eight, pixels + i, 8);
      if (eight == 0) {
        for (std::size_t k = i; k < i + 8; ++k) out[k] = black;
      } else {
        for (std::size_t k = i; k < i + 8; ++k) out[k] = table_[pixels[k]];
      }
    }
    for (; i < n; ++i) out[i] = table_[pixels[i]];
  }

  std::string name_;
  IdxFile images_;
  ByteEncoding encoding_;
  bool shifts_;
  std::uint32_t width_ = 0;
  std::array<double, 256> table_{};
};

Dataset labelled_images(const std::string& name, const std::string& images_path, const std::string& labels_path,
                        const ImageTaskOptions& options, bool shifts, std::uint64_t limit) {
  IdxFile images = read_idx(images_path);
  const IdxFile labels = read_idx(labels_path);
  if (labels.shape.size() != 1) {
    throw FileError(labels_path + ": shape " + shape_text(labels.shape) + "; labels have one dimension (are these images?)");
  }
  if (images.shape[0] != labels.shape[0]) {
    throw FileError(labels_path + ": " + std::to_string(labels.shape[0]) + " labels for the " +
                    std::to_string(images.shape[0]) + " images of " + images_path);
  }
  for (std::size_t i = 0; i < labels.values.size(); ++i) {
    if (labels.values[i] < options.classes) continue;
    throw FileError(labels_path + ": label " + std::to_string(labels.values[i]) + " of sample " + std::to_string(i) +
                    "; expected a class below " + std::to_string(options.classes));
  }
  const std::uint64_t available = labels.values.size();
  if (limit > available) {
    throw std::invalid_argument("the first " + std::to_string(limit) + " samples are asked for; " + images_path + " has " +
                                std::to_string(available));
  }
  Dataset set;
  set.inputs = byte_images(name, std::move(images), options.encoding, shifts);
  set.rows.resize(limit > 0 ? limit : available);
  set.targets.resize(static_cast<Eigen::Index>(set.rows.size()), 1);
  for (std::size_t i = 0; i < set.rows.size(); ++i) {
    set.rows[i] = i;
    set.targets(static_cast<Eigen::Index>(i), 0) = labels.values[i];
  }
  return set;
}

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
class CsvReader {
 public:
  explicit CsvReader(const std::string& path) : path_(path), file_(path) {
    if (!file_ || std::filesystem::is_directory(path)) throw FileError(path + ": cannot be opened");
    std::string header;
    if (!next_line(header)) throw FileError(path + ": empty; expected a header line with the names of the columns");
    if (header.starts_with("\xef\xbb\xbf")) header.erase(0, 3);
    for (const std::string_view name : fields_of(header)) names_.emplace_back(name);
  }

  // Where the columns are; `line_` is the header's.
  std::vector<std::size_t> find(const std::vector<std::string>& columns) const {
    std::vector<std::size_t> found;
    for (const std::string& column : columns) {
      const auto place = std::find(names_.begin(), names_.end(), column);
      if (place == names_.end()) {
        std::string all;
        for (const std::string& name : names_) all += (all.empty() ? "'" : ", '") + name + "'";
        throw FileError(here() + ": column '" + column + "': not there; the columns are " + all);
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
      throw FileError(here() + ": column '" + names_[missing] + "': " + std::to_string(fields.size()) + " fields; expected " +
                      std::to_string(names_.size()) + ", as in the header");
    }
    values.clear();
    for (const std::size_t column : wanted) values.push_back(parsed(fields[column], column));
    return true;
  }

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
    throw FileError(here() + ": column '" + names_[column] + "': '" + std::string(field) + "'; expected a finite number");
  }

  std::string path_;
  std::ifstream file_;
  std::uint64_t line_ = 0;
  std::vector<std::string> names_;
};

Dataset csv_dataset(const std::string& name, const std::string& path, const CsvOptions& options, std::uint32_t classes) {
  CsvReader file(path);
  std::vector<std::string> columns = options.inputs;
  columns.insert(columns.end(), options.targets.begin(), options.targets.end());
  const std::vector<std::size_t> wanted = file.find(columns);
  const std::size_t inputs = options.inputs.size();

  std::vector<double> values, input_values, target_values;
  std::uint64_t count = 0;
  while (file.row(wanted, values)) {
    for (std::size_t i = 0; i < inputs; ++i) {
      const double level = options.input_offset + options.input_scale * values[i];
      if (!std::isfinite(level)) {
        throw FileError(file.here() + ": column '" + columns[i] + "': " + number_text(values[i]) + "; its level is not finite");
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
    ++count;
  }
  if (count == 0) throw FileError(path + ": no row of data after the header");

  const auto rows = static_cast<Eigen::Index>(count);
  Dataset set;
  set.inputs = std::make_shared<DensePatterns>(
      name, Eigen::Map<const RowMatrix>(input_values.data(), rows, static_cast<Eigen::Index>(inputs)));
  set.targets = Eigen::Map<const RowMatrix>(target_values.data(), rows, static_cast<Eigen::Index>(options.targets.size()));
  set.rows.resize(count);
  for (std::uint64_t i = 0; i < count; ++i) set.rows[i] = i;
  return set;
}

}  // namespace

IdxFile read_idx(const std::string& path) {
  GzipReader file(path);
  IdxFile idx;
  idx.path = path;
  idx.shape = read_idx_shape(file, path);
  const std::uint64_t expected = value_count(idx.shape, path);

  // Grown as data come, so that a header that lies does not allocate what the file has not.
  constexpr std::uint64_t piece = 1 << 22;
  while (idx.values.size() < expected) {
    const std::uint64_t before = idx.values.size();
    const std::uint64_t want = std::min(piece, expected - before);
    idx.values.resize(before + want);
    const std::size_t got = file.read(idx.values.data() + before, want);
    if (got == want) continue;
    throw FileError(path + ": truncated: expected " + std::to_string(expected) + " bytes of values (" + shape_text(idx.shape) +
                    "), found " + std::to_string(before + got));
  }
  std::uint8_t surplus = 0;  // reading on also makes zlib compare the check sum at the end
  if (file.read(&surplus, 1) != 0) {
    throw FileError(path + ": too long: expected " + std::to_string(expected) + " bytes of values (" + shape_text(idx.shape) +
                    "), found more");
  }
  return idx;
}

std::shared_ptr<const PatternSet> byte_images(std::string name, IdxFile images, ByteEncoding encoding, bool shifts) {
  return std::make_shared<ByteImages>(std::move(name), std::move(images), encoding, shifts);
}

Task image_task(const ImageTaskOptions& options, double readout_scale) {
  if (options.classes < 2)
    throw std::invalid_argument("image task: " + std::to_string(options.classes) + " classes; at least 2 are needed");
  if (options.test_images.empty() != options.test_labels.empty()) {
    throw std::invalid_argument("image task: test images and test labels are given together or not at all");
  }
  Task task;
  task.name = "images";
  task.loss = std::make_shared<CrossEntropy>(readout_scale);
  task.train =
      labelled_images("train", options.train_images, options.train_labels, options, options.shifts, options.train_limit);
  if (options.test_images.empty()) return task;
  task.test = labelled_images("test", options.test_images, options.test_labels, options, false, options.test_limit);
  if (task.test.inputs->width() != task.train.inputs->width()) {
    throw FileError(options.test_images + ": images of " + std::to_string(task.test.inputs->width()) + " pixels; those of " +
                    options.train_images + " have " + std::to_string(task.train.inputs->width()));
  }
  return task;
}

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
  if (classes > 0) {
    task.loss = std::make_shared<CrossEntropy>(readout_scale);
  } else {
    task.loss = std::make_shared<SquaredError>();
  }
  task.train = csv_dataset("train", options.train, options, classes);
  if (!options.test.empty()) task.test = csv_dataset("test", options.test, options, classes);
  return task;
}

std::string find_data(const std::string& name, const std::string& given) {
  std::vector<std::string> roots;
  if (!given.empty()) {
    roots = {given};
  } else {
    const char* environment = std::getenv("NESS_DATA");
    if (environment && *environment) roots.emplace_back(environment);
    roots.insert(roots.end(), {"./data", "../shared/data"});
  }
  std::string looked;
  for (const std::string& root : roots) {
    const std::filesystem::path place = std::filesystem::path(root) / name;
    std::error_code ignored;
    if (std::filesystem::is_directory(place, ignored)) return place.string();
    looked += (looked.empty() ? "" : ", ") + place.string();
  }
  throw FileError("no directory '" + name + "' with data; looked at " + looked +
                  (given.empty() ? " (name another root with --data or NESS_DATA)" : " (the root given)"));
}

}  // namespace ness
