// A bench file made a Device: on real instruments, or on emulated ones in virtual time.
#pragma once

#include <memory>

#include "bench_file.hpp"
#include "emulation.hpp"
#include "ness/core/clock.hpp"
#include "ness/drivers/bench.hpp"
#include "ness/protocols/connections.hpp"

namespace ness {

enum class DeviceKind : std::uint8_t { simulation, bench, emulated };

/// The bench, and what it stands on.
struct BenchDevice {
  std::shared_ptr<sim::EmulatedBench> emulated;  ///< null on real instruments
  std::shared_ptr<Clock> clock;
  std::unique_ptr<protocols::Connections> connections;
  std::unique_ptr<drivers::Bench> bench;
};

/// `network`: what training knows of the sample, with the values its constants have. Nothing is sent yet. Throws FileError or
/// std::invalid_argument naming the wire or instrument, what is wrong with it and what was expected.
BenchDevice make_bench(const BenchFile& file, DeviceKind kind, const sim::Network& network, const DeviceInfo& info);

}  // namespace ness
