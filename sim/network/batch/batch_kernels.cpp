#include "batch/batch_kernels.hpp"

// Compiled once for each instruction set, so nothing that is inlined elsewhere (Eigen, the standard library's
// templates) may be included here: the linker would keep one copy, of any target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "batch/batch_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <math.h>

#include "batch/batch_inputs-inl.hpp"
#include "batch/batch_lanes-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace ness::sim::batches {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A group of samples that relax to steady states. Input currents are functions over a whole interval (table),
// or expansions around the states reached (base).
template <class T>
class Group {
 public:
  using D = Tag<T>;
  using V = Vec<T>;
  using M = hn::Mask<D>;

  Group(const Shape& shape, const Values<T>& values, const Table<T>* table, const Base<T>* base,
        const Limits& limits, Sample<T>* samples, std::size_t n, T* scratch)
      : shape_(shape),
        base_(base),
        limits_(limits),
        samples_(samples),
        n_(n),
        lanes_(shape, values, table, scratch) {
    lanes_.clear_matrix();
    for (std::size_t lane = 0; lane < block; ++lane) {
      // Lanes without a sample repeat the first one; their results are not used.
      const Sample<T>& sample = samples_[lane < n_ ? lane : 0];
      for (std::size_t k = 0; k < shape_.nodes(); ++k) {
        lanes_.mu[k * block + lane] = lanes_.start[k * block + lane] = sample.start[k];
        lanes_.inject[k * block + lane] = sample.inject == nullptr ? T(0) : sample.inject[k];
      }
      open_[lane] = lane < n_ ? T(1) : T(0);
    }
    base_level_ = base != nullptr ? base->level : table->level;
    base_exponential_ = base != nullptr ? base->exponential : table->exponential;
    level_ = lanes_.end() + (table == nullptr ? 0 : table->terms) * shape.blocks * block * block;
    fill<T>(shape, base_level_, base_exponential_, level_, level_ + shape.inputs);
    close(hn::Not(lanes_.inside(lanes_.start)));
  }

  // Settles the starts on expansions.
  void expand_and_settle() {
    if (hn::AllFalse(d, open())) return;
    expand<false>(open());
    settle(open());
  }

  void relax() {
    lanes_.set_functions(samples_, n_);
    follow();
  }

  // Relaxes the open lanes in time, until Newton's method can finish.
  void follow() {
    M running = open();
    if (hn::AllFalse(d, running)) return;
    for (std::size_t k = 0; k < shape_.nodes(); ++k) {
      lanes_.store(lanes_.load(lanes_.start, k), lanes_.y, k);
      lanes_.store(hn::Zero(d), lanes_.errors, k);
    }
    for (std::size_t lane = 0; lane < n_; ++lane) samples_[lane].followed = open_[lane] > T(0.5);
    // The quality of earlier expansions is unknown at the states reached.
    hn::StoreU(hn::IfThenElse(running, hn::Set(d, T(1)), hn::LoadU(d, sloped_)), d, sloped_);
    const T leash = base_ == nullptr ? T(0) : T(limits_.reach);
    // Each step needs new expansions of every lane, so lanes that take long are left to a table.
    const std::uint32_t steps =
        base_ != nullptr && limits_.max_steps > most_expanded_steps ? most_expanded_steps : limits_.max_steps;
    look_around(running, running);
    const M none = hn::Ne(hn::Zero(d), hn::Zero(d));
    V h = first_step(), time = hn::Zero(d);
    V uncertified = hn::IfThenElse(lanes_.contracting(), hn::Zero(d), hn::Set(d, T(1)));
    V strayed = hn::Zero(d), speed = strayed, slowest = strayed;
    for (std::uint32_t step = 0; step < steps; ++step) {
      running = hn::And(running, open());
      if (hn::AllFalse(d, running)) return;
      const M doubted = hn::Gt(uncertified, hn::Set(d, T(0.5)));
      V error = lanes_.attempt(h, limits_, leash), growth = hn::Set(d, T(1));
      if (!hn::AllFalse(d, hn::And(running, doubted))) {
        growth = lanes_.carry_errors(h);
        const M too_long = hn::And(doubted, hn::Not(hn::Le(growth, hn::Set(d, T(path::fastest_growth)))));
        error = hn::IfThenElse(too_long, hn::Max(error, hn::Set(d, T(11))), error);
      }
      const M taken = hn::And(running, hn::Le(error, hn::Set(d, T(1)))), doubtful = hn::And(taken, doubted);
      lanes_.begin_defect(h);
      lanes_.copy_where(taken, lanes_.mu, lanes_.y);
      time = hn::Add(time, hn::IfThenElseZero(taken, h));
      const V taken_in = h;
      h = hn::Mul(h, change_of_step(error));
      look_around(taken, none);
      lanes_.end_of_defect();
      lanes_.add_errors(taken, hn::Not(doubted), limits_);
      uncertified = hn::IfThenElse(hn::AndNot(lanes_.contracting(), taken), hn::Set(d, T(1)), uncertified);
      strayed = hn::Max(
          strayed, hn::IfThenElseZero(doubtful, lanes_.strayed(growth, taken_in, taken, speed, slowest)));
      // The reference solver repeats these with smaller steps.
      close(hn::Not(hn::Le(strayed, hn::Set(d, T(path::most_strayed)))));
      M ready = hn::And(hn::And(taken, open()), lanes_.factor(nullptr));
      lanes_.solve(lanes_.y_flow, lanes_.correction);
      ready = hn::And(
          ready, hn::Le(lanes_.relative_to_allowed(lanes_.correction, nullptr, limits_), hn::Set(d, T(0.5))));
      if (hn::AllFalse(d, ready)) continue;
      settle(ready);
      note(ready, time, uncertified);
      look_around(hn::And(ready, open()), hn::And(ready, open()));
    }
  }

