#include <catch2/catch.hpp>

#include <cmath>

#include "ness/network/steady_state.hpp"
#include "ness/network/transient.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {
// A node of capacity C behind a conductance G, with a leak g: tau = C/(G + g).
Network rc(double G, double g, double C) {
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(g, 0, C));
  add_edge(spec, 0, 1, linear(G));
  spec.graph.outputs = {1};
  return Network(spec);
}
}  // namespace

TEST_CASE("a step charges an RC node exponentially, with the time constant C/(G + g)") {
  const double G = 2, g = 0.5, C = 3, x = 1.5, tau = C / (G + g);
  const Network network = rc(G, g, C);
  const Vector theta = network.theta();
  const double times[] = {0, 0.1, 1, 3, 30};
  const auto states = follow(network, boundary(theta, {x}), network.rest(), times);
  for (std::size_t i = 0; i < 5; ++i) {
    // CVODE's tolerance of 1e-8 a step adds up over some hundred steps.
    CHECK(states[i][0] == Approx(x * G / (G + g) * (1 - std::exp(-times[i] / tau))).margin(1e-6));
  }
}

TEST_CASE("a ramp lags behind by rate times tau, and then settles") {
  const double G = 2, g = 0.5, C = 3, x = -1.5, rate = 0.5, tau = C / (G + g), gain = G / (G + g);
  const Network network = rc(G, g, C);
  const Vector theta = network.theta();
  TransientOptions options;
  options.clamp_rate = rate;
  const double end = std::abs(x) / rate;
  const double times[] = {1.0, end, end + 2};
  const auto states = follow(network, boundary(theta, {x}), network.rest(), times, options);
  auto ramp = [&](double t) { return -gain * rate * (t - tau * (1 - std::exp(-t / tau))); };
  CHECK(states[0][0] == Approx(ramp(1)).margin(1e-6));
  CHECK(states[1][0] == Approx(ramp(end)).margin(1e-6));
  CHECK(states[2][0] == Approx(gain * x + (ramp(end) - gain * x) * std::exp(-2 / tau)).margin(1e-6));
}

TEST_CASE("an enzyme pool fills with its concentration, not its potential, relaxing linearly") {
  // Far below saturation and with the product leaking nothing, V dc/dt = (Vf/Ka)(c_s - c): an exponential in c.
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, [] { NodeProperties p; p.capacity = 2; p.mu_init = std::log(1e-6); return p; }());
  const double K = 1e6;
  add_edge(spec, 0, 1, enzyme(3 * K, K, K, std::numeric_limits<double>::infinity()));
  spec.graph.outputs = {1};
  const Network network(spec);
  const Vector theta = network.theta();
  const double times[] = {0.3, 1, 2};
  const auto states = follow(network, boundary(theta, {0}), network.rest(), times);
  for (std::size_t i = 0; i < 3; ++i) {
    const double c = 1 + (1e-6 - 1) * std::exp(-3 * times[i] / 2);
    CHECK(std::exp(states[i][0]) == Approx(c).epsilon(5e-6));  // saturation enters at 1/K
  }
}

TEST_CASE("the steady-state solver ends where the transient of a mixed network ends, with unequal capacities") {
  const Network network(mixed());
  const Vector theta = network.theta();
  const Boundary b = boundary(theta, {1.2, -0.4});
  const double times[] = {500};
  const SteadyState state = relax(network, b, network.rest());
  REQUIRE(state.verdict == Verdict::converged);
  CHECK((follow(network, b, network.rest(), times).front() - state.potential).cwiseAbs().maxCoeff() < 1e-7);
}

TEST_CASE("unusable transients are refused") {
  const Network network = rc(1, 1, 1);
  const Vector theta = network.theta();
  const double backwards[] = {1.0, 0.5};
  CHECK_THROWS_WITH(follow(network, boundary(theta, {0}), network.rest(), backwards), Catch::Contains("time 1 is 0.5"));
  TransientOptions options;
  options.relative_tolerance = 2;
  const double times[] = {1.0};
  CHECK_THROWS_WITH(follow(network, boundary(theta, {0}), network.rest(), times, options), Catch::Contains("relative_tolerance is 2"));
}
