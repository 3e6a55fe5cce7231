#include "batch_kernels.hpp"

// Compiled once for each instruction set, so nothing that is inlined elsewhere (Eigen, the standard library's templates) may be
// included here: the linker would keep one copy, of any target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "batch_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <math.h>

#include "edge_kernels-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace ness::sim::batches {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using kernels::HWY_NAMESPACE::Occupations;
using kernels::HWY_NAMESPACE::occupations;
using kernels::HWY_NAMESPACE::power_of_two;

template <class T>
using Tag = hn::CappedTag<T, block>;
template <class T>
using Vec = hn::Vec<Tag<T>>;

// Partial sums are moved on after so many terms, so that rounding errors stay those of short sums.
constexpr std::size_t short_sum = 56;

template <class T>
HWY_INLINE const T* edges_of(const Shape& shape, const Values<T>& values, std::size_t b) {
  return values.input + b * shape.inputs * 3 * block;
}

// The nodes of one vector of a block, as input edges see them.
template <class T>
struct Fed {
  Vec<T> mu, e;  // scaled, 2^-mu
};

template <class T>
HWY_INLINE Occupations<Vec<T>> seen(Tag<T> d, const T* edge, T level, T exponential, const Fed<T>& node) {
  const auto x = hn::Set(d, level);
  const auto at = hn::MulAdd(hn::LoadU(d, edge + 2 * block), hn::Sub(x, node.mu), hn::LoadU(d, edge + block));
  return occupations(d, at, hn::Set(d, exponential), node.e);
}

// The exact input currents of a sample and their slopes at its nodes' potentials, [blocks * 16].
template <class T>
void input_sums(const Shape& shape, const Values<T>& values, const T* level, const T* exponential, const T* potential, T* current, T* slope) {
  const Tag<T> d;
  const auto scale = hn::Set(d, values.scale);
  for (std::size_t b = 0; b < shape.blocks; ++b) {
    for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
      const std::size_t place = b * block + v;
      Fed<T> node;
      node.mu = hn::Mul(scale, hn::LoadU(d, potential + place));
      node.e = power_of_two(d, hn::Neg(node.mu));
      auto I = hn::Zero(d), S = hn::Zero(d);
      const T* edge = edges_of(shape, values, b) + v;
      for (std::size_t i = 0; i < shape.inputs;) {
        auto I_part = hn::Zero(d), S_part = hn::Zero(d);
        const std::size_t end = i + short_sum < shape.inputs ? i + short_sum : shape.inputs;
        for (; i < end; ++i, edge += 3 * block) {
          const auto f = seen<T>(d, edge, level[i], exponential[i], node);
          const auto gamma = hn::LoadU(d, edge);
          I_part = hn::MulAdd(gamma, hn::Sub(f.s, f.t), I_part);
          const auto p_s = hn::NegMulAdd(f.s, f.s, f.s), p_t = hn::NegMulAdd(f.t, f.t, f.t);
          S_part = hn::NegMulAdd(gamma, hn::MulAdd(hn::LoadU(d, edge + 2 * block), hn::Sub(p_t, p_s), p_t), S_part);
        }
        I = hn::Add(I, I_part);
        S = hn::Add(S, S_part);
      }
      hn::StoreU(I, d, current + place);
      hn::StoreU(hn::Mul(S, hn::Set(d, values.inverse)), d, slope + place);
    }
  }
}

// A function and its first three derivatives at a point: c0 + c1 d + c2 d^2 + c3 d^3 in the displacement d (kT).
template <class T>
struct Cubic {
  T *c0, *c1, *c2, *c3;  // [blocks * 16]
};

// Chebyshev series of the base's currents and their derivatives at the nodes' potentials.
template <class T>
HWY_INLINE void base_cubic(const Shape& shape, const Base<T>& base, std::size_t place, Tag<T> d, Vec<T> potential, Vec<T> (&c)[4]) {
  const std::size_t stride = shape.blocks * block;
  const auto half = hn::Set(d, T(2) / (base.high - base.low));
  const auto x = hn::Mul(hn::Sub(potential, hn::Set(d, (base.high + base.low) / 2)), half);
  const auto two_x = hn::Add(x, x), two = hn::Set(d, T(2)), zero = hn::Zero(d);
  // Clenshaw's recurrence b_k = c_k + 2 x b_(k+1) - b_(k+2), and its derivatives.
  Vec<T> b0 = zero, b1 = zero, b2 = zero, b3 = zero, a0 = zero, a1 = zero, a2 = zero, a3 = zero;
  for (std::size_t k = base.terms; k-- > 1;) {
    const auto n0 = hn::MulAdd(two_x, b0, hn::Sub(hn::LoadU(d, base.current + k * stride + place), a0));
    const auto n1 = hn::MulAdd(two_x, b1, hn::NegMulAdd(two, hn::Neg(b0), hn::Neg(a1)));
    const auto n2 = hn::MulAdd(two_x, b2, hn::NegMulAdd(hn::Set(d, T(4)), hn::Neg(b1), hn::Neg(a2)));
    const auto n3 = hn::MulAdd(two_x, b3, hn::NegMulAdd(hn::Set(d, T(6)), hn::Neg(b2), hn::Neg(a3)));
    a0 = b0, a1 = b1, a2 = b2, a3 = b3;
    b0 = n0, b1 = n1, b2 = n2, b3 = n3;
  }
  c[0] = hn::MulAdd(x, b0, hn::Sub(hn::LoadU(d, base.current + place), a0));
  c[1] = hn::Mul(half, hn::MulAdd(x, b1, hn::Sub(b0, a1)));
  c[2] = hn::Mul(hn::Mul(half, half), hn::MulAdd(x, b2, hn::Sub(hn::Add(b1, b1), a2)));
  c[3] = hn::Mul(hn::Mul(half, hn::Mul(half, half)), hn::MulAdd(x, b3, hn::Sub(hn::Mul(hn::Set(d, T(3)), b2), a3)));
}

// Value and derivatives of an edge's current by its target's potential: with z the argument of an occupation f, rate r = -dz/dmu, f' = r p,
// f'' = r^2 p (1 - 2 f), f''' = r^3 p (1 - 6 p), p = f (1 - f); r = b for the source's, 1 + b for the target's (units of kT T).
template <class T>
HWY_INLINE void add_derivatives(Tag<T> d, const T* edge, const Occupations<Vec<T>>& f, Vec<T> gamma, Vec<T> (&sum)[4]) {
  const auto one = hn::Set(d, T(1)), b = hn::LoadU(d, edge + 2 * block), c = hn::Add(one, b);
  const auto p_s = hn::NegMulAdd(f.s, f.s, f.s), p_t = hn::NegMulAdd(f.t, f.t, f.t);
  const auto s1 = hn::Mul(b, p_s), t1 = hn::Mul(c, p_t);
  const auto bs1 = hn::Mul(b, s1), ct1 = hn::Mul(c, t1);
  const auto minus_two = hn::Set(d, T(-2)), minus_six = hn::Set(d, T(-6));
  const auto s2 = hn::Mul(bs1, hn::MulAdd(minus_two, f.s, one)), t2 = hn::Mul(ct1, hn::MulAdd(minus_two, f.t, one));
  const auto s3 = hn::Mul(hn::Mul(b, bs1), hn::MulAdd(minus_six, p_s, one)), t3 = hn::Mul(hn::Mul(c, ct1), hn::MulAdd(minus_six, p_t, one));
  sum[0] = hn::MulAdd(gamma, hn::Sub(f.s, f.t), sum[0]);
  sum[1] = hn::MulAdd(gamma, hn::Sub(s1, t1), sum[1]);
  sum[2] = hn::MulAdd(gamma, hn::Sub(s2, t2), sum[2]);
  sum[3] = hn::MulAdd(gamma, hn::Sub(s3, t3), sum[3]);
}

