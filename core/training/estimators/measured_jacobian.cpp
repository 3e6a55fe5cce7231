#include "estimators/measured_jacobian.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <utility>

#include "estimators/perturbation_size.hpp"
#include "ness/device/number_text.hpp"

namespace ness {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// Shifts between measurements update a Jacobian only if they exceed the noise by this factor.
constexpr double shift_errors = 6;  // standard errors

// Index of a sample's perturbation for the `which`-th input (0 or 1) of the node at `place`. The order of the
// two alternates from node to node, so that a linear drift enters neighbouring columns with opposite signs.
std::size_t perturbation_at(bool base, std::size_t each, std::size_t place, std::size_t which) {
  return (base ? 1 : 0) + each * place + (each == 2 ? which ^ (place & 1) : 0);
}

}  // namespace

double Probe::Weights::norm() const { return std::sqrt(base * base + first * first + second * second); }

Probe::Weights Probe::weights() const {
  switch (kind) {
    case Kind::one_sided: return {-1 / first, 1 / first, 0};
    case Kind::pair: return {0, 1 / (first - second), 1 / (second - first)};
    case Kind::parabola: {
      const double scale = first * second * (second - first), w1 = second * second / scale,
                   w2 = -first * first / scale;
      return {-w1 - w2, w1, w2};
    }
  }
  return {};
}

Vector reading_errors(const Relaxation& row) {
  Vector errors = row.sigma.size() > 0 ? row.sigma : Vector::Zero(row.potential.size());
  if (std::isfinite(row.timing.bound)) {
    for (double& error : errors) error = std::hypot(error, row.timing.bound);
  }
  return errors;
}

MeasuredJacobian::MeasuredJacobian(const std::string& name, std::shared_ptr<const Model> model,
                                   const MeasuredJacobianOptions& options,
                                   const PerturbationOptions& perturbations, const CurrentLawOptions& law)
    : CostateEstimator(name, std::move(model), perturbations, law),
      options_(options),
      chosen_(options.probe) {
  if (!(options.probe >= 0) || std::isinf(options.probe))
    throw std::invalid_argument(name + ": probe " + number_text(options.probe) +
                                "; it must be finite and > 0, or 0 to be chosen");
  if (options.refresh == 0) throw std::invalid_argument(name + ": refresh 0; at least 1 is needed");
  if (!(options.reset > 0))
    throw std::invalid_argument(name + ": reset " + number_text(options.reset) +
                                "; it must be > 0 (infinite: no reset)");
}

double MeasuredJacobian::probe_size(std::uint64_t lost) const {
  if (!(chosen_ > 0))
    throw std::logic_error(
        std::string(name()) +
        ": the probe is 0, to be chosen from noise and curvature, and prepare has not chosen it");
  return std::ldexp(chosen_, -2 * static_cast<int>(lost));
}

// ---- the perturbations of a sample ----------------------------------------------------------------------

double MeasuredJacobian::perturbations_of(std::size_t nodes) const {
  return (has_base() ? 1 : 0) + static_cast<double>(each() * nodes);
}

double MeasuredJacobian::costate_perturbations(const DeviceInfo& info) const {
  return perturbations_of(info.free().size());
}

double MeasuredJacobian::cost(const DeviceInfo& info) const {
  const std::size_t n = info.free().size();
  const double full = cost_with(info, perturbations_of(n));
  if (!tracks()) return full;
  const double between = cost_with(info, perturbations_of(std::min<std::size_t>(options_.refresh, n))),
               every = static_cast<double>(options_.measure_every);
  return (full + (every - 1) * between) / every;
}

MeasuredJacobian::Layout MeasuredJacobian::layout(const DeviceInfo& info, std::uint64_t sample) const {
  const std::size_t n = info.free().size();
  const KnownJacobian* known = tracks() ? tracked_.find(sample) : nullptr;
  Layout layout;
  layout.full = known == nullptr || known->due || known->age + 1 >= options_.measure_every;
  layout.nodes.resize(layout.full ? n : std::min<std::size_t>(options_.refresh, n));
  std::iota(layout.nodes.begin(), layout.nodes.end(), std::size_t{0});
  if (!layout.full) {
    for (std::size_t& node : layout.nodes) node = (known->next + node) % n;
  }
  return layout;
}

