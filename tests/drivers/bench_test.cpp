// The bench as a Device, on emulated instruments in virtual time, compared with the simulation of the same
// network.
#include "ness/drivers/bench.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "device_contract.hpp"
#include "ness/training/dataset.hpp"
#include "ness/device/error.hpp"
#include "ness/emulators/models.hpp"
#include "ness/emulators/virtual_time.hpp"
#include "ness/network/simulation.hpp"

using namespace ness;
using namespace ness::drivers;

namespace {

// XOR's 2-2-1 network of quantum dots; b is 0 at the inputs and -1 at the output, constants of the device.
sim::NetworkSpec xor_network() {
  sim::NetworkSpec spec;
  spec.graph = layered({2, 2, 1});
  for (std::size_t k = 0; k < spec.graph.nodes.size(); ++k)
    spec.graph.nodes[k].name = "n" + std::to_string(k);
  spec.nodes.resize(5);
  for (std::size_t k = 2; k < 5; ++k) spec.nodes[k].g = 0.37;
  for (const GraphEdge& edge : spec.graph.edges)
    spec.edges.push_back(
        {sim::Law::quantum_dot,
         {1.0, 0.3 * static_cast<double>(edge.source) - 0.4, edge.layer == 1 ? 0.0 : -1.0, 0}});
  return spec;
}

// A cable that can be pulled: links cannot be opened any more.
struct Cable {
  bool pulled = false;
};
class Pulled final : public protocols::Transport {
 public:
  Pulled(std::unique_ptr<protocols::Transport> inner, std::shared_ptr<Cable> cable)
      : inner_(std::move(inner)), cable_(std::move(cable)) {}
  const std::string& address() const override { return inner_->address(); }
  void open(protocols::Milliseconds limit) override {
    check();
    inner_->open(limit);
  }
  void close() noexcept override { inner_->close(); }
  bool is_open() const override { return inner_->is_open(); }
  void write(std::string_view message, protocols::Milliseconds limit) override {
    check();
    inner_->write(message, limit);
  }
  std::size_t read(std::span<char> into, protocols::Milliseconds limit) override {
    check();
    return inner_->read(into, limit);
  }

 private:
  void check() const {
    if (cable_->pulled) throw LinkError(address(), "no route to host");
  }
  std::unique_ptr<protocols::Transport> inner_;
  std::shared_ptr<Cable> cable_;
};

struct Fixture {
  std::shared_ptr<sim::EmulatedBench> emulated;
  std::shared_ptr<Clock> clock;
  std::shared_ptr<Cable> dac_cable = std::make_shared<Cable>(), source_cable = std::make_shared<Cable>();
  std::unique_ptr<sim::Simulation> simulation;
  std::unique_ptr<Bench> bench;
  std::vector<std::size_t> ports;
  BenchSettings settings;
  Vector theta;
  std::shared_ptr<const PatternSet> inputs;

  std::vector<std::string> said;                    // all messages to instruments: "address> message"
  std::vector<sim::EmulatedInstrument*> emulators;  // two source-meters and the DAC
  // Cross-talk per volt: from the DAC's channel 2 into the parameter of channel 1.
  double talk = 0;
  std::size_t probe = 0;  // a port at a separate node, which no instrument drives

  explicit Fixture(const sim::Imperfection& imperfection = sim::Imperfection::none(),
                   const std::function<void(BenchSettings&, BenchInstruments&)>& change = {},
                   const std::function<void(Fixture&, BenchSettings&, BenchInstruments&)>& extend = {},
                   double cross_talk = 0)
      : talk(cross_talk) {
    auto network = std::make_shared<sim::Network>(xor_network());
    theta = network->theta();
    simulation = std::make_unique<sim::Simulation>(network, sim::SimulationOptions{});
    sim::NetworkSpec sample = xor_network();
    sample.graph.nodes.push_back({"surroundings", false, 2});
    sample.nodes.emplace_back().g = 0;
    emulated = std::make_shared<sim::EmulatedBench>(
        std::make_unique<sim::Circuit>(sample, sim::CircuitScale{}, std::vector<double>(6, 1e-9)));
    clock = sim::virtual_clock(emulated);
    sim::Circuit& circuit = emulated->circuit();
    probe = circuit.attach(5, 1);
    // Two source-meters at the inputs, a scanner at the free nodes; the DAC's channels set levels a and leak
    // references.
    std::vector<sim::ChannelPort> scanned;
    BenchInstruments instruments;
    sim::Imperfection own = imperfection;
    for (std::uint32_t i = 0; i < 2; ++i) {
      own.number = i;
      ports.push_back(circuit.attach(i, 1));
      auto& smu = emulated->add(sim::emulated_keithley_2400(circuit, ports.back(), own));
      emulators.push_back(&smu);
      instruments.sources.push_back(keithley_2400(session(smu, "smu" + std::to_string(i), source_cable)));
      SourceMeterSettings source;
      source.range = 2;
      source.compliance = 1e-4;
      source.autozero = false;
      instruments.source_settings.push_back(source);
      BenchChannel channel;
      channel.kind = LevelChannel::Kind::source;
      channel.instrument = i;
      channel.plan = {"input" + std::to_string(i), {-0.5, 0.5}, 0.2, 10};
      channel.terminal = i;
      channel.safe_at(0, 0);
      settings.channels.push_back(channel);
    }
    for (std::uint32_t k = 2; k < 5; ++k) {
      scanned.push_back({99 + k, circuit.attach(k, 1)});
      settings.readings.push_back({{BenchMeter::Kind::scanner, 0, 99 + k}, k});
    }
    own.number = 2;
    auto& daq = emulated->add(sim::emulated_keysight_daq970a(circuit, scanned, own));
    instruments.scanners.push_back(keysight_daq970a(session(daq, "daq", std::make_shared<Cable>())));
    MeterSettings meter;
    meter.range = 1;
    settings.scanners.push_back(meter);
    std::vector<sim::Gate> gates;
    const auto gate = [&](const std::string& name, double per_volt) {
      const auto at = [&](const std::vector<ParameterInfo>& infos) {
        for (std::size_t i = 0; i < infos.size(); ++i) {
          if (infos[i].name == name) return i;
        }
        throw std::logic_error(name);
      };
      const auto number = static_cast<std::uint32_t>(gates.size() + 1);
      gates.push_back({number, at(circuit.network().parameter_info()), per_volt, 0});
      BenchChannel channel;
      channel.kind = LevelChannel::Kind::dac;
      channel.channel = number;
      channel.plan = {name, {-2, 2}, 4, 1e4};
      channel.parameter = static_cast<std::uint32_t>(at(network->parameter_info()));
      channel.per_volt = per_volt;
      channel.safe_at(0, 1);
      settings.channels.push_back(channel);
      return *channel.parameter;
    };
    for (int e = 0; e < 6; ++e) gate("a[" + std::to_string(e) + "]", 2.5);
    for (int k = 2; k < 5; ++k) {
      const std::uint32_t reference = gate("mu_ref[" + std::to_string(k) + "]", 2.5);
      settings.nudges.push_back({static_cast<std::uint32_t>(k), reference, 0.37, {-0.5, 0.5}});
    }
    own.number = 3;
    if (talk != 0) gates[0].talk = {{2, talk}};
    auto& dac = emulated->add(sim::emulated_qdac2(circuit, gates, {}, own));
    emulators.push_back(&dac);
    instruments.dacs.push_back(qdac2(session(dac, "dac", dac_cable)));
    DacSettings dacs;
    dacs.slew = 1e5;
    instruments.dac_settings.push_back(dacs);
    settings.settle.tolerance = 2e-3;
    settings.settle.tau_max = 1e-4;  // more than 40 kohm x 1 nF
    settings.settle.least = 4;
    if (change) change(settings, instruments);
    if (extend) extend(*this, settings, instruments);
    bench = std::make_unique<Bench>(simulation->info(), theta, std::move(instruments), settings, clock);
    inputs = xor_task().train.inputs;  // 00, 01, 10, 11 at 0 and 3 kT
  }

