// Vector code of the linear law.
//
// Compiled once for each instruction set, so nothing that is inlined elsewhere (Eigen, the standard library's
// templates) may be used here: the linker would keep one copy, of any target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "laws/linear_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/law_kernels-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace ness::sim::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
// Internal linkage: otherwise the linker would merge functions of the same names from different laws.
namespace {

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

struct Choice {
  template <bool limits, class T, class Use>
  static HWY_INLINE void with(const Edges<T>& e, Use use) {
    use(Linear<T>{.e = e});
  }
};

NESS_LAW_KERNELS_OF_TARGET(Choice)

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ness::sim::kernels {
NESS_LAW_KERNELS(linear_kernels, NodeQuantity::none);
}  // namespace ness::sim::kernels
#endif
