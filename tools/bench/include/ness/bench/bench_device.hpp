// A bench file made a Device: on real instruments, or on emulated ones in virtual time.
#pragma once

#include <memory>
#include <span>

#include "ness/files/bench_file.hpp"
#include "ness/bench/bench_sessions.hpp"
#include "ness/drivers/bench.hpp"

namespace ness {

/// The bench, and the sessions it uses.
struct BenchDevice {
  std::unique_ptr<BenchSessions> sessions;
  std::unique_ptr<drivers::Bench> bench;  // destroyed first
};

/// Levels of some wires alone, in their order, for what works without a network. `sessions` has to outlive
/// them. Limits that join a wire with one that is not among them are left out. Nothing is sent yet. Throws
/// FileError or std::invalid_argument.
std::unique_ptr<drivers::Levels> make_levels(const BenchFile& file, BenchSessions& sessions,
                                             std::span<const std::size_t> wires);

/// What is known of the sample that a bench is wired to.
struct Sample {
  const DeviceInfo& info;  ///< its terminals and parameters
  const Vector& theta;     ///< the values that parameters without a wire have [info.parameters]
  /// What an emulated bench puts in its place; null: the network of [emulation]
  const sim::NetworkSpec* network = nullptr;
};

/// Nothing is sent yet. Throws FileError or std::invalid_argument naming the wire or instrument, what is
/// wrong with it and what was expected.
BenchDevice make_bench(const BenchFile& file, DeviceKind kind, const Sample& sample,
                       Transcript transcript = {});

}  // namespace ness
