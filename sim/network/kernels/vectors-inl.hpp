// Arrays processed one vector at a time: whole vectors, then the incomplete last one.
#if defined(NESS_SIM_VECTORS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef NESS_SIM_VECTORS_INL
#undef NESS_SIM_VECTORS_INL
#else
#define NESS_SIM_VECTORS_INL
#endif

#include <cstddef>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ness::sim::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using Tag = hn::ScalableTag<T>;
template <class T>
using Vec = hn::Vec<Tag<T>>;

// Access to whole vectors of consecutive values from i, or to the first `count` lanes of one. The last,
// incomplete vector reads and writes only these lanes; the others hold a harmless value.
template <class T>
struct Whole {
  std::size_t i;
  HWY_INLINE Vec<T> load(const T* p, T) const { return hn::LoadU(Tag<T>(), p + i); }
  HWY_INLINE void store(Vec<T> v, T* p) const { hn::StoreU(v, Tag<T>(), p + i); }
  HWY_INLINE Vec<T> only(Vec<T> v) const { return v; }
};
template <class T>
struct Part {
  std::size_t i, count;
#if HWY_TARGET <= HWY_AVX2 && HWY_ARCH_X86  // masked loads and stores do not touch masked-out memory
  HWY_INLINE Vec<T> load(const T* p, T fill) const {
    const Tag<T> d;
    const auto mask = hn::FirstN(d, count);
    return hn::IfThenElse(mask, hn::MaskedLoad(mask, d, p + i), hn::Set(d, fill));
  }
  HWY_INLINE void store(Vec<T> v, T* p) const {
    hn::BlendedStore(v, hn::FirstN(Tag<T>(), count), Tag<T>(), p + i);
  }
#else
  HWY_INLINE Vec<T> load(const T* p, T fill) const {
    T lanes[hn::MaxLanes(Tag<T>())];
    for (std::size_t k = 0; k < hn::Lanes(Tag<T>()); ++k) lanes[k] = k < count ? p[i + k] : fill;
    return hn::LoadU(Tag<T>(), lanes);
  }
  HWY_INLINE void store(Vec<T> v, T* p) const {
    T lanes[hn::MaxLanes(Tag<T>())];
    hn::StoreU(v, Tag<T>(), lanes);
    for (std::size_t k = 0; k < count; ++k) p[i + k] = lanes[k];
  }
#endif
  HWY_INLINE Vec<T> only(Vec<T> v) const { return hn::IfThenElseZero(hn::FirstN(Tag<T>(), count), v); }
};

// Calls body(at) for every vector of the values [first, end), with `at_once` vectors interleaved. The
// operations of an edge, some 25, depend on each other; a core does not look ahead far enough to overlap
// several edges by itself (this saves 8 % per edge).
template <class T, std::size_t at_once = 1, class Body>
HWY_INLINE void for_each_vector(std::size_t first, std::size_t end, Body body) {
  const std::size_t lanes = hn::Lanes(Tag<T>());
  std::size_t i = first;
  if constexpr (at_once > 1) {
    for (; i + at_once * lanes <= end; i += at_once * lanes) {
      HWY_UNROLL(8)
      for (std::size_t k = 0; k < at_once; ++k) body(Whole<T>{i + k * lanes});
    }
  }
  for (; i + lanes <= end; i += lanes) body(Whole<T>{i});
  if (i < end) body(Part<T>{i, end - i});
}
template <class T, class Body>
HWY_INLINE void for_each_vector(std::size_t n, Body body) {
  for_each_vector<T>(0, n, body);
}

}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::kernels
HWY_AFTER_NAMESPACE();
#endif
