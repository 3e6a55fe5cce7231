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

/// Relaxations of many samples side by side in vector code, for networks of quantum dots at one temperature with d = 0 that a dense
/// elimination solves. Every state is judged by the exact law over all edges and certified as the reference solver's are (in single
/// precision for all slopes that an expansion's error allows, where the exact law's are not needed); what does not converge so, and every
/// drive that holds nodes, overrides parameters, starts where the device is or from rest at a finite rate, or reads at a time, is left to the
/// reference solver; so are gradients at readings outside the range of steady states, and at levels and readings beyond 30 kT T.
/// Potentials differ from the reference solver's by the rounding of sums of currents in the precision, and by the square of the last Newton
/// correction (in single precision also by as much of it as slopes are off by, 1e-5 kT): at most 2e-5 kT in single precision on networks of
/// conductances around 1. Which samples are relaxed in one call changes them by as much, the number of threads by nothing.
enum class Batches : std::uint8_t {
  off,               ///< sample by sample: the reference solver
  single_precision,  ///< SteadyStateOptions::tolerance counts from 1e-3 kT on: less is below what single precision resolves
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
  /// With batches gradients are summed in their precision (relative error of the sum at most 3e-5 in single, typically 1e-6; more where
  /// costates are large). Throws std::invalid_argument where they do not serve the network.
  explicit NetworkModel(std::shared_ptr<const Network> network, unsigned threads = 0, Batches batches = Batches::off);
  std::size_t free_nodes() const override;
  std::size_t parameters() const override;
  Vector currents(const Drive& drive, const Vector& potential) const override;
  Matrix conductance(const Drive& drive, const Vector& potential) const override;
  void costates(std::span<const Drive> drives, std::span<const Vector> potential, std::span<const Vector> cotangent,
                std::span<Vector> costate) const override;
  void add_gradient(std::span<const Drive> drives, std::span<const Vector> potential, std::span<const Vector> costate,
                    Eigen::Ref<Vector> gradient) const override;
  void add_adjoint_gradient(std::span<const Drive> drives, std::span<const Vector> potential, std::span<const Vector> cotangent,
                            std::span<Vector> costate, Eigen::Ref<Vector> gradient) const override;

 private:
  void add_exact_gradient(std::span<const Drive> drives, std::span<const Vector> potential, std::span<const Vector> costate, Eigen::Ref<Vector> gradient) const;

  std::shared_ptr<const Network> network_;
  unsigned threads_;
  std::shared_ptr<const batches::Batch> batch_;
};

/// A simulated network. Restores states, reads every free potential, injects at and holds every free node. Of the nodes a drive holds
/// it tells the current that the holder supplies: I - u, net outgoing current with the leak less what is injected there. Where all
/// free nodes are held nothing relaxes, and a relaxation is one evaluation. A batch runs on all cores; results come in index order and
/// do not depend on the number of threads.
class Simulation final : public Device {
 public:
  /// Throws std::invalid_argument: no network, options without a meaning, batches that do not serve the network.
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
