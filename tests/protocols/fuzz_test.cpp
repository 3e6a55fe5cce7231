#include "fuzz.hpp"

#include <catch2/catch.hpp>

#include "ness/protocols/errors.hpp"
#include "ness/protocols/resource_name.hpp"
#include "ness/protocols/session.hpp"

using namespace ness;
using namespace ness::protocols;

TEST_CASE("damaged resource names are read or refused, and what is read has a canonical form", "[fuzz]") {
  const std::vector<std::string> valid{"TCPIP0::192.168.1.5::5025::SOCKET",
                                       "TCPIP0::[fe80::1]::hislip0,4880::INSTR",
                                       "GPIB0::9::96::INSTR",
                                       "ASRL/dev/ttyUSB0::INSTR",
                                       "USB0::0x05E6::0x2450::04012345::1::INSTR",
                                       "PRLGX-TCPIP0::10.0.0.9::1234::INTFC"};
  Random random(1);
  int refused = 0, read = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string text = fuzz::damaged(valid[random.below(valid.size())], random);
    try {
      const ResourceName name = parse_resource_name(text);
      ++read;
      INFO(text);
      CHECK(parse_resource_name(to_string(name)) == name);
    } catch (const std::invalid_argument&) {
      ++refused;
    }
  }
  CHECK(refused > 5000);
  CHECK(read > 500);
}

namespace {
struct Garbled final : MemoryPeer {
  std::string reply;
  void receive(std::string_view) override {}
  std::string send() override { return std::exchange(reply, ""); }
};
}  // namespace

TEST_CASE("garbled replies are a number, a block, or an error that names the address", "[fuzz]") {
  const std::vector<std::string> valid{
      "+1.000206E+00,+1.000000E-04,+1.000236E+04,+7.282600E+01,+4.813200E+04\n", "#15HELLO\n",
      "-113,\"Undefined header\"\n", "#0abcd\n"};
  Random random(3);
  int refused = 0, read = 0;
  SessionOptions options;
  options.longest_reply = 10000;
  for (int i = 0; i < 20000; ++i) {
    auto peer = std::make_shared<Garbled>();
    Session session(memory_transport("GARBLED", peer), options);
    session.open();
    peer->reply = fuzz::damaged(valid[random.below(valid.size())], random);
    const auto kind = random.below(3);
    try {
      if (kind == 0) session.query_numbers("A?", 5);
      else if (kind == 1) session.query_block("A?", 4);
      else session.drain_errors(1);
      ++read;
    } catch (const LinkError& error) {
      CHECK(error.address() == "GARBLED");
      ++refused;
    } catch (const InstrumentError& error) {
      CHECK(error.address() == "GARBLED");
      ++refused;
    }
  }
  CHECK(refused > 5000);
  CHECK(read > 100);
}
