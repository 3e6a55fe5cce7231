// The ways to the instruments of a bench file: to real ones at their addresses, to emulated ones in virtual time.
#pragma once

#include <memory>
#include <vector>

#include "bench_file.hpp"
#include "emulation.hpp"
#include "ness/core/clock.hpp"
#include "ness/protocols/connections.hpp"
#include "ness/protocols/session.hpp"

namespace ness {

struct BenchLinks {
  std::shared_ptr<sim::EmulatedBench> emulated;        ///< null on real instruments
  std::shared_ptr<Clock> clock;                        ///< the wall's, or the emulated bench's
  std::unique_ptr<protocols::Connections> connections; ///< of real instruments; their sessions need it
  std::vector<sim::EmulatedInstrument*> instruments;   ///< emulated ones, as in the file

  /// A session to an instrument of the file, as its table describes the link. Nothing is opened before the first message. Throws
  /// FileError where a real instrument has no address.
  std::unique_ptr<protocols::Session> session(const BenchFile& file, std::size_t instrument) const;
};

/// `network`: as for emulate(). Throws FileError where the file has no [emulation] to emulate.
BenchLinks bench_links(const BenchFile& file, bool emulated, const sim::NetworkSpec* network = nullptr);

}  // namespace ness
