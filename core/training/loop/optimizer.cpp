#include "ness/training/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <utility>

#include "ness/device/number_text.hpp"
#include "ness/device/vector_loops.hpp"

namespace ness {
namespace {

bool positive(double x) { return x > 0 && std::isfinite(x); }
bool not_negative(double x) { return x >= 0 && std::isfinite(x); }
bool below_one(double x) { return x >= 0 && x < 1; }

// What the rule leaves of the device's range.
Range common_range(const ParameterInfo& parameter, const ParameterRule& rule) {
  const std::string where = "rule for parameter " + parameter.name + ": ";
  if (!not_negative(rule.decay))
    throw std::invalid_argument(where + "decay " + number_text(rule.decay) + "; it must be finite and >= 0");
  if (!not_negative(rule.rate))
    throw std::invalid_argument(where + "rate " + number_text(rule.rate) + "; it must be finite and >= 0");
  if (!(rule.range.low <= rule.range.high))
    throw std::invalid_argument(where + "range " + range_text(rule.range) + " is empty");
  const Range common{std::max(rule.range.low, parameter.range.low), std::min(rule.range.high, parameter.range.high)};
  if (common.low <= common.high) return common;
  throw std::invalid_argument(where + "range " + range_text(rule.range) + " lies outside the device's, " +
                              range_text(parameter.range));
}

// What all optimizers share: clipping, and the rate of each parameter.
class ScaledOptimizer : public Optimizer {
 public:
  ScaledOptimizer(const OptimizerOptions& options, const ParameterSpace& space)
      : options_(options), rate_(static_cast<Eigen::Index>(space.size())) {
    for (std::size_t i = 0; i < space.size(); ++i) rate_[static_cast<Eigen::Index>(i)] = options.rate * space.rate(i);
  }

  void begin(double norm, double factor) final {
    clip_ = options_.clip > 0 && norm > options_.clip ? options_.clip / norm : 1;
    factor_ = factor;
    begin_step();
  }

 protected:
  std::size_t size() const final { return static_cast<std::size_t>(rate_.size()); }
  virtual void begin_step() {}

  /// The gradient's entry as it is taken.
  double clipped(double gradient) const { return clip_ < 1 ? gradient * clip_ : gradient; }
  /// dw for a direction.
  double along(std::size_t i, double direction) const { return -factor_ * rate_[static_cast<Eigen::Index>(i)] * direction; }

  void check_state(const Vector& state, Eigen::Index size) const {
    if (state.size() == size) return;
    throw std::invalid_argument("optimizer state of " + std::to_string(state.size()) + " numbers; " + std::to_string(size) +
                                " are needed (a checkpoint of another optimizer or network?)");
  }

  OptimizerOptions options_;
  Vector rate_;
  double clip_ = 1, factor_ = 1;
};

class Sgd final : public ScaledOptimizer {
 public:
  using ScaledOptimizer::ScaledOptimizer;
  Vector state() const override { return {}; }
  void restore(const Vector& state) override { check_state(state, 0); }
  void move(Part part, const double* gradient, double* dw) override {
    for (std::size_t i = part.begin; i < part.end; ++i) dw[i - part.begin] = along(i, clipped(gradient[i - part.begin]));
  }
};

class Momentum final : public ScaledOptimizer {
 public:
  Momentum(const OptimizerOptions& options, const ParameterSpace& space)
      : ScaledOptimizer(options, space), velocity_(Vector::Zero(rate_.size())) {}
  Vector state() const override { return velocity_; }
  void restore(const Vector& state) override {
    check_state(state, velocity_.size());
    velocity_ = state;
  }
  void move(Part part, const double* gradient, double* dw) override {
    double* const velocity = velocity_.data();
    for (std::size_t i = part.begin; i < part.end; ++i) {
      velocity[i] = options_.momentum * velocity[i] + clipped(gradient[i - part.begin]);
      dw[i - part.begin] = along(i, velocity[i]);
    }
  }

 private:
  Vector velocity_;
};

class Adam final : public ScaledOptimizer {
 public:
  Adam(const OptimizerOptions& options, const ParameterSpace& space)
      : ScaledOptimizer(options, space), mean_(Vector::Zero(rate_.size())), square_(Vector::Zero(rate_.size())) {}

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
    const vector_loops::Adam by{options_.beta1, options_.beta2, 1 / (1 - std::pow(options_.beta1, steps)), 1 / (1 - std::pow(options_.beta2, steps)),
                                options_.epsilon, clip_, -factor_};
    vector_loops::adam(part.end - part.begin, by, gradient, rate_.data() + part.begin, mean_.data() + part.begin, square_.data() + part.begin, dw);
  }

