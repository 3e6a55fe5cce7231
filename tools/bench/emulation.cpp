#include "ness/bench/emulation.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>

#include "ness/bench/endpoints.hpp"
#include "ness/files/line_elements.hpp"
#include "ness/device/error.hpp"

namespace ness {

namespace {

// Ohms: 10 nV at the compliance of a bench, and still a circuit that can be followed.
constexpr double no_lead = 1e-4;
constexpr double open_lead = 1e15, touch = 1e-2;  // ohms

bool is_shorted(const EmulationOptions& options, std::size_t wire) { return std::find(options.shorted.begin(), options.shorted.end(), wire) != options.shorted.end(); }

// The wires as they are at the sample, with the mistakes of [emulation]. A cable is an instrument's channel; where it leads is the sample's.
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
      const auto found = std::find_if(parameters.begin(), parameters.end(), [&](const ParameterInfo& p) { return p.name == wiring[w].parameter; });
      circuit.set_parameter(static_cast<std::size_t>(found - parameters.begin()), std::clamp(wiring[w].offset, found->range.low, found->range.high));
    }
  }
  return wiring;
}

}  // namespace

Emulation emulate(const BenchFile& file, const sim::NetworkSpec* network) {
  if (!file.emulation) throw FileError(file.path + ": expected a table [emulation] that says which network stands in for the sample");
  EmulationOptions options = *file.emulation;
  if (network != nullptr) options.network = *network;
  const auto is_open = [&](std::size_t wire) { return std::find(options.open.begin(), options.open.end(), wire) != options.open.end(); };
  // A port for every wire to a node, in the order of the file.
  std::vector<sim::Line> lines;
  std::vector<std::size_t> ports(file.wiring.size());
  for (std::size_t w = 0; w < file.wiring.size(); ++w) {
    const BenchWire& wire = file.wiring[w];
    if (!wire.node) continue;
    ports[w] = lines.size();
    const double lead = is_open(w) ? open_lead : options.leads ? wire.lead : no_lead;
    lines.push_back({*wire.node, lead, is_meter(file.instruments[wire.instrument].model), wire.elements});
  }
  Emulation emulation;
  emulation.bench = std::make_shared<sim::EmulatedBench>(
      std::make_unique<sim::Circuit>(options.network, file.scale, std::vector<double>(options.network.nodes.size(), options.capacity), lines));
  sim::Circuit& circuit = emulation.bench->circuit();
  std::map<std::string, std::size_t> parameters;
  for (const ParameterInfo& info : circuit.network().parameter_info()) parameters.emplace(info.name, parameters.size());

  const std::vector<BenchWire> wiring = as_miswired(file, circuit);

  std::map<std::uint32_t, std::vector<std::pair<std::uint8_t, sim::EmulatedInstrument*>>> boards;
  for (std::size_t i = 0; i < file.instruments.size(); ++i) {
    const BenchInstrument& described = file.instruments[i];
    sim::Imperfection imperfection = options.imperfection;
    imperfection.number = static_cast<std::uint32_t>(i);
    std::vector<sim::ScannerChannel> scanned;
    std::vector<sim::DacChannel> driven;
    std::vector<sim::Gate> gates;
    std::size_t port = 0;
    for (std::size_t w = 0; w < wiring.size(); ++w) {
      const BenchWire& wire = wiring[w];
      if (wire.instrument != i) continue;
      if (wire.node) {
        port = ports[w];
        emulation.wire_of_port.emplace(port, wire.name);
        if (is_open(w) && described.model != InstrumentModel::keithley_2400) continue;
        scanned.push_back({wire.channel, port});
        driven.push_back({wire.channel, port});
      } else {
        if (is_open(w) || is_shorted(options, w)) continue;
        gates.push_back({wire.channel, parameters.at(wire.parameter), wire.per_volt, wire.offset, {}});
        emulation.wire_of_parameter.emplace(parameters.at(wire.parameter), wire);
        for (const BenchTalk& talk : file.cross_talk) {
          if (talk.to != wire.name) continue;
          const auto from = std::find_if(wiring.begin(), wiring.end(), [&](const BenchWire& other) { return other.name == talk.from; });
          if (from->instrument != i) throw FileError(file.path + ": [cross-talk." + talk.name + "]: is emulated between channels of one instrument only, and '" + talk.from + "' is of another");
          gates.back().talk.emplace_back(from->channel, talk.per_volt);
        }
      }
    }
    const bool many = described.model == InstrumentModel::keysight_34970a || described.model == InstrumentModel::keysight_daq970a || described.model == InstrumentModel::qdac2;
    if (!many && std::none_of(file.wiring.begin(), file.wiring.end(), [&](const BenchWire& w) { return w.instrument == i; })) {
      throw FileError(file.path + ": [instruments." + described.name + "]: leads to no node, and surroundings are not emulated; in a rehearsal read them by a scanner's channel, which then reads 0 V");
    }
    const auto make = [&]() -> std::unique_ptr<sim::EmulatedInstrument> {
      switch (described.model) {
        case InstrumentModel::keithley_2400: return sim::emulated_keithley_2400(circuit, port, imperfection);
        case InstrumentModel::keysight_34970a: return sim::emulated_scanner(sim::Scanner::keysight_34970a, circuit, scanned, imperfection);
        case InstrumentModel::keysight_daq970a: return sim::emulated_scanner(sim::Scanner::keysight_daq970a, circuit, scanned, imperfection);
        case InstrumentModel::agilent_34401a: return sim::emulated_multimeter(sim::Multimeter::agilent_34401a, circuit, port, imperfection);
        case InstrumentModel::keysight_34461a: return sim::emulated_multimeter(sim::Multimeter::keysight_34461a, circuit, port, imperfection);
        default: return sim::emulated_qdac2(circuit, gates, driven, imperfection);
      }
    };
    sim::EmulatedInstrument& instrument = emulation.bench->add(make());
    emulation.instruments.push_back(&instrument);
    if (described.address) {
      if (const auto* gpib = std::get_if<protocols::GpibName>(&*described.address)) boards[gpib->board].emplace_back(gpib->primary, &instrument);
    }
  }
  for (const auto& [board, instruments] : boards) emulation.controllers.emplace_back(board, &emulation.bench->add(sim::emulated_prologix(instruments)));
  return emulation;
}

