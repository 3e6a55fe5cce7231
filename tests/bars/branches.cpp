// Branch bar: the steady state that a relaxation reaches in networks with strong NDC, compared with two
// independent integrators that follow the same relaxation at 1e-10 (sim/network/integrators.hpp).
//   ness-bar-branches [NETWORKS [FIRST]] [--deviation D] [--spread S]
// Random dots between 2 to 5 free nodes and up to 2 clamped ones: b normal with deviation D, a with 15, gamma
// log-uniform in 1 .. 300; capacities equal in even networks, log-normal with deviation S in odd ones. Each
// relaxes cold, stepped (from the state reached to other levels) and on a ramp from rest; where a batch can
// relax it, in batches of both precisions too, and the gradients of the batches are compared with the exact
// ones. Prints one line of JSON per way; the exit code is 1 if a branch is wrong, what has a state of rest is
// not found at rest, or what moves is.
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "ness/network/simulation.hpp"
#include "ness/network/steady_state.hpp"
#include "ness/network/transient.hpp"
#include "sim/network/integrators.hpp"
#include "sim/network/networks.hpp"

using namespace networks;
using End = integrators::Rest;

namespace {
struct Count {
  std::uint64_t relaxations = 0, agreed = 0, wrong = 0, flagged = 0, failed = 0, moving = 0, false_rest = 0;
  std::uint64_t steps = 0, evaluations = 0;
  double furthest = 0;
};
struct Gradients {
  std::uint64_t compared = 0, wrong = 0;
  double furthest = 0;
};

struct Bar {
  double deviation = 6, spread = 1.5;
  std::mutex mutex;
  std::map<std::string, Count> counts;
  std::map<std::string, Gradients> gradients;