 protected:
  void begin_step() override { ++steps_; }

 private:
  std::uint64_t steps_ = 0;
  Vector mean_, square_;
};

}  // namespace

ParameterSpace::ParameterSpace(const DeviceInfo& info, std::vector<ParameterRule> rules) : rules_(std::move(rules)) {
  const std::size_t count = info.parameters.size();
  if (rules_.empty()) rules_.resize(count);
  if (rules_.size() != count) {
    throw std::invalid_argument(std::to_string(rules_.size()) + " parameter rules; the device has " + std::to_string(count) +
                                " parameters");
  }
  scale_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const ParameterInfo& parameter = info.parameters[i];
    rules_[i].range = common_range(parameter, rules_[i]);
    rules_[i].trainable = rules_[i].trainable && parameter.trainable;
    scale_.push_back(parameter.scale);
    const ParameterRule& rule = rules_[i];
    constexpr double infinite = std::numeric_limits<double>::infinity();
    // What is not trained is not limited either: it stays where it is.
    const Run here{i, i + 1, parameter.scale, rule.trainable, rule.decay > 0, rule.trainable ? rule.range : Range{-infinite, infinite}};
    if (!runs_.empty() && runs_.back().continues(here)) {
      ++runs_.back().end;
    } else {
      runs_.push_back(here);
    }
  }
}

std::size_t ParameterSpace::trainable() const {
  return static_cast<std::size_t>(
      std::count_if(rules_.begin(), rules_.end(), [](const ParameterRule& rule) { return rule.trainable; }));
}

DeviceInfo ParameterSpace::narrowed(DeviceInfo info) const {
  for (std::size_t i = 0; i < size(); ++i) {
    info.parameters[i].trainable = rules_[i].trainable;
    if (rules_[i].trainable) info.parameters[i].range = rules_[i].range;
  }
  return info;
}

Vector ParameterSpace::errors(const Vector& theta, const Vector& standard_error) const {
  Vector in_coordinates = Vector::Zero(theta.size());
  for (std::size_t k = 0; k < size(); ++k) {
    const auto i = static_cast<Eigen::Index>(k);
    if (rules_[k].trainable && std::isfinite(theta[i])) in_coordinates[i] = scale_[k] == Scale::log ? theta[i] * standard_error[i] : standard_error[i];
  }
  return in_coordinates;
}

template <class Body>
void ParameterSpace::for_runs(Part part, const Body& body) const {
  auto run = std::partition_point(runs_.begin(), runs_.end(), [&](const Run& r) { return r.end <= part.begin; });
  for (; run != runs_.end() && run->begin < part.end; ++run) body(*run, std::max(run->begin, part.begin), std::min(run->end, part.end));
}

void ParameterSpace::gradient(Part part, const double* theta, const double* gradient, double* in_coordinates) const {
  for_runs(part, [&](const Run& run, std::size_t from, std::size_t to) {
    const std::size_t begin = from - part.begin, end = to - part.begin;
    if (!run.trainable) {
      std::fill(in_coordinates + begin, in_coordinates + end, 0.0);
      return;
    }
    // An infinite parameter (no inhibition: Ki = inf) stays where it is: no step leads back from there.
    if (run.scale == Scale::log) {
      vector_loops::product_of_finite(end - begin, theta + begin, gradient + begin, in_coordinates + begin);
    } else {
      vector_loops::where_not_infinite(end - begin, theta + begin, gradient + begin, in_coordinates + begin);
    }
    if (!run.decays) return;
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isinf(theta[i])) in_coordinates[i] += rules_[part.begin + i].decay * (run.scale == Scale::log ? std::log(theta[i]) : theta[i]);
    }
  });
}

void ParameterSpace::stepped(Part part, const double* theta, const double* dw, double* moved) const {
  for_runs(part, [&](const Run& run, std::size_t from, std::size_t to) {
    const std::size_t begin = from - part.begin, end = to - part.begin;
    if (!run.trainable) {
      std::copy(theta + begin, theta + end, moved + begin);
    } else if (run.scale == Scale::log) {
      vector_loops::grow(end - begin, theta + begin, dw + begin, moved + begin);
    } else {
      vector_loops::sum(end - begin, theta + begin, dw + begin, moved + begin);
    }
    vector_loops::limit(end - begin, moved + begin, run.range.low, run.range.high, moved + begin);
  });
}

