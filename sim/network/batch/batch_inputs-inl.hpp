// Batches: input edges. One sample at a time; the nodes that the edges lead to are side by side, in blocks of
// 16.
#if defined(NESS_SIM_BATCH_INPUTS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef NESS_SIM_BATCH_INPUTS_INL
#undef NESS_SIM_BATCH_INPUTS_INL
#else
#define NESS_SIM_BATCH_INPUTS_INL
#endif

#include <hwy/highway.h>

#include "batch/batch_kernels.hpp"
#include "kernels/edge_kernels-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace ness::sim::batches {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using kernels::HWY_NAMESPACE::Occupations;
using kernels::HWY_NAMESPACE::occupations;
using kernels::HWY_NAMESPACE::power_of_two;
using kernels::HWY_NAMESPACE::reciprocal;

template <class T>
using Tag = hn::CappedTag<T, block>;
template <class T>
using Vec = hn::Vec<Tag<T>>;

// After this many terms a partial sum is added to the total, so that rounding errors remain those of short
// sums.
constexpr std::size_t short_sum = 56;
// Edges evaluated in an interleaved way: the operations of one edge depend on each other, and a core does not
// look ahead far enough to overlap several edges by itself.
constexpr std::size_t together = 4;

template <class T>
HWY_INLINE const T* edges_of(const Shape& shape, const Values<T>& values, std::size_t b) {
  return values.input + b * shape.inputs * 3 * block;
}

// The nodes of one vector of a block.
template <class T>
struct Fed {
  Vec<T> mu, e;  // scaled potential, and 2^-mu
};

template <class T, bool bounded>
HWY_INLINE Occupations<Vec<T>> seen(Tag<T> d, const T* edge, T level, T exponential, const Fed<T>& node) {
  const auto x = hn::Set(d, level);
  const auto at = hn::MulAdd(hn::LoadU(d, edge + 2 * block), hn::Sub(x, node.mu), hn::LoadU(d, edge + block));
  return occupations<bounded>(d, at, hn::Set(d, exponential), node.e);
}

template <class T>
void edge_sizes(std::size_t n, const T* input, T* sizes) {
  const Tag<T> d;
  const auto one = hn::Set(d, T(1));
  for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
    auto level = hn::Zero(d), steepest = level, low = level, fourth = level;
    const T* edge = input + v;
    for (std::size_t i = 0; i < n; ++i, edge += 3 * block) {
      const auto rate = hn::Abs(hn::LoadU(d, edge)), slope = hn::LoadU(d, edge + 2 * block),
                 b = hn::Abs(slope), c = hn::Abs(hn::Add(slope, one));
      const auto b2 = hn::Mul(b, b), c2 = hn::Mul(c, c);
      level = hn::Max(level, hn::Abs(hn::LoadU(d, edge + block)));
      steepest = hn::Max(steepest, hn::Max(b, c));
      low = hn::MulAdd(rate, hn::Add(hn::Add(b, c), hn::Add(b2, c2)), low);
      fourth = hn::MulAdd(rate, hn::MulAdd(b2, b2, hn::Mul(c2, c2)), fourth);
    }
    hn::StoreU(level, d, sizes + v);
    hn::StoreU(steepest, d, sizes + block + v);
    hn::StoreU(low, d, sizes + 2 * block + v);
    hn::StoreU(fourth, d, sizes + 3 * block + v);
  }
}

// f_s - f_t alone.
template <class T, bool bounded>
HWY_INLINE Vec<T> window(Tag<T> d, const T* edge, T level, T exponential, const Fed<T>& node) {
  const auto x = hn::Set(d, level);
  const auto at = hn::MulAdd(hn::LoadU(d, edge + 2 * block), hn::Sub(x, node.mu), hn::LoadU(d, edge + block));
  return kernels::HWY_NAMESPACE::window<bounded>(d, at, hn::Set(d, exponential), node.e);
}

