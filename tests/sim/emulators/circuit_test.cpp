// The circuit against closed forms: Ohm's law, RC charging, compliance, leads, dividers, a quantum dot's
// current.
#include "ness/emulators/circuit.hpp"

#include <catch2/catch.hpp>
#include <cmath>

using namespace ness;
using namespace ness::sim;

namespace {

// Nodes joined by conductors of `ohms`, at 0.1 V per kT and 1 uA per unit: a unit conductance is 10 uS.
NetworkSpec chain_of(const std::vector<double>& ohms) {
  NetworkSpec spec;
  for (std::size_t k = 0; k <= ohms.size(); ++k)
    spec.graph.nodes.push_back({"n" + std::to_string(k), k == 0, static_cast<std::uint32_t>(k)});
  spec.nodes.resize(ohms.size() + 1);
  for (std::size_t e = 0; e < ohms.size(); ++e) {
    spec.graph.edges.push_back({static_cast<std::uint32_t>(e), static_cast<std::uint32_t>(e + 1), 1});
    spec.edges.push_back({Law::linear, {1e5 / ohms[e]}});
  }
  spec.graph.outputs = {static_cast<std::uint32_t>(ohms.size())};
  return spec;
}
const CircuitScale scale{0.1, 1e-6, 1};

// 1e-7 kT at 0.1 V per kT per step: after the few hundred steps of a segment at most 1e-6 V, and far less at
// rest.
constexpr double volts = 1e-6;

}  // namespace

TEST_CASE("Ohm's law, with leads and a meter's input resistance", "[circuit]") {
  Circuit circuit(chain_of({40e3}), scale, {1e-9, 1e-9});
  const auto source = circuit.attach(0, 50), meter = circuit.attach(1, 100);
  circuit.drive(source, {PortState::Kind::voltage, 1.0});
  circuit.drive(meter, {PortState::Kind::open, 0, INFINITY, 1 / 10e6});
  circuit.advance(1.0);
  const double I = 1.0 / (50 + 40e3 + 100 + 10e6);  // one loop
  CHECK(circuit.current(source) == Approx(I).epsilon(1e-6));
  CHECK(circuit.current(meter) == Approx(-I).epsilon(1e-6));
  CHECK(circuit.voltage(source) == Approx(1.0).margin(volts));
  CHECK(circuit.node_voltage(0) == Approx(1 - 50 * I).margin(volts));
  CHECK(circuit.voltage(meter) == Approx(10e6 * I).margin(volts));
  CHECK_FALSE(circuit.limited(source));
}

TEST_CASE("an RC charges exponentially, and the integrals are its means", "[circuit]") {
  // 1 uF behind 40 kohm: 40 ms. The 1 pF of the driven node follows its lead at once.
  Circuit circuit(chain_of({40e3}), scale, {1e-12, 1e-6});
  const auto source = circuit.attach(0, 1), sense = circuit.attach(1, 1);
  circuit.advance(0.01);
  CHECK(circuit.node_voltage(1) == 0);
  circuit.drive(source, {PortState::Kind::voltage, 0.5});
  const double tau = 1e-6 * (40e3 + 1), start = 0.01;
  double integral = 0, last = 0;
  for (const double t : {0.005, 0.02, 0.04, 0.12, 0.4}) {
    circuit.advance(start + t);
    CHECK(circuit.node_voltage(1) == Approx(0.5 * (1 - std::exp(-t / tau))).margin(2e-6));
    const double now = circuit.sensed_integral(sense);
    const double exact = 0.5 * ((t - last) + tau * (std::exp(-t / tau) - std::exp(-last / tau)));
    CHECK(now - integral == Approx(exact).margin(2e-6 * (t - last)));
    integral = now;
    last = t;
  }
  // The charge that left the source is on the capacitor.
  CHECK(circuit.current_integral(source) == Approx(1e-6 * circuit.node_voltage(1)).epsilon(1e-4));
}