// The input currents of a sample around its nodes' potentials [blocks * 16] (kT).
template <class T>
void expand(const Shape& shape, const Values<T>& values, const Base<T>& base, const Spot<T>* spots, std::size_t n_spots, const T* potential,
            const Cubic<T>& out) {
  const Tag<T> d;
  const auto scale = hn::Set(d, values.scale);
  for (std::size_t b = 0; b < shape.blocks; ++b) {
    for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
      const std::size_t place = b * block + v;
      const auto mu = hn::LoadU(d, potential + place);
      Fed<T> node;
      node.mu = hn::Mul(scale, mu);
      node.e = power_of_two(d, hn::Neg(node.mu));
      Vec<T> sum[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
      const T* edges = edges_of(shape, values, b) + v;
      if (base.terms > 0) {
        for (std::size_t k = 0; k < n_spots; ++k) {
          const T* edge = edges + spots[k].input * 3 * block;
          const auto gamma = hn::LoadU(d, edge);
          add_derivatives<T>(d, edge, seen<T>(d, edge, spots[k].level, spots[k].exponential, node), gamma, sum);
          add_derivatives<T>(d, edge, seen<T>(d, edge, base.level, base.exponential, node), hn::Neg(gamma), sum);
        }
      } else {
        for (std::size_t k = 0; k < n_spots; ++k) {
          const T* edge = edges + spots[k].input * 3 * block;
          add_derivatives<T>(d, edge, seen<T>(d, edge, spots[k].level, spots[k].exponential, node), hn::LoadU(d, edge), sum);
        }
      }
      const auto by = hn::Set(d, values.inverse);
      sum[1] = hn::Mul(sum[1], by);
      sum[2] = hn::Mul(sum[2], hn::Mul(by, by));
      sum[3] = hn::Mul(sum[3], hn::Mul(by, hn::Mul(by, by)));
      if (base.terms > 0) {
        Vec<T> c[4];
        base_cubic<T>(shape, base, place, d, mu, c);
        for (int k = 0; k < 4; ++k) sum[k] = hn::Add(sum[k], c[k]);
      }
      hn::StoreU(sum[0], d, out.c0 + place);
      hn::StoreU(sum[1], d, out.c1 + place);
      hn::StoreU(hn::Mul(sum[2], hn::Set(d, T(0.5))), d, out.c2 + place);
      hn::StoreU(hn::Mul(sum[3], hn::Set(d, T(1) / T(6))), d, out.c3 + place);
    }
  }
}

template <class T>
HWY_INLINE T magnitude(T x) {
  return x < 0 ? -x : x;
}

// The network between free nodes, a sample a lane. Arrays are [..][16], a lane's entries 16 apart.
template <class T>
class Lanes {
 public:
  using D = Tag<T>;
  using V = Vec<T>;
  using M = hn::Mask<D>;

  Lanes(const Shape& shape, const Values<T>& values, const Base<T>& base, T* scratch) : s_(shape), p_(values), base_(base) {
    auto take = [&](std::size_t rows) {
      T* here = scratch;
      scratch += rows * block;
      return here;
    };
    const std::size_t n = s_.nodes(), fed = s_.blocks * block;
    mu = take(n), flow = take(n), diagonal = take(n), correction = take(n), y = take(n), y_flow = take(n), start = take(n), origin = take(n);
    k1_ = take(n), k2_ = take(n), k3_ = take(n), rhs_ = take(n), stage_ = take(n), inject = take(n);
    scaled_ = take(n), e_ = take(n), pivot_ = take(n), row_ = take(n);
    matrix = take(s_.couplings());
    schur_ = take(s_.rest * s_.rest), symmetric_ = take(s_.first * s_.rest);
    c0_ = take(fed), c1_ = take(fed), c2_ = take(fed), c3_ = take(fed), center_ = take(fed);
    lane_ = take(5 * s_.blocks);  // one sample's fed nodes: potentials, and a cubic
    end_ = scratch;
  }

  T *mu, *flow, *diagonal, *correction, *y, *y_flow, *start, *origin, *inject, *matrix;

  V load(const T* from, std::size_t k) const { return hn::LoadU(d, from + k * block); }
  void store(V what, T* to, std::size_t k) const { hn::StoreU(what, d, to + k * block); }

  // Input currents of one sample, around its potentials in `mu`.
  void expand_lane(const Sample<T>& sample, std::size_t lane) { expand_lane(sample.spots, sample.n_spots, lane); }
  void expand_lane(const Spot<T>* spots, std::size_t n_spots, std::size_t lane) {
    const std::size_t fed = s_.blocks * block;
    gather_lane(lane);
    bool inside = true;
    if (base_.terms > 0) {
      for (std::size_t i = 0; i < fed; ++i) inside = inside && lane_[i] >= base_.low && lane_[i] <= base_.high;
    }
    inside_[lane] = inside;
    expand<T>(s_, p_, base_, spots, n_spots, lane_, {lane_ + fed, lane_ + 2 * fed, lane_ + 3 * fed, lane_ + 4 * fed});
    for (std::size_t i = 0; i < fed; ++i) {
      center_[i * block + lane] = lane_[i];
      c0_[i * block + lane] = lane_[fed + i];
      c1_[i * block + lane] = lane_[2 * fed + i];
      c2_[i * block + lane] = lane_[3 * fed + i];
      c3_[i * block + lane] = lane_[4 * fed + i];
    }
  }
  // False where a potential lay outside the base's series.
  bool inside(std::size_t lane) const { return inside_[lane]; }

  // The exact law in place of the expansion, to first order.
  void exact_lane(const Sample<T>& sample, std::size_t lane) {
    const std::size_t fed = s_.blocks * block;
    gather_lane(lane);
    input_sums<T>(s_, p_, sample.level, sample.exponential, lane_, lane_ + fed, lane_ + 2 * fed);
    for (std::size_t i = 0; i < fed; ++i) {
      const T moved = lane_[i] - center_[i * block + lane];
      center_[i * block + lane] = lane_[i];
      c0_[i * block + lane] = lane_[fed + i];
      c1_[i * block + lane] = lane_[2 * fed + i];
      c2_[i * block + lane] += 3 * c3_[i * block + lane] * moved;
    }
  }

  // Slopes of the inputs alone are set (gradients need no currents).
  void slopes_of_lane(const T* slope, std::size_t lane) {
    for (std::size_t i = 0; i < s_.blocks * block; ++i) {
      c0_[i * block + lane] = c2_[i * block + lane] = c3_[i * block + lane] = 0;
      c1_[i * block + lane] = slope[i];
      if (s_.fed[i] != nobody) center_[i * block + lane] = mu[s_.fed[i] * block + lane];
    }
  }

