// Solver bar: cold relaxations of random networks with NDC, compared with a fine-step time integration of the
// same equations.
//   ness-bar-solver [RELAXATIONS]
// Prints one line of JSON per topology. A verdict "converged" is wrong ("dishonest") if the currents, summed
// again by the scalar law in long double, do not balance, or an eigenvalue of C^-1 G is not negative, or the
// integration is still moving. A verdict "no stable state" is wrong if the integration comes to rest.
#include <atomic>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "ness/network/steady_state.hpp"
#include "ness/network/transient.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {
struct Count {
  std::uint64_t relaxations = 0, converged = 0, not_converged = 0, no_stable_state = 0, dishonest = 0,
                other_branch = 0, undecided_reference = 0;
  double largest_residual = 0;
};

// The unbalanced currents by the formula of Eqs. 15-17 in long double.
double residual(const Network& network, const Boundary& b, const Vector& potential) {
  const NetworkSpec& spec = network.spec();
  const Vector mu = network.node_potentials(b, potential);
  std::vector<long double> F(spec.nodes.size(), 0);
  for (std::size_t e = 0; e < spec.edges.size(); ++e) {
    const auto [s, t, layer] = spec.graph.edges[e];
    const auto& p = spec.edges[e].p;
    const long double x = mu[s], y = mu[t], level = p[1] + p[2] * (x - y);
    const long double I = p[0] * (1 / (1 + std::exp((level - x) / spec.nodes[s].T)) -
                                  1 / (1 + std::exp((level - y) / spec.nodes[t].T)));
    F[s] -= I;
    F[t] += I;
  }
  double largest = 0;
  for (const std::uint32_t k : network.free()) {
    largest = std::max(
        largest, static_cast<double>(std::abs(F[k] - spec.nodes[k].g * (mu[k] - spec.nodes[k].mu_ref))));
  }
  return largest;
}

enum class Reference { settled, moving, undecided };

// Integrates with fine steps until the network is at rest, for up to 1e7 time units.
Reference follow_closely(const Network& network, const Boundary& b, Vector& end) {
  TransientOptions options;
  options.relative_tolerance = 1e-7;
  options.absolute_tolerance = 1e-9;
  const double times[] = {300, 1000, 1e4, 1e5, 1e6, 1e7};
  Vector before;
  try {
    double from = 0;
    end = network.rest();
    for (const double t : times) {
      const double span[] = {0.7 * (t - from), t - from};
      const auto states = follow(network, b, end, span, options);
      end = states[1];
      if ((states[1] - states[0]).cwiseAbs().maxCoeff() < 1e-6) return Reference::settled;
      from = t;
    }
  } catch (const std::runtime_error&) {
    return Reference::undecided;
  }
  return Reference::moving;
}

void one(const std::vector<std::uint32_t>& layers, std::uint64_t seed, double b_deviation, Count& count,
         std::mutex& mutex) {
  const Network network(random_dots(layers, seed, b_deviation, 0, seed % 2 == 1));
  const Vector theta = network.theta();
  Random random(seed, 5);
  Boundary b;
  b.theta = theta.data();
  b.clamp.resize(layers[0]);
  for (double& x : b.clamp) x = random.uniform(-6, 6);
  const SteadyState state = relax(network, b, network.rest());
  Vector end;
  const Reference reference = follow_closely(network, b, end);
  bool dishonest = false, elsewhere = false;
  double unbalanced = 0;
  if (state.verdict == Verdict::converged) {
    unbalanced = residual(network, b, state.potential);
    // Currents are of order 1 to 100; an error of 1e-10 in the states leaves up to 1e-9.
    dishonest = !(unbalanced < 1e-9) || !(max_real_eigenvalue(network, b, state.potential) < 0) ||
                reference == Reference::moving;
    elsewhere = reference == Reference::settled && (end - state.potential).cwiseAbs().maxCoeff() > 1e-3;
  } else if (state.verdict != Verdict::not_converged) {
    dishonest = reference == Reference::settled;
  }
  const std::scoped_lock lock(mutex);
  ++count.relaxations;
  count.converged += state.verdict == Verdict::converged;
  count.not_converged += state.verdict == Verdict::not_converged;
  count.no_stable_state += state.verdict == Verdict::limit_cycle || state.verdict == Verdict::diverged;
  count.dishonest += dishonest;
  count.other_branch += elsewhere;
  count.undecided_reference += reference == Reference::undecided;
  count.largest_residual = std::max(count.largest_residual, unbalanced);
  if (dishonest || elsewhere)
    std::cerr << (dishonest ? "dishonest" : "other branch") << ": seed " << seed << ", " << layers.size()
              << " layers, " << to_string(state.verdict) << "\n";
}
}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t total = argc > 1 ? std::stoull(argv[1]) : 100000;
  const std::vector<std::vector<std::uint32_t>> topologies{{2, 2, 1}, {20, 10, 5}, {1, 32, 2, 1}};
  bool honest = true;
  for (const auto& layers : topologies) {
    Count count;
    std::mutex mutex;
    std::atomic<std::uint64_t> next{0};
    const std::uint64_t share = (total + topologies.size() - 1) / topologies.size();
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < std::max(1U, std::thread::hardware_concurrency()); ++t) {
      threads.emplace_back([&] {
        for (std::uint64_t i = next++; i < share; i = next++)
          one(layers, 1000 + i, 1 + static_cast<double>(i % 3), count, mutex);
      });
    }
    for (std::thread& thread : threads) thread.join();
    honest = honest && count.dishonest == 0;
    std::cout << nlohmann::json{{"layers", layers},
                                {"relaxations", count.relaxations},
                                {"converged", count.converged},
                                {"not_converged", count.not_converged},
                                {"no_stable_state", count.no_stable_state},
                                {"dishonest", count.dishonest},
                                {"other_branch", count.other_branch},
                                {"undecided_reference", count.undecided_reference},
                                {"largest_residual", count.largest_residual}}
              << std::endl;
  }
  return honest ? 0 : 1;
}
