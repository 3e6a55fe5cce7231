// The bench as a Device, on emulated instruments in virtual time, beside the simulation of the same network.
#include "ness/drivers/bench.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "device_contract.hpp"
#include "ness/core/dataset.hpp"
#include "ness/core/error.hpp"
#include "ness/sim/paced.hpp"
#include "ness/sim/simulation.hpp"

using namespace ness;
using namespace ness::drivers;

namespace {

// XOR's 2-2-1 network of quantum dots; b is 0 at the inputs and -1 at the output, constants of the device.
sim::NetworkSpec xor_network() {
  sim::NetworkSpec spec;
  spec.graph = layered({2, 2, 1});
  for (std::size_t k = 0; k < spec.graph.nodes.size(); ++k) spec.graph.nodes[k].name = "n" + std::to_string(k);
  spec.nodes.resize(5);
  for (std::size_t k = 2; k < 5; ++k) spec.nodes[k].g = 0.37;
  for (const GraphEdge& edge : spec.graph.edges) spec.edges.push_back({sim::Law::quantum_dot, {1.0, 0.3 * static_cast<double>(edge.source) - 0.4, edge.layer == 1 ? 0.0 : -1.0, 0}});
  return spec;
}

// Counts the links that may still be opened: a cable that is pulled.
struct Cable {
  bool pulled = false;
};
class Pulled final : public protocols::Transport {
 public:
  Pulled(std::unique_ptr<protocols::Transport> inner, std::shared_ptr<Cable> cable) : inner_(std::move(inner)), cable_(std::move(cable)) {}
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

  explicit Fixture(const sim::Imperfection& imperfection = sim::Imperfection::none(), const std::function<void(BenchSettings&)>& change = {}) {
    auto network = std::make_shared<sim::Network>(xor_network());
    theta = network->theta();
    simulation = std::make_unique<sim::Simulation>(network, sim::SimulationOptions{});
    emulated = std::make_shared<sim::EmulatedBench>(std::make_unique<sim::Circuit>(xor_network(), sim::CircuitScale{}, std::vector<double>(5, 1e-9)));
    clock = sim::paced_clock(emulated);
    sim::Circuit& circuit = emulated->circuit();
    // Two source-meters at the inputs, a scanner at the free nodes, the DAC's channels at levels a, and leak references.
    std::vector<sim::ScannerChannel> scanned;
    BenchInstruments instruments;
    sim::Imperfection own = imperfection;
    for (std::uint32_t i = 0; i < 2; ++i) {
      own.number = i;
      ports.push_back(circuit.attach(i, 1));
      auto& smu = emulated->add(sim::emulated_keithley_2400(circuit, ports.back(), own));
      instruments.sources.push_back(keithley_2400(session(smu, "smu" + std::to_string(i), source_cable)));
      SourceMeterSettings source;
      source.range = 2;
      source.compliance = 1e-4;
      source.autozero = false;
      settings.sources.push_back(source);
      BenchChannel channel;
      channel.kind = BenchChannel::Kind::source;
      channel.instrument = i;
      channel.plan = {"input" + std::to_string(i), {-0.5, 0.5}, 0.2, 10, 50e-6};
      channel.terminal = i;
      channel.safe_order = 0;
      settings.channels.push_back(channel);
    }
    for (std::uint32_t k = 2; k < 5; ++k) {
      scanned.push_back({99 + k, circuit.attach(k, 1)});
      settings.readings.push_back({0, 99 + k, k, 1, 0});
    }
    own.number = 2;
    auto& daq = emulated->add(sim::emulated_scanner(sim::Scanner::keysight_daq970a, circuit, scanned, own));
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
      channel.kind = BenchChannel::Kind::dac;
      channel.channel = number;
      channel.plan = {name, {-2, 2}, 4, 1e4, 2.4e-7};
      channel.parameter = static_cast<std::uint32_t>(at(network->parameter_info()));
      channel.per_volt = per_volt;
      channel.safe_order = 1;
      settings.channels.push_back(channel);
      return *channel.parameter;
    };
    for (int e = 0; e < 6; ++e) gate("a[" + std::to_string(e) + "]", 2.5);
    for (int k = 2; k < 5; ++k) {
      const std::uint32_t reference = gate("mu_ref[" + std::to_string(k) + "]", 2.5);
      settings.nudges.push_back({static_cast<std::uint32_t>(k), reference, 0.37, {-0.5, 0.5}});
    }
    own.number = 3;
    auto& dac = emulated->add(sim::emulated_qdac2(circuit, gates, {}, own));
    instruments.dacs.push_back(qdac2(session(dac, "dac", dac_cable)));
    DacSettings dacs;
    dacs.slew = 1e5;
    settings.dacs.push_back(dacs);
    settings.settle.tolerance = 2e-3;
    settings.settle.tau_max = 1e-4;  // 40 kohm x 1 nF, and to spare
    settings.settle.least = 4;
    if (change) change(settings);
    bench = std::make_unique<Bench>(simulation->info(), theta, std::move(instruments), settings, clock);
    inputs = xor_task().train.inputs;  // 00, 01, 10, 11 at 0 and 3 kT
  }

