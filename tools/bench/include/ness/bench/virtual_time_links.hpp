// Emulated instruments behind real sockets and pseudo-terminals, in virtual time: for a program that is their
// only client.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ness/files/bench_file.hpp"
#include "ness/bench/emulation.hpp"
#include "ness/protocols/prologix.hpp"
#include "ness/protocols/transport.hpp"

namespace ness {

/// Gives every instrument the kind of link that its address in the bench file names: a TCP port of this
/// machine, a pseudo-terminal (at its serial line's pace, in virtual time), or a place on the bus of a
/// Prologix controller on a TCP port. Ports are chosen by the system. Where the file says [emulation] links =
/// false, the same conversations without a link. All are used by one thread.
class VirtualTimeLinks {
 public:
  /// Both have to outlive the making of transports, not the transports.
  VirtualTimeLinks(const BenchFile& file, const Emulation& emulation);
  ~VirtualTimeLinks();
  /// The client's transport to instrument `i` of the file, not opened yet. Throws std::runtime_error where
  /// the machine has no port or pseudo-terminal left.
  std::unique_ptr<protocols::Transport> to(std::size_t i);

 private:
  std::unique_ptr<protocols::Transport> on_socket(sim::EmulatedInstrument& instrument,
                                                  const std::string& name) const;
  std::unique_ptr<protocols::Transport> on_serial_line(sim::EmulatedInstrument& instrument,
                                                       const BenchInstrument& described) const;
  std::unique_ptr<protocols::Transport> on_bus(const protocols::GpibName& name);

  const BenchFile& file_;
  const Emulation& emulation_;
  std::map<std::uint32_t, std::unique_ptr<protocols::PrologixController>> boards_;
};

}  // namespace ness