// The exact input currents of a sample at its nodes' potentials, [blocks * 16], and with_slope their
// derivatives.
template <class T, bool bounded, bool with_slope>
void input_sums_of(const Shape& shape, const Values<T>& values, const T* level, const T* exponential,
                   const T* potential, T* current, T* slope) {
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
        if constexpr (!with_slope) {
          for (; i + together <= end; i += together, edge += together * 3 * block) {
            Vec<T> w[together];
            HWY_UNROLL(together)
            for (std::size_t n = 0; n < together; ++n)
              w[n] = window<T, bounded>(d, edge + n * 3 * block, level[i + n], exponential[i + n], node);
            HWY_UNROLL(together)
            for (std::size_t n = 0; n < together; ++n)
              I_part = hn::MulAdd(hn::LoadU(d, edge + n * 3 * block), w[n], I_part);
          }
        }
        for (; i < end; ++i, edge += 3 * block) {
          const auto gamma = hn::LoadU(d, edge);
          if constexpr (with_slope) {
            const auto f = seen<T, bounded>(d, edge, level[i], exponential[i], node);
            I_part = hn::MulAdd(gamma, hn::Sub(f.s, f.t), I_part);
            const auto p_s = hn::NegMulAdd(f.s, f.s, f.s), p_t = hn::NegMulAdd(f.t, f.t, f.t);
            S_part = hn::NegMulAdd(gamma, hn::MulAdd(hn::LoadU(d, edge + 2 * block), hn::Sub(p_t, p_s), p_t),
                                   S_part);
          } else {
            I_part = hn::MulAdd(gamma, window<T, bounded>(d, edge, level[i], exponential[i], node), I_part);
          }
        }
        I = hn::Add(I, I_part);
        S = hn::Add(S, S_part);
      }
      hn::StoreU(I, d, current + place);
      if constexpr (with_slope) hn::StoreU(hn::Mul(S, hn::Set(d, values.inverse)), d, slope + place);
    }
  }
}
template <class T, bool with_slope>
void input_sums(const Shape& shape, const Values<T>& values, const T* level, const T* exponential,
                const T* potential, T* current, T* slope) {
  (values.bounded
       ? input_sums_of<T, true, with_slope>
       : input_sums_of<T, false, with_slope>)(shape, values, level, exponential, potential, current, slope);
}

// Computes the table's rows of inputs [from, to) of a block (batch_kernels.hpp), and their sums over these
// inputs [terms][16].
template <class T>
void table_rows(const Shape& shape, const Values<T>& values, const Table<T>& table, const T* node,
                std::size_t b, std::size_t from, std::size_t to, T* growth, T* current, T* sums) {
  const Tag<T> d;
  for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
    for (std::size_t k = 0; k < table.terms; ++k) {
      const Fed<T> at{hn::Set(d, node[k]), hn::Set(d, table.node_exponential[k])};
      auto sum = hn::Zero(d);
      for (std::size_t i = from; i < to; ++i) {
        const T* edge = edges_of(shape, values, b) + i * 3 * block + v;
        const std::size_t place = (i * table.terms + k) * block + v;
        hn::StoreU(power_of_two(d, hn::Neg(hn::Mul(hn::LoadU(d, edge + 2 * block), at.mu))), d,
                   growth + place);
        if (!table.based) continue;
        const auto f = seen<T, false>(d, edge, table.level, table.exponential, at);
        const auto I = hn::Mul(hn::LoadU(d, edge), hn::Sub(f.s, f.t));
        hn::StoreU(I, d, current + place);
        sum = hn::Add(sum, I);
      }
      hn::StoreU(sum, d, sums + k * block + v);
    }
  }
}

// Contribution of one input to the currents of one sample at the table's nodes, for one vector of network
// nodes. 2^level is the product of a factor of the sample and a factor of the table, so that no exponential
// per node is needed. `wide`: the product may overflow.
template <class T, bool wide, bool based>
HWY_INLINE void add_single(Tag<T> d, std::size_t terms, const T* HWY_RESTRICT node_exponential,
                           Vec<T> highest, const T* HWY_RESTRICT edge, const T* HWY_RESTRICT growth,
                           const T* HWY_RESTRICT current, const SingleInput<T>& single, T* HWY_RESTRICT sums,
                           std::size_t stride) {
  const auto one = hn::Set(d, T(1)), full = hn::Set(d, kernels::HWY_NAMESPACE::Precision<T>::full);
  const auto gamma = hn::LoadU(d, edge), e_s = hn::Set(d, single.exponential);
  const auto level =
      hn::MulAdd(hn::LoadU(d, edge + 2 * block), hn::Set(d, single.level), hn::LoadU(d, edge + block));
  const auto factor = power_of_two(d, hn::Min(level, highest));
  for (std::size_t k = 0; k < terms; k += 4) {
    HWY_UNROLL(4)
    for (std::size_t n = k; n < k + 4; ++n) {
      const auto E = hn::Mul(factor, hn::LoadU(d, growth + n * block));
      auto above_s = hn::MulAdd(E, e_s, one), above_t = hn::MulAdd(E, hn::Set(d, node_exponential[n]), one);
      if constexpr (wide) {
        above_s = hn::Min(above_s, full);
        above_t = hn::Min(above_t, full);
      }
      auto I = hn::LoadU(d, sums + n * stride);
      if constexpr (based) I = hn::Sub(I, hn::LoadU(d, current + n * block));
      I = hn::MulAdd(hn::Mul(gamma, hn::Sub(above_t, above_s)),
                     reciprocal<true>(d, hn::Mul(above_s, above_t)), I);
      hn::StoreU(I, d, sums + n * stride);
    }
  }
}

