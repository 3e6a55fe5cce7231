#include "ness/emulators/circuit.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <stdexcept>

#include "ness/network/rosenbrock.hpp"

namespace ness::sim {

namespace {

// Local error of a potential (kT): below the resolution of any instrument at the scale of a bench (0.1 V per
// kT: 10 nV).
constexpr double tolerance = 1e-7;
constexpr double insulation = 1e-16;  // S
constexpr double stray = 1e-12;       // F, at the tap of a divider
constexpr double contact = 1e-3;      // ohms between a meter and the element it reads

// The instrument's end of a line: the last node, and the resistance from it to the instrument.
struct LineEnd {
  std::uint32_t node = 0;
  double resistance = 0;
};

NetworkSpec freed(NetworkSpec spec, const CircuitScale& scale, const std::vector<double>& capacity) {
  if (const std::string problem = scale.problem(); !problem.empty())
    throw std::invalid_argument("circuit: " + problem);
  if (capacity.size() != spec.nodes.size()) {
    throw std::invalid_argument("circuit: " + std::to_string(capacity.size()) + " capacities for " +
                                std::to_string(spec.nodes.size()) + " nodes");
  }
  for (std::size_t k = 0; k < capacity.size(); ++k) {
    if (!(capacity[k] > 0) || !std::isfinite(capacity[k])) {
      throw std::invalid_argument("circuit: node " + std::to_string(k) + " has a capacity of " +
                                  std::to_string(capacity[k]) + " F; expected a finite number > 0");
    }
    if (spec.graph.nodes[k].clamped) {
      spec.graph.nodes[k].clamped = false;
      spec.nodes[k].g = 0;
      spec.nodes[k].mu_ref = 0;
    }
    // Insulation is finite: an unconnected node discharges to ground, with its own time constant.
    if (spec.nodes[k].g == 0) spec.nodes[k].g = insulation * scale.volts_per_kT / scale.amperes_per_unit;
    // C dmu/dt = I with mu in kT, I in units, t in s.
    spec.nodes[k].capacity = capacity[k] * scale.volts_per_kT / scale.amperes_per_unit;
  }
  return spec;
}

// Adds a line's elements as nodes and conductors after the network's own.
LineEnd add_line(NetworkSpec& spec, const CircuitScale& scale, std::size_t nodes, const Line& line,
                 std::size_t number) {
  const auto refuse = [&](const std::string& reason) {
    throw std::invalid_argument("circuit: line " + std::to_string(number) + ": " + reason);
  };
  const LineElements& elements = line.elements;
  if (line.node >= nodes) refuse("there is no node " + std::to_string(line.node));
  if (!(line.lead > 0) || !std::isfinite(line.lead))
    refuse("a lead of " + std::to_string(line.lead) + " ohms; expected a finite number > 0");
  if (const std::string problem = elements.problem(); !problem.empty()) refuse(problem);
  if (elements.preamplifier && !line.reads) refuse("a preamplifier is read; nothing is driven through it");
  const double siemens = scale.volts_per_kT / scale.amperes_per_unit;  // siemens per unit of conductance
  const auto add_node = [&](double leak, double farads) {
    spec.graph.nodes.push_back({});
    NodeProperties properties;
    properties.g = std::max(leak, insulation) * siemens;
    properties.capacity = farads * siemens;
    spec.nodes.push_back(properties);
    return static_cast<std::uint32_t>(spec.nodes.size() - 1);
  };
  const auto join = [&](std::uint32_t one, std::uint32_t other, double ohms) {
    spec.graph.edges.push_back({one, other, 0});
    spec.edges.push_back({Law::linear, {siemens / ohms}});
  };
  const bool filtered = elements.shunt_capacity > 0;
  // The line is built from the node to the instrument: `end` is the last node so far, with a `resistance` not
  // yet connected to a next node.
  LineEnd end{line.node, line.lead};
  const auto pass = [&](double leak, double farads) {
    const std::uint32_t node = add_node(leak, farads);
    join(node, end.node, end.resistance);
    end = {node, 0};
  };
  if (line.reads) {
    if (elements.divider) {
      end.resistance += elements.divider->upper;
      pass(1 / elements.divider->lower, stray);
    }
    end.resistance += elements.series;
    if (filtered) pass(0, elements.shunt_capacity);
    if (elements.preamplifier) end.resistance += elements.preamplifier->input;
    if (end.resistance == 0) end.resistance = contact;
  } else {
    if (filtered) pass(0, elements.shunt_capacity);
    end.resistance += elements.series;
    if (elements.divider) {
      pass(1 / elements.divider->lower, stray);
      end.resistance = elements.divider->upper;
    }
  }
  return end;
}

// The moments M_k of a low-pass over a step of z time constants, for k = 0 to 3: with a signal sum a_k s^k, s
// from 0 to 1, the output at the end is y0 e^-z + sum a_k M_k, M_k = z int_0^1 e^(-z (1 - s)) s^k ds.
std::array<double, 4> low_pass_moments(double z) {
  std::array<double, 4> moments{};
  if (z > 1) {  // by parts
    moments[0] = -std::expm1(-z);
    for (std::size_t k = 1; k < 4; ++k) moments[k] = 1 - static_cast<double>(k) / z * moments[k - 1];
    return moments;
  }
  // For small z the recursion would cancel; all terms of the series of e^(z s) are positive.
  for (std::size_t k = 0; k < 4; ++k) {
    double term = z * std::exp(-z), sum = 0;
    for (int n = 0; n < 20; ++n) {
      sum += term / static_cast<double>(n + static_cast<int>(k) + 1);
      term *= z / (n + 1);
    }
    moments[k] = sum;
  }
  return moments;
}

}  // namespace

std::string LineElements::problem() const {
  const auto usable = [](double value) { return value > 0 && std::isfinite(value); };
  if (divider && !(usable(divider->upper) && usable(divider->lower)))
    return "a divider of " + std::to_string(divider->upper) + " and " + std::to_string(divider->lower) +
           " ohms; expected finite numbers > 0";
  if (!(series >= 0) || !std::isfinite(series))
    return "a series resistor of " + std::to_string(series) + " ohms; expected a finite number >= 0";
  if (!(shunt_capacity >= 0) || !std::isfinite(shunt_capacity))
    return "a shunt capacity of " + std::to_string(shunt_capacity) + " F; expected a finite number >= 0";
  if (shunt_capacity > 0 && series == 0)
    return "a shunt capacity without a series resistor in front of it is no low-pass";
  if (!preamplifier) return {};
  if (divider) return "a divider in front of a preamplifier; its virtual ground leaves nothing to divide";
  if (preamplifier->gain == 0 || !std::isfinite(preamplifier->gain))
    return "a preamplifier's gain of " + std::to_string(preamplifier->gain) +
           " V/A; expected a finite number other than 0";
  if (!usable(preamplifier->input))
    return "a preamplifier's input of " + std::to_string(preamplifier->input) +
           " ohms; expected a finite number > 0";
  if (!(preamplifier->bandwidth > 0))
    return "a preamplifier's bandwidth of " + std::to_string(preamplifier->bandwidth) +
           " Hz; expected a number > 0";
  if (!std::isfinite(preamplifier->offset)) return "a preamplifier's offset has to be finite";
  return {};
}

std::string CircuitScale::problem() const {
  if (!(volts_per_kT > 0) || !std::isfinite(volts_per_kT)) return "volts per kT must be a finite number > 0";
  if (!(amperes_per_unit > 0) || !std::isfinite(amperes_per_unit))
    return "amperes per unit current must be a finite number > 0";
  if (carrier != 1 && carrier != -1) return "the sign of the carrier is 1 or -1";
  return {};
}

struct Circuit::Impl {
  struct Port {
    std::uint32_t node = 0;
    double lead = 0;  // ohms
    PortState state;
    double last_limited = -1;
    double sensed = 0, terminal = 0, charge = 0;  // integrals
    std::optional<Preamplifier> preamplifier;
    double output = 0;  // V, of the preamplifier, without offset

