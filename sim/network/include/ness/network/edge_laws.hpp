// The three edge laws, one edge at a time, with exact partial derivatives. The reference for the vector code.
//
// Potentials are in the units of kT (the energy unit of the network); currents run source -> target.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace ness::sim {

enum class Law : std::uint8_t { linear, quantum_dot, enzyme };

/// Names of a law's parameters, in the order of EdgeCurrent::by_parameter. Quantum dot: gamma, a, b, d. Linear: G. Enzyme: Vf, Ka,
/// Kb, Ki.
struct LawInfo {
  Law law;
  std::string_view name;  ///< "linear", "quantum-dot", "enzyme"
  std::size_t parameters;
  std::array<std::string_view, 4> names;
  std::array<std::string_view, 4> units;
  std::array<bool, 4> positive;      ///< must be >= 0 (stepped on a logarithmic scale)
  std::array<double, 4> defaults;    ///< NaN: must be given
};
const LawInfo& law_info(Law law);
/// Throws std::invalid_argument naming the laws there are.
Law law_of(std::string_view name);

/// What a law needs to know of the node at one end.
struct EdgeEnd {
  double mu = 0;   ///< potential
  double T = 1;    ///< relative temperature (quantum dots)
  double mu0 = 0;  ///< potential at the reference concentration (enzymes)
};

/// The current of an edge and its partial derivatives.
struct EdgeCurrent {
  double current = 0;
  double by_source = 0, by_target = 0;      ///< dI/dmu_s, dI/dmu_t
  std::array<double, 4> by_parameter{};     ///< dI/dp, in the order of LawInfo::names
};

/// I = G (mu_s - mu_t).
EdgeCurrent linear_current(const double* p, const EdgeEnd& source, const EdgeEnd& target);
/// I = gamma [f_s(eps) - f_t(eps)], eps = a + b (mu_s - mu_t) + d (mu_s + mu_t)/2 (Eqs. 15-17; there d = 0),
/// f_l(E) = 1/(1 + exp((E - mu_l)/(kT T_l))). Evaluated so that deep blockade keeps its relative precision.
EdgeCurrent quantum_dot_current(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT);
/// I = (Vf c_s/Ka - Vr c_t/Kb) / (1 + c_s/Ka + c_t/Kb + c_s^2/(Ka Ki)) (Eq. 23), c = c_ref exp((mu - mu0)/kT) (Eq. 20), Vr from the
/// Haldane relation Vf Kb/(Vr Ka) = exp(-(mu0_t - mu0_s)/kT), through which the derivatives by Vf, Ka and Kb are taken. Ki may be
/// infinite: no inhibition.
EdgeCurrent enzyme_current(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT, double c_ref);

EdgeCurrent edge_current(Law law, const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT, double c_ref);

}  // namespace ness::sim
