// Measures how close the simulation comes to the limits of this machine, and prints one table. README.md
// explains the figures.
//   ness-benchmarks [--long] [--folder DIR] [--benchmark_filter=REGEX] [other options of Google Benchmark]
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "benchmarks/table.hpp"

int main(int argc, char** argv) {
  std::vector<char*> rest{argv[0]};
  benchmarks::folder = std::filesystem::temp_directory_path().string();
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--long") == 0) {
      benchmarks::effort = 5;
    } else if (std::strcmp(argv[i], "--folder") == 0 && i + 1 < argc) {
      benchmarks::folder = argv[++i];
    } else {
      rest.push_back(argv[i]);
    }
  }
  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  if (benchmark::ReportUnrecognizedArguments(count, rest.data())) return 2;
  benchmarks::add_memory();
  benchmarks::add_kernels();
  benchmarks::add_epochs();
  benchmarks::add_relaxations();
  benchmarks::add_lattices();
  benchmarks::add_log();
  benchmarks::Table table;
  return benchmark::RunSpecifiedBenchmarks(&table) > 0 ? 0 : 2;
}
