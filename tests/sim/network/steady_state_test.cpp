#include <catch2/catch.hpp>

#include <cmath>
#include <set>

#include <Eigen/Dense>

#include "ness/network/all_states.hpp"
#include "ness/network/steady_state.hpp"
#include "ness/network/transient.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {
// One dot with NDC from a clamped node into a node with a leak: mu' = I(x, mu) - g (mu - r). For these
// numbers and x = 8, the dot's level crosses the node's potential near 1 while the source is far above: the
// node's differential conductance is negative there.
constexpr double gamma_dot = 6, a_dot = 22, b_dot = -3, g_leak = 0.5, reference = -5;

NetworkSpec one_dot(double start) {
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(g_leak, reference));
  spec.nodes[1].mu_init = start;
  add_edge(spec, 0, 1, quantum_dot(gamma_dot, a_dot, b_dot));
  spec.graph.outputs = {1};
  return spec;
}

double balance(double x, double mu) {
  const double eps = a_dot + b_dot * (x - mu);
  return gamma_dot * (1 / (1 + std::exp(eps - x)) - 1 / (1 + std::exp(eps - mu))) - g_leak * (mu - reference);
}

// A root of the balance, by bisection between two potentials where the balance has opposite signs.
template <class F>
double bisect(F f, double low, double high) {
  const bool rising = f(high) > 0;
  for (int i = 0; i < 200; ++i) {
    const double middle = 0.5 * (low + high);
    ((f(middle) > 0) == rising ? high : low) = middle;
  }
  return 0.5 * (low + high);
}

// The roots of the balance of one_dot at a level where it is bistable: stable, unstable, stable.
std::vector<double> three_roots(double x) {
  const auto f = [&](double mu) { return balance(x, mu); };
  std::vector<double> roots;
  for (double mu = -15; mu < 15; mu += 0.01) {
    if ((f(mu) > 0) != (f(mu + 0.01) > 0)) roots.push_back(bisect(f, mu, mu + 0.01));
  }
  REQUIRE(roots.size() == 3);
  return roots;
}
}  // namespace

TEST_CASE("a linear network settles at the solution of its linear equations") {
  // A Wheatstone bridge with a leak: solved by hand as (L + g) mu = sum of G x.
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, true);
  add_node(spec, false);
  add_node(spec, false, leak(0.2, 1.5));
  add_edge(spec, 0, 2, linear(1));
  add_edge(spec, 2, 1, linear(2));
  add_edge(spec, 0, 3, linear(3));
  add_edge(spec, 3, 1, linear(0.5));
  add_edge(spec, 2, 3, linear(0.7));
  spec.graph.outputs = {3};
  const Network network(spec);
  const Vector theta = network.theta();
  const double x0 = 2, x1 = -1;
  const SteadyState state = relax(network, boundary(theta, {x0, x1}), network.rest());
  REQUIRE(state.verdict == Verdict::converged);
  Matrix A(2, 2);
  A << 1 + 2 + 0.7, -0.7, -0.7, 3 + 0.5 + 0.7 + 0.2;
  const Vector expected = A.fullPivLu().solve(Vector{{1 * x0 + 2 * x1, 3 * x0 + 0.5 * x1 + 0.2 * 1.5}});
  CHECK((state.potential - expected).cwiseAbs().maxCoeff() < 1e-13);
}

TEST_CASE("injected currents and held nodes") {
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(0.5));
  add_node(spec, false, leak(1));
  add_edge(spec, 0, 1, linear(1));
  add_edge(spec, 1, 2, linear(2));
  const Network network([&] {
    spec.graph.outputs = {2};
    return spec;
  }());
  const Vector theta = network.theta();
  Boundary b = boundary(theta, {1});
  b.inject = Vector{{0.3, -0.2}};
  SteadyState state = relax(network, b, network.rest());
  // (1 + 0.5 + 2) m1 - 2 m2 = 1.3, -2 m1 + 3 m2 = -0.2
  CHECK(state.potential[0] == Approx((3 * 1.3 - 0.4) / 6.5).epsilon(1e-12));
  CHECK(state.potential[1] == Approx((3.5 * -0.2 + 2 * 1.3) / 6.5).epsilon(1e-12));
  b.held = {{0, 0.8}};
  state = relax(network, b, network.rest());
  REQUIRE(state.verdict == Verdict::converged);
  CHECK(state.potential[0] == 0.8);
  CHECK(state.potential[1] == Approx((2 * 0.8 - 0.2) / 3).epsilon(1e-12));
}

