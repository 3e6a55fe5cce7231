#include "ness/bench/virtual_time_links.hpp"

#include <algorithm>
#include <stdexcept>

#include "ness/bench/endpoints.hpp"
#include "ness/emulators/virtual_time.hpp"

namespace ness {

VirtualTimeLinks::VirtualTimeLinks(const BenchFile& file, const Emulation& emulation)
    : file_(file), emulation_(emulation) {}
VirtualTimeLinks::~VirtualTimeLinks() = default;

std::unique_ptr<protocols::Transport> VirtualTimeLinks::on_socket(sim::EmulatedInstrument& instrument,
                                                                  const std::string& name) const {
  if (!file_.emulation->links)
    return sim::virtual_time_transport(emulation_.bench, instrument, name + " (emulated)");
  ListeningSocket socket;
  auto link = protocols::socket_transport({0, "127.0.0.1", socket.port()});
  std::string address = name + " (emulated at " + link->address() + ")";
  return sim::virtual_time_transport(emulation_.bench, instrument, std::move(address), std::move(link),
                                     far_end(std::move(socket)));
}

std::unique_ptr<protocols::Transport> VirtualTimeLinks::on_serial_line(
    sim::EmulatedInstrument& instrument, const BenchInstrument& described) const {
  const double pace = described.serial.baud / 10.0;
  if (!file_.emulation->links)
    return sim::virtual_time_transport(emulation_.bench, instrument, described.name + " (emulated)", pace);
  PseudoTerminal terminal;
  auto link = protocols::serial_transport({terminal.path}, described.serial);
  std::string address = described.name + " (emulated at " + link->address() + ")";
  return sim::virtual_time_transport(emulation_.bench, instrument, std::move(address), std::move(link),
                                     far_end(std::move(terminal)), pace);
}

std::unique_ptr<protocols::Transport> VirtualTimeLinks::on_bus(const protocols::GpibName& name) {
  auto& board = boards_[name.board];
  if (!board) {
    const auto controller = std::find_if(emulation_.controllers.begin(), emulation_.controllers.end(),
                                         [&](const auto& c) { return c.first == name.board; });
    board = std::make_unique<protocols::PrologixController>(
        on_socket(*controller->second, "controller of GPIB" + std::to_string(name.board)),
        protocols::Timeouts());
  }
  return board->instrument(name);
}

std::unique_ptr<protocols::Transport> VirtualTimeLinks::to(std::size_t i) {
  const BenchInstrument& described = file_.instruments.at(i);
  sim::EmulatedInstrument& instrument = *emulation_.instruments.at(i);
  switch (emulated_link(described)) {
    case EmulatedLink::socket: return on_socket(instrument, described.name);
    case EmulatedLink::serial_line: return on_serial_line(instrument, described);
    case EmulatedLink::gpib: return on_bus(std::get<protocols::GpibName>(*described.address));
  }
  throw std::logic_error("instrument '" + described.name + "': an emulated link of no known kind");
}

}  // namespace ness
