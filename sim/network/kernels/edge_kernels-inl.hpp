// Arithmetic that all vector kernels share: powers of two and the occupations of a quantum dot, in single and
// double precision.
//
// Included once for each instruction set by files that Highway compiles several times; such files include
// nothing that is inlined elsewhere (Eigen, the standard library's templates).
#if defined(NESS_SIM_EDGE_KERNELS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef NESS_SIM_EDGE_KERNELS_INL
#undef NESS_SIM_EDGE_KERNELS_INL
#else
#define NESS_SIM_EDGE_KERNELS_INL
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace ness::sim::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Constants of each precision.
template <class T>
struct Precision;
template <>
struct Precision<float> {
  using Bits = std::int32_t;
  static constexpr int mantissa = 23;
  static constexpr float rounder = 12582912.0F;  // 1.5 x 2^23: adding it rounds to an integer in the low bits
  static constexpr float limit = 125.0F;
  static constexpr float full =
      1.152921504606847e18F;  // 2^60: 1/(1 + 2^60) is 0 to all digits, and the product of two is finite
  // Chebyshev fit of (2^f - 1)/f on [-1/2, 1/2], highest power first: relative error of 2^f 5.1e-9.
  static constexpr int terms = 6;
  static constexpr float growth[terms] = {1.54531629e-4F, 1.33908634e-3F, 9.61808256e-3F,
                                          5.55035711e-2F, 2.40226508e-1F, 6.93147188e-1F};
  // The same with relative error 7e-6.
  static constexpr float about[4] = {9.65671029e-3F, 5.58382829e-2F, 2.40225301e-1F, 6.93136734e-1F};
};
template <>
struct Precision<double> {
  using Bits = std::int64_t;
  static constexpr int mantissa = 52;
  static constexpr double rounder = 6755399441055744.0;
  static constexpr double limit = 1021.0;
  static constexpr double full = 1.5260508637393594e150;  // 2^498.9
  // The same with relative error 8.4e-18.
  static constexpr int terms = 11;
  static constexpr double growth[terms] = {
      4.45496059818651839e-10, 7.0725859492692237e-9,  1.01780624458457735e-7, 1.32154425879216897e-6,
      1.52527338298361184e-5,  1.54035304417360502e-4, 1.33335581464169353e-3, 9.61812910760688853e-3,
      5.55041086648215943e-2,  2.40226506959100982e-1, 6.93147180559945309e-1};
};

// (2^f - 1)/f on [-1/2, 1/2]; `about`: in single precision to 7e-6 of 2^f.
template <bool about = false, class D>
HWY_INLINE hn::Vec<D> growth(D d, hn::Vec<D> f) {
  using P = Precision<hn::TFromD<D>>;
  if constexpr (about && sizeof(hn::TFromD<D>) == 4) {
    auto p = hn::Set(d, P::about[0]);
    HWY_UNROLL(3)
    for (int i = 1; i < 4; ++i) p = hn::MulAdd(p, f, hn::Set(d, P::about[i]));
    return p;
  } else {
    auto p = hn::Set(d, P::growth[0]);
    HWY_UNROLL(10)
    for (int i = 1; i < P::terms; ++i) p = hn::MulAdd(p, f, hn::Set(d, P::growth[i]));
    return p;
  }
}

/// 2^y, |y| limited to Precision::limit. `bounded`: the caller guarantees |y| <= limit. Relative error: the
/// rounding of y, plus 1.5 units in the last place. `about`: 7e-6 in single precision.
template <bool bounded = false, bool about = false, class D>
HWY_INLINE hn::Vec<D> power_of_two(D d, hn::Vec<D> y) {
  using P = Precision<hn::TFromD<D>>;
  const hn::Rebind<typename P::Bits, D> bits;
  if constexpr (!bounded) y = hn::Min(hn::Max(y, hn::Set(d, -P::limit)), hn::Set(d, P::limit));
  const auto shifted = hn::Add(y, hn::Set(d, P::rounder));
  const auto f = hn::Sub(y, hn::Sub(shifted, hn::Set(d, P::rounder)));
  const auto fraction = hn::MulAdd(growth<about>(d, f), f, hn::Set(d, hn::TFromD<D>(1)));
  return hn::BitCast(
      d, hn::Add(hn::BitCast(bits, fraction), hn::ShiftLeft<P::mantissa>(hn::BitCast(bits, shifted))));
}

