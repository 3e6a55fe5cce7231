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

/// `network`: what training knows of the sample, with the values its constants have. Nothing is sent yet. Throws FileError or
/// std::invalid_argument naming the wire or instrument, what is wrong with it and what was expected.
BenchDevice make_bench(const BenchFile& file, DeviceKind kind, const sim::Network& network, const DeviceInfo& info, Transcript transcript = {});

}  // namespace ness
