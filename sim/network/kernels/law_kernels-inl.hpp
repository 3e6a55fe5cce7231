// Loops over the edges of one law, common to all laws: sums into a node, currents and derivatives of each
// edge, gradients.
//
// A law's vector code is a struct L<T> in its own file (laws/NAME_kernel.cpp), constructed from Edges<T>:
//    static constexpr int parameters;   number of parameters
//    static constexpr bool limited;     its values are finite and right for all arguments
//    T slope;                           unit of its derivatives by the potentials
//    Values<T> operator()(at)           values of a vector of edges
//    furthest(), with_limits()          if not limited: largest right argument; the same law with limits
// The file also has a function `with<limits>(edges, use)`, which chooses the struct for the edges and calls
// use(L<T>(edges)); with `limits` false it may choose a struct that is not limited. Lanes beyond the last
// edge have parameters and potentials of 0 unless the law sets others: values must stay finite.
// NESS_LAW_KERNELS at the end of the file makes the functions of the law's row.
#if defined(NESS_SIM_LAW_KERNELS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef NESS_SIM_LAW_KERNELS_INL
#undef NESS_SIM_LAW_KERNELS_INL
#else
#define NESS_SIM_LAW_KERNELS_INL
#endif

#include "kernels/edge_kernels-inl.hpp"
#include "kernels/kernels.hpp"
#include "kernels/vectors-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace ness::sim::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr double log2_e = 1.4426950408889634074;

// Quantity of an edge's target: per edge, or one for all.
template <class T, class At>
HWY_INLINE Vec<T> target(const Edges<T>& e, const At& at, const T* p, T fill) {
  return e.one_target ? hn::Set(Tag<T>(), *p) : at.load(p, fill);
}

// Values of a law for a vector of edges, per unit amplitude: I = amplitude * current. Derivatives by the
// potentials are also in units of the law's `slope`. The compiler drops the values that a loop does not use.
template <class T>
struct Values {
  Vec<T> amplitude, current, by_source, by_target;
  Vec<T> by[4];           // by parameter; by[0], the amplitude, is `current`
  Vec<T> level, divisor;  // if not limited: the argument of the exponential, and 1/r
};
// True where the estimate of a denormal reciprocal is 0 (AVX-512 estimates it correctly).
constexpr bool flushes = HWY_TARGET > HWY_AVX3;
constexpr float largest = 4.25352959e37F;  // 2^125

// Adds the currents of the edges [first, end), and with_slope their derivatives by the target's potential.
// Returns false, and adds nothing, if the law is not limited but the arguments exceed what it can handle.
template <bool with_slope, class T, class L>
HWY_INLINE bool add_currents(const L& edges, std::size_t first, std::size_t end, Vec<T>& current,
                             Vec<T>& slope) {
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
    // The sum of squares bounds the largest square.
    const auto right = hn::And(hn::Le(squares, hn::Mul(edges.furthest(), edges.furthest())),
                               hn::And(hn::IsFinite(I), hn::IsFinite(G)));
    if (!hn::AllTrue(d, hn::And(right, hn::Le(most, hn::Set(d, T(largest)))))) return false;
  }
  current = I;
  slope = G;
  return true;
}

template <bool with_slope, class With, class T>
HWY_INLINE Sum<T> sum_of(const Edges<T>& e) {
  Sum<T> total;
  With::template with<false>(e, [&](auto edges) HWY_ATTR {
    using L = decltype(edges);
    const Tag<T> d;
    auto current = hn::Zero(d), slope = hn::Zero(d);
    // Small groups keep the sum of squares, and so the bound, small.
    const std::size_t together = L::limited ? e.n : 64 * hn::Lanes(d);
    for (std::size_t first = 0; first < e.n; first += together) {
      const std::size_t end = e.n - first < together ? e.n : first + together;
      if (add_currents<with_slope, T>(edges, first, end, current, slope)) continue;
      if constexpr (!L::limited) add_currents<with_slope, T>(edges.with_limits(), first, end, current, slope);
    }
    total = {hn::GetLane(hn::SumOfLanes(d, current)),
             with_slope ? hn::GetLane(hn::SumOfLanes(d, slope)) * edges.slope : T(0)};
  });
  return total;
}

template <class With, class T>
HWY_INLINE void each_of(const Edges<T>& e, T* current, T* by_source, T* by_target) {
  With::template with<true>(e, [&](auto edges) HWY_ATTR {
    for_each_vector<T>(e.n, [&](auto at) HWY_ATTR {
      const Values<T> v = edges(at);
      const auto slope = hn::Mul(v.amplitude, hn::Set(Tag<T>(), edges.slope));
      at.store(hn::Mul(v.amplitude, v.current), current);
      at.store(hn::Mul(slope, v.by_source), by_source);
      at.store(hn::Mul(slope, v.by_target), by_target);
    });
  });
}

