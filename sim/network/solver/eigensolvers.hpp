// The eigenvalue solvers of Eigen and Spectra. Each is compiled once, in its own source: compiling one takes
// 0.5 GB and 10 s.
#pragma once

#include <complex>
#include <optional>

#include "ness/device/vector.hpp"

namespace ness::sim {

struct Rightmost {
  std::complex<double> value;
  Vector direction;  ///< real part of the eigenvector, if requested
};
/// The eigenvalue of a real matrix with the largest real part (QR); empty if the iteration did not converge.
std::optional<Rightmost> rightmost_of(const Matrix& matrix, bool vector);

/// x -> (M - sigma)^-1 x of a large matrix M.
class ShiftedInverse {
 public:
  virtual ~ShiftedInverse() = default;
  virtual Eigen::Index size() const = 0;
  virtual void set_shift(double sigma) = 0;
  virtual void apply(const double* in, double* out) const = 0;
};
struct Nearest {
  Eigen::VectorXcd values;  ///< by decreasing real part; fewer than wanted: the iteration did not converge
  Vector direction;         ///< real part of the first one's eigenvector, if requested
};
/// The `wanted` eigenvalues of M nearest to sigma, by Arnoldi's method (Spectra). Throws what `inverse`
/// throws.
Nearest nearest_to(ShiftedInverse& inverse, double sigma, Eigen::Index wanted, const Vector& start,
                   bool vector);

}  // namespace ness::sim