TEST_CASE("a bistable node goes to the root on its side, and never to the unstable one between") {
  const double x = 8;
  const std::vector<double> roots = three_roots(x);
  for (const double start : {-8.0, -4.0, roots[1] - 1e-3, roots[1] + 1e-3, 4.0, 8.0}) {
    const Network network(one_dot(start));
    const Vector theta = network.theta();
    const SteadyState state = relax(network, boundary(theta, {x}), network.rest());
    INFO("start " << start);
    REQUIRE(state.verdict == Verdict::converged);
    const double expected = start < roots[1] ? roots[0] : roots[2];
    CHECK(state.potential[0] == Approx(expected).epsilon(1e-10));
    CHECK(max_real_eigenvalue(network, boundary(theta, {x}), state.potential) < 0);
  }
  // Exactly on the unstable root nothing moves the state; the solver notices the instability and leaves the
  // root.
  const Network network(one_dot(roots[1]));
  const Vector theta = network.theta();
  const SteadyState state = relax(network, boundary(theta, {x}), network.rest());
  REQUIRE(state.verdict == Verdict::converged);
  CHECK(std::min(std::abs(state.potential[0] - roots[0]), std::abs(state.potential[0] - roots[2])) < 1e-9);
}

TEST_CASE("a well that is much narrower than kT is not jumped") {
  // Two nodes joined by one dot with b = 6.58. LSODA, Radau and DOP853 of SciPy 1.10, at tolerances down to
  // 1e-12, end at this state from all these starts.
  NetworkSpec spec;
  add_node(spec, false, leak(2.55, -1.55));
  add_node(spec, false, leak(1.08, 2.72));
  add_edge(spec, 0, 1, quantum_dot(57.5, 2.73, 6.58));
  spec.graph.outputs = {1};
  const Network network(spec);
  const Vector theta = network.theta(), end{{-0.36326913068015782, -0.082003441449626902}};
  for (double start = -3.9; start <= -0.95; start += 0.1) {
    INFO("start " << start);
    const SteadyState state = relax(network, boundary(theta, {}), Vector{{0, start}});
    REQUIRE(state.verdict == Verdict::converged);
    CHECK((state.potential - end).cwiseAbs().maxCoeff() < 1e-13);
  }
}

TEST_CASE("a relaxation that passes near the parting of two branches says so, and takes the right one") {
  // Two equal bistable nodes, coupled: the basins part at the unstable root when the second one is fixed
  // there.
  const double x = 8;
  const std::vector<double> roots = three_roots(x);
  // A node beside it at another rate makes two dimensions of it: the parting is a line there.
  NetworkSpec spec = one_dot(0);
  add_node(spec, false, leak(1, 0, 3));
  add_edge(spec, 1, 2, linear(0.02));
  const Network network(spec);
  const Vector theta = network.theta();
  const Boundary b = boundary(theta, {x});
  const auto side = [&](double start) {
    return relax(network, b, Vector{{start, 5}}).potential[0] > roots[1];
  };
  double low = roots[0], high = roots[2];
  REQUIRE(side(low) != side(high));
  for (int i = 0; i < 45; ++i) {
    const double middle = 0.5 * (low + high);
    (side(middle) == side(low) ? low : high) = middle;
  }
  // Disturbances of 1e-4 kT in every step count; the basins part at `low`.
  for (const double distance : {1e-9, 1e-6, 1e-2, 0.3}) {
    for (const double sign : {-1.0, 1.0}) {
      const SteadyState state = relax(network, b, Vector{{low + sign * distance, 5}});
      INFO("distance " << sign * distance);
      REQUIRE(state.verdict == Verdict::converged);
      CHECK((state.potential[0] > roots[1]) == (sign > 0));
      CHECK(state.near_other_branch == (distance < 1e-4));
    }
  }
}