void trace(const Emulation& emulation, std::shared_ptr<std::ostream> out) {
  *out << "time,wire,what,level,limit\n" << std::flush;
  emulation.bench->circuit().watch([out, ports = emulation.wire_of_port, gates = emulation.wire_of_parameter](const sim::CircuitChange& change) {
    const auto line = [&](const std::string& wire, const std::string& what, double level, double limit) {
      std::array<char, 256> text{};
      std::snprintf(text.data(), text.size(), "%.9f,%s,%s,%.9g,%.9g\n", change.time, wire.c_str(), what.c_str(), level, limit);
      *out << text.data() << std::flush;
    };
    if (change.parameter) {
      const auto gate = gates.find(change.index);
      if (gate != gates.end()) line(gate->second.name, gate->second.parameter, (change.value - gate->second.offset) / gate->second.per_volt, 0);
      return;
    }
    const auto port = ports.find(change.index);
    if (port == ports.end()) return;
    using Kind = sim::PortState::Kind;
    line(port->second, change.state.kind == Kind::voltage ? "voltage" : change.state.kind == Kind::current ? "current" : "open", change.state.level, change.state.limit);
  });
}

namespace {

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error("ness emulate: " + what + ": " + std::strerror(errno)); }

// Where one instrument is reached: a listening socket and its clients, or a pseudo-terminal.
struct Place {
  sim::EmulatedInstrument* instrument = nullptr;
  std::optional<ListeningSocket> listener;
  std::optional<PseudoTerminal> line;
  std::vector<Descriptor> clients;   // TCP clients, or the one end of the pseudo-terminal
  std::size_t asking = 0;            // the client that sent last: what is said goes there
  std::string unsent;
  bool terminal() const { return line.has_value(); }
};

constexpr std::size_t most_clients = 8, most_unsent = 1 << 22;

}  // namespace

struct EmulationServer::Impl {
  Emulation emulation;
  std::vector<Place> places;
  std::vector<Listening> listening;
  std::chrono::steady_clock::time_point began;