  ~Fixture() { bench.reset(); }  // before the instruments and the transcript that it uses

  std::unique_ptr<protocols::Session> session(sim::EmulatedInstrument& instrument, const std::string& address,
                                              std::shared_ptr<Cable> cable) {
    protocols::SessionOptions options;
    options.transcript = [this](const protocols::Exchange& e) {
      if (e.kind == protocols::Exchange::Kind::sent)
        said.push_back(std::string(e.address) + "> " + std::string(e.text));
    };
    return std::make_unique<protocols::Session>(
        std::make_unique<Pulled>(sim::virtual_time_transport(emulated, instrument, address),
                                 std::move(cable)),
        options);
  }

  Drive drive(std::uint64_t row) const {
    Drive d;
    d.theta = Parameters::of(theta);
    d.clamp = {inputs, row};
    return d;
  }
};

}  // namespace

TEST_CASE("a bench of ideal instruments reads what the simulation computes, free and nudged", "[bench]") {
  Fixture f;
  for (std::uint64_t row = 0; row < 4; ++row) {
    Drive drive = f.drive(row);
    const Relaxation simulated = f.simulation->relax(drive), measured = f.bench->relax(drive);
    CHECK(measured.quality.usable());
    // Leads of 1 ohm at 2.5 uA, and inputs of 10 Gohm: a few 1e-5 kT.
    CHECK((measured.potential - simulated.potential).cwiseAbs().maxCoeff() < 2e-4);
    CHECK(measured.clamp_readback.size() == 2);
    CHECK(measured.timing.bound < 2e-3);
    CHECK(measured.timing.start < measured.timing.settled);
    drive.nudge = Vector::Zero(3);
    drive.nudge[2] = 0.05;
    drive.start = Present{};
    const Relaxation nudged = f.bench->relax(drive), expected = f.simulation->relax(drive);
    const Vector shift = nudged.potential - measured.potential;
    CHECK((shift - (expected.potential - simulated.potential)).cwiseAbs().maxCoeff() < 2e-4);
    CHECK(shift.cwiseAbs().maxCoeff() > 1e-2);
    // Currents into the network at the inputs, in units: those that leave through the edges. Display: 1 nA,
    // 4e-4 units.
    const Relaxation again = f.bench->relax(f.drive(row));
    Vector theta;
    const sim::Network& network = *f.simulation->network();
    const Vector edges =
        network.edge_currents(sim::boundary_of(network, f.drive(row), theta), simulated.potential);
    for (std::uint32_t input = 0; input < 2; ++input) {
      double out = 0;
      for (std::size_t e = 0; e < network.spec().graph.edges.size(); ++e)
        out += network.spec().graph.edges[e].source == input ? edges[static_cast<Eigen::Index>(e)] : 0;
      CHECK(again.current[input] == Approx(out).margin(2e-4));
    }
    for (std::uint32_t k = 2; k < 5; ++k) CHECK(std::isnan(again.current[k]));
  }
}

TEST_CASE("a bench writes only what changed, and moves within its limits at every step", "[bench]") {
  Fixture f;
  f.bench->relax(f.drive(0));
  const double before = f.clock->now();
  Drive same = f.drive(0);
  same.start = Present{};
  const Relaxation row = f.bench->relax(same);
  CHECK(row.timing.start ==
        Approx(before).margin(1e-9));  // no level changes: no time passes until the drive is complete
  // A parameter is changed only by its gate, and its readback is that of the gate.
  const std::uint32_t a0 = *f.settings.channels[2].parameter;
  Drive moved = f.drive(3);
  moved.theta = moved.theta.with(a0, 1.25);
  const Relaxation there = f.bench->relax(moved);
  CHECK(there.theta_readback[a0] == Approx(1.25).margin(1e-6));
  CHECK((there.potential - f.simulation->relax(moved).potential).cwiseAbs().maxCoeff() < 2e-4);
}

TEST_CASE("what a bench cannot impose is refused before anything moves", "[bench]") {
  Fixture f;
  f.bench->start();
  const double before = f.clock->now();
  Drive drive = f.drive(3);
  const std::uint32_t a0 = *f.settings.channels[2].parameter;
  drive.theta = drive.theta.with(a0, 5.1);  // 2 V x 2.5
  CHECK_THROWS_WITH(f.bench->relax(drive), Catch::Contains("a[0]") && Catch::Contains("5"));
  drive = f.drive(3);
  drive.theta = drive.theta.with(0, 2.0);  // gamma[0], a constant of this device
  CHECK_THROWS_WITH(f.bench->relax(drive), Catch::Contains("gamma[0]"));
  drive = f.drive(3);
  drive.start = From{std::make_shared<Vector>(Vector::Zero(3))};
  CHECK_THROWS_AS(f.bench->relax(drive), Unsupported);
  drive = f.drive(3);
  drive.nudge = Vector::Constant(3, 0.6);
  CHECK_THROWS_AS(f.bench->relax(drive), std::invalid_argument);
  CHECK(f.clock->now() == before);
  CHECK_FALSE(f.bench->info().parameters[0].trainable);
  CHECK(f.bench->info().parameters[a0].trainable);
  CHECK(f.bench->info().parameters[a0].range == Range{-5, 5});
}

TEST_CASE("compliance and range are flags of the reading, not surprises", "[bench]") {
  Fixture f({}, [](BenchSettings&, BenchInstruments& i) {
    // the network draws about 0.1 units, 0.25 uA
    for (SourceMeterSettings& source : i.source_settings) source.compliance = 5e-9;
  });
  const Relaxation row = f.bench->relax(f.drive(3));
  CHECK(row.quality.has(Flag::in_compliance));
  CHECK_FALSE(row.quality.usable());
  Fixture g({}, [](BenchSettings& s, BenchInstruments&) { s.scanners[0].range = 0.1; });
  Drive driven = g.drive(3);
  for (std::uint32_t i = 0; i < 3; ++i)
    driven.theta =
        driven.theta.with(g.settings.nudges[i].mu_ref, 5.0);  // the nodes rise beyond 1.2 kT, 0.12 V
  const Relaxation over = g.bench->relax(driven);
  CHECK((over.quality.all() & bit(Flag::over_range)) != 0);
  CHECK_FALSE(over.quality.usable());
}

