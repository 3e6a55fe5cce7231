#include "ness/network/sensitivity.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "ness/network/steady_state.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {

Vector settled(const Network& network, const Boundary& boundary) {
  const SteadyState state = relax(network, boundary, network.rest());
  REQUIRE(state.verdict == Verdict::converged);
  return state.potential;
}

// Second-order differences of re-solved states with h = 1e-4: their error is h^2 times a third derivative of
// order 1, plus the solver's 1e-14 / h.
constexpr double h = 1e-4, difference_error = 1e-6;

void check_against_differences(const NetworkSpec& spec, const Vector& clamp, const Vector& inject,
                               std::vector<std::pair<std::uint32_t, double>> held = {}) {
  const Network network(spec);
  const Vector theta = network.theta();
  Boundary at;
  at.theta = theta.data();
  at.clamp = clamp;
  at.inject = inject;
  at.held = std::move(held);
  const Sensitivity s = sensitivity(network, at, settled(network, at));
  REQUIRE(s.by_parameter.rows() == static_cast<Eigen::Index>(network.free().size()));
  REQUIRE(s.by_parameter.cols() == theta.size());
  const auto difference = [&](const auto& change) {
    Boundary up = at, down = at;
    Vector theta_up = theta, theta_down = theta;
    up.theta = theta_up.data();
    down.theta = theta_down.data();
    change(up, theta_up, h);
    change(down, theta_down, -h);
    return Vector((settled(network, up) - settled(network, down)) / (2 * h));
  };
  for (Eigen::Index i = 0; i < theta.size(); ++i) {
    if (!std::isfinite(theta[i])) {
      CHECK(s.by_parameter.col(i).isZero(0));
      continue;
    }
    const Vector d = difference([i](Boundary&, Vector& varied, double step) { varied[i] += step; });
    INFO("parameter " << network.parameter_info()[static_cast<std::size_t>(i)].name);
    CHECK((s.by_parameter.col(i) - d).cwiseAbs().maxCoeff() < difference_error);
  }
  for (Eigen::Index i = 0; i < clamp.size(); ++i) {
    const Vector d = difference([i](Boundary& varied, Vector&, double step) { varied.clamp[i] += step; });
    CHECK((s.by_clamp.col(i) - d).cwiseAbs().maxCoeff() < difference_error);
  }
  for (Eigen::Index k = 0; k < static_cast<Eigen::Index>(network.free().size()); ++k) {
    const Vector d = difference([&](Boundary& varied, Vector&, double step) {
      if (varied.inject.size() == 0)
        varied.inject = Vector::Zero(static_cast<Eigen::Index>(network.free().size()));
      varied.inject[k] += step;
    });
    CHECK((s.response.col(k) - d).cwiseAbs().maxCoeff() < difference_error);
  }
}

}  // namespace

TEST_CASE("sensitivities of a steady state agree with differences of re-solved states", "[sensitivity]") {
  SECTION("all laws, cycles, unequal temperatures") {
    check_against_differences(mixed(), (Vector(2) << 1.2, -0.4).finished(), {});
  }
  SECTION("under injected currents") {
    check_against_differences(mixed(), (Vector(2) << 0.3, 0.9).finished(),
                              (Vector(4) << 0.1, -0.05, 0, 0.02).finished());
  }
  SECTION("with a node held, which does not move") {
    check_against_differences(mixed(), (Vector(2) << 1.2, -0.4).finished(), {}, {{1, 0.35}});
  }
  SECTION("quantum dots with NDC") {
    check_against_differences(random_dots({2, 3, 2}, 5, 1.5, 0.3, true), (Vector(2) << 2.5, 0.4).finished(),
                              {});
  }
}