    double time_constant() const { return 1 / (2 * std::numbers::pi * preamplifier->bandwidth); }
  };

  CircuitScale scale;
  // Nodes of the described network; the nodes of elements follow.
  std::size_t own_nodes;
  std::vector<Port> ports;
  Network network;
  Network::WorkspacePtr work = network.workspace();
  Rosenbrock motion{network, *work, [this](const Vector& mu, Vector& unbalanced, Jacobian* jacobian) {
                      add_ports(mu, unbalanced, jacobian);
                    }};
  Vector own, newton;
  Boundary boundary;
  Vector state;
  std::vector<std::size_t> free_of_node;
  std::function<void(const CircuitChange&)> watcher;
  double time = 0;
  bool resting = false;  // no change of the boundary since
  bool changed = true;
  Cost cost;

  Impl(NetworkSpec spec, const CircuitScale& s, const std::vector<double>& capacity,
       const std::vector<Line>& lines)
      : scale(s), own_nodes(spec.nodes.size()), network(wired(freed(std::move(spec), s, capacity), lines)) {
    own = network.theta();
    boundary.theta = own.data();
    state = network.rest();
    free_of_node.resize(network.spec().nodes.size());
    for (std::size_t f = 0; f < network.free().size(); ++f) free_of_node[network.free()[f]] = f;
    boundary.clamp = Vector(0);
    for (Port& port : ports) {
      if (port.preamplifier) port.output = port.preamplifier->gain * volts(state, port) / port.lead;
    }
  }

