#include "estimators/costate_estimator.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "ness/device/number_text.hpp"
#include "estimators/parameter_steps.hpp"

namespace ness {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

std::vector<ParameterStep> law_steps(const DeviceInfo& info, const Parameters& theta,
                                     const CurrentLawOptions& law) {
  std::vector<ParameterStep> steps;
  for (const std::uint32_t p : trainable_parameters(info))
    steps.push_back(
        parameter_step("measured dI/dtheta", info.parameters[p], p, theta[p], law.step, law.central));
  return steps;
}

std::size_t law_perturbations(const DeviceInfo& info, const CurrentLawOptions& law) {
  return law.measured ? 1 + (law.central ? 2 : 1) * trainable_parameters(info).size() : 0;
}

// The perturbations of an estimator, followed by the held steps that measure dI/dtheta.
class WithLaw final : public PerturbationPlan {
 public:
  WithLaw(std::unique_ptr<const PerturbationPlan> own, const DeviceInfo& info, const Minibatch& batch,
          const CurrentLawOptions& law)
      : own_(std::move(own)), free_(info.free()) {
    if (!law.measured) return;
    steps_ = law_steps(info, batch.theta, law);
    each_ = law.central ? 2 : 1;
    held_ = law_perturbations(info, law);
  }
  std::size_t perturbations(std::size_t sample) const override { return own_->perturbations(sample) + held_; }
  bool impose(Drive& drive, std::size_t sample, std::size_t k, const ChainSoFar& so_far) const override {
    const std::size_t own = own_->perturbations(sample);
    if (k < own) return own_->impose(drive, sample, k, so_far);
    for (std::size_t n = 0; n < free_.size(); ++n)
      drive.holds.push_back({free_[n], so_far.free->potential[static_cast<Eigen::Index>(n)]});
    if (k == own) return true;
    const ParameterStep& step = steps_[(k - own - 1) / each_];
    drive.theta = drive.theta.with(step.parameter, (k - own - 1) % each_ == 0 ? step.first : step.second);
    return true;
  }

 private:
  std::unique_ptr<const PerturbationPlan> own_;
  std::vector<std::uint32_t> free_;
  std::vector<ParameterStep> steps_;
  std::size_t each_ = 1, held_ = 0;
};

// -costate^T dI/dtheta from the holding currents of a sample's last perturbations.
Vector measured_gradient(const DeviceInfo& info, const Minibatch& batch, const CurrentLawOptions& law,
                         const Sample& sample, const Vector& costate) {
  const std::vector<ParameterStep> steps = law_steps(info, batch.theta, law);
  const std::size_t each = law.central ? 2 : 1,
                    base = sample.perturbations.size() - law_perturbations(info, law);
  const std::vector<std::uint32_t> free = info.free();
  const auto pull = [&](std::size_t k) {
    double sum = 0;
    for (std::size_t n = 0; n < free.size(); ++n)
      sum += costate[static_cast<Eigen::Index>(n)] * sample.perturbations[k]->current[free[n]];
    return sum;
  };
  Vector gradient = Vector::Zero(static_cast<Eigen::Index>(info.parameters.size()));
  const double at_base = pull(base);
  for (std::size_t s = 0; s < steps.size(); ++s) {
    const std::size_t first = base + 1 + s * each, second = first + each - 1;
    const ParameterStep& step = steps[s];
    const ParameterStep done = achieved(step, *sample.perturbations[base], *sample.perturbations[first],
                                        *sample.perturbations[second]);
    gradient[step.parameter] = -done.slope(at_base, pull(first), pull(second));
  }
  return gradient;
}

bool currents_read(const DeviceInfo& info, const Sample& sample, std::size_t last) {
  const std::vector<std::uint32_t> free = info.free();
  for (std::size_t k = sample.perturbations.size() - last; k < sample.perturbations.size(); ++k) {
    const Vector& current = sample.perturbations[k]->current;
    if (static_cast<std::size_t>(current.size()) != info.terminals.size()) return false;
    for (const std::uint32_t terminal : free) {
      if (!std::isfinite(current[terminal])) return false;
    }
  }
  return true;
}

}  // namespace

