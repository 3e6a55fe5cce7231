// Epochs of MNIST: 60,000 relaxations, gradients, 300 updates, all cores; the log on and off.
#include <algorithm>
#include <memory>
#include <thread>

#include "benchmarks/edges.hpp"
#include "benchmarks/mnist.hpp"
#include "benchmarks/table.hpp"

namespace benchmarks {
namespace {

void epochs(benchmark::State& state) {
  static const char* where =
      "an epoch of MNIST, 784-30-10, batch 200, all cores, warm: medians over epochs 2 to 8";
  try {
    mnist();
  } catch (const std::exception& error) {
    skip(state, where, "an epoch", error.what());
    return;
  }
  const double cores = std::max(1U, std::thread::hardware_concurrency());
  const double edges = static_cast<double>(mnist().task->train.size()) * InputEdges<float>::count;
  std::vector<double> off, on, by_edge, by_exponential, on_by_off;
  std::uint64_t left_out = 0;
  for (auto _ : state) {
    const auto [without, with] = train_in_turns(8, folder + "/ness-benchmarks.h5");
    // An epoch with a log and the same epoch without it follow within seconds, so their times are compared
    // directly; units would add scatter.
    for (std::size_t i = 0; i < without.seconds.size(); ++i) {
      off.push_back(without.seconds[i]);
      on.push_back(with.seconds[i]);
      by_edge.push_back(without.seconds[i] * cores / (edges * without.edge[i]));
      by_exponential.push_back(without.seconds[i] * cores / (edges * without.exponential[i]));
      on_by_off.push_back(with.seconds[i] / without.seconds[i]);
    }
    left_out += without.left_out + with.left_out;
    state.SetIterationTime(median(without.seconds));
  }
  put(state, where,
      {.what = "log off",
       .figure = median(off),
       .unit = "s",
       .ratio = median(by_exponential),
       .of = "exponentials of all input edges"});
  put(state, where,
      {.what = "log off, beside the kernel",
       .figure = median(off) * cores,
       .unit = "core-s",
       .ratio = median(by_edge),
       .of = "direct evaluation",
       .limit = 3});
  put(state, where,
      {.what = "log on",
       .figure = median(on),
       .unit = "s",
       .ratio = median(on_by_off),
       .of = "log off",
       .limit = 1.1});
  put(state, where, {.what = "samples left out", .figure = static_cast<double>(left_out), .unit = ""});
}
}  // namespace

void add_epochs() {
  benchmark::RegisterBenchmark("epochs", epochs)
      ->UseManualTime()
      ->Iterations(std::max(1, static_cast<int>(effort) - 1));
}

}  // namespace benchmarks
