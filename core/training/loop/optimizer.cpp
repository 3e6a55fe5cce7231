#include "ness/training/optimizer.hpp"

#include <array>
#include <cmath>
#include <stdexcept>

#include "ness/device/number_text.hpp"
#include "ness/device/vector_loops.hpp"

namespace ness {
namespace {

bool positive(double x) { return x > 0 && std::isfinite(x); }
bool not_negative(double x) { return x >= 0 && std::isfinite(x); }
bool below_one(double x) { return x >= 0 && x < 1; }

void require(const std::string& problem) {
  if (!problem.empty()) throw std::invalid_argument("optimizer: " + problem);
}

// Common to all optimizers: clipping, and the rate of each parameter.
class ScaledOptimizer : public Optimizer {
 public:
  ScaledOptimizer(const OptimizerOptions& options, const ParameterSpace& space)
      : largest_(options.clip), rate_(static_cast<Eigen::Index>(space.size())) {
    for (std::size_t i = 0; i < space.size(); ++i)
      rate_[static_cast<Eigen::Index>(i)] = options.rate * space.rate(i);
  }

  void begin(double norm, double factor) final {
    clip_ = largest_ > 0 && norm > largest_ ? largest_ / norm : 1;
    factor_ = factor;
    begin_step();
  }

 protected:
  std::size_t size() const final { return static_cast<std::size_t>(rate_.size()); }
  virtual void begin_step() {}

  /// The gradient's entry after clipping.
  double clipped(double gradient) const { return clip_ < 1 ? gradient * clip_ : gradient; }
  /// dw along a direction.
  double along(std::size_t i, double direction) const {
    return -factor_ * rate_[static_cast<Eigen::Index>(i)] * direction;
  }

  void check_state(const Vector& state, Eigen::Index size) const {
    if (state.size() == size) return;
    throw std::invalid_argument("optimizer state of " + std::to_string(state.size()) + " numbers; " +
                                std::to_string(size) +
                                " are needed (a checkpoint of another optimizer or network?)");
  }

  double largest_;  // largest norm of a gradient; 0: no limit
  Vector rate_;
  double clip_ = 1, factor_ = 1;
};

class Sgd final : public ScaledOptimizer {
 public:
  using ScaledOptimizer::ScaledOptimizer;
  Vector state() const override { return {}; }
  void restore(const Vector& state) override { check_state(state, 0); }
  void move(Part part, const double* gradient, double* dw) override {
    for (std::size_t i = part.begin; i < part.end; ++i)
      dw[i - part.begin] = along(i, clipped(gradient[i - part.begin]));
  }
};

class Momentum final : public ScaledOptimizer {
 public:
  Momentum(double momentum, const OptimizerOptions& options, const ParameterSpace& space)
      : ScaledOptimizer(options, space), momentum_(momentum), velocity_(Vector::Zero(rate_.size())) {}
  Vector state() const override { return velocity_; }
  void restore(const Vector& state) override {
    check_state(state, velocity_.size());
    velocity_ = state;
  }
  void move(Part part, const double* gradient, double* dw) override {
    double* const velocity = velocity_.data();
    for (std::size_t i = part.begin; i < part.end; ++i) {
      velocity[i] = momentum_ * velocity[i] + clipped(gradient[i - part.begin]);
      dw[i - part.begin] = along(i, velocity[i]);
    }
  }

 private:
  double momentum_;
  Vector velocity_;
};

class Adam final : public ScaledOptimizer {
 public:
  Adam(const AdamOptions& decay, const OptimizerOptions& options, const ParameterSpace& space)
      : ScaledOptimizer(options, space),
        decay_(decay),
        mean_(Vector::Zero(rate_.size())),
        square_(Vector::Zero(rate_.size())) {}

  Vector state() const override {
    Vector all(1 + 2 * mean_.size());
    all << static_cast<double>(steps_), mean_, square_;
    return all;
  }
  void restore(const Vector& state) override {
    check_state(state, 1 + 2 * mean_.size());
    steps_ = static_cast<std::uint64_t>(state[0]);
    mean_ = state.segment(1, mean_.size());
    square_ = state.tail(square_.size());
  }
  void move(Part part, const double* gradient, double* dw) override {
    const auto steps = static_cast<double>(steps_);
    const vector_loops::Adam by{decay_.beta1,
                                decay_.beta2,
                                1 / (1 - std::pow(decay_.beta1, steps)),
                                1 / (1 - std::pow(decay_.beta2, steps)),
                                decay_.epsilon,
                                clip_,
                                -factor_};
    vector_loops::adam(part.end - part.begin, by, gradient, rate_.data() + part.begin,
                       mean_.data() + part.begin, square_.data() + part.begin, dw);
  }

