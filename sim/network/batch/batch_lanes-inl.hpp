// Batches: the network between free nodes, 16 samples side by side (fewer with shorter vectors).
#if defined(NESS_SIM_BATCH_LANES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef NESS_SIM_BATCH_LANES_INL
#undef NESS_SIM_BATCH_LANES_INL
#else
#define NESS_SIM_BATCH_LANES_INL
#endif

#include <hwy/highway.h>

#include "batch/batch_inputs-inl.hpp"
#include "solver/path.hpp"

HWY_BEFORE_NAMESPACE();
namespace ness::sim::batches {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The network between free nodes; each lane is one sample. Arrays are [..][16]; the entries of a lane are 16
// apart.
template <class T>
class Lanes {
 public:
  using D = Tag<T>;
  using V = Vec<T>;
  using M = hn::Mask<D>;

  /// table null: input currents are set by expand_lane or set_slopes.
  Lanes(const Shape& shape, const Values<T>& values, const Table<T>* table, T* scratch)
      : s_(shape), p_(values), table_(table), terms_(table == nullptr ? 0 : table->terms) {
    auto take = [&](std::size_t rows) {
      T* here = scratch;
      scratch += rows * block;
      return here;
    };
    const std::size_t n = s_.nodes(), fed = s_.blocks * block;
    mu = take(n), flow = take(n), diagonal = take(n), correction = take(n), y = take(n), y_flow = take(n),
    start = take(n), origin = take(n);
    errors = take(n), defect_ = take(n), k1_ = take(n), k2_ = take(n), k3_ = take(n), rhs_ = take(n),
    stage_ = take(n), inject = take(n);
    scaled_ = take(n), e_ = take(n), pivot_ = take(n), row_ = take(n);
    matrix = take(s_.couplings());
    schur_ = take(s_.rest * s_.rest), symmetric_ = take(s_.first * s_.rest);
    off_ = take(fed), off_slope_ = take(fed), off_half_ = take(fed), off_sixth_ = take(fed),
    exact_ = take(fed), exact_slope_ = take(fed), center_ = take(fed), slope_error_ = take(fed),
    slope_guess_ = take(fed);
    series_ = take(terms_ * fed);
    // Of one sample: potentials, currents and derivatives of its fed nodes, or its series.
    lane_ = take((terms_ > 5 ? terms_ : 5) * s_.blocks);
    end_ = scratch;
    for (std::size_t i = 0; i < fed; ++i) {
      for (T* of : {off_, off_slope_, off_half_, off_sixth_, exact_, exact_slope_, center_, slope_error_,
                    slope_guess_})
        store(hn::Zero(d), of, i);
    }
  }

  T *mu, *flow, *diagonal, *correction, *y, *y_flow, *start, *origin, *inject, *matrix, *errors;

  V load(const T* from, std::size_t k) const { return hn::LoadU(d, from + k * block); }
  void store(V what, T* to, std::size_t k) const { hn::StoreU(what, d, to + k * block); }

  // Sets the input currents of n samples as functions of their nodes' potentials; the other lanes have none.
  void set_functions(const Sample<T>* samples, std::size_t n) {
    const std::size_t size = terms_ * s_.blocks * block;
    if (size == 0) return;
    functions<T>(s_, p_, *table_, samples, n, end_, lane_);
    for (std::size_t i = 0; i < size; ++i) {
      for (std::size_t lane = 0; lane < block; ++lane)
        series_[i * block + lane] = lane < n ? end_[lane * size + i] : T(0);
    }
  }

  // Sets the input currents of one sample to an expansion around `mu`, of third order. `anew`: only value and
  // first derivative are computed; the second and third derivative are kept from before, which is enough near
  // by.
  template <bool anew>
  void expand_lane(const Base<T>& base, const Sample<T>& sample, std::size_t lane) {
    const std::size_t fed = s_.blocks * block;
    gather(lane);
    expansion<T, anew ? 1 : 3>(s_, p_, base, sample, lane_, lane_ + fed);
    for (std::size_t i = 0; i < fed; ++i) {
      const std::size_t at = i * block + lane;
      if (anew) {
        off_half_[at] += 3 * off_sixth_[at] * (lane_[i] - center_[at]);
      } else {
        off_half_[at] = lane_[3 * fed + i];
        off_sixth_[at] = lane_[4 * fed + i];
      }
      center_[at] = lane_[i];
      off_[at] = lane_[fed + i];
      off_slope_[at] = lane_[2 * fed + i];
    }
  }
  // Distance of the fed nodes from their expansion points.
  V off_center() const {
    V most = hn::Zero(d);
    for (std::size_t i = 0; i < s_.blocks * block; ++i) {
      if (s_.fed[i] != nobody) most = hn::Max(most, hn::Abs(hn::Sub(load(mu, s_.fed[i]), load(center_, i))));
    }
    return most;
  }

