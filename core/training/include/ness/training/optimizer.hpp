// Optimizers, by name. Adding one: its class, the function that lists its keys, and a row of the table.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "ness/device/keys.hpp"
#include "ness/training/parameter_space.hpp"
#include "ness/training/schedule.hpp"

namespace ness {

/// An optimizer with its state.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// The step dw for a gradient dL/dw, both [m]; `factor` multiplies the rate.
  Vector step(const Vector& gradient, double factor);
  /// The same in parts, which may be made on several threads: begin() with the Euclidean norm of the whole
  /// gradient, then move() for every parameter once; arrays of the part's parameters.
  virtual void begin(double norm, double factor) = 0;
  virtual void move(Part part, const double* gradient, double* dw) = 0;
  /// State as numbers, to save and restore bit for bit.
  virtual Vector state() const = 0;
  virtual void restore(const Vector& state) = 0;

 protected:
  virtual std::size_t size() const = 0;  ///< m
};

struct OptimizerOptions;
/// Makes an optimizer of one kind for the parameters of a space.
using OptimizerMaker =
    std::function<std::unique_ptr<Optimizer>(const OptimizerOptions&, const ParameterSpace&)>;

/// dw = -rate * gradient.
OptimizerMaker sgd_optimizer();

struct MomentumOptions {
  double momentum = 0.9;
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
};
/// dw = -rate * v, v = momentum * v + gradient. Throws std::invalid_argument for unusable options.
OptimizerMaker momentum_optimizer(const MomentumOptions& options = {});

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
};
/// Adam (Kingma & Ba 2015, bias corrected). Throws std::invalid_argument for unusable options.
OptimizerMaker adam_optimizer(const AdamOptions& options = {});

/// A kind of optimizer, and what all kinds share.
struct OptimizerOptions {
  OptimizerMaker make = adam_optimizer();
  double rate = 0.01;  ///< learning rate
  double clip = 0;  ///< largest Euclidean norm of the gradient in coordinates; larger ones are scaled; 0: off
  Schedule schedule = {};
  std::string problem() const;
  /// Lists the keys that all kinds read, but for the schedule.
  void read(Keys& keys);
};
/// Throws std::invalid_argument for unusable options.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const ParameterSpace& space);

/// A row of the table.
struct OptimizerEntry {
  std::string_view name;
  std::string_view meaning;
  /// Lists the keys of this kind alone, and returns what makes it with the options they give.
  OptimizerMaker (*read)(Keys& keys) = nullptr;
};
std::span<const OptimizerEntry> optimizer_table();

}  // namespace ness
