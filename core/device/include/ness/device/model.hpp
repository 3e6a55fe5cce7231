// A model: what an estimator may know of the device's inside.
#pragma once

#include <span>
#include <vector>

#include "ness/device/drive.hpp"
#include "ness/device/vector.hpp"

namespace ness {

/// The equations of a network: its conductance matrix and how its currents depend on the parameters.
///
/// I(mu, theta) [n_free] is the net outgoing current of each free node, leaks included; a steady state under
/// injected currents u obeys I = u. Potentials are those of all free nodes, in terminal order.
class Model {
 public:
  virtual ~Model() = default;

  /// Number of free nodes, and of parameters.
  virtual std::size_t free_nodes() const = 0;
  virtual std::size_t parameters() const = 0;

  /// The currents I [n_free] at the given potentials, injected ones not counted in (Eq. 3 with leaks,
  /// outgoing positive).
  virtual Vector currents(const Drive& drive, const Vector& potential) const = 0;

  /// The conductance matrix G = -dI/dmu, [n_free x n_free] (Eq. 7 of arXiv 2605.15985), at the given
  /// potentials.
  virtual Matrix conductance(const Drive& drive, const Vector& potential) const = 0;

  /// Costates lambda = R^T c with R = (dI/dmu)^-1, one for each drive: the solution of (dI/dmu)^T lambda = c
  /// (the currents' form of Eq. 13). cotangent[i] is c = dL/dmu, [n_free]. A singular matrix gives a costate
  /// of NaN.
  virtual void costates(std::span<const Drive> drives, std::span<const Vector> potential,
                        std::span<const Vector> cotangent, std::span<Vector> costate) const;

  /// Adds -sum_i costate_i^T dI/dtheta (drive_i, potential_i) to `gradient` [n_parameters] (the currents'
  /// form of Eq. 14). The order of summation depends on the order of the drives alone, never on threads.
  virtual void add_gradient(std::span<const Drive> drives, std::span<const Vector> potential,
                            std::span<const Vector> costate, Eigen::Ref<Vector> gradient) const = 0;

  /// costates() and add_gradient() of the samples whose costate is finite, in one call: a model that finds
  /// what both need but once overrides it.
  virtual void add_adjoint_gradient(std::span<const Drive> drives, std::span<const Vector> potential,
                                    std::span<const Vector> cotangent, std::span<Vector> costate,
                                    Eigen::Ref<Vector> gradient) const;
};

}  // namespace ness
