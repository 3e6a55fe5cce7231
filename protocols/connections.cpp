#include "ness/protocols/connections.hpp"

#include <libserialport.h>

#include <algorithm>
#include <cstdio>
#include <stdexcept>

namespace ness::protocols {

void Connections::add_board(const PrologixName& name, const SerialSettings& settings) {
  if (boards_.contains(name.board)) throw std::invalid_argument(to_string(ResourceName(name)) + ": there is a controller for GPIB board " + std::to_string(name.board) + " already");
  boards_.emplace(name.board, prologix_controller(name, timeouts_, settings));
}

std::unique_ptr<Transport> Connections::to(const ResourceName& name, const SerialSettings& settings) {
  const auto refuse = [&](const std::string& reason) -> std::unique_ptr<Transport> { throw std::invalid_argument(to_string(name) + ": " + reason); };
  if (const auto* socket = std::get_if<SocketName>(&name)) return socket_transport(*socket);
  if (const auto* serial = std::get_if<SerialName>(&name)) return serial_transport(*serial, settings);
  if (const auto* gpib = std::get_if<GpibName>(&name)) {
    const auto board = boards_.find(gpib->board);
    if (board == boards_.end()) return refuse("no controller is known for GPIB board " + std::to_string(gpib->board) + "; expected a Prologix, such as PRLGX-TCPIP" + std::to_string(gpib->board) + "::10.0.0.9::1234::INTFC");
    return board->second->instrument(*gpib);
  }
  if (const auto* lan = std::get_if<LanName>(&name)) return refuse(std::string(lan->hislip() ? "HiSLIP" : "VXI-11") + " is not spoken here; most instruments have a raw socket beside it, TCPIP::" + lan->host + "::5025::SOCKET");
  if (std::holds_alternative<UsbName>(name)) return refuse("USBTMC is not spoken here; expected TCPIP::host::port::SOCKET, ASRL, or GPIB behind a Prologix");
  return refuse("names a GPIB board; expected an instrument, such as GPIB0::24::INSTR");
}

std::vector<SerialPortInfo> serial_ports() {
  std::vector<SerialPortInfo> found;
  sp_port** ports = nullptr;
  if (sp_list_ports(&ports) != SP_OK) return found;
  const auto text = [](const char* s) { return std::string(s == nullptr ? "" : s); };
  for (sp_port** port = ports; *port != nullptr; ++port) {
    SerialPortInfo info{text(sp_get_port_name(*port)), text(sp_get_port_description(*port)), {}};
    int vendor = 0, product = 0;
    if (sp_get_port_transport(*port) == SP_TRANSPORT_USB && sp_get_port_usb_vid_pid(*port, &vendor, &product) == SP_OK) {
      char ids[16];
      std::snprintf(ids, sizeof ids, "%04X:%04X", static_cast<unsigned>(vendor), static_cast<unsigned>(product));
      info.adapter = ids + (" " + text(sp_get_port_usb_serial(*port)));
    }
    found.push_back(std::move(info));
  }
  sp_free_port_list(ports);
  std::sort(found.begin(), found.end(), [](const SerialPortInfo& a, const SerialPortInfo& b) { return a.path < b.path; });
  return found;
}

}  // namespace ness::protocols
