// Vector kernels: many edges of one law at a time, in single or double precision, dispatched at run time to
// the best instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ness::sim::kernels {

/// Edges of one law; T is float or double. p: parameters, in the order of EdgeLaw::parameters. A null d of
/// quantum dots means 0.
///
/// node_s, node_t hold what edges share of a node, so that an edge needs only one exponential and one
/// reciprocal:
/// - quantum dots of equal temperatures: exp(-mu/(kT T)), with |mu|/(kT T) <= 300 (float: 80). Null if
///   temperatures differ or potentials are larger: inverse_s and inverse_t are then given per edge, and each
///   edge needs a second exponential;
/// - enzymes: the concentrations, within 2^-500 .. 2^500 (float: 2^-45 .. 2^45), as `concentrations` computes
/// them.
///
/// Errors. In double precision a current has full relative precision wherever the potentials of its ends
/// differ, also in deep blockade. In single precision, with u = 2^-24 = 6e-8:
/// - quantum dot: window f_s - f_t and kT times its derivative by the level are within u (4 + 2 X) of the
///   law, with X = (|a| + |b (mu_s - mu_t)| + |d mean| + |mu_s| + |mu_t|)/kT; this is a relative error while
///   the window is above 2^-60;
/// - enzyme: the current is within u (8 + 4 X) (Vf + Vr), with X = (|mu| + |mu0| of both ends)/kT.
/// In double precision the same holds with u = 2^-53. (tests/sim/network/kernels_test.cpp)
template <class T>
struct Edges {
  std::size_t n = 0;
  const T* p[4] = {};
  const T *mu_s = nullptr, *mu_t = nullptr;  ///< potentials of the ends
  const T *node_s = nullptr, *node_t = nullptr;
  bool one_target = false;  ///< mu_t and node_t point to a single value: many edges into one node
  T inverse = 1;            ///< quantum dots of equal temperatures: 1/(kT T); enzymes: 1/kT
  /// Quantum dots of unequal temperatures, per edge: 1/(kT T) of the ends
  const T *inverse_s = nullptr, *inverse_t = nullptr;
  const T* quotient = nullptr;  ///< enzymes, per edge: exp((mu0_t - mu0_s)/kT) = 1/Keq
};

/// Sum of the currents and of dI/dmu_t: edges from clamped nodes into one.
template <class T>
struct Sum {
  T current = 0, by_target = 0;
};
/// The quantity of a node that the edges of a law share (node_s, node_t).
enum class NodeQuantity : std::uint8_t { none, exponential, concentration };

/// The vector code of one law. Every function dispatches to the best instruction set of the machine, or to
/// the forced one.
struct LawKernels {
  NodeQuantity shared = NodeQuantity::none;
  Sum<double> (*sum_64)(const Edges<double>& edges);
  Sum<float> (*sum_32)(const Edges<float>& edges);
  /// The currents alone.
  double (*current_sum_64)(const Edges<double>& edges);
  float (*current_sum_32)(const Edges<float>& edges);
  /// Current and derivatives of each edge, [n] each.
  void (*each_64)(const Edges<double>& edges, double* current, double* by_source, double* by_target);
  void (*each_32)(const Edges<float>& edges, float* current, float* by_source, float* by_target);
  /// Adds -weight * dI/dp to the gradient of each edge's parameters, by_parameter[i] for
  /// EdgeLaw::parameters[i] (skipped where it is null). weight = lambda_s - lambda_t, per edge or one for
  /// all.
  void (*gradient_64)(const Edges<double>& edges, const double* weight, bool one_weight,
                      double* const (&by_parameter)[4]);
  void (*gradient_32)(const Edges<float>& edges, const float* weight, bool one_weight,
                      float* const (&by_parameter)[4]);
};

/// out = exp(-x * inverse), arguments limited to +-707 (float: +-86).
void exp_minus(std::size_t n, const double* x, const double* inverse, double* out);
void exp_minus(std::size_t n, const float* x, const float* inverse, float* out);

/// out = c_ref exp((mu - mu0) * inverse), with the exponential limited to 2^-500 .. 2^500 (float: 2^-45 ..
/// 2^45). The current of an enzyme is saturated long before these limits.
void concentrations(std::size_t n, const double* mu, const double* mu0, double inverse, double c_ref,
                    double* out);
void concentrations(std::size_t n, const float* mu, const float* mu0, float inverse, float c_ref, float* out);

/// out = 2^y, |y| limited to 1021 (float: 125). For benchmarks: the time of one exponential.
void power_of_two(std::size_t n, const double* y, double* out);
void power_of_two(std::size_t n, const float* y, float* out);

}  // namespace ness::sim::kernels
