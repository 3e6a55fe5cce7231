// Large networks against dense algebra: dI/dmu in compressed rows, sparse LU and iteration, the certificate
// and the eigenvalues.
#include <catch2/catch.hpp>

#include <cmath>
#include <complex>

#include <Eigen/Dense>
#include <Eigen/Eigenvalues>

#include "solver/eigenvalues.hpp"
#include "ness/network/lattice.hpp"
#include "ness/network/simulation.hpp"
#include "ness/network/steady_state.hpp"
#include "description/network_impl.hpp"
#include "sim/network/networks.hpp"
#include "algebra/sparse_solvers.hpp"

using namespace networks;

namespace {
constexpr LinearAlgebra sparse_kinds[] = {LinearAlgebra::direct, LinearAlgebra::iterative};

NetworkSpec random_lattice(std::vector<std::uint32_t> sides, std::uint64_t seed, double b = 1) {
  LatticeOptions options;
  options.sides = std::move(sides);
  options.clamped = 5;
  options.leak = 0.05;
  options.b = b;
  options.mu_ref = 0.5;
  options.log_capacity = 0.7;
  options.seed = seed;
  return lattice(options);
}

Vector levels_of(const Network& network, std::uint64_t seed, double size = 2) {
  Random random(seed, 51);
  Vector levels(static_cast<Eigen::Index>(network.clamped().size()));
  for (double& x : levels) x = size * random.normal();
  return levels;
}

// A state of a network, kept together with its boundary.
struct Look {
  Look(const Network& network, Boundary imposed, const Vector& potential)
      : work(network.workspace()), boundary(std::move(imposed)) {
    network.impose(boundary, *work);
    network.evaluate(*work, potential, unbalanced, &jacobian);
  }
  Network::WorkspacePtr work;
  Boundary boundary;
  Vector unbalanced;
  Jacobian jacobian;
};

Vector random_state(Eigen::Index n, std::uint64_t seed, double size) {
  Random random(seed, 52);
  Vector mu(n);
  for (double& x : mu) x = size * random.normal();
  return mu;
}

std::complex<double> rightmost(const Matrix& jacobian, const Vector& capacity) {
  const Eigen::EigenSolver<Matrix> solver(-(capacity.cwiseInverse().asDiagonal() * jacobian), false);
  Eigen::Index worst = 0;
  solver.eigenvalues().real().maxCoeff(&worst);
  return solver.eigenvalues()[worst];
}
}  // namespace

TEST_CASE(
    "large: dI/dmu in compressed rows is the dense matrix, parallel edges, all laws and held nodes "
    "included") {
  NetworkSpec parallel = mixed();
  add_edge(parallel, 2, 3, linear(0.3));
  add_edge(parallel, 3, 2, quantum_dot(0.4, 0.2, -0.7));
  for (const NetworkSpec& spec : {parallel, random_lattice({9, 7}, 1), random_lattice({4, 3, 5}, 2)}) {
    const Network dense(spec, LinearAlgebra::dense);
    const Vector theta = dense.theta(), mu = random_state(dense.rest().size(), 3, 1);
    Boundary b;
    b.theta = theta.data();
    b.clamp = levels_of(dense, 4);
    for (const bool holds : {false, true}) {
      if (holds) b.held = {{1, 0.3}, {3, -0.2}};
      const Look full(dense, b, mu);
      for (const LinearAlgebra kind : sparse_kinds) {
        const Network network(spec, kind);
        REQUIRE(network.algebra() == kind);
        const Look at(network, b, mu);
        REQUIRE(at.jacobian.sparse());
        CHECK(at.jacobian.dense() == full.jacobian.full());  // the same sums in the same order
        CHECK(at.unbalanced == full.unbalanced);
        for (Eigen::Index k = 0; k < mu.size(); ++k)
          CHECK(at.jacobian.row_magnitude(k) ==
                Approx(full.jacobian.full().row(k).cwiseAbs().sum()).epsilon(1e-15));
        // The mirrored entries are those of the transpose.
        Jacobian mirrored = at.jacobian;
        for (std::size_t p = 0; p < mirrored.values().size(); ++p)
          mirrored.data()[p] =
              at.jacobian.values()[static_cast<std::size_t>(at.jacobian.pattern()->mirror[p])];
        CHECK(mirrored.dense() == Matrix(full.jacobian.full().transpose()));
      }
    }
  }
}

