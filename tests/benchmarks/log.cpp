// Rows logged per second, compared with a bare sequential write of the same bytes; both ended by fdatasync,
// medians of alternating pairs.
#include "benchmarks/log_rate.hpp"

#include "benchmarks/table.hpp"

namespace benchmarks {
namespace {

void log(benchmark::State& state, std::uint64_t epochs) {
  log_rate::Options options;
  options.folder = folder;
  options.epochs = epochs;
  for (auto _ : state) {
    const log_rate::Result r = log_rate::measure(options);
    const std::string where = "log: " + std::to_string(r.rows) +
                              " rows of a 784-30-10 network through a Recorder, median of 5 pairs";
    state.SetIterationTime(r.log_seconds);
    put(state, where,
        {.what = "rows logged, fdatasync included",
         .figure = r.rows_per_second,
         .unit = "rows/s",
         .ratio = r.ratio,
         .of = "bare write",
         .limit = 0.5,
         .at_least = true});
    put(state, where, {.what = "bare write", .figure = 1e-6 * r.bare_bytes_per_second, .unit = "MB/s"});
    put(state, where, {.what = "bytes a row", .figure = r.bytes / static_cast<double>(r.rows), .unit = "B"});
    put(state, where,
        {.what = "processor time of the thread that relaxes",
         .figure = 1e6 * r.caller_seconds,
         .unit = "us/row"});
    put(state, where,
        {.what = "processor time of the log's own thread",
         .figure = 1e6 * r.writer_seconds,
         .unit = "us/row"});
  }
}
}  // namespace

void add_log() {
  // A short log, and the log of a whole training.
  benchmark::RegisterBenchmark("log/short", [](benchmark::State& state) { log(state, 4); })
      ->UseManualTime()
      ->Iterations(1);
  benchmark::RegisterBenchmark("log/training", [](benchmark::State& state) { log(state, 20); })
      ->UseManualTime()
      ->Iterations(1);
}

}  // namespace benchmarks
