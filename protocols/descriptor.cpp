#include "descriptor.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "ness/protocols/errors.hpp"

namespace ness::protocols {

namespace {

using Steady = std::chrono::steady_clock;

// Waits until the descriptor is ready for `events`; false after the time limit.
bool wait(int descriptor, short events, Steady::time_point until) {
  for (;;) {
    const auto left = std::chrono::ceil<Milliseconds>(until - Steady::now()).count();
    pollfd waiting{descriptor, events, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::max<Milliseconds::rep>(left, 0)));
    if (ready > 0) return true;
    if (ready == 0) return false;
    if (errno != EINTR) return true;  // the next read or write reports the error
  }
}

std::string in(Milliseconds limit) { return " in " + std::to_string(limit.count()) + " ms"; }

}  // namespace

void write_all(int descriptor, std::string_view bytes, Milliseconds limit, const std::string& address) {
  const auto until = Steady::now() + limit;
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t n = ::write(descriptor, bytes.data() + sent, bytes.size() - sent);
    if (n > 0) {
      sent += static_cast<std::size_t>(n);
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (!wait(descriptor, POLLOUT, until)) {
        throw Timeout(address, "took " + std::to_string(sent) + " of " + std::to_string(bytes.size()) +
                                   " bytes" + in(limit));
      }
    } else {
      throw LinkError(address, std::string("writing failed: ") + std::strerror(errno));
    }
  }
}

std::size_t read_some(int descriptor, std::span<char> into, Milliseconds limit, const std::string& address) {
  const auto until = Steady::now() + limit;
  for (;;) {
    // Wait first: a reply is rarely there already, and a read without data is a wasted system call.
    if (!wait(descriptor, POLLIN, until)) throw Timeout(address, "no byte came" + in(limit));
    const ssize_t n = ::read(descriptor, into.data(), into.size());
    if (n > 0) return static_cast<std::size_t>(n);
    // Reading a pseudo-terminal whose other end is closed gives EIO.
    if (n == 0 || errno == EIO) throw LinkError(address, "the other end closed the connection");
    if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)
      throw LinkError(address, std::string("reading failed: ") + std::strerror(errno));
  }
}

}  // namespace ness::protocols