TEST_CASE("large: linear systems are solved both ways round, one after another, and refused where singular") {
  for (const LinearAlgebra kind : sparse_kinds) {
    INFO(to_string(kind));
    const Network network(random_lattice({24, 20}, 7), kind);
    const Vector theta = network.theta();
    const Eigen::Index n = network.rest().size();
    Boundary b;
    b.theta = theta.data();
    b.clamp = levels_of(network, 8);
    Look at(network, b, random_state(n, 9, 0.5));
    const Vector right = random_state(n, 10, 1);
    Vector x;
    for (int k = 0; k < 5; ++k) {
      at.jacobian.add_to_diagonal(Vector::Constant(n, 0.1 * k));
      REQUIRE(network.factor(*at.work, at.jacobian));
      const Matrix M = at.jacobian.dense();
      const Eigen::PartialPivLU<Matrix> lu(M);
      // The iteration leaves a residual of 1e-11 of the right side; the error is that times |M^-1|.
      const double tolerance = 1e-10 * lu.inverse().norm() * right.norm();
      network.solve(*at.work, right, x);
      CHECK((x - lu.solve(right)).norm() < tolerance);
      network.solve_transposed(*at.work, right, x);
      CHECK((x - Eigen::PartialPivLU<Matrix>(M.transpose()).solve(right)).norm() < tolerance);
    }
    const SolverCounts* counts = counts_of(*at.work->solver);
    REQUIRE(counts != nullptr);
    if (kind == LinearAlgebra::direct) {
      CHECK(counts->factored == 5);
      CHECK(counts->pivoted == 0);
    } else {
      CHECK(counts->set_up == 10);
      CHECK(counts->solved == 10);
      CHECK(counts->fallbacks == 0);
    }
    // A node without any conductance: singular, and a solution requested nevertheless is NaN.
    Jacobian singular = at.jacobian;
    const JacobianPattern& pattern = *singular.pattern();
    for (std::int32_t p = pattern.begin[5]; p < pattern.begin[6]; ++p)
      singular.data()[p] = singular.data()[pattern.mirror[static_cast<std::size_t>(p)]] = 0;
    CHECK_FALSE(network.factor(*at.work, singular));
    network.solve(*at.work, right, x);
    CHECK_FALSE(x.allFinite());
    Jacobian broken = at.jacobian;
    broken.data()[3] = std::nan("");
    CHECK_FALSE(network.factor(*at.work, broken));
    CHECK(network.factor(*at.work, at.jacobian));  // and it recovers
    network.solve(*at.work, right, x);
    CHECK((at.jacobian * x - right).norm() < 1e-10 * right.norm());
  }
}

// Elimination of a square lattice of N nodes by nested dissection takes about 10 N^1.5 operations, of a cubic
// one N^2 (A. George, SIAM J. Numer. Anal. 10 (1973) 345), of a strip about N. Iteration pays off where this
// is thousands per node.
TEST_CASE(
    "large: the algebra chosen is dense for few nodes and layers, LU where it fills little, else the "
    "iteration") {
  CHECK(Network(random_lattice({4, 4}, 1)).algebra() == LinearAlgebra::dense);
  CHECK(Network(random_dots({10, 30, 10}, 1, 1)).algebra() == LinearAlgebra::dense);
  CHECK(Network(random_dots({784, 300, 10}, 1, 1)).algebra() == LinearAlgebra::dense);
  CHECK(Network(random_dots({10, 500, 100}, 1, 1)).algebra() == LinearAlgebra::dense);
  CHECK(Network(random_lattice({10, 10}, 1)).algebra() == LinearAlgebra::direct);
  CHECK(Network(random_graph(100, 20, 1, 1)).algebra() == LinearAlgebra::direct);
  CHECK(Network(random_lattice({2, 20000}, 1)).algebra() == LinearAlgebra::direct);
  CHECK(Network(random_lattice({200, 200}, 1)).algebra() == LinearAlgebra::direct);
  CHECK(Network(random_lattice({16, 16, 16}, 1)).algebra() == LinearAlgebra::direct);
  CHECK(Network(random_lattice({27, 27, 27}, 1)).algebra() == LinearAlgebra::iterative);
  // separators of a random graph grow with its size
  CHECK(Network(random_graph(2000, 6, 1, 1)).algebra() == LinearAlgebra::iterative);
  CHECK(Network(random_lattice({27, 27, 27}, 1), LinearAlgebra::direct).algebra() == LinearAlgebra::direct);
}