 private:
  M flags(const T* of) const { return hn::Gt(hn::LoadU(d, of), hn::Set(d, T(0.5))); }
  M open() const { return flags(open_); }
  T of(V v, std::size_t lane) const {
    T all[block];
    hn::StoreU(v, d, all);
    return all[lane];
  }

  // These lanes are left to other methods.
  void close(M where) { hn::StoreU(hn::IfThenZeroElse(where, hn::LoadU(d, open_)), d, open_); }

  // Expands the lanes' input currents around their states.
  template <bool anew>
  void expand(M where) {
    T on[block] = {};
    hn::StoreU(hn::IfThenElseZero(where, hn::Set(d, T(1))), d, on);
    for (std::size_t lane = 0; lane < n_; ++lane) {
      if (on[lane] > T(0.5)) lanes_.template expand_lane<anew>(*base_, samples_[lane], lane);
    }
  }

  // Starts from `mu`: Newton's method on the functions, with new expansions if it moved far. The exact law
  // then checks the state and corrects the functions, until the state is settled. Lanes that do not settle
  // stay open.
  void settle(M where) {
    for (std::size_t k = 0; k < shape_.nodes(); ++k)
      lanes_.store(lanes_.load(lanes_.mu, k), lanes_.origin, k);
    int expansions = 0;
    for (int round = 0; round < 4;) {
      where = hn::And(where, open());
      if (hn::AllFalse(d, where)) return;
      where = newton(where);
      if (hn::AllFalse(d, where)) return;
      if (base_ != nullptr && expansions < 4) {
        const M far = hn::And(where, hn::Gt(lanes_.off_center(), hn::Set(d, T(limits_.reach))));
        if (!hn::AllFalse(d, far)) {
          expand<true>(far);
          ++expansions;
          continue;
        }
      }
      judge(where);
      ++round;
    }
  }

