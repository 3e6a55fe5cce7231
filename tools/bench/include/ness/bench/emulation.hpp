// An emulated bench: built from a bench file.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "ness/emulators/emulated_bench.hpp"
#include "ness/files/bench_file.hpp"

namespace ness {

/// A bench whose instruments and circuit are emulated.
struct Emulation {
  std::shared_ptr<sim::EmulatedBench> bench;
  std::vector<sim::EmulatedInstrument*> instruments;  ///< as in the file
  /// Prologix controllers, by the GPIB board they are.
  std::vector<std::pair<std::uint32_t, sim::EmulatedInstrument*>> controllers;
  /// Wires, by the port of the circuit they lead to, and by the parameter they set.
  std::map<std::size_t, std::string> wire_of_port;
  std::map<std::size_t, BenchWire> wire_of_parameter;
};

/// Writes every change of what the instruments impose to `out`, a line each: time (s), wire, what (voltage,
/// current, open, or the name of a parameter), level (V or A; of a gate its voltage) and limit (the
/// compliance). The first line names the columns.
void trace(const Emulation& emulation, std::shared_ptr<std::ostream> out);

/// Throws FileError where the file has no [emulation]. `network` stands in for the file's own, where it is
/// given: the experiment's, with a run's own initial values.
Emulation emulate(const BenchFile& file, const sim::NetworkSpec* network = nullptr);

/// How an emulated instrument is reached on this machine.
enum class EmulatedLink : std::uint8_t { socket, serial_line, gpib };
/// As its address says: a socket for TCPIP or none at all, a serial line for ASRL, a Prologix controller's
/// bus for GPIB. Throws FileError, naming the instrument, for an address that no emulated link stands in for
/// (USB, a GPIB board).
EmulatedLink emulated_link(const BenchInstrument& instrument);

}  // namespace ness
