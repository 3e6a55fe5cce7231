// The functions that list each estimator's keys: the rows of the table in estimator_table.cpp. Each stands in its estimator's file.
#pragma once

#include "ness/training/estimator_table.hpp"

namespace ness {

EstimatorMaker read_adjoint(Keys& keys);
EstimatorMaker read_finite_differences(Keys& keys, bool central);
EstimatorMaker read_equilibrium_propagation(Keys& keys, EquilibriumPropagationOptions::Form form);
EstimatorMaker read_corrected_propagation(Keys& keys);
EstimatorMaker read_coupled_learning(Keys& keys);
EstimatorMaker read_node_probing(Keys& keys, bool tracked);
EstimatorMaker read_conductance(Keys& keys, bool tracked);
EstimatorMaker read_spsa(Keys& keys);
EstimatorMaker read_walsh(Keys& keys);
EstimatorMaker read_evolution(Keys& keys);

/// Keys that several estimators share, listed by those that use them.
void read_perturbations(Keys& keys, PerturbationOptions& options);
void read_current_law(Keys& keys, CurrentLawOptions& options);

/// The keys of both measured Jacobians, whose options have the same names. Tracked: measured now and then unless a key says otherwise.
template <typename Options>
Options read_measured_jacobian(Keys& keys, bool tracked, std::string_view probe_unit) {
  Options options;
  if (tracked) options.measure_every = 20;
  keys.number("probe", options.probe, Number::not_negative,
              {probe_unit, "size of a probe: an injected current, or the step of a held potential; 0: chosen before the first step "
                           "from noise and curvature"});
  keys.flag("central", options.central, {"", "two probes of opposite sign a node; false: one"});
  keys.whole("measure_every", options.measure_every, 0,
             {"visits of a sample", "between full measurements of its Jacobian, which is updated in between; 0: measured at every step"});
  keys.whole("refresh", options.refresh, 1, {"nodes", "probed in turn at a visit between full measurements"});
  keys.number("reset", options.reset, Number::positive,
              {"", "relative error of an update above which the sample is measured again at its next visit"});
  read_perturbations(keys, options.perturbations);
  read_current_law(keys, options.law);
  return options;
}

}  // namespace ness