  // Unbalanced currents F = u - I at `mu`, and with_slope dI/dmu: `diagonal` and `matrix`.
  template <bool with_slope>
  void evaluate(const T* at, T* out) {
    const std::size_t n = s_.nodes();
    const V scale = hn::Set(d, p_.scale), by = hn::Set(d, p_.inverse);
    for (std::size_t k = 0; k < n; ++k) {
      const V x = load(at, k), g = hn::Set(d, p_.g[k]), scaled = hn::Mul(scale, x);
      store(scaled, scaled_, k);
      store(power_of_two(d, hn::Neg(scaled)), e_, k);
      store(hn::NegMulAdd(g, hn::Sub(x, hn::Set(d, p_.mu_ref[k])), load(inject, k)), out, k);
      if (with_slope) store(g, diagonal, k);
    }
    for (std::size_t i = 0; i < s_.blocks * block; ++i) {
      const std::uint32_t k = s_.fed[i];
      if (k == nobody) continue;
      const V moved = hn::Sub(load(at, k), load(center_, i));
      const V c1 = load(c1_, i), c2 = load(c2_, i), c3 = load(c3_, i);
      const V I = hn::MulAdd(moved, hn::MulAdd(moved, hn::MulAdd(moved, c3, c2), c1), load(c0_, i));
      store(hn::Add(load(out, k), I), out, k);
      if (with_slope) {
        const V slope = hn::MulAdd(moved, hn::MulAdd(hn::Mul(hn::Set(d, T(3)), moved), c3, hn::Add(c2, c2)), c1);
        store(hn::Sub(load(diagonal, k), slope), diagonal, k);
      }
    }
    for (std::size_t i = 0; i < s_.edges; ++i) {
      const std::uint32_t s = s_.source[i], t = s_.target[i];
      const V b = hn::Set(d, p_.b[i]), gamma = hn::Set(d, p_.gamma[i]);
      const V level = hn::MulAdd(b, hn::Sub(load(scaled_, s), load(scaled_, t)), hn::Set(d, p_.a[i]));
      const auto f = occupations(d, level, load(e_, s), load(e_, t));
      const V I = hn::Mul(gamma, hn::Sub(f.s, f.t));
      store(hn::Sub(load(out, s), I), out, s);
      store(hn::Add(load(out, t), I), out, t);
      if (with_slope) {
        const V p_s = hn::NegMulAdd(f.s, f.s, f.s), p_t = hn::NegMulAdd(f.t, f.t, f.t);
        const V by_level = hn::Mul(b, hn::Sub(p_t, p_s)), strength = hn::Mul(gamma, by);
        const V by_source = hn::Mul(strength, hn::Add(by_level, p_s)), minus_by_target = hn::Mul(strength, hn::Add(by_level, p_t));
        store(hn::Add(load(diagonal, s), by_source), diagonal, s);
        store(hn::Add(load(diagonal, t), minus_by_target), diagonal, t);
        T *st = matrix + s_.source_target[i] * block, *ts = matrix + s_.target_source[i] * block;
        if (s_.repeated[i]) {
          hn::StoreU(hn::Sub(hn::LoadU(d, st), minus_by_target), d, st);
          hn::StoreU(hn::Sub(hn::LoadU(d, ts), by_source), d, ts);
        } else {
          hn::StoreU(hn::Neg(minus_by_target), d, st);
          hn::StoreU(hn::Neg(by_source), d, ts);
        }
      }
    }
  }

  void clear_matrix() {
    for (std::size_t k = 0; k < s_.couplings(); ++k) store(hn::Zero(d), matrix, k);
  }

  // Factors the couplings with the diagonal plus `shift` C (null: none). Elimination in this order without exchange: lanes with a pivot
  // that is not clearly positive are not factored.
  M factor(const V* shift) {
    M fine = hn::Eq(hn::Zero(d), hn::Zero(d));
    const V one = hn::Set(d, T(1)), least = hn::Set(d, T(1e-12));
    for (std::size_t f = 0; f < s_.first; ++f) {
      const V pivot = pivot_at(f, shift);
      fine = hn::And(fine, hn::Gt(pivot, least));
      store(hn::Div(one, pivot), pivot_, f);
    }
    schur<false>(fine, shift, T(1e-5));
    return fine;
  }

  void solve(const T* b, T* x) const {
    const std::size_t F = s_.first, R = s_.rest;
    for (std::size_t f = 0; f < F; ++f) store(hn::Mul(load(b, f), load(pivot_, f)), x, f);
    for (std::size_t r = 0; r < R; ++r) {
      V sum = load(b, F + r);
      const T* lower = matrix + (F * R + r * F) * block;
      for (std::size_t f = 0; f < F; ++f) sum = hn::NegMulAdd(hn::LoadU(d, lower + f * block), load(x, f), sum);
      for (std::size_t c = 0; c < r; ++c) sum = hn::NegMulAdd(load(schur_, r * R + c), load(x, F + c), sum);
      store(sum, x, F + r);
    }
    for (std::size_t r = R; r-- > 0;) {
      V sum = load(x, F + r);
      for (std::size_t c = r + 1; c < R; ++c) sum = hn::NegMulAdd(load(schur_, r * R + c), load(x, F + c), sum);
      store(hn::Mul(sum, load(schur_, r * R + r)), x, F + r);
    }
    for (std::size_t f = 0; f < F; ++f) {
      V sum = load(b, f);
      const T* upper = matrix + f * R * block;
      for (std::size_t r = 0; r < R; ++r) sum = hn::NegMulAdd(hn::LoadU(d, upper + r * block), load(x, F + r), sum);
      store(hn::Mul(sum, load(pivot_, f)), x, f);
    }
  }

  void solve_transposed(const T* b, T* x) const {
    const std::size_t F = s_.first, R = s_.rest;
    for (std::size_t f = 0; f < F; ++f) store(hn::Mul(load(b, f), load(pivot_, f)), x, f);
    // S^T z = b_r - U^T a, with S = L U of `schur_`: first U^T, then L^T.
    for (std::size_t r = 0; r < R; ++r) {
      V sum = load(b, F + r);
      for (std::size_t f = 0; f < F; ++f) sum = hn::NegMulAdd(load(matrix, f * R + r), load(x, f), sum);
      for (std::size_t c = 0; c < r; ++c) sum = hn::NegMulAdd(load(schur_, c * R + r), load(x, F + c), sum);
      store(hn::Mul(sum, load(schur_, r * R + r)), x, F + r);
    }
    for (std::size_t r = R; r-- > 0;) {
      V sum = load(x, F + r);
      for (std::size_t c = r + 1; c < R; ++c) sum = hn::NegMulAdd(load(schur_, c * R + r), load(x, F + c), sum);
      store(sum, x, F + r);
    }
    for (std::size_t f = 0; f < F; ++f) {
      V sum = load(b, f);
      for (std::size_t r = 0; r < R; ++r) sum = hn::NegMulAdd(load(matrix, F * R + r * F + f), load(x, F + r), sum);
      store(hn::Mul(sum, load(pivot_, f)), x, f);
    }
  }

