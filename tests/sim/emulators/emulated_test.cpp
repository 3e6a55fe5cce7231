// Emulated instruments, by their messages: the acceptance cases of the SCPI reference for every model, and
// properties of each model.
#include "ness/emulators/emulated_bench.hpp"
#include "ness/emulators/models.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <sstream>

#include "fuzz.hpp"

using namespace ness;
using namespace ness::sim;

namespace {

// Two nodes joined by 40 kohm, 1 nF each: 0.1 V per kT, 2.5 uA per unit.
std::unique_ptr<Circuit> resistor(double ohms = 40e3) {
  NetworkSpec spec;
  spec.graph.nodes = {{"a", true, 0}, {"b", false, 1}};
  spec.graph.edges = {{0, 1, 1}};
  spec.graph.outputs = {1};
  spec.nodes.resize(2);
  spec.edges = {{Law::linear, {0.1 / ohms / 2.5e-6}}};
  return std::make_unique<Circuit>(spec, CircuitScale{0.1, 2.5e-6, 1}, std::vector<double>{1e-9, 1e-9});
}

enum class Model {
  keithley_2400,
  scanner_34970a,
  scanner_daq970a,
  multimeter_34401a,
  multimeter_34461a,
  qdac2
};
const std::vector<Model> models{Model::keithley_2400,     Model::scanner_34970a,    Model::scanner_daq970a,
                                Model::multimeter_34401a, Model::multimeter_34461a, Model::qdac2};

struct Fixture {
  EmulatedBench bench;
  std::size_t first, second;
  EmulatedInstrument* instrument = nullptr;

  explicit Fixture(Model model, const Imperfection& imperfection = Imperfection::none(), double ohms = 40e3)
      : bench(resistor(ohms)) {
    first = bench.circuit().attach(0, 1);
    second = bench.circuit().attach(1, 1);
    bench.circuit().drive(second, {PortState::Kind::voltage, 0});
    instrument = &bench.add(make(model, imperfection));
  }
  std::unique_ptr<EmulatedInstrument> make(Model model, const Imperfection& imperfection) {
    Circuit& circuit = bench.circuit();
    switch (model) {
      case Model::keithley_2400: return emulated_keithley_2400(circuit, first, imperfection);
      case Model::scanner_34970a:
        return emulated_keysight_34970a(circuit, {{101, first}, {102, second}}, imperfection);
      case Model::scanner_daq970a:
        return emulated_keysight_daq970a(circuit, {{101, first}, {102, second}}, imperfection);
      case Model::multimeter_34401a: return emulated_agilent_34401a(circuit, first, imperfection);
      case Model::multimeter_34461a: return emulated_keysight_34461a(circuit, first, imperfection);
      case Model::qdac2: return emulated_qdac2(circuit, {}, {{1, first}}, imperfection);
    }
    throw std::logic_error("a model without an emulator");
  }
  void send(const std::string& message) { send(*instrument, message); }
  void send(EmulatedInstrument& to, const std::string& message) {
    to.receive(message + '\n', bench.time());
    bench.advance(bench.time() + 0.05);
  }
  // The answer within `patience` seconds; "" if there is none.
  std::string ask(const std::string& message, double patience = 100) {
    instrument->receive(message + '\n', bench.time());
    const double until = bench.time() + patience;
    for (;;) {
      bench.advance(bench.time());
      const std::string reply = instrument->take_output();
      if (!reply.empty()) {
        REQUIRE(reply.back() == '\n');
        return reply.substr(0, reply.size() - 1);
      }
      const double next = instrument->next_event();
      if (next > until) return {};
      bench.advance(next);
    }
  }
  std::vector<double> numbers(const std::string& message) {
    std::vector<double> result;
    std::stringstream list(ask(message));
    for (std::string part; std::getline(list, part, ',');) result.push_back(std::stod(part));
    return result;
  }
  int error() { return std::stoi(ask("SYST:ERR?")); }
};

}  // namespace