TEST_CASE("large: states, costates and gradients are those of dense algebra") {
  // More nodes than the iteration solves directly (300), and fewer.
  for (const auto& sides : {std::vector<std::uint32_t>{20, 17}, {7, 6, 5}}) {
    for (const std::uint64_t seed : {11U, 12U, 13U}) {
      const NetworkSpec spec = random_lattice(sides, seed);
      const auto dense = std::make_shared<const Network>(spec, LinearAlgebra::dense);
      const auto theta = std::make_shared<const Vector>(dense->theta());
      Boundary b;
      b.theta = theta->data();
      b.clamp = levels_of(*dense, seed);
      if (seed == 13) b.held = {{4, 0.5}, {30, -1.0}};
      b.inject = 0.1 * random_state(dense->rest().size(), seed, 1);
      const SteadyState expected = relax(*dense, b, dense->rest());
      REQUIRE(expected.verdict == Verdict::converged);
      const Look reference(*dense, b, expected.potential);
      const Vector cotangent = random_state(dense->rest().size(), seed + 100, 1);
      const Vector costate =
          Eigen::PartialPivLU<Matrix>(reference.jacobian.full().transpose()).solve(cotangent);
      for (const LinearAlgebra kind : sparse_kinds) {
        INFO(to_string(kind) << ", seed " << seed << ", " << sides.size() << " dimensions");
        const auto network = std::make_shared<const Network>(spec, kind);
        const SteadyState found = relax(*network, b, network->rest());
        REQUIRE(found.verdict == Verdict::converged);
        // Both ended with a Newton correction below 1e-8 kT, whose square remains.
        CHECK((found.potential - expected.potential).cwiseAbs().maxCoeff() < 1e-12);
        const Look at(*network, b, found.potential);
        REQUIRE(network->factor(*at.work, at.jacobian));
        Vector lambda;
        network->solve_transposed(*at.work, cotangent, lambda);
        CHECK((lambda - costate).norm() < 1e-8 * costate.norm());
        Vector one = Vector::Zero(theta->size()), other = one;
        network->add_gradient({&b, 1}, {&found.potential, 1}, {&lambda, 1}, one, 1);
        dense->add_gradient({&b, 1}, {&expected.potential, 1}, {&costate, 1}, other, 1);
        CHECK((one - other).norm() < 1e-8 * other.norm());
        // Using the workspace again gives the same bits: nothing of the first relaxation is left in it.
        const auto work = network->workspace();
        const SteadyState first = relax(*network, b, network->rest(), {}, false, *work),
                          second = relax(*network, b, network->rest(), {}, false, *work);
        CHECK(first.potential == second.potential);
        CHECK(first.potential == found.potential);
      }
    }
  }
}

TEST_CASE("large: a lattice of 10^4 nodes conserves charge, by the scalar law") {
  for (const LinearAlgebra kind : sparse_kinds) {
    INFO(to_string(kind));
    const Network network(random_lattice({100, 100}, 21), kind);
    const Vector theta = network.theta();
    Boundary b;
    b.theta = theta.data();
    b.clamp = levels_of(network, 22, 3);
    const SteadyState state = relax(network, b, network.rest());
    REQUIRE(state.verdict == Verdict::converged);
    const Vector current = network.edge_currents(b, state.potential);
    Vector net = Vector::Zero(static_cast<Eigen::Index>(network.spec().nodes.size()));
    for (std::size_t e = 0; e < network.spec().edges.size(); ++e) {
      net[network.spec().graph.edges[e].source] += current[static_cast<Eigen::Index>(e)];
      net[network.spec().graph.edges[e].target] -= current[static_cast<Eigen::Index>(e)];
    }
    double worst = 0, supplied = 0, leaked = 0;
    for (std::size_t k = 0; k < network.free().size(); ++k) {
      const double leak = theta[static_cast<Eigen::Index>(network.leak_g(k))] *
                          (state.potential[static_cast<Eigen::Index>(k)] -
                           theta[static_cast<Eigen::Index>(network.leak_mu_ref(k))]);
      worst = std::max(worst, std::abs(net[network.free()[k]] + leak));
      leaked += leak;
    }
    for (const std::uint32_t k : network.clamped()) supplied += net[k];
    // Currents are of order 1; the last correction is at most 1e-8, its square remains; sums over 10^4 nodes
    // round by about 1e-12.
    CHECK(worst < 1e-11);
    CHECK(std::abs(leaked) > 1e-3);
    CHECK(std::abs(supplied - leaked) < 1e-8);
  }
}