TEST_CASE("beyond the fold the other branch is reached, and a restored start on a living branch keeps it") {
  const Network network(one_dot(0.0));
  const Vector theta = network.theta();
  const auto work = network.workspace();
  // Follow one branch by restored starts while x grows; compare with the time integration from the same
  // starts.
  Vector branch = relax(network, boundary(theta, {0}), Vector::Constant(1, -6), {}, true, *work).potential;
  int jumps = 0;
  for (double x = 0.25; x < 12; x += 0.25) {
    const Boundary now = boundary(theta, {x});
    const SteadyState state = relax(network, now, branch, {}, true, *work);
    REQUIRE(state.verdict == Verdict::converged);
    const double times[] = {2000.0};
    CHECK(std::abs(state.potential[0] - follow(network, now, branch, times).front()[0]) < 1e-6);
    jumps += state.displacement > 1 ? 1 : 0;
    branch = state.potential;
  }
  CHECK(jumps >= 1);
}

TEST_CASE("a relaxation that ends in a limit cycle is not called a steady state") {
  const Network network(oscillator());
  const Vector theta = network.theta();
  const Boundary b = boundary(theta, {-3.4166249351909352});
  const SteadyState state = relax(network, b, network.rest());
  CHECK(state.verdict == Verdict::limit_cycle);
  CHECK(std::isinf(state.bound));
  // The time integration agrees: still moving strongly after a thousand time constants.
  const double times[] = {3000, 3001, 3002, 3005, 3010};
  const auto states = follow(network, b, network.rest(), times);
  double spread = 0;
  for (const Vector& s : states) spread = std::max(spread, (s - states.front()).cwiseAbs().maxCoeff());
  CHECK(spread > 0.1);
}

TEST_CASE("a node that no current can hold has diverged") {
  // A dot carries at most gamma; a current of 2 is injected, and there is no leak.
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false);
  add_edge(spec, 0, 1, quantum_dot(1, 0, 0));
  spec.graph.outputs = {1};
  const Network network(spec);
  const Vector theta = network.theta();
  Boundary b = boundary(theta, {0});
  b.inject = Vector::Constant(1, 2.0);
  CHECK(relax(network, b, network.rest()).verdict == Verdict::diverged);
}

TEST_CASE("too few steps is not_converged, with an infinite bound") {
  const Network network(oscillator());
  const Vector theta = network.theta();
  SteadyStateOptions options;
  options.max_steps = 3;
  const SteadyState state = relax(network, boundary(theta, {-3.4}), network.rest(), options);
  CHECK(state.verdict == Verdict::not_converged);
  CHECK(std::isinf(state.bound));
}

TEST_CASE("random networks with NDC reach the state of a fine-step time integration") {
  // The bar has the long version with 10^5 relaxations.
  int converged = 0, elsewhere = 0;
  for (const auto& layers : {std::vector<std::uint32_t>{2, 2, 1}, {20, 10, 5}, {1, 32, 2, 1}}) {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
      const Network network(random_dots(layers, seed, 3, 0, seed % 2 == 1));
      const Vector theta = network.theta();
      Boundary b;
      b.theta = theta.data();
      Random random(seed, 5);
      b.clamp.resize(layers[0]);
      for (double& x : b.clamp) x = random.uniform(-6, 6);
      const SteadyState state = relax(network, b, network.rest());
      REQUIRE(state.verdict == Verdict::converged);
      ++converged;
      CHECK(max_real_eigenvalue(network, b, state.potential) < 0);
      const double times[] = {1e4};
      elsewhere +=
          (follow(network, b, network.rest(), times).front() - state.potential).cwiseAbs().maxCoeff() > 1e-5
              ? 1
              : 0;
    }
  }
  CHECK(converged == 120);
  CHECK(elsewhere == 0);
}

