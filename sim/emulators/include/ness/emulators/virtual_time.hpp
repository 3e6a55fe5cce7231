// Emulated instruments over a transport, in virtual time: no real time passes, and overlapping measurements
// take the time of the slowest.
//
// The instruments' time stands still while the client computes. It moves when the client waits: a read moves
// it to the moment the reply is ready, or up to its limit, a Timeout; others' events on the way happen at
// their own times. Two queries sent before the first is read are therefore answered side by side, without a
// thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "ness/device/clock.hpp"
#include "ness/protocols/transport.hpp"
#include "ness/emulators/emulated_bench.hpp"

namespace ness::sim {

/// A transport to one instrument of a bench. `bytes_per_second` > 0: a serial line's pace. Several transports
/// of one bench are used by one thread.
std::unique_ptr<protocols::Transport> virtual_time_transport(std::shared_ptr<EmulatedBench> bench,
                                                             EmulatedInstrument& instrument,
                                                             std::string address,
                                                             double bytes_per_second = 0);

/// The far end of a real link (a socket, a pseudo-terminal), held by the process that holds the near end too,
/// and served by the same thread: what it waits for is on its way already. Times here are the wall's, and
/// short. All throw LinkError where the link fails.
class FarEnd {
 public:
  /// No more bytes than this are ever on the link: fewer than any kernel's buffer, so that neither end waits
  /// for the other to read.
  static constexpr std::size_t piece = 1024;

  virtual ~FarEnd() = default;
  FarEnd() = default;
  FarEnd(const FarEnd&) = delete;
  FarEnd& operator=(const FarEnd&) = delete;
  /// The near end has opened the link: this end takes it up. An earlier link is closed, and what was left on
  /// it is gone.
  virtual void accept() = 0;
  /// Appends the next `count` bytes from the near end, at most a piece, all of which it has sent.
  virtual void receive(std::size_t count, std::string& into) = 0;
  /// Sends to the near end, at most a piece.
  virtual void send(std::string_view bytes) = 0;
};

/// The same over a real link: every byte goes through `link` (not opened yet) and its far end, in lockstep
/// and without a thread, at the times at which it would have come without. Whatever it carries, only virtual
/// time is ever waited for: the bits are those of the transport above.
std::unique_ptr<protocols::Transport> virtual_time_transport(
    std::shared_ptr<EmulatedBench> bench, EmulatedInstrument& instrument, std::string address,
    std::unique_ptr<protocols::Transport> link, std::unique_ptr<FarEnd> far, double bytes_per_second = 0);

/// The bench's virtual time as a clock: waiting moves it.
std::shared_ptr<Clock> virtual_clock(std::shared_ptr<EmulatedBench> bench);

/// What the client does between messages: `seconds` of virtual time pass.
void pass_time(EmulatedBench& bench, double seconds);

}  // namespace ness::sim
