#include "ness/bench/emulation.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>

#include "ness/device/error.hpp"

namespace ness {

namespace {

// Ohms: 10 nV at the compliance of a bench, and still a circuit that can be followed.
constexpr double no_lead = 1e-4;
constexpr double open_lead = 1e15, touch = 1e-2;  // ohms

// The wires as they are at the sample, with the mistakes of [emulation]. A cable is an instrument's channel;
// where it leads is the sample's.
std::vector<BenchWire> as_miswired(const BenchFile& file, sim::Circuit& circuit) {
  std::vector<BenchWire> wiring = file.wiring;
  for (const auto& [a, b] : file.emulation->swapped) {
    std::swap(wiring[a].instrument, wiring[b].instrument);
    std::swap(wiring[a].channel, wiring[b].channel);
  }
  for (const std::size_t w : file.emulation->shorted) {
    if (wiring[w].node) {
      sim::PortState ground;
      ground.kind = sim::PortState::Kind::voltage;
      circuit.drive(circuit.attach(*wiring[w].node, touch), ground);
    } else {
      const std::vector<ParameterInfo> parameters = circuit.network().parameter_info();
      const auto found = std::find_if(parameters.begin(), parameters.end(),
                                      [&](const ParameterInfo& p) { return p.name == wiring[w].parameter; });
      circuit.set_parameter(static_cast<std::size_t>(found - parameters.begin()),
                            std::clamp(wiring[w].offset, found->range.low, found->range.high));
    }
  }
  return wiring;
}

bool is_among(const std::vector<std::size_t>& wires, std::size_t wire) {
  return std::find(wires.begin(), wires.end(), wire) != wires.end();
}

// The sample's end of every cable, and the instruments that are plugged in.
class Cabling {
 public:
  Cabling(const BenchFile& file, EmulationOptions options)
      : file_(file), options_(std::move(options)), ports_(file.wiring.size()) {
    emulation_.bench = std::make_shared<sim::EmulatedBench>(std::make_unique<sim::Circuit>(
        options_.network, file.scale, std::vector<double>(options_.network.nodes.size(), options_.capacity),
        lines()));
    for (const ParameterInfo& info : circuit().network().parameter_info())
      parameters_.emplace(info.name, parameters_.size());
    wiring_ = as_miswired(file, circuit());
  }

  Emulation with_instruments() && {
    std::map<std::uint32_t, std::vector<std::pair<std::uint8_t, sim::EmulatedInstrument*>>> boards;
    for (std::size_t i = 0; i < file_.instruments.size(); ++i) {
      const BenchInstrument& described = file_.instruments[i];
      sim::EmulatedInstrument& instrument = emulation_.bench->add(described.kind.emulator(wiring_of(i)));
      emulation_.instruments.push_back(&instrument);
      if (!described.address) continue;
      if (const auto* gpib = std::get_if<protocols::GpibName>(&*described.address)) {
        boards[gpib->board].emplace_back(gpib->primary, &instrument);
      }
    }
    for (const auto& [board, instruments] : boards) {
      emulation_.controllers.emplace_back(board, &emulation_.bench->add(sim::emulated_prologix(instruments)));
    }
    return std::move(emulation_);
  }

 private:
  sim::Circuit& circuit() { return emulation_.bench->circuit(); }

  // A port for every wire to a node, in the order of the file.
  std::vector<sim::Line> lines() {
    std::vector<sim::Line> lines;
    for (std::size_t w = 0; w < file_.wiring.size(); ++w) {
      const BenchWire& wire = file_.wiring[w];
      if (!wire.node) continue;
      ports_[w] = lines.size();
      const double lead = is_among(options_.open, w) ? open_lead : options_.leads ? wire.lead : no_lead;
      lines.push_back({*wire.node, lead, !sets_levels(file_.instrument(wire).role()), wire.elements});
    }
    return lines;
  }

  EmulatedWiring wiring_of(std::size_t i) {
    const BenchInstrument& described = file_.instruments[i];
    EmulatedWiring at{circuit(), {}, {}, options_.imperfection};
    at.imperfection.number = static_cast<std::uint32_t>(i);
    bool wired = false;
    for (std::size_t w = 0; w < wiring_.size(); ++w) {
      const BenchWire& wire = wiring_[w];
      if (wire.instrument != i) continue;
      wired = true;
      const bool open = is_among(options_.open, w);
      if (wire.node) {
        emulation_.wire_of_port.emplace(ports_[w], wire.name);
        // Terminals are there, whatever their lead leads to; a channel of several then leads nowhere.
        if (!open || !described.kind.channels.several) at.ports.push_back({wire.channel, ports_[w]});
      } else if (!open && !is_among(options_.shorted, w)) {
        at.gates.push_back(gate_of(wire));
      }
    }
    if (!wired && !described.kind.channels.several) {
      throw FileError(file_.path + ": [instruments." + described.name +
                      "]: leads to no node, and surroundings are not emulated; in a rehearsal read them by a "
                      "scanner's channel, "
                      "which then reads 0 V");
    }
    return at;
  }