TEST_CASE("noise is averaged until the bound is met, or the time is up", "[bench]") {
  sim::Imperfection noisy;
  noisy.errors = false;
  Fixture f(noisy, [](BenchSettings& s, BenchInstruments&) { s.settle.tolerance = 1e-3; });
  const Relaxation row = f.bench->relax(f.drive(2));
  CHECK(row.quality.usable());
  CHECK((row.potential - f.simulation->relax(f.drive(2)).potential).cwiseAbs().maxCoeff() <
        1e-3 + 2e-4 + 0.01);
  Fixture g(noisy, [](BenchSettings& s, BenchInstruments&) {
    s.settle.tolerance = 1e-9;
    s.settle_timeout = 5;
  });
  const Relaxation late = g.bench->relax(g.drive(2));
  CHECK((late.quality.all() & bit(Flag::timed_out)) != 0);
  CHECK(late.timing.bound > 1e-9);
}

TEST_CASE("safe is every channel at its safe level and the outputs off, also after a failure", "[bench]") {
  Fixture f;
  f.bench->relax(f.drive(3));
  CHECK(f.emulated->circuit().node_voltage(0) == Approx(0.3).margin(1e-3));
  const SafeReport report = f.bench->make_safe(std::chrono::seconds(10));
  CHECK(report.safe);
  CHECK(report.stuck.empty());
  sim::pass_time(*f.emulated, 0.1);
  CHECK(f.emulated->circuit().driven(f.ports[0]).level == 0);
  for (std::size_t c = 2; c < f.settings.channels.size(); ++c) {
    CHECK(f.emulated->circuit().parameter(0) == f.theta[0]);
  }
  CHECK(f.bench->make_safe(std::chrono::seconds(10)).safe);  // again
  // It can continue from there.
  CHECK(f.bench->relax(f.drive(3)).quality.usable());

  // A cable is pulled during the run: an error, and everything else is made safe; the DAC is stuck at its
  // last known levels.
  f.dac_cable->pulled = true;
  Drive moved = f.drive(1);
  moved.theta = moved.theta.with(*f.settings.channels[2].parameter, -1.0);
  CHECK_THROWS_AS(f.bench->relax(moved), LinkError);
  sim::pass_time(*f.emulated, 0.1);
  CHECK(f.emulated->circuit().driven(f.ports[0]).level == 0);
  CHECK(f.emulated->circuit().driven(f.ports[1]).level == 0);

  Fixture g;
  g.bench->relax(g.drive(3));
  g.dac_cable->pulled = true;
  const SafeReport partly = g.bench->make_safe(std::chrono::seconds(10));
  CHECK_FALSE(partly.safe);
  CHECK(partly.stuck.size() == 9);
  CHECK_THAT(partly.stuck[0], Catch::Contains("a[0]") && Catch::Contains("no route to host"));
  sim::pass_time(*g.emulated, 0.1);
  CHECK(g.emulated->circuit().driven(g.ports[0]).level == 0);
}