  NetworkSpec wired(NetworkSpec spec, const std::vector<Line>& lines) {
    for (const Line& line : lines) {
      const LineEnd end = add_line(spec, scale, own_nodes, line, ports.size());
      Port& port = ports.emplace_back();
      port.node = end.node;
      port.lead = end.resistance;
      port.preamplifier = line.elements.preamplifier;
    }
    return spec;
  }

  double unit_volts() const { return scale.carrier * scale.volts_per_kT; }
  double unit_amperes() const { return scale.carrier * scale.amperes_per_unit; }
  double volts(const Vector& mu, const Port& port) const {
    return mu[static_cast<Eigen::Index>(free_of_node[port.node])] * unit_volts();
  }

  // Current out of the instrument, through the lead into the node, linearised as a + b V around the node's
  // voltage V. The shunt is at the instrument's end of the lead. In compliance a voltage source acts as a
  // current source, and a current source as a voltage source. A preamplifier acts as its virtual ground.
  struct Characteristic {
    double a = 0, b = 0;
    bool limited = false;
    double at(double V) const { return a + b * V; }
  };
  static Characteristic line_of(const Port& port, double V) {
    const double R = port.lead, s = port.state.shunt, limit = port.state.limit;
    if (port.preamplifier) return {0, -1 / R, false};
    if (port.state.kind == PortState::Kind::voltage) {
      const Characteristic free{port.state.level / R, -1 / R, false};
      if (std::abs(free.at(V)) <= limit) return free;
      return {std::copysign(limit, free.at(V)), 0, true};
    }
    const double level = port.state.kind == PortState::Kind::current ? port.state.level : 0;
    const Characteristic free{level / (1 + s * R), -s / (1 + s * R), false};
    const double terminals = V + R * free.at(V);
    if (port.state.kind == PortState::Kind::open || std::abs(terminals) <= limit) return free;
    return {std::copysign(limit, terminals) / R, -1 / R, true};
  }

  // Adds the currents through the ports.
  void add_ports(const Vector& mu, Vector& unbalanced, Jacobian* jacobian) const {
    for (const Port& port : ports) {
      const auto k = static_cast<Eigen::Index>(free_of_node[port.node]);
      const double V = mu[k] * unit_volts();
      const Characteristic line = line_of(port, V);
      unbalanced[k] += line.at(V) / unit_amperes();
      if (jacobian != nullptr) jacobian->diagonal(k) -= line.b * scale.volts_per_kT / scale.amperes_per_unit;
    }
  }

  void note_limits() {
    for (Port& port : ports) {
      if (line_of(port, volts(state, port)).limited) port.last_limited = time;
    }
  }

