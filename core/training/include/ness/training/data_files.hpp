// Data files: IDX (MNIST's format, gzip'd or not) and CSV.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ness/training/dataset.hpp"

namespace ness {

/// An IDX file of unsigned bytes: `shape` sizes, values in row-major order. Reads .gz as well. Throws FileError for a file
/// that is truncated, too long, no IDX file, or of another element type; the message says what was expected and found.
struct IdxFile {
  std::string path;
  std::vector<std::uint32_t> shape;
  std::vector<std::uint8_t> values;
};
IdxFile read_idx(const std::string& path);

/// How a byte p becomes a level: low + (high - low) p / 255, kT.
struct ByteEncoding {
  double low = -2, high = 2;
};

/// Byte images as patterns [rows x columns], with shifted variants: variant v of 9 shifts by (dx, dy) in {-1, 0, 1}^2 pixels,
/// empty pixels 0; variant 0 is unshifted. Knows its file, so that the log names it instead of copying it.
std::shared_ptr<const PatternSet> byte_images(std::string name, IdxFile images, ByteEncoding encoding, bool shifts);

struct ImageTaskOptions {
  std::string train_images, train_labels, test_images, test_labels;  ///< IDX files; test ones may be empty
  ByteEncoding encoding;
  std::uint32_t classes = 10;
  bool shifts = false;             ///< training patterns have 9 variants
  std::uint64_t train_limit = 0;   ///< the first so many samples; 0: all
  std::uint64_t test_limit = 0;
};
/// Classification of IDX images with labels. Throws FileError naming the file where images and labels do not fit together or a
/// label is not below `classes`. The loss is cross-entropy with the given scale.
Task image_task(const ImageTaskOptions& options, double readout_scale);

struct CsvOptions {
  std::string train, test;                 ///< CSV files with a header line; test may be empty
  std::vector<std::string> inputs;         ///< names of the input columns
  std::vector<std::string> targets;        ///< names of the target columns
  double input_scale = 1, input_offset = 0;  ///< level = offset + scale * value
};
/// Regression of CSV columns, squared error; with one target column and `classes` > 0, classification (cross-entropy with
/// readout_scale). Throws FileError with file, line, column and what was expected.
Task csv_task(const CsvOptions& options, std::uint32_t classes, double readout_scale);

/// Finds a data directory `name` (say "mnist") under the first existing root of: `given` (if not empty), $NESS_DATA, ./data,
/// ../shared/data. Throws FileError that lists where it looked; a given root that lacks it is an error at once.
std::string find_data(const std::string& name, const std::string& given);

}  // namespace ness
