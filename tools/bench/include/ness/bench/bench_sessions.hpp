// Sessions with the instruments of a bench file: where they are, or emulated in virtual time.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "ness/files/bench_file.hpp"
#include "ness/bench/emulation.hpp"
#include "ness/device/clock.hpp"
#include "ness/protocols/connections.hpp"
#include "ness/protocols/session.hpp"
#include "ness/bench/virtual_time_links.hpp"

namespace ness {

enum class DeviceKind : std::uint8_t { simulation, bench, emulated };

/// Called with every message of every session, as it is sent or received.
using Transcript = std::function<void(const protocols::Exchange&)>;

class BenchSessions {
 public:
  /// `kind`: bench or emulated. `network` stands in for the emulation's own, where it is given. Nothing is
  /// opened. Throws FileError where the file has no [emulation] or two controllers are one GPIB board.
  BenchSessions(const BenchFile& file, DeviceKind kind, const sim::NetworkSpec* network = nullptr,
                Transcript transcript = {});
  ~BenchSessions();
  BenchSessions(const BenchSessions&) = delete;
  BenchSessions& operator=(const BenchSessions&) = delete;

  /// A session with instrument `i` of the file, not opened yet. Throws FileError where it has no address, or
  /// its GPIB board no controller.
  std::unique_ptr<protocols::Session> session(std::size_t i);
  /// What the bench was made from.
  const BenchFile& file() const { return file_; }
  std::shared_ptr<Clock> clock() const { return clock_; }
  /// Null on real instruments.
  const std::shared_ptr<sim::EmulatedBench>& emulated() const { return emulation_.bench; }

 private:
  BenchFile file_;
  DeviceKind kind_;
  Transcript transcript_;
  Emulation emulation_;
  protocols::Connections connections_;
  std::shared_ptr<Clock> clock_;
  std::unique_ptr<VirtualTimeLinks> links_;
};

}  // namespace ness
