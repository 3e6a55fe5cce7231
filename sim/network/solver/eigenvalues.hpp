// The eigenvalue on which the stability of a steady state depends.
#pragma once

#include <limits>

#include "ness/network/network.hpp"

namespace ness::sim {

/// The eigenvalue of C^-1 G with the largest real part (held nodes left out), and its eigenvector.
struct Leading {
  double real = std::numeric_limits<double>::quiet_NaN();   ///< of the rightmost eigenvalue found
  double bound = std::numeric_limits<double>::quiet_NaN();  ///< no eigenvalue has a larger real part; equals `real` where that is the largest of all
  double modulus = 0;   ///< of the eigenvalue
  Vector direction;     ///< real part of the eigenvector, largest entry 1
};

/// Of a network at a state with this dI/dmu, whose boundary has been imposed on the workspace. Small networks: all eigenvalues (QR).
/// Large ones: those nearest to a real shift right of all of them, by Arnoldi's method (Spectra), until the disc that holds no others covers
/// the part of the plane where any with a larger real part would have to lie. Forgets a factorisation.
Leading leading_eigenvalue(const Network& network, Network::Workspace& work, const Vector& potential, const Jacobian& jacobian, bool vector);

}  // namespace ness::sim