  // Lanes in which the flow contracts (Network::contracting), in this precision: what is not clearly so counts as not.
  M contracting() {
    M definite = symmetric_part_definite();
    if (!hn::AllTrue(d, definite)) definite = hn::Or(definite, dominated_by_diagonal());
    return definite;
  }

  V largest(const T* of) const {
    V most = hn::Zero(d);
    for (std::size_t k = 0; k < s_.nodes(); ++k) most = hn::Max(most, hn::Abs(load(of, k)));
    return most;
  }
  V largest_difference(const T* a, const T* b) const {
    V most = hn::Zero(d);
    for (std::size_t k = 0; k < s_.nodes(); ++k) most = hn::Max(most, hn::Abs(hn::Sub(load(a, k), load(b, k))));
    return most;
  }
  // Largest distance of a fed node from where its inputs were expanded.
  V strayed(const T* at) const {
    V most = hn::Zero(d);
    for (std::size_t i = 0; i < s_.blocks * block; ++i) {
      if (s_.fed[i] != nobody) most = hn::Max(most, hn::Abs(hn::Sub(load(at, s_.fed[i]), load(center_, i))));
    }
    return most;
  }
  void add_where(M where, const T* what, T* to) const {
    for (std::size_t k = 0; k < s_.nodes(); ++k) store(hn::Add(load(to, k), hn::IfThenElseZero(where, load(what, k))), to, k);
  }
  void copy_where(M where, const T* from, T* to) const {
    for (std::size_t k = 0; k < s_.nodes(); ++k) store(hn::IfThenElse(where, load(from, k), load(to, k)), to, k);
  }

  // One attempt at a step of RODAS3 (rosenbrock.hpp) from y, where the flow is y_flow and `diagonal`, `matrix` hold the slopes; h a lane.
  // Stages further than `reach` from where the inputs were expanded fail. mu: the state reached. Returns the error over the tolerance; lanes
  // not factored: infinite.
  V attempt(V h, double tolerance, T reach) {
    const std::size_t n = s_.nodes();
    const V shift = hn::Div(hn::Set(d, T(2)), h), inverse_h = hn::Div(hn::Set(d, T(1)), h);
    const M factored = factor(&shift);
    auto C_h = [&](std::size_t k) HWY_ATTR { return hn::Mul(hn::Set(d, p_.capacity[k]), inverse_h); };
    solve(y_flow, k1_);
    for (std::size_t k = 0; k < n; ++k) store(hn::MulAdd(hn::Mul(hn::Set(d, T(4)), C_h(k)), load(k1_, k), load(y_flow, k)), rhs_, k);
    solve(rhs_, k2_);
    for (std::size_t k = 0; k < n; ++k) store(hn::MulAdd(hn::Set(d, T(2)), load(k1_, k), load(y, k)), stage_, k);
    M near = hn::Le(strayed(stage_), hn::Set(d, reach));
    evaluate<false>(stage_, rhs_);
    for (std::size_t k = 0; k < n; ++k) store(hn::MulAdd(C_h(k), hn::Sub(load(k1_, k), load(k2_, k)), load(rhs_, k)), rhs_, k);
    solve(rhs_, k3_);
    for (std::size_t k = 0; k < n; ++k) store(hn::Add(load(stage_, k), load(k3_, k)), stage_, k);
    near = hn::And(near, hn::Le(strayed(stage_), hn::Set(d, reach)));
    evaluate<false>(stage_, rhs_);
    for (std::size_t k = 0; k < n; ++k) {
      const V inner = hn::NegMulAdd(hn::Set(d, T(8) / T(3)), load(k3_, k), hn::Sub(load(k1_, k), load(k2_, k)));
      store(hn::MulAdd(C_h(k), inner, load(rhs_, k)), rhs_, k);
    }
    solve(rhs_, correction);
    for (std::size_t k = 0; k < n; ++k) store(hn::Add(load(stage_, k), load(correction, k)), mu, k);
    const V error = hn::Mul(largest(correction), hn::Set(d, T(1 / tolerance)));
    return hn::IfThenElse(factored, hn::IfThenElse(near, error, hn::Set(d, T(30))), hn::Set(d, T(1e30)));
  }

  // Gradient sums of the edges between free nodes and of the leaks; costates in `y`, evaluated at `mu`.
  void add_edges(const Sums<T>& sums) const {
    for (std::size_t i = 0; i < s_.edges; ++i) {
      const std::uint32_t s = s_.source[i], t = s_.target[i];
      const V difference = hn::Sub(load(scaled_, s), load(scaled_, t));
      const V level = hn::MulAdd(hn::Set(d, p_.b[i]), difference, hn::Set(d, p_.a[i]));
      const auto f = occupations(d, level, load(e_, s), load(e_, t));
      const V p_s = hn::NegMulAdd(f.s, f.s, f.s), p_t = hn::NegMulAdd(f.t, f.t, f.t);
      const V weight = hn::Sub(load(y, t), load(y, s)), by_level = hn::Mul(weight, hn::Sub(p_t, p_s));
      T* to = sums.edge + i * 3 * block;
      hn::StoreU(hn::MulAdd(weight, hn::Sub(f.s, f.t), hn::LoadU(d, to)), d, to);
      hn::StoreU(hn::Add(by_level, hn::LoadU(d, to + block)), d, to + block);
      hn::StoreU(hn::MulAdd(by_level, difference, hn::LoadU(d, to + 2 * block)), d, to + 2 * block);
    }
    for (std::size_t k = 0; k < s_.nodes(); ++k) {
      T* to = sums.leak + k * 2 * block;
      const V lambda = load(y, k);
      hn::StoreU(hn::NegMulAdd(lambda, hn::Sub(load(mu, k), hn::Set(d, p_.mu_ref[k])), hn::LoadU(d, to)), d, to);
      hn::StoreU(hn::MulAdd(lambda, hn::Set(d, p_.g[k]), hn::LoadU(d, to + block)), d, to + block);
    }
  }

  T capacity(std::size_t k) const { return p_.capacity[k]; }
  T* end() const { return end_; }
  const D d;

 private:
  void gather_lane(std::size_t lane) {
    for (std::size_t i = 0; i < s_.blocks * block; ++i) lane_[i] = s_.fed[i] == nobody ? T(0) : mu[s_.fed[i] * block + lane];
  }

  V pivot_at(std::size_t k, const V* shift) const {
    const V own = load(diagonal, k);
    return shift == nullptr ? own : hn::MulAdd(*shift, hn::Set(d, p_.capacity[k]), own);
  }

