#include <catch2/catch.hpp>

#include <array>
#include <functional>
#include <optional>

#include "ness/emulators/scpi.hpp"

using namespace ness::sim::scpi;

namespace {

// The units of a message as "VOLT:LEV? 1|2", for comparison.
std::vector<std::string> units(std::string_view message) {
  std::vector<std::string> result;
  MessageReader reader(message);
  while (const auto unit = reader.next()) {
    std::string text;
    for (std::size_t i = 0; i < unit->header.size(); ++i) text += (i > 0 ? ":" : "") + unit->header[i];
    if (unit->query) text += '?';
    for (std::size_t i = 0; i < unit->parameters.size(); ++i)
      text += (i > 0 ? '|' : ' ') + unit->parameters[i].text;
    result.push_back(text);
  }
  return result;
}
using Texts = std::vector<std::string>;

int fault_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Fault& fault) {
    return fault.number();
  }
  return 0;
}
int fault_of(std::string_view message) {
  return fault_of([&] { units(message); });
}

Unit unit_of(std::string_view message) {
  const auto unit = MessageReader(message).next();
  REQUIRE(unit);
  return *unit;
}

}  // namespace

TEST_CASE("the path rule of compound messages", "[scpi]") {
  // The examples of the command-syntax chapters of Agilent, Keysight and Keithley.
  CHECK(units("TRIG:SOUR EXT;COUNT 10") == Texts{"TRIG:SOUR EXT", "TRIG:COUNT 10"});
  CHECK(units("TRIG:COUN MIN;:SAMP:COUN MIN") == Texts{"TRIG:COUN MIN", "SAMP:COUN MIN"});
  CHECK(units("STAT:OPER:COND?;ENAB 16") == Texts{"STAT:OPER:COND?", "STAT:OPER:ENAB 16"});
  CHECK(units("STAT:OPER:ENAB 1;*ESE 60;PTR 1") == Texts{"STAT:OPER:ENAB 1", "*ESE 60", "STAT:OPER:PTR 1"});
  CHECK(units("VOLT 1;CURR 2") == Texts{"VOLT 1", "CURR 2"});
  CHECK(units("MEAS:VOLT?;CURR?") == Texts{"MEAS:VOLT?", "MEAS:CURR?"});
  CHECK(units("MEAS:VOLT?;:CURR?") == Texts{"MEAS:VOLT?", "CURR?"});
  CHECK(units("VOLT:LEV 4;PROT 5") == Texts{"VOLT:LEV 4", "VOLT:PROT 5"});
  CHECK(units("VOLT:LEV:IMM 4;PROT 5") == Texts{"VOLT:LEV:IMM 4", "VOLT:LEV:PROT 5"});
  CHECK(units("*ESR?;:SYST:ERR?;ERR?") == Texts{"*ESR?", "SYST:ERR?", "SYST:ERR?"});
  // PyMeasure's reset of a 2400.
  CHECK(units("status:queue:clear;*RST;:stat:pres;:*CLS;") ==
        Texts{"STATUS:QUEUE:CLEAR", "*RST", "STAT:PRES", "*CLS"});
}

TEST_CASE("empty messages and units do nothing", "[scpi]") {
  CHECK(units("").empty());
  CHECK(units(" \t\r").empty());
  CHECK(units(";; ;").empty());
  CHECK(units("VOLT 1;;CURR 2;") == Texts{"VOLT 1", "CURR 2"});
}