  // Newton's method. Returns the lanes balanced to a fraction of the tolerance. Every iterate is certified by
  // the functions' derivatives, the last one by those of the exact law.
  M newton(M where) {
    // A correction leaves an error of the order of its square (kT), which is then below the tolerance.
    const V all = hn::Set(d, T(1)), near = hn::Set(d, T(0.3 * sqrt(limits_.tolerance) * limits_.kT));
    M arrived = hn::Not(where);
    V before = hn::Set(d, T(1e30));
    for (int iteration = 0; iteration < 14; ++iteration) {
      lanes_.template evaluate<true>(lanes_.mu, lanes_.flow);
      where = hn::And(where, hn::Or(arrived, lanes_.contracting()));
      where = hn::And(where, hn::Or(arrived, lanes_.factor(nullptr)));
      lanes_.solve(lanes_.flow, lanes_.correction);
      const V size = lanes_.largest(lanes_.correction);
      where = hn::And(
          where,
          hn::Or(arrived, hn::Le(lanes_.relative_to_allowed(lanes_.correction, nullptr, limits_), all)));
      if (iteration > 2)
        where = hn::And(where, hn::Or(arrived, hn::Le(size, hn::Mul(hn::Set(d, T(0.5)), before))));
      before = size;
      const M moving = hn::AndNot(arrived, where);
      lanes_.add_where(moving, lanes_.correction, lanes_.mu);
      where =
          hn::And(where, hn::And(lanes_.inside(lanes_.mu),
                                 hn::Le(lanes_.relative_to_allowed(lanes_.mu, lanes_.origin, limits_), all)));
      arrived = hn::Or(arrived, hn::And(hn::Le(size, near), where));
      // The last iterate is certified by the derivatives of the exact law.
      if (hn::AllFalse(d, hn::AndNot(arrived, where))) break;
    }
    return hn::And(where, arrived);
  }

  // The exact law decides: one more Newton step, and the lanes with a short step have settled. The
  // derivatives are those of the expansions where these are accurate enough: contraction must then hold for
  // all derivatives within the error bounds, and the step must be so short that their error does not matter.
  // Otherwise the exact law also computes the derivatives.
  void judge(M where) {
    const M sloped = hn::AndNot(hn::AndNot(flags(sloped_), lanes_.slopes_known()), where),
            unsloped = hn::AndNot(sloped, where);
    T on[block] = {}, with_slope[block] = {};
    hn::StoreU(hn::IfThenElseZero(where, hn::Set(d, T(1))), d, on);
    hn::StoreU(hn::IfThenElseZero(sloped, hn::Set(d, T(1))), d, with_slope);
    for (std::size_t lane = 0; lane < n_; ++lane) {
      if (on[lane] < T(0.5)) continue;
      const Sample<T>& sample = samples_[lane];
      set_singles<T>(sample, level_, level_ + shape_.inputs);
      if (with_slope[lane] > T(0.5)) lanes_.template exact_lane<true>(level_, level_ + shape_.inputs, lane);
      else lanes_.template exact_lane<false>(level_, level_ + shape_.inputs, lane);
      unset_singles<T>(sample, base_level_, base_exponential_, level_, level_ + shape_.inputs);
      ++samples_[lane].exact;
    }
    lanes_.correct(where, sloped);
    lanes_.template evaluate<true>(lanes_.mu, lanes_.flow);
    M settled = hn::And(where, lanes_.contracting_despite(unsloped));
    settled = hn::And(settled, lanes_.factor(nullptr));
    lanes_.solve(lanes_.flow, lanes_.correction);
    const V size = lanes_.largest(lanes_.correction);
    settled = hn::And(settled, hn::Le(size, hn::Set(d, T(limits_.tolerance * limits_.kT))));
    const V left = hn::Mul(size, lanes_.slope_doubt()), negligible = hn::Set(d, T(1e-5 * limits_.kT));
    settled = hn::And(settled, hn::Or(sloped, hn::Le(left, negligible)));
    hn::StoreU(hn::IfThenElse(hn::AndNot(settled, unsloped), hn::Set(d, T(1)), hn::LoadU(d, sloped_)), d,
               sloped_);
    lanes_.add_where(settled, lanes_.correction, lanes_.mu);
    const V displacement = lanes_.largest_difference(lanes_.mu, lanes_.start);
    hn::StoreU(hn::IfThenElseZero(settled, hn::Set(d, T(1))), d, on);
    for (std::size_t lane = 0; lane < n_; ++lane) {
      if (on[lane] < T(0.5)) continue;
      Sample<T>& sample = samples_[lane];
      sample.converged = true;
      sample.bound = of(size, lane);
      sample.displacement = of(displacement, lane);
      for (std::size_t k = 0; k < shape_.nodes(); ++k) sample.potential[k] = lanes_.mu[k * block + lane];
      open_[lane] = 0;
    }
  }

