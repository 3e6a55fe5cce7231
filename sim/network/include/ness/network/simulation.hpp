// The simulated network as a device, and as a model of itself.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ness/device/device.hpp"
#include "ness/device/model.hpp"
#include "ness/network/network.hpp"
#include "ness/network/steady_state.hpp"
#include "ness/network/transient.hpp"

namespace ness::sim {

/// Relaxations of many samples side by side in vector code. For networks of quantum dots at one temperature
/// with d = 0 that a dense elimination solves.
///
/// Every state is checked with the exact law over all edges and proved stable as the reference solver does
/// (in single precision with bounds on the error of the slopes where these suffice). The reference solver
/// takes over what does not converge, and every drive that holds nodes, overrides parameters, starts at the
/// device's present state or from rest at a finite rate, or reads at a stated time; also gradients at
/// readings outside the range of steady states, and levels and readings beyond 30 kT T.
///
/// Potentials differ from the reference solver's by the rounding of sums of currents, and by the square of
/// the last Newton correction (in single precision also by that correction times the error of the slopes): at
/// most 2e-5 kT in single precision for conductances around 1. Which samples are relaxed in one call changes
/// them by as much; the number of threads changes nothing.
enum class Batches : std::uint8_t {
  off,               ///< sample by sample: the reference solver
  single_precision,  ///< a SteadyStateOptions::tolerance below 1e-3 kT is taken as 1e-3 kT: single precision
                     ///< resolves no less
  double_precision,
};
const char* to_string(Batches batches);

struct SimulationOptions {
  SteadyStateOptions steady_state{};
  TransientOptions transient{};
  unsigned threads = 0;  ///< 0: all cores. The results do not depend on it.
  Batches batches = Batches::off;
};

namespace batches {
class Batch;
}

/// Network equations as a Model (exact derivatives). Safe to use from several threads.
class NetworkModel final : public Model {
 public:
  /// With batches gradients are summed in their precision (relative error of the sum at most 3e-5 in single,
  /// typically 1e-6; more where costates are large). Throws std::invalid_argument for batches of a network
  /// they cannot compute.
  explicit NetworkModel(std::shared_ptr<const Network> network, unsigned threads = 0,
                        Batches batches = Batches::off);
  std::size_t free_nodes() const override;
  std::size_t parameters() const override;
  Vector currents(const Drive& drive, const Vector& potential) const override;
  Matrix conductance(const Drive& drive, const Vector& potential) const override;
  void costates(std::span<const Drive> drives, std::span<const Vector> potential,
                std::span<const Vector> cotangent, std::span<Vector> costate) const override;
  void add_gradient(std::span<const Drive> drives, std::span<const Vector> potential,
                    std::span<const Vector> costate, Eigen::Ref<Vector> gradient) const override;
  void add_adjoint_gradient(std::span<const Drive> drives, std::span<const Vector> potential,
                            std::span<const Vector> cotangent, std::span<Vector> costate,
                            Eigen::Ref<Vector> gradient) const override;

 private:
  void add_exact_gradient(std::span<const Drive> drives, std::span<const Vector> potential,
                          std::span<const Vector> costate, Eigen::Ref<Vector> gradient) const;

  std::shared_ptr<const Network> network_;
  unsigned threads_;
  std::shared_ptr<const batches::Batch> batch_;
};

/// A simulated network. It restores states, reads every free potential, and can inject at and hold every free
/// node. For held nodes it reports the current that the holder supplies: I - u, the net outgoing current
/// (leak included) less what is injected there. Where all free nodes are held, nothing relaxes and a
/// relaxation is one evaluation. Drives are computed on all cores; results come in index order and do not
/// depend on the number of threads.
class Simulation final : public Device {
 public:
  /// Throws std::invalid_argument: no network, options out of range, batches for a network they cannot
  /// compute.
  explicit Simulation(std::shared_ptr<const Network> network, const SimulationOptions& options = {});
  ~Simulation() override;
  const DeviceInfo& info() const override;
  std::shared_ptr<const Network> network() const;

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The boundary a drive imposes on a network; `theta` receives the full vector where the drive has overrides.
Boundary boundary_of(const Network& network, const Drive& drive, Vector& theta);

}  // namespace ness::sim