// The input currents of n samples at the table's nodes, [n][terms][blocks * 16]: from the samples' singles,
// and from every other input at the commonest level. Input by input, so that an input's rows of the table are
// read once for all samples.
template <class T, bool wide, bool based>
void currents_at_nodes(const Shape& shape, const Values<T>& values, const Table<T>& table,
                       const Sample<T>* samples, std::size_t n, T* out) {
  const Tag<T> d;
  const std::size_t terms = table.terms, blocks = shape.blocks, inputs = shape.inputs,
                    stride = blocks * block, size = terms * stride;
  const T *const growth = table.growth, *const current = table.current,
                 *const node_exponential = table.node_exponential, *const edges = values.input;
  const auto highest = hn::Set(d, table.highest);
  for (std::size_t s = 0; s < n; ++s) {
    for (std::size_t i = 0; i < size; i += hn::Lanes(d))
      hn::StoreU(hn::LoadU(d, table.sum + i), d, out + s * size + i);
  }
  // First the common inputs, then the others; both in ascending order.
  for (const bool common : {true, false}) {
    const SingleInput<T>* next[block];
    const SingleInput<T>* end[block];
    for (std::size_t s = 0; s < n; ++s) {
      next[s] = samples[s].singles + (common ? 0 : samples[s].n_common);
      end[s] = samples[s].singles + (common ? samples[s].n_common : samples[s].n_singles);
    }
    for (std::size_t input = 0; input < inputs; ++input) {
      std::uint32_t here[block];
      std::size_t with = 0;
      for (std::size_t s = 0; s < n; ++s) {
        here[with] = static_cast<std::uint32_t>(s);
        with += next[s] != end[s] && next[s]->input == input ? 1 : 0;
      }
      for (std::size_t b = 0; b < blocks && with > 0; ++b) {
        const std::size_t row = b * inputs + input;
        for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
          const T *const edge = edges + row * 3 * block + v,
                         *const growth_row = growth + row * terms * block + v,
                         *const current_row = based ? current + row * terms * block + v : nullptr;
          for (std::size_t w = 0; w < with; ++w) {
            add_single<T, wide, based>(d, terms, node_exponential, highest, edge, growth_row, current_row,
                                       *next[here[w]], out + here[w] * size + b * block + v, stride);
          }
        }
      }
      for (std::size_t w = 0; w < with; ++w) ++next[here[w]];
    }
  }
}

// Converts these values into Chebyshev series, [n][terms][blocks * 16], in place; scratch [terms *
// blocks][16].
template <class T>
void functions(const Shape& shape, const Values<T>& values, const Table<T>& table, const Sample<T>* samples,
               std::size_t n, T* out, T* scratch) {
  const Tag<T> d;
  const std::size_t stride = shape.blocks * block, size = table.terms * stride;
  const auto currents =
      table.wide ? (table.based ? currents_at_nodes<T, true, true> : currents_at_nodes<T, true, false>)
                 : (table.based ? currents_at_nodes<T, false, true> : currents_at_nodes<T, false, false>);
  currents(shape, values, table, samples, n, out);
  for (std::size_t s = 0; s < n; ++s) {
    T* const here = out + s * size;
    for (std::size_t i = 0; i < size; i += hn::Lanes(d)) hn::StoreU(hn::LoadU(d, here + i), d, scratch + i);
    for (std::size_t m = 0; m < table.terms; ++m) {
      for (std::size_t i = 0; i < stride; i += hn::Lanes(d)) {
        auto sum = hn::Zero(d);
        for (std::size_t k = 0; k < table.terms; ++k)
          sum = hn::MulAdd(hn::Set(d, table.transform[m * table.terms + k]),
                           hn::LoadU(d, scratch + k * stride + i), sum);
        hn::StoreU(sum, d, here + m * stride + i);
      }
    }
  }
}