  // Adds one step to the integrals, by the cubic polynomial through both ends with their time derivatives.
  // Some nodes only follow the others within the step (a picofarad behind an ohm): the rate of such a node is
  // the error of its potential divided by picoseconds, so a straight line is used for it.
  void integrate(double h, const Vector& before, const Vector& rate_before, const Vector& after,
                 const Vector& rate_after) {
    for (Port& port : ports) {
      const auto k = static_cast<Eigen::Index>(free_of_node[port.node]);
      const bool follows = h * motion.decay(k) > 3;
      const double slope_before = follows ? (after[k] - before[k]) / h : rate_before[k],
                   slope_after = follows ? slope_before : rate_after[k];
      const double mean = (before[k] + after[k]) / 2 + h / 12 * (slope_before - slope_after);
      const double V = mean * unit_volts();
      const Characteristic line = line_of(port, V);
      const double I = line.at(V);
      port.sensed += V * h;
      port.charge += I * h;
      port.terminal += port.preamplifier
                           ? amplify(port, h, -I * h, before[k], slope_before, after[k], slope_after)
                           : (V + I * port.lead) * h;
    }
  }

  // Advances a preamplifier's output over a step, exactly for the step's cubic, and returns the integral of
  // the output. From tau dy/dt = x - y: int y dt = int x dt - tau (y1 - y0).
  double amplify(Port& port, double h, double charge, double before, double rate_before, double after,
                 double rate_after) const {
    const Preamplifier& amplifier = *port.preamplifier;
    const double unit = amplifier.gain * unit_volts() / port.lead, tau = port.time_constant();
    const double slope_before = h * rate_before, slope_after = h * rate_after, rise = after - before;
    const std::array<double, 4> signal{before, slope_before, 3 * rise - 2 * slope_before - slope_after,
                                       slope_before + slope_after - 2 * rise};
    const std::array<double, 4> moments = low_pass_moments(h / tau);
    const double earlier = port.output;
    port.output = earlier * std::exp(-h / tau);
    for (std::size_t k = 0; k < 4; ++k) port.output += unit * signal[k] * moments[k];
    return amplifier.gain * charge - tau * (port.output - earlier) + amplifier.offset * h;
  }

  // True at rest: within the integrator's error of a stable steady state. The state is then set to the steady
  // state by Newton's method, because an error of nanovolts is a large current through a lead of milliohms.
  bool rests() {
    // Newton's step is at least as long as each row of F = (dI/dmu) x step requires, so far from rest no
    // solution is needed.
    for (Eigen::Index k = 0; k < state.size(); ++k) {
      if (std::abs(motion.unbalanced[k]) > motion.jacobian.row_magnitude(k) * 4.1 * tolerance) return false;
    }
    for (int i = 0; i < 8; ++i) {
      if (!network.factor(*work, motion.jacobian)) return false;
      network.solve(*work, motion.unbalanced, newton);
      const double far = newton.cwiseAbs().maxCoeff();
      if (!(far < 4 * tolerance)) return false;
      if (i == 0 && !network.contracting(*work, motion.jacobian)) return false;
      motion.kick(newton, std::numeric_limits<double>::infinity());
      state = motion.y;
      if (far < 1e-15 * std::max(1.0, state.cwiseAbs().maxCoeff())) break;
    }
    return true;
  }

