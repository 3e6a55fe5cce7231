// Compares every fast path with the reference solver on random networks, on every vector target that is in
// this binary and that this machine can run.
//   ness-bar-fast-paths [NETWORKS]
// Batches: in single and double precision, from rest and from near the steady state, with inputs mostly at
// one level (as in images) or not, unequal capacities, edges in both directions. Linear algebra: direct and
// iterative, compared with dense. The iteration solves matrices of up to 300 nodes directly, so for every
// hundred of these networks one of about 500 nodes (square and cubic lattices, random graphs) is relaxed by
// iteration and by LU ("iterative, large"). One line of JSON per path and target: number of relaxations; how
// many the path computed itself (the reference solver did the others); how many ended on another branch or
// differed in their verdict; the largest differences (kT) of states, and of gradients relative to their norm.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <exception>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "batch/batch.hpp"
#include "ness/device/random.hpp"
#include "ness/network/lattice.hpp"
#include "ness/network/simulation.hpp"
#include "ness/network/vector_target.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {
constexpr std::size_t samples = 6;
// A larger difference of steady states means different branches; on the same branch they differ far less.
constexpr double same_branch = 0.02;  // kT

struct Count {
  std::uint64_t networks = 0, refused = 0, relaxations = 0, served = 0, other_branch = 0, verdicts = 0;
  double state = 0, gradient = 0;
};

struct Case {
  std::shared_ptr<const Network> network;
  std::shared_ptr<const Vector> theta;
  std::vector<Drive> drives;          // from rest
  std::vector<Relaxation> reference;  // with these drives
  std::vector<Drive> near;            // the usable ones, started near their steady states
  std::vector<Relaxation> settled;    // their steady states
};

std::vector<Relaxation> relax_all(Simulation& simulation, std::span<const Drive> drives) {
  std::vector<Relaxation> rows(drives.size());
  simulation.relax(drives, [&](std::size_t i, const Relaxation& row) { rows[i] = row; });
  return rows;
}

// Random drives: most clamped nodes at one common level, or none; every third drive with a nudge.
Case driven(std::shared_ptr<const Network> network, bool common, Random& random) {
  Case c;
  c.network = std::move(network);
  c.theta = std::make_shared<const Vector>(c.network->theta());
  RowMatrix levels =
      RowMatrix::Constant(samples, static_cast<Eigen::Index>(c.network->clamped().size()), -2.0);
  for (double& x : levels.reshaped()) {
    if (!common || random.uniform() < 0.2) x = -2 + 4 * random.uniform();
  }
  const auto set = std::make_shared<const DensePatterns>("random", levels);
  const Parameters theta{c.theta, {}, 0};
  for (std::size_t i = 0; i < samples; ++i) {
    Drive drive;
    drive.theta = theta;
    drive.clamp = {set, i};
    if (i % 3 == 2) {
      drive.nudge = Vector::Zero(static_cast<Eigen::Index>(c.network->free().size()));
      for (double& u : drive.nudge) u = 0.05 * random.normal();
    }
    c.drives.push_back(std::move(drive));
  }
  Simulation simulation(c.network, {.threads = 1});
  c.reference = relax_all(simulation, c.drives);
  for (std::size_t i = 0; i < samples; ++i) {
    if (!c.reference[i].quality.usable()) continue;
    Vector start = c.reference[i].potential;
    for (double& mu : start) mu += 0.1 * random.normal();
    c.near.push_back(c.drives[i]);
    c.near.back().start = From{std::make_shared<const Vector>(start)};
  }
  c.settled = relax_all(simulation, c.near);
  return c;
}

Case random_case(std::uint64_t seed) {
  static const std::vector<std::vector<std::uint32_t>> topologies = {
      {2, 2, 1}, {5, 9, 3}, {1, 20, 2, 1}, {20, 10, 5}, {60, 12, 4}};
  static const double deviations[] = {0.3, 1.0, 2.0};
  const auto& layers = topologies[seed % topologies.size()];
  Random random(seed, 40);
  NetworkSpec spec = random_dots(layers, seed, deviations[seed / topologies.size() % 3]);
  for (NodeProperties& p : spec.nodes) p.capacity = std::exp(random.normal());
  for (GraphEdge& edge : spec.graph.edges) {
    if (random.uniform() < 0.2) std::swap(edge.source, edge.target);
  }
  // With many inputs, edges are as weak as in networks that classify images, so that hidden nodes are not
  // pinned.
  if (layers[0] > 10) {
    for (EdgeProperties& edge : spec.edges) edge.p[0] *= 0.2;
  }
  return driven(std::make_shared<const Network>(spec), seed % 2 == 0, random);
}

// Lattices and random graphs, solved by LU.
Case large_case(std::uint64_t seed) {
  static const double deviations[] = {0.5, 1.0, 2.0, 4.0};
  const double b = deviations[seed / 4 % 4];
  LatticeOptions options;
  options.sides = seed % 4 == 0 ? std::vector<std::uint32_t>{23, 22} : std::vector<std::uint32_t>{8, 9, 7};
  options.b = b;
  options.log_capacity = 0.5;
  options.seed = seed;
  const NetworkSpec spec =
      seed % 4 < 2 ? lattice(options) : random_graph(500, seed % 4 == 2 ? 4 : 6, seed, b);
  Random random(seed, 42);
  return driven(std::make_shared<const Network>(spec, LinearAlgebra::direct), false, random);
}

