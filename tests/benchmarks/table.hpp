// The table that the benchmark program prints: one row a figure, aligned, in one run.
#pragma once

#include <benchmark/benchmark.h>

#include <limits>
#include <string>
#include <vector>

namespace benchmarks {

/// A figure, and how it stands to another and to a limit.
struct Row {
  std::string what{};   ///< unique: a benchmark that runs again replaces its row
  double figure = 0;
  std::string unit{};
  double ratio = std::numeric_limits<double>::quiet_NaN();
  std::string of{};     ///< the ratio is that to this
  double limit = std::numeric_limits<double>::quiet_NaN();
  bool at_least = false;             ///< the limit is a lower one
  bool limits_figure = false;        ///< the limit is the figure's, not the ratio's
};

/// Adds a row to the table; its numbers become counters of the benchmark, for Google Benchmark's own formats.
void put(benchmark::State& state, const std::string& section, const Row& row);
/// A row that says why there is no figure; skips the benchmark.
void skip(benchmark::State& state, const std::string& section, const std::string& what, const std::string& why);

/// Of an odd number of values, or the upper one of the two in the middle.
double median(std::vector<double> of);

/// 1, or more with --long: factor of repetitions and sizes.
extern double effort;
/// Files are written here.
extern std::string folder;

/// Tells each benchmark as it ends (on the error stream), and prints the table when all have ended.
class Table final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;
  void Finalize() override;
};

/// Register the benchmarks of each subject, after the options are read.
void add_memory();
void add_kernels();
void add_relaxations();
void add_epochs();
void add_lattices();
void add_log();

}  // namespace benchmarks