/// The base of an exponential, b^x = 2^(x scale), and the limits of its argument.
template <class D>
struct Base {
  hn::Vec<D> scale, lowest, highest;
  /// scale > 0; |x scale| limited to `limit`.
  HWY_INLINE Base(D d, hn::TFromD<D> by, hn::TFromD<D> limit = Precision<hn::TFromD<D>>::limit)
      : scale(hn::Set(d, by)), lowest(hn::Set(d, -limit / by)), highest(hn::Set(d, limit / by)) {}
};
/// 2^(x scale). It is as fast as power_of_two, since the product is part of fused operations. It is also more
/// exact: where the target has fused operations, the product is not rounded. The relative error is then |x
/// scale| ln 2 times that of `scale`, plus 1.5 units in the last place. (log2 e is within 1.4e-17 of its
/// double and 1.4e-8 of its float.) `bounded`: the caller guarantees x within its limits; beyond them the
/// result is meaningless.
template <bool bounded = false, class D>
HWY_INLINE hn::Vec<D> power(D d, const Base<D>& base, hn::Vec<D> x) {
  using P = Precision<hn::TFromD<D>>;
  const hn::Rebind<typename P::Bits, D> bits;
  if constexpr (!bounded) x = hn::Min(hn::Max(x, base.lowest), base.highest);
  const auto shifted = hn::MulAdd(x, base.scale, hn::Set(d, P::rounder));
  const auto f = hn::MulSub(x, base.scale, hn::Sub(shifted, hn::Set(d, P::rounder)));
  const auto fraction = hn::MulAdd(growth(d, f), f, hn::Set(d, hn::TFromD<D>(1)));
  return hn::BitCast(
      d, hn::Add(hn::BitCast(bits, fraction), hn::ShiftLeft<P::mantissa>(hn::BitCast(bits, shifted))));
}

/// 1/x, for x far from the ends of the range. `about`: single precision with at least 12 bits, where the
/// machine has such an estimate.
template <bool about = false, class D, hwy::EnableIf<sizeof(hn::TFromD<D>) == 4>* = nullptr>
HWY_INLINE hn::Vec<D> reciprocal(D d, hn::Vec<D> x) {
  const auto r = hn::ApproximateReciprocal(x);  // at least 12 bits, and 23 after one step of Newton's method
#if HWY_ARCH_X86
  if constexpr (about) return r;
#endif
  return hn::Mul(r, hn::NegMulAdd(x, r, hn::Set(d, 2.0F)));
}
template <bool about = false, class D, hwy::EnableIf<sizeof(hn::TFromD<D>) == 8>* = nullptr>
HWY_INLINE hn::Vec<D> reciprocal(D d, hn::Vec<D> x) {
  return hn::Div(hn::Set(d, 1.0), x);
}

/// Occupations f_s, f_t of a dot's level with respect to its two ends, at equal temperatures. Potentials and
/// levels are in units of kT T ln 2, so that e^((eps - mu)/(kT T)) = 2^level 2^-mu: one exponential per edge,
/// since the second factor belongs to the node. `bounded`: |level| plus |mu| of either end is so small that
/// no limit applies; the bits are the same.
template <class V>
struct Occupations {
  V s, t;
};
/// 1/f_s and 1/f_t.
template <bool bounded, bool about, class D>
HWY_INLINE Occupations<hn::Vec<D>> inverse_occupations(D d, hn::Vec<D> level, hn::Vec<D> e_s,
                                                       hn::Vec<D> e_t) {
  using T = hn::TFromD<D>;
  const auto one = hn::Set(d, T(1)), full = hn::Set(d, Precision<T>::full);
  const auto E = power_of_two<bounded, about>(d, level);
  auto above_s = hn::MulAdd(E, e_s, one), above_t = hn::MulAdd(E, e_t, one);
  if constexpr (!bounded) {
    above_s = hn::Min(above_s, full);
    above_t = hn::Min(above_t, full);
  }
  return {above_s, above_t};
}
template <bool bounded = false, bool about = false, class D>
HWY_INLINE Occupations<hn::Vec<D>> occupations(D d, hn::Vec<D> level, hn::Vec<D> e_s, hn::Vec<D> e_t) {
  const auto above = inverse_occupations<bounded, about>(d, level, e_s, e_t);
  const auto r = reciprocal<about>(d, hn::Mul(above.s, above.t));
  return {hn::Mul(above.t, r), hn::Mul(above.s, r)};
}
/// f_s - f_t alone, at lower cost: (1/f_t - 1/f_s) f_s f_t. The absolute error is that of the difference.
template <bool bounded = false, class D>
HWY_INLINE hn::Vec<D> window(D d, hn::Vec<D> level, hn::Vec<D> e_s, hn::Vec<D> e_t) {
  const auto above = inverse_occupations<bounded, false>(d, level, e_s, e_t);
  return hn::Mul(hn::Sub(above.t, above.s), reciprocal(d, hn::Mul(above.s, above.t)));
}

}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
