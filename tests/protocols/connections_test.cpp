#include "ness/protocols/connections.hpp"

#include <catch2/catch.hpp>

#include "ness/protocols/session.hpp"

using namespace ness::protocols;

namespace {

std::string refusal(Connections& connections, const std::string& name) {
  try {
    connections.to(parse_resource_name(name));
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

// Returns every message.
struct Echo : MemoryPeer {
  std::string said;
  void receive(std::string_view bytes) override { said += bytes; }
  std::string send() override { return std::exchange(said, {}); }
};

}  // namespace

TEST_CASE("names that no transport serves are refused with what to use instead", "[connections]") {
  Connections connections;
  CHECK(refusal(connections, "TCPIP::10.0.0.7::5025::SOCKET") == "accepted");
  CHECK(refusal(connections, "ASRL/dev/ttyUSB0::INSTR") == "accepted");
  CHECK_THAT(refusal(connections, "TCPIP::10.0.0.7::INSTR"),
             Catch::Contains("VXI-11") && Catch::Contains("10.0.0.7::5025::SOCKET"));
  CHECK_THAT(refusal(connections, "TCPIP::10.0.0.7::hislip0::INSTR"), Catch::Contains("HiSLIP"));
  CHECK_THAT(refusal(connections, "USB::0x05E6::0x2450::1::INSTR"), Catch::Contains("USBTMC"));
  CHECK_THAT(refusal(connections, "GPIB::INTFC"), Catch::Contains("names a GPIB board"));
  CHECK_THAT(refusal(connections, "PRLGX-TCPIP::10.0.0.9::1234::INTFC"),
             Catch::Contains("names a GPIB board"));
  CHECK_THAT(refusal(connections, "GPIB::24"), Catch::Contains("no controller is known for GPIB board 0"));
  connections.add_board(std::get<PrologixName>(parse_resource_name("PRLGX-TCPIP::10.0.0.9::1234::INTFC")));
  CHECK(refusal(connections, "GPIB::24") == "accepted");
  CHECK_THAT(refusal(connections, "GPIB1::24"), Catch::Contains("board 1"));
}

TEST_CASE("a transport is one row: a kind of resource name, and what makes it", "[connections]") {
  std::vector<TransportKind> kinds = transport_kinds();
  kinds.push_back({"toy", [](const ResourceName& name) { return std::holds_alternative<UsbName>(name); },
                   [](const ResourceName& name, const SerialSettings&, Connections&) {
                     return memory_transport(to_string(name), std::make_shared<Echo>());
                   }});
  Connections connections({}, kinds);
  Session session(connections.to(parse_resource_name("USB::0x05E6::0x2450::1::INSTR")), {});
  CHECK(session.query("HELLO?") == "HELLO?");
  CHECK(session.address() == "USB0::0x05E6::0x2450::1::0::INSTR");
  CHECK_THAT(refusal(connections, "TCPIP::10.0.0.7::INSTR"), Catch::Contains("VXI-11"));
  // Without its row, a kind is refused, and not given to the row of another kind.
  Connections bare({}, {});
  CHECK_THAT(refusal(bare, "ASRL1::INSTR"), Catch::Contains("serial lines are not among"));
  CHECK_THAT(refusal(bare, "TCPIP::10.0.0.7::5025::SOCKET"), Catch::Contains("raw sockets are not among"));
}
