// Regression and classification of columns of CSV files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ness/training/dataset.hpp"

namespace ness {

struct CsvOptions {
  std::string train, test;                   ///< CSV files with a header line; test may be empty
  std::vector<std::string> inputs;           ///< names of the input columns
  std::vector<std::string> targets;          ///< names of the target columns
  double input_scale = 1, input_offset = 0;  ///< level = offset + scale * value
};
/// Regression of CSV columns, squared error (of one target column with two values: with the threshold
/// halfway, Loss::threshold); with one target column and `classes` > 0, classification (cross-entropy with
/// readout_scale). Throws FileError with file, line, column and what was expected.
Task csv_task(const CsvOptions& options, std::uint32_t classes, double readout_scale);

}  // namespace ness
