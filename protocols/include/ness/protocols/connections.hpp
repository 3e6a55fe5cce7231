// From resource names to transports.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ness/protocols/prologix.hpp"
#include "ness/protocols/transport.hpp"

namespace ness::protocols {

class Connections;

/// How resource names of one kind become transports: a row a kind.
struct TransportKind {
  std::string name;  ///< "raw socket"
  std::function<bool(const ResourceName&)> serves;
  /// Makes the transport, not opened yet. Throws std::invalid_argument with the reason where it cannot.
  std::function<std::unique_ptr<Transport>(const ResourceName&, const SerialSettings&, Connections&)> make;
};
/// Raw sockets, serial lines, instruments behind a Prologix controller.
const std::vector<TransportKind>& transport_kinds();

/// Makes transports by name. Instruments on one GPIB board share its controller's link.
class Connections {
 public:
  explicit Connections(Timeouts timeouts = {}, std::vector<TransportKind> kinds = transport_kinds())
      : timeouts_(timeouts), kinds_(std::move(kinds)) {}
  /// A Prologix controller is GPIB board `name.board` from here on. Throws std::invalid_argument if the board
  /// is taken.
  void add_board(const PrologixName& name, const SerialSettings& settings = {});
  /// The controller of a GPIB board; null where none was added.
  PrologixController* board(std::uint32_t number) const;
  /// The transport to an instrument, not opened yet, made by the first kind that serves the name. Throws
  /// std::invalid_argument for names that no kind serves (VXI-11, HiSLIP, USB, a GPIB board itself), and for
  /// a GPIB board that was not added.
  std::unique_ptr<Transport> to(const ResourceName& name, const SerialSettings& settings = {});

 private:
  Timeouts timeouts_;
  std::vector<TransportKind> kinds_;
  std::map<std::uint32_t, std::unique_ptr<PrologixController>> boards_;
};

/// A serial port of this machine.
struct SerialPortInfo {
  std::string path;         ///< "/dev/ttyUSB0"
  std::string description;  ///< of the adapter, where it gives one
  std::string adapter;      ///< "0403:6001 SERIAL" of a USB one
};
/// Those libserialport finds, by path.
std::vector<SerialPortInfo> serial_ports();

}  // namespace ness::protocols
