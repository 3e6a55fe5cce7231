// Emulated instruments over a transport, in virtual time: nobody waits, and overlapping measurements still take the time of the
// slowest.
//
// The instruments' time stands still while the client computes. It moves when the client waits: a read moves it to the moment
// the reply is ready, or by its limit, a Timeout; others' events on the way happen at their own times. Two queries sent before
// the first is read are therefore answered side by side, without a thread.
#pragma once

#include <memory>
#include <string>

#include "ness/core/clock.hpp"
#include "ness/protocols/transport.hpp"
#include "ness/sim/emulated_instrument.hpp"

namespace ness::sim {

/// A transport to one instrument of a bench. `bytes_per_second` > 0: a serial line's pace. Several transports of one bench are used by
/// one thread.
std::unique_ptr<protocols::Transport> paced_transport(std::shared_ptr<EmulatedBench> bench, EmulatedInstrument& instrument, std::string address,
                                                      double bytes_per_second = 0);

/// The bench's virtual time as a clock: waiting moves it.
std::shared_ptr<Clock> paced_clock(std::shared_ptr<EmulatedBench> bench);

/// What the client does between messages: `seconds` of virtual time pass.
void pass_time(EmulatedBench& bench, double seconds);

}  // namespace ness::sim
