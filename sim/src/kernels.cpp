#include "kernels.hpp"

// Compiled once for each instruction set, so nothing that is inlined elsewhere (Eigen, the standard library's templates) may be
// included here: the linker would keep one copy, of any target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace ness::sim::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<double>;
using V = hn::Vec<D>;

// What the law needs of one vector of edges. With e_u = exp((eps - mu_s)/kT), e_v likewise for mu_t and r = 1/((1+e_u)(1+e_v)):
// f_s - f_t = (e_v - e_u) r, f_s = (1+e_v) r, f(1-f) = e f^2. One exponential and one division an edge where temperatures are
// equal, since e_u = exp(eps/kT) exp(-mu_s/kT) and the second factor belongs to the node.
struct Window {
  V difference, sum;  // mu_s -+ mu_t
  V window;           // f_s - f_t
  V p_s, p_t;         // f(1-f)/kT
};

template <bool with_d, bool equal_T>
HWY_INLINE Window window(D d, const QuantumDots& q, std::size_t i, V xt_one, V et_one) {
  const V one = hn::Set(d, 1.0);
  const V xs = hn::LoadU(d, q.xs + i);
  const V xt = q.one_target ? xt_one : hn::LoadU(d, q.xt + i);
  Window w;
  w.difference = hn::Sub(xs, xt);
  w.sum = hn::Add(xs, xt);
  V level = hn::MulAdd(hn::LoadU(d, q.b + i), w.difference, hn::LoadU(d, q.a + i));
  if (with_d) level = hn::MulAdd(hn::Mul(hn::LoadU(d, q.d + i), hn::Set(d, 0.5)), w.sum, level);
  V eu, ev, inverse_s, inverse_t;
  // Beyond these limits an occupation is 0 or 1 to all digits; the products below stay finite.
  const V huge = hn::Set(d, 1e130);
  if (equal_T) {
    inverse_s = inverse_t = hn::Set(d, q.inverse);
    const V limit = hn::Set(d, 650.0);
    const V E = hn::Exp(d, hn::Min(hn::Max(hn::Mul(level, inverse_s), hn::Neg(limit)), limit));
    const V et = q.one_target ? et_one : hn::LoadU(d, q.et + i);
    eu = hn::Min(hn::Mul(E, hn::LoadU(d, q.es + i)), huge);
    ev = hn::Min(hn::Mul(E, et), huge);
  } else {
    inverse_s = hn::LoadU(d, q.inverse_s + i);
    inverse_t = hn::LoadU(d, q.inverse_t + i);
    const V limit = hn::Set(d, 299.0);
    eu = hn::Exp(d, hn::Min(hn::Max(hn::Mul(hn::Sub(level, xs), inverse_s), hn::Neg(limit)), limit));
    ev = hn::Exp(d, hn::Min(hn::Max(hn::Mul(hn::Sub(level, xt), inverse_t), hn::Neg(limit)), limit));
  }
  const V above_u = hn::Add(one, eu), above_v = hn::Add(one, ev);
  const V r = hn::Div(one, hn::Mul(above_u, above_v));
  const V f_s = hn::Mul(above_v, r), f_t = hn::Mul(above_u, r);
  w.window = hn::Mul(hn::Sub(ev, eu), r);
  w.p_s = hn::Mul(hn::Mul(hn::Mul(eu, f_s), f_s), inverse_s);
  w.p_t = hn::Mul(hn::Mul(hn::Mul(ev, f_t), f_t), inverse_t);
  return w;
}

// Edges are taken a whole vector at a time; the last, incomplete one is computed in copies padded with harmless edges.
constexpr std::size_t kMost = 64;  // doubles in the longest vector of any target here
struct Tail {
  // Only a vector's length of each is written, and read: small networks are tails and little else, and clearing all would cost more
  // than their edges.
  double gamma[kMost], a[kMost], b[kMost], d[kMost], xs[kMost], xt[kMost], es[kMost], et[kMost], is[kMost], it[kMost];
  QuantumDots q;
  Tail(const QuantumDots& all, std::size_t from) {
    q = all;
    q.n = all.n - from;
    auto take = [&](const double* source, double* here, double fill, std::size_t lanes) {
      if (source == nullptr) return static_cast<const double*>(nullptr);
      for (std::size_t i = 0; i < lanes; ++i) here[i] = i < q.n ? source[from + i] : fill;
      return static_cast<const double*>(here);
    };
    const std::size_t lanes = hn::Lanes(D());
    q.gamma = take(all.gamma, gamma, 0, lanes);
    q.a = take(all.a, a, 0, lanes);
    q.b = take(all.b, b, 0, lanes);
    q.d = take(all.d, d, 0, lanes);
    q.xs = take(all.xs, xs, 0, lanes);
    q.es = take(all.es, es, 1, lanes);
    q.inverse_s = take(all.inverse_s, is, 1, lanes);
    q.inverse_t = take(all.inverse_t, it, 1, lanes);
    if (!all.one_target) {
      q.xt = take(all.xt, xt, 0, lanes);
      q.et = take(all.et, et, 1, lanes);
    }
  }
};