TEST_CASE("parameters are read by their form", "[scpi]") {
  CHECK(units("A 5,+5,5.,.5,-5.0,5e-3,5 E-3") == Texts{"A 5|+5|5.|.5|-5.0|5E-3|5E-3"});
  CHECK(units("A 250 MV, 1MA ,3 eV") == Texts{"A 250 MV|1 MA|3 EV"});
  CHECK(units("A #H1F,#q17,#B1010") == Texts{"A 31|15|10"});
  CHECK(units("A 'x,;y',\"a\"\"b\"") == Texts{"A x,;y|a\"b"});
  CHECK(units("A (@101,103:105),ON") == Texts{"A @101,103:105|ON"});
  CHECK(units("A #15H;L,O,7") == Texts{"A H;L,O|7"});
  CHECK(units("A #0rest;of,it") == Texts{"A rest;of,it"});
  CHECK(unit_of("A #15H;L,O").parameters[0].kind == Parameter::Kind::block);
  CHECK(unit_of("A 'x'").parameters[0].kind == Parameter::Kind::string);
}

TEST_CASE("what is wrong with a message has its standard number", "[scpi]") {
  CHECK(fault_of("VOLT$ 1") == -111);
  CHECK(fault_of("&VOLT 1") == -101);
  CHECK(fault_of("VOLT 1 2") == -103);
  CHECK(fault_of("VOLT:") == -110);
  CHECK(fault_of("ABCDEFGHIJKLM 1") == -112);
  CHECK(fault_of("VOLT 1,") == -109);
  CHECK(fault_of("VOLT 'abc") == -151);
  CHECK(fault_of("VOLT #Q9") == -121);
  CHECK(fault_of("VOLT #19ABC") == -161);
  CHECK(fault_of("VOLT #X") == -161);
  CHECK(fault_of("VOLT +") == -121);
  CHECK(fault_of("VOLT 1E32001") == -123);
  CHECK(fault_of("VOLT " + std::string(256, '1')) == -124);
  CHECK(fault_of("VOLT 1 ABCDEFGHIJKLMN") == -134);
  CHECK(fault_of("ROUT:SCAN (@101") == -171);
  // The rest of a faulty message is discarded.
  MessageReader reader("VOLT '; CURR 1");
  CHECK_THROWS_AS(reader.next(), Fault);
  CHECK_FALSE(reader.next());
}

TEST_CASE("headers are found in short and long form, in any case, optional nodes written or not", "[scpi]") {
  CommandTable table;
  const auto level = table.add("[:SOURce#]:VOLTage[:LEVel][:IMMediate][:AMPLitude]");
  const auto ask = table.add("[:SOURce#]:VOLTage[:LEVel][:IMMediate][:AMPLitude]?");
  const auto limit = table.add(":SENSe#:CURRent[:DC]:PROTection[:LEVel]");
  const auto output = table.add(":OUTPut#[:STATe]");
  const auto identity = table.add("*IDN?");
  for (const char* form :
       {"VOLT 1", "VOLTAGE 1", "vOlT 1", ":SOUR:VOLT 1", "SOURCE:VOLTAGE:LEVEL:IMMEDIATE:AMPLITUDE 1",
        "SOUR2:VOLT:AMPL 1", "VOLT:LEV:IMM:AMPL 1"}) {
    INFO(form);
    CHECK(table.find(unit_of(form)).command == level);
  }
  CHECK(table.find(unit_of("sour:volt:lev:imm:ampl?")).command == ask);
  CHECK(table.find(unit_of("SOUR3:VOLT 1")).suffixes == std::vector<std::uint32_t>{3});
  CHECK(table.find(unit_of("VOLT 1")).suffixes == std::vector<std::uint32_t>{1});
  CHECK(table.find(unit_of("SENS2:CURR:PROT 1")).command == limit);
  CHECK(table.find(unit_of("sens:curr:dc:prot:lev 1")).command == limit);
  CHECK(table.find(unit_of("OUTP ON")).command == output);
  CHECK(table.find(unit_of("*idn?")).command == identity);
  for (const char* form : {"VOLTA 1", "VOLT:LEVE 1", "VOLT2 1", "CURR:PROT 1", "*IDN", "SENS:CURR:PROT?",
                           "VOLT1.0", "SOURC:VOLT 1"}) {
    INFO(form);
    CHECK(fault_of([&] { table.find(unit_of(form)); }) != 0);
  }
  CHECK(fault_of([&] { table.find(unit_of("FOO:BAR 1")); }) == -113);
  for (const char* pattern : {"", "[:A]", "A[:B", "A:]B", "[[A]]:B", "lower", "A::B"}) {
    INFO(pattern);
    CHECK_THROWS_AS(table.add(pattern), std::invalid_argument);
  }
}