  void network(std::uint64_t seed);
  void compare(const std::string& way, std::uint64_t seed, const NetworkSpec& spec, const Vector& level,
               double rate, const Vector& start, const SteadyState& found, double same = 1e-5);
  void batch(Batches kind, std::uint64_t seed, const std::shared_ptr<const Network>& net,
             const std::vector<Vector>& levels, const SteadyState& first);
};

void Bar::compare(const std::string& way, std::uint64_t seed, const NetworkSpec& spec, const Vector& level,
                  double rate, const Vector& start, const SteadyState& found, double same) {
  const integrators::System system = integrators::dots(spec, level, rate);
  const std::vector<double> kinks = integrators::arrivals(level, rate);
  const End one = follow_to_rest(system, start, kinks, integrators::cvode),
            two = follow_to_rest(system, start, kinks, integrators::radau);
  const bool agreed = one.kind == two.kind && one.kind == End::Kind::stable &&
                      (one.state - two.state).cwiseAbs().maxCoeff() < 1e-6;
  const bool moving = one.kind == End::Kind::moving && two.kind == one.kind;
  const bool converged = found.verdict == Verdict::converged;
  const double apart = agreed && converged ? (found.potential - one.state).cwiseAbs().maxCoeff() : 0;
  const std::scoped_lock lock(mutex);
  Count& count = counts[way];
  ++count.relaxations;
  count.agreed += agreed;
  count.steps += found.steps;
  count.evaluations += found.evaluations;
  count.moving += moving;
  const bool wrong = apart > same;
  count.wrong += wrong;
  count.failed += agreed && !converged;
  count.flagged += converged && found.near_other_branch;
  count.false_rest += moving && converged;
  if (!wrong) count.furthest = std::max(count.furthest, apart);
  if (wrong || (agreed && !converged) || (moving && converged))
    std::cerr << way << ": network " << seed << ": " << to_string(found.verdict) << ", " << apart
              << " from the state reached\n";
}

NetworkSpec strong_dots(std::uint64_t seed, double deviation, double spread) {
  NetworkSpec spec;
  Random random(seed, 79);
  const auto whole = [&](int n) { return static_cast<std::uint32_t>(random.uniform() * n); };
  const std::uint32_t clamped = whole(3), free = 2 + whole(4), nodes = clamped + free;
  for (std::uint32_t k = 0; k < nodes; ++k) {
    NodeProperties p;
    if (k >= clamped) {
      p = leak(std::exp(-1 + 0.7 * random.normal()), 2.5 * random.normal(),
               seed % 2 == 1 ? std::exp(spread * random.normal()) : 1);
      p.mu_init = random.uniform(-6, 6);
    }
    add_node(spec, k < clamped, p);
  }
  const bool lever = seed % 3 == 0;
  const std::uint32_t edges = free + whole(4);
  for (std::uint32_t e = 0; e < edges; ++e) {
    // First a dot into each free node, then between any two of which one is free.
    const std::uint32_t target = e < free ? clamped + e : clamped + whole(static_cast<int>(free));
    std::uint32_t source = target;
    while (source == target) source = whole(static_cast<int>(nodes));
    add_edge(spec, source, target,
             quantum_dot(std::exp(random.uniform(0, std::log(300.0))), 15 * random.normal(),
                         deviation * random.normal(), lever && whole(2) == 0 ? 0.7 * random.normal() : 0));
  }
  spec.graph.outputs = {clamped};
  return spec;
}

// The same relaxation in a batch with others, and the gradient there against that of one sample at a time.
void Bar::batch(Batches kind, std::uint64_t seed, const std::shared_ptr<const Network>& net,
                const std::vector<Vector>& levels, const SteadyState& first) {
  // Single precision: the states are settled to 1e-3 kT; near a fold an error of a current weighs more.
  const bool single = kind == Batches::single_precision;
  const double same = single ? 0.05 : 1e-5, same_gradient = single ? 1e-2 : 1e-6;
  const std::string way = std::string("batch, ") + to_string(kind);
  RowMatrix rows(static_cast<Eigen::Index>(levels.size()), levels[0].size());
  for (std::size_t i = 0; i < levels.size(); ++i)
    rows.row(static_cast<Eigen::Index>(i)) = levels[i].transpose();
  const auto set = std::make_shared<const DensePatterns>("levels", rows);
  const auto theta = std::make_shared<const Vector>(net->theta());
  std::vector<Drive> drives(levels.size());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    drives[i].theta = Parameters{theta, {}, 0};
    drives[i].clamp = {set, i};
  }
  SimulationOptions options;
  options.threads = 1;
  options.batches = kind;
  Simulation simulation(net, options);
  std::vector<Relaxation> found(drives.size());
  simulation.relax(drives, [&](std::size_t i, const Relaxation& row) { found[i] = row; });
  SteadyState state = first;
  state.verdict = found[0].quality.usable() ? Verdict::converged : Verdict::not_converged;
  state.potential = found[0].potential;
  if (single) {
    // A state that 1e-3 kT on the way decide has no branch in this precision.
    if (first.near_other_branch) return;
  }
  compare(way, seed, net->spec(), levels[0], std::numeric_limits<double>::infinity(), net->rest(), state,
          same);
  const NetworkModel batched(net, 1, kind), exact(net, 1, Batches::off);
  std::vector<Drive> settled;
  std::vector<Vector> potential, cotangent;
  Random random(seed, 81);
  for (std::size_t i = 0; i < drives.size(); ++i) {
    if (!found[i].quality.usable()) continue;
    settled.push_back(drives[i]);
    potential.push_back(found[i].potential);
    cotangent.push_back(Vector(found[i].potential.size()));
    for (double& c : cotangent.back()) c = random.normal();
  }
  std::vector<Vector> costate(settled.size()), other(settled.size());
  Vector by_batch = Vector::Zero(theta->size()), by_one = by_batch;
  batched.add_adjoint_gradient(settled, potential, cotangent, costate, by_batch);
  exact.add_adjoint_gradient(settled, potential, cotangent, other, by_one);
  const double apart = (by_batch - by_one).norm() / by_one.norm();
  const std::scoped_lock lock(mutex);
  Gradients& of = gradients[way];
  ++of.compared;
  of.furthest = std::max(of.furthest, apart);
  if (apart <= same_gradient) return;
  ++of.wrong;
  std::cerr << way << ": network " << seed << ": gradient differs by " << apart << "\n";
}

