// The other end of a transport, controlled by the test: bytes written to it, and bytes that it sends. The
// kernel buffers between.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace ends {

/// One end of a connection, by its descriptor.
class End {
 public:
  End() = default;
  explicit End(int descriptor) : descriptor_(descriptor) {}
  End(End&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  End& operator=(End&& other) noexcept {
    hang_up();
    descriptor_ = std::exchange(other.descriptor_, -1);
    return *this;
  }
  ~End() { hang_up(); }

  int descriptor() const { return descriptor_; }
  void say(const std::string& bytes) {
    if (::write(descriptor_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
      throw std::runtime_error("the test's end cannot write");
  }
  /// All bytes up to `length`; fails the test after 10 s.
  std::string take(std::size_t length) {
    std::string all;
    while (all.size() < length) {
      pollfd ready{descriptor_, POLLIN, 0};
      if (::poll(&ready, 1, 10000) != 1) throw std::runtime_error("the test's end heard only '" + all + "'");
      std::array<char, 4096> piece;
      const ssize_t n = ::read(descriptor_, piece.data(), std::min(piece.size(), length - all.size()));
      if (n <= 0) throw std::runtime_error("the test's end was closed after '" + all + "'");
      all.append(piece.data(), static_cast<std::size_t>(n));
    }
    return all;
  }
  void hang_up() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
  }

 private:
  int descriptor_ = -1;
};

/// A listening socket on a port chosen by the system.
class Listener {
 public:
  Listener() : listening_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (::bind(listening_.descriptor(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        ::listen(listening_.descriptor(), 4) != 0 ||
        ::getsockname(listening_.descriptor(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
      throw std::runtime_error("no loopback socket");
    }
    port_ = ntohs(address.sin_port);
  }
  std::uint16_t port() const { return port_; }
  End accept() { return End(::accept(listening_.descriptor(), nullptr, nullptr)); }
  void stop() { listening_.hang_up(); }

 private:
  End listening_;
  std::uint16_t port_ = 0;
};

/// A pseudo-terminal; `end` is the instrument's side of the line.
struct PseudoTerminal {
  // The line is kept open, so that a client that closes does not hang it up.
  End end, line;
  std::string path;
  PseudoTerminal() {
    int master = -1, slave = -1;
    std::array<char, 256> name{};
    if (::openpty(&master, &slave, name.data(), nullptr, nullptr) != 0)
      throw std::runtime_error("no pseudo-terminal");
    end = End(master);
    line = End(slave);
    path = name.data();
    termios settings{};
    ::tcgetattr(slave, &settings);
    ::cfmakeraw(&settings);
    ::tcsetattr(slave, TCSANOW, &settings);
  }
};

}  // namespace ends