class MeasuredJacobian::ProbePlan final : public PerturbationPlan {
 public:
  ProbePlan(const MeasuredJacobian& estimator, const DeviceInfo& info, const Minibatch& batch)
      : estimator_(estimator), info_(info) {
    estimator.probe_size(0);  // must be chosen; throws before anything is imposed
    for (const std::uint64_t sample : batch.samples) layouts_.push_back(estimator.layout(info, sample));
  }
  std::size_t perturbations(std::size_t sample) const override {
    return static_cast<std::size_t>(estimator_.perturbations_of(layouts_[sample].nodes.size()));
  }
  bool impose(Drive& drive, std::size_t sample, std::size_t k, const ChainSoFar& so_far) const override {
    return estimator_.impose_perturbation(drive, info_, *so_far.free, layouts_[sample].nodes, k,
                                          estimator_.probe_size(so_far.lost));
  }

 private:
  const MeasuredJacobian& estimator_;
  const DeviceInfo& info_;
  std::vector<Layout> layouts_;
};

bool MeasuredJacobian::impose_perturbation(Drive& drive, const DeviceInfo& info, const Relaxation& free,
                                           const std::vector<std::size_t>& nodes, std::size_t k,
                                           double size) const {
  const std::size_t base = has_base() ? 1 : 0;
  if (k < base) return impose_step(drive, info, free, 0, 0);
  const std::size_t place = (k - base) / each(), node = nodes[place];
  const Probe probe = probe_of(info, free, node, size);
  return impose_step(drive, info, free, node,
                     k == perturbation_at(has_base(), each(), place, 0) ? probe.first : probe.second);
}

std::unique_ptr<const PerturbationPlan> MeasuredJacobian::costate_plan(const DeviceInfo& info,
                                                                       const Minibatch& batch,
                                                                       const Loss&) const {
  constexpr double most = 1e9;
  const double bytes =
      tracks() ? TrackedJacobians::bytes(batch.data->size(), answers(info), info.free().size()) : 0;
  if (bytes > most) {
    throw std::invalid_argument(
        std::string(name()) + ": to remember the Jacobians of " + std::to_string(batch.data->size()) +
        " samples takes " + number_text(bytes / 1e9) +
        " GB; at most 1 GB is used (measure_every = 0 measures at every step and remembers nothing)");
  }
  return std::make_unique<ProbePlan>(*this, info, batch);
}

// ---- results of the perturbations ----------------------------------------------------------------------

// The Jacobian column of the node at `place` of the layout; `of` computes the answer from a relaxation and
// its readings.
template <typename Answer>
Vector MeasuredJacobian::slope(const DeviceInfo& info, const Sample& sample, std::size_t place,
                               std::size_t node, double size, const Answer& of, double* weight) const {
  const Probe::Weights w = probe_of(info, *sample.free, node, size).weights();
  if (weight != nullptr) *weight = w.norm();
  const auto perturbation = [&](std::size_t k) { return of(*sample.perturbations[k], sample.potential[k]); };
  Vector sum = w.first * perturbation(perturbation_at(has_base(), each(), place, 0));
  if (w.second != 0) sum += w.second * perturbation(perturbation_at(has_base(), each(), place, 1));
  if (w.base != 0) sum += w.base * (has_base() ? perturbation(0) : of(*sample.free, sample.free->potential));
  return sum;
}

Matrix MeasuredJacobian::all_potentials(const DeviceInfo& info, const Sample& sample) const {
  const auto n = static_cast<Eigen::Index>(info.free().size());
  Matrix all(sample.free->potential.size(), n);
  for (Eigen::Index k = 0; k < n; ++k) {
    const auto node = static_cast<std::size_t>(k);
    all.col(k) = slope(info, sample, node, node, probe_size(sample.lost),
                       [](const Relaxation&, const Vector& potential) -> const Vector& { return potential; });
  }
  return all;
}