TEST_CASE("large: bistable and oscillating networks get the verdicts of dense algebra") {
  for (const LinearAlgebra kind : sparse_kinds) {
    const Network network(oscillator(), kind);
    const Vector theta = network.theta();
    CHECK(relax(network, boundary(theta, {-3.4166249351909352}), network.rest()).verdict ==
          Verdict::limit_cycle);
    const Network dense(oscillator(), LinearAlgebra::dense);
    const SteadyState expected = relax(dense, boundary(theta, {0}), dense.rest()),
                      found = relax(network, boundary(theta, {0}), network.rest());
    CHECK(found.verdict == expected.verdict);
    CHECK((found.potential - expected.potential).cwiseAbs().maxCoeff() < 1e-10);
  }
}

TEST_CASE(
    "large: the leading eigenvalue is the one of all, real or one of a pair, stable or not, and held nodes "
    "do not count") {
  // A lattice, with the two nodes of the oscillator connected by a weak conductor: where they dominate, the
  // rightmost pair is complex.
  NetworkSpec with_pair = random_lattice({14, 12}, 31, 0.5);
  for (EdgeProperties& edge : with_pair.edges) edge.p[0] *= 10;
  const NetworkSpec pair = oscillator();
  const auto first = static_cast<std::uint32_t>(with_pair.nodes.size());
  for (std::size_t k = 0; k < pair.nodes.size(); ++k)
    add_node(with_pair, pair.graph.nodes[k].clamped, pair.nodes[k]);
  for (std::size_t e = 0; e < pair.edges.size(); ++e)
    add_edge(with_pair, first + pair.graph.edges[e].source, first + pair.graph.edges[e].target,
             pair.edges[e]);
  add_edge(with_pair, 40, first + 2, linear(1e-4));

  int unstable = 0, stable = 0, complex_pairs = 0, certified = 0;
  const auto look = [&](const NetworkSpec& spec, const Vector& mu, const Vector& clamp, bool holds) {
    const Network dense(spec, LinearAlgebra::dense);
    const Vector theta = dense.theta();
    Boundary b;
    b.theta = theta.data();
    b.clamp = clamp;
    if (holds) b.held = {{2, 0.0}, {50, 0.0}};
    const Look full(dense, b, mu);
    const Leading expected = leading_eigenvalue(dense, *full.work, mu, full.jacobian, false);
    if (!holds) {
      const std::complex<double> independent = rightmost(full.jacobian.full(), dense.capacity(mu));
      CHECK(expected.real == Approx(independent.real()).margin(1e-9));
      complex_pairs += std::abs(independent.imag()) > 1e-6 ? 1 : 0;
    }
    (expected.real > 0 ? unstable : stable) += 1;
    for (const LinearAlgebra kind : sparse_kinds) {
      INFO(to_string(kind));
      const Network network(spec, kind);
      const Look at(network, b, mu);
      const bool shown = network.contracting(*at.work, at.jacobian);
      certified += shown ? 1 : 0;
      // The certificate is a proof: it never contradicts an eigenvalue, and covers what the dense certificate
      // shows.
      if (shown) CHECK(expected.real < 0);
      if (dense.contracting(*full.work, full.jacobian)) CHECK(shown);
      const Leading found = leading_eigenvalue(network, *at.work, mu, at.jacobian, true);
      // Arnoldi's method converges to 1e-10 of the distance to a shift of about 10 to 100.
      CHECK(found.real == Approx(expected.real).margin(1e-6));
      CHECK(found.bound >= expected.real - 1e-6);
      if (expected.real > 0) CHECK(found.direction.cwiseAbs().maxCoeff() == Approx(1));
    }
  };
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    for (const auto& [size, b] : {std::pair{0.2, 0.3}, {0.2, 4.0}, {3.0, 4.0}}) {
      const NetworkSpec spec = random_lattice({15, 13}, 32 + seed, b);
      const Network counted(spec);
      look(spec, random_state(counted.rest().size(), seed, size), levels_of(counted, seed), seed % 2 == 1);
    }
  }
  {
    const Network counted(with_pair, LinearAlgebra::dense);
    Vector clamp = Vector::Zero(static_cast<Eigen::Index>(counted.clamped().size()));
    clamp[clamp.size() - 1] = -3.4166249351909352;
    // Around the oscillator's steady state, where its pair crosses the axis.
    for (const double shift : {0.0, 0.3, 0.6, 1.0}) {
      Vector mu = Vector::Zero(counted.rest().size());
      mu[mu.size() - 2] = -3 + shift;
      mu[mu.size() - 1] = 1 - shift;
      look(with_pair, mu, clamp, false);
    }
  }
  // Each kind occurred.
  CHECK(unstable > 0);
  CHECK(stable > 0);
  CHECK(certified > 0);
  CHECK(complex_pairs > 0);
}