TEST_CASE("every emulated instrument keeps the common rules of SCPI", "[emulated]") {
  for (const Model model : models) {
    CAPTURE(static_cast<int>(model));
    Fixture f(model);
    const std::string identity = f.ask("*IDN?");
    CHECK(std::count(identity.begin(), identity.end(), ',') >= 3);
    CHECK(std::stoi(f.ask("*ESR?")) == 128);  // power on
    // The example of the reference: an undefined header, its bits, the queue, the path rule.
    f.send("*CLS");
    CHECK(std::stoi(f.ask("*ESR?")) == 0);
    f.send("FOO:BAR 1");
    CHECK(std::stoi(f.ask("*STB?")) == 4);
    f.send("*ESE 32");
    CHECK(std::stoi(f.ask("*STB?")) == 36);
    const std::string three = f.ask("*ESR?;:SYST:ERR?;ERR?");
    CHECK(three.find("-113,\"Undefined header\"") != std::string::npos);
    CHECK(three.find("0,") != std::string::npos);
    CHECK(std::count(three.begin(), three.end(), ';') == 2);
    CHECK(std::stoi(f.ask("*ESE 60;*SRE 32;*ESE?")) == 60);
    CHECK(std::stoi(f.ask("*SRE?")) == 32);
    // A faulty message is discarded to its end, without an answer.
    CHECK(f.ask("NONSENSE?", 1) == "");
    CHECK(f.error() == -113);
    CHECK(f.error() == 0);
    CHECK(f.ask("*OPC?") == "1");
    f.send("*OPC");
    CHECK((std::stoi(f.ask("*ESR?")) & 1) == 1);
    // A reset keeps the queue, a clear empties it; on overflow the newest entry is -350.
    f.send("FOO");
    f.send("*RST");
    CHECK(f.error() == -113);
    for (int i = 0; i < 40; ++i) f.send("FOO");
    int last = 0, count = 0;
    for (int e = f.error(); e != 0; e = f.error(), ++count) last = e;
    CHECK(count < 40);
    CHECK(last == -350);
    f.send("FOO;*CLS");  // the rest of a faulty message is not executed
    CHECK(f.error() == -113);
    CHECK(f.ask(":STAT:OPER:ENAB 16;:STAT:OPER:ENAB?").find("16") != std::string::npos);
    f.send("STAT:PRES");
    CHECK(std::stoi(f.ask("STAT:OPER:ENAB?")) == 0);
    // Carriage returns and empty messages are white space.
    CHECK(f.ask("\r\n*OPC?\r") == "1");
  }
}

TEST_CASE("on a bus, an unread reply is discarded by the next message", "[emulated]") {
  for (const Model model : models) {
    Fixture f(model);
    f.instrument->message_exchange = true;
    f.send("*CLS");
    f.send("*IDN?");
    CHECK((f.instrument->serial_poll() & 16) == 16);  // message available
    CHECK(f.ask("SYST:ERR?").find("-410") != std::string::npos);
    f.send("*IDN?");
    f.instrument->device_clear();
    CHECK((f.instrument->serial_poll() & 16) == 0);
    CHECK(f.error() == 0);
    f.instrument->talk_without_query();
    CHECK(f.error() == -420);
  }
}

TEST_CASE("damaged messages never hang or end an emulated instrument", "[emulated][fuzz]") {
  const std::vector<std::string> valid{":SOUR:VOLT 0.1;:READ?",
                                       ":SENS:CURR:PROT 1E-3;:OUTP ON;:READ?",
                                       "CONF:VOLT:DC 10,0.003,(@101:102);:READ?",
                                       "ROUT:SCAN (@101,102);:INIT;*OPC?;FETC?",
                                       "SAMP:COUN 2;:READ?",
                                       "SOUR1:VOLT 0.5;:SOUR1:VOLT?;:READ? (@1,2)",
                                       "*ESE 60;*ESR?;:SYST:ERR:ALL?",
                                       ":FORM:ELEM VOLT,CURR,STAT;:ARM:COUN 2;:TRIG:COUN 3"};
  Random random(4);
  for (const Model model : models) {
    Fixture f(model);
    for (int i = 0; i < 400; ++i) {
      std::string message = fuzz::damaged(valid[random.below(valid.size())], random);
      f.instrument->receive(message + '\n', f.bench.time());
      f.bench.advance(f.bench.time() + 1);
      f.instrument->take_output();
    }
    f.instrument->device_clear();
    f.send("*CLS;*RST");
    CHECK(f.ask("*OPC?") == "1");
  }
}