MeasuredJacobian::Visit MeasuredJacobian::visit(const DeviceInfo& info, const Minibatch& batch,
                                                const Sample& sample) const {
  const std::uint64_t number = batch.samples[sample.index];
  const Layout at = layout(info, number);
  const auto n = static_cast<Eigen::Index>(info.free().size());
  const auto column = [&](std::size_t place, double* weight = nullptr) {
    return slope(
        info, sample, place, at.nodes[place], probe_size(sample.lost),
        [&](const Relaxation& row, const Vector& potential) { return answer(info, row, potential); }, weight);
  };
  // Of the entries of a column.
  const auto variance = [&](std::size_t place) {
    const Probe::Weights w = probe_of(info, *sample.free, at.nodes[place], probe_size(sample.lost)).weights();
    return w.norm() * w.norm() * answer_variance(info, *sample.perturbations[has_base() ? 1 : 0]);
  };
  Visit visit;
  if (at.full) {
    visit.known.response.resize(static_cast<Eigen::Index>(answers(info)), n);
    for (std::size_t k = 0; k < at.nodes.size(); ++k)
      visit.known.response.col(static_cast<Eigen::Index>(k)) = column(k);
    if (const KnownJacobian* before = tracks() ? tracked_.find(number) : nullptr)
      visit.known.next = before->next;
    if (tracks()) {
      Vector variances(n);
      for (std::size_t k = 0; k < at.nodes.size(); ++k) variances[static_cast<Eigen::Index>(k)] = variance(k);
      if (variances.allFinite()) visit.known.variance = std::move(variances);
    }
    return visit;
  }
  visit.full = visit.moved = false;
  KnownJacobian& known = visit.known = *tracked_.find(number);
  ++known.age;
  const Vector errors = std::sqrt(2.0) * reading_errors(*sample.free),
               shift = sample.free->potential - known.potential;
  if (model() != nullptr && known.currents.size() == n && shift.norm() > shift_errors * errors.norm()) {
    // A change of the parameters changed the currents at the old state; injecting the opposite current would
    // have had the same effect.
    const Vector equivalent =
        known.currents - model()->currents(batch.free_drive(sample.index), known.potential);
    const Shift found = shift_of(info, known.response, shift, equivalent, errors);
    if (found.input.allFinite() && found.answer.allFinite()) {
      known.due =
          known.correct(found.input, found.answer, found.error,
                        found.error * found.error / static_cast<double>(answers(info)), options_.reset);
      visit.moved = true;
    }
  }
  for (std::size_t k = 0; k < at.nodes.size(); ++k) {
    double weight = 0;
    const Vector found = column(k, &weight),
                 error = answer_error(info, *sample.perturbations[has_base() ? 1 : 0]);
    known.due = known.correct(Vector::Unit(n, static_cast<Eigen::Index>(at.nodes[k])), found,
                              weight * error.norm(), variance(k), options_.reset) ||
                known.due;
  }
  known.next = (known.next + at.nodes.size()) % static_cast<std::size_t>(n);
  return visit;
}

Vector MeasuredJacobian::costate(const DeviceInfo& info, const Minibatch& batch, const Sample& sample,
                                 const Vector& c, double& asymmetry) const {
  const Visit found = visit(info, batch, sample);
  if (!found.known.response.allFinite()) return Vector::Constant(c.size(), nan);
  if (found.full) asymmetry = asymmetry_of(info, sample, found.known.response);
  return solved(info, found.known.response, c);
}

// What is remembered is redrawn within its own errors, which hold those of this visit's probes; the readings
// of this visit are redrawn where the costate is computed and contracted.
Vector MeasuredJacobian::redrawn_costate(const DeviceInfo& info, const Minibatch& batch, const Sample& was,
                                         const Sample& now, const Vector& c,
                                         const std::function<double()>& normal) const {
  if (!tracks()) return CostateEstimator::redrawn_costate(info, batch, was, now, c, normal);
  Visit found = visit(info, batch, was);
  Matrix& response = found.known.response;
  for (Eigen::Index j = 0; j < response.cols(); ++j) {
    const double error = found.known.variance.size() > 0 ? std::sqrt(found.known.variance[j]) : nan;
    for (Eigen::Index i = 0; i < response.rows(); ++i) response(i, j) += error * normal();
  }
  return response.allFinite() ? solved(info, response, c) : Vector::Constant(c.size(), nan);
}

void MeasuredJacobian::for_steps(
    const DeviceInfo& info, const Minibatch& batch, const Sample& sample,
    const std::function<void(std::size_t k, std::size_t node, double step)>& of) const {
  const Layout at = layout(info, batch.samples[sample.index]);
  for (std::size_t place = 0; place < at.nodes.size(); ++place) {
    const Probe probe = probe_of(info, *sample.free, at.nodes[place], probe_size(sample.lost));
    for (std::size_t which = 0; which < each(); ++which)
      of(perturbation_at(has_base(), each(), place, which), at.nodes[place],
         which == 0 ? probe.first : probe.second);
  }
}