// The base's Chebyshev series and its derivatives by the potential, up to the first or third order, at
// potentials (kT): Clenshaw's recurrence b_k = c_k + 2 x b_(k+1) - b_(k+2), differentiated.
template <class T, int order>
HWY_INLINE void base_series(const Shape& shape, const Base<T>& base, std::size_t place, Tag<T> d,
                            Vec<T> potential, Vec<T>* out) {
  static_assert(order == 1 || order == 3);
  const std::size_t stride = shape.blocks * block;
  const auto half = hn::Set(d, T(2) / (base.high - base.low));
  const auto x = hn::Mul(hn::Sub(potential, hn::Set(d, (base.high + base.low) / 2)), half),
             two_x = hn::Add(x, x);
  const auto zero = hn::Zero(d);
  // The m-th derivative of b_k is 2 m times the (m-1)-th derivative of b_(k+1), plus 2 x b_(k+1) - b_(k+2)
  // for the m-th derivatives.
  auto b0 = zero, b1 = zero, b2 = zero, b3 = zero, before0 = zero, before1 = zero, before2 = zero,
       before3 = zero;
  const auto four = hn::Set(d, T(4)), six = hn::Set(d, T(6));
  for (std::size_t k = base.terms; k-- > 1;) {
    const auto next0 =
        hn::MulAdd(two_x, b0, hn::Sub(hn::LoadU(d, base.current + k * stride + place), before0));
    const auto next1 = hn::MulAdd(two_x, b1, hn::Sub(hn::Add(b0, b0), before1));
    if constexpr (order == 3) {
      const auto next2 = hn::MulAdd(two_x, b2, hn::MulSub(four, b1, before2));
      const auto next3 = hn::MulAdd(two_x, b3, hn::MulSub(six, b2, before3));
      before2 = b2, before3 = b3;
      b2 = next2, b3 = next3;
    }
    before0 = b0, before1 = b1;
    b0 = next0, b1 = next1;
  }
  // The sum is c_0 + x b_1 - b_2.
  out[0] = hn::MulAdd(x, b0, hn::Sub(hn::LoadU(d, base.current + place), before0));
  out[1] = hn::Mul(half, hn::MulAdd(x, b1, hn::Sub(b0, before1)));
  if constexpr (order == 3) {
    out[2] = hn::Mul(hn::Mul(half, half), hn::MulAdd(x, b2, hn::Sub(hn::Add(b1, b1), before2)));
    out[3] = hn::Mul(hn::Mul(half, hn::Mul(half, half)),
                     hn::MulAdd(x, b3, hn::MulSub(hn::Set(d, T(3)), b2, before3)));
  }
}

// An input edge's current divided by gamma, and its derivatives D by the node's potential in units of kT T.
// With p = f (1 - f) at each end, and b and c = 1 + b the factors of the potential in the exponents:
//   D I = b p_s - c p_t,   D^2 I = b^2 p_s (1 - 2 f_s) - c^2 p_t (1 - 2 f_t),   D^3 I = b^3 p_s (1 - 6 p_s) -
//   c^3 p_t (1 - 6 p_t).
template <class T>
struct Jet {
  Vec<T> value, slope, curvature, third;
};
template <class T, bool bounded, int order>
HWY_INLINE Jet<T> jet_of(Tag<T> d, Vec<T> a, Vec<T> b, Vec<T> c, Vec<T> level, Vec<T> exponential,
                         const Fed<T>& node) {
  const auto one = hn::Set(d, T(1)), two = hn::Set(d, T(2)), six = hn::Set(d, T(6));
  const auto f =
      occupations<bounded, true>(d, hn::MulAdd(b, hn::Sub(level, node.mu), a), exponential, node.e);
  const auto p_s = hn::NegMulAdd(f.s, f.s, f.s), p_t = hn::NegMulAdd(f.t, f.t, f.t);
  const auto s = hn::Mul(b, p_s), t = hn::Mul(c, p_t);
  if constexpr (order == 1) return {hn::Sub(f.s, f.t), hn::Sub(s, t), hn::Zero(d), hn::Zero(d)};
  const auto bs = hn::Mul(b, s), ct = hn::Mul(c, t);
  return {hn::Sub(f.s, f.t), hn::Sub(s, t),
          hn::MulSub(bs, hn::NegMulAdd(two, f.s, one), hn::Mul(ct, hn::NegMulAdd(two, f.t, one))),
          hn::MulSub(hn::Mul(b, bs), hn::NegMulAdd(six, p_s, one),
                     hn::Mul(hn::Mul(c, ct), hn::NegMulAdd(six, p_t, one)))};
}

