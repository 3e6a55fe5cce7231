#include "ness/bench/emulation_server.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <optional>

#include "ness/bench/endpoints.hpp"

namespace ness {

namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error("ness emulate: " + what + ": " + std::strerror(errno));
}

// Where one instrument is reached: a listening socket and its clients, or a pseudo-terminal.
struct Entrance {
  sim::EmulatedInstrument* instrument = nullptr;
  std::optional<ListeningSocket> listener;
  std::optional<PseudoTerminal> line;
  std::vector<Descriptor> clients;  // TCP clients, or the one end of the pseudo-terminal
  std::size_t asking = 0;           // the client that sent last: what is said goes there
  std::string unsent;
  bool terminal() const { return line.has_value(); }
};

constexpr std::size_t most_clients = 8, most_unsent = 1 << 22;

}  // namespace

struct EmulationServer::Impl {
  Emulation emulation;
  std::vector<Entrance> entrances;
  std::vector<Listening> listening;
  std::chrono::steady_clock::time_point began;

  double now() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  }

  std::uint16_t listen(sim::EmulatedInstrument* instrument) {
    Entrance entrance;
    entrance.instrument = instrument;
    const std::uint16_t port = entrance.listener.emplace().port();
    entrances.push_back(std::move(entrance));
    return port;
  }

  std::string open_terminal(sim::EmulatedInstrument* instrument) {
    Entrance entrance;
    entrance.instrument = instrument;
    std::string path = entrance.line.emplace().path;
    entrance.clients.push_back(std::move(entrance.line->end));
    entrances.push_back(std::move(entrance));
    return path;
  }

  void accept(Entrance& entrance) {
    Descriptor client = entrance.listener->accept();
    // refused: it sees the connection close
    if (client.get() < 0 || entrance.clients.size() >= most_clients) return;
    entrance.clients.push_back(std::move(client));
  }

  // Bytes from a client, at the time they came. False where it has gone.
  bool hear(Entrance& entrance, std::size_t client) {
    std::array<char, 65536> bytes;
    const ssize_t n = ::read(entrance.clients[client].get(), bytes.data(), bytes.size());
    if (n < 0) return errno == EAGAIN || errno == EINTR || entrance.terminal();
    if (n == 0) return entrance.terminal();
    entrance.asking = client;
    emulation.bench->advance(std::max(emulation.bench->time(), now()));
    entrance.instrument->receive({bytes.data(), static_cast<std::size_t>(n)}, emulation.bench->time());
    emulation.bench->advance(emulation.bench->time());
    return true;
  }

  void leave(Entrance& entrance, std::size_t client) {
    entrance.clients.erase(entrance.clients.begin() + static_cast<std::ptrdiff_t>(client));
    if (entrance.asking == client) {
      entrance.unsent.clear();  // nobody else asked for it
      entrance.instrument->drop_replies();
    }
    if (entrance.asking >= client && entrance.asking > 0) --entrance.asking;
  }

  void speak(Entrance& entrance) {
    entrance.unsent += entrance.instrument->take_output();
    if (entrance.unsent.size() > most_unsent) entrance.unsent.clear();
    if (entrance.unsent.empty() || entrance.asking >= entrance.clients.size()) return;
    const ssize_t n =
        ::write(entrance.clients[entrance.asking].get(), entrance.unsent.data(), entrance.unsent.size());
    if (n > 0) entrance.unsent.erase(0, static_cast<std::size_t>(n));
  }

  // What to wait for: the waker, then of each entrance its listener, and its clients.
  void collect(int waker, std::vector<pollfd>& waiting) const {
    waiting.assign(1, {waker, POLLIN, 0});
    for (const Entrance& entrance : entrances) {
      if (!entrance.terminal()) waiting.push_back({entrance.listener->descriptor(), POLLIN, 0});
      for (std::size_t c = 0; c < entrance.clients.size(); ++c) {
        const bool writing = !entrance.unsent.empty() && c == entrance.asking;
        waiting.push_back(
            {entrance.clients[c].get(), static_cast<short>(POLLIN | (writing ? POLLOUT : 0)), 0});
      }
    }
  }

  // Until something comes, or an instrument does something by itself.
  void wait(std::vector<pollfd>& waiting) const {
    const double seconds = std::clamp(emulation.bench->next_event() - now(), 0.0, 3600.0);
    timespec patience{};
    patience.tv_sec = static_cast<time_t>(seconds);
    patience.tv_nsec = static_cast<long>((seconds - std::floor(seconds)) * 1e9);
    if (::ppoll(waiting.data(), waiting.size(), &patience, nullptr) < 0 && errno != EINTR)
      fail("waiting failed");
  }

  // What has come, in the order of collect().
  void take_in(const std::vector<pollfd>& waiting) {
    std::size_t w = 1;
    for (Entrance& entrance : entrances) {
      const std::size_t clients = entrance.clients.size();
      const bool knocked = !entrance.terminal() && (waiting[w++].revents & POLLIN) != 0;
      std::vector<std::size_t> gone;
      for (std::size_t c = 0; c < clients; ++c, ++w) {
        if ((waiting[w].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !hear(entrance, c)) gone.push_back(c);
      }
      for (auto c = gone.rbegin(); c != gone.rend(); ++c) leave(entrance, *c);
      if (knocked) accept(entrance);
    }
  }

  void run(std::stop_token stop) {
    const Descriptor waker(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    const std::stop_callback wake(stop, [&] { ::eventfd_write(waker.get(), 1); });
    began =
        std::chrono::steady_clock::now() - std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                               std::chrono::duration<double>(emulation.bench->time()));
    std::vector<pollfd> waiting;
    while (!stop.stop_requested()) {
      collect(waker.get(), waiting);
      wait(waiting);
      take_in(waiting);
      emulation.bench->advance(std::max(emulation.bench->time(), now()));
      for (Entrance& entrance : entrances) speak(entrance);
    }
  }
};

EmulationServer::EmulationServer(const BenchFile& file, Emulation emulation)
    : impl_(std::make_unique<Impl>()) {
  impl_->emulation = std::move(emulation);
  for (const auto& [board, controller] : impl_->emulation.controllers) {
    const std::uint16_t port = impl_->listen(controller);
    impl_->listening.push_back(
        {"GPIB" + std::to_string(board), "prologix",
         to_string(protocols::ResourceName(protocols::PrologixName{board, false, "127.0.0.1", port}))});
  }
  for (std::size_t i = 0; i < file.instruments.size(); ++i) {
    const BenchInstrument& described = file.instruments[i];
    sim::EmulatedInstrument* instrument = impl_->emulation.instruments[i];
    Listening entry{described.name, described.kind.name, {}};
    switch (emulated_link(described)) {
      case EmulatedLink::socket:
        entry.resource = to_string(
            protocols::ResourceName(protocols::SocketName{0, "127.0.0.1", impl_->listen(instrument)}));
        break;
      case EmulatedLink::serial_line:
        entry.resource =
            to_string(protocols::ResourceName(protocols::SerialName{impl_->open_terminal(instrument)}));
        break;
      case EmulatedLink::gpib: entry.resource = to_string(*described.address); break;
    }
    impl_->listening.push_back(std::move(entry));
  }
}
EmulationServer::~EmulationServer() = default;
const std::vector<Listening>& EmulationServer::listening() const { return impl_->listening; }
void EmulationServer::run(std::stop_token stop) { impl_->run(stop); }

}  // namespace ness
