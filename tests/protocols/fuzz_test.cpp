#include "fuzz.hpp"

#include <catch2/catch.hpp>

#include "ness/protocols/errors.hpp"
#include "ness/protocols/resource_name.hpp"
#include "ness/protocols/scpi.hpp"
#include "ness/protocols/session.hpp"

using namespace ness;
using namespace ness::protocols;

TEST_CASE("damaged resource names are read or refused, and what is read has a canonical form", "[fuzz]") {
  const std::vector<std::string> valid{"TCPIP0::192.168.1.5::5025::SOCKET", "TCPIP0::[fe80::1]::hislip0,4880::INSTR", "GPIB0::9::96::INSTR", "ASRL/dev/ttyUSB0::INSTR",
                                       "USB0::0x05E6::0x2450::04012345::1::INSTR", "PRLGX-TCPIP0::10.0.0.9::1234::INTFC"};
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

TEST_CASE("damaged messages are taken apart or answered with a standard error", "[fuzz]") {
  const std::string valid = ":SOUR2:VOLT:LEV:IMM 1.25E-1 MV;*ESE #H3C;:ROUT:SCAN (@101,103:105);FOO 'x''y',\"z\",#15HELLO,ON;TRIG:SOUR IMM";
  scpi::CommandTable table;
  table.add("[:SOURce#]:VOLTage[:LEVel][:IMMediate]");
  table.add(":ROUTe:SCAN");
  table.add("*ESE");
  Random random(2);
  int faults = 0, found = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string message = fuzz::damaged(valid, random);
    scpi::MessageReader reader(message);
    for (int units = 0;; ++units) {
      REQUIRE(units < 1000);
      try {
        const auto unit = reader.next();
        if (!unit) break;
        table.find(*unit);
        ++found;
        const scpi::Arguments arguments(*unit);
        for (std::size_t k = 0; k < arguments.size(); ++k) {
          try {
            if (arguments.is_channels(k)) arguments.channels(k);
            else arguments.number(k, {-1, 1, 0, "V"});
          } catch (const scpi::Fault& fault) {
            CHECK_FALSE(scpi::standard_text(fault.number()).empty());
          }
        }
      } catch (const scpi::Fault& fault) {
        ++faults;
        CHECK_FALSE(scpi::standard_text(fault.number()).empty());
      }
    }
  }
  CHECK(faults > 1000);
  CHECK(found > 1000);
}

namespace {
struct Garbled final : MemoryPeer {
  std::string reply;
  void receive(std::string_view) override {}
  std::string send() override { return std::exchange(reply, ""); }
};
}  // namespace

TEST_CASE("garbled replies are a number, a block, or an error that names the address", "[fuzz]") {
  const std::vector<std::string> valid{"+1.000206E+00,+1.000000E-04,+1.000236E+04,+7.282600E+01,+4.813200E+04\n", "#15HELLO\n", "-113,\"Undefined header\"\n", "#0abcd\n"};
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
