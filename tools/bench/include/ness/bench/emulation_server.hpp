// An emulated bench, served in real time to whoever connects.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "ness/bench/emulation.hpp"

namespace ness {

/// One thing that listens.
struct Listening {
  std::string name;  ///< the instrument's, or the controller's board
  std::string model;
  std::string resource;  ///< what to connect to
};

/// Instruments behind TCP ports and pseudo-terminals of this machine, in real time. Sockets where the file's
/// address is a TCPIP one or none, pseudo-terminals for ASRL, Prologix controllers on TCP for GPIB.
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