CostateEstimator::CostateEstimator(std::string name, std::shared_ptr<const Model> model,
                                   const PerturbationOptions& perturbations, const CurrentLawOptions& law,
                                   bool model_needed)
    : PerturbationEstimator(name, perturbations),
      name_(std::move(name)),
      model_(std::move(model)),
      law_(law) {
  if (!model_ && (model_needed || !law.measured)) throw std::invalid_argument(name_ + ": no model is given");
  if (!(law.step > 0) || std::isinf(law.step))
    throw std::invalid_argument(name_ + ": step of the measured dI/dtheta " + number_text(law.step) +
                                "; it must be finite and > 0");
}

std::string CostateEstimator::unmet_needs(const DeviceInfo& info) const {
  std::string unmet = model_ ? unmet_by_model(info, *model_) : unmet_by_readings(info);
  if (unmet.empty() && law_.measured) unmet = unmet_by_holding(info);
  return unmet.empty() ? unmet_by_costate(info) : unmet;
}

double CostateEstimator::cost(const DeviceInfo& info) const {
  return cost_with(info, costate_perturbations(info));
}

double CostateEstimator::cost_with(const DeviceInfo& info, double costate_perturbations) const {
  return relaxations(info, costate_perturbations + static_cast<double>(law_perturbations(info, law_)));
}

std::unique_ptr<const PerturbationPlan> CostateEstimator::plan(const DeviceInfo& info, const Minibatch& batch,
                                                               const Loss& loss) const {
  return std::make_unique<WithLaw>(costate_plan(info, batch, loss), info, batch, law_);
}

CostateEstimator::Probed CostateEstimator::probe(Device& device, const DeviceInfo& info,
                                                 const Minibatch& batch, const Loss& loss,
                                                 std::stop_token stop) const {
  const std::shared_ptr<const PerturbationPlan> own = costate_plan(info, batch, loss);
  std::vector<Chain> chains = chains_of(own, info, batch);
  for (Chain& chain : chains) {
    chain = [inner = std::move(chain)](std::span<const Relaxation> so_far) {
      std::optional<Drive> drive = inner(so_far);
      if (drive) drive->label.purpose = Label::Purpose::probe;
      return drive;
    };
  }
  const std::vector<std::vector<Relaxation>> rows = relax_chains(device, chains, stop);
  const SortedRows sorted = sort_rows(info, batch, *own, rows);
  Probed probed;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    probed.relaxations += rows[i].size();
    std::optional<Vector>& found = probed.costates.emplace_back();
    if (!sorted.samples[i]) continue;
    double asymmetry = nan;
    found = costate(info, batch, *sorted.samples[i],
                    cotangent(info, batch, loss, i, *sorted.samples[i]->free), asymmetry);
    if (!found->allFinite()) found.reset();
  }
  return probed;
}

Gradient CostateEstimator::form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                                std::span<const std::vector<Relaxation>> rows) const {
  return form_with(info, batch, loss, rows,
                   [&](std::size_t, const Sample& sample, const Vector& c, double& asymmetry) {
                     return costate(info, batch, sample, c, asymmetry);
                   });
}

Gradient CostateEstimator::form_with(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                                     std::span<const std::vector<Relaxation>> rows,
                                     const CostateOf& of) const {
  GradientSum total(info, batch, loss, rows);
  const std::unique_ptr<const PerturbationPlan> layout = plan(info, batch, loss);
  const SortedRows sorted = sort_rows(info, batch, *layout, rows);
  total.lose(sorted.lost);
  Contraction parts;
  std::vector<Vector> measured;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::optional<Sample>& sample = sorted.samples[i];
    if (!sample || (law_.measured && !currents_read(info, *sample, law_perturbations(info, law_)))) {
      total.leave_out(i);
      continue;
    }
    double asymmetry = nan;
    Vector found = of(i, *sample, cotangent(info, batch, loss, i, *sample->free), asymmetry);
    if (std::isfinite(asymmetry)) total.asymmetry(asymmetry);
    if (law_.measured) measured.push_back(measured_gradient(info, batch, law_, *sample, found));
    parts.add(batch, i, *sample->free);
    parts.costates.push_back(std::move(found));
  }
  if (!law_.measured) return contracted(*model_, std::move(total), std::move(parts), info.parameters.size());
  Vector sum = Vector::Zero(static_cast<Eigen::Index>(info.parameters.size()));
  for (std::size_t k = 0; k < measured.size(); ++k) {
    if (!measured[k].allFinite()) {
      total.leave_out(parts.samples[k]);
      continue;
    }
    total.use(parts.samples[k]);
    sum += measured[k];
  }
  return total.finish(std::move(sum));
}

