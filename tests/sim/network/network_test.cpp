#include <catch2/catch.hpp>

#include <cmath>
#include <limits>

#include "ness/network/network.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

TEST_CASE("dI/dmu agrees with differences of the currents, all laws in one network with cycles") {
  const Network network(mixed());
  const Vector theta = network.theta();
  const Boundary b = boundary(theta, {1.2, -0.4});
  Vector potential(4);
  potential << 0.3, -0.2, 0.8, 0.1;
  const Matrix jacobian = network.jacobian(b, potential);
  const auto work = network.workspace();
  network.impose(b, *work);
  const double h = 1e-5;
  for (Eigen::Index j = 0; j < 4; ++j) {
    Vector up, down, shifted = potential;
    shifted[j] += h;
    network.evaluate(*work, shifted, up, nullptr);
    shifted[j] -= 2 * h;
    network.evaluate(*work, shifted, down, nullptr);
    // F = u - I, so dI/dmu = -dF/dmu; second-order differences err by h^2 = 1e-10 and by rounding, 1e-16/h =
    // 1e-11.
    CHECK((jacobian.col(j) + (up - down) / (2 * h)).cwiseAbs().maxCoeff() < 1e-9);
  }
}

TEST_CASE("charge is conserved: what the free nodes gain, the clamped ones and the leaks lose") {
  const Network network(mixed());
  const Vector theta = network.theta();
  const Boundary b = boundary(theta, {1.2, -0.4});
  Vector potential(4);
  potential << 0.3, -0.2, 0.8, 0.1;
  const auto work = network.workspace();
  network.impose(b, *work);
  Vector unbalanced;
  network.evaluate(*work, potential, unbalanced, nullptr);
  double from_outside = 0;
  const Vector current = network.edge_currents(b, potential);
  for (std::size_t e = 0; e < network.spec().edges.size(); ++e) {
    const GraphEdge& ends = network.spec().graph.edges[e];
    const bool s = network.spec().graph.nodes[ends.source].clamped,
               t = network.spec().graph.nodes[ends.target].clamped;
    if (s && !t) from_outside += current[static_cast<Eigen::Index>(e)];
    if (t && !s) from_outside -= current[static_cast<Eigen::Index>(e)];
  }
  for (std::size_t k = 0; k < 4; ++k) {
    const NodeProperties& p = network.spec().nodes[network.free()[k]];
    from_outside -= p.g * (potential[static_cast<Eigen::Index>(k)] - p.mu_ref);
  }
  CHECK(unbalanced.sum() == Approx(from_outside).epsilon(1e-13));
}

TEST_CASE("gradients by parameters and by clamped levels agree with differences of the currents") {
  const Network network(mixed());
  const Vector theta = network.theta();
  Vector potential(4), costate(4);
  potential << 0.3, -0.2, 0.8, 0.1;
  costate << 0.5, -1.1, 0.7, 0.2;
  const Boundary b = boundary(theta, {1.2, -0.4});
  Vector gradient = Vector::Zero(theta.size());
  network.add_gradient(std::span(&b, 1), std::span(&potential, 1), std::span(&costate, 1), gradient, 1);
  auto weighted = [&](const Vector& parameters, const Vector& clamp) {  // -lambda^T I = lambda^T F
    Boundary varied;
    varied.theta = parameters.data();
    varied.clamp = clamp;
    const auto work = network.workspace();
    network.impose(varied, *work);
    Vector unbalanced;
    network.evaluate(*work, potential, unbalanced, nullptr);
    return costate.dot(unbalanced);
  };
  const std::vector<ParameterInfo> info = network.parameter_info();
  for (Eigen::Index i = 0; i < theta.size(); ++i) {
    if (!std::isfinite(theta[i])) continue;  // no inhibition
    const double h = 1e-5;
    Vector up = theta, down = theta;
    up[i] += h;
    down[i] -= h;
    INFO(info[i].name);
    CHECK(gradient[i] == Approx((weighted(up, b.clamp) - weighted(down, b.clamp)) / (2 * h)).margin(1e-9));
  }
  const Vector by_clamp = network.clamp_gradient(b, potential, costate);
  for (Eigen::Index i = 0; i < 2; ++i) {
    const double h = 1e-5;
    Vector up = b.clamp, down = b.clamp;
    up[i] += h;
    down[i] -= h;
    CHECK(by_clamp[i] == Approx((weighted(theta, up) - weighted(theta, down)) / (2 * h)).margin(1e-9));
  }
}

