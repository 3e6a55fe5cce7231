#include "ness/training/estimator_table.hpp"

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
  take(options.nudge, s.nudge);
  return equilibrium_propagation(std::move(model), options);
}

Made make_spsa(const Settings& s, ModelPointer) {
  SpsaOptions options{.contrasts = s.contrasts};
  take(options.c, s.c);
  take(options.gamma, s.gamma);
  take(options.directions, s.directions);
  take(options.blocking, s.blocking);
  take(options.block, s.block);
  return spsa(options, s.seed);
}

Made make_walsh(const Settings& s, ModelPointer) {
  WalshOptions options{.contrasts = s.contrasts};
  take(options.step, s.step);
  return walsh(options);
}

Made make_evolution(const Settings& s, ModelPointer) {
  EvolutionOptions options;
  take(options.population, s.population);
  take(options.parents, s.parents);
  take(options.sigma, s.sigma);
  take(options.crossover, s.crossover);
  return evolution(options, s.seed);
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

// Tracked: measured now and then unless it is said otherwise.
template <typename Options, std::unique_ptr<Estimator> (*made)(ModelPointer, const Options&), bool tracked>
Made make_measured_jacobian(const Settings& s, ModelPointer model) {
  Options options{.measure_every = tracked ? 20u : 0u, .contrasts = s.contrasts, .law = s.law};
  take(options.probe, s.probe);
  take(options.central, s.central);
  take(options.measure_every, s.measure_every);
  take(options.refresh, s.refresh);
  take(options.reset, s.reset);
  return made(std::move(model), options);
}
template <bool tracked>
constexpr auto make_node_probing = make_measured_jacobian<NodeProbingOptions, node_probing, tracked>;
template <bool tracked>
constexpr auto make_conductance = make_measured_jacobian<ConductanceOptions, conductance_by_voltage, tracked>;

constexpr std::string_view probing_needs = "inject at and read all free nodes; a law of dI/dtheta, or to hold and read the current of all free nodes";
constexpr std::string_view conductance_needs = "hold, and read the potential and the current of, all free nodes; a law of dI/dtheta, or held steps of the parameters";
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
    EstimatorEntry{"node-probing", "probing", probing_needs, "1 + 2 n; central = false: 1 + n", "arXiv 2605.15985, Eqs. 13-14, in currents, R by injection", true, make_node_probing<false>},
    EstimatorEntry{"node-probing-tracked", "probing-tracked", probing_needs, "1 + 2 n at 1 of `measure_every` visits, else 1 + 2 refresh", "as node-probing; Broyden 1965", true, make_node_probing<true>},
    EstimatorEntry{"conductance-by-voltage", "conductance", conductance_needs, "1 + 2 n held; central = false: 2 + n", "arXiv 2605.15985, Eqs. 13-14, in currents, G by held steps", true, make_conductance<false>},
    EstimatorEntry{"conductance-by-voltage-tracked", "conductance-tracked", conductance_needs, "1 + 2 n held at 1 of `measure_every` visits, else 1 + 2 refresh", "as conductance-by-voltage; Broyden 1965", true, make_conductance<true>},
    EstimatorEntry{"spsa", "spsa", "set parameters, read the outputs", "2 directions; 1 more with blocking or references", "Spall 1992, 1998", false, make_spsa},
    EstimatorEntry{"walsh", "walsh-coded", "set parameters, read the outputs", "1 + P, P = twice the next power of 2 from m on", "multiplexed gradient descent, arXiv 2501.15403, with Walsh codes", false, make_walsh},
    EstimatorEntry{"evolution", "genetic", "set parameters, read the outputs", "population", "Whitelam & Casert, thermodynamic computing out of equilibrium", false, make_evolution},
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
