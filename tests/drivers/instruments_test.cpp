// Drivers against emulated instruments, in virtual time. Both share only the manuals.
#include <catch2/catch.hpp>
#include <cmath>
#include <deque>
#include <map>

#include "ness/drivers/dac.hpp"
#include "ness/drivers/meters.hpp"
#include "ness/drivers/source_meter.hpp"
#include "ness/emulators/models.hpp"
#include "ness/emulators/virtual_time.hpp"

using namespace ness;
using namespace ness::drivers;
using protocols::Session;
using sim::EmulatedInstrument;

namespace {

// 40 kohm between two nodes with 1 nF each.
struct Bench {
  std::shared_ptr<sim::EmulatedBench> bench;
  std::vector<std::string> said;  // messages of all clients

  Bench() {
    sim::NetworkSpec spec;
    spec.graph.nodes = {{"a", true, 0}, {"b", false, 1}};
    spec.graph.edges = {{0, 1, 1}};
    spec.graph.outputs = {1};
    spec.nodes.resize(2);
    spec.edges = {{sim::Law::linear, {1}}};
    bench = std::make_shared<sim::EmulatedBench>(std::make_unique<sim::Circuit>(
        spec, sim::CircuitScale{0.1, 2.5e-6, 1}, std::vector<double>{1e-9, 1e-9}));
  }
  sim::Circuit& circuit() { return bench->circuit(); }
  std::unique_ptr<Session> session(std::unique_ptr<EmulatedInstrument> instrument,
                                   const std::string& address) {
    protocols::SessionOptions options;
    options.transcript = [this](const protocols::Exchange& e) {
      if (e.kind == protocols::Exchange::Kind::sent) said.emplace_back(e.text);
    };
    return std::make_unique<Session>(
        sim::virtual_time_transport(bench, bench->add(std::move(instrument)), address), options);
  }
  std::unique_ptr<SourceMeter> smu(std::uint32_t node) {
    return keithley_2400(
        session(sim::emulated_keithley_2400(circuit(), circuit().attach(node, 1), sim::Imperfection::none()),
                "smu" + std::to_string(node)));
  }
};

// An IEEE 488.2 instrument that accepts everything and gives prepared answers.
struct Liar final : protocols::MemoryPeer {
  std::map<std::string, std::string> answers;
  std::string out;
  void receive(std::string_view bytes) override {
    const std::string text(bytes.substr(0, bytes.size() - 1));
    if (text.find('?') == std::string::npos) return;
    const auto found = answers.find(text);
    out += (found == answers.end() ? "0" : found->second) + '\n';
  }
  std::string send() override { return std::exchange(out, ""); }
};

}  // namespace

TEST_CASE("a 2400 is configured, read back, and measures", "[drivers][2400]") {
  Bench b;
  const auto source = b.smu(0), drain = b.smu(1);
  for (SourceMeter* smu : {source.get(), drain.get()}) {
    smu->connect();
    CHECK(smu->identity().find("MODEL 2400") != std::string::npos);
    SourceMeterSettings settings;
    settings.range = 2;
    settings.compliance = 1e-3;
    settings.autozero = false;
    smu->configure(settings);
    CHECK_FALSE(smu->output());
    smu->set_output(true);
  }
  source->set_level(1.0);
  CHECK(source->level() == 1.0);
  source->arm();
  drain->arm();
  const double begin = b.bench->time();
  const SourceReading in = source->fetch(), out = drain->fetch();
  CHECK(b.bench->time() - begin < 1.1 * source->measurement_time());  // in parallel
  const double I = 1 / 40002.0;                                       // plus two leads
  CHECK(in.amperes == Approx(I).epsilon(1e-5));
  CHECK(out.amperes == Approx(-I).epsilon(1e-5));
  CHECK(in.volts == Approx(1).margin(1e-6));
  CHECK_FALSE(in.in_compliance);
  SourceMeterSettings as_above;
  as_above.range = 2;
  as_above.compliance = 1e-3;
  CHECK(source->resolution(as_above) == 50e-6);
  CHECK(source->level_error(as_above, 1) == Approx(2e-4 + 600e-6));
  // In compliance: 40 kohm at 100 uA are 4 V.
  SourceMeterSettings settings;
  settings.range = 20;
  settings.compliance = 1e-4;
  source->configure(settings);
  CHECK(source->level() == 0);
  source->set_output(true);
  source->set_level(10);
  source->arm();
  const SourceReading limited = source->fetch();
  CHECK(limited.in_compliance);
  CHECK(limited.amperes == Approx(1e-4).epsilon(1e-4));
  CHECK(limited.volts == Approx(1e-4 * 40002).epsilon(1e-3));
  source->set_output(false);
  CHECK_FALSE(source->output());
  source->check();
  // As a current source.
  SourceMeterSettings current;
  current.sourced = Sourced::current;
  current.range = 1e-5;
  current.compliance = 5;
  source->configure(current);
  source->set_output(true);
  source->set_level(1e-5);
  source->arm();
  CHECK(source->fetch().volts == Approx(1e-5 * 40002).epsilon(1e-5));
}