TEST_CASE("arguments become numbers, words, switches and channels, or the standard's errors", "[scpi]") {
  const auto number = [](std::string_view text, const NumberRange& range = {}) {
    return Arguments(unit_of(text)).number(0, range);
  };
  const NumberRange volts{-10, 10, 0.5, "V"};
  CHECK(number("A 1.25E-1") == 0.125);
  CHECK(number("A 250 MV", volts) == Approx(0.25).epsilon(1e-15));
  CHECK(number("A 2V", volts) == 2);
  CHECK(number("A 3 UV", volts) == Approx(3e-6).epsilon(1e-15));
  CHECK(number("A 2 MHZ", {0, 1e9, std::nullopt, "HZ"}) == 2e6);
  CHECK(number("A 2 MOHM", {0, 1e9, std::nullopt, "OHM"}) == 2e6);
  CHECK(number("A MIN", volts) == -10);
  CHECK(number("A maximum", volts) == 10);
  CHECK(number("A DEF", volts) == 0.5);
  CHECK(number("A INF") == 9.9e37);
  CHECK(number("A 1E-400") == 0);
  const auto number_fault = [&](std::string_view text, const NumberRange& range) {
    return fault_of([&] { number(text, range); });
  };
  CHECK(number_fault("A 11", volts) == -222);
  CHECK(number_fault("A 1E9", volts) == -222);
  CHECK(number_fault("A 1E400", volts) == -222);
  CHECK(number_fault("A -1E400", volts) == -222);
  CHECK(number_fault("A 1 A", volts) == -131);
  CHECK(number_fault("A 1 XV", volts) == -131);
  CHECK(number_fault("A 1 V", {}) == -138);
  CHECK(number_fault("A FOO", volts) == -148);
  CHECK(number_fault("A 'x'", volts) == -158);
  CHECK(number_fault("A (@1)", volts) == -178);
  CHECK(number_fault("A", volts) == -109);
  CHECK(Arguments(unit_of("A 2.6")).whole(0, 0, 10) == 3);

  CHECK(Arguments(unit_of("A ON")).boolean(0));
  CHECK_FALSE(Arguments(unit_of("A off")).boolean(0));
  CHECK(Arguments(unit_of("A 1")).boolean(0));
  CHECK_FALSE(Arguments(unit_of("A 0.4")).boolean(0));
  CHECK(fault_of([&] { Arguments(unit_of("A XX")).boolean(0); }) == -224);

  const std::array<std::string_view, 2> words{"IMMediate", "BUS"};
  CHECK(Arguments(unit_of("A imm")).word(0, words) == 0);
  CHECK(Arguments(unit_of("A BUS")).word(0, words) == 1);
  CHECK(fault_of([&] { Arguments(unit_of("A IMME")).word(0, words); }) == -224);
  CHECK(fault_of([&] { Arguments(unit_of("A 1")).word(0, words); }) == -128);

  using Channels = std::vector<std::uint32_t>;
  CHECK(Arguments(unit_of("A (@101)")).channels(0) == Channels{101});
  CHECK(Arguments(unit_of("A (@ 101 , 103:105)")).channels(0) == Channels{101, 103, 104, 105});
  CHECK(Arguments(unit_of("A (@2,1)")).channels(0) == Channels{2, 1});  // the written order counts
  CHECK(Arguments(unit_of("A (@3:1)")).channels(0) == Channels{3, 2, 1});
  CHECK(Arguments(unit_of("A (@)")).channels(0).empty());
  for (const char* list : {"A (101)", "A (@x)", "A (@1,)", "A (@1;2)", "A (@1:)", "A (@1 2,)"}) {
    INFO(list);
    CHECK(fault_of([&] { Arguments(unit_of(list)).channels(0); }) == -171);
  }
  CHECK(fault_of([&] { Arguments(unit_of("A (@1:4000000000)")).channels(0); }) == -223);
  CHECK(fault_of([&] { Arguments(unit_of("A 101")).channels(0); }) == -104);
  CHECK(fault_of([&] { Arguments(unit_of("A 1,2")).expect(0, 1); }) == -108);
  CHECK(fault_of([&] { Arguments(unit_of("A")).expect(1, 1); }) == -109);
}

