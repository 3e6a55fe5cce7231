#include "kernels/kernels.hpp"

// Compiled once for each instruction set, so nothing that is inlined elsewhere (Eigen, the standard library's templates) may be
// used here: the linker would keep one copy, of any target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/edge_kernels-inl.hpp"
#include "kernels/vectors-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace ness::sim::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr double log2_e = 1.4426950408889634074;

// An edge's end: per edge, or one for all.
template <class T, class At>
HWY_INLINE Vec<T> target(const Edges<T>& e, const At& at, const T* p, T fill) {
  return e.one_target ? hn::Set(Tag<T>(), *p) : at.load(p, fill);
}

// What a law computes of a vector of edges, all per unit amplitude: I = amplitude * current; the derivatives by the potentials in units of
// the law's `slope`, too. A loop uses what it needs of it, and the compiler leaves out the rest.
template <class T>
struct Values {
  Vec<T> amplitude, current, by_source, by_target;
  Vec<T> by[4];  // by parameter; by[0], the amplitude, is `current`
  Vec<T> level, divisor;  // of a law that is not limited: the exponential's argument, and 1/r
};
// Denormal reciprocals are not estimated as such (AVX-512 does).
constexpr bool flushes = HWY_TARGET > HWY_AVX3;
constexpr float largest = 4.25352959e37F;  // 2^125

// The laws. A new one is a struct here, with its number of parameters and the unit of its slopes, and a case in with_law. Lanes beyond
// the last edge hold parameters and potentials of 0 unless said: they must stay finite. `limited`: finite and right whatever the arguments.

template <class T>
struct Linear {
  static constexpr bool limited = true;
  static constexpr int parameters = 1;
  static constexpr T slope = 1;
  const Edges<T>& e;

  template <class At>
  HWY_INLINE Values<T> operator()(const At& at) const {
    const Tag<T> d;
    Values<T> v;
    v.amplitude = at.load(e.p[0], 0);
    v.current = hn::Sub(at.load(e.mu_s, 0), target(e, at, e.mu_t, T(0)));
    v.by_source = hn::Set(d, T(1));
    v.by_target = hn::Set(d, T(-1));
    return v;
  }
};

// With e_s = exp((eps - mu_s)/kT), e_t likewise and r = 1/((1 + e_s)(1 + e_t)): f_s = (1 + e_t) r, f_s - f_t = (e_t - e_s) r, which keeps
// its digits where both ends are full or empty, f (1 - f) = e f^2, and 1 - f_s - f_t = (e_s e_t - 1) r. Not limited, it is right as long as
// |level| is within furthest() and the result is a number: where e_s, e_t or 1/r is none, Newton's method for r makes the result none. Where
// estimates of reciprocals that would be denormal are 0, 1/r must be within `largest`, too. Its edges have one target then.
template <class T, bool with_d, bool equal_T, bool limits>
struct QuantumDot {
  static_assert(limits || (equal_T && sizeof(T) == 4));
  static constexpr bool limited = limits;
  static constexpr int parameters = with_d ? 4 : 3;
  const Edges<T>& e;
  const T slope;
  const Base<Tag<T>> base;
  const Vec<T> one_mu_t, one_node_t;
  HWY_INLINE explicit QuantumDot(const Edges<T>& edges)
      : e(edges), slope(equal_T ? edges.inverse : T(1)), base(Tag<T>(), static_cast<T>(log2_e * static_cast<double>(slope))),
        one_mu_t(hn::Set(Tag<T>(), limits ? T(0) : *edges.mu_t)), one_node_t(hn::Set(Tag<T>(), limits ? T(0) : *edges.node_t)) {}
  HWY_INLINE QuantumDot<T, with_d, equal_T, true> with_limits() const { return QuantumDot<T, with_d, equal_T, true>(e); }
  HWY_INLINE Vec<T> furthest() const { return base.highest; }