Vector ParameterSpace::gradient(const Vector& theta, const Vector& of) const {
  Vector in_coordinates(theta.size());
  gradient({0, size()}, theta.data(), of.data(), in_coordinates.data());
  return in_coordinates;
}

Vector ParameterSpace::stepped(const Vector& theta, const Vector& dw) const {
  Vector moved(theta.size());
  stepped({0, size()}, theta.data(), dw.data(), moved.data());
  return moved;
}

Vector ParameterSpace::projected(const Vector& theta) const {
  Vector inside(theta.size());
  for_runs({0, size()}, [&](const Run& run, std::size_t begin, std::size_t end) {
    vector_loops::limit(end - begin, theta.data() + begin, run.range.low, run.range.high, inside.data() + begin);
  });
  return inside;
}

std::string Schedule::problem() const {
  if (!below_one(warm_up)) return "warm_up " + number_text(warm_up) + "; it must be a fraction of the run, 0 <= warm_up < 1";
  if (!not_negative(final_factor)) return "final_factor " + number_text(final_factor) + "; it must be finite and >= 0";
  if (!positive(step_every)) return "step_every " + number_text(step_every) + "; it must be a fraction of the run, > 0";
  if (!positive(step_factor)) return "step_factor " + number_text(step_factor) + "; it must be finite and > 0";
  if (!not_negative(stability)) return "stability " + number_text(stability) + "; it must be a fraction of the run, >= 0";
  if (!not_negative(power)) return "power " + number_text(power) + "; it must be finite and >= 0";
  return {};
}

double Schedule::factor(std::uint64_t step, std::uint64_t total) const {
  if (total == 0) return 1;
  const double now = static_cast<double>(step), all = static_cast<double>(total), warm = warm_up * all;
  if (now < warm) return std::min(1.0, (now + 1) / warm);
  switch (kind) {
    case Kind::constant: return 1;
    case Kind::cosine: {
      const double progress = std::min(1.0, (now - warm) / (all - warm));
      return final_factor + (1 - final_factor) * (1 + std::cos(std::numbers::pi * progress)) / 2;
    }
    case Kind::step: {
      const double passed = std::floor(now / (step_every * all) + 1e-9);  // 0.3 / 0.1 is to be 3
      return std::pow(step_factor, passed);
    }
    case Kind::spsa: {
      const double A = stability * all;
      return std::pow((A + 1) / (A + std::floor(now - warm) + 1), power);
    }
  }
  return 1;
}

std::string OptimizerOptions::problem() const {
  if (!positive(rate)) return "rate " + number_text(rate) + "; it must be finite and > 0";
  if (!below_one(momentum)) return "momentum " + number_text(momentum) + "; 0 <= momentum < 1 is needed";
  if (!below_one(beta1)) return "beta1 " + number_text(beta1) + "; 0 <= beta1 < 1 is needed";
  if (!below_one(beta2)) return "beta2 " + number_text(beta2) + "; 0 <= beta2 < 1 is needed";
  if (!positive(epsilon)) return "epsilon " + number_text(epsilon) + "; it must be finite and > 0";
  if (!not_negative(clip)) return "clip " + number_text(clip) + "; it must be finite and >= 0 (0: off)";
  const std::string found = schedule.problem();
  return found.empty() ? found : "schedule: " + found;
}

Vector Optimizer::step(const Vector& gradient, double factor) {
  if (static_cast<std::size_t>(gradient.size()) != size()) {
    throw std::invalid_argument("optimizer: gradient of " + std::to_string(gradient.size()) + " entries for " + std::to_string(size()) + " parameters");
  }
  Vector dw(gradient.size());
  begin(gradient.norm(), factor);
  move({0, size()}, gradient.data(), dw.data());
  return dw;
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const ParameterSpace& space) {
  if (const std::string problem = options.problem(); !problem.empty()) throw std::invalid_argument("optimizer: " + problem);
  switch (options.kind) {
    case OptimizerOptions::Kind::sgd: return std::make_unique<Sgd>(options, space);
    case OptimizerOptions::Kind::momentum: return std::make_unique<Momentum>(options, space);
    case OptimizerOptions::Kind::adam: return std::make_unique<Adam>(options, space);
  }
  throw std::invalid_argument("optimizer: unknown kind " + std::to_string(static_cast<int>(options.kind)));
}

}  // namespace ness
