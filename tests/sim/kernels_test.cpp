#include <catch2/catch.hpp>

#include <cmath>
#include <vector>

#include "ness/core/random.hpp"
#include "ness/sim/edge_laws.hpp"
#include "ness/sim/network.hpp"
#include "ness/sim/steady_state.hpp"
#include "ness/sim/vector_target.hpp"
#include "networks.hpp"

using namespace networks;

namespace {
// Runs `check` once on every vector target of this machine, and restores the best.
template <class Check>
void on_every_target(Check check) {
  const std::vector<std::string> targets = vector_targets();
  REQUIRE(!targets.empty());
  for (const std::string& target : targets) {
    force_vector_target(target);
    INFO("vector target " << target);
    CHECK(vector_target() == target);
    check();
  }
  force_vector_target(targets.front());
}

// A star: `n` clamped nodes feed one free node, and it feeds a second, so that fan-in, gathered and padded edges all occur.
NetworkSpec star(std::uint32_t n, double level_scale, bool unequal, double d, std::uint64_t seed) {
  NetworkSpec spec;
  Random random(seed, 9);
  auto temperature = [&] { return unequal ? std::exp(0.3 * random.normal()) : 1.0; };
  for (std::uint32_t i = 0; i < n; ++i) add_node(spec, true);
  add_node(spec, false, leak(1));
  add_node(spec, false, leak(1));
  for (auto& node : spec.nodes) node.T = temperature();
  for (std::uint32_t i = 0; i < n; ++i) add_edge(spec, i, n, quantum_dot(std::exp(random.normal()), level_scale * random.normal(), 2 * random.normal(), d * random.normal()));
  for (std::uint32_t i = 0; i < n; i += 2) add_edge(spec, n, i, quantum_dot(std::exp(random.normal()), level_scale * random.normal(), random.normal(), d));
  add_edge(spec, n, n + 1, quantum_dot(0.3, 0.2, 0.4, d));
  spec.graph.outputs = {n + 1};
  return spec;
}
}  // namespace

TEST_CASE("vector kernels agree with the scalar laws edge by edge, on every target, at extremes too") {
  on_every_target([] {
    for (const std::uint32_t n : {1U, 3U, 4U, 7U, 8U, 9U, 16U, 33U, 600U}) {
      for (const bool unequal : {false, true}) {
        for (const double d : {0.0, 0.7}) {
          for (const double scale : {1.0, 40.0, 900.0}) {
            const Network network(star(n, scale, unequal, d, n));
            const Vector theta = network.theta();
            Random random(n, 4);
            Boundary b;
            b.theta = theta.data();
            b.clamp.resize(n);
            for (double& x : b.clamp) x = (scale > 100 ? 200 : 5) * random.normal();
            Vector potential(2);
            potential << 0.7, -1.3;
            const auto work = network.workspace();
            network.impose(b, *work);
            Vector unbalanced;
            Matrix slope;
            network.evaluate(*work, potential, unbalanced, &slope);
            // The same from the scalar law, summed per node.
            const Vector mu = network.node_potentials(b, potential);
            Vector expected(2), largest = Vector::Zero(2);
            Matrix expected_slope = Matrix::Zero(2, 2);
            for (Eigen::Index k = 0; k < 2; ++k) {
              expected[k] = -potential[k];
              expected_slope(k, k) = 1;
            }
            for (std::size_t e = 0; e < network.spec().edges.size(); ++e) {
              const EdgeCurrent I = network.edge(e, b, mu);
              const GraphEdge& ends = network.spec().graph.edges[e];
              const Eigen::Index s = static_cast<Eigen::Index>(ends.source) - n, t = static_cast<Eigen::Index>(ends.target) - n;
              if (s >= 0) {
                expected[s] -= I.current;
                expected_slope(s, s) += I.by_source;
                largest[s] += std::abs(I.by_source) + std::abs(I.by_target) + network.spec().edges[e].p[0];
              }
              if (t >= 0) {
                expected[t] += I.current;
                expected_slope(t, t) -= I.by_target;
                largest[t] += std::abs(I.by_source) + std::abs(I.by_target) + network.spec().edges[e].p[0];
              }
              if (s >= 0 && t >= 0) {
                expected_slope(s, t) += I.by_target;
                expected_slope(t, s) -= I.by_source;
              }
            }
            // Exponents are of the size of the level (up to some 1e3), whose rounding of 1e-16 an exponential multiplies by it.
            const double tolerance = 1e-15 * (10 + 4 * scale) * (1 + largest.maxCoeff());
            CHECK((unbalanced - expected).cwiseAbs().maxCoeff() < tolerance);
            CHECK((slope - expected_slope).cwiseAbs().maxCoeff() < tolerance);
          }
        }
      }
    }
  });
}

TEST_CASE("the gradient contraction agrees with the scalar laws, on every target and any number of threads") {
  on_every_target([] {
    for (const bool unequal : {false, true}) {
      for (const double d : {0.0, 0.7}) {
        const std::uint32_t n = 21;
        const Network network(star(n, 1, unequal, d, 5));
        const Vector theta = network.theta();
        Random random(8, 4);
        std::vector<Boundary> boundaries(3);
        std::vector<Vector> potential, costate;
        Vector expected = Vector::Zero(theta.size());
        for (Boundary& b : boundaries) {
          b.theta = theta.data();
          b.clamp.resize(n);
          for (double& x : b.clamp) x = random.normal();
          potential.push_back(Vector::Random(2));
          costate.push_back(Vector::Random(2));
          const Vector mu = network.node_potentials(b, potential.back());
          auto at = [&](std::uint32_t node) { return node < n ? 0.0 : costate.back()[node - n]; };
          for (std::size_t e = 0; e < network.spec().edges.size(); ++e) {
            const GraphEdge& ends = network.spec().graph.edges[e];
            const EdgeCurrent I = network.edge(e, b, mu);
            for (std::size_t i = 0; i < 4; ++i) {
              if (network.edge_parameter(e, i) >= 0) expected[network.edge_parameter(e, i)] -= (at(ends.source) - at(ends.target)) * I.by_parameter[i];
            }
          }
          for (std::size_t k = 0; k < 2; ++k) {
            expected[static_cast<Eigen::Index>(network.leak_g(k))] -= costate.back()[k] * (potential.back()[k] - network.spec().nodes[n + k].mu_ref);
            expected[static_cast<Eigen::Index>(network.leak_mu_ref(k))] += costate.back()[k] * network.spec().nodes[n + k].g;
          }
        }
        Vector one = Vector::Zero(theta.size()), two = one;
        network.add_gradient(boundaries, potential, costate, one, 1);
        network.add_gradient(boundaries, potential, costate, two, 2);
        CHECK((one - expected).cwiseAbs().maxCoeff() < 1e-13 * (1 + expected.cwiseAbs().maxCoeff()));
        CHECK(one == two);  // bit for bit
      }
    }
  });
}

TEST_CASE("an unknown vector target is refused with the list of those there are") {
  CHECK_THROWS_WITH(force_vector_target("AVX9"), Catch::Contains("AVX9") && Catch::Contains(vector_targets().front()));
}