  // Evaluates the exact law of one sample at `mu` for correct(), with or without derivatives; all its levels
  // and their exponentials are given.
  template <bool with_slope>
  void exact_lane(const T* level, const T* exponential, std::size_t lane) {
    const std::size_t fed = s_.blocks * block;
    gather(lane);
    input_sums<T, with_slope>(s_, p_, level, exponential, lane_, lane_ + fed, lane_ + 2 * fed);
    for (std::size_t i = 0; i < fed; ++i) {
      exact_[i * block + lane] = lane_[fed + i];
      if (with_slope) exact_slope_[i * block + lane] = lane_[2 * fed + i];
    }
  }
  // Lanes whose expansions give the derivatives of their input currents at `mu` accurately enough: to an
  // eighth of the last diagonal.
  M slopes_known() {
    M all = hn::Eq(hn::Zero(d), hn::Zero(d));
    if (terms_ > 0 || p_.slope_noise == nullptr) return hn::Not(all);
    const V share = hn::Set(d, T(0.125));
    for (std::size_t i = 0; i < s_.blocks * block; ++i) {
      const std::uint32_t k = s_.fed[i];
      if (k == nobody) continue;
      // The first expansion, at the start, was of third order. A renewed expansion is of first order and
      // keeps the third derivative of the start.
      const V x = load(mu, k), far = hn::Abs(hn::Sub(x, load(start, k))),
              near = hn::Abs(hn::Sub(x, load(center_, i)));
      const V before = hn::Max(hn::Sub(far, near), hn::Zero(d)), cube = hn::Mul(hn::Mul(far, far), far);
      const V error =
          hn::MulAdd(hn::Set(d, p_.slope_growth[i]), hn::NegMulAdd(hn::Mul(before, before), before, cube),
                     hn::Set(d, p_.slope_noise[i]));
      store(error, slope_error_, i);
      all = hn::And(all, hn::Le(error, hn::Mul(share, load(diagonal, k))));
    }
    return all;
  }
  // Corrects the functions of these lanes to the exact law's values at `mu`, and in lanes with_slope to its
  // derivatives.
  void correct(M where, M with_slope) {
    for (std::size_t i = 0; i < s_.blocks * block; ++i) {
      if (s_.fed[i] == nobody) continue;
      const V at = load(mu, s_.fed[i]), half = load(off_half_, i), sixth = load(off_sixth_, i);
      V current, slope;
      series<true>(i, at, current, slope);
      const V moved = hn::IfThenElseZero(where, hn::Sub(at, load(center_, i))),
              value = hn::Sub(load(exact_, i), current);
      // The part missing from the value at this distance is of fourth order; the part missing from the
      // derivative is four times it, divided by the distance.
      const V missed = hn::Abs(
          hn::Sub(value, hn::MulAdd(hn::MulAdd(hn::MulAdd(sixth, moved, half), moved, load(off_slope_, i)),
                                    moved, load(off_, i))));
      const V likely =
          hn::Div(hn::Mul(hn::Set(d, T(4)), missed), hn::Max(hn::Abs(moved), hn::Set(d, T(1e-6))));
      const V error = load(slope_error_, i);
      store(hn::Min(error, p_.slope_noise == nullptr
                               ? error
                               : hn::MulAdd(hn::Set(d, T(0.125)), hn::Set(d, p_.slope_noise[i]), likely)),
            slope_guess_, i);
      store(hn::IfThenElse(where, value, load(off_, i)), off_, i);
      const V thrice = hn::Mul(hn::Set(d, T(3)), sixth);
      const V own = hn::MulAdd(hn::MulAdd(thrice, moved, hn::Add(half, half)), moved, load(off_slope_, i));
      store(hn::IfThenElse(hn::And(where, with_slope), hn::Sub(load(exact_slope_, i), slope), own),
            off_slope_, i);
      store(hn::MulAdd(thrice, moved, half), off_half_, i);
      store(hn::IfThenElse(where, at, load(center_, i)), center_, i);
    }
  }