// The input currents of a sample around its nodes' potentials, [1 + order][blocks * 16]: value, first
// derivative, half of the second, a sixth of the third. The base is evaluated by its series, singles by the
// law with approximate occupations; the exact law checks the result later.
template <class T, int order, bool bounded>
void expansion_of(const Shape& shape, const Values<T>& values, const Base<T>& base, const Sample<T>& sample,
                  const T* potential, T* out) {
  const Tag<T> d;
  const std::size_t fed = shape.blocks * block;
  for (std::size_t b = 0; b < shape.blocks; ++b) {
    for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
      const std::size_t place = b * block + v;
      const auto mu = hn::LoadU(d, potential + place);
      Fed<T> node;
      node.mu = hn::Mul(hn::Set(d, values.scale), mu);
      node.e = power_of_two(d, hn::Neg(node.mu));
      const auto zero = hn::Zero(d), one = hn::Set(d, T(1)), base_level = hn::Set(d, base.level),
                 base_exponential = hn::Set(d, base.exponential);
      const T* edges = edges_of(shape, values, b) + v;
      Jet<T> sum{zero, zero, zero, zero};
      const auto add = [&](Vec<T> gamma, const Jet<T>& jet) HWY_ATTR {
        sum = {hn::MulAdd(gamma, jet.value, sum.value), hn::MulAdd(gamma, jet.slope, sum.slope),
               hn::MulAdd(gamma, jet.curvature, sum.curvature), hn::MulAdd(gamma, jet.third, sum.third)};
      };
      const auto at = [&](const T* edge, Vec<T> level, Vec<T> exponential) HWY_ATTR {
        const auto slope = hn::LoadU(d, edge + 2 * block);
        return jet_of<T, bounded, order>(d, hn::LoadU(d, edge + block), slope, hn::Add(slope, one), level,
                                         exponential, node);
      };
      const auto here = [&](const SingleInput<T>& single) HWY_ATTR {
        return at(edges + single.input * 3 * block, hn::Set(d, single.level), hn::Set(d, single.exponential));
      };
      std::size_t k = 0;
      for (; k < sample.n_common; ++k) {
        const SingleInput<T>& single = sample.singles[k];
        const T* edge = edges + single.input * 3 * block;
        const Jet<T> jet = here(single), off = at(edge, base_level, base_exponential);
        add(hn::LoadU(d, edge), {hn::Sub(jet.value, off.value), hn::Sub(jet.slope, off.slope),
                                 hn::Sub(jet.curvature, off.curvature), hn::Sub(jet.third, off.third)});
      }
      for (; k + 2 <= sample.n_singles; k += 2) {
        const SingleInput<T>*single = sample.singles + k, *next = single + 1;
        const Jet<T> first = here(*single), second = here(*next);
        add(hn::LoadU(d, edges + single->input * 3 * block), first);
        add(hn::LoadU(d, edges + next->input * 3 * block), second);
      }
      if (k < sample.n_singles)
        add(hn::LoadU(d, edges + sample.singles[k].input * 3 * block), here(sample.singles[k]));
      Vec<T> whole[4] = {zero, zero, zero, zero};
      if (base.terms > 0) base_series<T, order>(shape, base, place, d, mu, whole);
      const auto by = hn::Set(d, values.inverse), by2 = hn::Mul(by, by);
      hn::StoreU(hn::Add(whole[0], sum.value), d, out + place);
      hn::StoreU(hn::MulAdd(by, sum.slope, whole[1]), d, out + fed + place);
      if constexpr (order == 1) continue;
      hn::StoreU(hn::Mul(hn::Set(d, T(0.5)), hn::MulAdd(by2, sum.curvature, whole[2])), d,
                 out + 2 * fed + place);
      hn::StoreU(hn::Mul(hn::Set(d, T(1) / T(6)), hn::MulAdd(hn::Mul(by, by2), sum.third, whole[3])), d,
                 out + 3 * fed + place);
    }
  }
}
template <class T, int order>
void expansion(const Shape& shape, const Values<T>& values, const Base<T>& base, const Sample<T>& sample,
               const T* potential, T* out) {
  (values.bounded ? expansion_of<T, order, true> : expansion_of<T, order, false>)(shape, values, base, sample,
                                                                                  potential, out);
}

template <class T, bool bounded>
void base_sums_of(const Shape& shape, const Values<T>& values, const std::uint8_t* common, T level,
                  T exponential, T potential, T* current) {
  const Tag<T> d;
  const auto mu = hn::Set(d, potential * values.scale);
  const Fed<T> node{mu, power_of_two(d, hn::Neg(mu))};
  const auto difference = [&](const T* edge) HWY_ATTR {
    const auto f = seen<T, bounded>(d, edge, level, exponential, node);
    return hn::Sub(f.s, f.t);
  };
  for (std::size_t b = 0; b < shape.blocks; ++b) {
    for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
      auto I = hn::Zero(d);
      const T* edge = edges_of(shape, values, b) + v;
      for (std::size_t i = 0; i < shape.inputs;) {
        auto part = hn::Zero(d);
        const std::size_t end = i + short_sum < shape.inputs ? i + short_sum : shape.inputs;
        for (; i + together <= end; i += together, edge += together * 3 * block) {
          Vec<T> w[together];
          HWY_UNROLL(together)
          for (std::size_t n = 0; n < together; ++n) w[n] = difference(edge + n * 3 * block);
          for (std::size_t n = 0; n < together; ++n) {
            if (common[i + n] != 0) part = hn::MulAdd(hn::LoadU(d, edge + n * 3 * block), w[n], part);
          }
        }
        for (; i < end; ++i, edge += 3 * block) {
          if (common[i] != 0) part = hn::MulAdd(hn::LoadU(d, edge), difference(edge), part);
        }
        I = hn::Add(I, part);
      }
      hn::StoreU(I, d, current + b * block + v);
    }
  }
}
template <class T>
void base_sums(const Shape& shape, const Values<T>& values, const std::uint8_t* common, T level,
               T exponential, T potential, T* current) {
  (values.bounded ? base_sums_of<T, true> : base_sums_of<T, false>)(shape, values, common, level, exponential,
                                                                    potential, current);
}