TEST_CASE("unusable options are refused with their value") {
  SteadyStateOptions options;
  options.path_tolerance = 0;
  const Network network(oscillator());
  const Vector theta = network.theta();
  CHECK_THROWS_WITH(relax(network, boundary(theta, {0}), network.rest(), options),
                    Catch::Contains("path_tolerance is 0"));
  CHECK_THROWS_WITH(relax(network, boundary(theta, {0}), Vector::Zero(3)),
                    Catch::Contains("3 potentials for 2 free nodes"));
  CHECK_THROWS_WITH(relax(network, boundary(theta, {0, 1}), network.rest()),
                    Catch::Contains("2 levels for 1 clamped nodes"));
}

namespace {
// A node with a leak behind one edge from a clamped node.
SteadyState behind(const EdgeProperties& edge, NodeProperties node, double level, double inject = 0) {
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, node);
  add_edge(spec, 0, 1, edge);
  spec.graph.outputs = {1};
  const Network network(spec);
  const Vector theta = network.theta();
  Boundary b = boundary(theta, {level});
  b.inject = Vector::Constant(1, inject);
  return relax(network, b, network.rest());
}
}  // namespace

TEST_CASE("pools whose concentrations leave the range of double have their steady states") {
  constexpr double infinite = std::numeric_limits<double>::infinity();
  // 50-digit roots of Vf (c_s - c_t)/(1 + c_s + c_t + c_s^2/Ki) = g (mu - mu_ref), c = e^mu (mpmath).
  NodeProperties high = leak(0.5, 355);
  high.mu_init = 355;
  const SteadyState full = behind(enzyme(2, 1, 1, infinite), high, 360);
  REQUIRE(full.verdict == Verdict::converged);
  CHECK(full.potential[0] == Approx(358.02509546728317).epsilon(1e-12));
  for (const double level : {-720.0, -800.0}) {
    const SteadyState empty = behind(enzyme(2, 1, 1, 1), leak(0.5, -1), level);
    REQUIRE(empty.verdict == Verdict::converged);
    // Only c_t is left: -2 c_t/(1 + c_t) = (mu + 1)/2
    const double c = std::exp(empty.potential[0]);
    CHECK(-2 * c / (1 + c) == Approx(-0.32319493318002204).epsilon(1e-12));
    CHECK(0.5 * (empty.potential[0] + 1) == Approx(-0.32319493318002204).epsilon(1e-12));
  }
  // At -50 on both sides nothing flows. From mu = 0 the pool drains, ever faster, as long as it holds
  // anything.
  const SteadyState low = behind(enzyme(2, 1, 1, 1), leak(0.5, -50), -50);
  REQUIRE(low.verdict == Verdict::converged);
  CHECK(low.potential[0] == Approx(-50).epsilon(1e-12));
}