  void follow(double until) {
    while (time < until) {
      if (changed) {
        network.impose(boundary, *work);
        motion.begin(state);
        ++cost.boundaries;
        changed = resting = false;
        note_limits();
      }
      const double left = until - time;
      const Vector rate = motion.rate();
      if (resting) {
        integrate(left, state, Vector::Zero(state.size()), state, Vector::Zero(state.size()));
        time = until;
        note_limits();
        return;
      }
      const double began = motion.time;
      motion.limit(left);
      if (!motion.step(tolerance))
        throw std::runtime_error("circuit: its motion cannot be followed beyond t = " + std::to_string(time) +
                                 " s");
      ++cost.steps;
      const double h = motion.time - began;
      integrate(h, state, rate, motion.y, motion.rate());
      state = motion.y;
      time = left - h < 1e-12 * std::max(1.0, until) ? until : time + h;
      note_limits();
      resting = rests();
    }
  }
};

Circuit::Circuit(NetworkSpec spec, const CircuitScale& scale, const std::vector<double>& capacity,
                 const std::vector<Line>& lines)
    : impl_(std::make_unique<Impl>(std::move(spec), scale, capacity, lines)) {}
Circuit::~Circuit() = default;

const Network& Circuit::network() const { return impl_->network; }
const CircuitScale& Circuit::scale() const { return impl_->scale; }
double Circuit::time() const { return impl_->time; }

std::size_t Circuit::attach(std::uint32_t node, double lead) {
  if (node >= impl_->own_nodes)
    throw std::invalid_argument("circuit: there is no node " + std::to_string(node));
  if (!(lead > 0) || !std::isfinite(lead))
    throw std::invalid_argument("circuit: a lead of " + std::to_string(lead) +
                                " ohms; expected a finite number > 0");
  Impl::Port& port = impl_->ports.emplace_back();
  port.node = node;
  port.lead = lead;
  impl_->changed = true;
  return impl_->ports.size() - 1;
}

void Circuit::drive(std::size_t port, const PortState& state) {
  Impl::Port& p = impl_->ports.at(port);
  if (!std::isfinite(state.level) || !(state.limit > 0) || !(state.shunt >= 0) ||
      !std::isfinite(state.shunt)) {
    throw std::invalid_argument("circuit: port " + std::to_string(port) + " cannot be driven so: level " +
                                std::to_string(state.level) + ", limit " + std::to_string(state.limit) +
                                ", shunt " + std::to_string(state.shunt));
  }
  if (p.preamplifier && state.kind != PortState::Kind::open)
    throw std::invalid_argument("circuit: port " + std::to_string(port) +
                                " is behind a preamplifier, and cannot be driven");
  if (p.state == state) return;
  p.state = state;
  if (impl_->watcher) impl_->watcher({impl_->time, false, port, state, 0});
  impl_->changed = true;
}

const PortState& Circuit::driven(std::size_t port) const { return impl_->ports.at(port).state; }

void Circuit::set_parameter(std::size_t index, double value) {
  if (index >= static_cast<std::size_t>(impl_->own.size()) || !std::isfinite(value)) {
    throw std::invalid_argument("circuit: parameter " + std::to_string(index) + " cannot be " +
                                std::to_string(value));
  }
  double& own = impl_->own[static_cast<Eigen::Index>(index)];
  if (own == value) return;
  own = value;
  if (impl_->watcher) impl_->watcher({impl_->time, true, index, {}, value});
  impl_->changed = true;
}

void Circuit::watch(std::function<void(const CircuitChange&)> watcher) {
  impl_->watcher = std::move(watcher);
}

double Circuit::parameter(std::size_t index) const { return impl_->own[static_cast<Eigen::Index>(index)]; }

void Circuit::advance(double t) {
  if (!(t >= impl_->time))
    throw std::invalid_argument("circuit: asked to go back from " + std::to_string(impl_->time) + " s to " +
                                std::to_string(t) + " s");
  impl_->follow(t);
}

double Circuit::node_voltage(std::uint32_t node) const {
  return impl_->state[static_cast<Eigen::Index>(impl_->free_of_node.at(node))] * impl_->unit_volts();
}

double Circuit::current(std::size_t port) const {
  const Impl::Port& p = impl_->ports.at(port);
  const double V = impl_->volts(impl_->state, p);
  return Impl::line_of(p, V).at(V);
}

double Circuit::voltage(std::size_t port) const {
  const Impl::Port& p = impl_->ports.at(port);
  if (p.preamplifier) return p.output + p.preamplifier->offset;
  return impl_->volts(impl_->state, p) + current(port) * p.lead;
}

bool Circuit::limited(std::size_t port) const {
  const Impl::Port& p = impl_->ports.at(port);
  return Impl::line_of(p, impl_->volts(impl_->state, p)).limited;
}

double Circuit::sensed_integral(std::size_t port) const { return impl_->ports.at(port).sensed; }
double Circuit::voltage_integral(std::size_t port) const { return impl_->ports.at(port).terminal; }
double Circuit::current_integral(std::size_t port) const { return impl_->ports.at(port).charge; }
bool Circuit::was_limited(std::size_t port, double when) const {
  return limited(port) || impl_->ports.at(port).last_limited >= when;
}
Circuit::Cost Circuit::cost() const { return impl_->cost; }

}  // namespace ness::sim
