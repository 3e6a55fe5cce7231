#include <catch2/catch.hpp>

#include "ness/protocols/resource_name.hpp"

using namespace ness::protocols;

TEST_CASE("resource names parse to their parts", "[resource-name]") {
  // The examples of the VISA grammar's table, each with its value.
  CHECK(parse_resource_name("TCPIP0::10.0.0.7::5025::SOCKET") ==
        ResourceName(SocketName{0, "10.0.0.7", 5025}));
  CHECK(parse_resource_name("tcpip1::dmm.local::5025::socket") ==
        ResourceName(SocketName{1, "dmm.local", 5025}));
  CHECK(parse_resource_name("TCPIP::[fe80::1%eth0]::5025::SOCKET") ==
        ResourceName(SocketName{0, "[fe80::1%eth0]", 5025}));
  CHECK(parse_resource_name("TCPIP0::192.168.1.5::inst0::INSTR") ==
        ResourceName(LanName{0, "192.168.1.5", "inst0"}));
  CHECK(parse_resource_name("TCPIP::dmm.local::INSTR") == ResourceName(LanName{0, "dmm.local", "inst0"}));
  CHECK(parse_resource_name("TCPIP::dmm.local") == ResourceName(LanName{0, "dmm.local", "inst0"}));
  CHECK(parse_resource_name("TCPIP::10.0.0.7::gpib0,5::INSTR") ==
        ResourceName(LanName{0, "10.0.0.7", "gpib0,5"}));
  const ResourceName hislip = parse_resource_name("TCPIP::10.0.0.7::HiSLIP0,4880::INSTR");
  CHECK(hislip == ResourceName(LanName{0, "10.0.0.7", "hislip0,4880"}));
  CHECK(std::get<LanName>(hislip).hislip());
  CHECK(parse_resource_name("GPIB0::24::INSTR") == ResourceName(GpibName{0, 24, std::nullopt}));
  CHECK(parse_resource_name("GPIB::9::96::INSTR") == ResourceName(GpibName{0, 9, std::uint8_t{96}}));
  CHECK(parse_resource_name("GPIB::9::0") ==
        ResourceName(GpibName{0, 9, std::uint8_t{96}}));  // 0..30 is 96..126
  CHECK(parse_resource_name("GPIB2::INTFC") == ResourceName(GpibBoardName{2}));
  CHECK(parse_resource_name("ASRL1::INSTR") == ResourceName(SerialName{"1"}));
  CHECK(parse_resource_name("asrl/dev/ttyUSB0::INSTR") == ResourceName(SerialName{"/dev/ttyUSB0"}));
  CHECK(parse_resource_name("USB0::0x05E6::0x2450::04012345::INSTR") ==
        ResourceName(UsbName{0, 0x05E6, 0x2450, "04012345", 0, false}));
  CHECK(parse_resource_name("USB::1510::9296::SN1::1::RAW") ==
        ResourceName(UsbName{0, 1510, 9296, "SN1", 1, true}));
  CHECK(parse_resource_name("PRLGX-TCPIP0::10.0.0.9::1234::INTFC") ==
        ResourceName(PrologixName{0, false, "10.0.0.9", 1234}));
  CHECK(parse_resource_name("PRLGX-TCPIP::10.0.0.9::INTFC") ==
        ResourceName(PrologixName{0, false, "10.0.0.9", 1234}));
  CHECK(parse_resource_name("PRLGX-ASRL1::/dev/ttyUSB0::INTFC") ==
        ResourceName(PrologixName{1, true, "/dev/ttyUSB0", 0}));
}

TEST_CASE("a resource name's canonical form has all its parts, and parses to itself", "[resource-name]") {
  const std::vector<std::pair<std::string, std::string>> canonical{
      {"tcpip::dmm.local", "TCPIP0::dmm.local::inst0::INSTR"},
      {"TCPIP::10.0.0.7::5025::SOCKET", "TCPIP0::10.0.0.7::5025::SOCKET"},
      {"TCPIP::[::1]::5025::SOCKET", "TCPIP0::[::1]::5025::SOCKET"},
      {"gpib::9::5", "GPIB0::9::101::INSTR"},
      {"GPIB::INTFC", "GPIB0::INTFC"},
      {"ASRL/dev/pts/3", "ASRL/dev/pts/3::INSTR"},
      {"USB::1510::0x2450::SN", "USB0::0x05E6::0x2450::SN::0::INSTR"},
      {"prlgx-tcpip::10.0.0.9::INTFC", "PRLGX-TCPIP0::10.0.0.9::1234::INTFC"},
      {"PRLGX-ASRL2::/dev/ttyUSB1::INTFC", "PRLGX-ASRL2::/dev/ttyUSB1::INTFC"},
  };
  for (const auto& [given, full] : canonical) {
    INFO(given);
    CHECK(to_string(parse_resource_name(given)) == full);
    CHECK(parse_resource_name(full) == parse_resource_name(given));
  }
}

TEST_CASE("a wrong resource name is refused with its part, its value and what was expected",
          "[resource-name]") {
  const std::vector<std::pair<std::string, std::string>> wrong{
      {"", "empty"},
      {"TCPIP0::::5025::SOCKET", "empty part"},
      {"TCPIP0::SOCKET", "form TCPIP"},
      {"TCPIP0::h::0::SOCKET", "port '0'"},
      {"TCPIP0::h::65536::SOCKET", "1 to 65535"},
      {"TCPIP0::h::5025", "ends in ::SOCKET"},  // class forgotten
      {"TCPIP0::h::50 25::SOCKET", "blank"},
      {"TCPIPx::h::INSTR", "board 'x'"},
      {"TCPIP0::h/../x::INSTR", "host 'h/../x'"},
      {"TCPIP0::h::hislipx::INSTR", "HiSLIP number 'x'"},
      {"TCPIP0::h::hislip0,0::INSTR", "HiSLIP port '0'"},
      {"GPIB0::31::INSTR", "0 to 30"},
      {"GPIB0::-1::INSTR", "primary address '-1'"},
      {"GPIB0::5::95::INSTR", "secondary address '95'"},
      {"GPIB0::5::6::7::INSTR", "form GPIB"},
      {"ASRL::INSTR", "no port"},
      {"ASRLttyUSB0::INSTR", "absolute path"},
      {"USB0::0x10000::1::S::INSTR", "0x10000"},
      {"USB0::0x05E6::0x2450::INSTR", "form USB"},
      {"PRLGX-TCPIP0::h::1234", "must end in ::INTFC"},
      {"PRLGX-ASRL0::ttyUSB0::INTFC", "absolute path"},
      {"VXI0::1::INSTR", "starts with 'VXI0'"},
      {"TCPIP0::h::5025::RAW", "form TCPIP"},
  };
  for (const auto& [name, reason] : wrong) {
    INFO(name);
    CHECK_THROWS_WITH(parse_resource_name(name), Catch::Contains(reason) && Catch::Contains("resource name"));
  }
}