template <bool with_d, bool equal_T>
struct Loop {
  template <class Body>
  HWY_INLINE static void run(const QuantumDots& q, Body body) {
    const D d;
    const std::size_t lanes = hn::Lanes(d);
    const V xt = hn::Set(d, q.one_target ? *q.xt : 0.0);
    const V et = hn::Set(d, q.one_target && q.et != nullptr ? *q.et : 1.0);
    std::size_t i = 0;
    for (; i + lanes <= q.n; i += lanes) body(q, i, i, window<with_d, equal_T>(d, q, i, xt, et), true);
    if (i < q.n) {
      const Tail tail(q, i);
      body(tail.q, 0, i, window<with_d, equal_T>(d, tail.q, 0, xt, et), false);
    }
  }
};

HWY_INLINE V by_level(V gamma, const Window& w) { return hn::Mul(gamma, hn::Sub(w.p_t, w.p_s)); }

template <bool with_d, bool equal_T>
Sum sum_as(const QuantumDots& edges) {
  const D d;
  V current = hn::Zero(d), slope = hn::Zero(d);
  Loop<with_d, equal_T>::run(edges, [&](const QuantumDots& q, std::size_t i, std::size_t, const Window& w, bool) HWY_ATTR {
    const V gamma = hn::LoadU(d, q.gamma + i);
    V arm = hn::Neg(hn::LoadU(d, q.b + i));
    if (with_d) arm = hn::MulAdd(hn::LoadU(d, q.d + i), hn::Set(d, 0.5), arm);
    current = hn::MulAdd(gamma, w.window, current);
    slope = hn::Add(slope, hn::MulSub(arm, by_level(gamma, w), hn::Mul(gamma, w.p_t)));
  });
  return {hn::GetLane(hn::SumOfLanes(d, current)), hn::GetLane(hn::SumOfLanes(d, slope))};
}

template <bool with_d, bool equal_T>
void each_as(const QuantumDots& edges, double* current, double* by_source, double* by_target) {
  const D d;
  Loop<with_d, equal_T>::run(edges, [&](const QuantumDots& q, std::size_t i, std::size_t out, const Window& w, bool whole) HWY_ATTR {
    const V gamma = hn::LoadU(d, q.gamma + i), b = hn::LoadU(d, q.b + i);
    V arm_s = b, arm_t = hn::Neg(b);
    if (with_d) {
      const V half = hn::Mul(hn::LoadU(d, q.d + i), hn::Set(d, 0.5));
      arm_s = hn::Add(arm_s, half);
      arm_t = hn::Add(arm_t, half);
    }
    const V level = by_level(gamma, w);
    const V I = hn::Mul(gamma, w.window);
    const V s = hn::MulAdd(arm_s, level, hn::Mul(gamma, w.p_s));
    const V t = hn::MulSub(arm_t, level, hn::Mul(gamma, w.p_t));
    if (whole) {
      hn::StoreU(I, d, current + out);
      hn::StoreU(s, d, by_source + out);
      hn::StoreU(t, d, by_target + out);
    } else {
      double lanes[3][kMost];
      hn::StoreU(I, d, lanes[0]);
      hn::StoreU(s, d, lanes[1]);
      hn::StoreU(t, d, lanes[2]);
      for (std::size_t k = 0; k < q.n; ++k) {
        current[out + k] = lanes[0][k];
        by_source[out + k] = lanes[1][k];
        by_target[out + k] = lanes[2][k];
      }
    }
  });
}

