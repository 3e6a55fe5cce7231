// A bench file made a Device: on real instruments, or on emulated ones in virtual time.
#pragma once

#include <memory>

#include "bench_file.hpp"
#include "bench_sessions.hpp"
#include "ness/drivers/bench.hpp"

namespace ness {

/// The bench, and what it stands on.
struct BenchDevice {
  std::unique_ptr<BenchSessions> sessions;
  std::unique_ptr<drivers::Bench> bench;  // goes first
};

/// The levels of a bench alone, for what works without a network.
struct BenchLevels {
  std::unique_ptr<BenchSessions> sessions;
  std::unique_ptr<drivers::Levels> levels;  // goes first
};
/// Nothing is sent yet. Throws FileError or std::invalid_argument.
BenchLevels make_levels(const BenchFile& file, DeviceKind kind, Transcript transcript = {});

/// `network`: what training knows of the sample, with the values its constants have. Nothing is sent yet. Throws FileError or
/// std::invalid_argument naming the wire or instrument, what is wrong with it and what was expected.
BenchDevice make_bench(const BenchFile& file, DeviceKind kind, const sim::Network& network, const DeviceInfo& info, Transcript transcript = {});

}  // namespace ness
