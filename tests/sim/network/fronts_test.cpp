// LU by fronts: the dense part on every vector target, the sparse part against dense algebra, refused pivots.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>

#include <Eigen/Dense>

#include "algebra/front_kernels.hpp"
#include "algebra/fronts.hpp"
#include "ness/device/random.hpp"
#include "algebra/sparse_lu.hpp"
#include "sim/network/vector_targets.hpp"

using namespace ness;
using namespace ness::sim;

namespace {
constexpr double u = 1.1102230246251565e-16;
using Extended = Eigen::Matrix<long double, Eigen::Dynamic, Eigen::Dynamic>;

Matrix random_matrix(Eigen::Index n, std::uint64_t seed, double diagonal) {
  Random random(seed, 60);
  Matrix m(n, n);
  for (double& x : m.reshaped()) x = random.normal();
  m.diagonal().array() += diagonal;
  return m;
}

// Couplings between random pairs of nodes and along a chain.
std::shared_ptr<const JacobianPattern> random_pattern(std::size_t n, std::size_t pairs, std::uint64_t seed) {
  Random random(seed, 61);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> edges;
  for (std::uint32_t k = 1; k < n; ++k) edges.emplace_back(k - 1, k);
  for (std::size_t e = 0; e < pairs; ++e) {
    const auto a = static_cast<std::uint32_t>(random.uniform() * static_cast<double>(n)),
               b = static_cast<std::uint32_t>(random.uniform() * static_cast<double>(n));
    if (a != b) edges.emplace_back(a, b);
  }
  return std::make_shared<const JacobianPattern>(JacobianPattern::of(n, edges));
}

// Rows of very different sizes, not symmetric, with a diagonal of `dominance` times the sum of the rest of
// the row.
Jacobian random_slope(const std::shared_ptr<const JacobianPattern>& pattern, std::uint64_t seed,
                      double dominance) {
  Random random(seed, 62);
  Jacobian jacobian;
  jacobian.clear(static_cast<Eigen::Index>(pattern->nodes()), pattern);
  for (std::size_t i = 0; i < pattern->nodes(); ++i) {
    const double size = std::exp(3 * random.normal());
    double sum = 0;
    for (std::int32_t p = pattern->begin[i]; p < pattern->begin[i + 1]; ++p) {
      const double value = jacobian.data()[p] = size * random.normal();
      if (p != pattern->diagonal[i]) sum += std::abs(value);
    }
    jacobian.data()[pattern->diagonal[i]] = dominance * sum;
  }
  return jacobian;
}

Vector random_vector(Eigen::Index n, std::uint64_t seed) {
  Random random(seed, 63);
  Vector v(n);
  for (double& x : v) x = random.normal();
  return v;
}
}  // namespace

// The factors of a floating-point elimination are the exact ones of a matrix that differs by at most k u
// |L||U| at a place whose sum has k terms (N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd
// ed., theorem 9.3); a reciprocal instead of a division adds two roundings.
TEST_CASE("fronts: the first nodes are eliminated on every vector target") {
  on_every_target([] {
    for (const auto& [rows, pivots] : {std::pair{1, 1},
                                       {2, 1},
                                       {5, 5},
                                       {7, 3},
                                       {8, 8},
                                       {9, 9},
                                       {13, 4},
                                       {16, 6},
                                       {17, 7},
                                       {23, 8},
                                       {31, 2},
                                       {40, 17},
                                       {61, 33},
                                       {97, 40},
                                       {130, 71},
                                       {201, 200},
                                       {330, 150},
                                       {540, 20}}) {
      INFO(rows << " rows, " << pivots << " pivots");
      const Matrix front = random_matrix(rows, static_cast<std::uint64_t>(rows), 3 * std::sqrt(rows));
      const Eigen::Index rest = rows - pivots;
      Matrix lower = front.leftCols(pivots), upper = front.topRows(pivots).transpose(),
             update = front.bottomRightCorner(rest, rest);
      // Nothing is written outside the arrays, and nothing is read above the diagonals.
      Vector largest = Vector::Constant(rows + 1, 7.0), room(kernels::front_room);
      for (Eigen::Index c = 0; c < pivots; ++c) {
        upper.col(c).head(c + 1).setConstant(std::nan(""));
        lower.col(c).head(c).setConstant(std::nan(""));
      }
      kernels::eliminate({static_cast<std::size_t>(rows), static_cast<std::size_t>(pivots), lower.data(),
                          upper.data(), update.data(), largest.data(), room.data()});
      CHECK(largest[rows] == 7.0);
      Extended L = Extended::Zero(rows, pivots), U = Extended::Zero(pivots, rows),
               left = Extended::Zero(rows, rows);
      left.bottomRightCorner(rest, rest) = update.cast<long double>();
      for (Eigen::Index c = 0; c < pivots; ++c) {
        L(c, c) = 1;
        U(c, c) = lower(c, c);
        L.col(c).tail(rows - c - 1) = lower.col(c).tail(rows - c - 1).cast<long double>();
        U.row(c).tail(rows - c - 1) = upper.col(c).tail(rows - c - 1).transpose().cast<long double>();
      }
      const Extended error = (L * U + left - front.cast<long double>()).cwiseAbs(),
                     scale = L.cwiseAbs() * U.cwiseAbs() + left.cwiseAbs();
      CHECK((error.array() <= (pivots + 3) * u * scale.array()).all());
      for (Eigen::Index c = 0; c < rows; ++c) {
        const Eigen::Index above = std::min<Eigen::Index>(c, pivots);
        CHECK(largest[c] ==
              (above == 0 ? 0.0 : static_cast<double>(U.col(c).head(above).cwiseAbs().maxCoeff())));
      }
    }
  });
}