  template <class At>
  HWY_INLINE Values<T> operator()(const At& at) const {
    const Tag<T> d;
    const auto one = hn::Set(d, T(1)), half = hn::Set(d, T(0.5)), full = hn::Set(d, Precision<T>::full);
    const auto mu_s = at.load(e.mu_s, 0), mu_t = limits ? target(e, at, e.mu_t, T(0)) : one_mu_t;
    const auto difference = hn::Sub(mu_s, mu_t);
    const auto b = at.load(e.p[2], 0);
    auto level = hn::MulAdd(b, difference, at.load(e.p[1], 0));
    auto half_d = one, sum = one;
    if (with_d) {
      half_d = hn::Mul(at.load(e.p[3], 0), half);
      sum = hn::Add(mu_s, mu_t);
      level = hn::MulAdd(half_d, sum, level);
    }
    auto inverse_s = one, inverse_t = one, e_s = one, e_t = one;
    if (equal_T) {
      const auto E = power<!limits>(d, base, level);
      e_s = hn::Mul(E, at.load(e.node_s, 1));
      e_t = hn::Mul(E, limits ? target(e, at, e.node_t, T(1)) : one_node_t);
    } else {
      inverse_s = at.load(e.inverse_s, 1);
      inverse_t = at.load(e.inverse_t, 1);
      e_s = power(d, base, hn::Mul(hn::Sub(level, mu_s), inverse_s));
      e_t = power(d, base, hn::Mul(hn::Sub(level, mu_t), inverse_t));
    }
    if constexpr (limits) {
      e_s = hn::Min(e_s, full);
      e_t = hn::Min(e_t, full);
    }
    const auto above_s = hn::Add(one, e_s), above_t = hn::Add(one, e_t);
    const auto divisor = hn::MulAdd(above_s, e_t, above_s);  // without above_t, which not all need
    const auto r = reciprocal(d, divisor);
    const auto f_s = hn::Mul(above_t, r), f_t = hn::Mul(above_s, r);
    auto p_s = hn::Mul(hn::Mul(e_s, f_s), f_s), p_t = hn::Mul(hn::Mul(e_t, f_t), f_t);  // f (1 - f)

    Values<T> v;
    v.level = level;
    v.divisor = divisor;
    v.amplitude = at.load(e.p[0], 0);
    v.current = hn::Mul(hn::Sub(e_t, e_s), r);
    auto by_level = one;
    if (equal_T) {
      // p_t - p_s, which spares the sum over edges into one node p_s.
      by_level = hn::Mul(v.current, hn::Mul(hn::NegMulAdd(e_s, e_t, one), r));
      v.by[1] = hn::Mul(by_level, hn::Set(d, slope));
    } else {
      p_s = hn::Mul(p_s, inverse_s);
      p_t = hn::Mul(p_t, inverse_t);
      by_level = v.by[1] = hn::Sub(p_t, p_s);
    }
    if (with_d) {
      v.by_source = hn::MulAdd(hn::Add(half_d, b), by_level, p_s);
      v.by_target = hn::MulSub(hn::Sub(half_d, b), by_level, p_t);
    } else {
      v.by_source = hn::MulAdd(b, by_level, p_s);
      v.by_target = hn::NegMulSub(b, by_level, p_t);
    }
    v.by[2] = hn::Mul(v.by[1], difference);
    v.by[3] = hn::Mul(v.by[1], hn::Mul(sum, half));
    return v;
  }
};

// The law multiplied by Ka Kb Ki s, so that one reciprocal does: with k_i = Ki s, k = c_s s, a = Ka k_i
//   M = Kb (a + c_s (k_i + k)) + c_t a,   R = 1/M,   I = Vf (c_s - c_t/Keq) Kb k_i R.
// s is the power of two that brings the larger of Ki and c_s to 1..2: squares of concentrations do not overflow, and Ki may be infinite.
template <class T>
struct Enzyme {
  static constexpr bool limited = true;
  static constexpr int parameters = 4;
  const Edges<T>& e;
  const T slope = e.inverse;