  // The Schur complement on the rest, factored in place: pivots inverted, the lower factor with ones on its diagonal. `comparison`: of the
  // matrix with -|a_ij| beside the diagonal. Lanes stay fine whose pivots are larger than `least`, and than as much of the diagonal.
  template <bool comparison>
  void schur(M& fine, const V* shift, T least) {
    const std::size_t F = s_.first, R = s_.rest;
    const V one = hn::Set(d, T(1)), margin = hn::Set(d, least);
    auto coupling = [&](const T* at) HWY_ATTR {
      const V x = hn::LoadU(d, at);
      return comparison ? hn::Neg(hn::Abs(x)) : x;
    };
    for (std::size_t r = 0; r < R; ++r) {
      const T* lower = matrix + (F * R + r * F) * block;
      for (std::size_t f = 0; f < F; ++f) store(hn::Mul(coupling(lower + f * block), load(pivot_, f)), row_, f);
      const T* square = matrix + (2 * F * R + r * R) * block;
      auto begin = [&](std::size_t c) HWY_ATTR { return c == r ? pivot_at(F + r, shift) : coupling(square + c * block); };
      std::size_t c = 0;
      for (; c + 4 <= R; c += 4) {
        V s0 = begin(c), s1 = begin(c + 1), s2 = begin(c + 2), s3 = begin(c + 3);
        for (std::size_t f = 0; f < F; ++f) {
          const V scaled = load(row_, f);
          const T* upper = matrix + (f * R + c) * block;
          s0 = hn::NegMulAdd(scaled, coupling(upper), s0);
          s1 = hn::NegMulAdd(scaled, coupling(upper + block), s1);
          s2 = hn::NegMulAdd(scaled, coupling(upper + 2 * block), s2);
          s3 = hn::NegMulAdd(scaled, coupling(upper + 3 * block), s3);
        }
        store(s0, schur_, r * R + c), store(s1, schur_, r * R + c + 1), store(s2, schur_, r * R + c + 2), store(s3, schur_, r * R + c + 3);
      }
      for (; c < R; ++c) {
        V sum = begin(c);
        for (std::size_t f = 0; f < F; ++f) sum = hn::NegMulAdd(load(row_, f), coupling(matrix + (f * R + c) * block), sum);
        store(sum, schur_, r * R + c);
      }
    }
    for (std::size_t k = 0; k < R; ++k) {
      const V pivot = load(schur_, k * R + k);
      fine = hn::And(fine, hn::Gt(pivot, hn::Mul(margin, hn::Abs(pivot_at(F + k, shift)))));
      const V inverse = hn::Div(one, pivot);
      store(inverse, schur_, k * R + k);
      for (std::size_t r = k + 1; r < R; ++r) {
        const V factor = hn::Mul(load(schur_, r * R + k), inverse);
        store(factor, schur_, r * R + k);
        for (std::size_t c = k + 1; c < R; ++c) store(hn::NegMulAdd(factor, load(schur_, k * R + c), load(schur_, r * R + c)), schur_, r * R + c);
      }
    }
  }

  // Cholesky's pivots of the symmetric part, clearly positive.
  M symmetric_part_definite() {
    const std::size_t F = s_.first, R = s_.rest;
    M fine = hn::Eq(hn::Zero(d), hn::Zero(d));
    const V one = hn::Set(d, T(1)), zero = hn::Zero(d), half = hn::Set(d, T(0.5)), margin = hn::Set(d, T(1e-5));
    for (std::size_t f = 0; f < F; ++f) {
      const V own = load(diagonal, f);
      fine = hn::And(fine, hn::Gt(own, zero));
      const V weight = hn::Mul(half, hn::Sqrt(hn::Div(one, own)));
      for (std::size_t r = 0; r < R; ++r) {
        store(hn::Mul(weight, hn::Add(load(matrix, f * R + r), load(matrix, F * R + r * F + f))), symmetric_, r * F + f);
      }
    }
    for (std::size_t r = 0; r < R; ++r) {
      for (std::size_t c = 0; c <= r; ++c) {
        V sum = r == c ? load(diagonal, F + r) : hn::Mul(half, hn::Add(load(matrix, 2 * F * R + r * R + c), load(matrix, 2 * F * R + c * R + r)));
        const T *left = symmetric_ + r * F * block, *right = symmetric_ + c * F * block;
        for (std::size_t f = 0; f < F; ++f) sum = hn::NegMulAdd(hn::LoadU(d, left + f * block), hn::LoadU(d, right + f * block), sum);
        store(sum, schur_, r * R + c);
      }
    }
    for (std::size_t k = 0; k < R; ++k) {
      const V pivot = load(schur_, k * R + k);
      fine = hn::And(fine, hn::Gt(pivot, hn::Mul(margin, load(diagonal, F + k))));
      const V inverse = hn::Div(one, pivot);
      for (std::size_t r = k + 1; r < R; ++r) {
        const V factor = hn::Mul(load(schur_, r * R + k), inverse);
        for (std::size_t c = k + 1; c <= r; ++c) store(hn::NegMulAdd(factor, load(schur_, c * R + k), load(schur_, r * R + c)), schur_, r * R + c);
      }
    }
    return fine;
  }

  // The comparison matrix (diagonal as it is, -|a_ij| elsewhere) is an M-matrix: all its pivots are positive.
  M dominated_by_diagonal() {
    M fine = hn::Eq(hn::Zero(d), hn::Zero(d));
    const V one = hn::Set(d, T(1));
    for (std::size_t f = 0; f < s_.first; ++f) {
      fine = hn::And(fine, hn::Gt(load(diagonal, f), hn::Zero(d)));
      store(hn::Div(one, load(diagonal, f)), pivot_, f);
    }
    schur<true>(fine, nullptr, T(1e-5));
    return fine;
  }

  const Shape& s_;
  const Values<T>& p_;
  const Base<T>& base_;
  T *k1_, *k2_, *k3_, *rhs_, *stage_, *scaled_, *e_, *pivot_, *row_, *schur_, *symmetric_, *c0_, *c1_, *c2_, *c3_, *center_, *lane_, *end_;
  bool inside_[block] = {};
};

// A group of samples on their way to steady states.
template <class T>
class Group {
 public:
  using D = Tag<T>;
  using V = Vec<T>;
  using M = hn::Mask<D>;

  Group(const Shape& shape, const Values<T>& values, const Base<T>& base, const Limits& limits, Sample<T>* samples, std::size_t n, T* scratch)
      : shape_(shape), limits_(limits), samples_(samples), n_(n), lanes_(shape, values, base, scratch) {}

  void run() {
    const std::size_t nodes = shape_.nodes();
    lanes_.clear_matrix();
    for (std::size_t lane = 0; lane < block; ++lane) {
      // Lanes without a sample repeat the first one; nothing is read from them.
      const Sample<T>& sample = samples_[lane < n_ ? lane : 0];
      for (std::size_t k = 0; k < nodes; ++k) {
        lanes_.mu[k * block + lane] = lanes_.start[k * block + lane] = sample.start[k];
        lanes_.inject[k * block + lane] = sample.inject == nullptr ? T(0) : sample.inject[k];
      }
      open_[lane] = lane < n_ ? T(1) : T(0);
    }
    T restored[block] = {};
    for (std::size_t lane = 0; lane < n_; ++lane) restored[lane] = samples_[lane].restored ? T(1) : T(0);
    const M warm = flags(restored);
    if (!hn::AllFalse(d, warm)) {
      expand(warm);
      settle(warm);
    }
    follow();
  }

 private:
  M flags(const T* of) const { return hn::Gt(hn::LoadU(d, of), hn::Set(d, T(0.5))); }
  M open() const { return flags(open_); }
  T of(V v, std::size_t lane) const {
    T all[block];
    hn::StoreU(v, d, all);
    return all[lane];
  }

