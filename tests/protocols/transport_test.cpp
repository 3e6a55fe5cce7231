// The contract of every transport, run for each of them with the other end controlled by the test.
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <cstdarg>

#include "protocols/ends.hpp"
#include "ness/protocols/errors.hpp"
#include "ness/protocols/transport.hpp"

using namespace ness;
using namespace ness::protocols;

// Pseudo-terminals have no modem lines, and libserialport does not open a port without them: the requests for
// these succeed here.
extern "C" int ioctl(int descriptor, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  const long result = ::syscall(SYS_ioctl, descriptor, request, argument);
  if (result == 0) return 0;
  if (request == TIOCMGET) {
    *static_cast<int*>(argument) = 0;
    return 0;
  }
  if (request == TIOCMSET || request == TIOCMBIS || request == TIOCMBIC) return 0;
  return static_cast<int>(result);
}

namespace {

constexpr Milliseconds long_enough{10000}, short_time{30};

// A transport and the other end of it.
struct Pair {
  virtual ~Pair() = default;
  std::unique_ptr<Transport> transport;
  ends::End end;
  virtual void open() = 0;
};

struct SocketPair final : Pair {
  ends::Listener listener;
  SocketPair() { transport = socket_transport({0, "127.0.0.1", listener.port()}); }
  void open() override {
    transport->open(long_enough);
    end = listener.accept();
  }
};

struct TerminalPair final : Pair {
  ends::PseudoTerminal terminal;
  std::filesystem::path link;
  explicit TerminalPair(bool libserialport) {
    if (libserialport) {
      // libserialport requires that /sys/class/tty/<name after /dev/> is a link; this path makes that true.
      std::string pattern = (std::filesystem::temp_directory_path() / "ness-line-XXXXXX").string();
      link = std::filesystem::path(::mkdtemp(pattern.data())) / "line";
      std::filesystem::create_symlink(terminal.path, link);
      transport = libserialport_transport({"/dev/../../.." + link.string()}, {});
    } else {
      transport = serial_transport({terminal.path}, {});
    }
  }
  ~TerminalPair() override {
    if (!link.empty()) std::filesystem::remove_all(link.parent_path());
  }
  void open() override {
    transport->open(long_enough);
    if (terminal.end.descriptor() >= 0) end = std::move(terminal.end);
  }
};

std::string read(Transport& transport, std::size_t length) {
  std::string all;
  std::array<char, 4096> piece;
  while (all.size() < length) {
    const std::size_t n = transport.read(piece, long_enough);
    REQUIRE(n > 0);
    all.append(piece.data(), n);
  }
  return all;
}

void keeps_the_contract(Pair& pair) {
  Transport& transport = *pair.transport;
  std::array<char, 16> piece;
  CHECK_FALSE(transport.is_open());
  CHECK_THROWS_AS(transport.write("x", long_enough), LinkError);
  CHECK_THROWS_AS(transport.read(piece, short_time), LinkError);
  pair.open();
  CHECK(transport.is_open());
  transport.write("*IDN?\n", long_enough);
  CHECK(pair.end.take(6) == "*IDN?\n");
  pair.end.say("A,B,C,D\r\n");
  CHECK(read(transport, 9) == "A,B,C,D\r\n");  // unchanged bytes: no translation of line ends
  std::string all_bytes;
  for (int c = 0; c < 256; ++c) all_bytes += static_cast<char>(c);
  pair.end.say(all_bytes);
  CHECK(read(transport, 256) == all_bytes);
  transport.write(all_bytes, long_enough);
  CHECK(pair.end.take(256) == all_bytes);
  // Silence is a Timeout with the address, and the link still works.
  CHECK_THROWS_MATCHES(transport.read(piece, short_time), Timeout,
                       Catch::Matchers::Message(transport.address() + ": no byte came in 30 ms"));
  pair.end.say("late");
  CHECK(read(transport, 4) == "late");
  // A read returns what is there, at most the requested number.
  pair.end.say("0123456789");
  std::array<char, 4> small;
  CHECK(transport.read(small, long_enough) == 4);
  CHECK(read(transport, 6) == "456789");
  transport.close();
  CHECK_FALSE(transport.is_open());
  transport.close();
  CHECK_THROWS_AS(transport.write("x", long_enough), LinkError);
  // Opened again; bytes unread before are discarded.
  pair.open();
  pair.end.say("unread");
  std::array<char, 1> one;
  CHECK(transport.read(one, long_enough) == 1);
  transport.close();
  pair.open();
  CHECK_THROWS_AS(transport.read(piece, short_time), Timeout);
  pair.end.say("fresh");
  CHECK(read(transport, 5) == "fresh");
}

}  // namespace