TEST_CASE("the mean current through a lead is right while the circuit moves, however fast its node follows",
          "[circuit]") {
  // 1 pF behind 1 ohm follows in 1 ps, 1 uF behind 40 kohm in 40 ms. The charges of both are known.
  Circuit circuit(chain_of({40e3}), scale, {1e-12, 1e-6});
  const auto source = circuit.attach(0, 1);
  circuit.advance(0.01);
  circuit.drive(source, {PortState::Kind::voltage, 0.5});
  const double tau = 1e-6 * (40e3 + 1);
  double charge = circuit.current_integral(source), before = 0;
  for (int i = 1; i <= 60; ++i) {
    const double t = 0.004 * i;
    circuit.advance(0.01 + t);
    const double now = circuit.current_integral(source),
                 exact = 0.5e-6 * (std::exp(-before / tau) - std::exp(-t / tau)) + (i == 1 ? 0.5e-12 : 0);
    // 1e-7 kT per step are 1e-8 V at the node: negligible over 40 kohm, and over 1 ohm 1e-8 A at the end of
    // each step, of either sign.
    CHECK((now - charge - exact) / (t - before) == Approx(0).margin(1e-9));
    charge = now;
    before = t;
  }
}

TEST_CASE("compliance: a voltage source becomes a current, a current source a voltage", "[circuit]") {
  Circuit circuit(chain_of({1e3}), scale, {1e-9, 1e-9});
  const auto source = circuit.attach(0, 1), ground = circuit.attach(1, 1);
  circuit.drive(ground, {PortState::Kind::voltage, 0});
  circuit.drive(source, {PortState::Kind::voltage, 2.0, 1e-3});  // would drive 2 mA
  circuit.advance(0.01);
  CHECK(circuit.limited(source));
  CHECK(circuit.current(source) == Approx(1e-3).epsilon(1e-9));
  CHECK(circuit.node_voltage(0) == Approx(1e-3 * 1001).margin(volts));
  CHECK(circuit.was_limited(source, 0.009));
  circuit.drive(source, {PortState::Kind::voltage, -2.0, 1e-3});
  circuit.advance(0.02);
  CHECK(circuit.current(source) == Approx(-1e-3).epsilon(1e-9));
  circuit.drive(source, {PortState::Kind::voltage, 0.5, 1e-3});  // back in range
  circuit.advance(0.03);
  CHECK_FALSE(circuit.limited(source));
  CHECK(circuit.current(source) == Approx(0.5 / 1002).epsilon(1e-6));
  CHECK_FALSE(circuit.was_limited(source, 0.025));
  circuit.drive(source, {PortState::Kind::current, 1e-4, 5});
  circuit.advance(0.04);
  CHECK_FALSE(circuit.limited(source));
  CHECK(circuit.voltage(source) == Approx(1e-4 * 1002).margin(volts));
  circuit.drive(source, {PortState::Kind::current, 1e-2, 5});  // would need 10 V
  circuit.advance(0.05);
  CHECK(circuit.limited(source));
  CHECK(circuit.voltage(source) == Approx(5).margin(1e-5));
  CHECK(circuit.current(source) == Approx(5.0 / 1002).epsilon(1e-6));
}

TEST_CASE("a divider divides, loaded and not", "[circuit]") {
  Circuit circuit(chain_of({9e3, 1e3}), scale, {1e-9, 1e-9, 1e-9});
  const auto top = circuit.attach(0, 1e-3), ground = circuit.attach(2, 1e-3), load = circuit.attach(1, 1e-3);
  circuit.drive(top, {PortState::Kind::voltage, 10});
  circuit.drive(ground, {PortState::Kind::voltage, 0});
  circuit.advance(0.01);
  CHECK(circuit.node_voltage(1) == Approx(1.0).epsilon(1e-6));
  circuit.drive(load, {PortState::Kind::open, 0, INFINITY, 1e-3});  // 1 kohm parallel to the lower kilohm
  circuit.advance(0.02);
  CHECK(circuit.node_voltage(1) == Approx(10 * 500.0 / 9500).epsilon(1e-6));
}