  void expand(M where) {
    T on[block];
    hn::StoreU(hn::IfThenElseZero(where, hn::Set(d, T(1))), d, on);
    for (std::size_t lane = 0; lane < n_; ++lane) {
      if (on[lane] < T(0.5)) continue;
      lanes_.expand_lane(samples_[lane], lane);
      ++samples_[lane].expansions;
      if (!lanes_.inside(lane)) open_[lane] = 0;  // beyond the series: not ours
    }
  }

  // From `mu`, where the inputs have been expanded: Newton on the expansion, then judged by the exact law, until that calls it settled.
  // Lanes that do not get there stay open.
  void settle(M where) {
    for (std::size_t k = 0; k < shape_.nodes(); ++k) lanes_.store(lanes_.load(lanes_.mu, k), lanes_.origin, k);
    for (int round = 0; round < 4; ++round) {
      where = hn::And(where, open());
      if (hn::AllFalse(d, where)) return;
      where = newton(where);
      if (hn::AllFalse(d, where)) return;
      judge(where);
    }
  }

  // Lanes whose expansion is balanced to a fraction of the tolerance. Every iterate is certified, moved lanes are expanded again.
  M newton(M where) {
    const V trust = hn::Set(d, T(limits_.trust * limits_.kT)), near = hn::Set(d, T(0.25 * limits_.tolerance * limits_.kT));
    M arrived = hn::Not(where);
    V before = hn::Set(d, T(1e30));
    for (int iteration = 0; iteration < 14; ++iteration) {
      lanes_.template evaluate<true>(lanes_.mu, lanes_.flow);
      where = hn::And(where, hn::Or(arrived, lanes_.contracting()));
      where = hn::And(where, hn::Or(arrived, lanes_.factor(nullptr)));
      lanes_.solve(lanes_.flow, lanes_.correction);
      const V size = lanes_.largest(lanes_.correction);
      where = hn::And(where, hn::Or(arrived, hn::Le(size, trust)));
      if (iteration > 2) where = hn::And(where, hn::Or(arrived, hn::Le(size, hn::Mul(hn::Set(d, T(0.5)), before))));
      before = size;
      const M moving = hn::AndNot(arrived, where);
      if (hn::AllFalse(d, moving)) break;
      lanes_.add_where(moving, lanes_.correction, lanes_.mu);
      where = hn::And(where, hn::Le(lanes_.largest_difference(lanes_.mu, lanes_.origin), trust));
      const M close = hn::Le(size, near);
      arrived = hn::Or(arrived, hn::And(close, where));
      const M stray = hn::And(hn::And(moving, where), hn::Gt(lanes_.strayed(lanes_.mu), hn::Set(d, T(reach * limits_.kT))));
      if (!hn::AllFalse(d, stray)) {
        expand(stray);
        arrived = hn::AndNot(stray, arrived);
        where = hn::And(where, open());
        before = hn::IfThenElse(stray, hn::Set(d, T(1e30)), before);
      }
    }
    return hn::And(where, arrived);
  }

  // The exact law decides: one more step of Newton's method, and the lanes for which it was short have settled.
  void judge(M where) {
    T on[block];
    hn::StoreU(hn::IfThenElseZero(where, hn::Set(d, T(1))), d, on);
    for (std::size_t lane = 0; lane < n_; ++lane) {
      if (on[lane] < T(0.5)) continue;
      lanes_.exact_lane(samples_[lane], lane);
      ++samples_[lane].exact;
    }
    lanes_.template evaluate<true>(lanes_.mu, lanes_.flow);
    M settled = hn::And(where, lanes_.contracting());
    settled = hn::And(settled, lanes_.factor(nullptr));
    lanes_.solve(lanes_.flow, lanes_.correction);
    const V size = lanes_.largest(lanes_.correction), residual = lanes_.largest(lanes_.flow);
    settled = hn::And(settled, hn::Le(size, hn::Set(d, T(limits_.tolerance * limits_.kT))));
    lanes_.add_where(settled, lanes_.correction, lanes_.mu);
    const V displacement = lanes_.largest_difference(lanes_.mu, lanes_.start);
    hn::StoreU(hn::IfThenElseZero(settled, hn::Set(d, T(1))), d, on);
    for (std::size_t lane = 0; lane < n_; ++lane) {
      if (on[lane] < T(0.5)) continue;
      Sample<T>& sample = samples_[lane];
      sample.converged = true;
      sample.bound = of(size, lane);
      sample.residual = of(residual, lane);
      sample.displacement = of(displacement, lane);
      for (std::size_t k = 0; k < shape_.nodes(); ++k) sample.potential[k] = lanes_.mu[k * block + lane];
      open_[lane] = 0;
    }
  }

  // The physical relaxation in time, for the lanes that are open, until Newton may finish.
  void follow() {
    M running = open();
    if (hn::AllFalse(d, running)) return;
    for (std::size_t k = 0; k < shape_.nodes(); ++k) lanes_.store(lanes_.load(lanes_.start, k), lanes_.y, k);
    for (std::size_t lane = 0; lane < n_; ++lane) samples_[lane].followed = open_[lane] > T(0.5);
    look_around(running);
    V h = first_step(), time = hn::Zero(d);
    V uncertified = hn::IfThenElse(lanes_.contracting(), hn::Zero(d), hn::Set(d, T(1)));
    for (std::uint32_t step = 0; step < limits_.max_steps; ++step) {
      running = hn::And(running, open());
      if (hn::AllFalse(d, running)) return;
      const V error = lanes_.attempt(h, limits_.path_tolerance * limits_.kT, T(reach * limits_.kT));
      const M taken = hn::And(running, hn::Le(error, hn::Set(d, T(1))));
      lanes_.copy_where(taken, lanes_.mu, lanes_.y);
      time = hn::Add(time, hn::IfThenElseZero(taken, h));
      h = hn::Mul(h, change_of_step(error));
      look_around(taken);
      uncertified = hn::IfThenElse(hn::AndNot(lanes_.contracting(), taken), hn::Set(d, T(1)), uncertified);
      count(taken);
      M ready = hn::And(hn::And(taken, open()), lanes_.factor(nullptr));
      lanes_.solve(lanes_.y_flow, lanes_.correction);
      ready = hn::And(ready, hn::Le(lanes_.largest(lanes_.correction), hn::Set(d, T(0.5 * limits_.trust * limits_.kT))));
      if (hn::AllFalse(d, ready)) continue;
      settle(ready);
      note(ready, time, uncertified);
      look_around(hn::And(ready, open()));
    }
  }

  // Lanes are at y: their inputs are expanded there, and all flows and slopes are those of y.
  void look_around(M moved) {
    lanes_.copy_where(moved, lanes_.y, lanes_.mu);
    expand(moved);
    lanes_.template evaluate<true>(lanes_.y, lanes_.y_flow);
  }

