// Batches of relaxations of one network in vector code (batch_kernels.hpp): a network compiled for it, parameters prepared once per
// update, samples laid out.
//
// For networks of quantum dots at one temperature without common-mode lever arms. Input currents of a node are a function of its own
// potential alone: what they would be if every input had its commonest level is a Chebyshev series, made once per update; inputs at other
// levels are added edge by edge. Restored states settle on expansions of that function around themselves; the others follow the relaxation
// in time, on such expansions where they are few and were restored, else on series over the whole interval. "Converged" is judged by the exact law over all edges.
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

/// Empty if a network can be relaxed in batches; otherwise why not.
std::string problem(const Network::Impl& impl);

/// Immutable; its calls are thread-safe.
class Batch {
 public:
  virtual ~Batch() = default;

  /// What relax found of a sample. Samples that did not converge here have to be relaxed by the reference solver.
  struct Found {
    bool converged = false, contracting = true, followed = false;
    double bound = 0, displacement = 0, time = 0;
    std::uint32_t exact = 0;  ///< evaluations of the exact law over all edges
  };
  /// Relaxes samples under one parameter vector. clamp: patterns of n_clamped levels, start [n_free], inject [n_free] or null, or none at all; potential receives [n_free].
  virtual void relax(const std::shared_ptr<const Vector>& theta, std::span<const Pattern> clamp, std::span<const Vector* const> start, std::span<const Vector* const> inject,
                     const std::vector<bool>& restored, const SteadyStateOptions& options, unsigned threads, std::span<Vector> potential, std::span<Found> found) const = 0;

  /// Costates lambda = R^T c of samples, and -sum lambda^T dI/dtheta added to `gradient`. cotangent empty: the costates are given. Returns the
  /// samples that are left to the reference solver, of which nothing was added: those whose elimination failed, and those of levels or
  /// potentials beyond what the series and the precision hold for (a reading that noise took out of the range of steady states, say).
  virtual std::vector<std::uint32_t> pull(const std::shared_ptr<const Vector>& theta, std::span<const Pattern> clamp, std::span<const Vector> potential, std::span<const Vector> cotangent,
                    std::span<Vector> costate, Eigen::Ref<Vector> gradient, unsigned threads) const = 0;
};

/// In single (float) or double precision.
template <class T>
std::shared_ptr<const Batch> make(const Network::Impl& impl);
/// The batch of a network that all who relax it share, with what it keeps of a parameter vector. Throws std::invalid_argument with
/// problem(); null where batches are off. It must not outlive the network.
std::shared_ptr<const Batch> shared(const Network::Impl& impl, Batches kind);

}  // namespace ness::sim::batches