  // Sets the derivatives of the input currents alone (gradients need no currents).
  void set_slopes(const T* slope, std::size_t lane) {
    for (std::size_t i = 0; i < s_.blocks * block; ++i) off_slope_[i * block + lane] = slope[i];
  }

  // Lanes in which all fed nodes are in the interval where the functions hold.
  M inside(const T* at) const {
    M all = hn::Eq(hn::Zero(d), hn::Zero(d));
    const V low = hn::Set(d, p_.low), high = hn::Set(d, p_.high);
    for (std::size_t i = 0; i < s_.blocks * block; ++i) {
      if (s_.fed[i] == nobody) continue;
      const V x = load(at, s_.fed[i]);
      all = hn::And(all, hn::And(hn::Ge(x, low), hn::Le(x, high)));
    }
    return all;
  }

  // Lanes in which the expansions hold: all fed nodes are within `leash` of their expansion points.
  M near_center(const T* at, T leash) const {
    M all = hn::Eq(hn::Zero(d), hn::Zero(d));
    for (std::size_t i = 0; i < s_.blocks * block; ++i) {
      if (s_.fed[i] != nobody)
        all =
            hn::And(all, hn::Le(hn::Abs(hn::Sub(load(at, s_.fed[i]), load(center_, i))), hn::Set(d, leash)));
    }
    return all;
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
      const V x = load(at, k), dx = hn::Sub(x, load(center_, i)), half = load(off_half_, i),
              sixth = load(off_sixth_, i), off_slope = load(off_slope_, i);
      V I, slope;
      series<with_slope>(i, x, I, slope);
      I = hn::Add(I, hn::MulAdd(hn::MulAdd(hn::MulAdd(sixth, dx, half), dx, off_slope), dx, load(off_, i)));
      store(hn::Add(load(out, k), I), out, k);
      if (with_slope) {
        slope = hn::Add(
            slope,
            hn::MulAdd(hn::MulAdd(hn::Mul(hn::Set(d, T(3)), sixth), dx, hn::Add(half, half)), dx, off_slope));
        store(hn::Sub(load(diagonal, k), slope), diagonal, k);
      }
    }
    // Local copies: for the compiler, a store through a T* could change what the members point to.
    const Shape shape = s_;
    const Values<T> values = p_;
    const T *const scaled = scaled_, *const e = e_;
    T *const sums = diagonal, *const couplings = matrix;
    for (std::size_t i = 0; i < shape.edges; ++i) {
      const std::size_t s = shape.source[i] * block, t = shape.target[i] * block;
      const V b = hn::Set(d, values.b[i]), gamma = hn::Set(d, values.gamma[i]);
      const V level =
          hn::MulAdd(b, hn::Sub(hn::LoadU(d, scaled + s), hn::LoadU(d, scaled + t)), hn::Set(d, values.a[i]));
      const auto f = occupations(d, level, hn::LoadU(d, e + s), hn::LoadU(d, e + t));
      const V I = hn::Mul(gamma, hn::Sub(f.s, f.t));
      hn::StoreU(hn::Sub(hn::LoadU(d, out + s), I), d, out + s);
      hn::StoreU(hn::Add(hn::LoadU(d, out + t), I), d, out + t);
      if (with_slope) {
        const V p_s = hn::NegMulAdd(f.s, f.s, f.s), p_t = hn::NegMulAdd(f.t, f.t, f.t);
        const V by_level = hn::Mul(b, hn::Sub(p_t, p_s)), strength = hn::Mul(gamma, by);
        const V by_source = hn::Mul(strength, hn::Add(by_level, p_s)),
                minus_by_target = hn::Mul(strength, hn::Add(by_level, p_t));
        hn::StoreU(hn::Add(hn::LoadU(d, sums + s), by_source), d, sums + s);
        hn::StoreU(hn::Add(hn::LoadU(d, sums + t), minus_by_target), d, sums + t);
        T *st = couplings + shape.source_target[i] * block, *ts = couplings + shape.target_source[i] * block;
        if (shape.repeated[i]) {
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

  // Factors the couplings, with the diagonal plus `shift` C (null: none), in this order and without exchange.
  // Lanes with a pivot that is not clearly positive are not factored.
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
      for (std::size_t f = 0; f < F; ++f)
        sum = hn::NegMulAdd(hn::LoadU(d, lower + f * block), load(x, f), sum);
      for (std::size_t c = 0; c < r; ++c) sum = hn::NegMulAdd(load(schur_, r * R + c), load(x, F + c), sum);
      store(sum, x, F + r);
    }
    for (std::size_t r = R; r-- > 0;) {
      V sum = load(x, F + r);
      for (std::size_t c = r + 1; c < R; ++c)
        sum = hn::NegMulAdd(load(schur_, r * R + c), load(x, F + c), sum);
      store(hn::Mul(sum, load(schur_, r * R + r)), x, F + r);
    }
    for (std::size_t f = 0; f < F; ++f) {
      V sum = load(b, f);
      const T* upper = matrix + f * R * block;
      for (std::size_t r = 0; r < R; ++r)
        sum = hn::NegMulAdd(hn::LoadU(d, upper + r * block), load(x, F + r), sum);
      store(hn::Mul(sum, load(pivot_, f)), x, f);
    }
  }

  void solve_transposed(const T* b, T* x) const {
    const std::size_t F = s_.first, R = s_.rest;
    for (std::size_t f = 0; f < F; ++f) store(hn::Mul(load(b, f), load(pivot_, f)), x, f);
    // S^T z = b_r - U^T a with S = L U in `schur_`: first U^T, then L^T.
    for (std::size_t r = 0; r < R; ++r) {
      V sum = load(b, F + r);
      for (std::size_t f = 0; f < F; ++f) sum = hn::NegMulAdd(load(matrix, f * R + r), load(x, f), sum);
      for (std::size_t c = 0; c < r; ++c) sum = hn::NegMulAdd(load(schur_, c * R + r), load(x, F + c), sum);
      store(hn::Mul(sum, load(schur_, r * R + r)), x, F + r);
    }
    for (std::size_t r = R; r-- > 0;) {
      V sum = load(x, F + r);
      for (std::size_t c = r + 1; c < R; ++c)
        sum = hn::NegMulAdd(load(schur_, c * R + r), load(x, F + c), sum);
      store(sum, x, F + r);
    }
    for (std::size_t f = 0; f < F; ++f) {
      V sum = load(b, f);
      for (std::size_t r = 0; r < R; ++r)
        sum = hn::NegMulAdd(load(matrix, F * R + r * F + f), load(x, F + r), sum);
      store(hn::Mul(sum, load(pivot_, f)), x, f);
    }
  }

  // Lanes in which the flow contracts (Network::contracting), in this precision; a doubtful case counts as
  // not contracting.
  M contracting() {
    M definite = symmetric_part_definite();
    if (!hn::AllTrue(d, definite)) definite = hn::Or(definite, dominated_by_diagonal());
    return definite;
  }
  // The same for lanes `off`, where it must hold for all derivatives of the input currents within the errors
  // found by slopes_known().
  M contracting_despite(M off) {
    if (hn::AllFalse(d, off)) return contracting();
    for (std::size_t k = 0; k < s_.nodes(); ++k) store(load(diagonal, k), k1_, k);
    for (std::size_t i = 0; i < s_.blocks * block; ++i) {
      const std::uint32_t k = s_.fed[i];
      if (k != nobody)
        store(hn::Sub(load(diagonal, k), hn::IfThenElseZero(off, load(slope_error_, i))), diagonal, k);
    }
    const M all = contracting();
    for (std::size_t k = 0; k < s_.nodes(); ++k) store(load(k1_, k), diagonal, k);
    return all;
  }

  // Likely error of the derivatives, relative to the diagonal.
  V slope_doubt() const {
    V most = hn::Zero(d);
    for (std::size_t i = 0; i < s_.blocks * block; ++i) {
      if (s_.fed[i] != nobody)
        most = hn::Max(most, hn::Div(load(slope_guess_, i), load(diagonal, s_.fed[i])));
    }
    return most;
  }

  V largest(const T* of) const {
    V most = hn::Zero(d);
    for (std::size_t k = 0; k < s_.nodes(); ++k) most = hn::Max(most, hn::Abs(load(of, k)));
    return most;
  }
  V largest_difference(const T* a, const T* b) const {
    V most = hn::Zero(d);
    for (std::size_t k = 0; k < s_.nodes(); ++k)
      most = hn::Max(most, hn::Abs(hn::Sub(load(a, k), load(b, k))));
    return most;
  }
  void add_where(M where, const T* what, T* to) const {
    for (std::size_t k = 0; k < s_.nodes(); ++k)
      store(hn::Add(load(to, k), hn::IfThenElseZero(where, load(what, k))), to, k);
  }
  void copy_where(M where, const T* from, T* to) const {
    for (std::size_t k = 0; k < s_.nodes(); ++k)
      store(hn::IfThenElse(where, load(from, k), load(to, k)), to, k);
  }

  // How far a change of the potentials moves the arguments of edges' exponentials, at most.
  V largest_argument(const T* of) const {
    V most = hn::Zero(d);
    for (std::size_t k = 0; k < s_.nodes(); ++k)
      most = hn::Max(most, hn::Mul(hn::Abs(load(of, k)), hn::Set(d, p_.steepness[k])));
    return most;
  }
  // The error of a step relative to the tolerance (most_of_a_width of rosenbrock.cpp).
  V largest_error(const Limits& limits) const {
    const V by_kT = hn::Set(d, T(1 / limits.kT));
    V most = hn::Zero(d);
    for (std::size_t k = 0; k < s_.nodes(); ++k)
      most = hn::Max(most, hn::Mul(hn::Abs(load(correction, k)),
                                   hn::Max(by_kT, hn::Set(d, p_.steepness[k] / T(path::most_of_a_width)))));
    return hn::Mul(most, hn::Set(d, T(1 / limits.path_tolerance)));
  }
  // The difference between two states, relative to how far Newton's method may go (steady_state.cpp).
  V relative_to_allowed(const T* a, const T* b, const Limits& limits) const {
    const V by_kT = hn::Set(d, T(1 / (limits.trust * limits.kT)));
    V most = hn::Zero(d);
    for (std::size_t k = 0; k < s_.nodes(); ++k) {
      const V apart = hn::Abs(b == nullptr ? load(a, k) : hn::Sub(load(a, k), load(b, k)));
      most = hn::Max(most, hn::Mul(apart, hn::Max(by_kT, hn::Set(d, p_.steepness[k] / T(path::trusted_widths *
                                                                                        limits.trust)))));
    }
    return most;
  }

  // As in Rosenbrock::carry_errors, after an attempt at a step of length h. Returns by which factor the
  // errors grow; infinite where that is too fast for such a step.
  V carry_errors(V h) {
    const std::size_t n = s_.nodes();
    const V twice = hn::Div(hn::Set(d, T(2)), h), tiny = hn::Set(d, T(1e-30)), one = hn::Set(d, T(1));
    V growth = one;
    for (std::size_t k = 0; k < n; ++k) store(load(errors, k), k3_, k);
    for (int half = 0; half < 2; ++half) {
      for (std::size_t k = 0; k < n; ++k)
        store(hn::Mul(hn::Mul(hn::Set(d, p_.capacity[k]), twice), load(k3_, k)), rhs_, k);
      solve(rhs_, stage_);
      V before = hn::Zero(d), after = before, both = before;
      for (std::size_t k = 0; k < n; ++k) {
        const V x = load(k3_, k), z = load(stage_, k);
        before = hn::MulAdd(x, x, before);
        after = hn::MulAdd(z, z, after);
        both = hn::MulAdd(x, z, both);
        store(z, k3_, k);
      }
      const M back = hn::And(hn::Lt(both, hn::Zero(d)), hn::Gt(after, hn::Mul(hn::Set(d, T(1e-3)), before)));
      const V by = hn::IfThenElse(hn::Gt(before, tiny), hn::Div(after, hn::Max(before, tiny)), one);
      growth = hn::IfThenElse(back, hn::Set(d, T(1e30)), hn::Mul(growth, by));
    }
    return hn::Sqrt(growth);
  }
  // As in Rosenbrock::defect_of_step, after an attempt at a step of length h from y to mu, with the flow at
  // y; end_of_defect: with the flow at the end.
  void begin_defect(V h) {
    const V twice = hn::Div(hn::Set(d, T(2)), h);
    for (std::size_t k = 0; k < s_.nodes(); ++k) {
      const V C_h = hn::Mul(hn::Set(d, p_.capacity[k]), twice), way = hn::Sub(load(mu, k), load(y, k));
      store(hn::MulSub(C_h, way, load(y_flow, k)), defect_, k);
      store(hn::Abs(hn::Add(load(diagonal, k), C_h)), pivot_, k);
    }
  }
  void end_of_defect() {
    for (std::size_t k = 0; k < s_.nodes(); ++k)
      store(hn::Div(hn::Sub(load(defect_, k), load(y_flow, k)), load(pivot_, k)), defect_, k);
  }
  // Takes over what carry_errors() found, and adds the errors of the step that these lanes took. `fresh`:
  // lanes without earlier errors. As in Rosenbrock::add_errors_of_step, they always add.
  void add_errors(M taken, M fresh, const Limits& limits) {
    V both = hn::Zero(d), one = both, other = both;
    for (std::size_t k = 0; k < s_.nodes(); ++k) {
      const V width = hn::Set(d, p_.steepness[k]), a = hn::Mul(load(correction, k), width),
              b = hn::Mul(load(defect_, k), width);
      one = hn::MulAdd(a, a, one);
      other = hn::MulAdd(b, b, other);
    }
    const M larger = hn::Gt(other, one);
    for (std::size_t k = 0; k < s_.nodes(); ++k) {
      const V disturbed = hn::Set(d, T(limits.margin * limits.kT * sin(1 + 2.4 * static_cast<double>(k)))),
              width = hn::Set(d, p_.steepness[k]), carried = hn::IfThenZeroElse(fresh, load(k3_, k)),
              added = hn::Add(hn::IfThenElse(larger, load(defect_, k), load(correction, k)), disturbed);
      store(carried, k3_, k);
      store(added, rhs_, k);
      both = hn::MulAdd(hn::Mul(carried, width), hn::Mul(added, width), both);
    }
    for (std::size_t k = 0; k < s_.nodes(); ++k) {
      const V carried = load(k3_, k), added = load(rhs_, k),
              sum =
                  hn::IfThenElse(hn::Lt(both, hn::Zero(d)), hn::Sub(carried, added), hn::Add(carried, added));
      store(hn::IfThenElse(taken, sum, load(errors, k)), errors, k);
    }
  }
  // As in Rosenbrock::note_errors: the part of the errors that is not a delay, or the delay in units of the
  // time that errors take to grow.
  // `speed` and `slowest` are those of the flow so far.
  V strayed(V growth, V h, M taken, V& speed, V& slowest) const {
    V along = hn::Zero(d), flows = hn::Zero(d), most = hn::Zero(d);
    const auto flow_at = [&](std::size_t k) HWY_ATTR {
      return hn::Mul(load(y_flow, k), hn::Set(d, p_.steepness[k] / p_.capacity[k]));
    };
    const auto error_at = [&](std::size_t k)
                              HWY_ATTR { return hn::Mul(load(errors, k), hn::Set(d, p_.steepness[k])); };
    for (std::size_t k = 0; k < s_.nodes(); ++k) {
      const V f = flow_at(k);
      along = hn::MulAdd(f, error_at(k), along);
      flows = hn::MulAdd(f, f, flows);
    }
    const V share = hn::Div(along, hn::Max(flows, hn::Set(d, T(1e-30))));
    // ln x <= x - 1
    const V rate = hn::Div(hn::Max(hn::Sub(growth, hn::Set(d, T(1))), hn::Zero(d)), h);
    const V now = hn::Sqrt(flows);
    slowest = hn::IfThenElse(hn::And(taken, hn::Or(hn::Lt(now, speed), hn::Eq(slowest, hn::Zero(d)))), now,
                             slowest);
    speed = hn::IfThenElse(taken, now, speed);
    most = hn::IfThenElseZero(hn::Lt(now, hn::Mul(hn::Set(d, T(path::leaving)), slowest)),
                              hn::Mul(hn::Abs(share), rate));
    for (std::size_t k = 0; k < s_.nodes(); ++k)
      most = hn::Max(most, hn::Abs(hn::NegMulAdd(share, flow_at(k), error_at(k))));
    return most;
  }

  // One attempt at a step of RODAS3 (rosenbrock.hpp) from y, where the flow is y_flow, and `diagonal` and
  // `matrix` hold the Jacobian; one h per lane. Stages outside the interval of the functions fail; with leash
  // > 0, also those outside the range of the expansions. mu: the state reached. Returns the error relative to
  // the tolerance, or the third power of the way relative to the reach where that is larger; infinite for
  // lanes that are not factored.
  V attempt(V h, const Limits& limits, T leash) {
    const std::size_t n = s_.nodes();
    const V shift = hn::Div(hn::Set(d, T(2)), h), inverse_h = hn::Div(hn::Set(d, T(1)), h);
    const M factored = factor(&shift);
    auto C_h = [&](std::size_t k) HWY_ATTR { return hn::Mul(hn::Set(d, p_.capacity[k]), inverse_h); };
    solve(y_flow, k1_);
    for (std::size_t k = 0; k < n; ++k)
      store(hn::MulAdd(hn::Mul(hn::Set(d, T(4)), C_h(k)), load(k1_, k), load(y_flow, k)), rhs_, k);
    solve(rhs_, k2_);
    for (std::size_t k = 0; k < n; ++k)
      store(hn::MulAdd(hn::Set(d, T(2)), load(k1_, k), load(y, k)), stage_, k);
    const auto holds = [&]() HWY_ATTR {
      return leash > 0 ? hn::And(inside(stage_), near_center(stage_, leash)) : inside(stage_);
    };
    M within = holds();
    evaluate<false>(stage_, rhs_);
    for (std::size_t k = 0; k < n; ++k)
      store(hn::MulAdd(C_h(k), hn::Sub(load(k1_, k), load(k2_, k)), load(rhs_, k)), rhs_, k);
    solve(rhs_, k3_);
    for (std::size_t k = 0; k < n; ++k) store(hn::Add(load(stage_, k), load(k3_, k)), stage_, k);
    within = hn::And(within, holds());
    evaluate<false>(stage_, rhs_);
    for (std::size_t k = 0; k < n; ++k) {
      const V inner =
          hn::NegMulAdd(hn::Set(d, T(8) / T(3)), load(k3_, k), hn::Sub(load(k1_, k), load(k2_, k)));
      store(hn::MulAdd(C_h(k), inner, load(rhs_, k)), rhs_, k);
    }
    solve(rhs_, correction);
    for (std::size_t k = 0; k < n; ++k) store(hn::Add(load(stage_, k), load(correction, k)), mu, k);
    for (std::size_t k = 0; k < n; ++k) store(hn::Sub(load(mu, k), load(y, k)), rhs_, k);
    const V way = hn::Mul(largest_argument(rhs_), hn::Set(d, T(1 / limits.path_reach)));
    const V relative = hn::Max(largest_error(limits), hn::Mul(hn::Mul(way, way), way));
    return hn::IfThenElse(factored, hn::IfThenElse(within, relative, hn::Set(d, T(30))), hn::Set(d, T(1e30)));
  }

  // Adds the gradient sums of the edges between free nodes and of the leaks; costates are in `y`, potentials
  // in `mu`.
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
      hn::StoreU(hn::NegMulAdd(lambda, hn::Sub(load(mu, k), hn::Set(d, p_.mu_ref[k])), hn::LoadU(d, to)), d,
                 to);
      hn::StoreU(hn::MulAdd(lambda, hn::Set(d, p_.g[k]), hn::LoadU(d, to + block)), d, to + block);
    }
  }

