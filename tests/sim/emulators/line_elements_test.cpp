// Line elements in the circuit against closed forms: Thevenin's source of a loaded divider, RC steps, a
// preamplifier's first-order response.
#include <catch2/catch.hpp>
#include <cmath>
#include <numbers>
#include <set>

#include "ness/emulators/circuit.hpp"

using namespace ness;
using namespace ness::sim;

namespace {

// A resistor between nodes 0 and 1 at 0.1 V per kT and 1 uA per unit: a unit conductance is 10 uS.
NetworkSpec resistor(double ohms) {
  NetworkSpec spec;
  spec.graph.nodes = {{"0", true, 0}, {"1", false, 1}};
  spec.nodes.resize(2);
  spec.graph.edges = {{0, 1, 1}};
  spec.edges = {{Law::linear, {1e5 / ohms}}};
  spec.graph.outputs = {1};
  return spec;
}
const CircuitScale scale{0.1, 1e-6, 1};

LineElements divided(double upper, double lower) { return {Divider{upper, lower}, 0, 0, {}}; }
LineElements filtered(double series, double capacity) { return {{}, series, capacity, {}}; }
LineElements amplified(double gain, double input, double bandwidth = INFINITY, double offset = 0) {
  return {{}, 0, 0, Preamplifier{gain, input, bandwidth, offset}};
}
const PortState grounded{PortState::Kind::voltage, 0};

// 1e-7 kT at 0.1 V per kT per step: after the few hundred steps of a segment at most 1e-6 V, and far less at
// rest.
constexpr double volts = 1e-6;

}  // namespace

TEST_CASE("a source behind a divider is Thevenin's: level x lower / (upper + lower) behind upper || lower",
          "[circuit][line]") {
  const double upper = 9e3, lower = 1e3, load = 4e3, lead = 5;
  for (const int carrier : {1, -1}) {
    Circuit circuit(resistor(load), {0.1, 1e-6, carrier}, {1e-9, 1e-9},
                    {{0, lead, false, divided(upper, lower)}, {1, 1, false, {}}});
    circuit.drive(1, grounded);
    double t = 0;
    for (const double level : {2.0, -0.7}) {
      circuit.drive(0, {PortState::Kind::voltage, level});
      circuit.advance(t += 0.01);
      const double open = level * lower / (upper + lower), source = upper * lower / (upper + lower);
      const double I = open / (source + lead + load + 1), tap = open - source * I;
      CHECK(circuit.node_voltage(0) == Approx(tap - lead * I).margin(1e-9));
      CHECK(circuit.current(1) == Approx(-I).epsilon(1e-9));
      CHECK(circuit.current(0) == Approx((level - tap) / upper).epsilon(1e-9));
      CHECK(circuit.voltage(0) == Approx(level).margin(1e-12));
    }
    // Compliance applies to the instrument's own current, including that of the divider.
    circuit.drive(0, {PortState::Kind::voltage, 2.0, 1e-4});
    circuit.advance(t += 0.01);
    CHECK(circuit.limited(0));
    CHECK(circuit.current(0) == Approx(1e-4).epsilon(1e-12));
    const double behind = lead + load + 1;
    CHECK(circuit.node_voltage(0) == Approx(1e-4 * lower / (lower + behind) * (load + 1)).epsilon(1e-9));
  }
}

TEST_CASE("a low-pass in a source's line: 1 - exp(-t / RC), behind a divider with its source resistance too",
          "[circuit][line]") {
  for (const bool behind_divider : {false, true}) {
    LineElements elements = filtered(10e3, 1e-6);
    if (behind_divider) elements.divider = Divider{30e3, 10e3};
    // Nothing else is connected: the 1 pF of the node and of the tap follow at once.
    Circuit circuit(resistor(1e12), scale, {1e-12, 1e-12}, {{0, 1, false, elements}});
    const double open = behind_divider ? 0.25 : 1, tau = (10e3 + (behind_divider ? 7.5e3 : 0)) * 1e-6;
    circuit.advance(0.01);
    circuit.drive(0, {PortState::Kind::voltage, 0.8});
    for (const double t : {0.3, 1.0, 2.0, 5.0, 40.0}) {
      circuit.advance(0.01 + t * tau);
      CHECK(circuit.node_voltage(0) == Approx(0.8 * open * (1 - std::exp(-t))).margin(2 * volts));
    }
  }
}