  template <class At>
  HWY_INLINE Values<T> operator()(const At& at) const {
    const Tag<T> d;
    using P = Precision<T>;
    using Bits = typename P::Bits;
    const hn::Rebind<Bits, Tag<T>> bits;
    // Its inverse beside the largest concentration is 0 to all digits, and times the smallest it is no denormal.
    const auto infinite = hn::Set(d, sizeof(T) == 4 ? T(1.2089258196146292e24) : T(4.149515568880993e180));  // 2^80, 2^600
    const auto Ka = at.load(e.p[1], 1), Kb = at.load(e.p[2], 1), Ki = hn::Min(at.load(e.p[3], 1), infinite);
    const auto c_s = at.load(e.node_s, 1), c_t = target(e, at, e.node_t, T(1)), quotient = at.load(e.quotient, 1);

    constexpr Bits one_bits = Bits{sizeof(T) == 4 ? 127 : 1023} << P::mantissa;
    constexpr Bits exponent = sizeof(T) == 4 ? Bits{0x7f800000} : static_cast<Bits>(0x7ff0000000000000);
    const auto larger = hn::And(hn::BitCast(bits, hn::Max(Ki, c_s)), hn::Set(bits, exponent));
    const auto s = hn::BitCast(d, hn::Sub(hn::Set(bits, 2 * one_bits), larger));
    const auto k_i = hn::Mul(Ki, s), k = hn::Mul(c_s, s);
    const auto a = hn::Mul(Ka, k_i);
    const auto M = hn::MulAdd(Kb, hn::MulAdd(c_s, hn::Add(k_i, k), a), hn::Mul(c_t, a));
    const auto R = reciprocal(d, M);
    const auto force = hn::NegMulAdd(c_t, quotient, c_s);
    const auto KbR = hn::Mul(Kb, R), g = hn::Mul(KbR, k_i);  // g = 1/(Ka D)
    const auto bound_t = hn::Mul(hn::Mul(c_t, a), R);        // c_t/(Kb D)

    Values<T> v;
    v.amplitude = at.load(e.p[0], 0);
    v.current = hn::Mul(force, g);
    const auto slowed = hn::NegMulAdd(v.current, hn::Add(k_i, hn::Add(k, k)), k_i);
    v.by_source = hn::Mul(hn::Mul(c_s, KbR), slowed);
    v.by_target = hn::NegMulSub(v.current, bound_t, hn::Mul(hn::Mul(c_t, quotient), g));
    v.by[1] = hn::Neg(hn::Mul(v.current, hn::Mul(k_i, hn::Mul(hn::Add(Kb, c_t), R))));
    v.by[2] = hn::Mul(hn::Mul(hn::Mul(force, k_i), R), bound_t);
    const auto inhibited = hn::Mul(hn::IfThenElseZero(hn::Lt(Ki, infinite), k), KbR);
    v.by[3] = hn::Mul(hn::Mul(force, inhibited), inhibited);
    return v;
  }
};

// `limits`: the law is limited; otherwise it is not where it can do without.
template <bool limits = true, class T, class Use>
HWY_INLINE void with_law(Law law, const Edges<T>& e, Use use) {
  switch (law) {
    case Law::linear: return use(Linear<T>{.e = e});
    case Law::quantum_dot: {
      const bool equal_T = e.node_s != nullptr;
      if constexpr (!limits && sizeof(T) == 4) {
        if (equal_T && e.one_target) return e.p[3] != nullptr ? use(QuantumDot<T, true, true, false>(e)) : use(QuantumDot<T, false, true, false>(e));
      }
      if (e.p[3] != nullptr) return equal_T ? use(QuantumDot<T, true, true, true>(e)) : use(QuantumDot<T, true, false, true>(e));
      return equal_T ? use(QuantumDot<T, false, true, true>(e)) : use(QuantumDot<T, false, false, true>(e));
    }
    case Law::enzyme: return use(Enzyme<T>{.e = e});
  }
}

// Adds the currents of the edges [first, end), and with_slope their slopes by the target. False where the law is not limited and had to be:
// nothing is added then.
template <bool with_slope, class T, class L>
HWY_INLINE bool add_currents(const L& edges, std::size_t first, std::size_t end, Vec<T>& current, Vec<T>& slope) {
  const Tag<T> d;
  auto I = current, G = slope, squares = hn::Zero(d), most = hn::Zero(d);
  for_each_vector<T, 4>(first, end, [&](auto at) HWY_ATTR {
    const Values<T> v = edges(at);  // beyond the last edge the amplitude is 0
    I = hn::MulAdd(v.amplitude, v.current, I);
    if constexpr (with_slope) G = hn::MulAdd(v.amplitude, v.by_target, G);
    if constexpr (!L::limited) squares = hn::MulAdd(v.level, v.level, squares);
    if constexpr (!L::limited && flushes) most = hn::Max(most, v.divisor);
  });
  if constexpr (!L::limited) {
    // No square is larger than their sum.
    const auto right = hn::And(hn::Le(squares, hn::Mul(edges.furthest(), edges.furthest())), hn::And(hn::IsFinite(I), hn::IsFinite(G)));
    if (!hn::AllTrue(d, hn::And(right, hn::Le(most, hn::Set(d, T(largest)))))) return false;
  }
  current = I;
  slope = G;
  return true;
}

