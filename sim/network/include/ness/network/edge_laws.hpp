// The laws that edges obey, one edge at a time, with exact partial derivatives: the reference for the vector
// code.
//
// Potentials are in the units of kT (the energy unit of the network); currents run source -> target. A law is
// a row (EdgeLaw) in a file of its own, sim/network/laws/; laws/table.cpp lists the rows. Everything else
// goes by the row: which parameters a network has, how they are named, checked, stepped and drawn, what files
// and messages call the law, and how it is evaluated.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

namespace ness::sim {

namespace kernels {
struct LawKernels;
}

/// What a law needs to know of the node at one end.
struct EdgeEnd {
  double mu = 0;   ///< potential
  double T = 1;    ///< relative temperature (quantum dots)
  double mu0 = 0;  ///< potential at the reference concentration (enzymes)
};

constexpr std::size_t most_parameters = 4;  ///< of a law

/// The current of an edge and its partial derivatives.
struct EdgeCurrent {
  double current = 0;
  double by_source = 0, by_target = 0;                 ///< dI/dmu_s, dI/dmu_t
  std::array<double, most_parameters> by_parameter{};  ///< dI/dp, in the order of EdgeLaw::parameters
};

/// How steep a law is: the largest derivative of the arguments of its exponentials by the potential of either
/// end (inverse energy). Over a distance of 1/steepness the current may change from all to nothing.
struct Steepness {
  double by_source = 0, by_target = 0;
};

/// Which values a parameter may have. All but `any` are stepped on a logarithmic scale.
enum class Sign : std::uint8_t { any, not_negative, positive };

struct LawParameter {
  std::string_view name;  ///< its kind in files, e.g. "gamma"; laws may share a kind
  std::string_view unit;
  Sign sign = Sign::any;
  /// Of an edge where none is given. NaN: must be given; infinite: the parameter may be infinite.
  double initial = std::numeric_limits<double>::quiet_NaN();
  /// In theta only where an edge of the network has another value than `initial`.
  bool omitted = false;
  /// The parameter of the same edge that initial values may refer to: `fold` places the fold of an edge with
  /// it, `ratio` is relative to it.
  std::string_view fold_with = {}, ratio_to = {};
};

/// A law: one row of the table of laws.
struct EdgeLaw {
  std::string_view name = {};  ///< in files: "linear", "quantum-dot", "enzyme"
  /// At most most_parameters. The first is the amplitude, not negative, to which the current is proportional.
  std::span<const LawParameter> parameters = {};
  /// The current at parameters p [parameters] and its derivatives.
  EdgeCurrent (*current)(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT,
                         double c_ref) = nullptr;
  /// How steep the current is at parameters p, wherever the ends are. The solver takes no step that could
  /// jump a well this narrow. Null: 1/kT at both ends.
  Steepness (*steepness)(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT) = nullptr;
  /// How far the arguments of the exponentials move between two states of the ends, counted only where the
  /// current still changes by parts of 1e-12 of its amplitude; at most the way times `steepness`, which is
  /// taken where this is null.
  double (*way)(const double* p, const std::array<EdgeEnd, 2>& from, const std::array<EdgeEnd, 2>& to,
                double kT, double c_ref) = nullptr;
  /// The current is proportional to mu_s - mu_t: Newton's method may then step as far as it likes. Otherwise
  /// its steps are limited.
  bool linear = false;
  /// Nodes at its ends are pools of particles: their capacity is V c/kT (Eq. 21) and depends on the
  /// potential.
  bool pools = false;
  /// The current depends on the temperatures T of the nodes at its ends.
  bool thermal = true;
  /// Vector code for many edges at once. Null: the network takes `current` edge by edge, which is slow.
  const kernels::LawKernels* kernels = nullptr;

  /// Empty for a row that can be used; otherwise what it lacks.
  constexpr std::string_view problem() const {
    if (name.empty()) return "a law without a name";
    if (parameters.empty() || parameters.size() > most_parameters) return "a law has 1 to 4 parameters";
    if (parameters.front().sign == Sign::any)
      return "a law's first parameter is its amplitude, which is not negative";
    if (current == nullptr) return "a law without a current";
    return {};
  }
  /// Parameters of an edge of which nothing is given.
  std::array<double, most_parameters> defaults() const {
    std::array<double, most_parameters> values{};
    for (std::size_t i = 0; i < parameters.size(); ++i) values[i] = parameters[i].initial;
    return values;
  }
};

extern const EdgeLaw linear_law, quantum_dot_law, enzyme_law;

/// A law by reference to its row, which must outlive every network that uses it.
class Law {
 public:
  constexpr Law(const EdgeLaw& row) : row_(&row) {}
  constexpr const EdgeLaw* operator->() const { return row_; }
  constexpr const EdgeLaw& operator*() const { return *row_; }
  friend constexpr bool operator==(Law, Law) = default;
  static const Law linear, quantum_dot, enzyme;

 private:
  const EdgeLaw* row_;
};
inline constexpr Law Law::linear{linear_law}, Law::quantum_dot{quantum_dot_law}, Law::enzyme{enzyme_law};

/// The table: the laws that files may name, in the order in which parameter vectors hold them. (A network's
/// edges may obey laws that are not in it; those come last, in the order of their first edges.)
std::span<const Law> edge_laws();
/// Throws std::invalid_argument naming the laws there are.
Law law_of(std::string_view name);
/// "'linear', 'quantum-dot' or 'enzyme'": the names in the table.
std::string law_names();
/// "quantum-dot (gamma, a, b, optional d)": what files may say of an edge of this law.
std::string description(const EdgeLaw& law);

/// I = G (mu_s - mu_t).
EdgeCurrent linear_current(const double* p, const EdgeEnd& source, const EdgeEnd& target);
/// I = gamma [f_s(eps) - f_t(eps)], eps = a + b (mu_s - mu_t) + d (mu_s + mu_t)/2 (Eqs. 15-17; there d = 0),
/// f_l(E) = 1/(1 + exp((E - mu_l)/(kT T_l))). Evaluated so that deep blockade keeps its relative precision.
EdgeCurrent quantum_dot_current(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT);
/// I = (Vf c_s/Ka - Vr c_t/Kb) / (1 + c_s/Ka + c_t/Kb + c_s^2/(Ka Ki)) (Eq. 23), c = c_ref exp((mu - mu0)/kT)
/// (Eq. 20), Vr from the Haldane relation Vf Kb/(Vr Ka) = exp(-(mu0_t - mu0_s)/kT), through which the
/// derivatives by Vf, Ka and Kb are taken. Ki may be infinite: no inhibition.
EdgeCurrent enzyme_current(const double* p, const EdgeEnd& source, const EdgeEnd& target, double kT,
                           double c_ref);

inline EdgeCurrent edge_current(Law law, const double* p, const EdgeEnd& source, const EdgeEnd& target,
                                double kT, double c_ref) {
  return law->current(p, source, target, kT, c_ref);
}

}  // namespace ness::sim
