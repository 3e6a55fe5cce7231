#include <bit>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <utility>

#include "estimators/estimator_rows.hpp"
#include "estimators/perturbed_relaxations.hpp"
#include "estimators/gradient_sum.hpp"
#include "ness/device/number_text.hpp"
#include "estimators/parameter_steps.hpp"
#include "estimators/swings.hpp"

namespace ness {
namespace {

// Half a code period: codes come in pairs, a code and its negative. Parameter q has row half + q of the
// Hadamard matrix of order 2 half. All these rows are odd under exchange of the halves, so the product of two
// of them is even and not the code of any parameter: effects of second order in the steps cancel. Products of
// three are odd again and alias, so the error is of the order of step^2.
std::size_t half_period(std::size_t parameters) {
  return std::bit_ceil(std::max<std::size_t>(parameters, 1));
}

// Perturbation k of the period belongs to pair k / 2. The order within the pairs follows the Thue-Morse
// sequence: a drift linear over the period then looks like the row of all ones, which is used only if the
// parameters fill the period.
bool negative(std::size_t k) { return (k % 2 + static_cast<std::size_t>(std::popcount(k / 2))) % 2 == 1; }

// Code of parameter q in perturbation k: true for up.
bool up(std::size_t q, std::size_t k) { return (std::popcount(q & (k / 2)) % 2 == 1) == negative(k); }

// Fast Walsh-Hadamard transform in natural order.
void transform(Vector& x) {
  for (Eigen::Index width = 1; width < x.size(); width *= 2) {
    for (Eigen::Index block = 0; block < x.size(); block += 2 * width) {
      for (Eigen::Index i = block; i < block + width; ++i) {
        const double a = x[i], b = x[i + width];
        x[i] = a + b;
        x[i + width] = a - b;
      }
    }
  }
}

class Walsh final : public PerturbationEstimator {
 public:
  explicit Walsh(const WalshOptions& options)
      : PerturbationEstimator("walsh", options.perturbations), options_(options) {
    if (!(options.step > 0) || std::isinf(options.step))
      throw std::invalid_argument("walsh: step " + number_text(options.step) + "; it must be finite and > 0");
  }

  std::string_view name() const override { return "walsh"; }

  std::string unmet_needs(const DeviceInfo& info) const override {
    constexpr std::size_t longest = 65536;
    const std::size_t parameters = trainable_parameters(info).size(), period = 2 * half_period(parameters);
    if (period > longest) {
      return std::to_string(parameters) + " trainable parameters need a code period of " +
             std::to_string(period) + " relaxations a sample; at most " + std::to_string(longest) +
             " are made";
    }
    return unmet_by_outputs(info);
  }

  double cost(const DeviceInfo& info) const override {
    return relaxations(info, 2.0 * static_cast<double>(half_period(trainable_parameters(info).size())));
  }

  Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) const override {
    const std::vector<Swing> all = swings_of(info, batch);
    GradientSum total(info, batch, loss, rows);
    const std::unique_ptr<const PerturbationPlan> layout = plan(info, batch, loss);
    const SortedRows sorted = sort_rows(info, batch, *layout, rows);
    total.lose(sorted.lost);
    const std::size_t half = half_period(trainable_parameters(info).size());
    Vector differences = Vector::Zero(static_cast<Eigen::Index>(half));  // of the pairs, summed over samples
    std::vector<const Sample*> used;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (!sorted.samples[i]) {
        total.leave_out(i);
        continue;
      }
      const Sample& sample = *sorted.samples[i];
      for (std::size_t k = 0; k < 2 * half; ++k) {
        const double here = total.loss_of(i, sample.potential[k]);
        differences[static_cast<Eigen::Index>(k / 2)] += negative(k) ? -here : here;
      }
      used.push_back(&sample);
      total.use(i);
    }
    transform(differences);
    Vector sum = Vector::Zero(static_cast<Eigen::Index>(info.parameters.size()));
    for (std::size_t q = 0; q < all.size() && !used.empty(); ++q) {
      sum[all[q].parameter] =
          all[q].slope(differences[static_cast<Eigen::Index>(q)] / correlated(all[q], q, used, half));
    }
    return total.finish(std::move(sum));
  }

 private:
  bool starts_afresh() const override { return true; }

  std::vector<Swing> swings_of(const DeviceInfo& info, const Minibatch& batch) const {
    return swings("walsh", info, batch.theta.values(), options_.step);
  }

  // Correlation of the parameter's coordinate with its code, per sample; with readback, the steps achieved
  // are used.
  static double correlated(const Swing& swing, std::size_t q, const std::vector<const Sample*>& used,
                           std::size_t half) {
    const double asked =
        static_cast<double>(half) * (swing.coordinate(swing.up) - swing.coordinate(swing.down));
    bool read = false;
    for (const Sample* sample : used) {
      for (const Relaxation* row : sample->perturbations) read = read || row->theta_readback.size() > 0;
    }
    if (!read) return asked;
    double sum = 0;
    for (const Sample* sample : used) {
      for (std::size_t k = 0; k < 2 * half; ++k) {
        const bool is_up = up(q, k);
        const double w = swing.achieved(*sample->perturbations[k], is_up ? swing.up : swing.down);
        sum += is_up ? w : -w;
      }
    }
    // The source did not move: use the requested step.
    return sum > 0 ? sum / static_cast<double>(used.size()) : asked;
  }

  class CodePlan final : public PerturbationPlan {
   public:
    CodePlan(Parameters theta, std::vector<Swing> all, std::size_t half)
        : theta_(std::move(theta)), all_(std::move(all)), half_(half) {}
    std::size_t perturbations(std::size_t) const override { return 2 * half_; }
    bool impose(Drive& drive, std::size_t, std::size_t k, const ChainSoFar&) const override {
      // In parallel chains, all samples request the same perturbation one after another.
      if (last_ != k) {
        std::vector<std::pair<std::uint32_t, double>> changes;
        changes.reserve(all_.size());
        for (std::size_t q = 0; q < all_.size(); ++q)
          changes.emplace_back(all_[q].parameter, up(q, k) ? all_[q].up : all_[q].down);
        perturbed_ = with_all(theta_, std::move(changes));
        last_ = k;
      }
      drive.theta = perturbed_;
      return true;
    }

   private:
    Parameters theta_;
    std::vector<Swing> all_;
    std::size_t half_;
    mutable std::optional<std::size_t> last_;
    mutable Parameters perturbed_;
  };
  std::unique_ptr<const PerturbationPlan> plan(const DeviceInfo& info, const Minibatch& batch,
                                               const Loss&) const override {
    return std::make_unique<CodePlan>(batch.theta, swings_of(info, batch),
                                      half_period(trainable_parameters(info).size()));
  }

  WalshOptions options_;
};

}  // namespace

std::unique_ptr<Estimator> walsh(const WalshOptions& options) { return std::make_unique<Walsh>(options); }

EstimatorMaker read_walsh(Keys& keys) {
  WalshOptions options;
  keys.number("step", options.step, Number::positive,
              {"its scale",
               "step of all parameters at once: absolute on a linear scale, relative on a logarithmic one"});
  read_perturbations(keys, options.perturbations);
  return [options](const EstimatorContext&) { return walsh(options); };
}

}  // namespace ness
