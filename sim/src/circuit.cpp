#include "ness/sim/circuit.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "rosenbrock.hpp"

namespace ness::sim {

namespace {

// Local error of a potential, kT: below any instrument's resolution at the scales of a bench (0.1 V per kT: 10 nV).
constexpr double tolerance = 1e-7;
constexpr double insulation = 1e-16;  // S

NetworkSpec freed(NetworkSpec spec, const CircuitScale& scale, const std::vector<double>& capacity) {
  if (const std::string problem = scale.problem(); !problem.empty()) throw std::invalid_argument("circuit: " + problem);
  if (capacity.size() != spec.nodes.size()) {
    throw std::invalid_argument("circuit: " + std::to_string(capacity.size()) + " capacities for " + std::to_string(spec.nodes.size()) + " nodes");
  }
  for (std::size_t k = 0; k < capacity.size(); ++k) {
    if (!(capacity[k] > 0) || !std::isfinite(capacity[k])) {
      throw std::invalid_argument("circuit: node " + std::to_string(k) + " has a capacity of " + std::to_string(capacity[k]) + " F; expected a finite number > 0");
    }
    if (spec.graph.nodes[k].clamped) {
      spec.graph.nodes[k].clamped = false;
      spec.nodes[k].g = 0;
      spec.nodes[k].mu_ref = 0;
    }
    // Insulation is finite: a node that nothing is connected to falls to ground, in its own time.
    if (spec.nodes[k].g == 0) spec.nodes[k].g = insulation * scale.volts_per_kT / scale.amperes_per_unit;
    // C dmu/dt = I with mu in kT, I in units, t in s.
    spec.nodes[k].capacity = capacity[k] * scale.volts_per_kT / scale.amperes_per_unit;
  }
  return spec;
}

}  // namespace

std::string CircuitScale::problem() const {
  if (!(volts_per_kT > 0) || !std::isfinite(volts_per_kT)) return "volts per kT must be a finite number > 0";
  if (!(amperes_per_unit > 0) || !std::isfinite(amperes_per_unit)) return "amperes per unit current must be a finite number > 0";
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
  };

  CircuitScale scale;
  Network network;
  Network::WorkspacePtr work = network.workspace();
  Rosenbrock motion{network, *work, [this](const Vector& mu, Vector& unbalanced, Matrix* slope) { add_ports(mu, unbalanced, slope); }};
  Vector own, newton;
  Boundary boundary;
  Vector state;
  std::vector<Port> ports;
  std::vector<std::size_t> free_of_node;
  std::function<void(const CircuitChange&)> watcher;
  double time = 0;
  bool resting = false;  // since the boundary last changed
  bool changed = true;
  Cost cost;

  Impl(NetworkSpec spec, const CircuitScale& s, const std::vector<double>& capacity) : scale(s), network(freed(std::move(spec), s, capacity)) {
    own = network.theta();
    boundary.theta = own.data();
    state = network.rest();
    free_of_node.resize(network.spec().nodes.size());
    for (std::size_t f = 0; f < network.free().size(); ++f) free_of_node[network.free()[f]] = f;
    boundary.clamp = Vector(0);
  }

  double unit_volts() const { return scale.carrier * scale.volts_per_kT; }
  double unit_amperes() const { return scale.carrier * scale.amperes_per_unit; }
  double volts(const Vector& mu, const Port& port) const { return mu[static_cast<Eigen::Index>(free_of_node[port.node])] * unit_volts(); }

  // Current out of the instrument, through the lead into the node, as a + b V of the node's voltage V near it. The shunt is at
  // the instrument's end of the lead. In compliance a voltage source is a current, a current source a voltage.
  struct Line {
    double a = 0, b = 0;
    bool limited = false;
    double at(double V) const { return a + b * V; }
  };
  static Line line_of(const Port& port, double V) {
    const double R = port.lead, s = port.state.shunt, limit = port.state.limit;
    if (port.state.kind == PortState::Kind::voltage) {
      const Line free{port.state.level / R, -1 / R, false};
      if (std::abs(free.at(V)) <= limit) return free;
      return {std::copysign(limit, free.at(V)), 0, true};
    }
    const double level = port.state.kind == PortState::Kind::current ? port.state.level : 0;
    const Line free{level / (1 + s * R), -s / (1 + s * R), false};
    const double terminals = V + R * free.at(V);
    if (port.state.kind == PortState::Kind::open || std::abs(terminals) <= limit) return free;
    return {std::copysign(limit, terminals) / R, -1 / R, true};
  }

  // What flows through the ports.
  void add_ports(const Vector& mu, Vector& unbalanced, Matrix* slope) const {
    for (const Port& port : ports) {
      const auto k = static_cast<Eigen::Index>(free_of_node[port.node]);
      const double V = mu[k] * unit_volts();
      const Line line = line_of(port, V);
      unbalanced[k] += line.at(V) / unit_amperes();
      if (slope != nullptr) (*slope)(k, k) -= line.b * scale.volts_per_kT / scale.amperes_per_unit;
    }
  }

  void note_limits() {
    for (Port& port : ports) {
      if (line_of(port, volts(state, port)).limited) port.last_limited = time;
    }
  }