TEST_CASE("a 2400 sources and measures by Ohm's law, in its reply formats", "[emulated][2400]") {
  Fixture f(Model::keithley_2400);
  CHECK(f.ask(":OUTP?") == "0");
  CHECK(f.ask(":READ?", 5) == "");
  CHECK(f.error() == 803);
  f.send(
      ":SOUR:FUNC VOLT;:SOUR:VOLT:RANG 2;:SENS:FUNC:CONC ON;:SENS:FUNC \"CURR\",\"VOLT\";:SENS:CURR:PROT "
      "1E-3;:SOUR:VOLT 1;:OUTP 1");
  CHECK(f.error() == 0);
  CHECK(f.ask(":SOUR:VOLT?") == "+1.000000E+00");
  CHECK(f.ask("SOURCE:VOLTAGE:LEVEL:IMMEDIATE:AMPLITUDE?") == "+1.000000E+00");
  CHECK(f.ask(":SOUR:FUNC?") == "VOLT");
  CHECK(f.ask(":SENS:FUNC?") == "\"VOLT:DC\",\"CURR:DC\"");
  const auto five = f.numbers(":READ?");
  REQUIRE(five.size() == 5);
  CHECK(five[0] == Approx(1).margin(1e-6));
  CHECK(five[1] == Approx(1 / 40002.0).epsilon(1e-6));  // and two leads of 1 ohm
  CHECK(five[2] == 9.91e37);
  CHECK(static_cast<long>(five[4]) ==
        (1 << 2 | 1 << 11 | 1 << 12 | 1 << 14));  // front, V and I measured, V source
  f.send(":FORM:ELEM CURR,VOLT");
  CHECK(f.numbers(":READ?").size() == 2);  // always in a fixed order
  CHECK(f.ask(":FORM:ELEM?") == "VOLT,CURR");
  CHECK(f.numbers(":FETC?").size() == 2);
  CHECK(f.ask(":SENS:CURR:PROT:TRIP?") == "0");
}

TEST_CASE("a 2400's limits are those of its manual", "[emulated][2400]") {
  Fixture f(Model::keithley_2400);
  f.send(":SOUR:VOLT:RANG 20");
  f.send(":SOUR:VOLT 21.5");
  CHECK(f.error() == -222);  // beyond 105 %
  CHECK(f.ask(":SOUR:VOLT?") == "+0.000000E+00");
  f.send(":SOUR:VOLT 250");
  CHECK(f.error() == -222);
  f.send(":SOUR:VOLT:RANG 3");
  CHECK(f.ask(":SOUR:VOLT:RANG?") == "+2.000000E+01");  // the lowest range for it
  // A compliance below 0.1 % of the measure range is refused and not changed: drivers must read it back.
  f.send(":SENS:CURR:PROT 1E-3;:SENS:CURR:RANG 1E-3");
  CHECK(f.error() == 0);
  f.send(":SENS:CURR:PROT 1E-7");
  CHECK(f.error() == 822);
  CHECK(f.ask(":SENS:CURR:PROT?") == "+1.000000E-03");
  f.send(":SENS:CURR:RANG 0.1");
  CHECK(f.error() == 824);
  // In compliance it acts as a current source, and reports it.
  f.send(":SENS:CURR:PROT 1E-5;:SENS:CURR:RANG:AUTO 1;:SENS:FUNC:ALL;:SOUR:VOLT 1;:OUTP ON");
  const auto read = f.numbers(":READ?");
  CHECK(read[1] == Approx(1e-5).epsilon(1e-4));
  CHECK(read[0] == Approx(0.4).epsilon(1e-4));  // 40 kohm x 10 uA
  CHECK((static_cast<long>(read[4]) & 8) == 8);
  CHECK(f.ask(":SENS:CURR:PROT:TRIP?") == "1");
  // A fixed measure range limits at 105 % of its full scale: range compliance.
  f.send(":SENS:CURR:PROT 1E-3;:SENS:CURR:RANG 1E-6");
  const auto ranged = f.numbers(":READ?");
  CHECK(ranged[1] == Approx(1.05e-6).epsilon(1e-3));
  CHECK((static_cast<long>(ranged[4]) & 65536) == 65536);
  f.send(":ARM:COUN 100;:TRIG:COUN 100");
  CHECK(f.error() == -222);
}

