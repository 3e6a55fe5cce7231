// Square lattices of quantum dots, 10^2 to 10^6 nodes. (ness-bar-lattices measures their parts, and three dimensions.)
#include <cmath>
#include <memory>
#include <string>

#include "edges.hpp"
#include "ness/core/random.hpp"
#include "ness/sim/lattice.hpp"
#include "ness/sim/steady_state.hpp"
#include "table.hpp"

namespace benchmarks {
namespace {

using namespace ness;
using namespace ness::sim;

const char* section = "square lattices: leak 1e-3, levels N(0, 3 kT), all from rest unless warm";

void lattice(benchmark::State& state, std::uint32_t side) {
  static double smaller_nodes = 0, smaller_seconds = 0;
  LatticeOptions options;
  options.sides = {side, side};
  options.leak = 1e-3;
  const Network network(ness::sim::lattice(options));
  const auto nodes = static_cast<double>(network.free().size());
  const Vector theta = network.theta();
  const auto work = network.workspace();
  double cold = 1e300, warm = 1e300;
  bool converged = true;
  for (auto _ : state) {
    Random random(2, 3);
    Boundary b;
    b.theta = theta.data();
    b.clamp.resize(static_cast<Eigen::Index>(network.clamped().size()));
    for (double& x : b.clamp) x = 3 * random.normal();
    SteadyState found, moved;
    const double t = seconds([&] { found = relax(network, b, network.rest(), {}, false, *work); });
    for (double& x : b.clamp) x += 0.1 * random.normal();
    warm = std::min(warm, seconds([&] { moved = relax(network, b, found.potential, {}, true, *work); }));
    cold = std::min(cold, t);
    converged = converged && found.verdict == Verdict::converged && moved.verdict == Verdict::converged;
    state.SetIterationTime(t);
  }
  const std::string of = std::to_string(static_cast<std::uint64_t>(nodes)) + " free nodes, " + to_string(network.algebra()) + (converged ? "" : ", NOT CONVERGED");
  Row row{.what = of + ": cold", .figure = cold, .unit = "s"};
  if (side == 316) row.limit = 30, row.limits_figure = true;
  put(state, section, row);
  put(state, section, {.what = of + ": warm", .figure = warm, .unit = "s"});
  if (smaller_nodes >= 900) {
    put(state, section, {.what = of + ": exponent of the cold cost from the lattice before", .figure = std::log(cold / smaller_seconds) / std::log(nodes / smaller_nodes), .unit = "", .limit = 1.6, .limits_figure = true});
  }
  smaller_nodes = nodes;
  smaller_seconds = cold;
}
}  // namespace

void add_lattices() {
  for (const std::uint32_t side : {10U, 32U, 100U, 316U, 1000U}) {
    if (side == 1000 && effort <= 1) continue;
    const int rounds = side <= 32 ? 20 : side <= 100 ? 3 : 1;
    benchmark::RegisterBenchmark(("lattice/" + std::to_string(side)).c_str(), [=](benchmark::State& s) { lattice(s, side); })->UseManualTime()->Iterations(rounds);
  }
}

}  // namespace benchmarks