template <bool with_slope, class T>
HWY_INLINE Sum<T> sum_of(Law law, const Edges<T>& e) {
  Sum<T> total;
  with_law<false>(law, e, [&](auto edges) HWY_ATTR {
    using L = decltype(edges);
    const Tag<T> d;
    auto current = hn::Zero(d), slope = hn::Zero(d);
    // The fewer are judged together, the less their squares add up to.
    const std::size_t together = L::limited ? e.n : 64 * hn::Lanes(d);
    for (std::size_t first = 0; first < e.n; first += together) {
      const std::size_t end = e.n - first < together ? e.n : first + together;
      if (add_currents<with_slope, T>(edges, first, end, current, slope)) continue;
      if constexpr (!L::limited) add_currents<with_slope, T>(edges.with_limits(), first, end, current, slope);
    }
    total = {hn::GetLane(hn::SumOfLanes(d, current)), with_slope ? hn::GetLane(hn::SumOfLanes(d, slope)) * edges.slope : T(0)};
  });
  return total;
}

template <class T>
HWY_INLINE void each_of(Law law, const Edges<T>& e, T* current, T* by_source, T* by_target) {
  with_law(law, e, [&](auto edges) HWY_ATTR {
    for_each_vector<T>(e.n, [&](auto at) HWY_ATTR {
      const Values<T> v = edges(at);
      const auto slope = hn::Mul(v.amplitude, hn::Set(Tag<T>(), edges.slope));
      at.store(hn::Mul(v.amplitude, v.current), current);
      at.store(hn::Mul(slope, v.by_source), by_source);
      at.store(hn::Mul(slope, v.by_target), by_target);
    });
  });
}

template <class T>
HWY_INLINE void gradient_of(Law law, const Edges<T>& e, const T* weight, bool one_weight, T* const (&by_parameter)[4]) {
  with_law(law, e, [&](auto edges) HWY_ATTR {
    for_each_vector<T>(e.n, [&](auto at) HWY_ATTR {
      const Values<T> v = edges(at);
      const auto minus = hn::Neg(one_weight ? hn::Set(Tag<T>(), *weight) : at.load(weight, 0));
      const auto scaled = hn::Mul(minus, v.amplitude);
      at.store(hn::MulAdd(minus, v.current, at.load(by_parameter[0], 0)), by_parameter[0]);
      for (int i = 1; i < decltype(edges)::parameters; ++i) at.store(hn::MulAdd(scaled, v.by[i], at.load(by_parameter[i], 0)), by_parameter[i]);
    });
  });
}

template <class T>
HWY_INLINE void exp_minus_of(std::size_t n, const T* x, const T* inverse, T* out) {
  const Tag<T> d;
  const Base<Tag<T>> e(d, static_cast<T>(log2_e));
  for_each_vector<T>(n, [&](auto at) HWY_ATTR { at.store(power(d, e, hn::Neg(hn::Mul(at.load(x, 0), at.load(inverse, 0)))), out); });
}

template <class T>
HWY_INLINE void concentrations_of(std::size_t n, const T* mu, const T* mu0, T inverse, T c_ref, T* out) {
  const Tag<T> d;
  const Base<Tag<T>> e(d, static_cast<T>(log2_e * inverse), sizeof(T) == 4 ? T(45) : T(500));
  for_each_vector<T>(n, [&](auto at) HWY_ATTR { at.store(hn::Mul(hn::Set(d, c_ref), power(d, e, hn::Sub(at.load(mu, 0), at.load(mu0, 0)))), out); });
}

template <class T>
HWY_INLINE void power_of_two_of(std::size_t n, const T* y, T* out) {
  for_each_vector<T>(n, [&](auto at) HWY_ATTR { at.store(power_of_two(Tag<T>(), at.load(y, 0)), out); });
}