void MeasuredJacobian::remember(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                                std::span<const std::vector<Relaxation>> rows) {
  if (!tracks()) return;
  const std::unique_ptr<const PerturbationPlan> layout = plan(info, batch, loss);
  const SortedRows sorted = sort_rows(info, batch, *layout, rows);
  for (const std::optional<Sample>& sample : sorted.samples) {
    if (!sample) continue;
    Visit found = visit(info, batch, *sample);
    if (!found.known.response.allFinite()) continue;
    if (found.moved) {
      found.known.potential = sample->free->potential;
      if (model() != nullptr)
        found.known.currents = model()->currents(batch.free_drive(sample->index), found.known.potential);
    }
    tracked_.store(batch.samples[sample->index], std::move(found.known));
  }
}

Vector MeasuredJacobian::state() const {
  if (options_.probe > 0 && !tracks()) return {};
  const Vector known = tracked_.pack();
  Vector numbers(1 + known.size());
  numbers << chosen_, known;
  return numbers;
}

void MeasuredJacobian::restore(const Vector& state) {
  if (options_.probe > 0 && !tracks()) return Estimator::restore(state);
  const bool automatic = options_.probe == 0;
  if (state.size() == 0 || !(state[0] >= 0) || std::isinf(state[0]) ||
      (!automatic && state[0] != options_.probe) || (!tracks() && state.size() > 1)) {
    throw std::invalid_argument(std::string(name()) + ": " + std::to_string(state.size()) +
                                " numbers are no state of it: expected the probe" +
                                (automatic ? "" : " (" + number_text(options_.probe) + ")") +
                                (tracks() ? ", and the Jacobians remembered" : " alone"));
  }
  tracked_.unpack(state.tail(state.size() - 1), name());
  chosen_ = state[0];
}

// ---- the size of the probe ------------------------------------------------------------------------------

// Chooses the probe: measures a few samples in full with probes of two sizes, and balances noise against
// curvature.
class MeasuredJacobian::ProbeChoice {
 public:
  ProbeChoice(const MeasuredJacobian& estimator, Device& device, const DeviceInfo& info,
              const Minibatch& batch, std::stop_token stop)
      : estimator_(estimator),
        device_(device),
        info_(info),
        batch_(batch),
        stop_(std::move(stop)),
        restores_(info.restores_state && info.reads_every_free_potential()),
        samples_(std::min<std::size_t>(3, batch.samples.size())) {}

  double size() {
    constexpr double first = 0.1, least = 1e-6;  // units of current, or kT
    constexpr int tries = 8;
    const int order = estimator_.options_.central ? 2 : 1;
    const double noise = noise_at_1();
    double h = first, chosen = first;
    for (int attempt = 0; attempt < tries; ++attempt) {
      reach_ = 0;
      const Vector at_h = slopes(h), at_2h = at_h.size() > 0 ? slopes(2 * h) : Vector();
      if (at_2h.size() == 0) {  // over a fold, or out of reach
        chosen = h /= 4;
        continue;
      }
      // A step that moves potentials by more than 1 kT is too large in any case.
      const double most = 1 / reach_;
      if (2 * h > 2 * most) {
        chosen = h = most / 4;
        continue;
      }
      chosen = best_perturbation_size(at_h, at_2h, h, noise, order, least, most);
      // Expected norm of the difference from noise alone.
      const double scatter = noise * std::sqrt(1.25) / h;
      const bool curvature_seen = (at_2h - at_h).norm() > 2 * scatter;
      if ((curvature_seen && chosen <= 2 * h) || 4 * h > most) break;
      h *= 2;
    }
    return chosen;
  }
  std::uint64_t relaxations = 0;

 private:
  std::optional<std::vector<Relaxation>> relaxed(const std::vector<Drive>& drives) {
    std::vector<Relaxation> rows;
    device_.relax(
        drives,
        [&](std::size_t, const Relaxation& row) {
          ++relaxations;
          rows.push_back(row);
        },
        stop_);
    for (std::size_t k = 0; k < rows.size(); ++k) {
      const bool moved = !std::holds_alternative<Rest>(drives[k].start) &&
                         (rows[k].quality.all() & bit(Flag::other_branch)) != 0;
      if (!rows[k].quality.usable() || moved) return std::nullopt;
    }
    return rows;
  }

