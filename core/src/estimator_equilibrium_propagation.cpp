#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "forming.hpp"
#include "number_text.hpp"

namespace ness {
namespace {

class EquilibriumPropagation final : public Estimator {
 public:
  EquilibriumPropagation(std::shared_ptr<const Model> model, const EquilibriumPropagationOptions& options)
      : model_(std::move(model)), options_(options) {
    if (!model_) throw std::invalid_argument("equilibrium propagation: no model is given");
    if (!(options.beta > 0) || std::isinf(options.beta)) {
      throw std::invalid_argument("equilibrium propagation: beta " + number_text(options.beta) +
                                  "; it must be finite and > 0");
    }
  }

  std::string_view name() const override {
    return options_.centred ? "equilibrium-propagation-centred" : "equilibrium-propagation";
  }

  std::string unmet_needs(const DeviceInfo& info) const override {
    std::string unmet = unmet_by_model(info, *model_);
    if (!unmet.empty()) return unmet;
    for (const std::uint32_t output : info.outputs) {
      const Terminal& terminal = info.terminals[output];
      const std::string who = "output terminal " + std::to_string(output) + " (" + terminal.name + ")";
      if (terminal.nudge.empty()) return who + " cannot be nudged";
      if (!(terminal.nudge.low < 0 && terminal.nudge.high > 0))
        return who + " can be nudged one way only; both signs are needed";
    }
    return {};
  }

  std::uint64_t cost(const DeviceInfo&) const override { return options_.centred ? 4 : 2; }

  std::vector<Chain> chains(const DeviceInfo& info, const Minibatch& batch, const Loss& loss) const override {
    const std::shared_ptr<const Nudging> nudging = std::make_shared<Nudging>(info);
    std::vector<Chain> all;
    all.reserve(batch.samples.size());
    for (std::size_t i = 0; i < batch.samples.size(); ++i) {
      all.emplace_back([this, nudging, &batch, &loss, i](std::span<const Relaxation> so_far) -> std::optional<Drive> {
        if (so_far.size() == cost_ || (!so_far.empty() && !valid(so_far.back(), so_far.size() - 1))) return std::nullopt;
        Drive drive = batch.free_drive(i);
        if (so_far.empty()) return drive;
        drive.start = Present{};
        // Positions: free, nudged by -beta c, free again, nudged by +beta c.
        const double sign = so_far.size() == 1 ? -1 : so_far.size() == 3 ? 1 : 0;
        if (sign != 0) drive.nudge = nudging->currents(sign, options_.beta, loss, batch.target(i), so_far[0]);
        return drive;
      });
    }
    return all;
  }

  Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                std::span<const std::vector<Relaxation>> rows) const override {
    const Nudging nudging(info);
    Forming forming(info, batch, loss, rows);
    Contraction parts;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (!complete(rows[i])) {
        forming.leave_out();
        continue;
      }
      const double beta = nudging.beta(options_.beta, loss, batch.target(i), rows[i][0]);
      const Vector& lowered = rows[i][1].potential;
      parts.add(batch, i, rows[i][0]);
      if (options_.centred) {
        parts.costates.emplace_back((rows[i][3].potential - lowered) / (2 * beta));
      } else {
        parts.costates.emplace_back((rows[i][0].potential - lowered) / beta);
      }
    }
    return contracted(*model_, std::move(forming), std::move(parts), info.parameters.size());
  }

 private:
  // Where and how strongly outputs are nudged.
  class Nudging {
   public:
    explicit Nudging(const DeviceInfo& info) : positions_(info.output_positions()) {
      const std::vector<std::uint32_t> nudgeable = info.nudgeable();
      size_ = static_cast<Eigen::Index>(nudgeable.size());
      for (const std::uint32_t output : info.outputs) {
        places_.push_back(std::find(nudgeable.begin(), nudgeable.end(), output) - nudgeable.begin());
        ranges_.push_back(info.terminals[output].nudge);
      }
    }

    // beta, made smaller where -+beta c would leave the range of an output: the shift is divided by what was imposed.
    double beta(double wanted, const Loss& loss, std::span<const double> target, const Relaxation& free) const {
      const Vector c = cotangent(loss, target, free);
      double largest = wanted;
      for (std::size_t k = 0; k < ranges_.size(); ++k) {
        const double room = std::min(-ranges_[k].low, ranges_[k].high), pull = std::abs(c[static_cast<Eigen::Index>(k)]);
        if (largest * pull > room) largest = room / pull;
      }
      return largest;
    }

    Vector currents(double sign, double wanted, const Loss& loss, std::span<const double> target,
                    const Relaxation& free) const {
      const double strength = beta(wanted, loss, target, free);
      const Vector c = cotangent(loss, target, free);
      Vector u = Vector::Zero(size_);
      for (std::size_t k = 0; k < places_.size(); ++k) {
        const double current = sign * strength * c[static_cast<Eigen::Index>(k)];
        u[places_[k]] =
            std::clamp(current, ranges_[k].low, ranges_[k].high);  // room / pull * pull may exceed room by a rounding
      }
      return u;
    }

   private:
    Vector cotangent(const Loss& loss, std::span<const double> target, const Relaxation& free) const {
      Vector outputs(static_cast<Eigen::Index>(positions_.size())), gradient;
      for (std::size_t k = 0; k < positions_.size(); ++k) outputs[static_cast<Eigen::Index>(k)] = free.potential[positions_[k]];
      loss.value(outputs, target, &gradient);
      return gradient;
    }

    std::vector<std::uint32_t> positions_;
    std::vector<Eigen::Index> places_;  // of each output in Drive::nudge
    std::vector<Range> ranges_;
    Eigen::Index size_ = 0;
  };

  // A contrast on another branch than the free state is no shift of it.
  static bool valid(const Relaxation& row, std::size_t position) {
    return row.quality.usable() && (position == 0 || (row.quality.all() & bit(Flag::other_branch)) == 0);
  }
  bool complete(const std::vector<Relaxation>& rows) const {
    if (rows.size() != cost_) return false;
    for (std::size_t position = 0; position < rows.size(); ++position) {
      if (!valid(rows[position], position)) return false;
    }
    return true;
  }

  std::shared_ptr<const Model> model_;
  EquilibriumPropagationOptions options_;
  std::size_t cost_ = options_.centred ? 4 : 2;
};

}  // namespace

std::unique_ptr<Estimator> equilibrium_propagation(std::shared_ptr<const Model> model,
                                                   const EquilibriumPropagationOptions& options) {
  return std::make_unique<EquilibriumPropagation>(std::move(model), options);
}

}  // namespace ness