// Dispatched by name, so a function for each precision.
Sum<double> sum_64(Law law, const Edges<double>& e) { return sum_of<true>(law, e); }
Sum<float> sum_32(Law law, const Edges<float>& e) { return sum_of<true>(law, e); }
double current_sum_64(Law law, const Edges<double>& e) { return sum_of<false>(law, e).current; }
float current_sum_32(Law law, const Edges<float>& e) { return sum_of<false>(law, e).current; }
void each_64(Law law, const Edges<double>& e, double* current, double* by_source, double* by_target) { each_of(law, e, current, by_source, by_target); }
void each_32(Law law, const Edges<float>& e, float* current, float* by_source, float* by_target) { each_of(law, e, current, by_source, by_target); }
void gradient_64(Law law, const Edges<double>& e, const double* weight, bool one, double* const (&by)[4]) { gradient_of(law, e, weight, one, by); }
void gradient_32(Law law, const Edges<float>& e, const float* weight, bool one, float* const (&by)[4]) { gradient_of(law, e, weight, one, by); }
void exp_minus_64(std::size_t n, const double* x, const double* inverse, double* out) { exp_minus_of(n, x, inverse, out); }
void exp_minus_32(std::size_t n, const float* x, const float* inverse, float* out) { exp_minus_of(n, x, inverse, out); }
void concentrations_64(std::size_t n, const double* mu, const double* mu0, double inverse, double c_ref, double* out) {
  concentrations_of(n, mu, mu0, inverse, c_ref, out);
}
void concentrations_32(std::size_t n, const float* mu, const float* mu0, float inverse, float c_ref, float* out) {
  concentrations_of(n, mu, mu0, inverse, c_ref, out);
}
void power_of_two_64(std::size_t n, const double* y, double* out) { power_of_two_of(n, y, out); }
void power_of_two_32(std::size_t n, const float* y, float* out) { power_of_two_of(n, y, out); }

}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ness::sim::kernels {

HWY_EXPORT(sum_64);
HWY_EXPORT(sum_32);
HWY_EXPORT(current_sum_64);
HWY_EXPORT(current_sum_32);
HWY_EXPORT(each_64);
HWY_EXPORT(each_32);
HWY_EXPORT(gradient_64);
HWY_EXPORT(gradient_32);
HWY_EXPORT(exp_minus_64);
HWY_EXPORT(exp_minus_32);
HWY_EXPORT(concentrations_64);
HWY_EXPORT(concentrations_32);
HWY_EXPORT(power_of_two_64);
HWY_EXPORT(power_of_two_32);

Sum<double> sum(Law law, const Edges<double>& edges) { return HWY_DYNAMIC_DISPATCH(sum_64)(law, edges); }
Sum<float> sum(Law law, const Edges<float>& edges) { return HWY_DYNAMIC_DISPATCH(sum_32)(law, edges); }
double current_sum(Law law, const Edges<double>& edges) { return HWY_DYNAMIC_DISPATCH(current_sum_64)(law, edges); }
float current_sum(Law law, const Edges<float>& edges) { return HWY_DYNAMIC_DISPATCH(current_sum_32)(law, edges); }
void each(Law law, const Edges<double>& edges, double* current, double* by_source, double* by_target) {
  HWY_DYNAMIC_DISPATCH(each_64)(law, edges, current, by_source, by_target);
}
void each(Law law, const Edges<float>& edges, float* current, float* by_source, float* by_target) {
  HWY_DYNAMIC_DISPATCH(each_32)(law, edges, current, by_source, by_target);
}
void gradient(Law law, const Edges<double>& edges, const double* weight, bool one_weight, double* const (&by_parameter)[4]) {
  HWY_DYNAMIC_DISPATCH(gradient_64)(law, edges, weight, one_weight, by_parameter);
}
void gradient(Law law, const Edges<float>& edges, const float* weight, bool one_weight, float* const (&by_parameter)[4]) {
  HWY_DYNAMIC_DISPATCH(gradient_32)(law, edges, weight, one_weight, by_parameter);
}
void exp_minus(std::size_t n, const double* x, const double* inverse, double* out) { HWY_DYNAMIC_DISPATCH(exp_minus_64)(n, x, inverse, out); }
void exp_minus(std::size_t n, const float* x, const float* inverse, float* out) { HWY_DYNAMIC_DISPATCH(exp_minus_32)(n, x, inverse, out); }
void concentrations(std::size_t n, const double* mu, const double* mu0, double inverse, double c_ref, double* out) {
  HWY_DYNAMIC_DISPATCH(concentrations_64)(n, mu, mu0, inverse, c_ref, out);
}
void concentrations(std::size_t n, const float* mu, const float* mu0, float inverse, float c_ref, float* out) {
  HWY_DYNAMIC_DISPATCH(concentrations_32)(n, mu, mu0, inverse, c_ref, out);
}
void power_of_two(std::size_t n, const double* y, double* out) { HWY_DYNAMIC_DISPATCH(power_of_two_64)(n, y, out); }
void power_of_two(std::size_t n, const float* y, float* out) { HWY_DYNAMIC_DISPATCH(power_of_two_32)(n, y, out); }

}  // namespace ness::sim::kernels
#endif
