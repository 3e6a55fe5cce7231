// The functions that list each estimator's keys; estimator_table.cpp refers to them. Each is defined in its
// estimator's file.
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

/// Keys shared by several estimators; each of these estimators lists them.
void read_perturbations(Keys& keys, PerturbationOptions& options);
void read_current_law(Keys& keys, CurrentLawOptions& options);

/// Keys of both estimators with a measured Jacobian, whose options have the same names. `tracked`: by
/// default, the Jacobian is measured only at intervals.
template <typename Options>
Options read_measured_jacobian(Keys& keys, bool tracked, std::string_view probe_unit) {
  Options options;
  if (tracked) options.measure_every = 20;
  keys.number("probe", options.probe, Number::not_negative,
              {probe_unit,
               "size of a probe: an injected current, or the step of a held potential; 0: chosen before the "
               "first step "
               "from noise and curvature"});
  keys.flag("central", options.central, {"", "two probes of opposite sign a node; false: one"});
  keys.whole(
      "measure_every", options.measure_every, 0,
      {"visits of a sample",
       "between full measurements of its Jacobian, which is updated in between; 0: measured at every step"});
  keys.whole("refresh", options.refresh, 1, {"nodes", "probed in turn at a visit between full measurements"});
  keys.number("reset", options.reset, Number::positive,
              {"", "relative error of an update above which the sample is measured again at its next visit"});
  read_perturbations(keys, options.perturbations);
  read_current_law(keys, options.law);
  return options;
}

}  // namespace ness
