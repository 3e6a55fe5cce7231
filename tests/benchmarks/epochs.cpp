// Epochs of MNIST: 60,000 relaxations, gradients, 300 updates, all cores; the log on and off.
#include <algorithm>
#include <memory>
#include <thread>

#include "edges.hpp"
#include "mnist.hpp"
#include "table.hpp"

namespace benchmarks {
namespace {

void epochs(benchmark::State& state) {
  static const char* where = "an epoch of MNIST, 784-30-10, batch 200, all cores, warm";
  try {
    mnist();
  } catch (const std::exception& error) {
    skip(state, where, "an epoch", error.what());
    return;
  }
  const double cores = std::max(1U, std::thread::hardware_concurrency());
  const double edges = static_cast<double>(mnist().task->train.size()) * InputEdges<float>::count;
  Units units;
  double off = 1e300, on = 1e300, left_out = 0;
  std::vector<double> ratios;
  bool first = true;
  for (auto _ : state) {
    // In turns: epochs without a log, with one.
    const Epochs without = first ? trained() : train(3, {});
    first = false;
    units.again();
    const Epochs with = train(2, folder + "/ness-benchmarks.h5");
    units.again();
    const double a = *std::min_element(without.seconds.begin(), without.seconds.end()), b = *std::min_element(with.seconds.begin(), with.seconds.end());
    off = std::min(off, a);
    on = std::min(on, b);
    ratios.push_back(b / a);
    left_out = static_cast<double>(without.left_out);
    state.SetIterationTime(a);
  }
  std::sort(ratios.begin(), ratios.end());
  put(state, where, {.what = "log off", .figure = off, .unit = "s", .ratio = off * cores / (edges * units.exponential()), .of = "exponentials of all input edges"});
  put(state, where, {.what = "log off, beside the kernel", .figure = off * cores, .unit = "core-s", .ratio = off * cores / (edges * units.edge()), .of = "direct evaluation", .limit = 3});
  put(state, where, {.what = "log on", .figure = on, .unit = "s", .ratio = on * cores / (edges * units.exponential()), .of = "exponentials of all input edges"});
  put(state, where, {.what = "log on, beside log off", .figure = on, .unit = "s", .ratio = ratios[ratios.size() / 2], .of = "log off", .limit = 1.1});
  put(state, where, {.what = "samples left out in 3 epochs", .figure = left_out, .unit = ""});
}
}  // namespace

void add_epochs() { benchmark::RegisterBenchmark("epochs", epochs)->UseManualTime()->Iterations(std::max(1, static_cast<int>(effort) - 1)); }

}  // namespace benchmarks
