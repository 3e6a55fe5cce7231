// The table printed by the benchmark program: one row per figure, aligned.
#pragma once

#include <benchmark/benchmark.h>

#include <limits>
#include <string>
#include <vector>

namespace benchmarks {

/// A figure, with its ratio to another and its limit.
struct Row {
  std::string what{};  ///< unique: repeating a benchmark replaces its row
  double figure = 0;
  std::string unit{};
  double ratio = std::numeric_limits<double>::quiet_NaN();
  std::string of{};  ///< what the ratio refers to
  double limit = std::numeric_limits<double>::quiet_NaN();
  bool at_least = false;       ///< the limit is a lower one
  bool limits_figure = false;  ///< the limit applies to the figure, not to the ratio
};

/// Adds a row to the table; its numbers also become counters for the output formats of Google Benchmark.
void put(benchmark::State& state, const std::string& section, const Row& row);
/// Adds a row with the reason why there is no figure; skips the benchmark.
void skip(benchmark::State& state, const std::string& section, const std::string& what,
          const std::string& why);

/// Median; with an even number of values, the upper of the two in the middle.
double median(std::vector<double> of);

/// 1, or more with --long: factor for repetitions and sizes.
extern double effort;
/// Files are written here.
extern std::string folder;

/// Reports the end of each benchmark on the error stream, and prints the table when all have ended.
class Table final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;
  void Finalize() override;
};

/// Register the benchmarks of each subject; call after the options are read.
void add_memory();
void add_kernels();
void add_relaxations();
void add_epochs();
void add_lattices();
void add_log();

}  // namespace benchmarks
