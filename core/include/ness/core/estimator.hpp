// Gradient estimators: how dL/dtheta is had from relaxations.
//
// An estimator is written once, as chains (what to relax next, given what this sample has shown) and a pure function that
// forms the gradient from the rows. Replay and re-analysis call the same function.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ness/core/chain.hpp"
#include "ness/core/dataset.hpp"
#include "ness/core/device.hpp"
#include "ness/core/model.hpp"

namespace ness {

/// The samples a gradient is taken over.
struct Minibatch {
  const Dataset* data = nullptr;
  std::vector<std::uint64_t> samples;   ///< indices into data
  std::vector<std::uint32_t> variants;  ///< [samples] of the patterns; empty: variant 0
  std::vector<Start> starts;            ///< [samples] of the free relaxations; empty: Rest
  Parameters theta;
  std::uint64_t step = 0;

  Pattern pattern(std::size_t i) const { return data->pattern(samples[i], variants.empty() ? 0 : variants[i]); }
  std::span<const double> target(std::size_t i) const { return data->target(samples[i]); }
  /// The free relaxation of sample i: no nudge, its start, labelled for training.
  Drive free_drive(std::size_t i) const;
};

/// A gradient and what it is worth.
struct Gradient {
  Vector value;                   ///< dL/dtheta [n_parameters], device coordinates, mean over the samples used
  Vector standard_error;          ///< [n_parameters]; empty where not known
  double loss = 0;                ///< mean loss of the free relaxations used
  double correct = 0;             ///< fraction correct of those, for classifying losses
  std::uint64_t used = 0;         ///< samples that entered
  std::uint64_t left_out = 0;     ///< samples left out, since a relaxation of theirs was not usable
  std::uint64_t relaxations = 0;  ///< what the gradient cost
  std::uint16_t worst = 0;        ///< all quality flags met, together
};

class Estimator {
 public:
  virtual ~Estimator() = default;
  virtual std::string_view name() const = 0;
  /// Empty if the device can serve this estimator; otherwise why not, naming the terminal or capability.
  virtual std::string unmet_needs(const DeviceInfo& info) const = 0;
  /// Relaxations a sample.
  virtual std::uint64_t cost(const DeviceInfo& info) const = 0;
  /// One chain a sample. The chains refer to `batch` and `info`, which must outlive them.
  virtual std::vector<Chain> chains(const DeviceInfo& info, const Minibatch& batch, const Loss& loss) const = 0;
  /// Forms the gradient: a pure function of the rows, [samples][position]. rows[i][0] is the free relaxation.
  virtual Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                        std::span<const std::vector<Relaxation>> rows) const = 0;
};

/// The exact adjoint on a model (Eqs. 13-14 in currents): the free relaxation alone. Needs every free potential.
/// Cost: 1 relaxation a sample.
std::unique_ptr<Estimator> adjoint(std::shared_ptr<const Model> model);

struct FiniteDifferenceOptions {
  bool central = true;
  double step = 1e-4;  ///< of a parameter: absolute on a linear scale, relative on a logarithmic one
  /// Only these parameters are differenced (the others' gradient is 0); empty: all trainable ones.
  std::vector<std::uint32_t> parameters;
};
/// Finite differences (Eq. 12): forward, error of the order of the step, m + 1 relaxations a sample; or central, error of the
/// order of its square, 2 m + 1. A step that would leave the parameter's range is taken to the other side.
std::unique_ptr<Estimator> finite_differences(const FiniteDifferenceOptions& options);

struct EquilibriumPropagationOptions {
  double beta = 1e-3;    ///< nudge currents are -+beta * dL/dmu, frozen at the free state (1 / (kT units of the loss))
  bool centred = true;   ///< +beta and -beta, relaxing freely in between (4 relaxations); else -beta c alone (2)
};
/// Equilibrium propagation in currents (Eqs. C6-C8 with dI/dtheta in place of dF/dtheta, so that capacities cancel): the
/// costate R c is read from the shift under a frozen nudge at the outputs. Exact as beta -> 0 where G is symmetric. dI/dtheta
/// comes from the model at the free state. Needs injection at every output and every free potential.
std::unique_ptr<Estimator> equilibrium_propagation(std::shared_ptr<const Model> model, const EquilibriumPropagationOptions& options);

/// Relaxes the chains of a minibatch and forms its gradient.
Gradient estimate(Device& device, const Estimator& estimator, const Minibatch& batch, const Loss& loss, std::stop_token stop = {});

}  // namespace ness