TEST_CASE(
    "large: the certificate holds exactly where the comparison matrix is an M-matrix or the symmetric part "
    "is positive definite") {
  const NetworkSpec spec = random_lattice({12, 11}, 61);
  int dominated = 0, definite = 0, neither = 0;
  for (const LinearAlgebra kind : sparse_kinds) {
    const Network network(spec, kind);
    const Vector theta = network.theta();
    Boundary b;
    b.theta = theta.data();
    b.clamp = levels_of(network, 62);
    Look at(network, b, network.rest());
    const JacobianPattern& pattern = *at.jacobian.pattern();
    const auto n = static_cast<Eigen::Index>(pattern.nodes());
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
      // Couplings of either sign; alternately symmetric or skew, columns scaled (which hides dominance), and
      // stronger with each seed.
      Random random(seed, 63);
      const double strength = 0.12 + 0.012 * static_cast<double>(seed), skew = seed % 3 == 0   ? -1
                                                                               : seed % 3 == 1 ? 1
                                                                                               : 0.3;
      for (Eigen::Index i = 0; i < n; ++i) {
        for (std::int32_t p = pattern.begin[static_cast<std::size_t>(i)];
             p < pattern.begin[static_cast<std::size_t>(i) + 1]; ++p) {
          const auto place = static_cast<std::size_t>(p);
          if (pattern.column[place] == i) at.jacobian.data()[place] = 1;
          if (pattern.column[place] <= i) continue;
          const double entry = strength * (0.7 + 0.6 * random.uniform()) * (random.uniform() < 0.5 ? -1 : 1);
          at.jacobian.data()[place] = entry;
          at.jacobian.data()[pattern.mirror[place]] = skew * entry;
        }
      }
      if (seed % 2 == 1) {
        Vector scale(n);
        for (double& x : scale) x = std::exp(random.normal());
        for (std::size_t p = 0; p < pattern.entries(); ++p) at.jacobian.data()[p] *= scale[pattern.column[p]];
      }
      const Matrix full = at.jacobian.dense();
      Matrix comparison = -full.cwiseAbs();
      comparison.diagonal() = full.diagonal();
      // A matrix without positive off-diagonal entries is an M-matrix if all its eigenvalues have positive
      // real parts.
      const double m = Eigen::EigenSolver<Matrix>(comparison, false).eigenvalues().real().minCoeff();
      const double s =
          Eigen::SelfAdjointEigenSolver<Matrix>(0.5 * (full + full.transpose()), Eigen::EigenvaluesOnly)
              .eigenvalues()
              .minCoeff();
      // too close for a rough solution, or for rounding
      if (std::abs(m) < 0.02 || std::abs(s) < 1e-6) continue;
      INFO(to_string(kind) << ", seed " << seed << ", least eigenvalues " << m << " and " << s);
      CHECK(network.contracting(*at.work, at.jacobian) == (m > 0 || s > 0));
      dominated += m > 0 ? 1 : 0;
      definite += m < 0 && s > 0 ? 1 : 0;
      neither += m < 0 && s < 0 ? 1 : 0;
    }
    const SolverCounts* counts = counts_of(*at.work->solver);
    CHECK(counts->by_columns > 0);
    CHECK(counts->by_solution > 0);
    CHECK(counts->by_pivots > 0);
  }
  CHECK(dominated > 10);
  CHECK(definite > 10);
  CHECK(neither > 10);
}

TEST_CASE("large: what a dense matrix would take is refused with its size") {
  LatticeOptions options;
  options.sides = {200, 200};
  const Network network(lattice(options));
  CHECK(network.algebra() != LinearAlgebra::dense);
  const Vector theta = network.theta();
  Boundary b;
  b.theta = theta.data();
  b.clamp = levels_of(network, 1);
  try {
    network.jacobian(b, network.rest());
    FAIL("nothing was thrown");
  } catch (const std::invalid_argument& error) {
    CHECK_THAT(error.what(),
               Catch::Contains("39992 x 39992") && Catch::Contains("13 GB") && Catch::Contains("at most 8"));
  }
}

TEST_CASE("large: an unusable lattice is refused with the value") {
  LatticeOptions options;
  CHECK(options.problem().empty());
  options.leak = -1;
  CHECK_THAT(options.problem(), Catch::Contains("leak is -1"));
  CHECK_THROWS_AS(lattice(options), std::invalid_argument);
  options = {};
  options.sides = {5};
  CHECK_FALSE(options.problem().empty());
  options = {};
  options.clamped = 0;
  CHECK_FALSE(options.problem().empty());
}
