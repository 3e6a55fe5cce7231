// A log for other programs: tables as CSV files, or one netCDF-4 file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ness/record/log.hpp"

namespace ness {

/// What was exported: counted rows alone. Rows whose CRC fails are there too, with NaN for their numbers.
struct ExportReport {
  std::vector<std::string> files;
  std::uint64_t rows = 0, steps = 0, epochs = 0;
  std::vector<std::uint64_t> damaged_rows, damaged_steps, damaged_epochs;
};

/// Writes relaxations.csv, steps.csv and epochs.csv into a folder, which is made where there is none.
///
/// A line of names, each with its unit in brackets unless that is 1: "potential.out [kT]". Then a line a row;
/// `row` is its index in the log's table. Numbers have 17 digits. A potential, an input and a parameter each
/// have a column, named by the terminal or parameter; every other list is one cell of numbers separated by
/// blanks, empty where there are none. A damaged row is nan in all columns but the first. Texts with a comma
/// or a quote are quoted (RFC 4180).
///
/// Inputs are levels of the clamped terminals, where the log holds the pattern set; else nan. Targets are
/// those of the sample, where the log holds them.
///
/// Throws LogError if one of the files exists, or cannot be written; then none of them is left.
ExportReport export_csv(const LogReader& log, const std::string& folder);

/// Writes one netCDF-4 file, which xarray opens: dimensions relaxation, step, epoch and checkpoint, and by
/// name terminal (those that are read), every_terminal, input, output, nudgeable, parameter and quantity.
///
/// potential (relaxation, terminal), input_level (relaxation, input), target (relaxation, output), theta
/// (step, parameter); other columns of relaxations have the log's names (but label_step for step), those of
/// other tables the prefix training_, epochs_ or checkpoints_. Lists of another length in every row are one
/// after another in a dimension of their own, NAME_entry, and NAME_count (relaxation) says how many are a
/// row's. Units are attributes. A list that is empty in all rows is left out. Of a damaged row numbers are
/// NaN, whole numbers 0, and `damaged` (training_damaged, epochs_damaged) is 1.
///
/// Throws LogError if the file exists or cannot be written; then none is left.
ExportReport export_netcdf(const LogReader& log, const std::string& path);

}  // namespace ness
