#include "kernels/kernels.hpp"

// Compiled once for each instruction set, so nothing that is inlined elsewhere (Eigen, the standard library's
// templates) may be used here: the linker would keep one copy, of any target.
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

template <class T>
HWY_INLINE void exp_minus_of(std::size_t n, const T* x, const T* inverse, T* out) {
  const Tag<T> d;
  const Base<Tag<T>> e(d, static_cast<T>(log2_e));
  for_each_vector<T>(n, [&](auto at) HWY_ATTR {
    at.store(power(d, e, hn::Neg(hn::Mul(at.load(x, 0), at.load(inverse, 0)))), out);
  });
}

template <class T>
HWY_INLINE void concentrations_of(std::size_t n, const T* mu, const T* mu0, T inverse, T c_ref, T* out) {
  const Tag<T> d;
  const Base<Tag<T>> e(d, static_cast<T>(log2_e * inverse), sizeof(T) == 4 ? T(45) : T(500));
  for_each_vector<T>(n, [&](auto at) HWY_ATTR {
    at.store(hn::Mul(hn::Set(d, c_ref), power(d, e, hn::Sub(at.load(mu, 0), at.load(mu0, 0)))), out);
  });
}

template <class T>
HWY_INLINE void power_of_two_of(std::size_t n, const T* y, T* out) {
  for_each_vector<T>(n, [&](auto at) HWY_ATTR { at.store(power_of_two(Tag<T>(), at.load(y, 0)), out); });
}

// One function per precision: Highway dispatches by name.
void exp_minus_64(std::size_t n, const double* x, const double* inverse, double* out) {
  exp_minus_of(n, x, inverse, out);
}
void exp_minus_32(std::size_t n, const float* x, const float* inverse, float* out) {
  exp_minus_of(n, x, inverse, out);
}
void concentrations_64(std::size_t n, const double* mu, const double* mu0, double inverse, double c_ref,
                       double* out) {
  concentrations_of(n, mu, mu0, inverse, c_ref, out);
}
void concentrations_32(std::size_t n, const float* mu, const float* mu0, float inverse, float c_ref,
                       float* out) {
  concentrations_of(n, mu, mu0, inverse, c_ref, out);
}
void power_of_two_64(std::size_t n, const double* y, double* out) { power_of_two_of(n, y, out); }
void power_of_two_32(std::size_t n, const float* y, float* out) { power_of_two_of(n, y, out); }

}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ness::sim::kernels {

HWY_EXPORT(exp_minus_64);
HWY_EXPORT(exp_minus_32);
HWY_EXPORT(concentrations_64);
HWY_EXPORT(concentrations_32);
HWY_EXPORT(power_of_two_64);
HWY_EXPORT(power_of_two_32);

void exp_minus(std::size_t n, const double* x, const double* inverse, double* out) {
  HWY_DYNAMIC_DISPATCH(exp_minus_64)(n, x, inverse, out);
}
void exp_minus(std::size_t n, const float* x, const float* inverse, float* out) {
  HWY_DYNAMIC_DISPATCH(exp_minus_32)(n, x, inverse, out);
}
void concentrations(std::size_t n, const double* mu, const double* mu0, double inverse, double c_ref,
                    double* out) {
  HWY_DYNAMIC_DISPATCH(concentrations_64)(n, mu, mu0, inverse, c_ref, out);
}
void concentrations(std::size_t n, const float* mu, const float* mu0, float inverse, float c_ref,
                    float* out) {
  HWY_DYNAMIC_DISPATCH(concentrations_32)(n, mu, mu0, inverse, c_ref, out);
}
void power_of_two(std::size_t n, const double* y, double* out) {
  HWY_DYNAMIC_DISPATCH(power_of_two_64)(n, y, out);
}
void power_of_two(std::size_t n, const float* y, float* out) {
  HWY_DYNAMIC_DISPATCH(power_of_two_32)(n, y, out);
}

}  // namespace ness::sim::kernels
#endif