TEST_CASE("a meter behind a divider and a low-pass reads the tap, and loads the node with both resistors",
          "[circuit][line]") {
  const double feed = 1e6, upper = 9e6, lower = 1e6, input = 10e6;
  LineElements elements = divided(upper, lower);
  elements.series = 1e5;
  elements.shunt_capacity = 1e-8;
  Circuit circuit(resistor(feed), scale, {1e-12, 1e-12}, {{0, 1, false, {}}, {1, 2, true, elements}});
  circuit.drive(1, {PortState::Kind::open, 0, INFINITY, 1 / input});
  circuit.drive(0, {PortState::Kind::voltage, 5});
  circuit.advance(1);
  const double below = lower * (1e5 + input) / (lower + 1e5 + input), I = 5 / (feed + 1 + 2 + upper + below);
  CHECK(circuit.node_voltage(1) == Approx(5 - I * (feed + 1)).epsilon(1e-8));
  CHECK(circuit.voltage(1) == Approx(I * below * input / (1e5 + input)).epsilon(1e-8));
  // The capacitor is charged through the series resistor and the tap's source resistance, parallel to the
  // meter's input.
  const double tap = lower * (upper + feed + 3) / (lower + upper + feed + 3),
               tau = 1e-8 / (1 / (1e5 + tap) + 1 / input);
  const double settled = circuit.voltage(1);
  circuit.drive(0, {PortState::Kind::voltage, 0});
  for (const double t : {0.5, 1.5, 4.0}) {
    circuit.advance(1 + t * tau);
    // The node and the tap have 1 pF each: with megohms 1e-4 of tau.
    CHECK(circuit.voltage(1) == Approx(settled * std::exp(-t)).margin(3e-4 * settled));
  }
}

TEST_CASE("a preamplifier is a virtual ground whose output is gain x current, of either sign",
          "[circuit][line]") {
  for (const double gain : {1e6, -1e6}) {
    Circuit circuit(resistor(99e3), scale, {1e-9, 1e-9},
                    {{0, 1, false, {}}, {1, 9, true, amplified(gain, 990, 1e4, 2e-3)}});
    // a meter at its output takes no current from the node
    circuit.drive(1, {PortState::Kind::open, 0, INFINITY, 1 / 10e6});
    circuit.drive(0, {PortState::Kind::voltage, 0.5});
    circuit.advance(0.1);
    const double I = 0.5 / (1 + 99e3 + 9 + 990);
    CHECK(circuit.voltage(1) == Approx(gain * I + 2e-3).epsilon(1e-9));
    CHECK(circuit.current(1) == Approx(-I).epsilon(1e-9));
    CHECK(circuit.node_voltage(1) == Approx(I * 999).epsilon(1e-9));
    CHECK_FALSE(circuit.limited(1));
    const double before = circuit.voltage_integral(1);
    circuit.advance(0.3);
    CHECK(circuit.voltage_integral(1) - before == Approx(0.2 * (gain * I + 2e-3)).epsilon(1e-9));
  }
}

TEST_CASE("a preamplifier's step response is of first order, and its integral the mean a meter reads",
          "[circuit][line]") {
  // The nodes follow in 0.1 ns, the output in 1 / (2 pi 1 kHz).
  const double bandwidth = 1e3, tau = 1 / (2 * std::numbers::pi * bandwidth);
  Circuit circuit(resistor(99990), scale, {1e-12, 1e-12},
                  {{0, 1, false, {}}, {1, 1, true, amplified(-1e5, 8, bandwidth, 0.01)}});
  circuit.advance(0.005);
  CHECK(circuit.voltage(1) == 0.01);
  circuit.drive(0, {PortState::Kind::voltage, 1});
  double integral = circuit.voltage_integral(1), last = 0;
  CHECK(integral == Approx(0.005 * 0.01).epsilon(1e-12));
  for (const double t : {0.1, 0.5, 1.0, 3.0, 10.0}) {
    circuit.advance(0.005 + t * tau);
    // 1e5 V/A x 1e-5 A. While moving, a step's error of 1e-8 V over 9 ohms is 1 nA: 1e-4 of the current.
    CHECK(circuit.voltage(1) == Approx(0.01 - (1 - std::exp(-t))).margin(1e-4));
    const double now = circuit.voltage_integral(1), mean = (now - integral) / ((t - last) * tau);
    CHECK(mean == Approx(0.01 - 1 + (std::exp(-last) - std::exp(-t)) / (t - last)).margin(1e-4));
    integral = now;
    last = t;
  }
  // At rest it settles to the last digit, for any history.
  circuit.advance(0.1);
  CHECK(circuit.voltage(1) == Approx(0.01 - 1).epsilon(1e-9));
}

