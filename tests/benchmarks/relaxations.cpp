// Relaxations of layered networks on MNIST: cold, warm, their gradients; time as a function of width, batch
// and threads; memory.
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "benchmarks/edges.hpp"
#include "benchmarks/mnist.hpp"
#include "ness/files/network_platform.hpp"
#include "ness/network/simulation.hpp"
#include "benchmarks/table.hpp"

namespace benchmarks {
namespace {

using namespace ness;
using namespace ness::sim;

constexpr std::size_t input_edges = InputEdges<float>::count;

std::shared_ptr<const Network> network() {
  static const std::shared_ptr<const Network> made = network_of(prepare(mnist()).platform);
  return made;
}

SimulationOptions options(unsigned threads) {
  SimulationOptions all = network_description(mnist()).simulation;
  all.threads = threads;
  return all;
}

struct Outcome {
  double seconds = 0;
  std::size_t failures = 0;
  std::vector<Vector> potential;
};
Outcome relax_all(Device& device, std::span<const Drive> drives) {
  Outcome outcome;
  outcome.potential.resize(drives.size());
  outcome.seconds = seconds([&] {
    device.relax(drives, [&](std::size_t i, const Relaxation& row) {
      outcome.potential[i] = row.potential;
      if (!row.quality.usable()) ++outcome.failures;
    });
  });
  return outcome;
}

// Starts from the steady states of the epoch before.
const std::vector<Drive>& warm_drives(std::size_t n) {
  static std::map<std::size_t, std::vector<Drive>> made;
  if (const auto found = made.find(n); found != made.end()) return found->second;
  const std::vector<Vector>& theta = trained().theta;
  Simulation simulation(network(), options(0));
  std::vector<Drive> all = drives(theta.at(1), n);
  const Outcome before = relax_all(simulation, drives(theta.at(0), n));
  for (std::size_t i = 0; i < n; ++i)
    all[i].start = From{std::make_shared<const Vector>(before.potential[i])};
  return made[n] = std::move(all);
}

const char* section = "784-30-10 on MNIST, parameters after 2 epochs, one thread";

// Runs the body, or adds a row with the reason why not.
template <class Body>
void with_images(benchmark::State& state, const char* where, const char* what, Body body) {
  try {
    mnist();
  } catch (const std::exception& error) {
    skip(state, where, what, error.what());
    return;
  }
  body();
}

void relaxation(benchmark::State& state, bool warm) {
  const char* what = warm ? "warm relaxation, from the state of an epoch ago" : "cold relaxation, from rest";
  with_images(state, section, what, [&] {
    const std::size_t n = 400;
    const std::vector<Drive> all = warm ? warm_drives(n) : drives(trained().theta.at(1), n);
    SimulationOptions one_by_one = options(1);
    one_by_one.batches = Batches::off;
    Simulation simulation(network(), options(1)), untabulated(network(), one_by_one);
    InputEdges<float> edges(Law::quantum_dot);
    Turns turns, paths;
    std::size_t failures = 0;
    for (auto _ : state) {
      const Outcome outcome = relax_all(simulation, all);
      failures = outcome.failures;
      paths.see(outcome.seconds, relax_all(untabulated, all).seconds);
      double edge = 1e300;
      for (int i = 0; i < 20; ++i) edge = std::min(edge, edges.once(Use::sum));
      turns.see(outcome.seconds / static_cast<double>(n), edge * input_edges);
      state.SetIterationTime(outcome.seconds);
    }
    put(state, section,
        {.what = what,
         .figure = 1e6 * turns.first(),
         .unit = "us",
         .ratio = turns.ratio(),
         .of = "direct evaluation"});
    put(state, section,
        {.what = std::string(warm ? "  warm" : "  cold") + ", beside sample by sample in double precision",
         .figure = 1e6 * paths.first() / static_cast<double>(n),
         .unit = "us",
         .ratio = paths.ratio(),
         .of = "that",
         .limit = warm ? std::numeric_limits<double>::quiet_NaN() : 0.5});
    put(state, section,
        {.what = std::string("  failures, ") + (warm ? "warm" : "cold"),
         .figure = static_cast<double>(failures),
         .unit = "of 400",
         .limit = 0,
         .limits_figure = true});
  });
}

void gradient(benchmark::State& state) {
  const char* what = "costate and gradient of a sample";
  with_images(state, section, what, [&] {
    const std::size_t n = 200;
    const std::vector<Drive> all = drives(trained().theta.at(1), n);
    Simulation simulation(network(), options(0));
    const Outcome settled = relax_all(simulation, all);
    const NetworkModel model(network(), 1, options(1).batches);
    std::vector<Vector> cotangent(n, Vector::Ones(static_cast<Eigen::Index>(model.free_nodes()))), costate(n);
    Vector sum = Vector::Zero(static_cast<Eigen::Index>(model.parameters()));
    InputEdges<float> edges(Law::quantum_dot);
    Turns turns;
    for (auto _ : state) {
      const double t =
          seconds([&] { model.add_adjoint_gradient(all, settled.potential, cotangent, costate, sum); });
      double edge = 1e300;
      for (int i = 0; i < 20; ++i) edge = std::min(edge, edges.once(Use::sum));
      turns.see(t / static_cast<double>(n), edge * input_edges);
      state.SetIterationTime(t);
    }
    put(state, section,
        {.what = what,
         .figure = 1e6 * turns.first(),
         .unit = "us",
         .ratio = turns.ratio(),
         .of = "direct evaluation"});
  });
}

// Initial parameters as in mnist.toml, for other widths.
std::shared_ptr<const Network> layers_of(std::uint32_t hidden) {
  NetworkSpec spec;
  spec.graph = layered({784, hidden, 10});
  Random random(hidden, 1);
  for (const GraphNode& node : spec.graph.nodes) {
    NodeProperties p;
    if (!node.clamped) p.g = std::exp(-1.0);
    spec.nodes.push_back(p);
  }
  for (const GraphEdge& edge : spec.graph.edges) {
    const bool first = edge.layer == spec.graph.edges.front().layer;
    spec.edges.push_back({Law::quantum_dot,
                          {std::exp((first ? -4 : -1) + 0.5 * random.normal()),
                           (first ? 0 : -2) + random.normal(), std::clamp(random.normal(), -1.0, 1.0), 0}});
  }
  return std::make_shared<const Network>(std::move(spec));
}

void width(benchmark::State& state, std::uint32_t hidden) {
  static const char* where = "cost against width: 784-n_h-10 on MNIST, initial parameters, one thread, cold";
  const std::string what = "n_h = " + std::to_string(hidden);
  with_images(state, where, what.c_str(), [&] {
    const auto net = layers_of(hidden);
    const std::size_t n = 200;
    const std::vector<Drive> all = drives(net->theta(), n);
    Simulation simulation(net, options(1));
    InputEdges<float> edges(Law::quantum_dot);
    Turns turns;
    for (auto _ : state) {
      const Outcome outcome = relax_all(simulation, all);
      double edge = 1e300;
      for (int i = 0; i < 20; ++i) edge = std::min(edge, edges.once(Use::sum));
      turns.see(outcome.seconds / static_cast<double>(n), edge * 784 * hidden);
      state.SetIterationTime(outcome.seconds);
    }
    put(state, where,
        {.what = what,
         .figure = 1e6 * turns.first(),
         .unit = "us",
         .ratio = turns.ratio(),
         .of = "direct evaluation"});
  });
}

void batch(benchmark::State& state, std::size_t size, unsigned threads) {
  static const char* where =
      "cost against batch and threads: 784-30-10 on MNIST, parameters after 2 epochs, warm";
  const std::string what = "batch of " + std::to_string(size) + ", " + std::to_string(threads) +
                           (threads == 1 ? " thread" : " threads");
  with_images(state, where, what.c_str(), [&] {
    const std::size_t n = 1000;
    const std::vector<Drive>& all = warm_drives(n);
    Simulation simulation(network(), options(threads)), reference(network(), options(1));
    Turns turns;
    for (auto _ : state) {
      double t = 0;
      for (std::size_t i = 0; i < n; i += size)
        t += relax_all(simulation, std::span(all).subspan(i, std::min(size, n - i))).seconds;
      turns.see(t / n, relax_all(reference, all).seconds / n);
      state.SetIterationTime(t);
    }
    put(state, where,
        {.what = what,
         .figure = 1e6 * turns.first(),
         .unit = "us/relaxation",
         .ratio = turns.ratio(),
         .of = "batch of 1000, 1 thread"});
  });
}

// Memory of this process in bytes: "VmRSS", resident; "VmHWM", the maximum since forget_peak().
double resident(const std::string& what) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(what + ":")) return 1024 * std::stod(line.substr(what.size() + 1));
  }
  return std::numeric_limits<double>::quiet_NaN();
}
void forget_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