void Bar::network(std::uint64_t seed) {
  const NetworkSpec spec = strong_dots(seed, deviation, spread);
  const auto shared = std::make_shared<const Network>(spec);
  const Network& net = *shared;
  const Vector theta = net.theta();
  Random random(seed, 80);
  Boundary b;
  b.theta = theta.data();
  b.clamp.resize(static_cast<Eigen::Index>(net.clamped().size()));
  for (double& x : b.clamp) x = random.uniform(-6, 6);
  Vector other = b.clamp;
  for (double& x : other) x = random.uniform(-6, 6);
  const double step = std::numeric_limits<double>::infinity();
  const SteadyState cold = relax(net, b, net.rest());
  compare("cold", seed, spec, b.clamp, step, net.rest(), cold);
  if (b.clamp.size() == 0) return;
  bool batched = true;
  for (const EdgeProperties& edge : spec.edges) batched = batched && edge.p[3] == 0;
  // Batches want one edge between a free node and a clamped one.
  std::set<std::pair<std::uint32_t, std::uint32_t>> pairs;
  for (const GraphEdge& edge : spec.graph.edges) {
    const bool fed = spec.graph.nodes[edge.source].clamped;
    batched = batched && (!fed || pairs.insert({edge.source, edge.target}).second);
  }
  if (batched) {
    std::vector<Vector> levels(5, b.clamp);
    levels[1] = other;
    for (std::size_t i = 2; i < levels.size(); ++i) {
      for (double& x : levels[i]) x = random.uniform(-6, 6);
    }
    for (const Batches kind : {Batches::double_precision, Batches::single_precision})
      batch(kind, seed, shared, levels, cold);
  }
  if (cold.verdict == Verdict::converged) {
    Boundary next = b;
    next.clamp = other;
    const Network::WorkspacePtr work = net.workspace();
    compare("stepped", seed, spec, other, step, cold.potential,
            relax(net, next, cold.potential, {}, true, *work));
  }
  const double rate = std::exp(random.uniform(-3, 3));
  TransientOptions ramp;
  ramp.clamp_rate = rate;
  const double end = b.clamp.cwiseAbs().maxCoeff() / rate;
  const Vector arrived = follow(net, b, net.rest(), std::span(&end, 1), ramp).front();
  compare("ramped", seed, spec, b.clamp, rate, net.rest(), relax(net, b, arrived));
}
}  // namespace

int main(int argc, char** argv) {
  Bar bar;
  std::vector<std::uint64_t> numbers;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--deviation") == 0 && i + 1 < argc) bar.deviation = std::stod(argv[++i]);
    else if (std::strcmp(argv[i], "--spread") == 0 && i + 1 < argc) bar.spread = std::stod(argv[++i]);
    else numbers.push_back(std::stoull(argv[i]));
  }
  const std::uint64_t total = numbers.empty() ? 10000 : numbers[0],
                      first = numbers.size() > 1 ? numbers[1] : 0;
  std::atomic<std::uint64_t> next{first};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1U, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t i = next++; i < first + total; i = next++) bar.network(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  bool right = true;
  for (const auto& [way, count] : bar.counts) {
    right = right && count.wrong == 0 && count.false_rest == 0 && count.failed == 0;
    std::cout << nlohmann::json{{"way", way},
                                {"relaxations", count.relaxations},
                                {"integrators_agree", count.agreed},
                                {"wrong_branch", count.wrong},
                                {"not_converged", count.failed},
                                {"flagged", count.flagged},
                                {"moving", count.moving},
                                {"moving_reported_at_rest", count.false_rest},
                                {"largest_difference", count.furthest},
                                {"steps", count.steps},
                                {"evaluations", count.evaluations}}
              << std::endl;
  }
  for (const auto& [way, of] : bar.gradients) {
    right = right && of.wrong == 0;
    std::cout << nlohmann::json{{"way", way + ": gradients"},
                                {"compared", of.compared},
                                {"wrong", of.wrong},
                                {"largest_difference", of.furthest}}
              << std::endl;
  }
  return right ? 0 : 1;
}
