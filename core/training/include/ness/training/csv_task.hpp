// Regression and classification of columns of CSV files.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ness/training/dataset.hpp"

namespace ness {

/// How a CSV file is written. Quoted cells, '+' before numbers, gzip, comments ('#') above the header, names
/// behind '#' (numpy), and Excel's line "sep=;" are read in each.
struct CsvDialect {
  /// ',', ';', tab, '|', or ' ' for any blanks; 0: the one that parts the first two lines alike
  char separator = 0;
  bool decimal_comma = false;
  std::uint64_t skip = 0;  ///< lines before the header
  bool header = true;      ///< false: no line of names; the columns are "1", "2", ..
};

/// What is learned from the training part, so that a later reading need not learn it again.
struct CsvLearned {
  std::vector<std::string> labels;                  ///< [classes] texts of the classes; empty: numbers from 0
  std::vector<std::pair<double, double>> standard;  ///< [inputs] mean and deviation; empty: as they are
};

struct CsvOptions {
  std::string train, test;  ///< CSV files; test may be empty
  /// Files with the targets, row by row as in those; empty: the targets are columns of those
  std::string train_targets = {}, test_targets = {};
  /// Names of the input columns; "a..c": from a to c in the order of the file; "all": all that have a name
  /// but for the targets; "all but a, b..d". A column of that very name goes before.
  std::vector<std::string> inputs;
  std::vector<std::string> targets;            ///< names of the target columns, or ranges of them
  double input_scale = 1, input_offset = 0;    ///< level = offset + scale * value
  double target_scale = 1, target_offset = 0;  ///< target = offset + scale * value; not of classes
  CsvDialect dialect = {};
  /// Values are standardised: less the mean, over the standard deviation (of the population; 1 where that is
  /// 0) of their column in the training part: what neither test nor validation takes away.
  bool standardise = false;
  double test_share = 0, validation_share = 0;  ///< of the rows of `train`; of each class alike
  std::uint64_t split_seed = 0;
  /// Samples of the training part that are the validation set, chosen as split_off does; not with a share
  std::uint64_t validation = 0, validation_seed = 0;
  CsvLearned learned = {};  ///< what is not empty is used, and not learned again
};
/// Regression of CSV columns, squared error (of one target column with two values: with the threshold
/// halfway, Loss::threshold); with one target column and `classes` > 0, classification (cross-entropy with
/// readout_scale). Throws FileError with file, line, column and what was expected; std::invalid_argument for
/// options that contradict one another, std::length_error where `validation` leaves nothing to train on.
/// Writes `learned`, if given.
Task csv_task(const CsvOptions& options, std::uint32_t classes, double readout_scale,
              CsvLearned* learned = nullptr);

}  // namespace ness
