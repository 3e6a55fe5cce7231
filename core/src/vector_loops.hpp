// Loops over parameter vectors that a training step makes once each, compiled for several instruction sets: the loader takes the best.
// Without contraction of products and sums (ness_library) every one of them gives the same bits.
#pragma once

#include <cstddef>

namespace ness::vector_loops {

/// How many values lie outside their ranges; what is no number does.
std::size_t outside(std::size_t n, const double* value, const double* low, const double* high);
/// out = value, limited to its range.
void limit(std::size_t n, const double* value, const double* low, const double* high, double* out);
/// out = a b, where `a` is finite, else 0.
void product_of_finite(std::size_t n, const double* a, const double* b, double* out);
/// Adam's moments, and its direction: mean/mean_bias over the root of square/square_bias, and epsilon.
struct Adam {
  double beta1, beta2, mean_bias, square_bias, epsilon;
};
void adam(std::size_t n, const Adam& by, const double* gradient, double* mean, double* square, double* direction);

}  // namespace ness::vector_loops
