// ness export: a log as CSV files, or as a netCDF file.
#include <cstdio>
#include <memory>

#include "command.hpp"
#include "messages.hpp"
#include "ness/record/export.hpp"
#include "ness/runs/progress.hpp"
#include "options.hpp"
#include "report.hpp"

namespace ness {

namespace {

struct ExportOptions {
  std::string log, csv, netcdf;
  bool json = false;
};

void warn_of(const std::string& log, const char* what, const std::vector<std::uint64_t>& damaged) {
  if (damaged.empty()) return;
  constexpr std::size_t most = 20;
  std::string which;
  for (std::size_t i = 0; i < damaged.size() && i < most; ++i)
    which += (i > 0 ? ", " : "") + std::to_string(damaged[i]);
  if (damaged.size() > most) which += " and " + std::to_string(damaged.size() - most) + " more";
  warn(log + ": " + what + (damaged.size() == 1 ? " " : "s ") + which +
       (damaged.size() == 1 ? " is" : " are") + " damaged: exported as no numbers (nan)");
}

int run_export(const ExportOptions& options) {
  const LogReader log(options.log);
  ExportReport report;
  std::vector<std::string> files;
  if (!options.csv.empty()) {
    report = export_csv(log, options.csv);
    files = report.files;
  }
  if (!options.netcdf.empty()) {
    report = export_netcdf(log, options.netcdf);
    files.insert(files.end(), report.files.begin(), report.files.end());
  }
  warn_of(options.log, "row", report.damaged_rows);
  warn_of(options.log, "step", report.damaged_steps);
  warn_of(options.log, "epoch", report.damaged_epochs);
  if (options.json) {
    Report json{{"log", options.log},
                {"files", files},
                {"rows", report.rows},
                {"steps", report.steps},
                {"epochs", report.epochs},
                {"damaged_rows", report.damaged_rows},
                {"damaged_steps", report.damaged_steps},
                {"damaged_epochs", report.damaged_epochs}};
    json.print_json();
    return ExitCode::success;
  }
  std::printf("%s: %s rows, %s steps, %s epochs\n", options.log.c_str(), grouped(report.rows).c_str(),
              grouped(report.steps).c_str(), grouped(report.epochs).c_str());
  for (const std::string& file : files) std::printf("  %s\n", file.c_str());
  return ExitCode::success;
}

}  // namespace

void declare_export(Options& line, const Command& command) {
  auto options = std::make_shared<ExportOptions>();
  line.add("LOG", options->log, "log of a run").required().value_name("LOG");
  line.add("--csv", options->csv, "folder for relaxations.csv, steps.csv and epochs.csv")
      .value_name("FOLDER");
  line.add("--netcdf", options->netcdf, "netCDF-4 file, which xarray opens").value_name("FILE");
  line.flag("--json", options->json, "results as one JSON object on standard output");
  line.footer(
      "Exports what is counted: of a run that goes on, or was killed, the rows that are in its log. No file "
      "is "
      "overwritten.\n"
      "Rows that are damaged are named, and exported as no numbers (nan).\n"
      "\n"
      "CSV: a line of names with units, then a line a row; a column for each potential, input and parameter; "
      "other lists are one\n"
      "cell of numbers separated by blanks. netCDF: potential (relaxation, terminal), input_level "
      "(relaxation, "
      "input),\n"
      "theta (step, parameter), by name, with units as attributes. The log itself is HDF5, which h5py and "
      "Octave open.\n"
      "\n"
      "Examples:\n"
      "  ness export xor.h5 --csv xor\n"
      "  ness export xor.h5 --netcdf xor.nc    # xarray.open_dataset(\"xor.nc\")");
  line.demand([options] {
    return options->csv.empty() && options->netcdf.empty() ? std::string("--csv FOLDER or --netcdf FILE")
                                                           : std::string();
  });
  line.action([options, &command] {
    command.leave_at_first();
    return run_export(*options);
  });
}

}  // namespace ness
