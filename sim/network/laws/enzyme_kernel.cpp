// Vector code of enzymes.
//
// Compiled once for each instruction set, so nothing that is inlined elsewhere (Eigen, the standard library's
// templates) may be used here: the linker would keep one copy, of any target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "laws/enzyme_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/law_kernels-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace ness::sim::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
// Internal linkage: otherwise the linker would merge functions of the same names from different laws.
namespace {

// The law multiplied by Ka Kb Ki s, so that one reciprocal does: with k_i = Ki s, k = c_s s, a = Ka k_i
//   M = Kb (a + c_s (k_i + k)) + c_t a,   R = 1/M,   I = Vf (c_s - c_t/Keq) Kb k_i R.
// s is the power of two that brings the larger of Ki and c_s to 1..2: squares of concentrations do not
// overflow, and Ki may be infinite.
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
    // 2^80 (2^600) replaces an infinite Ki. Its inverse is negligible beside the largest concentration, and
    // its product with the smallest concentration is not denormal.
    const auto infinite =
        hn::Set(d, sizeof(T) == 4 ? T(1.2089258196146292e24) : T(4.149515568880993e180));  // 2^80, 2^600
    const auto Ka = at.load(e.p[1], 1), Kb = at.load(e.p[2], 1), Ki = hn::Min(at.load(e.p[3], 1), infinite);
    const auto c_s = at.load(e.node_s, 1), c_t = target(e, at, e.node_t, T(1)),
               quotient = at.load(e.quotient, 1);

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

struct Choice {
  template <bool limits, class T, class Use>
  static HWY_INLINE void with(const Edges<T>& e, Use use) {
    use(Enzyme<T>{.e = e});
  }
};

NESS_LAW_KERNELS_OF_TARGET(Choice)

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ness::sim::kernels {
NESS_LAW_KERNELS(enzyme_kernels, NodeQuantity::concentration);
}  // namespace ness::sim::kernels
#endif
