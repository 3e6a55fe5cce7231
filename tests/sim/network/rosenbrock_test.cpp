#include "ness/network/rosenbrock.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>

#include "sim/network/networks.hpp"

using namespace networks;

TEST_CASE(
    "the path of an enzyme pool is followed with its potential-dependent capacity, at the order of the "
    "method") {
  // Far below saturation V dc/dt = (Vf/Ka)(c_s - c), so c = 1 + (c0 - 1) exp(-3 t / 2); the effect of
  // saturation is 1e-6.
  NetworkSpec spec;
  add_node(spec, true);
  NodeProperties pool;
  pool.capacity = 2;
  pool.mu_init = -3;
  add_node(spec, false, pool);
  const double K = 1e6;
  add_edge(spec, 0, 1, enzyme(3 * K, K, K, std::numeric_limits<double>::infinity()));
  spec.graph.outputs = {1};
  const Network network(spec);
  const Vector theta = network.theta();
  const Boundary b = boundary(theta, {0});
  std::vector<double> worst;
  std::vector<int> steps;
  for (const double tolerance : {1e-4, 1e-7}) {
    const auto work = network.workspace();
    network.impose(b, *work);
    Rosenbrock path(network, *work);
    path.begin(network.rest());
    worst.push_back(0);
    steps.push_back(0);
    while (path.time < 3) {
      REQUIRE(path.step(tolerance));
      REQUIRE(++steps.back() < 100000);
      const double exact = std::log(1 + (std::exp(-3.0) - 1) * std::exp(-1.5 * path.time));
      worst.back() = std::max(worst.back(), std::abs(path.y[0] - exact));
    }
  }
  // Local errors of the embedded second order add up over the steps; the effect of saturation is 1e-6.
  CHECK(worst[0] < 1e-2);
  CHECK(worst[1] < 1e-4);
  // With a local error of order h^3, a tolerance 1000 times smaller needs 10 times as many steps.
  CHECK(steps[1] < 30 * steps[0]);
}