  std::unique_ptr<protocols::Session> session(sim::EmulatedInstrument& instrument, const std::string& address, std::shared_ptr<Cable> cable) {
    return std::make_unique<protocols::Session>(std::make_unique<Pulled>(sim::paced_transport(emulated, instrument, address), std::move(cable)), protocols::SessionOptions{});
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
    // Leads of 1 ohm at 2.5 uA, and 10 Gohm inputs: a few 1e-5 kT.
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
    // Currents into the network at the inputs, in units.
    const Relaxation again = f.bench->relax(f.drive(row));
    CHECK(again.current[0] == Approx(simulated.current.size() > 0 ? simulated.current[0] : again.current[0]).margin(1e-3));
  }
}

TEST_CASE("a bench writes only what changed, and moves within its limits at every step", "[bench]") {
  Fixture f;
  f.bench->relax(f.drive(0));
  const double before = f.clock->now();
  Drive same = f.drive(0);
  same.start = Present{};
  const Relaxation row = f.bench->relax(same);
  CHECK(row.timing.start == Approx(before).margin(1e-9));  // nothing to move: no time passed until the drive was complete
  // A parameter changes by way of its gate alone, and comes back as what the gate has.
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
  Fixture f({}, [](BenchSettings& s) {
    for (SourceMeterSettings& source : s.sources) source.compliance = 5e-9;  // the network draws some 0.1 units, 0.25 uA
  });
  const Relaxation row = f.bench->relax(f.drive(3));
  CHECK(row.quality.has(Flag::in_compliance));
  CHECK_FALSE(row.quality.usable());
  Fixture g({}, [](BenchSettings& s) { s.scanners[0].range = 0.1; });
  Drive driven = g.drive(3);
  for (std::uint32_t i = 0; i < 3; ++i) driven.theta = driven.theta.with(g.settings.nudges[i].mu_ref, 5.0);  // the nodes rise beyond 1.2 kT, 0.12 V
  const Relaxation over = g.bench->relax(driven);
  CHECK((over.quality.all() & bit(Flag::over_range)) != 0);
  CHECK_FALSE(over.quality.usable());
}

TEST_CASE("noise is averaged until the bound is met, or the time is up", "[bench]") {
  sim::Imperfection noisy;
  noisy.errors = false;
  Fixture f(noisy, [](BenchSettings& s) { s.settle.tolerance = 1e-3; });
  const Relaxation row = f.bench->relax(f.drive(2));
  CHECK(row.quality.usable());
  CHECK((row.potential - f.simulation->relax(f.drive(2)).potential).cwiseAbs().maxCoeff() < 1e-3 + 2e-4 + 0.01);
  Fixture g(noisy, [](BenchSettings& s) {
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
  // It can go on from there.
  CHECK(f.bench->relax(f.drive(3)).quality.usable());

  // A cable is pulled under way: an error, and everything else is safe; the DAC is stuck where it was last known.
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
  const auto refusal = [](const std::function<void(BenchSettings&)>& change) -> std::string {
    try {
      const Fixture f({}, change);
      CHECK(f.clock->now() == 0);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "accepted";
  };
  CHECK(refusal({}) == "accepted");
  CHECK_THAT(refusal([](BenchSettings& s) { s.channels.erase(s.channels.begin()); }), Catch::Contains("nothing holds the input terminal 0"));
  CHECK_THAT(refusal([](BenchSettings& s) { s.readings.pop_back(); }), Catch::Contains("nothing reads the output terminal 4"));
  CHECK_THAT(refusal([](BenchSettings& s) { s.channels[1].instrument = 0; }), Catch::Contains("wired already, as 'input0'"));
  CHECK_THAT(refusal([](BenchSettings& s) { s.channels[0].plan.limits = {-3, 3}; }), Catch::Contains("beyond the instrument's range of 2.1 V"));
  CHECK_THAT(refusal([](BenchSettings& s) { s.channels[0].safe = 1; }), Catch::Contains("safe level of 1 V is outside"));
  CHECK_THAT(refusal([](BenchSettings& s) { s.channels[2].per_volt = 0; }), Catch::Contains("changes nothing"));
  CHECK_THAT(refusal([](BenchSettings& s) { s.channels[3].parameter = s.channels[2].parameter; }), Catch::Contains("set twice"));
  CHECK_THAT(refusal([](BenchSettings& s) { s.nudges[0].conductance = 0; }), Catch::Contains("no conductance"));
  CHECK_THAT(refusal([](BenchSettings& s) { s.settle_timeout = 0; }), Catch::Contains("settle timeout"));
}

TEST_CASE("two cables swapped between instruments are found by who answers", "[bench]") {
  Fixture f;
  BenchInstruments swapped;
  auto bench = std::make_shared<sim::EmulatedBench>(std::make_unique<sim::Circuit>(xor_network(), sim::CircuitScale{}, std::vector<double>(5, 1e-9)));
  auto& meter = bench->add(sim::emulated_multimeter(sim::Multimeter::keysight_34461a, bench->circuit(), bench->circuit().attach(0, 1), sim::Imperfection::none()));
  const auto smu = keithley_2400(std::make_unique<protocols::Session>(sim::paced_transport(bench, meter, "swapped"), protocols::SessionOptions{}));
  CHECK_THROWS_AS(smu->connect(), InstrumentError);
}

TEST_CASE("a bench keeps the device contract", "[bench]") {
  Fixture f;
  contract::ContractOptions options;
  options.repeatable_after_seek = false;
  contract::check_device(*f.bench, f.drive(1), options);
}