template <class T>
void scaled(std::size_t n, const double* level, T scale, T* out, T* exponential) {
  const Tag<T> d;
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<T>(level[i]) * scale;
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d))
    hn::StoreU(power_of_two(d, hn::Neg(hn::LoadU(d, out + i))), d, exponential + i);
  if (i == n) return;
  T last[block] = {};
  for (std::size_t k = i; k < n; ++k) last[k - i] = out[k];
  hn::StoreU(power_of_two(d, hn::Neg(hn::LoadU(d, last))), d, last);
  for (std::size_t k = i; k < n; ++k) exponential[k] = last[k - i];
}

template <class T>
std::uint32_t find_singles(std::size_t n, const double* level, T scale, const double* base,
                           const std::uint32_t* varied, std::size_t n_varied, SingleInput<T>* singles,
                           double* ends, double* chosen, T* scratch) {
  const Tag<double> d;
  const hn::RebindToSigned<Tag<double>> d_index;
  std::uint32_t count = 0;
  auto low = hn::Set(d, n > 0 ? level[0] : 0.0), high = low;
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto x = hn::LoadU(d, level + i), at = hn::LoadU(d, base + i);
    low = hn::Min(low, x);
    high = hn::Max(high, x);
    const auto differs = hn::AndNot(hn::Eq(x, at), hn::Eq(at, at));  // NaN counts as different
    if (hn::AllFalse(d, differs)) continue;
    std::int64_t found[2 * block] = {};  // CompressStore may write a whole vector
    const std::size_t many = hn::CompressStore(hn::Iota(d_index, static_cast<std::int64_t>(i)),
                                               hn::RebindMask(d_index, differs), d_index, found);
    // Always a whole vector: no branch to mispredict.
    for (std::size_t m = 0; m < hn::Lanes(d); ++m)
      singles[count + m].input = static_cast<std::uint32_t>(found[m]);
    count += static_cast<std::uint32_t>(many);
  }
  ends[0] = hn::GetLane(hn::MinOfLanes(d, low));
  ends[1] = hn::GetLane(hn::MaxOfLanes(d, high));
  for (; i < n; ++i) {
    ends[0] = level[i] < ends[0] ? level[i] : ends[0];
    ends[1] = level[i] > ends[1] ? level[i] : ends[1];
    if (base[i] == base[i] && !(level[i] == base[i])) singles[count++].input = static_cast<std::uint32_t>(i);
  }
  for (std::size_t k = 0; k < n_varied; ++k) singles[count++].input = varied[k];
  for (std::uint32_t k = 0; k < count; ++k) chosen[k] = level[singles[k].input];
  T *const out = scratch, *const exponential = out + n;
  scaled<T>(count, chosen, scale, out, exponential);
  for (std::uint32_t k = 0; k < count; ++k) {
    singles[k].level = out[k];
    singles[k].exponential = exponential[k];
  }
  return count;
}

// Sets all levels and their exponentials to those of the base.
template <class T>
void fill(const Shape& shape, T base_level, T base_exponential, T* level, T* exponential) {
  for (std::size_t i = 0; i < shape.inputs; ++i) level[i] = base_level;
  for (std::size_t i = 0; i < shape.inputs; ++i) exponential[i] = base_exponential;
}
// Sets the levels of a sample's singles.
template <class T>
void set_singles(const Sample<T>& sample, T* level, T* exponential) {
  for (std::size_t s = 0; s < sample.n_singles; ++s) {
    const SingleInput<T>& single = sample.singles[s];
    level[single.input] = single.level;
    exponential[single.input] = single.exponential;
  }
}
template <class T>
void unset_singles(const Sample<T>& sample, T base_level, T base_exponential, T* level, T* exponential) {
  for (std::size_t s = 0; s < sample.n_singles; ++s) {
    level[sample.singles[s].input] = base_level;
    exponential[sample.singles[s].input] = base_exponential;
  }
}

// Terms of the gradient of one input edge: f_s - f_t, f_t (1 - f_t) - f_s (1 - f_s), and the latter times the
// (scaled) difference.
template <class T>
struct Parts {
  Vec<T> window, level, difference;
};
template <class T, bool bounded>
HWY_INLINE Parts<T> parts_of(Tag<T> d, const T* edge, T level, T exponential, const Fed<T>& node,
                             Vec<T>& slope, Vec<T> gamma) {
  const auto f = seen<T, bounded>(d, edge, level, exponential, node);
  const auto p_s = hn::NegMulAdd(f.s, f.s, f.s), p_t = hn::NegMulAdd(f.t, f.t, f.t),
             by_level = hn::Sub(p_t, p_s);
  slope = hn::NegMulAdd(gamma, hn::MulAdd(hn::LoadU(d, edge + 2 * block), by_level, p_t), slope);
  return {hn::Sub(f.s, f.t), by_level, hn::Mul(by_level, hn::Sub(hn::Set(d, level), node.mu))};
}

