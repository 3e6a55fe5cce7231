// How a steady state depends on what is imposed: first derivatives, exact.
#pragma once

#include "ness/network/network.hpp"

namespace ness::sim {

/// The net outgoing current of every node at some potentials, and its first derivatives: by the potentials of
/// the free nodes, by the clamped levels, by the parameters. Rows are nodes in node order; a free node's
/// current includes its leak, g (mu - mu_ref). With the rows of the free nodes current = I(mu, theta),
/// by_potential = dI/dmu = -G, by_parameter = dI/dtheta; a clamped node's current is what its source feeds
/// into the network.
struct Linearisation {
  Vector current;       ///< [n_nodes]
  Matrix by_potential;  ///< [n_nodes x n_free]
  Matrix by_clamp;      ///< [n_nodes x n_clamped]
  Matrix by_parameter;  ///< [n_nodes x n_parameters]; derivatives that do not exist (an inhibition constant
                        ///< at infinity) are 0
};
/// At the potentials [n_free] of the free nodes, held ones included. By the scalar edge laws; the size of
/// by_parameter is for networks of up to thousands of parameters.
Linearisation linearised(const Network& network, const Boundary& boundary, const Vector& potential);

/// First derivatives of a steady state's potentials; rows of held nodes are 0, for they do not move.
struct Sensitivity {
  Matrix by_parameter;  ///< d mu/d theta [n_free x n_parameters] = -R dI/dtheta
  Matrix by_clamp;      ///< d mu/d x [n_free x n_clamped] = -R dI/dx
  Matrix response;      ///< R = d mu/d u = (dI/dmu)^-1 [n_free x n_free], rows and columns of held nodes 0
};
/// Of a steady state under a boundary, where I(mu, theta) = u (implicit function theorem). Where dI/dmu is
/// singular (a fold) all are NaN.
Sensitivity sensitivity(const Network& network, const Boundary& boundary, const Linearisation& at);
Sensitivity sensitivity(const Network& network, const Boundary& boundary, const Vector& potential);

}  // namespace ness::sim
