// The eigenvalue on which the stability of a steady state depends.
#pragma once

#include <limits>

#include "ness/network/network.hpp"

namespace ness::sim {

/// The eigenvalue of C^-1 G with the largest real part (held nodes left out), and its eigenvector.
struct Leading {
  double real = std::numeric_limits<double>::quiet_NaN();  ///< of the rightmost eigenvalue found
  /// Upper bound of the real parts of all eigenvalues; equals `real` if that is proved to be the largest.
  double bound = std::numeric_limits<double>::quiet_NaN();
  double modulus = 0;  ///< of the eigenvalue
  Vector direction;    ///< real part of the eigenvector, largest entry 1
};

/// Leading eigenvalue of a network at a state with this dI/dmu; the boundary must have been imposed on the
/// workspace. Small networks: all eigenvalues (QR). Large networks: the eigenvalues nearest to a real shift
/// right of all of them, by Arnoldi's method (Spectra); their number is increased until no other eigenvalue
/// can have a larger real part. The workspace loses its factorisation.
Leading leading_eigenvalue(const Network& network, Network::Workspace& work, const Vector& potential,
                           const Jacobian& jacobian, bool vector);

}  // namespace ness::sim