TEST_CASE("a 2400 refuses what it cannot do before a word is sent", "[drivers][2400]") {
  Bench b;
  const auto smu = b.smu(0);
  smu->connect();
  const std::size_t said = b.said.size();
  const auto refusal = [&](auto change) {
    SourceMeterSettings settings;
    change(settings);
    try {
      smu->configure(settings);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  CHECK_THAT(refusal([](auto& s) { s.range = 300; }), Catch::Contains("300 V") && Catch::Contains("200 V"));
  CHECK_THAT(refusal([](auto& s) { s.compliance = 0; }), Catch::Contains("more than 0"));
  CHECK_THAT(refusal([](auto& s) { s.compliance = 2; }), Catch::Contains("1.05 A"));
  CHECK_THAT(refusal([](auto& s) { s.compliance = 1e-6, s.measure_range = 1e-2; }),
             Catch::Contains("0.1 % of the measure range"));
  CHECK_THAT(refusal([](auto& s) { s.compliance = 1e-4, s.measure_range = 1e-2; }),
             Catch::Contains("exceeds that of the compliance"));
  CHECK_THAT(refusal([](auto& s) { s.range = 200, s.compliance = 1; }), Catch::Contains("22 W"));
  CHECK_THAT(refusal([](auto& s) { s.cycles = 20; }), Catch::Contains("0.01 to 10"));
  CHECK_THAT(refusal([](auto& s) { s.source_delay = 1e5; }), Catch::Contains("999.9999"));
  CHECK(b.said.size() == said);
  CHECK_THROWS_AS(smu->set_level(0.1), std::logic_error);
  CHECK_THROWS_AS(smu->set_output(true), std::logic_error);
  smu->set_output(false);  // always possible
  smu->configure({});
  CHECK_THROWS_WITH(smu->set_level(2.2), Catch::Contains("2.2") && Catch::Contains("2.1"));
  // After a lost link the settings are unknown.
  smu->session().close();
  CHECK_THROWS_WITH(smu->set_level(0.1), Catch::Contains("the link was lost"));
}

TEST_CASE("a setting an instrument does not take is found by reading it back", "[drivers][2400]") {
  auto liar = std::make_shared<Liar>();
  liar->answers = {{"*IDN?", "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1,C30"},
                   {":OUTP?", "0"},
                   {":SOUR:FUNC?", "VOLT"},
                   {":OUTP:SMOD?", "NORM"},
                   {":SYST:RSEN?", "0"},
                   {":SOUR:VOLT:RANG?", "+2.0E+00"},
                   {":SENS:CURR:PROT?", "+1.05E-04"},
                   {":SENS:CURR:RANG?", "+1.0E-04"},
                   {":SENS:CURR:NPLC?", "1.00"},
                   {":SYST:AZER:STAT?", "1"},
                   {"SYST:ERR?", "0,\"No error\""}};
  const auto smu = keithley_2400(
      std::make_unique<Session>(protocols::memory_transport("LIAR", liar), protocols::SessionOptions{}));
  smu->connect();
  SourceMeterSettings settings;
  settings.compliance = 5e-5;
  settings.measure_range = 1e-5;
  liar->answers[":SENS:CURR:RANG?"] = "+1.0E-05";
  CHECK_THROWS_WITH(smu->configure(settings), Catch::Contains("LIAR") &&
                                                  Catch::Contains(":SENS:CURR:PROT?") &&
                                                  Catch::Contains("was not accepted"));
  liar->answers[":SENS:CURR:PROT?"] = "+5.0E-05";
  CHECK_NOTHROW(smu->configure(settings));
  liar->answers[":OUTP?"] = "1";
  CHECK_THROWS_AS(smu->set_output(false), InstrumentError);
}

TEST_CASE("the wrong instrument at an address is found before anything else is sent", "[drivers]") {
  Bench b;
  const auto meter = keysight_34461a(
      b.session(sim::emulated_keithley_2400(b.circuit(), b.circuit().attach(0, 1), sim::Imperfection::none()),
                "swapped"));
  CHECK_THROWS_WITH(meter->connect(), Catch::Contains("swapped") &&
                                          Catch::Contains("expected a Keysight 34461A") &&
                                          Catch::Contains("MODEL 2400"));
  CHECK(b.said == std::vector<std::string>{"*IDN?"});
}

TEST_CASE("voltmeters read the node they are wired to", "[drivers][meters]") {
  using Emulator =
      std::unique_ptr<sim::EmulatedInstrument> (*)(sim::Circuit&, std::size_t, const sim::Imperfection&);
  using Driver = std::unique_ptr<Voltmeter> (*)(std::unique_ptr<protocols::Session>);
  for (const auto& [emulator, driver] :
       {std::pair<Emulator, Driver>{sim::emulated_agilent_34401a, agilent_34401a},
        {sim::emulated_keysight_34461a, keysight_34461a}}) {
    Bench b;
    const auto source = b.circuit().attach(0, 1);
    b.circuit().drive(source, {sim::PortState::Kind::voltage, 0.7});
    auto session =
        b.session(emulator(b.circuit(), b.circuit().attach(1, 1), sim::Imperfection::none()), "meter");
    const auto meter = driver(std::move(session));
    meter->connect();
    MeterSettings settings;
    settings.range = 1;
    meter->configure(settings);
    meter->arm();
    const MeterReading reading = meter->fetch();
    CHECK(reading.volts == Approx(0.7 * 1e10 / (1e10 + 40e3)).epsilon(1e-6));
    CHECK_FALSE(reading.over_range);
    settings.high_input = false;
    meter->configure(settings);
    meter->arm();
    CHECK(meter->fetch().volts == Approx(0.7 * 10e6 / (10e6 + 40002)).epsilon(1e-6));
    settings.range = 0.1;
    meter->configure(settings);
    meter->arm();
    const MeterReading over = meter->fetch();
    CHECK(over.over_range);
    CHECK(std::isnan(over.volts));
    settings.range = 1;
    settings.cycles = 10;
    meter->configure(settings);
    const double began = b.bench->time();
    const auto burst = meter->burst(5);
    CHECK(b.bench->time() - began < 0.1);  // five of 0.02 NPLC, where one of 10 takes 0.2 s
    REQUIRE(burst.size() == 5);
    for (const MeterReading& one : burst)
      CHECK(one.volts == Approx(0.7 * 10e6 / (10e6 + 40002)).epsilon(1e-4));
    meter->arm();
    CHECK(meter->fetch().volts == Approx(0.7 * 10e6 / (10e6 + 40002)).epsilon(1e-6));
    CHECK(b.bench->time() - began > 0.2);  // and the integration time is restored
    settings.cycles = 3;
    CHECK_THROWS_WITH(meter->configure(settings), Catch::Contains("3 NPLC") && Catch::Contains("0.02"));
    settings = {};
    settings.range = 2000;
    CHECK_THROWS_WITH(meter->configure(settings), Catch::Contains("1000 V"));
  }
}

TEST_CASE("scanners read their channels in the order configured", "[drivers][meters]") {
  using Emulator = std::unique_ptr<sim::EmulatedInstrument> (*)(
      sim::Circuit&, const std::vector<sim::ChannelPort>&, const sim::Imperfection&);
  using Driver = std::unique_ptr<Scanner> (*)(std::unique_ptr<protocols::Session>);
  for (const auto& [emulator, driver] :
       {std::pair<Emulator, Driver>{sim::emulated_keysight_34970a, keysight_34970a},
        {sim::emulated_keysight_daq970a, keysight_daq970a}}) {
    Bench b;
    const auto source = b.circuit().attach(0, 1), far = b.circuit().attach(1, 1),
               near = b.circuit().attach(0, 1);
    b.circuit().drive(source, {sim::PortState::Kind::voltage, -0.3});
    auto session =
        b.session(emulator(b.circuit(), {{101, near}, {102, far}}, sim::Imperfection::none()), "scanner");
    const auto scanner = driver(std::move(session));
    scanner->connect();
    MeterSettings settings;
    settings.range = 1;
    scanner->configure({102, 103, 101}, settings);
    scanner->arm();
    const double begin = b.bench->time();
    const auto readings = scanner->fetch();
    CHECK(b.bench->time() - begin <= scanner->measurement_time());
    REQUIRE(readings.size() == 3);
    CHECK(readings[0].volts == Approx(-0.3).epsilon(1e-5));
    CHECK(readings[1].volts == Approx(0).margin(1e-9));
    CHECK(readings[2].volts == Approx(-0.3).epsilon(1e-6));
    const auto burst = scanner->burst(102, 6);
    REQUIRE(burst.size() == 6);
    CHECK(burst[5].volts == Approx(-0.3).epsilon(1e-4));
    scanner->arm();
    CHECK(scanner->fetch().size() == 3);
    CHECK_THROWS_AS(scanner->burst(104, 6), std::invalid_argument);
    scanner->check();
    CHECK_THROWS_WITH(scanner->configure({99}, settings), Catch::Contains("channel 99"));
    CHECK_THROWS_AS(scanner->configure({}, settings), std::invalid_argument);
  }
}

TEST_CASE("a QDAC-II moves its channels together and says where they are", "[drivers][dac]") {
  Bench b;
  const auto left = b.circuit().attach(0, 1), right = b.circuit().attach(1, 1);
  const auto dac = qdac2(b.session(
      sim::emulated_qdac2(b.circuit(), {}, {{1, left}, {2, right}}, sim::Imperfection::none()), "dac"));
  dac->connect();
  DacSettings settings;
  settings.slew = 100;
  dac->configure({1, 2}, settings);
  CHECK(dac->resolution(settings) == Approx(4.0 / (1 << 25)));
  const std::vector<std::pair<std::uint32_t, double>> levels{{1, 1.0}, {2, -1.0}};
  const double begin = b.bench->time();
  dac->set(levels);
  CHECK(dac->targets({2, 1}) == std::vector<double>{-1, 1});
  const auto moving = dac->levels({1, 2});
  CHECK(moving[0] < 1);
  sim::pass_time(*b.bench, 0.02 - (b.bench->time() - begin));  // 1 V at 100 V/s are 10 ms
  CHECK(dac->levels({1, 2}) == std::vector<double>{1, -1});
  const auto amperes = dac->currents({1, 2});
  CHECK(amperes[0] == Approx(2 / 40002.0).epsilon(1e-5));
  CHECK(amperes[1] == Approx(-2 / 40002.0).epsilon(1e-5));
  const std::vector<std::pair<std::uint32_t, double>> far{{1, 0.5}, {2, 2.5}}, other{{3, 0}};
  CHECK_THROWS_WITH(dac->set(far), Catch::Contains("channel 2") && Catch::Contains("2.5 V"));
  CHECK(dac->targets({1}) == std::vector<double>{1});  // nothing of the refused call was sent
  CHECK_THROWS_AS(dac->set(other), std::logic_error);
  CHECK(dac->to_rest({1, 2}, settings).empty());
  CHECK_NOTHROW(dac->configure({1}, settings));  // already configured: the level is not changed
  DacSettings wider = settings;
  wider.range = 10;
  CHECK(dac->to_rest({1, 2, 3}, wider) == std::vector<std::uint32_t>{1, 2, 3});
  CHECK_THROWS_WITH(dac->configure({1}, wider), Catch::Contains("bring it to 0 V"));
  DacSettings filtered = settings;
  filtered.filter = DacFilter::medium;
  CHECK_THROWS_WITH(dac->configure({1}, filtered), Catch::Contains("bring it to 0 V"));
  CHECK(dac->targets({1}) == std::vector<double>{1});
  CHECK_THROWS_WITH(dac->configure({25}, settings), Catch::Contains("1 to 24"));
  settings.slew = 1;
  CHECK_THROWS_WITH(dac->configure({3}, settings), Catch::Contains("20 to 2e"));
  dac->check();
}

namespace {

std::string stated(const std::vector<Statement>& all, const std::string& name) {
  for (const auto& [what, value] : all) {
    if (what == name) return value;
  }
  return "nothing of '" + name + "'";
}

// It knows no query of its calibration: silence, and an entry of its error queue.
struct Unaware final : protocols::MemoryPeer {
  std::deque<std::string> queue;
  std::string out;
  void receive(std::string_view bytes) override {
    const std::string text(bytes.substr(0, bytes.size() - 1));
    if (text == "*IDN?") out += "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1,C30\n";
    else if (text != "SYST:ERR?") queue.push_back("-113,\"Undefined header\"");
    else if (queue.empty()) out += "0,\"No error\"\n";
    else {
      out += queue.front() + '\n';
      queue.pop_front();
    }
  }
  std::string send() override { return std::exchange(out, ""); }
};

}  // namespace

TEST_CASE("an instrument says what it is set to, and what it was set to is what it says", "[drivers]") {
  Bench b;
  const auto smu = b.smu(0);
  smu->connect();
  SourceMeterSettings settings;
  settings.compliance = 1e-3;
  settings.cycles = 0.5;
  settings.four_wire = true;
  settings.off = OffState::high_impedance;
  smu->configure(settings);
  smu->set_level(0.25);
  smu->set_output(true);
  const auto said = smu->settings();
  CHECK(stated(said, "sources") == "VOLT");
  CHECK(std::stod(stated(said, "source range (V)")) == Approx(2));
  CHECK(std::stod(stated(said, "level (V)")) == Approx(0.25));
  CHECK(std::stod(stated(said, "compliance (A)")) == Approx(1e-3));
  CHECK(std::stod(stated(said, "measure range (A)")) == Approx(1e-3));
  CHECK(std::stod(stated(said, "nplc")) == Approx(0.5));
  CHECK(stated(said, "four-wire") == "1");
  CHECK(stated(said, "output") == "1");
  CHECK(stated(said, "output off state") == "HIMP");
  CHECK(stated(said, "terminals") == "FRON");
  CHECK(std::stod(stated(said, "line frequency (Hz)")) == 50);
  smu->set_output(false);
  settings.sourced = Sourced::current;
  settings.range = 1e-6;
  settings.compliance = 2;
  smu->configure(settings);
  CHECK(stated(smu->settings(), "sources") == "CURR");
  CHECK(std::stod(stated(smu->settings(), "source range (A)")) == Approx(1e-6));
  CHECK(std::stod(stated(smu->settings(), "compliance (V)")) == Approx(2));
  CHECK(stated(smu->settings(), "output") == "0");
  smu->check();  // no query raised an error

  const auto scanner =
      keysight_34970a(b.session(sim::emulated_keysight_34970a(b.circuit(), {{101, b.circuit().attach(1, 1)}},
                                                              sim::Imperfection::none()),
                                "scanner"));
  scanner->connect();
  CHECK(stated(scanner->settings(), "scan list") == "(@)");
  MeterSettings meter;
  meter.range = 1;
  meter.delay = 0.01;
  scanner->configure({103, 101}, meter);
  const auto scans = scanner->settings();
  CHECK(stated(scans, "scan list") == "(@103,101)");
  for (const char* channel : {"101", "103"}) {
    CHECK(std::stod(stated(scans, channel + std::string(" range (V)"))) == 1);
    CHECK(std::stod(stated(scans, channel + std::string(" delay (s)"))) == Approx(0.01));
    CHECK(stated(scans, channel + std::string(" automatic delay")) == "0");
    CHECK(stated(scans, channel + std::string(" autorange")) == "0");
  }
  scanner->check();

  for (const bool truevolt : {false, true}) {
    const auto port = b.circuit().attach(1, 1);
    auto emulator = truevolt ? sim::emulated_keysight_34461a(b.circuit(), port, sim::Imperfection::none())
                             : sim::emulated_agilent_34401a(b.circuit(), port, sim::Imperfection::none());
    auto session = b.session(std::move(emulator), truevolt ? "34461A" : "34401A");
    const auto voltmeter =
        truevolt ? keysight_34461a(std::move(session)) : agilent_34401a(std::move(session));
    voltmeter->connect();
    meter.autozero = false;
    voltmeter->configure(meter);
    const auto now = voltmeter->settings();
    CHECK(std::stod(stated(now, "range (V)")) == 1);
    CHECK(stated(now, "autozero") == "0");
    CHECK(stated(now, "input above 10 Gohm") == "1");
    CHECK(std::stod(stated(now, "samples")) == 1);
    CHECK(stated(now, "measures") == "\"VOLT\"");
    voltmeter->check();
  }

  const auto dac = qdac2(b.session(
      sim::emulated_qdac2(b.circuit(), {}, {{2, b.circuit().attach(1, 1)}}, sim::Imperfection::none()),
      "dac"));
  dac->connect();
  CHECK(dac->settings().empty());
  DacSettings slow;
  slow.slew = 100;
  dac->configure({5, 2}, slow);
  const std::vector<std::pair<std::uint32_t, double>> level{{5, 1.0}};
  dac->set(level);
  const auto gates = dac->settings();
  CHECK(stated(gates, "2 range") == "LOW");
  CHECK(stated(gates, "5 filter") == "DC");
  CHECK(std::stod(stated(gates, "5 slew (V/s)")) == 100);
  CHECK(std::stod(stated(gates, "5 programmed level (V)")) == 1);
  CHECK(std::stod(stated(gates, "2 level (V)")) == 0);
  dac->check();
}

TEST_CASE("an instrument says when it was calibrated, and one that does not know keeps working",
          "[drivers][calibration]") {
  Bench b;
  const auto smu = b.smu(0);
  smu->connect();
  CHECK(smu->calibration().empty());
  smu->ask_calibration();
  CHECK(stated(smu->calibration(), "calibrated") == "2024,3,18");
  CHECK(stated(smu->calibration(), "calibration due") == "2025,3,18");
  smu->check();
  const auto meter = keysight_34461a(b.session(
      sim::emulated_keysight_34461a(b.circuit(), b.circuit().attach(1, 1), sim::Imperfection::none()),
      "meter"));
  meter->connect();
  meter->ask_calibration();
  CHECK(stated(meter->calibration(), "calibrated") == "+2024,+3,+18");
  CHECK(stated(meter->calibration(), "calibrations") == "+273");
  meter->check();
  const auto old = agilent_34401a(b.session(
      sim::emulated_agilent_34401a(b.circuit(), b.circuit().attach(1, 1), sim::Imperfection::none()), "old"));
  old->connect();
  old->ask_calibration();
  CHECK(stated(old->calibration(), "calibrated") == "nothing of 'calibrated'");
  CHECK(stated(old->calibration(), "calibration message") == "\"CAL 18MAR24\"");
  old->check();

  auto unaware = std::make_shared<Unaware>();
  const auto silent = keithley_2400(
      std::make_unique<Session>(protocols::memory_transport("SILENT", unaware), protocols::SessionOptions{}));
  silent->connect();
  silent->ask_calibration();
  CHECK(silent->calibration().empty());
  CHECK(unaware->queue.empty());
  CHECK_NOTHROW(silent->check());
  CHECK(stated_settings(*silent).settings.empty());
  CHECK_THAT(stated_settings(*silent).problem, Catch::Contains("SILENT"));
}
