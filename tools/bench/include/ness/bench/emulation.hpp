// An emulated bench: built from a bench file, and served in real time to whoever connects.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <ostream>
#include <stop_token>
#include <string>
#include <vector>

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

/// Writes every change of what the instruments impose to `out`, a line each: time (s), wire, what (voltage, current, open, or the name of a
/// parameter), level (V or A; of a gate its voltage) and limit (the compliance). The first line names the columns.
void trace(const Emulation& emulation, std::shared_ptr<std::ostream> out);

/// Throws FileError where the file has no [emulation]. `network` stands in for the file's own, where it is given: the experiment's,
/// with a run's own initial values.
Emulation emulate(const BenchFile& file, const sim::NetworkSpec* network = nullptr);

/// One thing that listens.
struct Listening {
  std::string name;      ///< the instrument's, or the controller's board
  std::string model;
  std::string resource;  ///< what to connect to
};

/// Instruments behind TCP ports and pseudo-terminals of this machine, in real time. Sockets where the file's address is a
/// TCPIP one or none, pseudo-terminals for ASRL, Prologix controllers on TCP for GPIB.
class EmulationServer {
 public:
  /// Listens from here on, on loopback and ports the system chooses. Throws std::runtime_error.
  EmulationServer(const BenchFile& file, Emulation emulation);
  ~EmulationServer();
  EmulationServer(const EmulationServer&) = delete;
  EmulationServer& operator=(const EmulationServer&) = delete;

  const std::vector<Listening>& listening() const;
  /// Serves until a stop is requested.
  void run(std::stop_token stop);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ness