TEST_CASE("wiring that cannot be is refused before anything is sent", "[bench]") {
  const auto refusal =
      [](const std::function<void(BenchSettings&, BenchInstruments&)>& change) -> std::string {
    try {
      const Fixture f({}, change);
      CHECK(f.clock->now() == 0);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "accepted";
  };
  CHECK(refusal({}) == "accepted");
  CHECK_THAT(refusal([](BenchSettings& s, BenchInstruments&) { s.channels.erase(s.channels.begin()); }),
             Catch::Contains("nothing holds the input terminal 0"));
  CHECK_THAT(refusal([](BenchSettings& s, BenchInstruments&) { s.readings.pop_back(); }),
             Catch::Contains("nothing reads the output terminal 4"));
  CHECK_THAT(refusal([](BenchSettings& s, BenchInstruments&) { s.channels[1].instrument = 0; }),
             Catch::Contains("wired already, as 'input0'"));
  CHECK_THAT(refusal([](BenchSettings& s, BenchInstruments&) {
               s.channels[0].plan.limits = {-3, 3};
             }),
             Catch::Contains("beyond the instrument's range of 2.1 V"));
  CHECK_THAT(refusal([](BenchSettings& s, BenchInstruments&) { s.channels[0].safe_at(1); }),
             Catch::Contains("safe level of 1 V (stop) is outside"));
  CHECK_THAT(refusal([](BenchSettings& s, BenchInstruments&) { s.channels[2].per_volt = 0; }),
             Catch::Contains("changes nothing"));
  CHECK_THAT(
      refusal([](BenchSettings& s, BenchInstruments&) { s.channels[3].parameter = s.channels[2].parameter; }),
      Catch::Contains("set twice"));
  CHECK_THAT(refusal([](BenchSettings& s, BenchInstruments&) { s.nudges[0].conductance = 0; }),
             Catch::Contains("no conductance"));
  CHECK_THAT(refusal([](BenchSettings& s, BenchInstruments&) { s.settle_timeout = 0; }),
             Catch::Contains("settle timeout"));
}

TEST_CASE("two cables swapped between instruments are found by who answers", "[bench]") {
  Fixture f;
  BenchInstruments swapped;
  auto bench = std::make_shared<sim::EmulatedBench>(
      std::make_unique<sim::Circuit>(xor_network(), sim::CircuitScale{}, std::vector<double>(5, 1e-9)));
  auto& meter = bench->add(sim::emulated_keysight_34461a(bench->circuit(), bench->circuit().attach(0, 1),
                                                         sim::Imperfection::none()));
  const auto smu = keithley_2400(std::make_unique<protocols::Session>(
      sim::virtual_time_transport(bench, meter, "swapped"), protocols::SessionOptions{}));
  CHECK_THROWS_AS(smu->connect(), InstrumentError);
}

TEST_CASE("a bench keeps the device contract", "[bench]") {
  Fixture f;
  contract::ContractOptions options;
  options.repeatable_after_seek = false;
  contract::check_device(*f.bench, f.drive(1), options);
}

// --- configurations of a bench ---------------------------------------------------------------------------

namespace {

// A message to an emulated instrument from another program.
void tell(Fixture& f, sim::EmulatedInstrument& instrument, const std::string& message) {
  instrument.receive(message + '\n', f.emulated->time());
  sim::pass_time(*f.emulated, 0.1);
  instrument.take_output();
}

std::size_t count(const std::vector<std::string>& said, const std::string& text) {
  return static_cast<std::size_t>(std::count_if(
      said.begin(), said.end(), [&](const std::string& s) { return s.find(text) != std::string::npos; }));
}

}  // namespace

TEST_CASE("instruments found live are brought down by their ramps before they are configured",
          "[bench][levels]") {
  Fixture f;
  // Left by a program that crashed: an input at 0.45 V with its output on, a gate at 1.5 V on the high range.
  tell(f, *f.emulators[0], ":SOUR:VOLT:RANG 2;:SOUR:VOLT 0.45;:SENS:CURR:PROT 1e-4;:OUTP 1");
  tell(f, *f.emulators[2], "sour1:volt 1.5");
  CHECK(f.emulated->circuit().node_voltage(0) == Approx(0.45).margin(1e-3));
  f.bench->start();
  // 0.45 V in steps of 0.2 V, read back; only then off.
  std::vector<double> levels;
  for (const std::string& said : f.said) {
    if (said.starts_with("smu0> :OUTP 0")) break;
    if (said.starts_with("smu0> :SOUR:VOLT ")) levels.push_back(std::stod(said.substr(17)));
  }
  REQUIRE(levels.size() == 3);
  CHECK(levels[0] == Approx(0.25));
  CHECK(levels[1] == Approx(0.05));
  CHECK(levels[2] == 0);
  // The other source was off, so it is not ramped. The gate's range changes, so it went to 0; its step is 4
  // V.
  CHECK(count(f.said, "dac> :sour1:volt 0") >= 1);
  CHECK(f.bench->relax(f.drive(3)).quality.usable());
  // Gates left by this program are taken over at their levels: their range is not changed again.
  f.bench->make_safe(std::chrono::seconds(1));
  f.said.clear();
  f.bench->start();
  CHECK(count(f.said, "sour:rang LOW") == 0);
  CHECK(f.bench->relax(f.drive(3)).quality.usable());
}

TEST_CASE("stop, cancel and emergency are profiles of their own", "[bench][levels]") {
  const auto prepared = [](BenchSettings& s, BenchInstruments&) {
    s.channels[0].safe[static_cast<std::size_t>(SafeProfile::cancel)] = {0.1, 0, 1, LastAct::stay};
    for (std::size_t c = 0; c < 2; ++c)
      s.channels[c].safe[static_cast<std::size_t>(SafeProfile::emergency)] = {0, 0, 1000,
                                                                              LastAct::high_impedance};
    s.channels[2].safe[static_cast<std::size_t>(SafeProfile::cancel)] = {-0.5, 1, 1, LastAct::off};
  };
  Fixture f(sim::Imperfection::none(), prepared);
  f.bench->relax(f.drive(3));
  const sim::Circuit& circuit = f.emulated->circuit();
  CHECK(f.bench->make_safe(std::chrono::seconds(1), SafeProfile::cancel).safe);
  CHECK(circuit.driven(f.ports[0]).level == Approx(0.1).margin(1e-9));  // it stays on, at its level
  CHECK(circuit.parameter(*f.settings.channels[2].parameter) == Approx(2.5 * -0.5).margin(1e-6));
  f.bench->relax(f.drive(3));
  const double before = f.clock->now();
  CHECK(f.bench->make_safe(std::chrono::seconds(1), SafeProfile::emergency).safe);
  const double took = f.clock->now() - before;
  CHECK(circuit.driven(f.ports[0]).kind == sim::PortState::Kind::open);
  f.bench->relax(f.drive(3));
  const double again = f.clock->now();
  CHECK(f.bench->make_safe(std::chrono::seconds(1), SafeProfile::stop).safe);
  // 0.3 V in steps of 0.2 V at 10 V/s are 30 ms for each input, at the same time. Otherwise the same
  // commands: the emergency has one more per source, of 2 ms plus its answer.
  CHECK(f.clock->now() - again > took + 0.03 - 0.016);
  CHECK(circuit.driven(f.ports[0]).level == 0);
  CHECK(circuit.driven(f.ports[0]).limit < 1e-5);  // off, normal: 0 V with a small limit
}

TEST_CASE("a bench that goes out of scope leaves its instruments safe", "[bench][levels]") {
  Fixture f;
  f.bench->relax(f.drive(3));
  f.bench.reset();
  CHECK(f.emulated->circuit().driven(f.ports[0]).level == 0);
  CHECK(f.emulated->circuit().driven(f.ports[0]).limit < 1e-5);
}

TEST_CASE("cross-talk is taken off, and its ranges are what is sure to be reached", "[bench]") {
  const double per_volt = 0.8;  // from channel 2 into a[0], whose gate has 2.5
  const auto aware = [&](BenchSettings& s, BenchInstruments&) {
    s.cross_talk.push_back({*s.channels[2].parameter, 3, per_volt});
  };
  Fixture known(sim::Imperfection::none(), aware, {}, per_volt),
      unknown(sim::Imperfection::none(), {}, {}, per_volt);
  const std::uint32_t a0 = *known.settings.channels[2].parameter, a1 = *known.settings.channels[3].parameter;
  Drive drive = known.drive(3);
  drive.theta = drive.theta.with(a0, 1.0).with(a1, 2.0);
  const Relaxation expected = known.simulation->relax(drive), with = known.bench->relax(drive),
                   without = unknown.bench->relax(drive);
  CHECK((with.potential - expected.potential).cwiseAbs().maxCoeff() < 2e-4);
  CHECK(with.theta_readback[a0] == Approx(1).margin(1e-6));
  CHECK((without.potential - expected.potential).cwiseAbs().maxCoeff() > 1e-3);
  // 2 V x 2.5, minus what 2 V of the other channel can subtract.
  CHECK(known.bench->info().parameters[a0].range.high == Approx(5 - 1.6));
  CHECK(known.bench->info().parameters[a0].range.low == Approx(-5 + 1.6));
}

TEST_CASE("a source of current injects, a voltmeter reads, and both may be at one terminal", "[bench]") {
  const auto extend = [](Fixture& f, BenchSettings& s, BenchInstruments& i) {
    sim::Circuit& circuit = f.emulated->circuit();
    sim::Imperfection own = sim::Imperfection::none();
    own.number = 7;
    auto& smu = f.emulated->add(sim::emulated_keithley_2400(circuit, circuit.attach(4, 1), own));
    i.sources.push_back(keithley_2400(f.session(smu, "injector", std::make_shared<Cable>())));
    SourceMeterSettings source;
    source.sourced = Sourced::current;
    source.range = 1e-6;
    source.compliance = 1;
    i.source_settings.push_back(source);
    BenchChannel channel;
    channel.instrument = 2;
    channel.plan = {"inject-4", {-1e-6, 1e-6}, 1e-6, 1};
    channel.terminal = 4;
    channel.safe_at(0, 0);
    s.channels.push_back(channel);
    s.nudges.pop_back();  // the nudge of terminal 4 by its leak reference
    s.readings.back().meter = {BenchMeter::Kind::source_volts, 2, 1};
  };
  const auto with_meter = [&](Fixture& f, BenchSettings& s, BenchInstruments& i) {
    extend(f, s, i);
    sim::Circuit& circuit = f.emulated->circuit();
    sim::Imperfection own = sim::Imperfection::none();
    own.number = 8;
    auto& dmm = f.emulated->add(sim::emulated_keysight_34461a(circuit, circuit.attach(4, 1), own));
    i.voltmeters.push_back(keysight_34461a(f.session(dmm, "dmm", std::make_shared<Cable>())));
    MeterSettings meter;
    meter.range = 1;
    s.voltmeters.push_back(meter);
    s.readings.back().meter = {BenchMeter::Kind::voltmeter, 0, 1};
  };
  Fixture f(sim::Imperfection::none(), {}, with_meter);
  CHECK(f.bench->info().terminals[4].nudge.low == Approx(-0.4));
  CHECK(f.bench->info().terminals[4].nudge.high == Approx(0.4));
  CHECK(f.bench->info().terminals[4].reads_current);
  Drive drive = f.drive(2);
  const Relaxation free = f.bench->relax(drive), expected_free = f.simulation->relax(drive);
  CHECK((free.potential - expected_free.potential).cwiseAbs().maxCoeff() < 2e-4);
  drive.nudge = Vector::Zero(3);
  drive.nudge[0] = -0.1;  // by the leak reference
  drive.nudge[2] = 0.2;   // by the source: 0.5 uA
  drive.start = Present{};
  const Relaxation nudged = f.bench->relax(drive), expected = f.simulation->relax(drive);
  CHECK(nudged.quality.usable());
  CHECK((nudged.potential - expected.potential).cwiseAbs().maxCoeff() < 2e-4);
  CHECK(nudged.current[4] == Approx(0.2).margin(1e-6));
  drive.nudge[2] = 0.41;
  CHECK_THROWS_AS(f.bench->relax(drive), std::invalid_argument);
  // Its own voltage measurement instead of another meter, which would load the node by 10 Mohm by default.
  Fixture g(sim::Imperfection::none(), {}, extend);
  CHECK((g.bench->relax(g.drive(2)).potential - expected_free.potential).cwiseAbs().maxCoeff() < 2e-4);
}

TEST_CASE("a free terminal is held where a drive asks for it, and let go again", "[bench]") {
  const auto extend = [](Fixture& fixture, BenchSettings& s, BenchInstruments& i) {
    sim::Circuit& circuit = fixture.emulated->circuit();
    sim::Imperfection own = sim::Imperfection::none();
    own.number = 7;
    auto& smu = fixture.emulated->add(sim::emulated_keithley_2400(circuit, circuit.attach(3, 1), own));
    i.sources.push_back(keithley_2400(fixture.session(smu, "holder", std::make_shared<Cable>())));
    SourceMeterSettings source;
    source.off = OffState::high_impedance;
    i.source_settings.push_back(source);
    BenchChannel channel;
    channel.instrument = 2;
    channel.plan = {"hold-3", {-0.5, 0.5}, 0.2, 10};
    channel.terminal = 3;
    channel.on_demand = true;
    s.channels.push_back(channel);
  };
  Fixture f(sim::Imperfection::none(), {}, extend);
  CHECK(f.bench->info().terminals[3].can_hold);
  Drive drive = f.drive(2);
  const Relaxation free = f.bench->relax(drive), expected_free = f.simulation->relax(drive);
  CHECK((free.potential - expected_free.potential).cwiseAbs().maxCoeff() < 2e-4);
  Drive held = drive;
  held.holds = {{3, 0.7}};
  held.start = Present{};
  const Relaxation there = f.bench->relax(held), expected = f.simulation->relax(held);
  CHECK((there.potential - expected.potential).cwiseAbs().maxCoeff() < 2e-4);
  CHECK(there.potential[1] == Approx(0.7).margin(2e-4));
  // The current needed to hold it there: the simulation's imbalance of the node.
  if (expected.current.size() > 0) CHECK(there.current[3] == Approx(expected.current[3]).margin(1e-3));
  CHECK(std::isfinite(there.current[3]));
  const Relaxation let_go = f.bench->relax(drive);
  CHECK((let_go.potential - expected_free.potential).cwiseAbs().maxCoeff() < 2e-4);
  CHECK(f.bench->make_safe(std::chrono::seconds(1)).safe);

  // If switching on would break a cross-limit with another channel, it stays off.
  const double before = f.emulated->circuit().node_voltage(3);
  Fixture g(
      sim::Imperfection::none(),
      [](BenchSettings& s, BenchInstruments&) {
        s.cross_limits.push_back({"near", {{11, 1}, {0, -1}}, {-0.2, 0.2}});
      },
      extend);
  Drive far = g.drive(2);
  g.bench->relax(far);
  CHECK(std::abs(before) < 0.2);
  Drive apart = g.drive(2);  // input 0 at 0.3 V, the node held at 0 V
  apart.holds = {{3, 0.0}};
  CHECK_THROWS_WITH(g.bench->relax(apart), Catch::Contains("'near'"));
  CHECK_FALSE(g.bench->levels().is_on(11));
}

namespace {

// Adds a source-meter at each free node, which holds it on demand.
std::function<void(Fixture&, BenchSettings&, BenchInstruments&)> with_holders(
    const sim::Imperfection& imperfection, double compliance = 1e-4) {
  return [=](Fixture& fixture, BenchSettings& s, BenchInstruments& i) {
    sim::Circuit& circuit = fixture.emulated->circuit();
    for (std::uint32_t k = 2; k < 5; ++k) {
      sim::Imperfection own = imperfection;
      own.number = 8 + k;
      fixture.ports.push_back(circuit.attach(k, 1));
      auto& smu = fixture.emulated->add(sim::emulated_keithley_2400(circuit, fixture.ports.back(), own));
      i.sources.push_back(
          keithley_2400(fixture.session(smu, "hold" + std::to_string(k), std::make_shared<Cable>())));
      SourceMeterSettings source;
      source.autozero = false;
      source.compliance = compliance;
      source.off = OffState::high_impedance;
      i.source_settings.push_back(source);
      BenchChannel channel;
      channel.instrument = i.sources.size() - 1;
      channel.plan = {"hold-" + std::to_string(k), {-1, 1}, 0.4, 100};
      channel.terminal = k;
      channel.on_demand = true;
      s.channels.push_back(channel);
    }
  };
}

Drive holding(Drive drive, const Vector& level) {
  drive.start = Present{};
  for (std::uint32_t k = 0; k < 3; ++k) drive.holds.push_back({k + 2, level[k]});
  return drive;
}

}  // namespace

TEST_CASE("a bench that holds every free terminal keeps the device contract, ideal or not", "[bench][hold]") {
  Fixture f(sim::Imperfection::none(), {}, with_holders(sim::Imperfection::none()));
  contract::ContractOptions options;
  options.repeatable_after_seek = false;
  options.hold_tolerance = 1e-5;  // a lead of 1 ohm with almost no current; 8 digits are read
  options.held_current = 2e-5;    // and the 10 Gohm of the source
  contract::check_device(*f.bench, f.drive(1), options);
  for (std::uint32_t k = 2; k < 5; ++k)
    CHECK(f.emulated->circuit().driven(f.ports[k]).kind == sim::PortState::Kind::open);  // off, and no load
  Fixture g({}, {}, with_holders({}));
  options.hold_tolerance = 8e-3;  // 600 uV and 0.02 % of a source, 60 uV of a scanner
  options.held_current = 2e-2;    // that times 2 units per kT, and 6 nA
  contract::check_device(*g.bench, g.drive(1), options);
}

TEST_CASE(
    "held currents are those of the exact law, means over the window with their errors, whatever the carrier",
    "[bench][hold]") {
  for (const int carrier : {1, -1}) {
    sim::Imperfection noisy = sim::Imperfection::none();
    noisy.noise = noisy.quantised = true;
    const auto turned = [&](BenchSettings& s, BenchInstruments&) { s.scale.carrier = carrier; };
    // The emulation does not know carriers: with inverted potentials it is a different network there. Ideal
    // sources hold it all the same.
    Fixture f(sim::Imperfection::none(), turned, with_holders(noisy));
    Drive drive = f.drive(2);
    drive.theta = drive.theta.with(*f.settings.channels[2].parameter, 0.8);
    const Vector level = Vector{{0.9, -0.4, 0.35}};
    const Relaxation row = f.bench->relax(holding(drive, level));
    REQUIRE(row.quality.usable());
    REQUIRE(row.current.size() == 5);
    REQUIRE(row.current_sigma.size() == 5);
    Drive seen = drive;
    seen.clamp = pattern_of(carrier * drive.clamp.levels());
    const Relaxation expected = f.simulation->relax(holding(seen, carrier * level));
    for (std::uint32_t k = 2; k < 5; ++k) {
      // 1 ohm at up to 3 units; half a level step of 50 uV, 2.5e-4 kT, times 3 units per kT; half a digit of
      // 1 nA.
      CHECK(carrier * row.current[k] == Approx(expected.current[k]).margin(1.5e-3));
      CHECK(std::abs(expected.current[k]) > 0.01);
      CHECK(row.current_sigma[k] >=
            1e-9 / 2.5e-6 / std::sqrt(12.0) * 0.999);  // no better than the last digit
      CHECK(row.current_sigma[k] < 4e-4);
    }
    // A nudge by the leak reference injects there, so the holding source supplies less. (The emulated gate
    // does not invert with the carrier.)
    Drive nudged = holding(drive, level);
    nudged.nudge = Vector{{0, 0.2, 0}};
    const Relaxation less = f.bench->relax(nudged);
    CHECK(less.current[3] - row.current[3] == Approx(-0.2 * carrier).margin(1e-3));
    CHECK(less.current[2] - row.current[2] == Approx(0).margin(1e-3));
    // At a fixed time: the requested number of readings, their mean and its error.
    Drive at = holding(drive, level);
    at.observe = At{0.1, 8};
    const Relaxation timed = f.bench->relax(at);
    REQUIRE(timed.current_sigma.size() == 5);
    for (std::uint32_t k = 2; k < 5; ++k)
      CHECK(std::abs(timed.current[k] - row.current[k]) <
            5 * std::hypot(timed.current_sigma[k], row.current_sigma[k]));
    at.observe = At{0.1, 1};
    CHECK(f.bench->relax(at).current_sigma.size() == 0);  // a single reading has no known error
  }
}

TEST_CASE("a current's standard error is that of its readings, and no better than their last digit",
          "[bench][hold]") {
  sim::Imperfection noisy = sim::Imperfection::none();
  noisy.noise = true;
  const Vector level = Vector{{0.5, 0.2, 0.1}};
  // In the 100 uA range 0.5 nA peak to peak, six standard deviations, at 1 NPLC; ten times that at 0.01: 0.83
  // nA, displayed with all digits.
  Fixture f(
      sim::Imperfection::none(),
      [](BenchSettings&, BenchInstruments& i) {
        for (SourceMeterSettings& source : i.source_settings) source.cycles = 0.01;
      },
      [&](Fixture& fixture, BenchSettings& s, BenchInstruments& i) {
        with_holders(noisy)(fixture, s, i);
        for (SourceMeterSettings& source : i.source_settings) source.cycles = 0.01;
      });
  constexpr int times = 40;
  Matrix current(3, times), sigma(3, times);
  for (int i = 0; i < times; ++i) {
    Drive held = holding(f.drive(1), level);
    held.observe = At{0.01, 4};
    const Relaxation row = f.bench->relax(held);
    current.col(i) = row.current.tail(3);
    sigma.col(i) = row.current_sigma.tail(3);
  }
  const double expected = 0.5e-9 / 6 * 10 / 2 / 2.5e-6;  // for the mean of four, in units
  const Matrix scatter = current.colwise() - current.rowwise().mean();
  // 120 numbers: a standard deviation to 6.5 %; the floor, at 0.69 of it, increases the mean square of the
  // reported errors by about 10 %.
  CHECK(std::sqrt(scatter.squaredNorm() / (3 * (times - 1))) == Approx(expected).epsilon(0.2));
  CHECK(std::sqrt(sigma.squaredNorm() / (3 * times)) == Approx(expected).epsilon(0.25));
  // At 1 NPLC in the 1 mA range, noise of 5 nA peak to peak is less than the digit of 10 nA, for any number
  // of readings.
  Fixture g(sim::Imperfection::none(), {}, with_holders(noisy, 1e-3));
  Drive held = holding(g.drive(1), level);
  held.observe = At{0.1, 100};
  const Relaxation row = g.bench->relax(held);
  for (std::uint32_t k = 2; k < 5; ++k)
    CHECK(row.current_sigma[k] == Approx(1e-8 / 2.5e-6 / std::sqrt(12.0)).epsilon(1e-9));
}

TEST_CASE("a chain by voltage switches each output on once and off once, and moves what is stepped alone",
          "[bench][hold]") {
  Fixture f(sim::Imperfection::none(), {}, with_holders(sim::Imperfection::none()));
  f.bench->relax(f.drive(0));
  for (int sample = 1; sample < 3; ++sample) {
    f.said.clear();
    Drive free = f.drive(static_cast<std::uint64_t>(sample));
    const Vector mu = f.bench->relax(free).potential;
    const Relaxation at = f.bench->relax(holding(free, mu));
    CHECK(at.current.tail(3).cwiseAbs().maxCoeff() < 2e-5);
    // at its present potential, and not repeated
    for (std::uint32_t k = 2; k < 5; ++k)
      CHECK(count(f.said, "hold" + std::to_string(k) + "> :SOUR:VOLT ") == 1);
    for (Eigen::Index k = 0; k < 3; ++k) {
      for (const double sign : {1.0, -1.0}) {
        const std::size_t before = count(f.said, "> :SOUR:VOLT ");
        f.bench->relax(holding(free, mu + sign * 0.1 * Vector::Unit(3, k)));
        // the last one is moved back
        CHECK(count(f.said, "> :SOUR:VOLT ") - before == (sign > 0 && k > 0 ? 2 : 1));
      }
    }
    free.start = Present{};
    CHECK((f.bench->relax(free).potential - mu).cwiseAbs().maxCoeff() < 1e-5);
    for (std::uint32_t k = 2; k < 5; ++k) {
      CHECK(count(f.said, "hold" + std::to_string(k) + "> :OUTP 1") == 1);
      CHECK(count(f.said, "hold" + std::to_string(k) + "> :OUTP 0") == 1);
    }
  }
}

TEST_CASE("a held node in compliance is flagged, and a holder that loads when off is refused",
          "[bench][hold]") {
  Fixture f(sim::Imperfection::none(), {}, with_holders(sim::Imperfection::none(), 2e-8));  // 0.008 units
  const Vector mu = f.bench->relax(f.drive(1)).potential;
  CHECK(f.bench->relax(holding(f.drive(1), mu)).quality.usable());
  const Relaxation row = f.bench->relax(holding(f.drive(1), mu + 0.1 * Vector::Unit(3, 0)));
  CHECK(row.quality.has(Flag::in_compliance));
  CHECK_FALSE(row.quality.usable());
  // make_safe while nodes are held: sources go to 0 V, off, without load.
  CHECK(f.bench->make_safe(std::chrono::seconds(1)).safe);
  for (std::uint32_t k = 2; k < 5; ++k)
    CHECK(f.emulated->circuit().driven(f.ports[k]).kind == sim::PortState::Kind::open);
  const auto loading = [](Fixture& fixture, BenchSettings& s, BenchInstruments& i) {
    with_holders(sim::Imperfection::none())(fixture, s, i);
    i.source_settings.back().off = OffState::normal;
  };
  CHECK_THROWS_WITH(Fixture(sim::Imperfection::none(), {}, loading),
                    Catch::Contains("'hold-4'") && Catch::Contains("high impedance"));
}

TEST_CASE("surroundings are read beside every relaxation, and the run waits for them", "[bench]") {
  // A sensor of 0.1 V per kelvin at the probe, driven by the test: a special Clock lets it warm up while the
  // bench waits.
  struct Warming final : Clock {
    std::shared_ptr<Clock> inner;
    std::function<void()> waited;
    double now() const override { return inner->now(); }
    void wait(double seconds, std::stop_token stop) override {
      inner->wait(seconds, stop);
      if (seconds > 0.5 && waited) waited();
    }
  };
  auto clock = std::make_shared<Warming>();
  Fixture f(sim::Imperfection::none(), {}, [&](Fixture& fixture, BenchSettings& s, BenchInstruments&) {
    clock->inner = fixture.clock;
    fixture.clock = clock;
    s.environment.push_back({"temperature", "K", {BenchMeter::Kind::scanner, 0, 104}, 10, 1, {3.9, 4.1}});
    s.pause_every = 1;
    s.pause_timeout = 20;
  });
  // The scanner's channel 104 is not connected in the fixture: 0 V, 1 K.
  CHECK(f.bench->info().environment == std::vector<EnvironmentInfo>{{"temperature", "K"}});
  int looks = 0;
  clock->waited = [&] { ++looks; };
  CHECK_THROWS_WITH(f.bench->relax(f.drive(1)), Catch::Contains("'temperature' is 1") &&
                                                    Catch::Contains("3.9 to 4.1 K") &&
                                                    Catch::Contains("20 s"));
  CHECK(looks >= 15);                                          // 20 s, with one look and a wait of 1 s each
  CHECK(f.emulated->circuit().driven(f.ports[0]).level == 0);  // and it is safe

  // Within the limits it is logged, and there is no wait.
  Fixture g(sim::Imperfection::none(), {}, [&](Fixture&, BenchSettings& s, BenchInstruments&) {
    s.environment.push_back({"temperature", "K", {BenchMeter::Kind::scanner, 0, 104}, 10, 4, {3.9, 4.1}});
  });
  const Relaxation row = g.bench->relax(g.drive(1));
  REQUIRE(row.environment.size() == 1);
  CHECK(row.environment[0] == Approx(4));
  CHECK((row.potential - g.simulation->relax(g.drive(1)).potential).cwiseAbs().maxCoeff() < 2e-4);

  // A leakage current into an input: the limit applies to the source-meter's current, and the run continues
  // when the leakage has gone.
  Fixture h(sim::Imperfection::none(), {}, [&](Fixture& fixture, BenchSettings& s, BenchInstruments&) {
    clock->inner = fixture.clock;
    fixture.clock = clock;
    s.environment.push_back({"leakage", "A", {BenchMeter::Kind::source_amperes, 0, 1}, 1, 0, {-1e-6, 1e-6}});
  });
  const std::size_t leak = h.emulated->circuit().attach(0, 1e5);
  h.emulated->circuit().drive(leak, {sim::PortState::Kind::voltage, -0.5});  // 5 uA
  looks = 0;
  clock->waited = [&] {
    if (++looks == 3) h.emulated->circuit().drive(leak, {});
  };
  const Relaxation after = h.bench->relax(h.drive(0));
  CHECK(looks == 3);
  CHECK(std::abs(after.environment[0]) < 1e-6);
}

TEST_CASE("read at a time: so many readings from then on, whether it has settled or not", "[bench]") {
  Fixture f;
  Drive drive = f.drive(3);
  drive.observe = At{0.5, 3};
  const Relaxation row = f.bench->relax(drive);
  CHECK(row.timing.settled - row.timing.start == Approx(0.5).margin(1e-9));
  CHECK(row.timing.read - row.timing.settled > 3 * 3 * 0.02);  // three scans of three channels at 1 NPLC
  CHECK(std::isinf(row.timing.bound));
  CHECK(row.sigma.size() == 3);
  CHECK((row.potential - f.simulation->relax(f.drive(3)).potential).cwiseAbs().maxCoeff() < 2e-4);
}

TEST_CASE("from rest inputs move at the rate asked for, all at once", "[bench]") {
  Fixture f;
  f.bench->relax(f.drive(3));
  f.said.clear();
  const auto taken = [&](double rate) {
    const double before = f.clock->now();
    Drive drive = f.drive(3);  // both inputs to 3 kT
    drive.start = Rest{rate};
    const Relaxation row = f.bench->relax(drive);
    CHECK((row.potential - f.simulation->relax(f.drive(3)).potential).cwiseAbs().maxCoeff() < 2e-4);
    return row.timing.start - before;
  };
  const double stepped = taken(std::numeric_limits<double>::infinity());
  f.said.clear();
  const double ramped = taken(10);  // 3 kT at 10 kT/s
  CHECK(ramped > 0.29);
  CHECK(ramped > stepped + 0.2);
  // In steps of 0.1 kT, 10 mV: the inputs never differ by more than one step.
  std::vector<double> last(2, 0.3);
  for (const std::string& said : f.said) {
    const std::size_t at = said.find("> :SOUR:VOLT ");
    if (!said.starts_with("smu") || at == std::string::npos) continue;
    const std::size_t i = said[3] == '0' ? 0 : 1;
    const double level = std::stod(said.substr(at + 13));
    if (level > last[i]) CHECK(level - last[i] < 0.0101);  // on the way up; down to rest it is a single step
    last[i] = level;
  }
  for (const double level : last) CHECK(level == Approx(0.3));
}

TEST_CASE("limits that join channels are kept in every drive before the first moves", "[bench]") {
  Fixture f({}, [](BenchSettings& s, BenchInstruments&) {
    s.cross_limits.push_back({"inputs", {{0, 1}, {1, -1}}, {-0.2, 0.2}});
  });
  f.bench->start();
  f.said.clear();
  const std::vector<Drive> drives{f.drive(3), f.drive(1)};  // together at 0.3 V; then 0.3 V apart
  CHECK_THROWS_WITH(f.bench->relax(drives, [](std::size_t, const Relaxation&) {}),
                    Catch::Contains("drive 1") && Catch::Contains("'inputs'"));
  CHECK(f.said.empty());
  CHECK(f.bench->relax(f.drive(3)).quality.usable());
}

TEST_CASE("a scale at which an instrument's error is no longer small is refused", "[bench]") {
  const auto refusal = [](double volts_per_kT, double share) -> std::string {
    try {
      Fixture f({}, [&](BenchSettings& s, BenchInstruments&) {
        s.scale.volts_per_kT = volts_per_kT;
        s.scale.error_share = share;
      });
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "accepted";
  };
  // 0.02 % of 0.5 V plus 600 uV: 0.7 mV.
  CHECK(refusal(0.1, 7.1e-3) == "accepted");
  CHECK_THAT(refusal(0.1, 6.9e-3),
             Catch::Contains("'input0'") && Catch::Contains("7e-04 V") && Catch::Contains("error_share"));
  CHECK_THAT(refusal(9e-6, 0.05),
             Catch::Contains("77.") && Catch::Contains("kT at this scale"));  // kT/e at 0.1 K
}

TEST_CASE("an oscillation that averages hide is told by a burst at the shortest integration", "[bench]") {
  // A current in the sample oscillates by +-0.2 uA at 1 kHz: 20 whole periods in a reading of 1 NPLC, half a
  // period in a reading of the burst.
  class Swing final : public sim::EmulatedInstrument {
   public:
    Swing(sim::Circuit& circuit, std::size_t port) : circuit_(circuit), port_(port) {}
    void receive(std::string_view, double) override {}
    double next_event() const override { return 5e-4 * static_cast<double>(halves_); }
    void run(double now) override {
      while (next_event() <= now) {
        ++halves_;
        circuit_.drive(port_, {sim::PortState::Kind::current, halves_ % 2 == 0 ? 2e-7 : -2e-7});
      }
    }
    std::string take_output() override { return {}; }
    void device_clear() override {}
    std::uint8_t serial_poll() override { return 0; }
    void talk_without_query() override {}

   private:
    sim::Circuit& circuit_;
    std::size_t port_;
    std::uint64_t halves_ = 1;
  };
  const auto fixture = [](bool swings, std::size_t burst) {
    sim::Imperfection noisy;
    noisy.errors = false;
    return std::make_unique<Fixture>(
        noisy,
        [&](BenchSettings& s, BenchInstruments&) {
          s.burst = burst;
          s.burst_noise = 2e-3;  // 100 ppm of 1 V are 1e-3 kT
        },
        [&](Fixture& f, BenchSettings&, BenchInstruments&) {
          if (swings)
            f.emulated->add(
                std::make_unique<Swing>(f.emulated->circuit(), f.emulated->circuit().attach(3, 1)));
        });
  };
  const auto unasked = fixture(true, 0), asked = fixture(true, 16), still = fixture(false, 16);
  CHECK(unasked->bench->relax(unasked->drive(2)).quality.usable());
  const Relaxation row = asked->bench->relax(asked->drive(2));
  REQUIRE(row.quality.terminal.size() == 3);
  CHECK(row.quality.terminal[1] == bit(Flag::oscillating));
  CHECK_FALSE(row.quality.usable());
  const Relaxation quiet = still->bench->relax(still->drive(2)), again = still->bench->relax(still->drive(2));
  CHECK(quiet.quality.usable());
  // integration time and scan list are restored
  CHECK((again.potential - quiet.potential).cwiseAbs().maxCoeff() < 1e-2);
  CHECK(count(still->said, "SENS:VOLT:DC:NPLC 1,(@102)") >= 1);
}

TEST_CASE("a source live in another unit is not ramped as if it were in this one", "[bench][levels]") {
  Fixture f;
  tell(f, *f.emulators[0], ":SOUR:FUNC CURR;:SOUR:CURR:RANG 1E-5;:SOUR:CURR 5E-6;:SENS:VOLT:PROT 1;:OUTP 1");
  CHECK_THROWS_WITH(f.bench->start(), Catch::Contains("smu0") &&
                                          Catch::Contains("live as a source of current") &&
                                          Catch::Contains("ness safe"));
  f.said.clear();
  CHECK(f.bench->levels().make_safe(std::chrono::seconds(1), SafeProfile::stop).safe);
  CHECK(count(f.said, "smu0> :SOUR:CURR ") == 0);
  CHECK_FALSE(f.bench->levels().is_on(0));
  CHECK(f.emulated->circuit().driven(f.ports[0]).limit < 1e-5);
  CHECK(f.bench->relax(f.drive(3)).quality.usable());
}

TEST_CASE("a bench says what its instruments are set to, before and after they are safe", "[bench]") {
  Fixture f;
  f.bench->start();
  const auto identities = f.bench->identities();
  const auto before = f.bench->settings();
  REQUIRE(before.size() == identities.size());
  REQUIRE(before.size() == 4);  // two source-meters, the DAC, the scanner
  const auto of = [](const StatedSettings& instrument, const std::string& name) {
    for (const auto& [what, value] : instrument.settings) {
      if (what == name) return value;
    }
    return "nothing of '" + name + "'";
  };
  for (const StatedSettings& one : before) CHECK(one.problem.empty());
  CHECK(of(before[0], "output") == "1");
  CHECK(of(before[3], "scan list") == "(@101,102,103)");
  CHECK(identities[0].calibration.at(0) == Statement{"calibrated", "2024,3,18"});
  CHECK(identities[2].calibration.empty());
  // A DAC that cannot be reached says nothing; the others do.
  REQUIRE(f.bench->make_safe(std::chrono::milliseconds(5000)).safe);
  f.dac_cable->pulled = true;
  const auto after = f.bench->settings();
  CHECK(of(after[0], "output") == "0");
  CHECK(std::stod(of(after[1], "level (V)")) == 0);
  CHECK(after[2].settings.empty());
  CHECK_THAT(after[2].problem, Catch::Contains("no route to host"));
  CHECK(after[3].settings == before[3].settings);
}

TEST_CASE("what does not answer costs the others nothing", "[bench][levels]") {
  Fixture f;
  f.bench->relax(f.drive(3));
  f.source_cable->pulled = true;  // both source-meters
  const SafeReport report = f.bench->make_safe(std::chrono::milliseconds(100));
  CHECK(report.stuck.size() == 2);
  CHECK_THAT(report.message(), Catch::Contains("input0 at 0.3 V (last known)"));
  sim::pass_time(*f.emulated, 0.1);
  for (std::size_t c = 2; c < 8; ++c)
    CHECK(f.emulated->circuit().parameter(*f.settings.channels[c].parameter) == Approx(0).margin(1e-9));
  // Called again, it tries again.
  f.source_cable->pulled = false;
  CHECK(f.bench->make_safe(std::chrono::seconds(1)).safe);
  CHECK(f.emulated->circuit().driven(f.ports[0]).level == 0);
  // Nothing is known about instruments that were never reached.
  Fixture g;
  g.dac_cable->pulled = true;
  CHECK_THAT(g.bench->levels().make_safe(std::chrono::seconds(1), SafeProfile::stop).message(),
             Catch::Contains("a[0] at an unknown level"));
  CHECK_FALSE(g.bench->levels().is_known(2));
  CHECK(g.bench->levels().is_known(0));
}
