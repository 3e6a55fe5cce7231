// Batches of relaxations of one network in vector code (batch_kernels.hpp): a network compiled for it, parameters prepared once per
// update, samples laid out.
//
// For networks of quantum dots at one temperature without common-mode lever arms. Input currents of a node are a function of its own
// potential alone: what they would be if every input had its commonest level is a Chebyshev series, made once per update; inputs at other
// levels are added edge by edge. "Converged" is judged by the exact law over all edges.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "batch_kernels.hpp"
#include "ness/core/drive.hpp"
#include "ness/sim/steady_state.hpp"
#include "network_impl.hpp"

namespace ness::sim::batches {

template <class T>
class Batch {
 public:
  /// Empty if a network can be relaxed in batches; otherwise why not.
  static std::string problem(const Network::Impl& impl);
  explicit Batch(const Network::Impl& impl);

  struct Prepared;

  /// What relax found of a sample. Samples that did not converge here have to be relaxed by the reference solver.
  struct Found {
    bool converged = false, contracting = true, followed = false;
    double bound = 0, displacement = 0, time = 0;
    std::uint32_t exact = 0;
  };
  /// Relaxes samples under one parameter vector. clamp [n_clamped], start [n_free], inject [n_free] or empty; potential receives [n_free].
  void relax(const std::shared_ptr<const Vector>& theta, std::span<const Vector> clamp, std::span<const Vector> start, std::span<const Vector> inject,
             const std::vector<bool>& restored, const SteadyStateOptions& options, unsigned threads, std::span<Vector> potential, std::span<Found> found) const;

  /// Costates lambda = R^T c of samples (a singular one's is NaN and counts as zero), and -sum lambda^T dI/dtheta added to `gradient`.
  /// cotangent empty: the costates are given.
  void pull(const std::shared_ptr<const Vector>& theta, std::span<const Vector> clamp, std::span<const Vector> potential, std::span<const Vector> cotangent,
            std::span<Vector> costate, Eigen::Ref<Vector> gradient, unsigned threads) const;

 private:
  std::shared_ptr<const Prepared> prepared(const std::shared_ptr<const Vector>& theta) const;

  const Network::Impl& impl_;
  Shape shape_;
  std::vector<std::uint32_t> position_;  ///< of each free index in the order of elimination
  std::vector<std::uint32_t> free_of_;   ///< free index of each position
  std::vector<std::uint32_t> fed_, source_, target_, source_target_, target_source_;
  std::unique_ptr<bool[]> repeated_;
  struct Place {
    std::int64_t gamma = -1, a = -1, b = -1;  ///< in theta; gamma -1: no edge
    bool reversed = false;                    ///< from the free node into the clamped one: the current of the edge turned round, b of the other sign
  };
  std::vector<Place> input_place_;  ///< [blocks][inputs][16]
  std::vector<Place> edge_place_;   ///< [edges]
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const Prepared> last_;
};

}  // namespace ness::sim::batches