TEST_CASE("a preamplifier follows a moving current exactly, faster and slower than it moves",
          "[circuit][line]") {
  // The current rises with T = 1 ms: 1 uF behind 1 kohm feeds 100 kohm into a virtual ground.
  const double T = 1e-6 / (1 / 1e3 + 1 / 1e5), final_current = 1.0 / 101e3;
  for (const double ratio : {1e-3, 0.3, 3.0, 300.0}) {  // of the preamplifier's time constant to T
    const double tau = ratio * T;
    Circuit circuit(resistor(1e5 - 200), scale, {1e-12, 1e-12},
                    {{0, 1e-3, false, filtered(1e3, 1e-6)},
                     {1, 100, true, amplified(1e5, 100, 1 / (2 * std::numbers::pi * tau))}});
    circuit.drive(0, {PortState::Kind::voltage, 1});
    double integral = 0, last = 0;
    const auto response = [&](double t) {
      return 1 - (T * std::exp(-t / T) - tau * std::exp(-t / tau)) / (T - tau);
    };
    const auto area = [&](double t) {
      return t + (T * T * (std::exp(-t / T) - 1) - tau * tau * (std::exp(-t / tau) - 1)) / (T - tau);
    };
    for (const double t : {0.1 * T, T, 4 * T, 20 * T}) {
      circuit.advance(t);
      // 1e-7 kT per step are 1e-8 V over 200 ohms, 5e-11 A: 5e-6 of the current; the capacitor's voltage as
      // in the RC test, 2e-6.
      CHECK(circuit.voltage(1) == Approx(1e5 * final_current * response(t)).margin(1e-5));
      // The mean also uses the derivatives of the cubic; at a node that only follows they are the error of
      // its potential divided by 0.2 ns.
      CHECK(circuit.voltage_integral(1) - integral ==
            Approx(1e5 * final_current * (area(t) - area(last))).margin(1e-4 * (t - last)));
      integral = circuit.voltage_integral(1);
      last = t;
    }
  }
}

TEST_CASE("elements change no node's number and no parameter's name", "[circuit][line]") {
  NetworkSpec spec = resistor(1e3);
  spec.edges[0] = {Law::quantum_dot, {1, 0.5, -1, 0}};
  spec.nodes[1].g = 1;
  LineElements both = divided(1e3, 1e3);
  both.series = 1e3;
  both.shunt_capacity = 1e-9;
  const Circuit plain(spec, scale, {1e-9, 1e-9}),
      wired(spec, scale, {1e-9, 1e-9}, {{0, 1, false, both}, {1, 1, true, both}});
  std::set<std::string> names;
  for (const ParameterInfo& info : wired.network().parameter_info()) names.insert(info.name);
  for (const ParameterInfo& info : plain.network().parameter_info()) CHECK(names.count(info.name) == 1);
  CHECK(wired.network().spec().nodes.size() == 6);
  CHECK(wired.network().spec().nodes[1].g == plain.network().spec().nodes[1].g);
  CHECK(wired.network().spec().graph.edges[0].target == 1);
}

TEST_CASE("line elements that cannot be are refused", "[circuit][line]") {
  const auto refused = [](const Line& line, const std::string& reason) {
    CHECK_THROWS_WITH(Circuit(resistor(1e3), scale, {1e-9, 1e-9}, {line}),
                      Catch::Contains("line 0") && Catch::Contains(reason));
  };
  refused({2, 1, false, {}}, "no node 2");
  refused({0, 0, false, {}}, "lead");
  refused({0, 1, false, divided(0, 1)}, "divider");
  refused({0, 1, false, filtered(0, 1e-9)}, "without a series resistor");
  refused({0, 1, false, filtered(-1, 0)}, "series resistor");
  refused({0, 1, false, amplified(1e6, 10)}, "driven through");
  refused({0, 1, true, amplified(0, 10)}, "gain");
  refused({0, 1, true, amplified(1e6, 0)}, "input");
  refused({0, 1, true, amplified(1e6, 10, 0)}, "bandwidth");
  LineElements both = amplified(1e6, 10);
  both.divider = Divider{1, 1};
  refused({0, 1, true, both}, "divider in front");
  Circuit circuit(resistor(1e3), scale, {1e-9, 1e-9}, {{0, 1, true, amplified(1e6, 10)}});
  CHECK_THROWS_WITH(circuit.drive(0, grounded), Catch::Contains("behind a preamplifier"));
  CHECK_THROWS_WITH(circuit.attach(2, 1), Catch::Contains("no node 2"));
}
