#include <algorithm>
#include <stdexcept>
#include <utility>

#include "estimators/estimator_rows.hpp"
#include "estimators/gradient_sum.hpp"
#include "ness/device/parallel.hpp"

namespace ness {
namespace {

class Adjoint final : public Estimator {
 public:
  explicit Adjoint(std::shared_ptr<const Model> model) : model_(std::move(model)) {
    if (!model_) throw std::invalid_argument("adjoint: no model is given");
  }
  std::string_view name() const override { return "adjoint"; }
  std::string unmet_needs(const DeviceInfo& info) const override { return unmet_by_model(info, *model_); }
  double cost(const DeviceInfo&) const override { return 1; }

  std::vector<Chain> chains(const DeviceInfo&, const Minibatch& batch, const Loss&) const override {
    std::vector<Chain> all;
    all.reserve(batch.samples.size());
    for (std::size_t i = 0; i < batch.samples.size(); ++i) {
      all.emplace_back([&batch, i](std::span<const Relaxation> so_far) -> std::optional<Drive> {
        if (!so_far.empty()) return std::nullopt;
        return batch.free_drive(i);
      });
    }
    return all;
  }

  Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) const override {
    GradientSum total(info, batch, loss, rows);
    Contraction parts;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (rows[i][0].quality.usable()) parts.samples.push_back(i);
      else total.leave_out(i);
    }
    const std::size_t n = parts.samples.size();
    parts.drives.resize(n);
    parts.potentials.resize(n);
    parts.costates.resize(n);
    std::vector<Vector> cotangents(n);
    std::vector<double> losses(n), correct(n);
    const std::size_t size = info.parameters.size();
    Vector sum;
    if (n > 0) sum.resize(static_cast<Eigen::Index>(size));
    else sum = Vector::Zero(static_cast<Eigen::Index>(size));
    // One parallel loop for all that precedes the model: each part is short, but starting and ending a loop
    // is not. Cotangents are divided by the number of samples here, because the gradient is much longer.
    const auto divisor = static_cast<double>(n);
    for_each_index(n, batch.threads, [&](std::size_t k) {
      const std::size_t i = parts.samples[k], from = k * size / n, to = (k + 1) * size / n;
      parts.drives[k] = batch.free_drive(i);
      parts.potentials[k] = rows[i][0].potential;
      cotangents[k] = total.cotangent(i, losses[k]) / divisor;
      correct[k] = total.correct(i, parts.potentials[k]) ? 1.0 : 0.0;
      std::fill(sum.data() + from, sum.data() + to, 0.0);
    });
    if (n > 0) model_->add_adjoint_gradient(parts.drives, parts.potentials, cotangents, parts.costates, sum);
    for (std::size_t k = 0; k < n; ++k) {
      if (parts.costates[k].allFinite()) {
        total.use(losses[k], correct[k]);
      } else {
        total.leave_out(parts.samples[k]);
      }
    }
    return total.finish(std::move(sum), std::max(1.0, divisor));
  }

 private:
  std::shared_ptr<const Model> model_;
};

}  // namespace

std::unique_ptr<Estimator> adjoint(std::shared_ptr<const Model> model) {
  return std::make_unique<Adjoint>(std::move(model));
}

EstimatorMaker read_adjoint(Keys&) {
  return [](const EstimatorContext& context) { return adjoint(context.model); };
}

}  // namespace ness
