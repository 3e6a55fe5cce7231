#include "solver/eigenvalues.hpp"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <optional>
#include <stdexcept>
#include <vector>

#include "ness/network/rosenbrock.hpp"
#include "solver/eigensolvers.hpp"

namespace ness::sim {

namespace {
// With fewer moving nodes than this, a dense matrix is used in any network.
constexpr std::size_t few = 100;

void keep_direction(const Vector& of_moving, const std::vector<Eigen::Index>& moving, Eigen::Index n,
                    Leading& leading) {
  Eigen::Index largest = 0;
  of_moving.cwiseAbs().maxCoeff(&largest);
  leading.direction = Vector::Zero(n);
  for (std::size_t i = 0; i < moving.size(); ++i)
    leading.direction[moving[i]] = of_moving[static_cast<Eigen::Index>(i)] / of_moving[largest];
}

Leading of_all(const Vector& capacity, const Matrix& jacobian, const std::vector<Eigen::Index>& moving,
               bool vector) {
  Leading leading;
  const Vector C = capacity(moving);
  const Matrix J = -(C.cwiseInverse().asDiagonal() * Matrix(jacobian(moving, moving)));
  const std::optional<Rightmost> found = rightmost_of(J, vector);
  if (!found) return leading;
  leading.real = leading.bound = found->value.real();
  leading.modulus = std::abs(found->value);
  if (vector) keep_direction(found->direction, moving, capacity.size(), leading);
  return leading;
}

// A region that contains all eigenvalues of C^-1 G. With B = C^-1/2 (dI/dmu) C^-1/2, which is similar to
// -C^-1 G, real parts are at most the largest eigenvalue of -(B + B^T)/2, and imaginary parts at most the
// norm of (B - B^T)/2 (Bendixson). Both are bounded by Gershgorin's circles.
struct Region {
  double right = 0, height = 0, largest = 0;
};
Region region_of(const Jacobian& jacobian, const Vector& C, const std::vector<bool>& held) {
  const JacobianPattern& pattern = *jacobian.pattern();
  const std::vector<double>& a = jacobian.values();
  Region region{-std::numeric_limits<double>::infinity(), 0, 0};
  for (std::size_t i = 0; i < pattern.nodes(); ++i) {
    if (held[i]) continue;
    const double own = a[pattern.diagonal[i]] / C[static_cast<Eigen::Index>(i)];
    double symmetric = 0, skew = 0;
    for (std::int32_t p = pattern.begin[i]; p < pattern.begin[i + 1]; ++p) {
      const auto j = static_cast<std::size_t>(pattern.column[p]);
      if (j == i || held[j]) continue;
      const double scale = 0.5 / std::sqrt(C[static_cast<Eigen::Index>(i)] * C[static_cast<Eigen::Index>(j)]);
      symmetric += scale * std::abs(a[p] + a[pattern.mirror[p]]);
      skew += scale * std::abs(a[p] - a[pattern.mirror[p]]);
    }
    region.right = std::max(region.right, symmetric - own);
    region.height = std::max(region.height, skew);
    region.largest = std::max(region.largest, std::abs(own));
  }
  return region;
}

// (C^-1 G - sigma)^-1 = -(dI/dmu + sigma C)^-1 C, for vectors that are zero at held nodes.
class ShiftedSolve final : public ShiftedInverse {
 public:
  ShiftedSolve(const Network& network, Network::Workspace& work, const Jacobian& jacobian, const Vector& C,
               const std::vector<bool>& held)
      : network_(network), work_(work), jacobian_(jacobian), C_(C), held_(held) {}
  Eigen::Index size() const override { return C_.size(); }
  void set_shift(double sigma) override {
    Jacobian shifted = jacobian_;
    shifted.add_to_diagonal(C_ * sigma);
    if (!network_.factor(work_, shifted)) throw std::runtime_error("singular");
  }
  void apply(const double* in, double* out) const override {
    b_ = Eigen::Map<const Vector>(in, size()).cwiseProduct(C_);
    for (Eigen::Index k = 0; k < b_.size(); ++k) {
      if (held_[static_cast<std::size_t>(k)]) b_[k] = 0;
    }
    network_.solve(work_, b_, x_);
    if (!x_.allFinite()) throw std::runtime_error("unsolved");
    Eigen::Map<Vector>(out, size()) = -x_;
  }