TEST_CASE("capacities: constant, and V c/kT where an enzyme works") {
  const Network network(mixed());
  Vector potential(4);
  potential << 0.3, -0.2, 0.8, 0.1;
  const Vector C = network.capacity(potential);
  CHECK(C[0] == 2);
  CHECK(C[1] == Approx(0.5 * 1.4 * std::exp(-0.2 - 0.4)).epsilon(1e-14));
  CHECK(C[2] == Approx(3 * 1.4 * std::exp(0.8 + 0.3)).epsilon(1e-14));
}

TEST_CASE("theta names, kinds, scales and places") {
  const Network network(mixed());
  const auto info = network.parameter_info();
  REQUIRE(info.size() == network.parameters());
  const auto gamma = info[network.edge_parameter(6, 0)];
  CHECK(gamma.name == "gamma[6]");
  CHECK(gamma.edge == 6);
  CHECK(gamma.scale == Scale::log);
  const auto Ki = info[network.edge_parameter(4, 3)];
  CHECK(Ki.kind == "Ki");
  CHECK_FALSE(Ki.trainable);  // infinite
  CHECK(info[network.leak_mu_ref(0)].name == "mu_ref[2]");
  CHECK(network.theta()[network.leak_g(3)] == 0.6);
  NetworkSpec plain = random_dots({2, 2, 1}, 1, 1);
  CHECK(Network(plain).edge_parameter(0, 3) == -1);  // no d anywhere
  CHECK(Network(plain).parameters() == 18 + 6);
}

TEST_CASE("an unusable network is refused with the node or edge, the value and what was expected") {
  auto refused = [](auto change) {
    NetworkSpec spec = mixed();
    change(spec);
    try {
      Network network(spec);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  using Catch::Contains;
  CHECK_THAT(refused([](NetworkSpec& s) { s.nodes[3].capacity = -2; }),
             Contains("node 3") && Contains("capacity is -2") && Contains("> 0"));
  CHECK_THAT(refused([](NetworkSpec& s) { s.nodes[0].T = 0; }), Contains("node 0") && Contains("T is 0"));
  CHECK_THAT(refused([](NetworkSpec& s) { s.nodes[2].mu_ref = std::nan(""); }),
             Contains("node 2") && Contains("mu_ref is nan"));
  CHECK_THAT(refused([](NetworkSpec& s) { s.edges[0].p[0] = -1; }),
             Contains("edge 0") && Contains("gamma is -1") && Contains(">= 0"));
  CHECK_THAT(refused([](NetworkSpec& s) { s.edges[3].p[1] = 0; }), Contains("edge 3") && Contains("Ka is 0"));
  CHECK_THAT(refused([](NetworkSpec& s) { s.edges[0].p[2] = std::nan(""); }),
             Contains("edge 0") && Contains("b is nan"));
  CHECK_THAT(refused([](NetworkSpec& s) { s.kT = 0; }), Contains("kT is 0"));
  CHECK_THAT(refused([](NetworkSpec& s) { s.graph.edges[2].target = 99; }),
             Contains("edge 2") && Contains("99"));
  CHECK_THAT(refused([](NetworkSpec& s) { s.nodes[0].g = 1; }), Contains("node 0") && Contains("clamped"));
  // Nodes 6 and 7 are connected only with each other.
  CHECK_THAT(refused([](NetworkSpec& s) {
               add_node(s, false);
               add_node(s, false);
               add_edge(s, 6, 7, linear(1));
             }),
             Contains("node 6") && Contains("no path to ground") && Contains("singular"));
  // An edge without conductance does not connect to ground.
  CHECK_THAT(refused([](NetworkSpec& s) {
               add_node(s, false);
               add_edge(s, 0, 6, linear(0));
             }),
             Contains("node 6") && Contains("no path to ground"));
}

TEST_CASE("a temperature that no law takes note of is refused, with the node and the law") {
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(1));
  spec.graph.outputs = {1};
  add_edge(spec, 0, 1, quantum_dot(1, 0, 0));
  spec.nodes[1].T = 1.5;
  CHECK(spec.ignored().empty());
  add_edge(spec, 0, 1, linear(1));  // a conductor beside it does not matter
  CHECK(spec.ignored().empty());
  add_edge(spec, 0, 1, enzyme(1, 1, 1, 1));
  CHECK(spec.ignored().find("node 1: T is 1.5, expected 1: its enzyme edges") != std::string::npos);
  spec.edges = {linear(1)};
  spec.graph.edges.resize(1);
  CHECK(spec.ignored().find("node 1: T is 1.5, expected 1: its linear edges") != std::string::npos);
}