  // Lanes are at y: evaluates all flows and derivatives there. Where input currents are expansions, they are
  // renewed for lanes that were `lost`, and where they would not reach far enough for the next step.
  void look_around(M moved, M lost) {
    lanes_.copy_where(moved, lanes_.y, lanes_.mu);
    close(hn::AndNot(lanes_.inside(lanes_.y), moved));
    if (base_ != nullptr)
      expand<false>(hn::And(
          open(),
          hn::Or(lost, hn::And(moved, hn::Gt(lanes_.off_center(), hn::Set(d, T(0.5 * limits_.reach)))))));
    lanes_.template evaluate<true>(lanes_.y, lanes_.y_flow);
  }

  // First step: no node moves by more than 0.1 kT at its present rate.
  V first_step() {
    V fastest = hn::Set(d, T(1e-30));
    for (std::size_t k = 0; k < shape_.nodes(); ++k)
      fastest = hn::Max(
          fastest, hn::Abs(hn::Mul(lanes_.load(lanes_.y_flow, k), hn::Set(d, T(1) / lanes_.capacity(k)))));
    return hn::Min(hn::Div(hn::Set(d, T(0.1 * limits_.kT)), fastest), hn::Set(d, T(1e6)));
  }

  // As in Rosenbrock::step; a NaN error shortens the step as much as the largest error.
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
    T on[block] = {};
    hn::StoreU(hn::IfThenElseZero(of_lanes, hn::Set(d, T(1))), d, on);
    for (std::size_t lane = 0; lane < n_; ++lane) {
      if (on[lane] < T(0.5) || !samples_[lane].converged) continue;
      samples_[lane].time = of(time, lane);
      samples_[lane].contracting = of(uncertified, lane) < T(0.5);
    }
  }

  static constexpr std::uint32_t most_expanded_steps = 40;
  const D d;
  const Shape& shape_;
  const Base<T>* base_;  // null: input currents are functions
  const Limits& limits_;
  Sample<T>* samples_;
  std::size_t n_;
  Lanes<T> lanes_;
  T open_[block] = {};
  T sloped_[block] = {};  // 1: judging without the exact law's derivatives was not enough
  T base_level_, base_exponential_;
  // [2][inputs] All levels of one sample and their exponentials; at the base level, except while a sample is
  // judged.
  T* level_;
};

// Costates of the samples from their cotangents in lanes.y, which receives them; 0 where there is none.
template <class T>
void solve_costates(Lanes<T>& lanes, Pull<T>* samples, std::size_t n, std::size_t nodes) {
  const Tag<T> d;
  const auto fine = lanes.factor(nullptr);
  lanes.solve_transposed(lanes.y, lanes.correction);
  T usable[block];
  hn::StoreU(hn::IfThenElseZero(fine, hn::Set(d, T(1))), d, usable);
  for (std::size_t lane = 0; lane < n; ++lane) {
    samples[lane].singular = usable[lane] < T(0.5);
    for (std::size_t k = 0; k < nodes; ++k) {
      const T lambda = lanes.correction[k * block + lane];
      if (!(lambda - lambda == T(0))) samples[lane].singular = true;  // NaN or infinite
    }
    for (std::size_t k = 0; k < nodes; ++k) {
      const T lambda = lanes.correction[k * block + lane];
      samples[lane].costate[k] = lambda;
      lanes.y[k * block + lane] = samples[lane].singular ? T(0) : lambda;
    }
  }
}

