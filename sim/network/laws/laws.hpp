// What the files of the laws share: the vector code that rows refer to.
#pragma once

#include "kernels/kernels.hpp"
#include "ness/network/edge_laws.hpp"

namespace ness::sim::kernels {

extern const LawKernels linear_kernels, quantum_dot_kernels, enzyme_kernels;

/// Vector kernels of a law (its row must have some): see LawKernels.
inline Sum<double> sum(Law law, const Edges<double>& edges) { return law->kernels->sum_64(edges); }
inline Sum<float> sum(Law law, const Edges<float>& edges) { return law->kernels->sum_32(edges); }
inline double current_sum(Law law, const Edges<double>& edges) { return law->kernels->current_sum_64(edges); }
inline float current_sum(Law law, const Edges<float>& edges) { return law->kernels->current_sum_32(edges); }
inline void each(Law law, const Edges<double>& edges, double* current, double* by_source, double* by_target) {
  law->kernels->each_64(edges, current, by_source, by_target);
}
inline void each(Law law, const Edges<float>& edges, float* current, float* by_source, float* by_target) {
  law->kernels->each_32(edges, current, by_source, by_target);
}
inline void gradient(Law law, const Edges<double>& edges, const double* weight, bool one_weight,
                     double* const (&by_parameter)[4]) {
  law->kernels->gradient_64(edges, weight, one_weight, by_parameter);
}
inline void gradient(Law law, const Edges<float>& edges, const float* weight, bool one_weight,
                     float* const (&by_parameter)[4]) {
  law->kernels->gradient_32(edges, weight, one_weight, by_parameter);
}

}  // namespace ness::sim::kernels