Vector CostateEstimator::redrawn_costate(const DeviceInfo& info, const Minibatch& batch, const Sample&,
                                         const Sample& now, const Vector& cotangent,
                                         const std::function<double()>&) const {
  double asymmetry = nan;
  return costate(info, batch, now, cotangent, asymmetry);
}

// Redrawn rows answer to the nudges and levels that would have been computed from them.
class CostateEstimator::Redrawn final : public ReadingErrors {
 public:
  Redrawn(const CostateEstimator& estimator, const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
          std::span<const std::vector<Relaxation>> rows)
      : estimator_(estimator),
        info_(info),
        batch_(batch),
        loss_(loss),
        rows_(rows),
        was_(estimator.sort_rows(info, batch, *estimator.plan(info, batch, loss), rows)) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto& sample = was_.samples[i];
      responses_.push_back(
          sample ? std::make_unique<Response>(estimator.model(), batch.free_drive(i), sample->free->potential)
                 : nullptr);
    }
  }

  /// True if every current that the gradient is computed from has a known error.
  bool known() const {
    const bool law = estimator_.law_.measured, all = law || estimator_.reads_currents(info_);
    const std::size_t held = law_perturbations(info_, estimator_.law_);
    for (std::size_t i = 0; i < rows_.size() && all; ++i) {
      if (!was_.samples[i]) continue;
      const auto& perturbations = was_.samples[i]->perturbations;
      const std::size_t first = estimator_.reads_currents(info_) ? 0 : perturbations.size() - held;
      for (std::size_t k = first; k < perturbations.size(); ++k) {
        const Relaxation& row = *perturbations[k];
        for (const std::uint32_t t : info_.free()) {  // read while they are held
          const auto at = static_cast<Eigen::Index>(t);
          if (row.current.size() > at && std::isfinite(row.current[at]) &&
              !(row.current_sigma.size() > at && std::isfinite(row.current_sigma[at])))
            return false;
        }
      }
    }
    return true;
  }

  Gradient form(std::vector<std::vector<Relaxation>> redrawn,
                const std::function<double()>& normal) const override {
    for (std::size_t i = 0; i < redrawn.size(); ++i) {
      if (!was_.samples[i]) continue;
      const Sample& was = *was_.samples[i];
      const auto same = [&](const Relaxation* row) {
        return &redrawn[i][static_cast<std::size_t>(row - rows_[i].data())];
      };
      RedrawnSample now;
      now.free = same(was.free);
      for (const Relaxation* row : was.perturbations) now.perturbations.push_back(same(row));
      estimator_.follow(info_, batch_, loss_, was, now, *responses_[i]);
    }
    return estimator_.form_with(
        info_, batch_, loss_, redrawn, [&](std::size_t i, const Sample& now, const Vector& c, double&) {
          return was_.samples[i] ? estimator_.redrawn_costate(info_, batch_, *was_.samples[i], now, c, normal)
                                 : Vector::Constant(c.size(), nan);
        });
  }

 private:
  const CostateEstimator& estimator_;
  const DeviceInfo& info_;
  const Minibatch& batch_;
  const Loss& loss_;
  std::span<const std::vector<Relaxation>> rows_;
  SortedRows was_;
  std::vector<std::unique_ptr<Response>> responses_;
};

std::unique_ptr<const ReadingErrors> CostateEstimator::errors_of_readings(
    const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
    std::span<const std::vector<Relaxation>> rows) const {
  auto errors = std::make_unique<Redrawn>(*this, info, batch, loss, rows);
  if (!errors->known()) return nullptr;
  return errors;
}