TEST_CASE("a 2400's output off is what its mode says", "[emulated][2400]") {
  Fixture f(Model::keithley_2400);
  f.bench.circuit().drive(f.second, {PortState::Kind::voltage, 1});
  f.send(":OUTP:SMOD HIMP");
  CHECK(std::abs(f.bench.circuit().current(f.first)) < 1e-12);
  f.send(":OUTP:SMOD NORM");  // 0 V, limited to 0.5 % of full scale
  CHECK(f.bench.circuit().current(f.first) == Approx(-5e-7).epsilon(1e-3));
  f.send(":OUTP:SMOD ZERO");
  CHECK(f.bench.circuit().voltage(f.first) == Approx(0).margin(1e-9));
  CHECK(f.bench.circuit().current(f.first) == Approx(-1 / 40002.0).epsilon(1e-6));
  f.send(":OUTP:SMOD GUAR");
  CHECK(std::abs(f.bench.circuit().current(f.first)) < 2e-10);
  CHECK(f.ask(":OUTP:SMOD?") == "GUAR");
}

TEST_CASE("a 2400's reading takes the time of its integration", "[emulated][2400]") {
  Imperfection fifty = Imperfection::none();
  Fixture f(Model::keithley_2400, fifty);
  f.send(":SENS:FUNC:OFF:ALL;:SENS:FUNC \"CURR\";:SENS:CURR:NPLC 1;:SYST:AZER:STAT 0;:SOUR:DEL 0;:OUTP ON");
  const auto duration = [&] {
    const double start = f.bench.time();
    f.ask(":READ?");
    return f.bench.time() - start;
  };
  const double once = duration();
  CHECK(once == Approx(0.02).margin(5e-3));  // 1 NPLC at 50 Hz, and the commands
  f.send(":SYST:AZER:STAT 1");
  CHECK(duration() - once == Approx(0.04).margin(1e-9));  // three conversions
  f.send(":SYST:AZER:STAT 0;:SENS:AVER 1;:SENS:AVER:COUN 10");
  CHECK(duration() - once == Approx(0.18).margin(1e-9));
  f.send(":SENS:AVER 0;:SOUR:DEL 0.5");
  CHECK(duration() - once == Approx(0.5).margin(1e-9));
  // The whole buffer in one run, and completion only after it.
  f.send(
      ":SOUR:DEL 0;:TRIG:COUN 5;:TRAC:CLE;:TRAC:POIN 5;:TRAC:FEED SENS;:TRAC:FEED:CONT NEXT;:STAT:MEAS:ENAB "
      "512;*SRE 1;:FORM:ELEM CURR");
  CHECK(f.ask(":INIT;*OPC?") == "1");
  CHECK(f.ask("*STB?") == "65");
  CHECK(f.numbers(":TRAC:DATA?").size() == 5);
}

TEST_CASE("a 2400 errs within its specification, the same way for a seed", "[emulated][2400]") {
  Imperfection real;
  real.seed = 7;
  double largest = 0;
  for (std::uint32_t number = 0; number < 20; ++number) {
    real.number = number;
    Fixture f(Model::keithley_2400, real);
    f.send(":SOUR:VOLT:RANG 2;:SENS:FUNC:ALL;:SENS:CURR:PROT 1E-3;:SOUR:VOLT 1;:OUTP ON");
    const double V = f.bench.circuit().voltage(f.first);
    largest = std::max(largest, std::abs(V - 1));
    CHECK(std::abs(V - 1) <= 2e-4 * 1 + 600e-6);
    const double read = f.numbers(":READ?")[0];
    CHECK(std::abs(read - V) <= 1.2e-4 + 300e-6 + 50e-6);  // plus noise
    Fixture again(Model::keithley_2400, real);
    again.send(":SOUR:VOLT:RANG 2;:SENS:FUNC:ALL;:SENS:CURR:PROT 1E-3;:SOUR:VOLT 1;:OUTP ON");
    CHECK(again.numbers(":READ?")[0] == read);
  }
  CHECK(largest > 1e-4);
}

