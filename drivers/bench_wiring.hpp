// Checks if a bench's wiring is possible, and what a device on it can do.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "ness/drivers/bench.hpp"

namespace ness::drivers {

struct BenchWiring {
  DeviceInfo info;  ///< of the bench as a device: ranges, capabilities, resolutions
  /// channel of each terminal and parameter that is set
  std::map<std::uint32_t, std::size_t> of_terminal, of_parameter;
};

/// `constants` [n_parameters]: values of the parameters that no channel sets. Throws std::invalid_argument
/// for impossible wiring.
BenchWiring wired(const DeviceInfo& network, const Vector& constants, const BenchSettings& settings,
                  const BenchInstruments& instruments);

/// Throws std::invalid_argument.
[[noreturn]] void refuse(const std::string& reason);

}  // namespace ness::drivers