 private:
  const Network& network_;
  Network::Workspace& work_;
  const Jacobian& jacobian_;
  const Vector& C_;
  const std::vector<bool>& held_;
  mutable Vector b_, x_;
};

Leading of_nearest(const Network& network, Network::Workspace& work, const Vector& C,
                   const Jacobian& jacobian, const std::vector<bool>& held,
                   const std::vector<Eigen::Index>& moving, bool vector) {
  const Region region = region_of(jacobian, C, held);
  Leading leading;
  if (!std::isfinite(region.right) || !std::isfinite(region.height)) return leading;
  // The shift is right of all eigenvalues. It is so far right that a disc around it reaches hardly further
  // left on the real axis than where it crosses the border of the region.
  const double sigma = 1.01 * std::max(region.right, 4 * region.height) + 1e-3 * region.largest;
  ShiftedSolve operation(network, work, jacobian, C, held);
  Vector start = Vector::Zero(C.size());
  // The start needs a component along each eigenvector, so it has no symmetry.
  for (std::size_t i = 0; i < moving.size(); ++i)
    start[moving[i]] =
        1 + 0.5 * std::sin(0.7 * static_cast<double>(i + 1) * static_cast<double>(i % 101 + 1));
  leading.bound = region.right;
  for (Eigen::Index wanted = 6; wanted <= 96 && 3 * wanted < static_cast<Eigen::Index>(moving.size());
       wanted *= 2) {
    try {
      const Nearest nearest = nearest_to(operation, sigma, wanted, start, vector);
      if (nearest.values.size() < wanted) continue;
      const Eigen::VectorXcd& found = nearest.values;
      leading.real = found[0].real();
      leading.modulus = std::abs(found[0]);
      if (vector) keep_direction(Vector(nearest.direction(moving)), moving, C.size(), leading);
      // All eigenvalues not found are at least as far from the shift as the furthest found.
      const double radius = (found.array() - sigma).abs().maxCoeff();
      const double reach = radius > region.height
                               ? sigma - std::sqrt(radius * radius - region.height * region.height)
                               : region.right;
      leading.bound = std::max(leading.real, std::min(reach, region.right));
      if (reach <= leading.real) break;
    } catch (const std::runtime_error&) {
      break;  // keep what was found so far
    }
  }
  return leading;
}
}  // namespace

Leading leading_eigenvalue(const Network& network, Network::Workspace& work, const Vector& potential,
                           const Jacobian& jacobian, bool vector) {
  const std::vector<bool> held = held_nodes(work);
  std::vector<Eigen::Index> moving;
  for (Eigen::Index k = 0; k < potential.size(); ++k) {
    if (!held[static_cast<std::size_t>(k)]) moving.push_back(k);
  }
  Leading leading;
  if (moving.empty()) {
    leading.real = leading.bound = -std::numeric_limits<double>::infinity();
    return leading;
  }
  const Vector capacity = network.capacity(potential);
  if (!jacobian.sparse()) return of_all(capacity, jacobian.full(), moving, vector);
  if (moving.size() > few) return of_nearest(network, work, capacity, jacobian, held, moving, vector);
  Matrix block =
      Matrix::Zero(static_cast<Eigen::Index>(moving.size()), static_cast<Eigen::Index>(moving.size()));
  const JacobianPattern& pattern = *jacobian.pattern();
  for (std::size_t i = 0; i < moving.size(); ++i) {
    for (std::int32_t p = pattern.begin[static_cast<std::size_t>(moving[i])];
         p < pattern.begin[static_cast<std::size_t>(moving[i]) + 1]; ++p) {
      const auto j =
          std::lower_bound(moving.begin(), moving.end(), pattern.column[static_cast<std::size_t>(p)]);
      if (j != moving.end() && *j == pattern.column[static_cast<std::size_t>(p)])
        block(static_cast<Eigen::Index>(i), j - moving.begin()) =
            jacobian.values()[static_cast<std::size_t>(p)];
    }
  }
  std::vector<Eigen::Index> every(moving.size());
  for (std::size_t i = 0; i < every.size(); ++i) every[i] = static_cast<Eigen::Index>(i);
  leading = of_all(Vector(capacity(moving)), block, every, vector);
  if (vector && leading.direction.size() > 0) {
    const Vector direction = std::move(leading.direction);
    leading.direction = Vector::Zero(potential.size());
    leading.direction(moving) = direction;
  }
  return leading;
}

}  // namespace ness::sim