template <bool with_d, bool equal_T>
void gradient_as(const QuantumDots& edges, const double* weight, bool one_weight, double* by_gamma, double* by_a, double* by_b, double* by_d) {
  const D d;
  Loop<with_d, equal_T>::run(edges, [&](const QuantumDots& q, std::size_t i, std::size_t out, const Window& w, bool whole) HWY_ATTR {
    const V level = by_level(hn::LoadU(d, q.gamma + i), w);
    if (whole) {
      const V minus = hn::Neg(one_weight ? hn::Set(d, *weight) : hn::LoadU(d, weight + out));
      const V a = hn::Mul(minus, level);
      hn::StoreU(hn::MulAdd(minus, w.window, hn::LoadU(d, by_gamma + out)), d, by_gamma + out);
      hn::StoreU(hn::Add(a, hn::LoadU(d, by_a + out)), d, by_a + out);
      hn::StoreU(hn::MulAdd(a, w.difference, hn::LoadU(d, by_b + out)), d, by_b + out);
      if (with_d) hn::StoreU(hn::MulAdd(a, hn::Mul(w.sum, hn::Set(d, 0.5)), hn::LoadU(d, by_d + out)), d, by_d + out);
    } else {
      double lanes[4][kMost] = {};
      hn::StoreU(w.window, d, lanes[0]);
      hn::StoreU(level, d, lanes[1]);
      hn::StoreU(w.difference, d, lanes[2]);
      hn::StoreU(w.sum, d, lanes[3]);
      for (std::size_t k = 0; k < q.n; ++k) {
        const double minus = -(one_weight ? *weight : weight[out + k]);
        by_gamma[out + k] += minus * lanes[0][k];
        by_a[out + k] += minus * lanes[1][k];
        by_b[out + k] += minus * lanes[1][k] * lanes[2][k];
        if (with_d) by_d[out + k] += minus * lanes[1][k] * 0.5 * lanes[3][k];
      }
    }
  });
}

Sum sum(const QuantumDots& q) {
  const bool equal = q.es != nullptr;
  if (q.d != nullptr) return equal ? sum_as<true, true>(q) : sum_as<true, false>(q);
  return equal ? sum_as<false, true>(q) : sum_as<false, false>(q);
}

void each(const QuantumDots& q, double* current, double* by_source, double* by_target) {
  const bool equal = q.es != nullptr;
  if (q.d != nullptr) return equal ? each_as<true, true>(q, current, by_source, by_target) : each_as<true, false>(q, current, by_source, by_target);
  return equal ? each_as<false, true>(q, current, by_source, by_target) : each_as<false, false>(q, current, by_source, by_target);
}

void gradient(const QuantumDots& q, const double* weight, bool one, double* by_gamma, double* by_a, double* by_b, double* by_d) {
  const bool equal = q.es != nullptr;
  if (q.d != nullptr) {
    return equal ? gradient_as<true, true>(q, weight, one, by_gamma, by_a, by_b, by_d) : gradient_as<true, false>(q, weight, one, by_gamma, by_a, by_b, by_d);
  }
  return equal ? gradient_as<false, true>(q, weight, one, by_gamma, by_a, by_b, by_d) : gradient_as<false, false>(q, weight, one, by_gamma, by_a, by_b, by_d);
}

void exp_minus_all(std::size_t n, const double* x, const double* inverse, double* out) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const V limit = hn::Set(d, 700.0);
  auto value = [&](V argument) HWY_ATTR { return hn::Exp(d, hn::Min(hn::Max(hn::Neg(argument), hn::Neg(limit)), limit)); };
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(value(hn::Mul(hn::LoadU(d, x + i), hn::LoadU(d, inverse + i))), d, out + i);
  if (i < n) {
    double argument[kMost];
    for (std::size_t k = 0; k < lanes; ++k) argument[k] = i + k < n ? x[i + k] * inverse[i + k] : 0;
    hn::StoreU(value(hn::LoadU(d, argument)), d, argument);
    for (std::size_t k = i; k < n; ++k) out[k] = argument[k - i];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ness::sim::kernels {

HWY_EXPORT(sum);
HWY_EXPORT(each);
HWY_EXPORT(gradient);
HWY_EXPORT(exp_minus_all);

Sum quantum_dot_sum(const QuantumDots& edges) { return HWY_DYNAMIC_DISPATCH(sum)(edges); }
void quantum_dot_each(const QuantumDots& edges, double* current, double* by_source, double* by_target) {
  HWY_DYNAMIC_DISPATCH(each)(edges, current, by_source, by_target);
}
void quantum_dot_gradient(const QuantumDots& edges, const double* weight, bool one_weight, double* by_gamma, double* by_a, double* by_b, double* by_d) {
  HWY_DYNAMIC_DISPATCH(gradient)(edges, weight, one_weight, by_gamma, by_a, by_b, by_d);
}
void exp_minus(std::size_t n, const double* x, const double* inverse, double* out) { HWY_DYNAMIC_DISPATCH(exp_minus_all)(n, x, inverse, out); }

}  // namespace ness::sim::kernels
#endif