TEST_CASE("the status byte follows the event registers, the enables and the queue", "[scpi]") {
  Status status(4);
  CHECK(status.byte(false) == 0);
  status.push(-113);
  CHECK(status.event_status == 32);
  CHECK(status.byte(false) == 4);
  status.event_enable = 32;
  CHECK(status.byte(false) == 36);
  status.service_enable = 32;
  CHECK(status.byte(false) == 100);  // MSS
  status.service_enable = 64;        // its own bit does not count
  CHECK(status.byte(true) == 52);
  CHECK(status.take_event_status() == 32);
  CHECK(status.event_status == 0);
  const Status::Entry first = status.pop();
  CHECK(first.number == -113);
  CHECK(first.text == "Undefined header");
  CHECK(status.pop().number == 0);
  CHECK(status.pop().text == "No error");

  for (const auto& [number, bit] :
       {std::pair{-222, 16}, {-350, 8}, {802, 8}, {-410, 4}, {-800, 1}, {-104, 32}})
    CHECK(Status::class_bit(number) == bit);

  for (int i = 0; i < 6; ++i) status.push(-100 - i);  // beyond the depth of 4
  CHECK(status.errors() == 4);
  CHECK(status.pop().number == -100);
  CHECK(status.pop().number == -101);
  CHECK(status.pop().number == -102);
  CHECK(status.pop().number == -350);
  status.push(-222);
  status.clear();
  CHECK(status.errors() == 0);
  CHECK(status.event_status == 0);
  CHECK(status.event_enable == 32);  // enables stay
}

TEST_CASE("register groups latch the transitions their filters pass", "[scpi]") {
  RegisterGroup group;
  group.set(16, true);
  CHECK(group.condition == 16);
  CHECK(group.event == 16);
  CHECK_FALSE(group.summary());
  group.enable = 16;
  CHECK(group.summary());
  CHECK(group.take_event() == 16);
  CHECK(group.take_event() == 0);
  group.set(16, false);
  CHECK(group.event == 0);  // falling edges count only where NTR says so
  group.negative = 16;
  group.set(16, true);
  group.take_event();
  group.set(16, false);
  CHECK(group.event == 16);
  group.update(0xFFFF);
  CHECK(group.condition == 0x7FFF);  // bit 15 is always 0
  group.preset();
  CHECK(group.enable == 0);
  CHECK(group.positive == 0x7FFF);
}

TEST_CASE("replies are formatted as instruments do", "[scpi]") {
  CHECK(nr3(0.125, 8) == "+1.25000000E-01");
  CHECK(nr3(-0.0, 6) == "+0.000000E+00");
  CHECK(nr3(9.9e37, 6) == "+9.900000E+37");
  CHECK(channel_list(std::array<std::uint32_t, 3>{101, 102, 103}) == "(@101,102,103)");
  CHECK(definite_block("(@101,102,103)") == "#214(@101,102,103)");
  CHECK(definite_block("HELLO") == "#15HELLO");
  CHECK(definite_block("") == "#10");
  CHECK(standard_text(-440) == "Query UNTERMINATED after indefinite response");
}