  // Adds one step's share to the integrals: the cubic through both ends with their slopes.
  void integrate(double h, const Vector& before, const Vector& rate_before, const Vector& after, const Vector& rate_after) {
    for (Port& port : ports) {
      const auto k = static_cast<Eigen::Index>(free_of_node[port.node]);
      const double mean = (before[k] + after[k]) / 2 + h / 12 * (rate_before[k] - rate_after[k]);
      const double V = mean * unit_volts();
      const Line line = line_of(port, V);
      const double I = line.at(V);
      port.sensed += V * h;
      port.charge += I * h;
      port.terminal += (V + I * port.lead) * h;
    }
  }

  // At rest: within the integrator's error of a steady state that attracts. Then the state is made that steady state, by Newton's
  // method, since an error of nanovolts is a large current through a lead of milliohms.
  bool rests() {
    // Newton's step is at least as long as any row of F = (dI/dmu) x step demands: far from rest that is seen without solving.
    for (Eigen::Index k = 0; k < state.size(); ++k) {
      if (std::abs(motion.unbalanced[k]) > motion.slope.row(k).cwiseAbs().sum() * 4.1 * tolerance) return false;
    }
    for (int i = 0; i < 8; ++i) {
      if (!network.factor(*work, motion.slope)) return false;
      network.solve(*work, motion.unbalanced, newton);
      const double far = newton.cwiseAbs().maxCoeff();
      if (!(far < 4 * tolerance)) return false;
      if (i == 0 && !network.contracting(*work, motion.slope)) return false;
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
      if (!motion.step(tolerance)) throw std::runtime_error("circuit: its motion cannot be followed beyond t = " + std::to_string(time) + " s");
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

Circuit::Circuit(NetworkSpec spec, const CircuitScale& scale, const std::vector<double>& capacity) : impl_(std::make_unique<Impl>(std::move(spec), scale, capacity)) {}
Circuit::~Circuit() = default;

const Network& Circuit::network() const { return impl_->network; }
const CircuitScale& Circuit::scale() const { return impl_->scale; }
double Circuit::time() const { return impl_->time; }

std::size_t Circuit::attach(std::uint32_t node, double lead) {
  if (node >= impl_->free_of_node.size()) throw std::invalid_argument("circuit: there is no node " + std::to_string(node));
  if (!(lead > 0) || !std::isfinite(lead)) throw std::invalid_argument("circuit: a lead of " + std::to_string(lead) + " ohms; expected a finite number > 0");
  impl_->ports.push_back({node, lead, {}, -1, 0, 0, 0});
  impl_->changed = true;
  return impl_->ports.size() - 1;
}

void Circuit::drive(std::size_t port, const PortState& state) {
  Impl::Port& p = impl_->ports.at(port);
  if (!std::isfinite(state.level) || !(state.limit > 0) || !(state.shunt >= 0) || !std::isfinite(state.shunt)) {
    throw std::invalid_argument("circuit: port " + std::to_string(port) + " cannot be driven so: level " + std::to_string(state.level) + ", limit " + std::to_string(state.limit) + ", shunt " + std::to_string(state.shunt));
  }
  if (p.state == state) return;
  p.state = state;
  if (impl_->watcher) impl_->watcher({impl_->time, false, port, state, 0});
  impl_->changed = true;
}

const PortState& Circuit::driven(std::size_t port) const { return impl_->ports.at(port).state; }

void Circuit::set_parameter(std::size_t index, double value) {
  if (index >= static_cast<std::size_t>(impl_->own.size()) || !std::isfinite(value)) {
    throw std::invalid_argument("circuit: parameter " + std::to_string(index) + " cannot be " + std::to_string(value));
  }
  double& own = impl_->own[static_cast<Eigen::Index>(index)];
  if (own == value) return;
  own = value;
  if (impl_->watcher) impl_->watcher({impl_->time, true, index, {}, value});
  impl_->changed = true;
}

void Circuit::watch(std::function<void(const CircuitChange&)> watcher) { impl_->watcher = std::move(watcher); }

double Circuit::parameter(std::size_t index) const { return impl_->own[static_cast<Eigen::Index>(index)]; }

void Circuit::advance(double t) {
  if (!(t >= impl_->time)) throw std::invalid_argument("circuit: asked to go back from " + std::to_string(impl_->time) + " s to " + std::to_string(t) + " s");
  impl_->follow(t);
}

double Circuit::node_voltage(std::uint32_t node) const { return impl_->state[static_cast<Eigen::Index>(impl_->free_of_node.at(node))] * impl_->unit_volts(); }

double Circuit::current(std::size_t port) const {
  const Impl::Port& p = impl_->ports.at(port);
  const double V = impl_->volts(impl_->state, p);
  return Impl::line_of(p, V).at(V);
}

double Circuit::voltage(std::size_t port) const {
  const Impl::Port& p = impl_->ports.at(port);
  return impl_->volts(impl_->state, p) + current(port) * p.lead;
}

bool Circuit::limited(std::size_t port) const {
  const Impl::Port& p = impl_->ports.at(port);
  return Impl::line_of(p, impl_->volts(impl_->state, p)).limited;
}

double Circuit::sensed_integral(std::size_t port) const { return impl_->ports.at(port).sensed; }
double Circuit::voltage_integral(std::size_t port) const { return impl_->ports.at(port).terminal; }
double Circuit::current_integral(std::size_t port) const { return impl_->ports.at(port).charge; }
bool Circuit::was_limited(std::size_t port, double when) const { return limited(port) || impl_->ports.at(port).last_limited >= when; }
Circuit::Cost Circuit::cost() const { return impl_->cost; }

}  // namespace ness::sim
