// Vector targets that may appear in a log but are not compiled into this program, and have the same bits as
// another target.
//
// The kernels' arithmetic is compiled here for AVX3_DL and AVX3; both run where the machine supports them.
#define HWY_WANT_AVX3_DL
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX2)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "sim/network/equal_targets_test.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/edge_kernels-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace ness::sim::kernels {
namespace HWY_NAMESPACE {

// Current, both occupations and two sums over lanes of n dots' edges, n a multiple of 16: all operations of
// the kernels.
template <class T>
void compute(std::size_t n, const T* level, const T* mu, T* out) {
  const hn::ScalableTag<T> d;
  const Base<hn::ScalableTag<T>> base(d, T(1.4426950408889634));
  auto total = hn::Zero(d);
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto x = hn::LoadU(d, level + i), e_s = power(d, base, hn::LoadU(d, mu + i)),
               e_t = power_of_two(d, hn::LoadU(d, mu + i));
    const auto f = occupations(d, x, e_s, e_t);
    hn::StoreU(f.s, d, out + i);
    hn::StoreU(hn::MulSub(f.t, f.s, window(d, x, e_s, e_t)), d, out + n + i);
    total = hn::MulAdd(f.t, x, total);
  }
  out[2 * n] = hn::GetLane(hn::SumOfLanes(d, total));
}
void compute_32(std::size_t n, const float* level, const float* mu, float* out) {
  compute(n, level, mu, out);
}
void compute_64(std::size_t n, const double* level, const double* mu, double* out) {
  compute(n, level, mu, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <catch2/catch.hpp>

#include <vector>

#include "ness/device/random.hpp"
#include "ness/network/vector_target.hpp"

namespace ness::sim::kernels {
HWY_EXPORT(compute_32);
HWY_EXPORT(compute_64);

namespace {
void run(std::size_t n, const float* level, const float* mu, float* out) {
  HWY_DYNAMIC_DISPATCH(compute_32)(n, level, mu, out);
}
void run(std::size_t n, const double* level, const double* mu, double* out) {
  HWY_DYNAMIC_DISPATCH(compute_64)(n, level, mu, out);
}

template <class T>
bool same_bits() {
  constexpr std::size_t n = 4096;
  std::vector<T> level(n), mu(n), here(2 * n + 1), there(2 * n + 1);
  Random random(5, 3);
  for (std::size_t i = 0; i < n; ++i)
    level[i] = static_cast<T>(10 * random.normal()), mu[i] = static_cast<T>(6 * random.normal());
  hwy::GetChosenTarget().Update(HWY_AVX3);
  run(n, level.data(), mu.data(), here.data());
  hwy::GetChosenTarget().Update(HWY_AVX3_DL);
  run(n, level.data(), mu.data(), there.data());
  hwy::GetChosenTarget().DeInit();
  return here == there && here[2 * n] != 0;
}
}  // namespace

TEST_CASE("logs of AVX3_DL are re-executed on AVX3, whose bits are the same") {
  if ((hwy::SupportedTargets() & HWY_AVX3_DL) == 0) {
    WARN("this machine has no AVX3_DL: nothing compared");
    return;
  }
  CHECK(same_bits<float>());
  CHECK(same_bits<double>());
  force_vector_target(vector_targets().front());
  CHECK(equal_vector_target("AVX3_DL") == "AVX3");
}

TEST_CASE("a target in a log is this program's own, or it has none of equal bits") {
  for (const std::string& target : vector_targets()) CHECK(equal_vector_target(target) == target);
  for (const char* dropped : {"SSE4", "SSSE3", "SSE2", "AVX3_ZEN4", ""})
    CHECK(equal_vector_target(dropped).empty());
  for (const std::string& target : vector_targets())
    CHECK((target == "AVX3" || target == "AVX2" || target == "SCALAR"));
}
}  // namespace ness::sim::kernels
#endif