// Runs first, because free memory left by other benchmarks would hide what is needed.
void memory(benchmark::State& state) {
  static const char* where = "memory: resident, 784-30-10 on MNIST, initial parameters, batches of 1000";
  with_images(state, where, "a relaxation that is held", [&] {
    constexpr std::size_t n = 40'000, batch = 1000;
    Simulation simulation(network(), options(0));
    const std::vector<Drive> all = drives(network()->theta(), n);
    double held = 0, most = 0;
    for (auto _ : state) {
      std::vector<Relaxation> rows(n);
      const double before = resident("VmRSS");
      forget_peak();
      simulation.relax(std::span(all).first(batch),
                       [&](std::size_t i, const Relaxation& row) { rows[i] = row; });
      most = (resident("VmHWM") - before) / static_cast<double>(batch) + sizeof(Relaxation);
      for (std::size_t first = batch; first < n; first += batch) {
        simulation.relax(std::span(all).subspan(first, batch),
                         [&](std::size_t i, const Relaxation& row) { rows[first + i] = row; });
      }
      held = (resident("VmRSS") - before) / static_cast<double>(n) + sizeof(Relaxation);
    }
    put(state, where, {.what = "a relaxation that is held", .figure = held, .unit = "B"});
    put(state, where,
        {.what = "a relaxation of the first batch, with its threads' workspaces and tables",
         .figure = most,
         .unit = "B"});
  });
}
}  // namespace

