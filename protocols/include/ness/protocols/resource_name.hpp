// VISA resource names: where an instrument is.
//
//   TCPIP0::192.168.1.5::5025::SOCKET      raw socket
//   TCPIP0::192.168.1.5::inst0::INSTR      VXI-11; hislip0,4880 in place of inst0: HiSLIP
//   ASRL/dev/ttyUSB0::INSTR, ASRL1::INSTR  serial line, by path or by number
//   GPIB0::24::INSTR, GPIB0::9::96::INSTR  GPIB, with a secondary address
//   GPIB0::INTFC                           the GPIB board itself
//   PRLGX-TCPIP0::10.0.0.9::1234::INTFC    Prologix GPIB-ETHERNET as GPIB board 0 (the extension of
//   PyVISA-py) PRLGX-ASRL0::/dev/ttyUSB0::INTFC       Prologix GPIB-USB as GPIB board 0
//   USB0::0x05E6::0x2450::04012345::INSTR  USBTMC
//
// Interface and class names are read in any case; what may be left out (board 0, inst0, INSTR) is filled in,
// so that printing a parsed name gives its canonical form, which parses to the same value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace ness::protocols {

/// A raw TCP socket. `host` is a name, an IPv4 address, or an IPv6 address in brackets.
struct SocketName {
  std::uint32_t board = 0;
  std::string host;
  std::uint16_t port = 5025;
  bool operator==(const SocketName&) const = default;
};
/// VXI-11 ("inst0", "gpib0,5") or HiSLIP ("hislip0", "hislip0,4880").
struct LanName {
  std::uint32_t board = 0;
  std::string host;
  std::string device = "inst0";
  bool operator==(const LanName&) const = default;
  bool hislip() const { return device.starts_with("hislip"); }
};
/// An instrument on a GPIB board. Secondary addresses 0..30 are written 96..126 as well, and kept as 96..126.
struct GpibName {
  std::uint32_t board = 0;
  std::uint8_t primary = 0;
  std::optional<std::uint8_t> secondary;
  bool operator==(const GpibName&) const = default;
};
/// A GPIB board.
struct GpibBoardName {
  std::uint32_t board = 0;
  bool operator==(const GpibBoardName&) const = default;
};
/// A serial line: "/dev/ttyUSB0", or a number as VISA has it.
struct SerialName {
  std::string port;
  bool operator==(const SerialName&) const = default;
};
/// A Prologix controller that is GPIB board `board`: on TCP (`host`, `port`) or on a serial line (`host` is
/// its path).
struct PrologixName {
  std::uint32_t board = 0;
  bool serial = false;
  std::string host;
  std::uint16_t port = 1234;
  bool operator==(const PrologixName&) const = default;
};
/// USBTMC (`raw` false) or raw USB.
struct UsbName {
  std::uint32_t board = 0;
  std::uint16_t vendor = 0, product = 0;
  std::string serial;
  std::uint8_t interface = 0;
  bool raw = false;
  bool operator==(const UsbName&) const = default;
};

using ResourceName =
    std::variant<SocketName, LanName, GpibName, GpibBoardName, SerialName, PrologixName, UsbName>;

/// Throws std::invalid_argument naming the part that is wrong, its value and what was expected.
ResourceName parse_resource_name(std::string_view text);

/// The canonical form.
std::string to_string(const ResourceName& name);

}  // namespace ness::protocols
