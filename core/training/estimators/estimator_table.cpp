#include "ness/training/estimator_table.hpp"

#include <array>
#include <stdexcept>

#include "estimators/estimator_rows.hpp"

namespace ness {
namespace {

using Form = EquilibriumPropagationOptions::Form;

template <Form form>
EstimatorMaker read_propagation(Keys& keys) {
  return read_equilibrium_propagation(keys, form);
}
template <bool central>
EstimatorMaker read_differences(Keys& keys) {
  return read_finite_differences(keys, central);
}
template <bool tracked>
EstimatorMaker read_probing(Keys& keys) {
  return read_node_probing(keys, tracked);
}
template <bool tracked>
EstimatorMaker read_by_voltage(Keys& keys) {
  return read_conductance(keys, tracked);
}

constexpr std::string_view probing_needs =
    "inject at and read all free nodes; a law of dI/dtheta, or to hold and read the current of all free "
    "nodes";
constexpr std::string_view conductance_needs =
    "hold, and read the potential and the current of, all free nodes; a law of dI/dtheta, or held steps of "
    "the parameters";
constexpr std::string_view ep_needs =
    "inject at the outputs, read all free nodes; a law of dI/dtheta, or to hold and read the current of all "
    "free nodes";
constexpr std::string_view ep_source = "arXiv 2605.15985, Eqs. C6-C8, in currents; Scellier & Bengio 2017";

constexpr std::array table{
    EstimatorEntry{"adjoint", "twin-adjoint", "read all free nodes; a model of the device", "1",
                   "arXiv 2605.15985, Eqs. 13-14, in currents", true, read_adjoint},
    EstimatorEntry{"finite-differences-forward", "fd-forward", "set parameters, read the outputs", "1 + m",
                   "arXiv 2605.15985, Eq. 12", false, read_differences<false>},
    EstimatorEntry{"finite-differences-central", "fd-central", "set parameters, read the outputs", "1 + 2 m",
                   "arXiv 2605.15985, Eq. 12", false, read_differences<true>},
    EstimatorEntry{"equilibrium-propagation-one-sided", "ep-one-sided", ep_needs, "2", ep_source, true,
                   read_propagation<Form::one_sided>},
    EstimatorEntry{"equilibrium-propagation-centred", "ep-centred", ep_needs, "3",
                   "Laborieux et al. 2021; as one-sided", true, read_propagation<Form::centred>},
    EstimatorEntry{"equilibrium-propagation-random-sign", "ep-random-sign", ep_needs, "2",
                   "Scellier & Bengio 2017, as one-sided", true, read_propagation<Form::random_sign>},
    EstimatorEntry{"equilibrium-propagation-richardson", "ep-richardson", ep_needs, "5",
                   "Richardson's extrapolation of the centred form", true,
                   read_propagation<Form::richardson>},
    EstimatorEntry{"equilibrium-propagation-corrected", "ep-corrected",
                   "inject at and read all free nodes; the antisymmetric part from a model, or to hold and "
                   "read the current of all free nodes; dI/dtheta as equilibrium propagation",
                   "1 + 2 rounds; where the antisymmetric part is measured 2 n / `measure_every` more",
                   "AsymEP, arXiv 2602.03670, in currents", true, read_corrected_propagation},
    EstimatorEntry{"coupled-learning", "coupled",
                   "hold the outputs (and read the current of a single one: then it is the gradient), read "
                   "all free nodes; dI/dtheta as equilibrium propagation",
                   "3, one-sided 2", "Stern et al. 2021, in currents", true, read_coupled_learning},
    EstimatorEntry{"node-probing", "probing", probing_needs, "1 + 2 n; central = false: 1 + n",
                   "arXiv 2605.15985, Eqs. 13-14, in currents, R by injection", true, read_probing<false>},
    EstimatorEntry{"node-probing-tracked", "probing-tracked", probing_needs,
                   "1 + 2 n at 1 of `measure_every` visits, else 1 + 2 refresh",
                   "as node-probing; Broyden 1965", true, read_probing<true>},
    EstimatorEntry{
        "conductance-by-voltage", "conductance", conductance_needs, "1 + 2 n held; central = false: 2 + n",
        "arXiv 2605.15985, Eqs. 13-14, in currents, G by held steps", true, read_by_voltage<false>},
    EstimatorEntry{"conductance-by-voltage-tracked", "conductance-tracked", conductance_needs,
                   "1 + 2 n held at 1 of `measure_every` visits, else 1 + 2 refresh",
                   "as conductance-by-voltage; Broyden 1965", true, read_by_voltage<true>},
    EstimatorEntry{"spsa", "spsa", "set parameters, read the outputs",
                   "2 directions; 1 more with blocking or references", "Spall 1992, 1998", false, read_spsa},
    EstimatorEntry{"walsh", "walsh-coded", "set parameters, read the outputs",
                   "1 + P, P = twice the next power of 2 from m on",
                   "multiplexed gradient descent, arXiv 2501.15403, with Walsh codes", false, read_walsh},
    EstimatorEntry{"evolution", "genetic", "set parameters, read the outputs", "population",
                   "Whitelam & Casert, thermodynamic computing out of equilibrium", false, read_evolution},
};

}  // namespace

std::span<const EstimatorEntry> estimator_table() { return table; }

const EstimatorEntry& estimator_entry(std::string_view name, std::span<const EstimatorEntry> rows) {
  std::string known;
  for (const EstimatorEntry& entry : rows) {
    if (entry.name == name || entry.alias == name) return entry;
    known += std::string(known.empty() ? "" : ", ") + "'" + std::string(entry.name) + "'";
  }
  throw std::invalid_argument("no estimator '" + std::string(name) + "': expected one of " + known);
}

EstimatorMaker estimator_maker(std::string_view name) {
  NoKeys defaults;
  return estimator_entry(name).read(defaults);
}

void read_perturbations(Keys& keys, PerturbationOptions& options) {
  std::uint32_t references = options.references.value_or(0);
  const bool given = keys.whole(
      "references", references, 0,
      {"perturbations",
       "after which the free state is relaxed again, as a reference, and once more after the last; 0: never",
       "0 where the device restores states, else one reference, after the last perturbation"});
  if (given) options.references = references;
  keys.flag(
      "cancel_drift", options.cancel_drift,
      {"",
       "readings of perturbations are corrected for what the references have drifted by, linearly in time"});
  keys.number("return_tolerance", options.return_tolerance, Number::or_infinite,
              {"kT", "a reference that is off by more, and by six standard errors, has lost its branch"});
  keys.whole("attempts", options.attempts, 1, {"", "at a sample, at most, where its branch is lost"});
  keys.require(options.problem());
}

void read_current_law(Keys& keys, CurrentLawOptions& options) {
  keys.choice<bool>(
      "law", options.measured, {{"model", false}, {"held-steps", true}},
      {"", "where dI/dtheta comes from: the model, or steps of the parameters with all free nodes held"});
  keys.number("law_step", options.step, Number::positive,
              {"its scale",
               "of a parameter, for held steps: absolute on a linear scale, relative on a logarithmic one"});
  keys.flag("law_central", options.central, {"", "held steps on both sides; false: on one"});
}

}  // namespace ness