template <class T>
void pull(const Shape& shape, const Values<T>& values, const Base<T>& base, Pull<T>* samples, std::size_t n,
          const Sums<T>& sums, T* scratch) {
  Lanes<T> lanes(shape, values, nullptr, scratch);
  const std::size_t nodes = shape.nodes(), fed = shape.blocks * block;
  // Layout. Fed nodes of all samples, [n][fed] each: potentials, scaled potentials, costates; of one sample:
  // derivatives. Then parts of the varied inputs, [n][blocks][varied][2][16], and of the common singles,
  // [n][blocks][singles][3][16], with as many singles as each sample has.
  T *const potential = lanes.end(), *const scaled_potential = potential + block * fed,
           *const costate = scaled_potential + block * fed, *const slope = costate + block * fed;
  const std::size_t varied = samples[0].n_singles - samples[0].n_common,
                    of_sample = shape.blocks * varied * 2 * block;
  T *const varied_parts = slope + fed, *const common_parts = varied_parts + block * of_sample;
  lanes.clear_matrix();
  for (std::size_t lane = 0; lane < block; ++lane) {
    const Pull<T>& sample = samples[lane < n ? lane : 0];
    for (std::size_t k = 0; k < nodes; ++k) {
      lanes.mu[k * block + lane] = sample.potential[k];
      lanes.inject[k * block + lane] = 0;
      lanes.y[k * block + lane] = sample.cotangent != nullptr ? sample.cotangent[k] : sample.costate[k];
    }
  }
  const auto of_fed = [&](const T* from, std::size_t lane, T* to) {
    for (std::size_t i = 0; i < fed; ++i)
      to[i] = shape.fed[i] == nobody ? T(0) : from[shape.fed[i] * block + lane];
  };
  T* next = common_parts;
  for (std::size_t lane = 0; lane < n; ++lane) {
    T* const here = potential + lane * fed;
    of_fed(lanes.mu, lane, here);
    for (std::size_t i = 0; i < fed; ++i) scaled_potential[lane * fed + i] = values.scale * here[i];
    for (std::size_t b = 0; b < shape.blocks; ++b) {
      single_parts<T>(shape, values, base, samples[lane], b, here + b * block, next,
                      varied_parts + lane * of_sample + b * varied * 2 * block, slope + b * block);
      next += samples[lane].n_common * 3 * block;
    }
    lanes.set_slopes(slope, lane);
  }
  for (std::size_t lane = n; lane < block; ++lane) lanes.set_slopes(slope, lane);
  lanes.template evaluate<true>(lanes.mu, lanes.flow);
  if (samples[0].cotangent != nullptr) solve_costates(lanes, samples, n, nodes);
  for (std::size_t lane = n; lane < block; ++lane) {
    for (std::size_t k = 0; k < nodes; ++k) lanes.y[k * block + lane] = 0;
  }
  // Input edges: into node t, weight -(-lambda_t).
  next = common_parts;
  for (std::size_t lane = 0; lane < n; ++lane) {
    T* const lambda = costate + lane * fed;
    of_fed(lanes.y, lane, lambda);
    for (std::size_t b = 0; b < shape.blocks; ++b) {
      add_common<T>(samples[lane], next, lambda + b * block, sums.input + b * shape.inputs * 3 * block);
      next += samples[lane].n_common * 3 * block;
      if (base.terms > 0)
        add_moments<T>(shape, base, b, potential + lane * fed + b * block, lambda + b * block, sums.moments);
    }
  }
  add_varied<T>(shape, samples, n, varied_parts, scaled_potential, costate, sums.input);
  lanes.add_edges(sums);
}

template <class T>
void settle_lanes(const Shape& shape, const Values<T>& values, const Base<T>& base, const Limits& limits,
                  Sample<T>* samples, std::size_t n, T* scratch) {
  Group<T>(shape, values, nullptr, &base, limits, samples, n, scratch).expand_and_settle();
}
template <class T>
void follow_lanes(const Shape& shape, const Values<T>& values, const Base<T>& base, const Limits& limits,
                  Sample<T>* samples, std::size_t n, T* scratch) {
  Group<T>(shape, values, nullptr, &base, limits, samples, n, scratch).follow();
}
template <class T>
void relax_lanes(const Shape& shape, const Values<T>& values, const Table<T>& table, const Limits& limits,
                 Sample<T>* samples, std::size_t n, T* scratch) {
  Group<T>(shape, values, &table, nullptr, limits, samples, n, scratch).relax();
}
template <class T>
Arithmetic<T> all() {
  return {hn::Lanes(Tag<T>()), scaled<T>,       find_singles<T>, edge_sizes<T>, base_sums<T>, table_rows<T>,
          settle_lanes<T>,     follow_lanes<T>, relax_lanes<T>,  pull<T>,       base_part<T>};
}
// Highway dispatches plain functions only.
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