TEST_CASE("a socket keeps the transport contract", "[transport]") {
  SocketPair pair;
  keeps_the_contract(pair);
}

TEST_CASE("a serial line by Boost.Asio keeps the transport contract", "[transport]") {
  TerminalPair pair(false);
  keeps_the_contract(pair);
}

TEST_CASE("a serial line by libserialport keeps the transport contract", "[transport]") {
  TerminalPair pair(true);
  keeps_the_contract(pair);
}

TEST_CASE("the other end closing is a link error, not a timeout", "[transport]") {
  SocketPair pair;
  pair.open();
  pair.end.hang_up();
  std::array<char, 4> piece;
  try {
    pair.transport->read(piece, long_enough);
    FAIL("read from a closed connection");
  } catch (const Timeout&) {
    FAIL("a timeout");
  } catch (const LinkError& error) {
    CHECK_THAT(error.what(), Catch::Contains("closed the connection"));
  }
}

TEST_CASE("a message nobody takes is a timeout that says how much was taken", "[transport]") {
  SocketPair pair;
  pair.open();
  const std::string much(64 << 20, 'x');  // more than the kernel buffers
  CHECK_THROWS_MATCHES(pair.transport->write(much, short_time), Timeout,
                       Catch::Matchers::Predicate<const Timeout&>(
                           [](const Timeout& t) {
                             return std::string(t.what()).find("of 67108864 bytes in 30 ms") !=
                                    std::string::npos;
                           },
                           "says how much"));
}

TEST_CASE("no connection is refused with the reason", "[transport]") {
  ends::Listener listener;
  const std::uint16_t port = listener.port();
  listener.stop();
  CHECK_THROWS_WITH(socket_transport({0, "127.0.0.1", port})->open(long_enough),
                    Catch::Contains("127.0.0.1::" + std::to_string(port)) && Catch::Contains("refused"));
  CHECK_THROWS_WITH(socket_transport({0, "no-such-host.invalid", 5025})->open(long_enough),
                    Catch::Contains("no-such-host.invalid"));
  CHECK_THROWS_WITH(serial_transport({"/dev/no-such-line"}, {})->open(long_enough),
                    Catch::Contains("/dev/no-such-line"));
  CHECK_THROWS_WITH(asio_serial_transport({"/dev/no-such-line"}, {})->open(long_enough),
                    Catch::Contains("/dev/no-such-line"));
  CHECK_THROWS_WITH(asio_serial_transport({"/dev/null"}, {})->open(long_enough),
                    Catch::Contains("/dev/null"));
}

TEST_CASE("unusable line settings and limits are refused before anything is opened", "[transport]") {
  SerialSettings settings;
  settings.data_bits = 9;
  CHECK_THROWS_WITH(serial_transport({"/dev/ttyS0"}, settings), Catch::Contains("9 data bits"));
  settings = {};
  settings.baud = 0;
  CHECK_THROWS_WITH(libserialport_transport({"/dev/ttyS0"}, settings), Catch::Contains("baud"));
  Timeouts timeouts;
  CHECK(timeouts.problem().empty());
  timeouts.between_bytes = Milliseconds(0);
  CHECK(timeouts.problem() == "between_bytes must be more than 0 ms");
}