TEST_CASE(
    "capacities and conductances may differ by any power, and potentials go where currents drive them") {
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(0.3, 0, 1e-8));
  add_node(spec, false, leak(0.3, 0, 1e8));
  add_edge(spec, 0, 1, quantum_dot(1, 0.5, 0.7));
  add_edge(spec, 1, 2, quantum_dot(1, 0.3, -0.5));
  spec.graph.outputs = {2};
  const Network stiff(spec);
  for (NodeProperties& p : spec.nodes) p.capacity = 1;
  const Network equal(spec);
  const Vector theta = stiff.theta();
  const SteadyState state = relax(stiff, boundary(theta, {3}), stiff.rest());
  REQUIRE(state.verdict == Verdict::converged);
  // The steady state does not depend on capacities.
  CHECK((state.potential - relax(equal, boundary(theta, {3}), equal.rest()).potential).cwiseAbs().maxCoeff() <
        1e-13);
  // 1e6 into a node that a dot of 1 cannot help: 1e6 - gamma (f - 0) through the leak of 1.
  const SteadyState far = behind(quantum_dot(1, 0, 0), leak(1), 3, 1e6);
  REQUIRE(far.verdict == Verdict::converged);
  CHECK(far.potential[0] == Approx(1e6 - 1 + 1 / (1 + std::exp(-3.0))).epsilon(1e-12));
  // gamma of 1e-12 and 1e12 in one network: the strong dot makes its ends equal.
  NetworkSpec both;
  add_node(both, true);
  add_node(both, false, leak(1, 1));
  add_node(both, false, leak(1, -0.5));
  add_edge(both, 0, 1, quantum_dot(1e-12, 0, 0));
  add_edge(both, 1, 2, quantum_dot(1e12, 0.2, 0));
  both.graph.outputs = {2};
  const Network strong(both);
  const Vector strong_theta = strong.theta();
  const SteadyState joined = relax(strong, boundary(strong_theta, {2}), strong.rest());
  REQUIRE(joined.verdict == Verdict::converged);
  CHECK(joined.potential[0] == Approx(0.25).epsilon(1e-11));
  CHECK(joined.potential[1] == Approx(0.25).epsilon(1e-11));
}

TEST_CASE("steady states, limit cycles and times scale with the unit of energy") {
  // In units in which kT is 2^n all potentials are multiplied by 2^n and conductances divided: the same bits.
  NetworkSpec spec = oscillator(), still = mixed();
  for (const int n : {-100, -10, 10, 100}) {
    for (NetworkSpec scaled : {spec, still}) {
      const Network one(scaled);
      const Vector theta_one = one.theta();
      const bool oscillates = scaled.graph.nodes.size() == 3;
      Boundary b = oscillates ? boundary(theta_one, {-3.4166249351909352}) : boundary(theta_one, {1.2, -0.4});
      const SteadyState expected = relax(one, b, one.rest());
      const double unit = std::ldexp(1.0, n);
      scaled.kT = unit;
      for (NodeProperties& p : scaled.nodes) {
        p.g /= unit;
        p.capacity /= unit;
        p.mu_ref *= unit;
        p.mu0 *= unit;
        p.mu_init *= unit;
      }
      for (EdgeProperties& edge : scaled.edges) {
        if (edge.law == Law::linear) edge.p[0] /= unit;
        if (edge.law == Law::quantum_dot) edge.p[1] *= unit;
      }
      // A pool's capacity is its volume times c/kT: volumes do not scale.
      for (std::size_t e = 0; e < scaled.edges.size(); ++e) {
        if (scaled.edges[e].law != Law::enzyme) continue;
        for (const std::uint32_t node : {scaled.graph.edges[e].source, scaled.graph.edges[e].target})
          scaled.nodes[node].capacity = (oscillates ? spec : still).nodes[node].capacity;
      }
      const Network other(scaled);
      const Vector theta = other.theta();
      b.theta = theta.data();
      b.clamp *= unit;
      const SteadyState found = relax(other, b, other.rest());
      INFO("kT 2^" << n << ", " << to_string(expected.verdict));
      REQUIRE(found.verdict == expected.verdict);
      CHECK(found.verdict == (oscillates ? Verdict::limit_cycle : Verdict::converged));
      // Pools take logarithms and exponentials of quotients, which round alike; a few units remain.
      if (!oscillates) CHECK((found.potential / unit - expected.potential).cwiseAbs().maxCoeff() < 1e-14);
    }
  }
}

TEST_CASE("all steady states of a bistable node are found, two stable and one between") {
  const double x = 8;
  const std::vector<double> roots = three_roots(x);
  const Network network(one_dot(4));
  const Vector theta = network.theta();
  const std::vector<FoundState> found = all_steady_states(network, boundary(theta, {x}));
  REQUIRE(found.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(found[i].potential[0] == Approx(roots[i]).epsilon(1e-11));
    CHECK((found[i].max_real_eigenvalue < 0) == (i != 1));
  }
}