  sim::Gate gate_of(const BenchWire& wire) {
    const std::size_t parameter = parameters_.at(wire.parameter);
    emulation_.wire_of_parameter.emplace(parameter, wire);
    sim::Gate gate{wire.channel, parameter, wire.per_volt, wire.offset, {}};
    for (const BenchTalk& talk : file_.cross_talk) {
      if (talk.to != wire.name) continue;
      const auto from = std::find_if(wiring_.begin(), wiring_.end(),
                                     [&](const BenchWire& other) { return other.name == talk.from; });
      if (from->instrument != wire.instrument) {
        throw FileError(file_.path + ": [cross-talk." + talk.name +
                        "]: is emulated between channels of one instrument only, and '" + talk.from +
                        "' is of another");
      }
      gate.talk.emplace_back(from->channel, talk.per_volt);
    }
    return gate;
  }

  const BenchFile& file_;
  EmulationOptions options_;
  std::vector<std::size_t> ports_;  // of each wire to a node
  std::map<std::string, std::size_t> parameters_;
  std::vector<BenchWire> wiring_;  // as it is, mistakes included
  Emulation emulation_;
};

}  // namespace

Emulation emulate(const BenchFile& file, const sim::NetworkSpec* network) {
  if (!file.emulation)
    throw FileError(file.path +
                    ": expected a table [emulation] that says which network stands in for the sample");
  EmulationOptions options = *file.emulation;
  if (network != nullptr) options.network = *network;
  return Cabling(file, std::move(options)).with_instruments();
}

EmulatedLink emulated_link(const BenchInstrument& instrument) {
  if (!instrument.address) return EmulatedLink::socket;
  struct {
    const BenchInstrument& of;
    EmulatedLink operator()(const protocols::SocketName&) const { return EmulatedLink::socket; }
    EmulatedLink operator()(const protocols::LanName&) const { return EmulatedLink::socket; }
    EmulatedLink operator()(const protocols::SerialName&) const { return EmulatedLink::serial_line; }
    EmulatedLink operator()(const protocols::GpibName&) const { return EmulatedLink::gpib; }
    EmulatedLink operator()(const protocols::GpibBoardName&) const { return refuse(); }
    EmulatedLink operator()(const protocols::PrologixName&) const { return refuse(); }
    EmulatedLink operator()(const protocols::UsbName&) const { return refuse(); }
    [[noreturn]] EmulatedLink refuse() const {
      throw FileError("instrument '" + of.name + "': no emulated link stands in for " +
                      to_string(*of.address) + "; expected a TCPIP, ASRL or GPIB address, or none");
    }
  } const by_name{instrument};
  return std::visit(by_name, *instrument.address);
}

void trace(const Emulation& emulation, std::shared_ptr<std::ostream> out) {
  *out << "time,wire,what,level,limit\n" << std::flush;
  emulation.bench->circuit().watch([out, ports = emulation.wire_of_port,
                                    gates = emulation.wire_of_parameter](const sim::CircuitChange& change) {
    const auto line = [&](const std::string& wire, const std::string& what, double level, double limit) {
      std::array<char, 256> text{};
      std::snprintf(text.data(), text.size(), "%.9f,%s,%s,%.9g,%.9g\n", change.time, wire.c_str(),
                    what.c_str(), level, limit);
      *out << text.data() << std::flush;
    };
    if (change.parameter) {
      const auto gate = gates.find(change.index);
      if (gate != gates.end())
        line(gate->second.name, gate->second.parameter,
             (change.value - gate->second.offset) / gate->second.per_volt, 0);
      return;
    }
    const auto port = ports.find(change.index);
    if (port == ports.end()) return;
    using Kind = sim::PortState::Kind;
    line(port->second,
         change.state.kind == Kind::voltage   ? "voltage"
         : change.state.kind == Kind::current ? "current"
                                              : "open",
         change.state.level, change.state.limit);
  });
}

}  // namespace ness
