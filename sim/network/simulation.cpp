#include "ness/network/simulation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "ness/device/error.hpp"
#include "batch/batch.hpp"
#include "ness/network/vector_target.hpp"
#include "description/network_impl.hpp"
#include "ness/device/parallel.hpp"
#include "ness/device/ramp.hpp"

namespace ness::sim {

namespace {
// Relaxations between two deliveries to the sink: enough to keep the cores busy, few enough for a quick
// reaction to a stop.
constexpr std::size_t delivery = 256;

// Workspaces for the relaxations that run at the same time.
class WorkspacePool {
 public:
  explicit WorkspacePool(const Network& network) : network_(network) {}
  class Lease {
   public:
    explicit Lease(WorkspacePool& pool) : pool_(pool), work_(pool.take()) {}
    ~Lease() { pool_.give(std::move(work_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Network::Workspace& operator*() { return *work_; }

   private:
    WorkspacePool& pool_;
    Network::WorkspacePtr work_;
  };

 private:
  Network::WorkspacePtr take() {
    const std::scoped_lock lock(mutex_);
    if (idle_.empty()) return network_.workspace();
    Network::WorkspacePtr work = std::move(idle_.back());
    idle_.pop_back();
    return work;
  }
  void give(Network::WorkspacePtr work) {
    const std::scoped_lock lock(mutex_);
    idle_.push_back(std::move(work));
  }
  const Network& network_;
  std::mutex mutex_;
  std::vector<Network::WorkspacePtr> idle_;
};
}  // namespace

Boundary boundary_of(const Network& network, const Drive& drive, Vector& theta) {
  Boundary boundary;
  if (drive.theta.overrides.empty()) {
    boundary.theta = drive.theta.base->data();
  } else {
    theta = drive.theta.values();
    boundary.theta = theta.data();
  }
  boundary.clamp.resize(static_cast<Eigen::Index>(network.clamped().size()));
  if (drive.clamp.set != nullptr) drive.clamp.set->levels(drive.clamp.row, boundary.clamp);
  boundary.inject = drive.nudge;
  for (const Hold& hold : drive.holds) {
    const auto& free = network.free();
    const auto at = std::lower_bound(free.begin(), free.end(), hold.terminal);
    boundary.held.emplace_back(static_cast<std::uint32_t>(at - free.begin()), hold.level);
  }
  return boundary;
}

const char* to_string(Batches batches) {
  switch (batches) {
    case Batches::off: return "off";
    case Batches::single_precision: return "single";
    case Batches::double_precision: return "double";
  }
  return "?";
}

namespace {
// True if a batch can relax this drive together with others of this parameter vector.
bool joins(const Network& network, const Drive& drive, const std::shared_ptr<const Vector>& theta) {
  return drive.theta.base == theta && drive.theta.overrides.empty() && drive.holds.empty() &&
         drive.clamp.set != nullptr && drive.clamp.set->width() == network.clamped().size();
}
bool all_join(const Network& network, std::span<const Drive> drives) {
  return !drives.empty() && std::all_of(drives.begin(), drives.end(), [&](const Drive& drive) {
    return joins(network, drive, drives.front().theta.base);
  });
}
std::vector<Pattern> patterns_of(std::span<const Drive> drives) {
  std::vector<Pattern> patterns;
  patterns.reserve(drives.size());
  for (const Drive& drive : drives) patterns.push_back(drive.clamp);
  return patterns;
}

template <class X>
std::vector<X> chosen(std::span<const X> all, const std::vector<std::uint32_t>& which) {
  std::vector<X> of;
  of.reserve(which.size());
  for (const std::uint32_t i : which) of.push_back(all[i]);
  return of;
}
}  // namespace

NetworkModel::NetworkModel(std::shared_ptr<const Network> network, unsigned threads, Batches batches)
    : network_(std::move(network)), threads_(threads), batch_(batches::shared(network_->impl(), batches)) {}
std::size_t NetworkModel::free_nodes() const { return network_->free().size(); }
std::size_t NetworkModel::parameters() const { return network_->parameters(); }

Vector NetworkModel::currents(const Drive& drive, const Vector& potential) const {
  Vector theta, unbalanced;
  Boundary boundary = boundary_of(*network_, drive, theta);
  boundary.held.clear();
  boundary.inject.resize(0);
  const Network::WorkspacePtr work = network_->workspace();
  network_->impose(boundary, *work);
  network_->evaluate(*work, potential, unbalanced, nullptr);
  return -unbalanced;
}

Matrix NetworkModel::conductance(const Drive& drive, const Vector& potential) const {
  Vector theta;
  return -network_->jacobian(boundary_of(*network_, drive, theta), potential);
}

void NetworkModel::costates(std::span<const Drive> drives, std::span<const Vector> potential,
                            std::span<const Vector> cotangent, std::span<Vector> costate) const {
  if (drives.size() != potential.size() || drives.size() != cotangent.size() ||
      drives.size() != costate.size()) {
    throw std::invalid_argument("model: costates of samples of unequal number");
  }
  WorkspacePool pool(*network_);
  for_each_index(drives.size(), threads_, [&](std::size_t i) {
    WorkspacePool::Lease work(pool);
    Vector theta, unbalanced;
    Jacobian jacobian;
    const Boundary boundary = boundary_of(*network_, drives[i], theta);
    network_->impose(boundary, *work);
    network_->evaluate(*work, potential[i], unbalanced, &jacobian);
    if (network_->factor(*work, jacobian)) {
      network_->solve_transposed(*work, cotangent[i], costate[i]);
    } else {
      costate[i] = Vector::Constant(potential[i].size(), std::numeric_limits<double>::quiet_NaN());
    }
  });
}

void NetworkModel::add_gradient(std::span<const Drive> drives, std::span<const Vector> potential,
                                std::span<const Vector> costate, Eigen::Ref<Vector> gradient) const {
  if (batch_ != nullptr && all_join(*network_, drives)) {
    if (drives.size() != potential.size() || drives.size() != costate.size())
      throw std::invalid_argument("model: gradient of samples of unequal number");
    std::vector<Vector> given(costate.begin(), costate.end());
    const std::vector<std::uint32_t> left = batch_->pull(drives.front().theta.base, patterns_of(drives),
                                                         potential, {}, given, gradient, threads_);
    if (!left.empty())
      add_exact_gradient(chosen(drives, left), chosen(potential, left), chosen(costate, left), gradient);
    return;
  }
  add_exact_gradient(drives, potential, costate, gradient);
}

void NetworkModel::add_exact_gradient(std::span<const Drive> drives, std::span<const Vector> potential,
                                      std::span<const Vector> costate, Eigen::Ref<Vector> gradient) const {
  std::vector<Vector> thetas(drives.size());
  std::vector<Boundary> boundaries(drives.size());
  for_each_index(drives.size(), threads_,
                 [&](std::size_t i) { boundaries[i] = boundary_of(*network_, drives[i], thetas[i]); });
  network_->add_gradient(boundaries, potential, costate, gradient, threads_);
}

void NetworkModel::add_adjoint_gradient(std::span<const Drive> drives, std::span<const Vector> potential,
                                        std::span<const Vector> cotangent, std::span<Vector> costate,
                                        Eigen::Ref<Vector> gradient) const {
  if (batch_ == nullptr || !all_join(*network_, drives)) {
    Model::add_adjoint_gradient(drives, potential, cotangent, costate, gradient);
    return;
  }
  if (drives.size() != potential.size() || drives.size() != cotangent.size() ||
      drives.size() != costate.size()) {
    throw std::invalid_argument("model: gradient of samples of unequal number");
  }
  // A batch eliminates without row exchange. If that fails, the matrix may still be regular, so the reference
  // solver tries.
  const std::vector<std::uint32_t> left = batch_->pull(drives.front().theta.base, patterns_of(drives),
                                                       potential, cotangent, costate, gradient, threads_);
  if (left.empty()) return;
  std::vector<Vector> lambda(left.size());
  Model::add_adjoint_gradient(chosen(drives, left), chosen(potential, left), chosen(cotangent, left), lambda,
                              gradient);
  for (std::size_t i = 0; i < left.size(); ++i) costate[left[i]] = std::move(lambda[i]);
}

struct Simulation::Impl {
  std::shared_ptr<const Network> network;
  SimulationOptions options;
  std::shared_ptr<const batches::Batch> batch;
  DeviceInfo info;
  Vector rest, present;
  WorkspacePool pool;