  Drive free_drive(std::size_t i) const {
    Drive drive = batch_.free_drive(i);
    drive.label.purpose = Label::Purpose::probe;
    return drive;
  }
  Drive perturbation_drive(std::size_t i, const Relaxation& free) const {
    Drive drive = free_drive(i);
    drive.start = Present{};
    if (restores_) drive.start = From{std::make_shared<const Vector>(free.potential)};
    return drive;
  }

  // The norm of the errors of all Jacobian entries at probe size 1.
  double noise_at_1() {
    constexpr std::size_t again = 4;
    double squares = 0;
    const auto n = static_cast<double>(info_.free().size());
    for (std::size_t i = 0; i < samples_; ++i) {
      const auto free = relaxed({free_drive(i)});
      if (!free) continue;
      const auto quiet = [&](std::size_t times) {
        Drive drive = perturbation_drive(i, free->front());
        const bool possible = estimator_.impose_step(drive, info_, free->front(), 0, 0);
        return possible ? relaxed(std::vector<Drive>(times, drive)) : std::nullopt;
      };
      const auto one = quiet(1);
      if (!one) continue;
      const Vector known = estimator_.answer_error(info_, one->front());
      if (known.size() > 0 || info_.deterministic) {
        squares += n * known.squaredNorm();
        continue;
      }
      const auto several = quiet(again);
      if (!several) continue;
      Vector sum = Vector::Zero(static_cast<Eigen::Index>(estimator_.answers(info_))), sum_of_squares = sum;
      for (const Relaxation& row : *several) {
        const Vector found = estimator_.answer(info_, row, row.potential);
        sum += found;
        sum_of_squares += found.cwiseAbs2();
      }
      squares += n * (sum_of_squares - sum.cwiseAbs2() / again).sum() / (again - 1);
    }
    const Probe unit{1, -1, estimator_.options_.central ? Probe::Kind::pair : Probe::Kind::one_sided};
    return unit.weights().norm() * std::sqrt(squares);
  }

  // The measured responses of the samples, concatenated; empty if any measurement failed.
  Vector slopes(double size) {
    Vector all(0);
    std::vector<std::size_t> nodes(info_.free().size());
    std::iota(nodes.begin(), nodes.end(), std::size_t{0});
    const auto answer = [&](const Relaxation& row, const Vector& potential) {
      return estimator_.answer(info_, row, potential);
    };
    for (std::size_t i = 0; i < samples_; ++i) {
      const auto free = relaxed({free_drive(i)});
      if (!free) return {};
      Sample sample;
      sample.free = &free->front();
      std::vector<Drive> drives;
      for (std::size_t k = 0; k < static_cast<std::size_t>(estimator_.perturbations_of(nodes.size())); ++k) {
        drives.push_back(perturbation_drive(i, free->front()));
        if (!estimator_.impose_perturbation(drives.back(), info_, free->front(), nodes, k, size)) return {};
      }
      const auto rows = relaxed(drives);
      if (!rows) return {};
      for (const Relaxation& row : *rows) {
        sample.perturbations.push_back(&row);
        sample.potential.push_back(row.potential);
        reach_ = std::max(reach_, (row.potential - free->front().potential).cwiseAbs().maxCoeff() / size);
      }
      for (const std::size_t node : nodes) {
        const Vector column = estimator_.slope(info_, sample, node, node, size, answer);
        all.conservativeResize(all.size() + column.size());
        all.tail(column.size()) = column;
      }
    }
    return all.allFinite() ? all : Vector();
  }

  const MeasuredJacobian& estimator_;
  Device& device_;
  const DeviceInfo& info_;
  const Minibatch& batch_;
  std::stop_token stop_;
  bool restores_;
  std::size_t samples_;
  double reach_ = 0;  // largest shift of a potential per unit step
};

std::uint64_t MeasuredJacobian::prepare(Device& device, const DeviceInfo& info, const Minibatch& batch,
                                        const Loss&, std::stop_token stop) {
  if (options_.probe > 0) return 0;
  ProbeChoice choice(*this, device, info, batch, std::move(stop));
  chosen_ = choice.size();
  return choice.relaxations;
}

}  // namespace ness
