// Optimizers, schedules, and the space they act in.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ness/device/device.hpp"
#include "ness/device/vector.hpp"

namespace ness {

/// What training does with one parameter, beside what the device allows.
struct ParameterRule {
  bool trainable = true;
  Range range;           ///< device coordinates; the device's own range applies as well
  double decay = 0;      ///< L2: adds decay * w to the gradient, w the parameter in its scale's coordinate
  double rate = 1;       ///< factor on the learning rate
};

/// Parameters begin .. end-1.
struct Part {
  std::size_t begin, end;
};

/// The coordinates an optimizer steps in: the logarithm where the device says the scale is logarithmic, the value elsewhere.
/// The only place where the two are converted. Untrainable parameters keep their bits.
class ParameterSpace {
 public:
  /// `rules` has one entry a parameter, or is empty (defaults). Throws std::invalid_argument naming the parameter for a
  /// decay, rate or range that makes no sense, or a range outside the device's.
  ParameterSpace(const DeviceInfo& info, std::vector<ParameterRule> rules = {});
  std::size_t size() const { return scale_.size(); }
  std::size_t trainable() const;
  /// The device's description with the parameters' `trainable` and `range` narrowed to the rules: what estimators go by.
  DeviceInfo narrowed(DeviceInfo info) const;
  bool trains(std::size_t i) const { return rules_[i].trainable; }
  /// dL/dw from dL/dtheta: chain rule of the scale, decay added, 0 where not trainable.
  Vector gradient(const Vector& theta, const Vector& gradient) const;
  /// Standard errors of dL/dw from those of dL/dtheta; 0 where not trainable.
  Vector errors(const Vector& theta, const Vector& standard_error) const;
  /// theta after the step dw (in coordinates), projected onto all limits.
  Vector stepped(const Vector& theta, const Vector& dw) const;
  /// The same for the parameters in `part` alone; arrays of these. Parts may be made on several threads.
  void gradient(Part part, const double* theta, const double* gradient, double* in_coordinates) const;
  void stepped(Part part, const double* theta, const double* dw, double* moved) const;
  /// theta projected onto all limits.
  Vector projected(const Vector& theta) const;
  double rate(std::size_t i) const { return rules_[i].rate; }

 private:
  // Neighbours that are stepped alike.
  struct Run {
    std::size_t begin, end;
    Scale scale;
    bool trainable, decays;
    Range range;  // infinite where they are not trained
    bool continues(const Run& next) const {
      return end == next.begin && scale == next.scale && trainable == next.trainable && decays == next.decays && range.low == next.range.low && range.high == next.range.high;
    }
  };
  std::vector<ParameterRule> rules_;
  std::vector<Scale> scale_;
  std::vector<Run> runs_;
  template <class Body>
  void for_runs(Part part, const Body& body) const;
};

/// Learning rate over a run: linear warm-up, then constant, cosine to `final`, steps, or the gain sequence of stochastic approximation:
/// ((A + 1) / (A + k + 1))^power at step k after the warm-up (Spall's a_k = a / (A + k + 1)^power, the rate being a_0).
struct Schedule {
  enum class Kind : std::uint8_t { constant, cosine, step, spsa } kind = Kind::constant;
  double warm_up = 0;      ///< fraction of the run
  double final_factor = 0; ///< cosine: factor at the end
  double step_every = 0.5; ///< step: fraction of the run after which the rate is multiplied by step_factor, again and again
  double step_factor = 0.1;
  double stability = 0.1;  ///< spsa: A, as a fraction of the run
  double power = 0.602;    ///< spsa: Spall's practical value
  std::string problem() const;
  /// Factor on the rate at step `step` (from 0) of `total`.
  double factor(std::uint64_t step, std::uint64_t total) const;
};

struct OptimizerOptions {
  enum class Kind : std::uint8_t { sgd, momentum, adam } kind = Kind::adam;
  double rate = 0.01;
  double momentum = 0.9;             ///< momentum only
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  ///< Adam only (Kingma & Ba 2015, bias corrected)
  double clip = 0;                   ///< largest Euclidean norm of the gradient in coordinates; larger ones are scaled; 0: off
  Schedule schedule;
  std::string problem() const;
};

/// An optimizer with its state.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// The step dw for a gradient dL/dw, both [m]; `factor` multiplies the rate.
  Vector step(const Vector& gradient, double factor);
  /// The same in parts, which may be made on several threads: begin() with the Euclidean norm of the whole gradient, then move() for every
  /// parameter once; arrays of the part's parameters.
  virtual void begin(double norm, double factor) = 0;
  virtual void move(Part part, const double* gradient, double* dw) = 0;
  /// State as numbers, to save and restore bit for bit.
  virtual Vector state() const = 0;
  virtual void restore(const Vector& state) = 0;

 protected:
  virtual std::size_t size() const = 0;  ///< m
};
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const ParameterSpace& space);

}  // namespace ness
