// The instrument's ends of links on this machine: listening sockets on loopback and pseudo-terminals.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "ness/emulators/virtual_time.hpp"

namespace ness {

/// A file descriptor, closed at the end.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();
  int get() const { return number_; }

 private:
  int number_;
};

/// A TCP socket that listens on loopback, at a port the system chose.
class ListeningSocket {
 public:
  /// Throws std::runtime_error.
  ListeningSocket();
  int descriptor() const { return listener_.get(); }
  std::uint16_t port() const { return port_; }
  /// The next client in the queue, its descriptor non-blocking and without Nagle's delay; none (-1) where no
  /// client has connected.
  Descriptor accept();

 private:
  Descriptor listener_;
  std::uint16_t port_ = 0;
};

/// A pseudo-terminal, raw. The client's end is kept open too, so that a client may come and go.
struct PseudoTerminal {
  /// Throws std::runtime_error.
  PseudoTerminal();
  Descriptor end;    ///< the instrument's, non-blocking
  Descriptor line;   ///< the client's
  std::string path;  ///< of the client's end
};

/// Both as the far end of a link whose near end is in this process (sim::virtual_time_transport).
std::unique_ptr<sim::FarEnd> far_end(ListeningSocket socket);
std::unique_ptr<sim::FarEnd> far_end(PseudoTerminal terminal);

}  // namespace ness