TEST_CASE("a quantum dot's current through the circuit is its law's, for either carrier", "[circuit]") {
  for (const int carrier : {1, -1}) {
    NetworkSpec spec = chain_of({1});
    spec.edges[0] = {Law::quantum_dot, {1, 0.5, 1.8, 0}};
    Circuit circuit(spec, {0.1, 2.5e-6, carrier}, {1e-9, 1e-9});
    const auto source = circuit.attach(0, 1), drain = circuit.attach(1, 1);
    circuit.drive(drain, {PortState::Kind::voltage, 0});
    double t = 0;
    for (const double V : {0.05, 0.2, 0.5, 1.0, -0.3}) {
      circuit.drive(source, {PortState::Kind::voltage, V});
      circuit.advance(t += 0.01);
      const double mu_s = carrier * circuit.node_voltage(0) / 0.1,
                   mu_t = carrier * circuit.node_voltage(1) / 0.1;  // behind their leads
      const double eps = 0.5 + 1.8 * (mu_s - mu_t);
      const double I = carrier * 2.5e-6 * (1 / (1 + std::exp(eps - mu_s)) - 1 / (1 + std::exp(eps - mu_t)));
      CHECK(mu_s == Approx(carrier * V / 0.1).margin(1e-4));
      CHECK(circuit.current(source) == Approx(I).epsilon(1e-5));
      CHECK(circuit.current(drain) == Approx(-I).epsilon(1e-5));
    }
  }
}

TEST_CASE("parameters move under way, and a leak keeps its reference beside what is connected", "[circuit]") {
  NetworkSpec spec = chain_of({1e5});
  spec.nodes[1].g = 1;
  spec.nodes[1].mu_ref = 2;  // 0.2 V through 100 kohm
  Circuit circuit(spec, scale, {1e-9, 1e-9});
  const auto source = circuit.attach(0, 1e-3), meter = circuit.attach(1, 1e-3);
  circuit.drive(source, {PortState::Kind::voltage, 0.4});
  circuit.advance(0.01);
  CHECK(circuit.node_voltage(1) == Approx(0.3).margin(volts));
  circuit.drive(meter, {PortState::Kind::open, 0, INFINITY, 1e-5});  // a third 100 kohm, to ground
  circuit.advance(0.02);
  CHECK(circuit.node_voltage(1) == Approx(0.2).margin(volts));
  circuit.set_parameter(circuit.network().leak_mu_ref(1), 5);
  circuit.advance(0.03);
  CHECK(circuit.node_voltage(1) == Approx((0.4 + 0.5) / 3).margin(volts));
  CHECK(circuit.parameter(circuit.network().leak_mu_ref(1)) == 5);
}

TEST_CASE("misuse of a circuit is refused", "[circuit]") {
  CHECK_THROWS_WITH(Circuit(chain_of({1e3}), scale, {1e-9, 0}),
                    Catch::Contains("node 1") && Catch::Contains("capacity"));
  CHECK_THROWS_WITH(Circuit(chain_of({1e3}), scale, {1e-9}), Catch::Contains("1 capacities for 2 nodes"));
  CHECK_THROWS_WITH(Circuit(chain_of({1e3}), {0, 1, 1}, {1e-9, 1e-9}), Catch::Contains("volts per kT"));
  Circuit circuit(chain_of({1e3}), scale, {1e-9, 1e-9});
  CHECK_THROWS_WITH(circuit.attach(2, 1), Catch::Contains("no node 2"));
  CHECK_THROWS_WITH(circuit.attach(0, 0), Catch::Contains("lead"));
  circuit.advance(1);
  CHECK_THROWS_WITH(circuit.advance(0.5), Catch::Contains("go back"));
  const auto port = circuit.attach(0, 1);
  CHECK_THROWS_AS(circuit.drive(port, {PortState::Kind::voltage, NAN}), std::invalid_argument);
}
