#include "ness/bench/endpoints.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pty.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "ness/protocols/errors.hpp"
#include "ness/protocols/resource_name.hpp"

namespace ness {

namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error("emulated instruments: " + what + ": " + std::strerror(errno));
}

}  // namespace

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

ListeningSocket::ListeningSocket()
    : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* general = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_.get(), general, length) != 0 || ::listen(listener_.get(), 8) != 0 ||
      ::getsockname(listener_.get(), general, &length) != 0)
    fail("no port to listen on");
  port_ = ntohs(address.sin_port);
}

Descriptor ListeningSocket::accept() {
  Descriptor client(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  const int on = 1;
  if (client.get() >= 0) ::setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return client;
}

PseudoTerminal::PseudoTerminal() {
  int master = -1, slave = -1;
  std::array<char, 256> name{};
  if (::openpty(&master, &slave, name.data(), nullptr, nullptr) != 0) fail("no pseudo-terminal");
  end = Descriptor(master);
  line = Descriptor(slave);
  path = name.data();
  ::fcntl(master, F_SETFL, ::fcntl(master, F_GETFL) | O_NONBLOCK);
  termios settings{};
  ::tcgetattr(slave, &settings);
  ::cfmakeraw(&settings);
  ::tcsetattr(slave, TCSANOW, &settings);
}

namespace {

constexpr int patience = 10000;  // ms, of the wall's clock: what is waited for is under way

// What both kinds do with the descriptor they have.
class DescriptorEnd : public sim::FarEnd {
 public:
  explicit DescriptorEnd(std::string address) : address_(std::move(address)) {}

  void receive(std::size_t count, std::string& into) override {
    std::array<char, piece> bytes;
    if (count > piece)
      throw std::invalid_argument(address_ + ": " + std::to_string(count) +
                                  " bytes at once; expected at most " + std::to_string(piece));
    while (count > 0) {
      // A socket's bytes are there when the near end's write returns, a pseudo-terminal's a moment later.
      const ssize_t n = ::read(descriptor(), bytes.data(), count);
      if (n > 0) {
        into.append(bytes.data(), static_cast<std::size_t>(n));
        count -= static_cast<std::size_t>(n);
      } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        wait(POLLIN);
      } else if (n == 0 || errno != EINTR) {
        throw LinkError(address_,
                        n == 0 ? std::string("the near end closed the link in the middle of a message")
                               : std::string("reading at the far end failed: ") + std::strerror(errno));
      }
    }
  }

  void send(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::write(descriptor(), bytes.data(), bytes.size());
      if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
      else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) wait(POLLOUT);
      else if (errno != EINTR)
        throw LinkError(address_, std::string("writing at the far end failed: ") + std::strerror(errno));
    }
  }

 protected:
  virtual int descriptor() const = 0;
  void wait(short events) const {
    pollfd waiting{descriptor(), events, 0};
    if (::poll(&waiting, 1, patience) == 0)
      throw LinkError(address_, "the far end was not ready in " + std::to_string(patience) + " ms");
  }
  std::string address_;
};

class SocketEnd final : public DescriptorEnd {
 public:
  explicit SocketEnd(ListeningSocket socket)
      : DescriptorEnd(
            to_string(protocols::ResourceName(protocols::SocketName{0, "127.0.0.1", socket.port()}))),
        socket_(std::move(socket)) {}
  void accept() override {
    client_ = Descriptor();  // with what it had still to say
    pollfd waiting{socket_.descriptor(), POLLIN, 0};
    ::poll(&waiting, 1, patience);
    client_ = socket_.accept();
    if (client_.get() < 0)
      throw LinkError(address_, "the far end took up no connection: " + std::string(std::strerror(errno)));
  }

 private:
  int descriptor() const override { return client_.get(); }
  ListeningSocket socket_;
  Descriptor client_;
};

class TerminalEnd final : public DescriptorEnd {
 public:
  explicit TerminalEnd(PseudoTerminal terminal)
      : DescriptorEnd(to_string(protocols::ResourceName(protocols::SerialName{terminal.path}))),
        terminal_(std::move(terminal)) {}
  // The line is the same one: what a client left on it, whatever its flush when it opened it has not reached,
  // is read away.
  void accept() override {
    std::array<char, piece> bytes;
    for (ssize_t n = 1; n > 0 || (n < 0 && errno == EINTR);)
      n = ::read(descriptor(), bytes.data(), bytes.size());
  }

 private:
  int descriptor() const override { return terminal_.end.get(); }
  PseudoTerminal terminal_;
};

}  // namespace

std::unique_ptr<sim::FarEnd> far_end(ListeningSocket socket) {
  return std::make_unique<SocketEnd>(std::move(socket));
}
std::unique_ptr<sim::FarEnd> far_end(PseudoTerminal terminal) {
  return std::make_unique<TerminalEnd>(std::move(terminal));
}

}  // namespace ness