// For one block of a sample: the parts of its common singles minus those at the base level, [common][3][16];
// the windows and level derivatives of its varied inputs, [varied][2][16]; and the derivative of its input
// currents.
template <class T, bool bounded>
void single_parts_of(const Shape& shape, const Values<T>& values, const Base<T>& base, const Pull<T>& sample,
                     std::size_t b, const T* potential, T* common, T* varied, T* slope) {
  const Tag<T> d;
  for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
    const auto mu = hn::LoadU(d, potential + v);
    Fed<T> node;
    node.mu = hn::Mul(hn::Set(d, values.scale), mu);
    node.e = power_of_two(d, hn::Neg(node.mu));
    const T* edges = edges_of(shape, values, b) + v;
    auto sum = hn::Zero(d), off = hn::Zero(d);
    T* out = common + v;
    const auto difference = [&](const SingleInput<T>& single) HWY_ATTR -> Parts<T> {
      const T* edge = edges + single.input * 3 * block;
      const auto gamma = hn::LoadU(d, edge);
      const Parts<T> here = parts_of<T, bounded>(d, edge, single.level, single.exponential, node, sum, gamma);
      const Parts<T> there = parts_of<T, bounded>(d, edge, base.level, base.exponential, node, off, gamma);
      return {hn::Sub(here.window, there.window), hn::Sub(here.level, there.level),
              hn::Sub(here.difference, there.difference)};
    };
    const auto put_difference = [&](const Parts<T>& parts) HWY_ATTR {
      hn::StoreU(parts.window, d, out);
      hn::StoreU(parts.level, d, out + block);
      hn::StoreU(parts.difference, d, out + 2 * block);
      out += 3 * block;
    };
    // Two singles at once, stored afterwards: the processor can then overlap them, because no load follows a
    // store.
    std::size_t k = 0;
    for (; k + 2 <= sample.n_common; k += 2) {
      const Parts<T> first = difference(sample.singles[k]), second = difference(sample.singles[k + 1]);
      put_difference(first);
      put_difference(second);
    }
    if (k < sample.n_common) put_difference(difference(sample.singles[k]));
    out = varied + v;
    const auto part = [&](const SingleInput<T>& single) HWY_ATTR {
      const T* edge = edges + single.input * 3 * block;
      return parts_of<T, bounded>(d, edge, single.level, single.exponential, node, sum, hn::LoadU(d, edge));
    };
    const auto put = [&](const Parts<T>& here) HWY_ATTR {
      hn::StoreU(here.window, d, out);
      hn::StoreU(here.level, d, out + block);
      out += 2 * block;
    };
    k = sample.n_common;
    for (; k + 2 <= sample.n_singles; k += 2) {
      const Parts<T> first = part(sample.singles[k]), second = part(sample.singles[k + 1]);
      put(first);
      put(second);
    }
    if (k < sample.n_singles) put(part(sample.singles[k]));
    sum = hn::Mul(hn::Sub(sum, off), hn::Set(d, values.inverse));
    if (base.terms > 0) {
      Vec<T> of_base[2];
      base_series<T, 1>(shape, base, b * block + v, d, mu, of_base);
      sum = hn::Add(sum, of_base[1]);
    }
    hn::StoreU(sum, d, slope + v);
  }
}
template <class T>
void single_parts(const Shape& shape, const Values<T>& values, const Base<T>& base, const Pull<T>& sample,
                  std::size_t b, const T* potential, T* common, T* varied, T* slope) {
  (values.bounded ? single_parts_of<T, true> : single_parts_of<T, false>)(shape, values, base, sample, b,
                                                                          potential, common, varied, slope);
}

// Adds costate times parts of a sample's common singles, for one block, to the sums of their edges.
template <class T>
void add_common(const Pull<T>& sample, const T* parts, const T* costate, T* sums) {
  const Tag<T> d;
  for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
    const auto lambda = hn::LoadU(d, costate + v);
    const T* part = parts + v;
    for (std::size_t k = 0; k < sample.n_common; ++k, part += 3 * block) {
      T* to = sums + sample.singles[k].input * 3 * block + v;
      hn::StoreU(hn::MulAdd(lambda, hn::LoadU(d, part), hn::LoadU(d, to)), d, to);
      hn::StoreU(hn::MulAdd(lambda, hn::LoadU(d, part + block), hn::LoadU(d, to + block)), d, to + block);
      hn::StoreU(hn::MulAdd(lambda, hn::LoadU(d, part + 2 * block), hn::LoadU(d, to + 2 * block)), d,
                 to + 2 * block);
    }
  }
}
// The same for the varied inputs of n samples, [n][blocks][varied][2][16]. All samples have the same varied
// inputs, so the sums of an edge stay in registers. Scaled potentials and costates: [n][blocks * 16].
template <class T>
void add_varied(const Shape& shape, const Pull<T>* samples, std::size_t n, const T* parts, const T* potential,
                const T* costate, T* sums) {
  const Tag<T> d;
  const std::size_t blocks = shape.blocks, fed = blocks * block,
                    varied = samples[0].n_singles - samples[0].n_common, of_block = varied * 2 * block;
  for (std::size_t b = 0; b < blocks; ++b) {
    for (std::size_t k = 0; k < varied; ++k) {
      T* const edge =
          sums + (b * shape.inputs + samples[0].singles[samples[0].n_common + k].input) * 3 * block;
      for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
        auto window = hn::LoadU(d, edge + v), level = hn::LoadU(d, edge + block + v),
             difference = hn::LoadU(d, edge + 2 * block + v);
        const T *part = parts + b * of_block + k * 2 * block + v, *lambda = costate + b * block + v,
                *mu = potential + b * block + v;
        for (std::size_t s = 0; s < n; ++s, part += blocks * of_block, lambda += fed, mu += fed) {
          const auto by = hn::LoadU(d, lambda), by_level = hn::Mul(by, hn::LoadU(d, part + block));
          window = hn::MulAdd(by, hn::LoadU(d, part), window);
          level = hn::Add(level, by_level);
          difference = hn::MulAdd(
              by_level,
              hn::Sub(hn::Set(d, samples[s].singles[samples[s].n_common + k].level), hn::LoadU(d, mu)),
              difference);
        }
        hn::StoreU(window, d, edge + v);
        hn::StoreU(level, d, edge + block + v);
        hn::StoreU(difference, d, edge + 2 * block + v);
      }
    }
  }
}