  // No node moves by more than a tenth of kT at first, at its present rate.
  V first_step() {
    V fastest = hn::Set(d, T(1e-30));
    for (std::size_t k = 0; k < shape_.nodes(); ++k) fastest = hn::Max(fastest, hn::Abs(hn::Mul(lanes_.load(lanes_.y_flow, k), hn::Set(d, T(1) / lanes_.capacity(k)))));
    return hn::Min(hn::Div(hn::Set(d, T(0.1 * limits_.kT)), fastest), hn::Set(d, T(1e6)));
  }

  // As Rosenbrock::step; an error that is not a number shortens as much as the largest.
  V change_of_step(V error) {
    T all[block];
    hn::StoreU(error, d, all);
    for (std::size_t lane = 0; lane < hn::Lanes(d); ++lane) {
      const double e = static_cast<double>(all[lane]);
      const double factor = 0.9 / cbrt(e > 1e-6 ? e : 1e-6);
      if (e <= 1) {
        all[lane] = T(factor < 0.2 ? 0.2 : factor > 6 ? 6 : factor);
      } else {
        all[lane] = T(!(factor > 0.1) ? 0.1 : factor > 0.9 ? 0.9 : factor);
      }
    }
    return hn::LoadU(d, all);
  }

  void note(M of_lanes, V time, V uncertified) {
    T on[block];
    hn::StoreU(hn::IfThenElseZero(of_lanes, hn::Set(d, T(1))), d, on);
    for (std::size_t lane = 0; lane < n_; ++lane) {
      if (on[lane] < T(0.5) || !samples_[lane].converged) continue;
      samples_[lane].time = of(time, lane);
      samples_[lane].contracting = of(uncertified, lane) < T(0.5);
    }
  }

  void count(M taken) {
    T on[block];
    hn::StoreU(hn::IfThenElseZero(taken, hn::Set(d, T(1))), d, on);
    for (std::size_t lane = 0; lane < n_; ++lane) samples_[lane].steps += on[lane] > T(0.5) ? 1 : 0;
  }

  static constexpr double reach = 0.5;  // of the expansion of input currents (kT)
  const D d;
  const Shape& shape_;
  const Limits& limits_;
  Sample<T>* samples_;
  std::size_t n_;
  Lanes<T> lanes_;
  T open_[block] = {};
};

template <class T>
void base_sums(const Shape& shape, const Values<T>& values, T level, T exponential, T potential, T* current) {
  const Tag<T> d;
  const auto mu = hn::Set(d, potential * values.scale);
  const Fed<T> node{mu, power_of_two(d, hn::Neg(mu))};
  for (std::size_t b = 0; b < shape.blocks; ++b) {
    for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
      auto I = hn::Zero(d);
      const T* edge = edges_of(shape, values, b) + v;
      for (std::size_t i = 0; i < shape.inputs;) {
        auto part = hn::Zero(d);
        const std::size_t end = i + short_sum < shape.inputs ? i + short_sum : shape.inputs;
        for (; i < end; ++i, edge += 3 * block) {
          const auto f = seen<T>(d, edge, level, exponential, node);
          part = hn::MulAdd(hn::LoadU(d, edge), hn::Sub(f.s, f.t), part);
        }
        I = hn::Add(I, part);
      }
      hn::StoreU(I, d, current + b * block + v);
    }
  }
}

template <class T>
void scaled(std::size_t n, const double* level, T scale, T* out, T* exponential) {
  const Tag<T> d;
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<T>(level[i]) * scale;
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) hn::StoreU(power_of_two(d, hn::Neg(hn::LoadU(d, out + i))), d, exponential + i);
  if (i == n) return;
  T last[block] = {};
  for (std::size_t k = i; k < n; ++k) last[k - i] = out[k];
  hn::StoreU(power_of_two(d, hn::Neg(hn::LoadU(d, last))), d, last);
  for (std::size_t k = i; k < n; ++k) exponential[k] = last[k - i];
}

// What the gradient needs of one input edge: f_s - f_t, f_t (1 - f_t) - f_s (1 - f_s), and the latter times the (scaled) difference.
template <class T>
struct Parts {
  Vec<T> window, level, difference;
};
template <class T>
HWY_INLINE Parts<T> parts_of(Tag<T> d, const T* edge, T level, T exponential, const Fed<T>& node, Vec<T>& slope, Vec<T> gamma) {
  const auto f = seen<T>(d, edge, level, exponential, node);
  const auto p_s = hn::NegMulAdd(f.s, f.s, f.s), p_t = hn::NegMulAdd(f.t, f.t, f.t), by_level = hn::Sub(p_t, p_s);
  slope = hn::NegMulAdd(gamma, hn::MulAdd(hn::LoadU(d, edge + 2 * block), by_level, p_t), slope);
  return {hn::Sub(f.s, f.t), by_level, hn::Mul(by_level, hn::Sub(hn::Set(d, level), node.mu))};
}

// The spots' parts [spots][3][16] of one block, less those at the base level, and the slope of the sample's input currents.
template <class T>
void spot_parts(const Shape& shape, const Values<T>& values, const Base<T>& base, const Pull<T>& sample, std::size_t b, const T* potential, T* parts, T* slope) {
  const Tag<T> d;
  for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
    const auto mu = hn::LoadU(d, potential + v);
    Fed<T> node;
    node.mu = hn::Mul(hn::Set(d, values.scale), mu);
    node.e = power_of_two(d, hn::Neg(node.mu));
    const T* edges = edges_of(shape, values, b) + v;
    auto sum = hn::Zero(d), off = hn::Zero(d);
    T* out = parts + v;
    for (std::size_t k = 0; k < sample.n_spots; ++k, out += 3 * block) {
      const Spot<T>& spot = sample.spots[k];
      const T* edge = edges + spot.input * 3 * block;
      const auto gamma = hn::LoadU(d, edge);
      Parts<T> here = parts_of<T>(d, edge, spot.level, spot.exponential, node, sum, gamma);
      if (base.terms > 0) {
        const Parts<T> there = parts_of<T>(d, edge, base.level, base.exponential, node, off, gamma);
        here.window = hn::Sub(here.window, there.window);
        here.level = hn::Sub(here.level, there.level);
        here.difference = hn::Sub(here.difference, there.difference);
      }
      hn::StoreU(here.window, d, out);
      hn::StoreU(here.level, d, out + block);
      hn::StoreU(here.difference, d, out + 2 * block);
    }
    sum = hn::Mul(hn::Sub(sum, off), hn::Set(d, values.inverse));
    if (base.terms > 0) {
      Vec<T> c[4];
      base_cubic<T>(shape, base, b * block + v, d, mu, c);
      sum = hn::Add(sum, c[1]);
    }
    hn::StoreU(sum, d, slope + v);
  }
}

template <class T>
void add_spots(const Pull<T>& sample, const T* parts, const T* costate, T* sums) {
  const Tag<T> d;
  for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
    const auto lambda = hn::LoadU(d, costate + v);
    const T* part = parts + v;
    for (std::size_t k = 0; k < sample.n_spots; ++k, part += 3 * block) {
      T* to = sums + sample.spots[k].input * 3 * block + v;
      hn::StoreU(hn::MulAdd(lambda, hn::LoadU(d, part), hn::LoadU(d, to)), d, to);
      hn::StoreU(hn::MulAdd(lambda, hn::LoadU(d, part + block), hn::LoadU(d, to + block)), d, to + block);
      hn::StoreU(hn::MulAdd(lambda, hn::LoadU(d, part + 2 * block), hn::LoadU(d, to + 2 * block)), d, to + 2 * block);
    }
  }
}

