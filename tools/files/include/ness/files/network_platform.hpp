// The platform [network]: nodes joined by edges that obey laws, simulated by sim/network.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ness/files/experiment.hpp"
#include "ness/files/parameter_rules.hpp"
#include "ness/files/platform.hpp"
#include "ness/network/network.hpp"
#include "ness/network/simulation.hpp"

namespace ness {

/// A network as [network], [parameters] and [solver] describe it.
struct NetworkDescription final : PlatformDescription {
  sim::NetworkSpec network;  ///< initial values not drawn (NaN where a rule gives them)
  ParameterRules parameters;
  sim::SimulationOptions simulation;  ///< its threads are those of made()
  std::string vector_target;  ///< of the simulation's arithmetic, for the whole process; empty: the best this
                              ///< machine has

  std::size_t inputs() const override;
  std::size_t outputs() const override;
  /// The network with initial values drawn.
  sim::NetworkSpec drawn(std::uint64_t seed) const { return ness::drawn(network, parameters, seed); }
  Platform made(std::uint64_t seed, unsigned threads) const override;
  std::vector<ParameterRule> rules(const std::vector<ParameterInfo>& parameters,
                                   const Vector& theta) const override;
  /// Initial values outside their range, outputs that no input reaches, inputs that lead nowhere.
  std::vector<Mistake> mistakes(std::uint64_t seed) const override;
};

/// The experiment's network. Throws FileError where it is run on another platform.
const NetworkDescription& network_description(const Experiment& experiment);

/// The options of the solver from settings like "solver.trust=0.2": the keys of [solver]. Throws FileError as
/// for a file.
sim::SimulationOptions solver_options(const std::vector<std::string>& settings);

/// The network that was built; null where the platform is another one.
std::shared_ptr<const sim::Network> network_of(const Platform& platform);

/// The row of the table of platforms.
extern const PlatformEntry network_platform;

}  // namespace ness