// Adds costate times the Chebyshev polynomial T_k of a node's potential, k < terms.
template <class T>
void add_moments(const Shape& shape, const Base<T>& base, std::size_t b, const T* potential, const T* costate,
                 T* moments) {
  const Tag<T> d;
  const std::size_t stride = shape.blocks * block;
  for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
    const auto x = hn::Mul(hn::Sub(hn::LoadU(d, potential + v), hn::Set(d, (base.high + base.low) / 2)),
                           hn::Set(d, T(2) / (base.high - base.low)));
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

// Gradient sums of input edges [from, to) of a block: the sums of the chunks, plus the contribution of the
// base.
template <class T, bool bounded>
void base_part_of(const Shape& shape, const Values<T>& values, const Base<T>& base, const T* node,
                  const T* node_exponential, const T* moments, const Chunks<T>& chunks, std::size_t b,
                  std::size_t from, std::size_t to, T* sums) {
  const Tag<T> d;
  const std::size_t stride = shape.blocks * block;
  for (std::size_t v = 0; v < block; v += hn::Lanes(d)) {
    for (std::size_t i = from; i < to; ++i) {
      const std::size_t row = (b * shape.inputs + i) * 3 * block + v;
      const T* edge = values.input + row;
      auto window = hn::Zero(d), level = hn::Zero(d), difference = hn::Zero(d);
      const std::size_t terms = base.terms > 0 && base.common[i] != 0 ? base.terms : 0;
      const auto add = [&](std::size_t k) HWY_ATTR {
        const Fed<T> at{hn::Set(d, node[k]), hn::Set(d, node_exponential[k])};
        const auto weight = hn::LoadU(d, moments + k * stride + b * block + v);
        const auto f = seen<T, bounded>(d, edge, base.level, base.exponential, at);
        const auto p_s = hn::NegMulAdd(f.s, f.s, f.s), p_t = hn::NegMulAdd(f.t, f.t, f.t);
        const auto by_level = hn::Mul(weight, hn::Sub(p_t, p_s));
        window = hn::MulAdd(weight, hn::Sub(f.s, f.t), window);
        level = hn::Add(level, by_level);
        difference = hn::MulAdd(by_level, hn::Set(d, base.level - node[k]), difference);
      };
      std::size_t k = 0;
      for (; k + together <= terms; k += together) {
        HWY_UNROLL(together)
        for (std::size_t n = 0; n < together; ++n) add(k + n);
      }
      for (; k < terms; ++k) add(k);
      for (std::size_t c = 0; c < chunks.n; ++c) {
        const T* const of_chunk = chunks.sums + c * chunks.size + row;
        window = hn::Add(window, hn::LoadU(d, of_chunk));
        level = hn::Add(level, hn::LoadU(d, of_chunk + block));
        difference = hn::Add(difference, hn::LoadU(d, of_chunk + 2 * block));
      }
      T* out = sums + (i - from) * 3 * block + v;
      hn::StoreU(window, d, out);
      hn::StoreU(level, d, out + block);
      hn::StoreU(difference, d, out + 2 * block);
    }
  }
}

template <class T>
void base_part(const Shape& shape, const Values<T>& values, const Base<T>& base, const T* node,
               const T* node_exponential, const T* moments, const Chunks<T>& chunks, std::size_t b,
               std::size_t from, std::size_t to, T* sums) {
  (values.bounded ? base_part_of<T, true> : base_part_of<T, false>)(shape, values, base, node,
                                                                    node_exponential, moments, chunks, b,
                                                                    from, to, sums);
}

}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::batches
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
