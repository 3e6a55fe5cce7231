#include "bench_links.hpp"

#include "ness/core/error.hpp"
#include "ness/sim/paced.hpp"

namespace ness {

BenchLinks bench_links(const BenchFile& file, bool emulated, const sim::NetworkSpec* network) {
  BenchLinks links;
  if (emulated) {
    Emulation emulation = emulate(file, network);
    links.emulated = emulation.bench;
    links.clock = sim::paced_clock(links.emulated);
    links.instruments = std::move(emulation.instruments);
  } else {
    links.clock = wall_clock();
    links.connections = std::make_unique<protocols::Connections>();
  }
  return links;
}

std::unique_ptr<protocols::Session> BenchLinks::session(const BenchFile& file, std::size_t instrument) const {
  const BenchInstrument& described = file.instruments[instrument];
  protocols::SessionOptions options;
  options.terminator = described.terminator;
  options.timeouts.first_reply = protocols::Milliseconds(static_cast<std::int64_t>(described.timeout * 1e3));
  std::unique_ptr<protocols::Transport> transport;
  if (emulated) {
    const bool serial = described.address && std::holds_alternative<protocols::SerialName>(*described.address);
    transport = sim::paced_transport(emulated, *instruments[instrument], described.name + " (emulated)", serial ? described.serial.baud / 10.0 : 0);
  } else {
    if (!described.address) throw FileError(file.path + ": [instruments." + described.name + "]: has no address; a real instrument needs one");
    transport = connections->to(*described.address, described.serial);
  }
  return std::make_unique<protocols::Session>(std::move(transport), std::move(options));
}

}  // namespace ness