  Impl(std::shared_ptr<const Network> given, const SimulationOptions& chosen)
      : network(std::move(given)),
        options(chosen),
        batch(batches::shared(network->impl(), options.batches)),
        rest(network->rest()),
        present(rest),
        pool(*network) {}

  Vector start_of(const Drive& drive, const Boundary& boundary, double& time) const;
  // `last`: the final state, if it is not the potentials that were read.
  Relaxation run(const Drive& drive, Vector& last);
  void run_batch(std::span<const Drive> drives, std::span<Relaxation> rows,
                 std::vector<std::size_t>& left) const;
  void judge(Relaxation& row, bool restored, bool contracting, double displacement,
             bool near_other_branch) const;
  bool set_held(const Drive& drive, const Boundary& boundary, Relaxation& row) const;
  void settle(const Drive& drive, const Boundary& boundary, Network::Workspace& work, Relaxation& row,
              Vector& last) const;
  void observe_at(const At& at, const Boundary& boundary, const Vector& start, Network::Workspace& work,
                  Relaxation& row, Vector& last) const;
  void measure_currents(Boundary boundary, Network::Workspace& work, Relaxation& row) const;
};

Simulation::Simulation(std::shared_ptr<const Network> network, const SimulationOptions& options) {
  if (network == nullptr) throw std::invalid_argument("simulation: no network");
  if (std::string p = options.steady_state.problem(); !p.empty())
    throw std::invalid_argument("simulation: " + p);
  if (std::string p = options.transient.problem(); !p.empty())
    throw std::invalid_argument("simulation: " + p);
  impl_ = std::make_unique<Impl>(std::move(network), options);
  const NetworkSpec& spec = impl_->network->spec();
  DeviceInfo& info = impl_->info;
  info.identity = "simulated network: " + std::to_string(spec.graph.nodes.size()) + " nodes, " +
                  std::to_string(spec.graph.edges.size()) + " edges";
  for (const GraphNode& node : spec.graph.nodes) {
    Terminal terminal;
    terminal.name = node.name.empty() ? "node " + std::to_string(info.terminals.size()) : node.name;
    terminal.clamped = node.clamped;
    if (!node.clamped) {
      terminal.can_hold = terminal.reads_current = true;
      terminal.nudge = {-std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
    }
    terminal.reads_potential = !node.clamped;
    info.terminals.push_back(std::move(terminal));
  }
  info.outputs = spec.graph.outputs;
  info.parameters = impl_->network->parameter_info();
  info.restores_state = true;
  info.reads_repeat = true;
  info.reads_path = true;
  info.deterministic = true;
  info.arithmetic = vector_target();
}

Simulation::~Simulation() = default;
const DeviceInfo& Simulation::info() const { return impl_->info; }
std::shared_ptr<const Network> Simulation::network() const { return impl_->network; }

// The potentials from which the network relaxes once the drive is complete. `time`: the duration of the
// imposing.
Vector Simulation::Impl::start_of(const Drive& drive, const Boundary& boundary, double& time) const {
  time = 0;
  if (const auto* from = std::get_if<From>(&drive.start)) return *from->potential;
  if (std::holds_alternative<Present>(drive.start)) return present;
  const double rate = std::get<Rest>(drive.start).rate;
  if (std::isinf(rate) || boundary.clamp.size() == 0) return rest;
  time = ramp_time(boundary.clamp, rate);
  TransientOptions ramp = options.transient;
  ramp.clamp_rate = rate;
  return follow(*network, boundary, rest, std::span(&time, 1), ramp).front();
}

// Relaxes the drives that a batch can handle; `left` receives those that must be relaxed one by one.
void Simulation::Impl::run_batch(std::span<const Drive> drives, std::span<Relaxation> rows,
                                 std::vector<std::size_t>& left) const {
  const auto& theta = drives.front().theta.base;
  std::vector<std::size_t> chosen;
  std::vector<Pattern> clamp;
  std::vector<const Vector*> start, inject;
  std::vector<bool> restored;
  chosen.reserve(drives.size());
  clamp.reserve(drives.size());
  start.reserve(drives.size());
  inject.reserve(drives.size());
  restored.reserve(drives.size());
  for (std::size_t i = 0; i < drives.size(); ++i) {
    const auto* from = std::get_if<From>(&drives[i].start);
    const auto* at_rest = std::get_if<Rest>(&drives[i].start);
    const bool starts = from != nullptr || (at_rest != nullptr && std::isinf(at_rest->rate));
    if (!starts || !joins(*network, drives[i], theta) ||
        !std::holds_alternative<Settled>(drives[i].observe)) {
      left.push_back(i);
      continue;
    }
    chosen.push_back(i);
    clamp.push_back(drives[i].clamp);
    start.push_back(from != nullptr ? from->potential.get() : &rest);
    inject.push_back(drives[i].nudge.size() > 0 ? &drives[i].nudge : nullptr);
    restored.push_back(from != nullptr && options.steady_state.newton_first);
  }
  if (chosen.empty()) return;
  std::vector<Vector> potential(chosen.size());
  std::vector<batches::Batch::Found> found(chosen.size());
  batch->relax(theta, clamp, start, inject, restored, options.steady_state, options.threads, potential,
               found);
  for (std::size_t k = 0; k < chosen.size(); ++k) {
    const batches::Batch::Found& one = found[k];
    if (!one.converged) {
      left.push_back(chosen[k]);
      continue;
    }
    Relaxation& row = rows[chosen[k]];
    row.timing.settled = row.timing.read = one.time;
    row.timing.bound = one.bound;
    judge(row, std::holds_alternative<From>(drives[chosen[k]].start), one.contracting, one.displacement,
          false);
    row.potential = std::move(potential[k]);
  }
}

// Raises `other_branch` if a fold was passed: the state is far from its start, and the flow did not contract
// everywhere on the way. Raises `near_other_branch` if small disturbances would have decided the branch.
void Simulation::Impl::judge(Relaxation& row, bool restored, bool contracting, double displacement,
                             bool near_other_branch) const {
  if (near_other_branch) row.quality.raise(Flag::near_other_branch);
  if (restored && !contracting && displacement > options.steady_state.trust * network->spec().kT)
    row.quality.raise(Flag::other_branch);
}

Relaxation Simulation::Impl::run(const Drive& drive, Vector& last) {
  WorkspacePool::Lease work(pool);
  Vector theta;
  const Boundary boundary = boundary_of(*network, drive, theta);
  Relaxation row;
  if (!set_held(drive, boundary, row)) settle(drive, boundary, *work, row, last);
  if (!boundary.held.empty()) measure_currents(boundary, *work, row);
  return row;
}

// True if every free node is held: nothing is left to relax.
bool Simulation::Impl::set_held(const Drive& drive, const Boundary& boundary, Relaxation& row) const {
  if (boundary.held.empty() || boundary.held.size() < network->free().size()) return false;
  row.potential.resize(static_cast<Eigen::Index>(boundary.held.size()));
  for (const auto& [k, level] : boundary.held) row.potential[k] = level;
  const Rest* at_rest = std::get_if<Rest>(&drive.start);
  if (at_rest != nullptr) row.timing.start = ramp_time(boundary.clamp, at_rest->rate);
  const At* at = std::get_if<At>(&drive.observe);
  row.timing.settled = row.timing.read = row.timing.start + (at != nullptr ? at->time : 0);
  if (at != nullptr && at->mode == At::Mode::serial) row.timing.read += (at->samples - 1) * at->every;
  if (at != nullptr && at->path) row.path = row.potential.transpose().replicate(at->samples, 1);
  return true;
}

void Simulation::Impl::settle(const Drive& drive, const Boundary& boundary, Network::Workspace& work,
                              Relaxation& row, Vector& last) const {
  const Vector start = start_of(drive, boundary, row.timing.start);
  if (const auto* at = std::get_if<At>(&drive.observe)) {
    observe_at(*at, boundary, start, work, row, last);
    return;
  }
  const bool restored = !std::holds_alternative<Rest>(drive.start);
  SteadyState state = sim::relax(*network, boundary, start, options.steady_state, restored, work);
  row.timing.settled = row.timing.read = row.timing.start + state.time;
  row.timing.bound = state.bound;
  switch (state.verdict) {
    case Verdict::converged:
      judge(row, restored, state.contracting, state.displacement, state.near_other_branch);
      break;
    case Verdict::not_converged: row.quality.raise(Flag::not_converged); break;
    case Verdict::limit_cycle:
      row.quality.raise(Flag::oscillating);
      row.quality.raise(Flag::no_stable_state);
      break;
    case Verdict::diverged: row.quality.raise(Flag::no_stable_state); break;
  }
  row.potential = std::move(state.potential);
}

void Simulation::Impl::observe_at(const At& at, const Boundary& boundary, const Vector& start,
                                  Network::Workspace& work, Relaxation& row, Vector& last) const {
  // A simulation has no noise: samples at the same time, and repetitions of one relaxation, are equal. One is
  // enough.
  const std::uint32_t different = at.mode == At::Mode::serial && at.every > 0 ? at.samples : 1;
  std::vector<double> times(different);
  for (std::uint32_t i = 0; i < different; ++i) times[i] = at.time + i * at.every;
  const std::vector<Vector> readings = follow(*network, boundary, start, times, options.transient);
  row.potential = readings.front();
  if (different > 1) {
    for (std::uint32_t i = 1; i < different; ++i) row.potential += readings[i];
    row.potential /= different;
    last = readings.back();
  }
  if (at.path) {
    row.path.resize(at.samples, row.potential.size());
    for (std::uint32_t i = 0; i < at.samples; ++i)
      row.path.row(i) = readings[std::min(i, different - 1)].transpose();
  }
  row.timing.settled = row.timing.start + at.time;
  row.timing.read = row.timing.start + times.back();
  network->impose(boundary, work);
  Vector unbalanced, correction;
  Jacobian jacobian;
  network->evaluate(work, readings.back(), unbalanced, &jacobian);
  const bool regular = network->factor(work, jacobian);
  if (regular) network->solve(work, unbalanced, correction);
  row.timing.bound = regular ? correction.cwiseAbs().maxCoeff() : std::numeric_limits<double>::infinity();
}

// The source that holds a node supplies the current that the node, if free, would lack: I - u = -F.
void Simulation::Impl::measure_currents(Boundary boundary, Network::Workspace& work, Relaxation& row) const {
  const auto held = std::exchange(boundary.held, {});
  network->impose(boundary, work);
  Vector unbalanced;
  network->evaluate(work, row.potential, unbalanced, nullptr);
  row.current = Vector::Constant(static_cast<Eigen::Index>(info.terminals.size()),
                                 std::numeric_limits<double>::quiet_NaN());
  for (const auto& [k, level] : held) row.current[network->free()[k]] = -unbalanced[k];
}

void Simulation::do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) {
  const bool sequential = std::any_of(
      drives.begin(), drives.end(), [](const Drive& d) { return std::holds_alternative<Present>(d.start); });
  const std::size_t group = sequential ? 1 : delivery;
  for (std::size_t first = 0; first < drives.size(); first += group) {
    if (stop.stop_requested()) throw Cancelled();
    const std::size_t count = std::min(group, drives.size() - first);
    const std::span<const Drive> group_drives = drives.subspan(first, count);
    std::vector<Relaxation> rows(count);
    std::vector<Vector> last(count);
    std::vector<std::size_t> left;
    if (impl_->batch != nullptr && !sequential) {
      impl_->run_batch(group_drives, rows, left);
    } else {
      left.resize(count);
      std::iota(left.begin(), left.end(), std::size_t{0});
    }
    for_each_index(left.size(), impl_->options.threads,
                   [&](std::size_t i) { rows[left[i]] = impl_->run(group_drives[left[i]], last[left[i]]); });
    impl_->present = last.back().size() > 0 ? last.back() : rows.back().potential;
    for (std::size_t i = 0; i < count; ++i) sink(first + i, rows[i]);
  }
}

}  // namespace ness::sim