// Backward error of solutions by LU: 3 n u |L||U| (Higham, theorem 9.4), with |L||U| at most 3 |M| where rows
// dominate, in practice far less than n.
TEST_CASE(
    "fronts: systems are solved both ways round on every vector target, whatever the pattern and the scale "
    "of rows") {
  on_every_target([] {
    for (const auto& [n, pairs] : {std::pair{1, 0}, {2, 0}, {30, 0}, {60, 100}, {200, 300}, {300, 5000}}) {
      INFO(n << " nodes, " << pairs << " pairs");
      const auto pattern = random_pattern(static_cast<std::size_t>(n), static_cast<std::size_t>(pairs), 3);
      const Ordering ordering(pattern);
      FrontalLu lu(ordering.fronts());
      for (const std::uint64_t seed : {1U, 2U}) {
        Jacobian jacobian = random_slope(pattern, seed, 1.1);
        if (n == 1) jacobian.data()[0] = -2.5;
        REQUIRE(lu.factor(jacobian, FrontalLu::Pivots::any));
        const Matrix M = jacobian.dense();
        const Vector b = random_vector(n, seed);
        for (const bool transposed : {false, true}) {
          Vector x = b;
          if (transposed) lu.solve_transposed(x);
          else lu.solve(x);
          const Matrix A = transposed ? Matrix(M.transpose()) : M;
          const Vector error = (A * x - b).cwiseAbs(), scale = A.cwiseAbs() * x.cwiseAbs() + b.cwiseAbs();
          CHECK((error.array() <= 3 * n * u * scale.maxCoeff()).all());
        }
      }
    }
  });
}

TEST_CASE("fronts: pivots that do not do on the diagonal are looked for, and what is singular is refused") {
  const auto pattern = random_pattern(40, 60, 5);
  const auto ordering = std::make_shared<const Ordering>(pattern);
  SolverCounts counts;
  SparseLu lu(ordering, counts);
  const Vector b = random_vector(40, 6);
  const auto check = [&](const Jacobian& jacobian) {
    REQUIRE(lu.factor(jacobian));
    const Matrix M = jacobian.dense();
    const double tolerance = 1e4 * u * Eigen::JacobiSVD<Matrix>(M).singularValues()[0] *
                             Eigen::PartialPivLU<Matrix>(M).inverse().norm() * b.norm();
    Vector x;
    lu.solve(b, x);
    CHECK((M * x - b).norm() < tolerance);
    lu.solve_transposed(b, x);
    CHECK((M.transpose() * x - b).norm() < tolerance);
  };
  check(random_slope(pattern, 7, 1.1));
  CHECK(counts.factored == 1);
  CHECK(counts.pivoted == 0);
  // No diagonal at all, and diagonals that let entries grow by 10^8 and 10^5.
  for (const double dominance : {0.0, 1e-8, 1e-5}) check(random_slope(pattern, 7, dominance));
  CHECK(counts.pivoted == 3);
  check(random_slope(pattern, 8, 1.1));
  CHECK(counts.factored == 2);
  Jacobian singular = random_slope(pattern, 7, 1.1);
  for (std::int32_t p = pattern->begin[3]; p < pattern->begin[4]; ++p) singular.data()[p] = 0;
  CHECK_FALSE(lu.factor(singular));
  Vector x;
  lu.solve(b, x);
  CHECK_FALSE(x.allFinite());
  // A conductance matrix without a leak: no row is empty and entries do not grow, but the sums of the rows
  // are 0.
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Jacobian afloat = random_slope(pattern, seed, 0);
    for (std::size_t i = 0; i < pattern->nodes(); ++i) {
      for (std::int32_t p = pattern->begin[i]; p < pattern->begin[i + 1]; ++p) {
        if (p != pattern->diagonal[i])
          afloat.data()[pattern->diagonal[i]] -= afloat.data()[p] = -std::abs(afloat.data()[p]);
      }
    }
    CHECK_FALSE(lu.factor(afloat));
  }
}

TEST_CASE("fronts: positive pivots are those of a positive definite matrix") {
  const auto pattern = random_pattern(50, 80, 9);
  const auto ordering = std::make_shared<const Ordering>(pattern);
  SolverCounts counts;
  SparseLu lu(ordering, counts);
  Jacobian jacobian = random_slope(pattern, 10, 0);
  for (std::size_t p = 0; p < pattern->entries(); ++p)
    jacobian.data()[pattern->mirror[p]] = jacobian.data()[p];
  const double least = Eigen::SelfAdjointEigenSolver<Matrix>(jacobian.dense(), Eigen::EigenvaluesOnly)
                           .eigenvalues()
                           .minCoeff();
  REQUIRE(least < 0);
  for (const double shift : {0.5, 0.9, 0.999, 1.001, 1.1, 2.0}) {
    Jacobian shifted = jacobian;
    shifted.add_to_diagonal(Vector::Constant(50, -shift * least));
    CHECK(lu.positive_definite(shifted) == (shift > 1));
  }
  // The earlier factorisation is discarded.
  CHECK_FALSE(lu.positive_definite(jacobian));
  Vector x;
  lu.solve(random_vector(50, 1), x);
  CHECK_FALSE(x.allFinite());
}