TEST_CASE("scanners scan what they are told, in order, and load only the channel they read",
          "[emulated][scanner]") {
  for (const Model model : {Model::scanner_34970a, Model::scanner_daq970a}) {
    Fixture f(model);
    f.bench.circuit().drive(f.second, {PortState::Kind::voltage, 0.25});
    // The fixture drives channel 102 at its port, which the scanner's own state would replace, so channel 101
    // is read: the 10 Mohm input behind 40 kohm reduces the voltage by 0.4 %.
    EmulatedBench bench(resistor());
    const auto far = bench.circuit().attach(0, 1), near = bench.circuit().attach(1, 1),
               source = bench.circuit().attach(1, 1);
    EmulatedInstrument& scanner =
        bench.add((model == Model::scanner_34970a ? emulated_keysight_34970a : emulated_keysight_daq970a)(
            bench.circuit(), {{101, far}, {205, near}}, Imperfection::none()));
    bench.circuit().drive(source, {PortState::Kind::voltage, 0.25});
    const auto ask = [&](const std::string& text) {
      scanner.receive(text + '\n', bench.time());
      bench.advance(bench.time() + 2);
      std::string reply = scanner.take_output();
      if (!reply.empty()) reply.pop_back();
      return reply;
    };
    CHECK(ask("CONF:VOLT:DC 10,0.003,(@101,205)") == "");
    CHECK(ask("ROUT:SCAN?") == "#210(@101,205)");
    CHECK(ask("ROUT:SCAN:SIZE?") == "+2");
    const std::string reply = ask("READ?");
    CHECK(std::stod(reply) == Approx(0.25 * 10e6 / (10e6 + 40e3)).margin(1e-6));
    CHECK(std::stod(reply.substr(reply.find(',') + 1)) == Approx(0.25).margin(1e-6));
    CHECK(ask("SYST:ERR?") == "+0,\"No error\"");
    CHECK(ask("INP:IMP:AUTO ON,(@101)") == "");
    CHECK(std::stod(ask("READ?")) == Approx(0.25).margin(2e-6));
    CHECK(ask("INIT") == "");
    CHECK(ask("*OPC?;FETC?").substr(0, 2) == "1;");
    CHECK(ask("DATA:POIN?") == "+2");
    CHECK(ask("DATA:REM? 1").find("+2.") == 0);
    CHECK(ask("DATA:POIN?") == "+1");
    CHECK(ask("SENS:VOLT:DC:NPLC? (@101,205)") == "+2.00000000E-02,+2.00000000E-02");
    CHECK(ask("SENS:VOLT:DC:RANG? (@101)") == "+1.00000000E+01");
    CHECK(ask("TRIG:COUN?") == "+1.00000000E+00");
    CHECK(ask("ROUT:SCAN (@)") == "");
    CHECK(ask("ROUT:SCAN?") == "#13(@)");
    CHECK(ask("ROUT:SCAN (@421)") == "");
    CHECK(std::stoi(ask("SYST:ERR?")) == 111);
    CHECK(ask("ROUT:SCAN (@121)") == "");
    CHECK(std::stoi(ask("SYST:ERR?")) == 112);
    CHECK(ask("CONF:VOLT:DC 10,0.003") == "");
    CHECK(std::stoi(ask("SYST:ERR?")) == -109);
    CHECK(ask("CONF:VOLT:DC 0.1,0.00001,(@205);:READ?") == "+9.90000000E+37");  // 0.25 V on the 0.1 V range
    CHECK(ask("CONF:VOLT:DC AUTO,DEF,(@205);:FORM:READ:CHAN ON;:READ?").find(",205") != std::string::npos);
  }
}

TEST_CASE("multimeters read the voltage at their input, with their input's load", "[emulated][multimeter]") {
  for (const Model model : {Model::multimeter_34401a, Model::multimeter_34461a}) {
    Fixture f(model);
    f.bench.circuit().drive(f.second, {PortState::Kind::voltage, 1});
    CHECK(std::stod(f.ask("MEAS:VOLT:DC? 10,0.0001")) == Approx(10e6 / (10e6 + 40e3)).margin(2e-5));
    CHECK(f.ask("CONF?") == "\"VOLT +1.000000E+01,+1.000000E-04\"");
    f.send("INP:IMP:AUTO ON");
    CHECK(std::stod(f.ask("READ?")) == Approx(1).margin(2e-5));
    f.send("SAMP:COUN 3");
    CHECK(f.numbers("READ?").size() == 3);
    CHECK(f.numbers("INIT;*OPC?;:FETC?").size() >= 3);
    CHECK(f.ask("VOLT:DC:NPLC 1;:VOLT:DC:NPLC?") == "+1.00000000E+00");
    CHECK(f.ask("FUNC?") == "\"VOLT\"");
    f.send("VOLT:DC:RANG 0.1");
    CHECK(f.numbers("READ?")[0] == Approx(9.9e37));
    f.send("*RST");
    CHECK(f.ask("FETC?", 5) == "");
    CHECK(f.error() == -230);
    f.send("TRIG:SOUR BUS");
    CHECK(f.ask("READ?", 5) == "");
    CHECK(f.error() == -214);
    f.send("*TRG");
    CHECK(f.error() == -211);
    f.send("INIT;*TRG");
    CHECK(std::stod(f.ask("FETC?")) == Approx(1).margin(0.01));
  }
}

