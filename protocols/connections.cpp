#include "ness/protocols/connections.hpp"

#include <libserialport.h>

#include <algorithm>
#include <cstdio>
#include <stdexcept>

namespace ness::protocols {

void Connections::add_board(const PrologixName& name, const SerialSettings& settings) {
  if (boards_.contains(name.board))
    throw std::invalid_argument(to_string(ResourceName(name)) + ": there is a controller for GPIB board " +
                                std::to_string(name.board) + " already");
  boards_.emplace(name.board, prologix_controller(name, timeouts_, settings));
}

PrologixController* Connections::board(std::uint32_t number) const {
  const auto found = boards_.find(number);
  return found == boards_.end() ? nullptr : found->second.get();
}

namespace {

std::invalid_argument refusal(const ResourceName& name, const std::string& reason) {
  return std::invalid_argument(to_string(name) + ": " + reason);
}

// A row for one kind of resource name; `make` receives the name as that kind.
template <typename Name, typename Make>
TransportKind row(std::string what, Make make) {
  return {std::move(what), [](const ResourceName& name) { return std::holds_alternative<Name>(name); },
          [make](const ResourceName& name, const SerialSettings& settings, Connections& connections) {
            return make(std::get<Name>(name), settings, connections);
          }};
}

std::unique_ptr<Transport> behind_board(const GpibName& name, const SerialSettings&,
                                        Connections& connections) {
  PrologixController* controller = connections.board(name.board);
  if (controller != nullptr) return controller->instrument(name);
  const std::string board = std::to_string(name.board);
  throw refusal(name, "no controller is known for GPIB board " + board +
                          "; expected a Prologix, such as PRLGX-TCPIP" + board + "::10.0.0.9::1234::INTFC");
}

// The reason why no row serves a name.
struct NotServed {
  std::string operator()(const LanName& lan) const {
    return std::string(lan.hislip() ? "HiSLIP" : "VXI-11") +
           " is not supported; most instruments have a raw socket beside it, TCPIP::" + lan.host +
           "::5025::SOCKET";
  }
  std::string operator()(const UsbName&) const {
    return "USBTMC is not supported; expected TCPIP::host::port::SOCKET, ASRL, or GPIB behind a Prologix";
  }
  std::string operator()(const GpibBoardName&) const { return board(); }
  std::string operator()(const PrologixName&) const { return board(); }
  std::string operator()(const SocketName&) const { return "raw sockets are not among the transports here"; }
  std::string operator()(const SerialName&) const { return "serial lines are not among the transports here"; }
  std::string operator()(const GpibName&) const { return "GPIB is not among the transports here"; }
  static std::string board() {
    return "names a GPIB board; expected an instrument, such as GPIB0::24::INSTR";
  }
};

}  // namespace

const std::vector<TransportKind>& transport_kinds() {
  static const std::vector<TransportKind> kinds{
      row<SocketName>("raw socket",
                      [](const SocketName& name, const auto&, auto&) { return socket_transport(name); }),
      row<SerialName>("serial line", [](const SerialName& name, const auto& settings,
                                        auto&) { return serial_transport(name, settings); }),
      row<GpibName>("GPIB behind a Prologix controller", behind_board)};
  return kinds;
}

std::unique_ptr<Transport> Connections::to(const ResourceName& name, const SerialSettings& settings) {
  const auto kind =
      std::find_if(kinds_.begin(), kinds_.end(), [&](const TransportKind& k) { return k.serves(name); });
  if (kind == kinds_.end()) throw refusal(name, std::visit(NotServed{}, name));
  return kind->make(name, settings, *this);
}

std::vector<SerialPortInfo> serial_ports() {
  std::vector<SerialPortInfo> found;
  sp_port** ports = nullptr;
  if (sp_list_ports(&ports) != SP_OK) return found;
  const auto text = [](const char* s) { return std::string(s == nullptr ? "" : s); };
  for (sp_port** port = ports; *port != nullptr; ++port) {
    SerialPortInfo info{text(sp_get_port_name(*port)), text(sp_get_port_description(*port)), {}};
    int vendor = 0, product = 0;
    if (sp_get_port_transport(*port) == SP_TRANSPORT_USB &&
        sp_get_port_usb_vid_pid(*port, &vendor, &product) == SP_OK) {
      char ids[16];
      std::snprintf(ids, sizeof ids, "%04X:%04X", static_cast<unsigned>(vendor),
                    static_cast<unsigned>(product));
      info.adapter = ids + (" " + text(sp_get_port_usb_serial(*port)));
    }
    found.push_back(std::move(info));
  }
  sp_free_port_list(ports);
  std::sort(found.begin(), found.end(),
            [](const SerialPortInfo& a, const SerialPortInfo& b) { return a.path < b.path; });
  return found;
}

}  // namespace ness::protocols
