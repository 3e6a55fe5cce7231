#include "ness/core/estimator_table.hpp"

#include <array>
#include <stdexcept>

namespace ness {
namespace {

using Settings = EstimatorSettings;
using ModelPointer = std::shared_ptr<const Model>;
using Made = std::unique_ptr<Estimator>;

// What is set replaces the default.
template <typename T>
void take(T& value, const std::optional<T>& set) {
  if (set) value = *set;
}

Made make_adjoint(const Settings&, ModelPointer model) { return adjoint(std::move(model)); }

template <bool central>
Made make_finite_differences(const Settings& s, ModelPointer) {
  FiniteDifferenceOptions options{.central = central, .parameters = s.parameters, .contrasts = s.contrasts};
  take(options.step, s.step);
  return finite_differences(options);
}

template <EquilibriumPropagationOptions::Form form>
Made make_equilibrium_propagation(const Settings& s, ModelPointer model) {
  EquilibriumPropagationOptions options{.form = form, .contrasts = s.contrasts, .law = s.law};
  take(options.beta, s.beta);
  return equilibrium_propagation(std::move(model), options);
}

Made make_corrected_propagation(const Settings& s, ModelPointer model) {
  CorrectedPropagationOptions options{.contrasts = s.contrasts, .law = s.law};
  take(options.beta, s.beta);
  take(options.rounds, s.rounds);
  take(options.measured, s.skew_measured);
  take(options.measure_every, s.measure_every);
  take(options.probe, s.probe);
  take(options.contraction, s.contraction);
  return corrected_propagation(std::move(model), options);
}

Made make_coupled_learning(const Settings& s, ModelPointer model) {
  CoupledLearningOptions options{.contrasts = s.contrasts, .law = s.law};
  take(options.eta, s.eta);
  take(options.centred, s.central);
  return coupled_learning(std::move(model), options);
}

using Form = EquilibriumPropagationOptions::Form;

constexpr std::string_view ep_needs = "inject at the outputs, read all free nodes; a law of dI/dtheta, or to hold and read the current of all free nodes";
constexpr std::string_view ep_source = "arXiv 2605.15985, Eqs. C6-C8, in currents; Scellier & Bengio 2017";

constexpr std::array table{
    EstimatorEntry{"adjoint", "twin-adjoint", "read all free nodes; a model of the device", "1", "arXiv 2605.15985, Eqs. 13-14, in currents", true, make_adjoint},
    EstimatorEntry{"finite-differences-forward", "fd-forward", "set parameters, read the outputs", "1 + m", "arXiv 2605.15985, Eq. 12", false, make_finite_differences<false>},
    EstimatorEntry{"finite-differences-central", "fd-central", "set parameters, read the outputs", "1 + 2 m", "arXiv 2605.15985, Eq. 12", false, make_finite_differences<true>},
    EstimatorEntry{"equilibrium-propagation-one-sided", "ep-one-sided", ep_needs, "2", ep_source, true, make_equilibrium_propagation<Form::one_sided>},
    EstimatorEntry{"equilibrium-propagation-centred", "ep-centred", ep_needs, "3", "Laborieux et al. 2021; as one-sided", true, make_equilibrium_propagation<Form::centred>},
    EstimatorEntry{"equilibrium-propagation-random-sign", "ep-random-sign", ep_needs, "2", "Scellier & Bengio 2017, as one-sided", true, make_equilibrium_propagation<Form::random_sign>},
    EstimatorEntry{"equilibrium-propagation-richardson", "ep-richardson", ep_needs, "5", "Richardson's extrapolation of the centred form", true, make_equilibrium_propagation<Form::richardson>},
    EstimatorEntry{"equilibrium-propagation-corrected", "ep-corrected", "inject at and read all free nodes; the antisymmetric part from a model, or to hold and read the current of all free nodes; dI/dtheta as equilibrium propagation",
                   "1 + 2 rounds; where the antisymmetric part is measured 2 n / measure_every more", "AsymEP, arXiv 2602.03670, in currents", true, make_corrected_propagation},
    EstimatorEntry{"coupled-learning", "coupled", "hold the outputs (and read the current of a single one: then it is the gradient), read all free nodes; dI/dtheta as equilibrium propagation", "3, one-sided 2",
                   "Stern et al. 2021, in currents", true, make_coupled_learning},
};

}  // namespace

std::span<const EstimatorEntry> estimator_table() { return table; }

const EstimatorEntry& estimator_entry(std::string_view name) {
  std::string known;
  for (const EstimatorEntry& entry : table) {
    if (entry.name == name || entry.alias == name) return entry;
    known += std::string(known.empty() ? "" : ", ") + "'" + std::string(entry.name) + "'";
  }
  throw std::invalid_argument("no estimator '" + std::string(name) + "': expected one of " + known);
}

}  // namespace ness
