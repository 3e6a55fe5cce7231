// Batches of relaxations of one network in vector code (batch_kernels.hpp): compiles the network, prepares
// the parameters once per update, and lays out the samples.
//
// Batches are for networks of quantum dots at one temperature without common-mode lever arms. The input
// current of a node is a function of the node's own potential. Its main part, with every input at its
// commonest level, is a Chebyshev series, computed once per update; inputs at other levels are added edge by
// edge. Restored states settle on expansions of this function around themselves. The others follow the
// relaxation in time: on such expansions if they are few and were restored, else on series over the whole
// interval. The exact law over all edges decides whether a state has converged.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ness/device/pattern.hpp"
#include "ness/network/simulation.hpp"
#include "description/network_impl.hpp"

namespace ness::sim::batches {

/// Empty if the network can be relaxed in batches; otherwise the reason why not.
std::string problem(const Network::Impl& impl);

/// Immutable; its calls are thread-safe.
class Batch {
 public:
  virtual ~Batch() = default;

  /// Result of relax for a sample. Samples that did not converge must be relaxed by the reference solver.
  struct Found {
    bool converged = false, contracting = true, followed = false;
    double bound = 0, displacement = 0, time = 0;
    std::uint32_t exact = 0;  ///< evaluations of the exact law over all edges
  };
  /// Relaxes samples under one parameter vector. clamp: patterns of n_clamped levels; start: [n_free];
  /// inject: [n_free] or null, or empty for none; potential: receives [n_free].
  virtual void relax(const std::shared_ptr<const Vector>& theta, std::span<const Pattern> clamp,
                     std::span<const Vector* const> start, std::span<const Vector* const> inject,
                     const std::vector<bool>& restored, const SteadyStateOptions& options, unsigned threads,
                     std::span<Vector> potential, std::span<Found> found) const = 0;

  /// Computes costates lambda = R^T c of samples, and adds -sum lambda^T dI/dtheta to `gradient`. If
  /// cotangent is empty, the costates are given. Returns the samples left to the reference solver, which add
  /// nothing to the gradient: those whose elimination failed, and those with levels or potentials outside the
  /// range of the series and the precision (for example a noisy reading outside the range of steady states).
  virtual std::vector<std::uint32_t> pull(const std::shared_ptr<const Vector>& theta,
                                          std::span<const Pattern> clamp, std::span<const Vector> potential,
                                          std::span<const Vector> cotangent, std::span<Vector> costate,
                                          Eigen::Ref<Vector> gradient, unsigned threads) const = 0;
};

/// In single (float) or double precision.
template <class T>
std::shared_ptr<const Batch> make(const Network::Impl& impl);
/// The batch of a network, shared by all callers that relax it, including what it keeps of a parameter
/// vector. Throws std::invalid_argument with problem(); null if batches are off. The network must outlive it.
std::shared_ptr<const Batch> shared(const Network::Impl& impl, Batches kind);

}  // namespace ness::sim::batches