TEST_CASE("a QDAC-II sets ports and gates, slews, and reads currents in the order asked",
          "[emulated][qdac2]") {
  EmulatedBench bench(resistor());
  const auto a = bench.circuit().attach(0, 1), b = bench.circuit().attach(1, 1);
  const std::size_t conductance = static_cast<std::size_t>(bench.circuit().network().edge_parameter(0, 0));
  EmulatedInstrument& dac = bench.add(
      emulated_qdac2(bench.circuit(), {{3, conductance, 2, 1}}, {{1, a}, {2, b}}, Imperfection::none()));
  const auto ask = [&](const std::string& text, double wait = 1) {
    dac.receive(text + '\n', bench.time());
    bench.advance(bench.time() + wait);
    std::string reply = dac.take_output();
    if (!reply.empty()) reply.pop_back();
    return reply;
  };
  CHECK(ask("*idn?").find("QDevil, QDAC-II") == 0);
  CHECK(ask("sour1:volt 0.4;:sour2:volt 0.1") == "");
  CHECK(bench.circuit().voltage(a) == Approx(0.4).margin(1e-9));
  CHECK(ask("sour1:volt?") == "0.4");
  CHECK(ask("sour:volt:last? (@1:3)") == "0.4, 0.1, 0");
  // Gate 3 at 0 V gives a conductance of 1 unit, 25 uS; at 0.5 V 2 units.
  const std::string one = ask("read? (@2,1)");
  CHECK(std::stod(one) == Approx(-0.3 * 25e-6).epsilon(1e-4));
  CHECK(std::stod(one.substr(one.find(',') + 1)) == Approx(0.3 * 25e-6).epsilon(1e-4));
  ask("sour3:volt 0.5");
  CHECK(bench.circuit().parameter(conductance) == Approx(2).epsilon(1e-12));
  // Range and slew.
  ask("sour1:volt 0");
  ask("sour1:rang low");
  CHECK(ask("sour1:rang?") == "LOW");
  CHECK(ask("syst:err?") == "0, \"No error\"");
  ask("sour1:volt 3");
  CHECK(std::stoi(ask("syst:err?")) == -222);
  ask("sour1:volt:slew 20");
  ask("sour1:volt 2", 0.0505);  // 0.5 ms of command, then half of 100 ms
  CHECK(std::stod(ask("sour1:volt?", 0.001)) == Approx(1).margin(0.07));  // steps of 1/32
  CHECK(ask("sour1:volt:last?", 0.1) == "2");
  CHECK(ask("sour1:volt?") == "2");
  ask("sour30:volt 1");
  CHECK(std::stoi(ask("syst:err?")) == -114);
  // Armed channels move together on the bus trigger.
  ask("sour1:volt:slew inf;:sour:dc:trig:sour bus,(@1,2);:sour:volt:trig 0.3,(@1,2);:sour:dc:init (@1,2)");
  CHECK(ask("sour1:volt?") == "2");
  ask("*trg");
  CHECK(ask("sour:volt? (@1,2)") == "0.3, 0.3");
}

TEST_CASE("instruments on one circuit see each other, at their own times", "[emulated]") {
  EmulatedBench bench(resistor());
  const auto source = bench.circuit().attach(0, 1), meter = bench.circuit().attach(1, 1);
  EmulatedInstrument& smu = bench.add(emulated_keithley_2400(bench.circuit(), source, Imperfection::none()));
  EmulatedInstrument& dmm = bench.add(emulated_keysight_34461a(bench.circuit(), meter, Imperfection::none()));
  smu.receive(":SENS:CURR:PROT 1E-3;:SOUR:VOLT 0.7;:OUTP ON\n", 0);
  dmm.receive("VOLT:DC:NPLC 1;:READ?\n", 0);  // started before the source is on
  bench.advance(10);
  const double early = std::stod(dmm.take_output());
  CHECK(early > 0);
  CHECK(early < 0.69);
  dmm.receive("READ?\n", 10);
  bench.advance(20);
  CHECK(std::stod(dmm.take_output()) == Approx(0.7 * 10e6 / (10e6 + 40e3)).margin(2e-6));
}