Response::Response(const Model* model, Drive drive, const Vector& potential)
    : model_(model), drive_(std::move(drive)), potential_(potential) {}

Response::~Response() = default;

std::string Response::limit(std::size_t free_nodes) {
  if (free_nodes <= most_nodes) return {};
  return "with " + std::to_string(free_nodes) + " free nodes (more than " + std::to_string(most_nodes) +
         ") what errors of the readings do to what is imposed is not computed";
}

const Matrix& Response::conductance() const {
  if (!conductance_) conductance_ = model_->conductance(drive_, potential_);
  return *conductance_;
}

Vector Response::shift(const Vector& current) const {
  if (model_ == nullptr || model_->free_nodes() > most_nodes) return {};
  if (!lu_) lu_ = std::make_unique<DenseLu>(Matrix(-conductance()));
  if (!lu_->solvable()) return {};
  Vector shift;
  lu_->solve(current, shift);
  return shift;
}

Nudging::Nudging(const DeviceInfo& info) : positions_(info.output_positions()) {
  const std::vector<std::uint32_t> nudgeable = info.nudgeable();
  size_ = static_cast<Eigen::Index>(nudgeable.size());
  for (const std::uint32_t output : info.outputs) {
    places_.push_back(std::find(nudgeable.begin(), nudgeable.end(), output) - nudgeable.begin());
    ranges_.push_back(info.terminals[output].nudge);
  }
}

double Nudging::beta(double wanted, const Vector& c) const {
  double largest = wanted;
  for (std::size_t k = 0; k < ranges_.size(); ++k) {
    const double room = std::min(-ranges_[k].low, ranges_[k].high), pull = std::abs(c[positions_[k]]);
    if (largest * pull > room) largest = room / pull;
  }
  return largest;
}

Vector Nudging::currents(double sign, double wanted, const Vector& c) const {
  const double strength = beta(wanted, c);
  Vector u = Vector::Zero(size_);
  for (std::size_t k = 0; k < places_.size(); ++k) {
    // room / pull * pull may exceed room by rounding.
    u[places_[k]] = std::clamp(sign * strength * c[positions_[k]], ranges_[k].low, ranges_[k].high);
  }
  return u;
}

Vector Nudging::at_free(double sign, double wanted, const Vector& c) const {
  const Vector nudge = currents(sign, wanted, c);
  Vector u = Vector::Zero(c.size());
  for (std::size_t k = 0; k < places_.size(); ++k) u[positions_[k]] = nudge[places_[k]];
  return u;
}

std::string unmet_by_nudging(const DeviceInfo& info, std::uint32_t at) {
  const Terminal& terminal = info.terminals[at];
  const bool output = std::find(info.outputs.begin(), info.outputs.end(), at) != info.outputs.end();
  const std::string who =
      (output ? "output terminal " : "terminal ") + std::to_string(at) + " (" + terminal.name + ")";
  if (terminal.nudge.empty()) return who + " cannot be nudged";
  if (!(terminal.nudge.low < 0 && terminal.nudge.high > 0))
    return who + " can be nudged one way only; both signs are needed";
  return {};
}

std::string unmet_by_nudging(const DeviceInfo& info) {
  for (const std::uint32_t output : info.outputs) {
    if (std::string unmet = unmet_by_nudging(info, output); !unmet.empty()) return unmet;
  }
  return {};
}

Vector cotangent(const DeviceInfo& info, const Minibatch& batch, const Loss& loss, std::size_t sample,
                 const Relaxation& free) {
  const std::vector<std::uint32_t> positions = info.output_positions();
  Vector outputs(static_cast<Eigen::Index>(positions.size())), at_outputs;
  for (std::size_t k = 0; k < positions.size(); ++k)
    outputs[static_cast<Eigen::Index>(k)] = free.potential[positions[k]];
  loss.value(outputs, batch.target(sample), &at_outputs);
  Vector everywhere = Vector::Zero(free.potential.size());
  for (std::size_t k = 0; k < positions.size(); ++k)
    everywhere[positions[k]] = at_outputs[static_cast<Eigen::Index>(k)];
  return everywhere;
}

}  // namespace ness