  T capacity(std::size_t k) const { return p_.capacity[k]; }
  T* end() const { return end_; }
  const D d;

 private:
  void gather(std::size_t lane) {
    for (std::size_t i = 0; i < s_.blocks * block; ++i)
      lane_[i] = s_.fed[i] == nobody ? T(0) : mu[s_.fed[i] * block + lane];
  }

  // Clenshaw's recurrence b_k = c_k + 2 x b_(k+1) - b_(k+2) for the series of fed node i, and its derivative.
  template <bool with_slope>
  void series(std::size_t i, V potential, V& current, V& slope) const {
    current = slope = hn::Zero(d);
    if (terms_ == 0) return;
    const std::size_t fed = s_.blocks * block;
    const V half = hn::Set(d, T(2) / (table_->high - table_->low));
    const V x = hn::Mul(hn::Sub(potential, hn::Set(d, (table_->high + table_->low) / 2)), half),
            two_x = hn::Add(x, x);
    V b = hn::Zero(d), b_before = b, c = b, c_before = b;
    for (std::size_t k = terms_; k-- > 1;) {
      const V next = hn::MulAdd(two_x, b, hn::Sub(load(series_, k * fed + i), b_before));
      if (with_slope) {
        const V next_slope = hn::MulAdd(two_x, c, hn::Sub(hn::Add(b, b), c_before));
        c_before = c;
        c = next_slope;
      }
      b_before = b;
      b = next;
    }
    current = hn::MulAdd(x, b, hn::Sub(load(series_, i), b_before));
    if (with_slope) slope = hn::Mul(half, hn::MulAdd(x, c, hn::Sub(b, c_before)));
  }

