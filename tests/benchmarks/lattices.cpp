// Square lattices of quantum dots, 10^2 to 10^6 nodes. (ness-bar-lattices measures their parts, and three
// dimensions.)
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks/edges.hpp"
#include "ness/device/random.hpp"
#include "ness/network/lattice.hpp"
#include "ness/network/steady_state.hpp"
#include "benchmarks/table.hpp"

namespace benchmarks {
namespace {

using namespace ness;
using namespace ness::sim;

const char* section = "square lattices: leak 1e-3, levels N(0, 3 kT), all from rest unless warm";

// A lattice with imposed levels; `algebra` selects the solver.
struct Lattice {
  Lattice(std::uint32_t side, LinearAlgebra algebra)
      : network(spec(side), algebra), theta(network.theta()), work(network.workspace()) {
    boundary.theta = theta.data();
    boundary.clamp.resize(static_cast<Eigen::Index>(network.clamped().size()));
    for (double& x : boundary.clamp) x = 3 * random.normal();
  }
  static NetworkSpec spec(std::uint32_t side) {
    LatticeOptions options;
    options.sides = {side, side};
    options.leak = 1e-3;
    return ness::sim::lattice(options);
  }
  double nodes() const { return static_cast<double>(network.free().size()); }
  SteadyState relaxed(const Vector& from, bool restored) {
    return relax(network, boundary, from, {}, restored, *work);
  }

  Random random{2, 3};
  Network network;
  Vector theta;
  Boundary boundary;
  Network::WorkspacePtr work;
};

void lattice(benchmark::State& state, std::uint32_t side, LinearAlgebra algebra) {
  double cold = 1e300, warm = 1e300, nodes = 0;
  bool converged = true;
  for (auto _ : state) {
    Lattice of(side, algebra);
    SteadyState found, moved;
    const double t = seconds([&] { found = of.relaxed(of.network.rest(), false); });
    for (double& x : of.boundary.clamp) x += 0.1 * of.random.normal();
    warm = std::min(warm, seconds([&] { moved = of.relaxed(found.potential, true); }));
    cold = std::min(cold, t);
    converged = converged && found.verdict == Verdict::converged && moved.verdict == Verdict::converged;
    nodes = of.nodes();
    state.SetIterationTime(t);
  }
  const std::string of = std::to_string(static_cast<std::uint64_t>(nodes)) + " free nodes, " +
                         to_string(algebra) + (converged ? "" : ", NOT CONVERGED");
  Row row{.what = of + ": cold", .figure = cold, .unit = "s"};
  if (side == 316) row.limit = 30, row.limits_figure = true;
  put(state, section, row);
  put(state, section, {.what = of + ": warm", .figure = warm, .unit = "s"});
}

// A matrix to be factored again at every turn: that of a steady state.
struct System {
  System(std::uint32_t side, LinearAlgebra algebra) : of(side, algebra), F(of.network.rest().size()) {
    const SteadyState state = of.relaxed(of.network.rest(), false);
    if (state.verdict != Verdict::converged)
      throw std::runtime_error("lattices: " + std::to_string(F.size()) +
                               " nodes: " + to_string(state.verdict));
    Vector unbalanced;
    of.network.impose(of.boundary, *of.work);
    of.network.evaluate(*of.work, state.potential, unbalanced, &jacobian);
    for (double& x : F) x = of.random.normal();
    solve();  // orders the nodes
  }
  void solve() {
    jacobian.add_to_diagonal(
        Vector::Constant(jacobian.size(), 1e-3));  // an unchanged matrix would not be factored again
    if (!of.network.factor(*of.work, jacobian))
      throw std::runtime_error("lattices: a matrix of " + std::to_string(jacobian.size()) +
                               " nodes cannot be factored");
    of.network.solve(*of.work, F, x);
  }
  Lattice of;
  Vector F, x;
  Jacobian jacobian;
};

// Growth of the times of factorisation and solution from one size to the next; both sizes are timed
// alternately.
void growth(benchmark::State& state, std::uint32_t smaller, std::uint32_t larger) {
  double limit = 1.6;
  std::vector<Row> rows;
  for (const LinearAlgebra algebra : {LinearAlgebra::direct, LinearAlgebra::iterative}) {
    System small(smaller, algebra), large(larger, algebra);
    const double small_nodes = small.of.nodes(), nodes = large.of.nodes();
    std::vector<double> exponents, times;
    for (int turn = 0; turn < 7; ++turn) {
      const double before = seconds([&] { small.solve(); });
      times.push_back(seconds([&] { large.solve(); }));
      const double after = seconds([&] { small.solve(); });
      exponents.push_back(std::log(times.back() / std::sqrt(before * after)) / std::log(nodes / small_nodes));
    }
    const std::string of = std::to_string(static_cast<std::uint64_t>(nodes)) + " free nodes, " +
                           to_string(algebra) + ": factorisation and solution";
    rows.push_back({.what = of, .figure = median(times), .unit = "s"});
    rows.push_back({.what = of + ", exponent from " + std::to_string(static_cast<std::uint64_t>(small_nodes)),
                    .figure = median(exponents),
                    .unit = "",
                    .limit = limit,
                    .limits_figure = true});
    limit = rows.back().figure;  // the iteration's is lower than LU's
  }
  for (auto _ : state) {
    for (const Row& row : rows) put(state, section, row);
  }
}
}  // namespace

void add_lattices() {
  const auto add = [](std::uint32_t side, LinearAlgebra algebra, int rounds) {
    benchmark::RegisterBenchmark(("lattice/" + std::to_string(side) + "/" + to_string(algebra)).c_str(),
                                 [=](benchmark::State& s) { lattice(s, side, algebra); })
        ->UseManualTime()
        ->Iterations(rounds);
  };
  add(10, LinearAlgebra::dense, 20);
  for (const LinearAlgebra algebra : {LinearAlgebra::direct, LinearAlgebra::iterative}) {
    for (const auto& [side, rounds] : {std::pair{32U, 20}, {100U, 3}, {316U, 1}}) add(side, algebra, rounds);
  }
  benchmark::RegisterBenchmark("lattice/growth", [](benchmark::State& s) {
    growth(s, 100, 316);
  })->Iterations(1);
  if (effort > 1) {
    add(1000, LinearAlgebra::iterative, 1);
    benchmark::RegisterBenchmark("lattice/growth/long", [](benchmark::State& s) {
      growth(s, 316, 1000);
    })->Iterations(1);
  }
}

}  // namespace benchmarks
