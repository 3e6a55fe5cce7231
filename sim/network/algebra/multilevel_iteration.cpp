#include <cmath>
#include <limits>
#include <optional>

#include "algebra/contraction.hpp"
#include "algebra/multilevel.hpp"
#include "algebra/sparse_lu.hpp"

namespace ness::sim {

namespace {
// residual relative to the right side; its own rounding error is about 1e-15
constexpr double tolerance = 1e-11;
constexpr double rough = 1e-3;  // enough for a scaling, which is verified separately
constexpr int longest = 120;    // iterations; a good preconditioner needs 5 to 25

// BiCGSTAB (H. van der Vorst, SIAM J. Sci. Stat. Comput. 13 (1992) 631), preconditioned from the right.
// Eigen's BiCGSTAB is not used: it takes the preconditioner by value and does not reuse its vectors.
class BiCgStab {
 public:
  /// Starts from x = 0. Stops at |b - A x| <= tolerance |b|; false if that is not reached.
  bool solve(const Multilevel::Sparse& A, const Multilevel& preconditioner, const Vector& b,
             double tolerance_here, Vector& x, std::uint64_t& cycles) {
    x.setZero(b.size());
    const double size = b.norm();
    if (size == 0) return true;
    if (!std::isfinite(size)) return false;
    r_ = b;
    // A second run starts from the true residual, in case the recursion has drifted from it.
    for (int run = 0, iteration = 0; run < 3; ++run) {
      shadow_ = r_;
      double rho = 0, alpha = 0, omega = 0;
      for (bool first = true; iteration < longest; ++iteration, first = false) {
        const double before = rho;
        rho = shadow_.dot(r_);
        if (first) {
          p_ = r_;
        } else {
          if (before == 0 || omega == 0 || !std::isfinite(rho)) break;
          p_ = r_ + (rho / before) * (alpha / omega) * (p_ - omega * v_);
        }
        preconditioner.apply(p_, y_);
        v_.noalias() = A * y_;
        alpha = rho / shadow_.dot(v_);
        if (!std::isfinite(alpha)) return false;
        x += alpha * y_;
        r_ -= alpha * v_;
        ++cycles;
        if (r_.norm() <= tolerance_here * size) break;
        preconditioner.apply(r_, z_);
        t_.noalias() = A * z_;
        omega = t_.dot(r_) / t_.squaredNorm();
        if (!std::isfinite(omega)) return false;
        x += omega * z_;
        r_ -= omega * t_;
        ++cycles;
        const double left = r_.norm();
        if (left <= tolerance_here * size) break;
        if (!(left < 1e8 * size)) return false;
      }
      r_ = b;
      r_.noalias() -= A * x;
      if (r_.norm() <= tolerance_here * size) return true;
      if (iteration >= longest) return false;
    }
    return false;
  }

 private:
  Vector r_, shadow_, p_, v_, y_, z_, t_;
};

class MultilevelSolver final : public LinearSolver, public Counting {
 public:
  explicit MultilevelSolver(std::shared_ptr<const Ordering> ordering)
      : ordering_(std::move(ordering)), contraction_(ordering_) {}

  bool factor(const Jacobian& matrix) override {
    fallback_ready_ = false;
    if (known_ && matrix.values() == kept_.values()) {
      ++counts.reused;
      return true;
    }
    known_ = usable_ = transposed_usable_ = false;
    if (!matrix.finite()) return false;
    kept_ = matrix;
    known_ = true;
    prepare(matrix, matrix_, preconditioner_, usable_);
    // If the preconditioner cannot be set up, LU is used from the start.
    return usable_ || fall_back();
  }

  void solve(const Vector& b, Vector& x) override {
    answer(matrix_, preconditioner_, usable_, b, x, [&] { lu_->solve(b, x); });
  }

  void solve_transposed(const Vector& b, Vector& x) override {
    if (known_ && !fallback_ready_ && !transposed_usable_) {
      Jacobian mirrored = kept_;
      for (std::size_t p = 0; p < mirrored.values().size(); ++p)
        mirrored.data()[p] = kept_.values()[kept_.pattern()->mirror[p]];
      prepare(mirrored, transposed_, transposed_preconditioner_, transposed_usable_);
    }
    answer(transposed_, transposed_preconditioner_, transposed_usable_, b, x,
           [&] { lu_->solve_transposed(b, x); });
  }

  bool contracting(const Jacobian& jacobian) override {
    return contraction_.shown(
        jacobian,
        [&](const Jacobian& comparison, Vector& d) {
          // No fallback to LU: if the iteration fails, the matrix is not an M-matrix, or only marginally.
          if (!known_ || comparison.values() != kept_.values()) {
            known_ = fallback_ready_ = transposed_usable_ = false;
            kept_ = comparison;
            known_ = true;
            prepare(comparison, matrix_, preconditioner_, usable_);
          }
          if (!usable_) return false;
          ++counts.solved;
          return iteration_.solve(matrix_, preconditioner_, Vector::Ones(comparison.size()), rough, d,
                                  counts.cycles);
        },
        [&](const Jacobian& symmetric) {
          fallback_ready_ = false;
          return lu().positive_definite(symmetric);
        },
        counts);
  }

  void forget() override {
    known_ = fallback_ready_ = usable_ = transposed_usable_ = false;
    if (lu_) lu_->forget();
    contraction_.forget();
  }

 private:
  void prepare(const Jacobian& jacobian, Multilevel::Sparse& matrix, Multilevel& preconditioner,
               bool& usable) {
    matrix = jacobian.compressed();
    ++counts.set_up;
    usable = preconditioner.set_up(matrix);
  }
  // Solves by iteration, or by LU if that fails.
  template <class ByLu>
  void answer(const Multilevel::Sparse& matrix, const Multilevel& preconditioner, bool usable,
              const Vector& b, Vector& x, ByLu by_lu) {
    if (known_ && !fallback_ready_ && usable) {
      ++counts.solved;
      if (iteration_.solve(matrix, preconditioner, b, tolerance, x, counts.cycles)) return;
    }
    if (known_ && fall_back()) {
      by_lu();
    } else {
      x = Vector::Constant(b.size(), std::numeric_limits<double>::quiet_NaN());
    }
  }
  bool fall_back() {
    if (fallback_ready_) return true;
    ++counts.fallbacks;
    return fallback_ready_ = lu().factor(kept_);
  }
  SparseLu& lu() {
    if (!lu_) lu_.emplace(ordering_, counts);
    return *lu_;
  }

  std::shared_ptr<const Ordering> ordering_;
  Contraction contraction_;
  Jacobian kept_;
  bool known_ = false, usable_ = false, transposed_usable_ = false, fallback_ready_ = false;
  Multilevel::Sparse matrix_, transposed_;
  Multilevel preconditioner_, transposed_preconditioner_;
  BiCgStab iteration_;
  std::optional<SparseLu> lu_;
};
}  // namespace

std::unique_ptr<LinearSolver> multilevel_iteration(std::shared_ptr<const Ordering> ordering) {
  return std::make_unique<MultilevelSolver>(std::move(ordering));
}

}  // namespace ness::sim
