#include "ness/training/image_task.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include "ness/device/error.hpp"
#include "ness/device/number_text.hpp"
#include "task/idx_shape.hpp"

namespace ness {
namespace {

// Images of bytes, decoded by a table of the 256 levels.
class ByteImages final : public PatternSet {
 public:
  ByteImages(std::string name, IdxFile images, ByteEncoding encoding, bool shifts)
      : name_(std::move(name)), images_(std::move(images)), encoding_(encoding), shifts_(shifts) {
    const std::string& path = images_.path;
    if (!std::isfinite(encoding.low) || !std::isfinite(encoding.high)) {
      throw std::invalid_argument("byte images: levels " + number_text(encoding.low) + " to " +
                                  number_text(encoding.high) + "; they must be finite");
    }
    const std::size_t dimensions = images_.shape.size();
    if (dimensions < 2 || (shifts && dimensions != 3)) {
      throw FileError(path + ": shape " + shape_text(images_.shape) + "; expected images x rows x columns");
    }
    const std::uint64_t all = value_count(images_.shape, path);
    width_ = images_.shape[0] == 0 ? 0 : static_cast<std::uint32_t>(all / images_.shape[0]);
    if (width_ == 0) throw FileError(path + ": shape " + shape_text(images_.shape) + " holds no pixel");
    if (images_.values.size() != all) {
      throw FileError(path + ": " + std::to_string(images_.values.size()) + " values for shape " +
                      shape_text(images_.shape));
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
      throw std::invalid_argument("pattern set '" + name_ + "': row " + std::to_string(row) + " of " +
                                  std::to_string(rows()));
    }
    const std::uint64_t variant = row / base_rows();
    const std::uint8_t* pixels = images_.values.data() + (row % base_rows()) * width_;
    if (variant == 0) {
      decode(pixels, width_, out.data());
    } else {
      shifted(pixels, variant, out);
    }
  }

  // Prefetches an image: the order within an epoch is random, so the processor cannot predict it.
  void expect(std::uint64_t row) const override {
    constexpr std::size_t line = 64;
    const std::uint8_t* const pixels = images_.values.data() + (row % base_rows()) * width_;
    for (std::size_t at = 0; at < width_; at += line) __builtin_prefetch(pixels + at);
  }

  std::optional<Source> source() const override {
    if (images_.path.empty()) return std::nullopt;
    std::string encoding =
        "byte p of an IDX file: level = low + (high - low) p / 255, low = " + number_text(encoding_.low) +
        ", high = " + number_text(encoding_.high);
    if (shifts_) encoding += "; 9 variants, shifted by -1, 0, 1 pixels both ways, empty pixels 0";
    return Source{std::filesystem::absolute(images_.path).lexically_normal().string(), std::move(encoding)};
  }

 private:
  void shifted(const std::uint8_t* pixels, std::uint64_t variant, Eigen::Ref<Vector> out) const {
    // (dx, dy) of variants 0 to 8: first no shift, then the neighbours row by row.
    static constexpr std::array<std::pair<int, int>, 9> shifts{
        {{0, 0}, {-1, -1}, {0, -1}, {1, -1}, {-1, 0}, {1, 0}, {-1, 1}, {0, 1}, {1, 1}}};
    const auto [dx, dy] = shifts[variant];
    const int height = static_cast<int>(images_.shape[1]), width = static_cast<int>(images_.shape[2]);
    const auto kept = static_cast<std::size_t>(std::max(0, width - std::abs(dx)));
    for (int y = 0; y < height; ++y) {
      double* const row = out.data() + y * width;
      const int from_y = y - dy;
      std::fill_n(row, width, table_[0]);
      if (from_y >= 0 && from_y < height)
        decode(pixels + from_y * width + std::max(0, -dx), kept, row + std::max(0, dx));
    }
  }

  // Most pixels are black, so eight of them are tested at a time.
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

Dataset labelled_images(const std::string& name, const std::string& images_path,
                        const std::string& labels_path, const ImageTaskOptions& options, bool shifts,
                        std::uint64_t limit) {
  IdxFile images = read_idx(images_path);
  const IdxFile labels = read_idx(labels_path);
  if (labels.shape.size() != 1) {
    throw FileError(labels_path + ": shape " + shape_text(labels.shape) +
                    "; labels have one dimension (are these images?)");
  }
  if (images.shape[0] != labels.shape[0]) {
    throw FileError(labels_path + ": " + std::to_string(labels.shape[0]) + " labels for the " +
                    std::to_string(images.shape[0]) + " images of " + images_path);
  }
  for (std::size_t i = 0; i < labels.values.size(); ++i) {
    if (labels.values[i] < options.classes) continue;
    throw FileError(labels_path + ": label " + std::to_string(labels.values[i]) + " of sample " +
                    std::to_string(i) + "; expected a class below " + std::to_string(options.classes));
  }
  const std::uint64_t available = labels.values.size();
  if (limit > available) {
    throw std::invalid_argument("the first " + std::to_string(limit) + " samples are asked for; " +
                                images_path + " has " + std::to_string(available));
  }
  Dataset set;
  if (limit > 0 && !options.whole_files) {
    images.values.resize(images.values.size() / available * limit);
    images.shape[0] = static_cast<std::uint32_t>(limit);
  }
  set.inputs = byte_images(name, std::move(images), options.encoding, shifts);
  set.rows.resize(limit > 0 ? limit : available);
  set.targets.resize(static_cast<Eigen::Index>(set.rows.size()), 1);
  for (std::size_t i = 0; i < set.rows.size(); ++i) {
    set.rows[i] = i;
    set.targets(static_cast<Eigen::Index>(i), 0) = labels.values[i];
  }
  return set;
}

}  // namespace

std::shared_ptr<const PatternSet> byte_images(std::string name, IdxFile images, ByteEncoding encoding,
                                              bool shifts) {
  return std::make_shared<ByteImages>(std::move(name), std::move(images), encoding, shifts);
}

Task image_task(const ImageTaskOptions& options, double readout_scale) {
  if (options.classes < 2)
    throw std::invalid_argument("image task: " + std::to_string(options.classes) +
                                " classes; at least 2 are needed");
  if (options.test_images.empty() != options.test_labels.empty()) {
    throw std::invalid_argument("image task: test images and test labels are given together or not at all");
  }
  Task task;
  task.name = "images";
  task.loss = std::make_shared<CrossEntropy>(readout_scale);
  task.train = labelled_images("train", options.train_images, options.train_labels, options, options.shifts,
                               options.train_limit);
  if (options.test_images.empty()) return task;
  task.test =
      labelled_images("test", options.test_images, options.test_labels, options, false, options.test_limit);
  if (task.test.inputs->width() != task.train.inputs->width()) {
    throw FileError(options.test_images + ": images of " + std::to_string(task.test.inputs->width()) +
                    " pixels; those of " + options.train_images + " have " +
                    std::to_string(task.train.inputs->width()));
  }
  return task;
}

}  // namespace ness