void add_memory() { benchmark::RegisterBenchmark("memory", memory)->Iterations(1); }

void add_relaxations() {
  const auto rounds = static_cast<int>(10 * effort);
  benchmark::RegisterBenchmark("relaxation/cold", [](benchmark::State& s) { relaxation(s, false); })
      ->UseManualTime()
      ->Iterations(rounds);
  benchmark::RegisterBenchmark("relaxation/warm", [](benchmark::State& s) { relaxation(s, true); })
      ->UseManualTime()
      ->Iterations(rounds);
  benchmark::RegisterBenchmark("relaxation/gradient", gradient)->UseManualTime()->Iterations(rounds);
  for (const std::uint32_t hidden : {10U, 30U, 100U, 300U, 1024U}) {
    benchmark::RegisterBenchmark(("width/" + std::to_string(hidden)).c_str(),
                                 [=](benchmark::State& s) { width(s, hidden); })
        ->UseManualTime()
        ->Iterations(static_cast<int>(3 * effort));
  }
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  for (const std::size_t size : {std::size_t{1}, std::size_t{10}, std::size_t{200}, std::size_t{1000}}) {
    benchmark::RegisterBenchmark(("batch/" + std::to_string(size)).c_str(),
                                 [=](benchmark::State& s) { batch(s, size, cores); })
        ->UseManualTime()
        ->Iterations(static_cast<int>(5 * effort));
  }
  for (unsigned threads = 1; threads < cores; threads *= 2) {
    benchmark::RegisterBenchmark(("threads/" + std::to_string(threads)).c_str(),
                                 [=](benchmark::State& s) { batch(s, 200, threads); })
        ->UseManualTime()
        ->Iterations(static_cast<int>(5 * effort));
  }
}

}  // namespace benchmarks