  V pivot_at(std::size_t k, const V* shift) const {
    const V own = load(diagonal, k);
    return shift == nullptr ? own : hn::MulAdd(*shift, hn::Set(d, p_.capacity[k]), own);
  }

  // Computes the Schur complement on the rest and factors it in place: pivots are inverted, and the lower
  // factor has ones on its diagonal. `comparison`: of the matrix with -|a_ij| off the diagonal. A lane stays
  // fine if its pivots exceed `least`, and `least` times the diagonal.
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
      for (std::size_t f = 0; f < F; ++f)
        store(hn::Mul(coupling(lower + f * block), load(pivot_, f)), row_, f);
      const T* square = matrix + (2 * F * R + r * R) * block;
      auto begin = [&](std::size_t c)
                       HWY_ATTR { return c == r ? pivot_at(F + r, shift) : coupling(square + c * block); };
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
        store(s0, schur_, r * R + c), store(s1, schur_, r * R + c + 1), store(s2, schur_, r * R + c + 2),
            store(s3, schur_, r * R + c + 3);
      }
      for (; c < R; ++c) {
        V sum = begin(c);
        for (std::size_t f = 0; f < F; ++f)
          sum = hn::NegMulAdd(load(row_, f), coupling(matrix + (f * R + c) * block), sum);
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
        for (std::size_t c = k + 1; c < R; ++c)
          store(hn::NegMulAdd(factor, load(schur_, k * R + c), load(schur_, r * R + c)), schur_, r * R + c);
      }
    }
  }

  // Lanes whose symmetric part has clearly positive pivots (Cholesky).
  M symmetric_part_definite() {
    const std::size_t F = s_.first, R = s_.rest;
    M fine = hn::Eq(hn::Zero(d), hn::Zero(d));
    const V one = hn::Set(d, T(1)), zero = hn::Zero(d), half = hn::Set(d, T(0.5)),
            margin = hn::Set(d, T(1e-5));
    for (std::size_t f = 0; f < F; ++f) {
      const V own = load(diagonal, f);
      fine = hn::And(fine, hn::Gt(own, zero));
      const V weight = hn::Mul(half, hn::Sqrt(hn::Div(one, own)));
      for (std::size_t r = 0; r < R; ++r) {
        store(hn::Mul(weight, hn::Add(load(matrix, f * R + r), load(matrix, F * R + r * F + f))), symmetric_,
              r * F + f);
      }
    }
    for (std::size_t r = 0; r < R; ++r) {
      for (std::size_t c = 0; c <= r; ++c) {
        V sum = r == c ? load(diagonal, F + r)
                       : hn::Mul(half, hn::Add(load(matrix, 2 * F * R + r * R + c),
                                               load(matrix, 2 * F * R + c * R + r)));
        const T *left = symmetric_ + r * F * block, *right = symmetric_ + c * F * block;
        for (std::size_t f = 0; f < F; ++f)
          sum = hn::NegMulAdd(hn::LoadU(d, left + f * block), hn::LoadU(d, right + f * block), sum);
        store(sum, schur_, r * R + c);
      }
    }
    for (std::size_t k = 0; k < R; ++k) {
      const V pivot = load(schur_, k * R + k);
      fine = hn::And(fine, hn::Gt(pivot, hn::Mul(margin, load(diagonal, F + k))));
      const V inverse = hn::Div(one, pivot);
      for (std::size_t r = k + 1; r < R; ++r) {
        const V factor = hn::Mul(load(schur_, r * R + k), inverse);
        for (std::size_t c = k + 1; c <= r; ++c)
          store(hn::NegMulAdd(factor, load(schur_, c * R + k), load(schur_, r * R + c)), schur_, r * R + c);
      }
    }
    return fine;
  }

  // Lanes whose comparison matrix (same diagonal, -|a_ij| elsewhere) is an M-matrix: all its pivots are
  // positive.
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
  const Table<T>* table_;
  std::size_t terms_;
  T *defect_, *k1_, *k2_, *k3_, *rhs_, *stage_, *scaled_, *e_, *pivot_, *row_, *schur_, *symmetric_;
  // Input currents minus the series: powers of the distance from `center_`; [fed].
  T *off_, *off_slope_, *off_half_, *off_sixth_, *center_;
  // [fed] Error bound and likely error of the derivatives.
  T *slope_error_, *slope_guess_;
  T *exact_, *exact_slope_, *series_, *lane_, *end_;
};

}  // namespace HWY_NAMESPACE
}  // namespace ness::sim::batches
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