template <class With, class T>
HWY_INLINE void gradient_of(const Edges<T>& e, const T* weight, bool one_weight,
                            T* const (&by_parameter)[4]) {
  With::template with<true>(e, [&](auto edges) HWY_ATTR {
    for_each_vector<T>(e.n, [&](auto at) HWY_ATTR {
      const Values<T> v = edges(at);
      const auto minus = hn::Neg(one_weight ? hn::Set(Tag<T>(), *weight) : at.load(weight, 0));
      const auto scaled = hn::Mul(minus, v.amplitude);
      at.store(hn::MulAdd(minus, v.current, at.load(by_parameter[0], 0)), by_parameter[0]);
      for (int i = 1; i < decltype(edges)::parameters; ++i)
        at.store(hn::MulAdd(scaled, v.by[i], at.load(by_parameter[i], 0)), by_parameter[i]);
    });
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::kernels
HWY_AFTER_NAMESPACE();

// The functions of a law for one instruction set, one per precision: Highway dispatches by name.
#undef NESS_LAW_KERNELS_OF_TARGET
#define NESS_LAW_KERNELS_OF_TARGET(With)                                                            \
  Sum<double> sum_64(const Edges<double>& e) { return sum_of<true, With>(e); }                      \
  Sum<float> sum_32(const Edges<float>& e) { return sum_of<true, With>(e); }                        \
  double current_sum_64(const Edges<double>& e) { return sum_of<false, With>(e).current; }          \
  float current_sum_32(const Edges<float>& e) { return sum_of<false, With>(e).current; }            \
  void each_64(const Edges<double>& e, double* I, double* by_s, double* by_t) {                     \
    each_of<With>(e, I, by_s, by_t);                                                                \
  }                                                                                                 \
  void each_32(const Edges<float>& e, float* I, float* by_s, float* by_t) {                         \
    each_of<With>(e, I, by_s, by_t);                                                                \
  }                                                                                                 \
  void gradient_64(const Edges<double>& e, const double* weight, bool one, double* const(&by)[4]) { \
    gradient_of<With>(e, weight, one, by);                                                          \
  }                                                                                                 \
  void gradient_32(const Edges<float>& e, const float* weight, bool one, float* const(&by)[4]) {    \
    gradient_of<With>(e, weight, one, by);                                                          \
  }

// The functions of a law's row; each dispatches to the best instruction set of the machine.
#undef NESS_LAW_KERNELS
#define NESS_LAW_KERNELS(name, quantity)                                                                \
  HWY_EXPORT(sum_64);                                                                                   \
  HWY_EXPORT(sum_32);                                                                                   \
  HWY_EXPORT(current_sum_64);                                                                           \
  HWY_EXPORT(current_sum_32);                                                                           \
  HWY_EXPORT(each_64);                                                                                  \
  HWY_EXPORT(each_32);                                                                                  \
  HWY_EXPORT(gradient_64);                                                                              \
  HWY_EXPORT(gradient_32);                                                                              \
  extern const LawKernels name;                                                                         \
  const LawKernels name = {                                                                             \
      .shared = quantity,                                                                               \
      .sum_64 = [](const Edges<double>& e) { return HWY_DYNAMIC_DISPATCH(sum_64)(e); },                 \
      .sum_32 = [](const Edges<float>& e) { return HWY_DYNAMIC_DISPATCH(sum_32)(e); },                  \
      .current_sum_64 = [](const Edges<double>& e) { return HWY_DYNAMIC_DISPATCH(current_sum_64)(e); }, \
      .current_sum_32 = [](const Edges<float>& e) { return HWY_DYNAMIC_DISPATCH(current_sum_32)(e); },  \
      .each_64 =                                                                                        \
          [](const Edges<double>& e, double* I, double* by_s, double* by_t) {                           \
            HWY_DYNAMIC_DISPATCH(each_64)                                                               \
            (e, I, by_s, by_t);                                                                         \
          },                                                                                            \
      .each_32 =                                                                                        \
          [](const Edges<float>& e, float* I, float* by_s, float* by_t) {                               \
            HWY_DYNAMIC_DISPATCH(each_32)                                                               \
            (e, I, by_s, by_t);                                                                         \
          },                                                                                            \
      .gradient_64 =                                                                                    \
          [](const Edges<double>& e, const double* weight, bool one, double* const(&by)[4]) {           \
            HWY_DYNAMIC_DISPATCH(gradient_64)                                                           \
            (e, weight, one, by);                                                                       \
          },                                                                                            \
      .gradient_32 =                                                                                    \
          [](const Edges<float>& e, const float* weight, bool one, float* const(&by)[4]) {              \
            HWY_DYNAMIC_DISPATCH(gradient_32)                                                           \
            (e, weight, one, by);                                                                       \
          }}

#endif  // per-target include guard