TEST_CASE("sensitivities of a linear divider are its closed form", "[sensitivity]") {
  // x -- G --> node, leak g to r: mu = (G x + g r)/(G + g).
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(0.5, -0.25));
  add_edge(spec, 0, 1, linear(1.5));
  spec.graph.outputs = {1};
  const Network network(spec);
  const Vector theta = network.theta();
  const Boundary b = boundary(theta, {2.0});
  const double G = 1.5, g = 0.5, x = 2, r = -0.25, mu = (G * x + g * r) / (G + g);
  const Vector potential = Vector::Constant(1, mu);
  const Sensitivity s = sensitivity(network, b, potential);
  // Rounding only.
  CHECK(s.by_parameter(0, network.edge_parameter(0, 0)) == Approx((x - mu) / (G + g)).epsilon(1e-14));
  CHECK(s.by_parameter(0, static_cast<Eigen::Index>(network.leak_g(0))) ==
        Approx((r - mu) / (G + g)).epsilon(1e-14));
  CHECK(s.by_parameter(0, static_cast<Eigen::Index>(network.leak_mu_ref(0))) ==
        Approx(g / (G + g)).epsilon(1e-14));
  CHECK(s.by_clamp(0, 0) == Approx(G / (G + g)).epsilon(1e-14));
  CHECK(s.response(0, 0) == Approx(1 / (G + g)).epsilon(1e-14));
}

TEST_CASE("the currents of all nodes add up to the leaks, and so do their derivatives", "[sensitivity]") {
  const Network network(mixed());
  const Vector theta = network.theta();
  const Boundary b = boundary(theta, {1.2, -0.4});
  Vector potential(4);
  potential << 0.3, -0.2, 0.8, 0.1;
  const Linearisation at = linearised(network, b, potential);
  double leaks = 0;
  Vector leaks_by_potential = Vector::Zero(4), leaks_by_parameter = Vector::Zero(theta.size());
  for (std::size_t k = 0; k < 4; ++k) {
    const auto i = static_cast<Eigen::Index>(k), g = static_cast<Eigen::Index>(network.leak_g(k)),
               ref = static_cast<Eigen::Index>(network.leak_mu_ref(k));
    leaks += theta[g] * (potential[i] - theta[ref]);
    leaks_by_potential[i] = theta[g];
    leaks_by_parameter[g] = potential[i] - theta[ref];
    leaks_by_parameter[ref] = -theta[g];
  }
  // The current out of one node is the current into the other: cancellation to rounding.
  CHECK(at.current.sum() == Approx(leaks).epsilon(1e-13));
  CHECK((at.by_potential.colwise().sum().transpose() - leaks_by_potential).cwiseAbs().maxCoeff() < 1e-14);
  CHECK((at.by_parameter.colwise().sum().transpose() - leaks_by_parameter).cwiseAbs().maxCoeff() < 1e-14);
  CHECK(at.by_clamp.colwise().sum().cwiseAbs().maxCoeff() < 1e-14);
  // The rows of the free nodes are the solver's currents and their Jacobian.
  const auto work = network.workspace();
  network.impose(b, *work);
  Vector unbalanced;
  Matrix jacobian;
  network.evaluate(*work, potential, unbalanced, &jacobian);
  for (std::size_t k = 0; k < 4; ++k) {
    const auto i = static_cast<Eigen::Index>(k);
    CHECK(at.current[network.free()[k]] == Approx(-unbalanced[i]).margin(1e-14));
    CHECK((at.by_potential.row(network.free()[k]) - jacobian.row(i)).cwiseAbs().maxCoeff() < 1e-13);
  }
}

TEST_CASE("at a fold sensitivities are not a number; a start of the wrong size is refused", "[sensitivity]") {
  // One dot with NDC against a leak that just compensates it: dI/dmu = 0 at this potential.
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(1));
  add_edge(spec, 0, 1, quantum_dot(1, 0, -2));
  spec.graph.outputs = {1};
  const Network probe(spec);
  const Vector described = probe.theta();
  const Vector potential = Vector::Constant(1, 3.0);
  const EdgeCurrent I = probe.edge(0, boundary(described, {0.0}), (Vector(2) << 0.0, 3.0).finished());
  REQUIRE(I.by_target > 0);
  Vector theta = described;
  theta[static_cast<Eigen::Index>(probe.leak_g(0))] = I.by_target;
  const Boundary b = boundary(theta, {0.0});
  CHECK(sensitivity(probe, b, potential).by_parameter.array().isNaN().all());
  CHECK_THROWS_AS(sensitivity(probe, b, Vector::Zero(2)), std::invalid_argument);
}