 protected:
  void begin_step() override { ++steps_; }

 private:
  AdamOptions decay_;
  std::uint64_t steps_ = 0;
  Vector mean_, square_;
};

OptimizerMaker read_sgd(Keys&) { return sgd_optimizer(); }

OptimizerMaker read_momentum(Keys& keys) {
  MomentumOptions options;
  keys.number("momentum", options.momentum, Number::fraction,
              {"", "share of the last step's velocity that is kept, below 1"});
  keys.require(options.problem());
  return momentum_optimizer(options);
}

OptimizerMaker read_adam(Keys& keys) {
  AdamOptions options;
  keys.number("beta1", options.beta1, Number::fraction,
              {"", "share of the gradient's running mean that is kept at a step, below 1"});
  keys.number("beta2", options.beta2, Number::fraction,
              {"", "share of the running mean of its square that is kept at a step, below 1"});
  keys.number("epsilon", options.epsilon, Number::positive,
              {"of the gradient", "added to the root of the running mean of squares"});
  keys.require(options.problem());
  return adam_optimizer(options);
}

constexpr std::array table{
    OptimizerEntry{"sgd", "steps along the gradient", read_sgd},
    OptimizerEntry{"momentum", "steps along a decaying sum of gradients (Polyak 1964)", read_momentum},
    OptimizerEntry{"adam", "Kingma & Ba 2015, bias corrected", read_adam},
};

}  // namespace

std::span<const OptimizerEntry> optimizer_table() { return table; }

OptimizerMaker sgd_optimizer() {
  return [](const OptimizerOptions& options, const ParameterSpace& space) {
    return std::make_unique<Sgd>(options, space);
  };
}

std::string MomentumOptions::problem() const {
  if (!below_one(momentum)) return "momentum " + number_text(momentum) + "; 0 <= momentum < 1 is needed";
  return {};
}

OptimizerMaker momentum_optimizer(const MomentumOptions& by) {
  require(by.problem());
  return [by](const OptimizerOptions& options, const ParameterSpace& space) {
    return std::make_unique<Momentum>(by.momentum, options, space);
  };
}

std::string AdamOptions::problem() const {
  if (!below_one(beta1)) return "beta1 " + number_text(beta1) + "; 0 <= beta1 < 1 is needed";
  if (!below_one(beta2)) return "beta2 " + number_text(beta2) + "; 0 <= beta2 < 1 is needed";
  if (!positive(epsilon)) return "epsilon " + number_text(epsilon) + "; it must be finite and > 0";
  return {};
}

OptimizerMaker adam_optimizer(const AdamOptions& by) {
  require(by.problem());
  return [by](const OptimizerOptions& options, const ParameterSpace& space) {
    return std::make_unique<Adam>(by, options, space);
  };
}

std::string OptimizerOptions::problem() const {
  if (!positive(rate)) return "rate " + number_text(rate) + "; it must be finite and > 0";
  if (!not_negative(clip)) return "clip " + number_text(clip) + "; it must be finite and >= 0 (0: off)";
  const std::string found = schedule.problem();
  return found.empty() ? found : "schedule: " + found;
}

void OptimizerOptions::read(Keys& keys) {
  keys.number("rate", rate, Number::positive,
              {"",
               "learning rate, before the schedule; a step is in each parameter or, where its scale is "
               "logarithmic, in its logarithm"});
  keys.number(
      "clip", clip, Number::not_negative,
      {"of the gradient", "largest Euclidean norm of the gradient; larger ones are scaled down; 0: off"});
}

Vector Optimizer::step(const Vector& gradient, double factor) {
  if (static_cast<std::size_t>(gradient.size()) != size()) {
    throw std::invalid_argument("optimizer: gradient of " + std::to_string(gradient.size()) +
                                " entries for " + std::to_string(size()) + " parameters");
  }
  Vector dw(gradient.size());
  begin(gradient.norm(), factor);
  move({0, size()}, gradient.data(), dw.data());
  return dw;
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const ParameterSpace& space) {
  require(options.problem());
  return options.make(options, space);
}

}  // namespace ness