// Adds costate times T_k of a node's potential, k < terms.
template <class T>
void add_moments(const Shape& shape, const Base<T>& base, std::size_t b, const T* potential, const T* costate, T* moments) {
  const Tag<T> d;
  const std::size_t stride = shape.blocks * block;
  for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
    const auto x = hn::Mul(hn::Sub(hn::LoadU(d, potential + v), hn::Set(d, (base.high + base.low) / 2)), hn::Set(d, T(2) / (base.high - base.low)));
    const auto two_x = hn::Add(x, x);
    auto before = hn::LoadU(d, costate + v), now = hn::Mul(x, before);
    T* to = moments + b * block + v;
    for (std::size_t k = 0; k < base.terms; ++k, to += stride) {
      hn::StoreU(hn::Add(hn::LoadU(d, to), before), d, to);
      const auto next = hn::MulSub(two_x, now, before);
      before = now;
      now = next;
    }
  }
}

template <class T>
void pull(const Shape& shape, const Values<T>& values, const Base<T>& base, Pull<T>* samples, std::size_t n, const Sums<T>& sums, T* scratch) {
  const Tag<T> d;
  Lanes<T> lanes(shape, values, base, scratch);
  const std::size_t nodes = shape.nodes(), fed = shape.blocks * block;
  T* here = lanes.end();                 // [fed] potentials of a sample's fed nodes, costates
  T* costate = here + fed;
  T* slope = costate + fed;
  T* parts = slope + fed;                // [n][blocks][spots][3][16], as many spots as the sample has
  lanes.clear_matrix();
  for (std::size_t lane = 0; lane < block; ++lane) {
    const Pull<T>& sample = samples[lane < n ? lane : 0];
    for (std::size_t k = 0; k < nodes; ++k) {
      lanes.mu[k * block + lane] = sample.potential[k];
      lanes.inject[k * block + lane] = 0;
      lanes.y[k * block + lane] = sample.cotangent != nullptr ? sample.cotangent[k] : sample.costate[k];
    }
  }
  T* next = parts;
  for (std::size_t lane = 0; lane < n; ++lane) {
    for (std::size_t b = 0; b < shape.blocks; ++b) {
      for (std::size_t v = 0; v < block; ++v) here[v] = shape.fed[b * block + v] == nobody ? T(0) : samples[lane].potential[shape.fed[b * block + v]];
      spot_parts<T>(shape, values, base, samples[lane], b, here, next, slope + b * block);
      next += samples[lane].n_spots * 3 * block;
    }
    lanes.slopes_of_lane(slope, lane);
  }
  for (std::size_t lane = n; lane < block; ++lane) lanes.slopes_of_lane(slope, lane);
  lanes.template evaluate<true>(lanes.mu, lanes.flow);
  if (samples[0].cotangent != nullptr) {
    const auto fine = lanes.factor(nullptr);
    lanes.solve_transposed(lanes.y, lanes.correction);
    T usable[block];
    hn::StoreU(hn::IfThenElseZero(fine, hn::Set(d, T(1))), d, usable);
    for (std::size_t lane = 0; lane < n; ++lane) {
      samples[lane].singular = usable[lane] < T(0.5);
      for (std::size_t k = 0; k < nodes; ++k) {
        const T lambda = lanes.correction[k * block + lane];
        samples[lane].costate[k] = lambda;
        lanes.y[k * block + lane] = samples[lane].singular ? T(0) : lambda;
      }
    }
  }
  for (std::size_t lane = n; lane < block; ++lane) {
    for (std::size_t k = 0; k < nodes; ++k) lanes.y[k * block + lane] = 0;
  }
  // Input edges: into node t, weight -(-lambda_t).
  next = parts;
  for (std::size_t lane = 0; lane < n; ++lane) {
    for (std::size_t b = 0; b < shape.blocks; ++b) {
      for (std::size_t v = 0; v < block; ++v) {
        const std::uint32_t k = shape.fed[b * block + v];
        here[v] = k == nobody ? T(0) : samples[lane].potential[k];
        costate[v] = k == nobody ? T(0) : lanes.y[k * block + lane];
      }
      add_spots<T>(samples[lane], next, costate, sums.input + b * shape.inputs * 3 * block);
      next += samples[lane].n_spots * 3 * block;
      if (base.terms > 0) add_moments<T>(shape, base, b, here, costate, sums.moments);
    }
  }
  lanes.add_edges(sums);
}

template <class T>
void base_part(const Shape& shape, const Values<T>& values, const Base<T>& base, const T* node, const T* node_exponential, const T* moments, std::size_t b,
               std::size_t from, std::size_t to, T* sums) {
  const Tag<T> d;
  const std::size_t stride = shape.blocks * block;
  for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
    for (std::size_t i = from; i < to; ++i) {
      const T* edge = edges_of(shape, values, b) + i * 3 * block + v;
      auto window = hn::Zero(d), level = hn::Zero(d), difference = hn::Zero(d);
      for (std::size_t k = 0; k < base.terms; ++k) {
        const Fed<T> at{hn::Set(d, node[k]), hn::Set(d, node_exponential[k])};
        const auto weight = hn::LoadU(d, moments + k * stride + b * block + v);
        const auto f = seen<T>(d, edge, base.level, base.exponential, at);
        const auto p_s = hn::NegMulAdd(f.s, f.s, f.s), p_t = hn::NegMulAdd(f.t, f.t, f.t);
        const auto by_level = hn::Mul(weight, hn::Sub(p_t, p_s));
        window = hn::MulAdd(weight, hn::Sub(f.s, f.t), window);
        level = hn::Add(level, by_level);
        difference = hn::MulAdd(by_level, hn::Set(d, base.level - node[k]), difference);
      }
      T* out = sums + (i - from) * 3 * block + v;
      hn::StoreU(window, d, out);
      hn::StoreU(level, d, out + block);
      hn::StoreU(difference, d, out + 2 * block);
    }
  }
}

template <class T>
void relax_lanes(const Shape& shape, const Values<T>& values, const Base<T>& base, const Limits& limits, Sample<T>* samples, std::size_t n, T* scratch) {
  Group<T>(shape, values, base, limits, samples, n, scratch).run();
}
template <class T>
Arithmetic<T> all() {
  return {hn::Lanes(Tag<T>()), scaled<T>, base_sums<T>, relax_lanes<T>, pull<T>, base_part<T>};
}
// Highway dispatches plain functions.
Arithmetic<float> all_single() { return all<float>(); }
Arithmetic<double> all_double() { return all<double>(); }

}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::batches
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ness::sim::batches {

HWY_EXPORT(all_single);
HWY_EXPORT(all_double);
template <>
Arithmetic<float> arithmetic<float>() {
  return HWY_DYNAMIC_DISPATCH(all_single)();
}
template <>
Arithmetic<double> arithmetic<double>() {
  return HWY_DYNAMIC_DISPATCH(all_double)();
}

}  // namespace ness::sim::batches
#endif