void compare(Count& count, std::span<const Relaxation> found, std::span<const Relaxation> expected) {
  for (std::size_t i = 0; i < found.size(); ++i) {
    ++count.relaxations;
    if (found[i].quality.all() != expected[i].quality.all()) {
      ++count.verdicts;
      continue;
    }
    if (!expected[i].quality.usable()) continue;
    const double difference = (found[i].potential - expected[i].potential).cwiseAbs().maxCoeff();
    if (!(difference <= same_branch)) ++count.other_branch;  // NaN too
    else count.state = std::max(count.state, difference);
  }
}

// At states found by the reference, and at states found by the path.
void compare_gradients(Count& count, const Case& c, const NetworkModel& fast,
                       const std::vector<std::vector<Relaxation>>& states) {
  if (c.near.empty()) return;
  const NetworkModel exact(c.network, 1);
  Random random(c.near.size(), 41);
  for (const std::vector<Relaxation>& rows : states) {
    std::vector<Vector> at, cotangent, costate(c.near.size());
    for (const Relaxation& row : rows) at.push_back(row.potential);
    for (const Vector& mu : at) {
      cotangent.push_back(mu);
      for (double& x : cotangent.back()) x = random.normal();
    }
    Vector sum = Vector::Zero(c.theta->size()), expected = sum;
    fast.add_adjoint_gradient(c.near, at, cotangent, costate, sum);
    exact.add_adjoint_gradient(c.near, at, cotangent, costate, expected);
    if (expected.allFinite())
      count.gradient = std::max(count.gradient, sum.allFinite() ? (sum - expected).norm() / expected.norm()
                                                                : std::numeric_limits<double>::infinity());
  }
}

// Number of relaxations that the path computes itself.
std::uint64_t own(const batches::Batch& batch, const Case& c, const std::vector<Drive>& drives,
                  const SimulationOptions& options) {
  const Vector rest = c.network->rest();
  std::vector<Pattern> clamp;
  std::vector<const Vector*> start, nudge;
  std::vector<bool> restored;
  for (const Drive& drive : drives) {
    const auto* from = std::get_if<From>(&drive.start);
    clamp.push_back(drive.clamp);
    start.push_back(from != nullptr ? from->potential.get() : &rest);
    nudge.push_back(drive.nudge.size() > 0 ? &drive.nudge : nullptr);
    restored.push_back(from != nullptr);
  }
  std::vector<Vector> potential(drives.size());
  std::vector<batches::Batch::Found> found(drives.size());
  batch.relax(c.theta, clamp, start, nudge, restored, options.steady_state, 1, potential, found);
  return static_cast<std::uint64_t>(
      std::count_if(found.begin(), found.end(), [](const auto& f) { return f.converged; }));
}

void by_batches(const Case& c, Batches kind, Count& count) {
  ++count.networks;
  if (!batches::problem(c.network->impl()).empty()) {
    ++count.refused;
    return;
  }
  SimulationOptions options{.threads = 1, .batches = kind};
  Simulation simulation(c.network, options);
  compare(count, relax_all(simulation, c.drives), c.reference);
  compare(count, relax_all(simulation, c.near), c.settled);
  const auto batch = batches::shared(c.network->impl(), kind);
  count.served += own(*batch, c, c.drives, options) + own(*batch, c, c.near, options);
  compare_gradients(count, c, NetworkModel(c.network, 1, kind), {c.settled, relax_all(simulation, c.near)});
}

void by_algebra(const Case& c, LinearAlgebra kind, Count& count) {
  ++count.networks;
  const auto network = std::make_shared<const Network>(c.network->spec(), kind);
  Simulation simulation(network, {.threads = 1});
  const std::uint64_t before = count.relaxations;
  compare(count, relax_all(simulation, c.drives), c.reference);
  const std::vector<Relaxation> near = relax_all(simulation, c.near);
  compare(count, near, c.settled);
  count.served += count.relaxations - before;
  compare_gradients(count, c, NetworkModel(network, 1), {c.settled, near});
}
}  // namespace

int main(int argc, char** argv) try {
  std::uint64_t networks = 10000;
  if (argc > 1) {
    const std::string_view given = argv[1];
    const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), networks);
    if (argc > 2 || error != std::errc() || end != given.data() + given.size()) {
      std::cerr << "ness-bar-fast-paths [NETWORKS]\n";
      return 2;
    }
  }
  const std::vector<std::string> targets = vector_targets();
  std::map<std::pair<std::string, std::string>, Count> counts;
  for (std::uint64_t seed = 1000; seed < 1000 + networks; ++seed) {
    force_vector_target(targets.front());
    const Case c = random_case(seed);
    for (const LinearAlgebra kind : {LinearAlgebra::direct, LinearAlgebra::iterative})
      by_algebra(c, kind, counts[{to_string(kind), targets.front()}]);
    for (const std::string& target : targets) {
      force_vector_target(target);
      for (const Batches kind : {Batches::single_precision, Batches::double_precision})
        by_batches(c, kind, counts[{std::string("batches, ") + to_string(kind), target}]);
    }
  }
  force_vector_target(targets.front());
  for (std::uint64_t seed = 1000; seed < 1000 + (networks + 99) / 100; ++seed) {
    by_algebra(large_case(seed), LinearAlgebra::iterative, counts[{"iterative, large", targets.front()}]);
  }
  for (const auto& [path, count] : counts) {
    std::cout << nlohmann::json{{"path", path.first},
                                {"target", path.second},
                                {"networks", count.networks},
                                {"refused", count.refused},
                                {"relaxations", count.relaxations},
                                {"served", count.served},
                                {"other_branch", count.other_branch},
                                {"verdicts", count.verdicts},
                                {"state", count.state},
                                {"gradient", count.gradient}}
              << '\n';
  }
} catch (const std::exception& error) {
  std::cerr << "ness-bar-fast-paths: " << error.what() << '\n';
  return 1;
}
