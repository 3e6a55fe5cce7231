// Vector kernels: many quantum-dot edges at a time, dispatched at run time to the best instruction set.
#pragma once

#include <cstddef>

namespace ness::sim::kernels {

/// n quantum-dot edges. xs, xt: potentials of the ends; a pointer with step 0 repeats one value (many edges into one node).
/// Equal temperatures: inverse_s is one value 1/(kT T), es and et are exp(-x/(kT T)) of the ends, all |x|/(kT T) <= 300.
/// Unequal: es, et null; inverse_s, inverse_t are given per edge.
struct QuantumDots {
  std::size_t n = 0;
  const double *gamma = nullptr, *a = nullptr, *b = nullptr, *d = nullptr;  // d may be null: 0
  const double *xs = nullptr, *xt = nullptr, *es = nullptr, *et = nullptr;
  bool one_target = false;  // xt and et point to a single value
  double inverse = 1;       // equal temperatures
  const double *inverse_s = nullptr, *inverse_t = nullptr;
};

/// Sum of the currents and of dI/dmu_t: edges from clamped nodes into one.
struct Sum {
  double current = 0, by_target = 0;
};
Sum quantum_dot_sum(const QuantumDots& edges);

/// Current and derivatives of each edge.
void quantum_dot_each(const QuantumDots& edges, double* current, double* by_source, double* by_target);

/// Adds -weight * dI/dp to the gradient of each edge's parameters; weight = lambda_s - lambda_t, per edge or one for all.
void quantum_dot_gradient(const QuantumDots& edges, const double* weight, bool one_weight, double* by_gamma, double* by_a, double* by_b, double* by_d);

/// out = exp(-x * inverse), arguments limited to +-700.
void exp_minus(std::size_t n, const double* x, const double* inverse, double* out);

}  // namespace ness::sim::kernels
