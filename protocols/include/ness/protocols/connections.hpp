// From resource names to transports.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ness/protocols/prologix.hpp"
#include "ness/protocols/transport.hpp"

namespace ness::protocols {

/// Makes transports by name. Instruments on one GPIB board share its controller's link.
class Connections {
 public:
  explicit Connections(Timeouts timeouts = {}) : timeouts_(timeouts) {}
  /// A Prologix controller is GPIB board `name.board` from here on. Throws std::invalid_argument if the board is taken.
  void add_board(const PrologixName& name, const SerialSettings& settings = {});
  /// The transport to an instrument, not opened yet. Throws std::invalid_argument for names without a transport (VXI-11, HiSLIP,
  /// USB), for a GPIB board that was not added, and for a board itself.
  std::unique_ptr<Transport> to(const ResourceName& name, const SerialSettings& settings = {});

 private:
  Timeouts timeouts_;
  std::map<std::uint32_t, std::unique_ptr<PrologixController>> boards_;
};

/// A serial port of this machine.
struct SerialPortInfo {
  std::string path;         ///< "/dev/ttyUSB0"
  std::string description;  ///< of the adapter, where it tells
  std::string adapter;      ///< "0403:6001 SERIAL" of a USB one
};
/// Those libserialport finds, by path.
std::vector<SerialPortInfo> serial_ports();

}  // namespace ness::protocols