  double now() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count(); }

  std::uint16_t listen(sim::EmulatedInstrument* instrument) {
    Place place;
    place.instrument = instrument;
    const std::uint16_t port = place.listener.emplace().port();
    places.push_back(std::move(place));
    return port;
  }

  std::string open_terminal(sim::EmulatedInstrument* instrument) {
    Place place;
    place.instrument = instrument;
    std::string path = place.line.emplace().path;
    place.clients.push_back(std::move(place.line->end));
    places.push_back(std::move(place));
    return path;
  }

  void accept(Place& place) {
    Descriptor client = place.listener->accept();
    if (client.get() < 0 || place.clients.size() >= most_clients) return;  // refused: it sees the connection close
    place.clients.push_back(std::move(client));
  }

  // Bytes from a client, at the time they came. False where it has gone.
  bool hear(Place& place, std::size_t client) {
    std::array<char, 65536> bytes;
    const ssize_t n = ::read(place.clients[client].get(), bytes.data(), bytes.size());
    if (n < 0) return errno == EAGAIN || errno == EINTR || place.terminal();
    if (n == 0) return place.terminal();
    place.asking = client;
    emulation.bench->advance(std::max(emulation.bench->time(), now()));
    place.instrument->receive({bytes.data(), static_cast<std::size_t>(n)}, emulation.bench->time());
    emulation.bench->advance(emulation.bench->time());
    return true;
  }

  void leave(Place& place, std::size_t client) {
    place.clients.erase(place.clients.begin() + static_cast<std::ptrdiff_t>(client));
    if (place.asking == client) {
      place.unsent.clear();  // nobody else asked for it
      place.instrument->drop_replies();
    }
    if (place.asking >= client && place.asking > 0) --place.asking;
  }

  void speak(Place& place) {
    place.unsent += place.instrument->take_output();
    if (place.unsent.size() > most_unsent) place.unsent.clear();
    if (place.unsent.empty() || place.asking >= place.clients.size()) return;
    const ssize_t n = ::write(place.clients[place.asking].get(), place.unsent.data(), place.unsent.size());
    if (n > 0) place.unsent.erase(0, static_cast<std::size_t>(n));
  }

  void run(std::stop_token stop) {
    const Descriptor waker(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    const std::stop_callback wake(stop, [&] { ::eventfd_write(waker.get(), 1); });
    began = std::chrono::steady_clock::now() - std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(emulation.bench->time()));
    std::vector<pollfd> waiting;
    while (!stop.stop_requested()) {
      waiting.assign(1, {waker.get(), POLLIN, 0});
      for (const Place& place : places) {
        if (!place.terminal()) waiting.push_back({place.listener->descriptor(), POLLIN, 0});
        for (std::size_t c = 0; c < place.clients.size(); ++c) {
          const bool writing = !place.unsent.empty() && c == place.asking;
          waiting.push_back({place.clients[c].get(), static_cast<short>(POLLIN | (writing ? POLLOUT : 0)), 0});
        }
      }
      const double next = emulation.bench->next_event();
      const double wait = std::clamp(next - now(), 0.0, 3600.0);
      timespec patience{};
      patience.tv_sec = static_cast<time_t>(wait);
      patience.tv_nsec = static_cast<long>((wait - std::floor(wait)) * 1e9);
      if (::ppoll(waiting.data(), waiting.size(), &patience, nullptr) < 0 && errno != EINTR) fail("waiting failed");
      std::size_t w = 1;
      for (Place& place : places) {
        const std::size_t clients = place.clients.size();
        const bool knocked = !place.terminal() && (waiting[w++].revents & POLLIN) != 0;
        std::vector<std::size_t> gone;
        for (std::size_t c = 0; c < clients; ++c, ++w) {
          if ((waiting[w].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !hear(place, c)) gone.push_back(c);
        }
        for (auto c = gone.rbegin(); c != gone.rend(); ++c) leave(place, *c);
        if (knocked) accept(place);
      }
      emulation.bench->advance(std::max(emulation.bench->time(), now()));
      for (Place& place : places) speak(place);
    }
  }
};

EmulationServer::EmulationServer(const BenchFile& file, Emulation emulation) : impl_(std::make_unique<Impl>()) {
  impl_->emulation = std::move(emulation);
  for (const auto& [board, controller] : impl_->emulation.controllers) {
    const std::uint16_t port = impl_->listen(controller);
    impl_->listening.push_back({"GPIB" + std::to_string(board), "prologix", to_string(protocols::ResourceName(protocols::PrologixName{board, false, "127.0.0.1", port}))});
  }
  for (std::size_t i = 0; i < file.instruments.size(); ++i) {
    const BenchInstrument& described = file.instruments[i];
    sim::EmulatedInstrument* instrument = impl_->emulation.instruments[i];
    Listening entry{described.name, to_string(described.model), {}};
    if (described.address && std::holds_alternative<protocols::GpibName>(*described.address)) entry.resource = to_string(*described.address);
    else if (described.address && std::holds_alternative<protocols::SerialName>(*described.address)) entry.resource = to_string(protocols::ResourceName(protocols::SerialName{impl_->open_terminal(instrument)}));
    else entry.resource = to_string(protocols::ResourceName(protocols::SocketName{0, "127.0.0.1", impl_->listen(instrument)}));
    impl_->listening.push_back(std::move(entry));
  }
}
EmulationServer::~EmulationServer() = default;
const std::vector<Listening>& EmulationServer::listening() const { return impl_->listening; }
void EmulationServer::run(std::stop_token stop) { impl_->run(stop); }

}  // namespace ness
