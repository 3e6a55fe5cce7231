// Vector code of quantum dots.
//
// Compiled once for each instruction set, so nothing that is inlined elsewhere (Eigen, the standard library's
// templates) may be used here: the linker would keep one copy, of any target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "laws/quantum_dot_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/law_kernels-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace ness::sim::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
// Internal linkage: otherwise the linker would merge functions of the same names from different laws.
namespace {

// With e_s = exp((eps - mu_s)/kT), e_t likewise and r = 1/((1 + e_s)(1 + e_t)):
//   f_s = (1 + e_t) r,   f_s - f_t = (e_t - e_s) r,   f (1 - f) = e f^2,   1 - f_s - f_t = (e_s e_t - 1) r.
// The difference keeps its digits where both ends are full or empty.
// Without limits, the result is right as long as |level| is within furthest() and the result is a number:
// where e_s, e_t or 1/r is not finite, Newton's method for r makes the result not finite, too. Where the
// estimate of a denormal reciprocal is 0, 1/r must also be within `largest`. Without limits all edges have
// one target.
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
      : e(edges),
        slope(equal_T ? edges.inverse : T(1)),
        base(Tag<T>(), static_cast<T>(log2_e * static_cast<double>(slope))),
        one_mu_t(hn::Set(Tag<T>(), limits ? T(0) : *edges.mu_t)),
        one_node_t(hn::Set(Tag<T>(), limits ? T(0) : *edges.node_t)) {}
  HWY_INLINE QuantumDot<T, with_d, equal_T, true> with_limits() const {
    return QuantumDot<T, with_d, equal_T, true>(e);
  }
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
    const auto divisor = hn::MulAdd(above_s, e_t, above_s);  // from above_s alone: not all need above_t
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
      // p_t - p_s from the current. In a sum over edges into one node, p_s is then not needed.
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

struct Choice {
  template <bool limits, class T, class Use>
  static HWY_INLINE void with(const Edges<T>& e, Use use) {
    const bool equal_T = e.node_s != nullptr;
    if constexpr (!limits && sizeof(T) == 4) {
      if (equal_T && e.one_target)
        return e.p[3] != nullptr ? use(QuantumDot<T, true, true, false>(e))
                                 : use(QuantumDot<T, false, true, false>(e));
    }
    if (e.p[3] != nullptr)
      return equal_T ? use(QuantumDot<T, true, true, true>(e)) : use(QuantumDot<T, true, false, true>(e));
    return equal_T ? use(QuantumDot<T, false, true, true>(e)) : use(QuantumDot<T, false, false, true>(e));
  }
};

NESS_LAW_KERNELS_OF_TARGET(Choice)

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ness::sim::kernels {
NESS_LAW_KERNELS(quantum_dot_kernels, NodeQuantity::exponential);
}  // namespace ness::sim::kernels
#endif
