#include "batch/batch.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <mutex>
#include <numbers>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "kernels/aligned.hpp"
#include "batch/batch_kernels.hpp"
#include "batch/batch_patterns.hpp"
#include "batch/batch_tables.hpp"
#include "ness/device/parallel.hpp"

namespace ness::sim::batches {

std::string problem(const Network::Impl& impl) {
  const NetworkSpec& spec = impl.spec;
  for (std::size_t k = 0; k < spec.nodes.size(); ++k) {
    if (spec.nodes[k].T != spec.nodes[0].T)
      return "node " + std::to_string(k) + " has another temperature than node 0; batches need one";
  }
  std::vector<std::vector<std::uint32_t>> seen(impl.free.size());
  for (std::size_t e = 0; e < spec.edges.size(); ++e) {
    const GraphEdge& ends = spec.graph.edges[e];
    const std::string where = "edge " + std::to_string(e);
    if (spec.edges[e].law != Law::quantum_dot)
      return where + " is " + std::string(spec.edges[e].law->name) + "; batches need quantum dots";
    if (impl.laws.front().offset[3] >= 0) return "common-mode lever arms d; batches need d = 0";
    const std::int64_t s = impl.free_index[ends.source], t = impl.free_index[ends.target];
    if ((s < 0) == (t < 0)) continue;
    seen[static_cast<std::size_t>(std::max(s, t))].push_back(s < 0 ? ends.source : ends.target);
  }
  for (std::size_t k = 0; k < seen.size(); ++k) {
    std::sort(seen[k].begin(), seen[k].end());
    if (std::adjacent_find(seen[k].begin(), seen[k].end()) != seen[k].end())
      return "node " + std::to_string(impl.free[k]) + " has two edges to one clamped node; batches need one";
  }
  if (!impl.batched)
    return "a network of " + std::to_string(impl.free.size()) +
           " free nodes; batches need one that takes few operations as a dense matrix";
  return {};
}

namespace {
// A network compiled for vector code.
template <class T>
class BatchOf final : public Batch {
 public:
  explicit BatchOf(const Network::Impl& impl);
  void relax(const std::shared_ptr<const Vector>& theta, std::span<const Pattern> clamp,
             std::span<const Vector* const> start, std::span<const Vector* const> inject,
             const std::vector<bool>& restored, const SteadyStateOptions& options, unsigned threads,
             std::span<Vector> potential, std::span<Found> found) const override;
  std::vector<std::uint32_t> pull(const std::shared_ptr<const Vector>& theta, std::span<const Pattern> clamp,
                                  std::span<const Vector> potential, std::span<const Vector> cotangent,
                                  std::span<Vector> costate, Eigen::Ref<Vector> gradient,
                                  unsigned threads) const override;

 private:
  // A parameter vector in the order and precision of the kernels, with what was last derived from it.
  struct Prepared {
    std::shared_ptr<const Vector> theta;
    Aligned<T> input;
    std::vector<T> gamma, a, b, g, mu_ref, steepness, slope_noise, slope_growth;
    Values<T> values;
    // Largest |b| or |1 + b| of an input edge: it determines the distance of the poles of the current.
    double steepest = 1;
    double most_a = 0;  // largest |scaled a| of an input edge
    double low_ref = 0, high_ref = 0;
    std::mutex mutex;
    std::shared_ptr<const Tabulated<T>> table;
    std::shared_ptr<const Series<T>> series;
  };
  // Position of an edge's parameters in theta.
  struct EdgePosition {
    std::int32_t edge = -1;  // index of the dot; -1: no edge
    // The edge leads from the free node into the clamped one: its current and b change sign.
    bool reversed = false;
  };
  void place_nodes();
  std::vector<std::size_t> place_fed_nodes();
  void place_edges(const std::vector<std::size_t>& place_of);
  void note_first_edges();
  double scale() const { return inverse() * std::numbers::log2e; }
  double inverse() const { return impl_.inverse_T.empty() ? 1 : impl_.inverse_T.front(); }
  std::shared_ptr<const InputLevels<T>> input_levels(std::span<const Pattern> clamp, bool based,
                                                     unsigned threads) const;
  std::shared_ptr<Prepared> prepared(const std::shared_ptr<const Vector>& theta, unsigned threads) const;
  void prepare_inputs(Prepared& ready, unsigned threads) const;
  Interval interval_of(const Prepared& ready, const InputLevels<T>& inputs, double error) const;
  // For levels and potentials (kT) within the interval.
  Values<T> values_within(const Prepared& ready, const Interval& interval) const;
  std::shared_ptr<const Tabulated<T>> table_of(Prepared& ready, const InputLevels<T>& inputs,
                                               unsigned threads) const;
  std::shared_ptr<const Series<T>> series_of(Prepared& ready, const InputLevels<T>& inputs,
                                             unsigned threads) const;

  // What evaluates the input currents of samples around a state: the inputs that differ from the commonest
  // level, and the series of the others. If a series would not pay, all inputs and no series.
  struct InputFunctions {
    std::shared_ptr<const InputLevels<T>> inputs;
    std::shared_ptr<const Series<T>> series;
  };
  InputFunctions input_functions(Prepared& ready, std::span<const Pattern> clamp, unsigned threads) const;

  // Arguments of one call of relax.
  struct Call {
    std::span<const Vector*const> start, inject;
    unsigned threads;
    Limits limits;
    std::span<Vector> potential;
    std::span<Found> found;
  };
  // Applies `body` to the given samples, in groups of at most `side`, and stores the results that converged.
  using Body = std::function<void(Sample<T>* samples, std::size_t count)>;
  void in_groups(const Call& call, const InputLevels<T>& inputs, std::span<const std::uint32_t> which,
                 std::size_t side, const Body& body) const;

  // Layout of one chunk's sums over its samples (Sums<T>).
  struct Layout {
    std::size_t edge, leak, moments, size;  // start of each part; that of inputs is 0
  };
  // Arguments of one call of pull.
  struct PullCall {
    const Prepared& ready;
    const InputLevels<T>& inputs;
    const Series<T>& series;
    std::span<const Vector> potential, cotangent;
    std::span<Vector> costate;
    std::span<std::uint8_t> left;  // of each sample: 1 if it is left to the reference solver
  };
  void pull_samples(const PullCall& call, std::size_t first, std::size_t count, T* sums,
                    const Layout& layout) const;
  bool serves(const InputLevels<T>& inputs, const Series<T>& series, std::size_t sample,
              const Vector& potential) const;
  void add_sums(const Prepared& ready, const Series<T>& series, std::span<const T> sums, const Layout& layout,
                Eigen::Ref<Vector> gradient, unsigned threads) const;
  void add_rest(const Prepared& ready, std::span<const T> sums, const Layout& layout,
                Eigen::Ref<Vector> gradient) const;
  // Adds the gradient of one edge from its sums over the samples (Sums<T>).
  void put(const Vector& theta, const EdgePosition& place, double window, double level, double difference,
           Eigen::Ref<Vector> gradient) const;

  const Network::Impl& impl_;
  Shape shape_;
  std::array<std::int64_t, 3> offset_{};  // of gamma, a, b in theta
  std::vector<std::uint32_t> position_;   // position of each free index in the order of elimination
  std::vector<std::uint32_t> free_of_;    // free index of each position
  std::vector<std::uint32_t> fed_, source_, target_, source_target_, target_source_;
  std::unique_ptr<bool[]> repeated_;
  std::vector<T> capacity_;
  std::vector<EdgePosition> input_place_;  // [blocks][inputs][16]
  // [blocks][16] Edge of input 0, if the edges of the other inputs follow it and none is reversed; else -1.
  std::vector<std::int32_t> first_edge_;
  std::vector<EdgePosition> edge_place_;  // [edges]
  mutable std::mutex mutex_;
  mutable std::shared_ptr<Prepared> last_;
  mutable std::shared_ptr<InputLevels<T>> last_levels_;
};

// Error of the base's series, relative to the sum of the gammas.
template <class T>
constexpr double series_error = sizeof(T) == sizeof(float) ? 1e-6 : 2e-7;

// Scratch of one thread, kept for later calls.
template <class T, int which>
T* scratch_of_thread(std::size_t size) {
  thread_local Aligned<T> scratch;
  thread_local std::size_t room = 0;
  if (room < size) {
    scratch = aligned<T>(size);
    std::fill_n(scratch.get(), size, T(0));  // lanes that are not filled still take part in the arithmetic
    room = size;
  }
  return scratch.get();
}

// Samples in groups that are computed side by side: groups of equal size, and an even number of them, so that
// two cores have equal work. Groups do not depend on the number of cores, because the rounding of a sample
// depends on its group.
struct Groups {
  std::size_t samples, count;
  Groups(std::size_t n, std::size_t side) : samples(n), count((n + side - 1) / side) {
    if (count > 2 && count < n) count += count % 2;  // no group is empty
  }
  std::size_t begin(std::size_t group) const { return group * samples / count; }
  std::size_t size(std::size_t group) const { return begin(group + 1) - begin(group); }
};

// Sums over samples are kept per chunk of groups: enough chunks to keep the cores busy, but few, because they
// are added up at the end. The number does not depend on that of the cores.
std::size_t chunks_for(std::size_t groups) { return std::clamp<std::size_t>(groups / 3, 1, 16); }
}  // namespace

template <class T>
BatchOf<T>::BatchOf(const Network::Impl& impl) : impl_(impl) {
  place_nodes();
  place_edges(place_fed_nodes());
  note_first_edges();
  for (const std::uint32_t k : free_of_)
    capacity_.push_back(static_cast<T>(impl.spec.nodes[impl.free[k]].capacity));
  shape_.fed = fed_.data();
  shape_.source = source_.data();
  shape_.target = target_.data();
  shape_.source_target = source_target_.data();
  shape_.target_source = target_source_.data();
  shape_.repeated = repeated_.get();
}

// Free nodes in the order of elimination.
template <class T>
void BatchOf<T>::place_nodes() {
  position_.resize(impl_.free.size());
  for (const auto* part : {&impl_.elimination_order.first, &impl_.elimination_order.rest}) {
    for (const std::int32_t k : *part) {
      position_[static_cast<std::size_t>(k)] = static_cast<std::uint32_t>(free_of_.size());
      free_of_.push_back(static_cast<std::uint32_t>(k));
    }
  }
  shape_.inputs = impl_.clamped.size();
  shape_.first = impl_.elimination_order.first.size();
  shape_.rest = impl_.elimination_order.rest.size();
}

// Nodes with an edge from an input, in blocks. Returns the place of each among them.
template <class T>
std::vector<std::size_t> BatchOf<T>::place_fed_nodes() {
  const std::size_t n = impl_.free.size();
  std::vector<bool> is_fed(n, false);
  for (const GraphEdge& edge : impl_.spec.graph.edges) {
    const std::int64_t s = impl_.free_index[edge.source], t = impl_.free_index[edge.target];
    if ((s < 0) != (t < 0)) is_fed[position_[static_cast<std::size_t>(std::max(s, t))]] = true;
  }
  std::vector<std::size_t> place_of(n, 0);
  for (std::uint32_t k = 0; k < n; ++k) {
    if (!is_fed[k]) continue;
    place_of[k] = fed_.size();
    fed_.push_back(k);
  }
  shape_.blocks = (fed_.size() + block - 1) / block;
  fed_.resize(shape_.blocks * block, nobody);
  input_place_.resize(shape_.blocks * shape_.inputs * block);
  return place_of;
}

template <class T>
void BatchOf<T>::place_edges(const std::vector<std::size_t>& place_of) {
  const Network::Impl& impl = impl_;
  std::vector<std::size_t> clamped_index(impl.spec.graph.nodes.size(), 0);
  for (std::size_t i = 0; i < impl.clamped.size(); ++i) clamped_index[impl.clamped[i]] = i;
  std::vector<bool> taken(shape_.couplings(), false);
  std::vector<bool> repeated;
  const std::size_t F = shape_.first, R = shape_.rest;
  const auto coupling = [&](std::size_t row, std::size_t column) {
    if (row < F) return row * R + (column - F);
    if (column < F) return F * R + (row - F) * F + column;
    return 2 * F * R + (row - F) * R + (column - F);
  };
  const LawEdges& law = impl.of(Law::quantum_dot);
  for (std::size_t i = 0; i < 3; ++i) offset_[i] = law.offset[i];
  for (std::size_t i = 0; i < law.count(); ++i) {
    const GraphEdge& edge = impl.spec.graph.edges[law.edges[i]];
    const std::int64_t s = impl.free_index[edge.source], t = impl.free_index[edge.target],
                       at = static_cast<std::int64_t>(i);
    if (s < 0 && t < 0) continue;
    const EdgePosition place{static_cast<std::int32_t>(at), t < 0};
    if (s >= 0 && t >= 0) {
      const std::uint32_t ps = position_[static_cast<std::size_t>(s)],
                          pt = position_[static_cast<std::size_t>(t)];
      source_.push_back(ps);
      target_.push_back(pt);
      source_target_.push_back(static_cast<std::uint32_t>(coupling(ps, pt)));
      target_source_.push_back(static_cast<std::uint32_t>(coupling(pt, ps)));
      repeated.push_back(taken[source_target_.back()]);
      taken[source_target_.back()] = taken[target_source_.back()] = true;
      edge_place_.push_back(place);
    } else {
      const std::size_t fed = place_of[position_[static_cast<std::size_t>(std::max(s, t))]];
      const std::size_t input = clamped_index[s < 0 ? edge.source : edge.target];
      input_place_[(fed / block * shape_.inputs + input) * block + fed % block] = place;
    }
  }
  repeated_ = std::make_unique<bool[]>(repeated.size() + 1);
  std::copy(repeated.begin(), repeated.end(), repeated_.get());
  shape_.edges = source_.size();
}

template <class T>
void BatchOf<T>::note_first_edges() {
  for (std::size_t k = 0; k < shape_.blocks * block; ++k) {
    const EdgePosition* const column = input_place_.data() + k / block * shape_.inputs * block + k % block;
    bool follow = shape_.inputs > 0 && column->edge >= 0;
    for (std::size_t i = 0; follow && i < shape_.inputs; ++i) {
      follow = column[i * block].edge == column->edge + static_cast<std::int32_t>(i) &&
               !column[i * block].reversed;
    }
    first_edge_.push_back(follow ? column->edge : -1);
  }
}

// A gradient is usually computed right after the relaxations, with the same patterns, so the last levels are
// kept.
template <class T>
std::shared_ptr<const InputLevels<T>> BatchOf<T>::input_levels(std::span<const Pattern> clamp, bool based,
                                                               unsigned threads) const {
  typename InputLevels<T>::Memory memory;
  if (based) {
    const std::scoped_lock lock(mutex_);
    if (last_levels_ && last_levels_->of(clamp)) return last_levels_;
    // The memory consists of hundreds of small pieces: the next minibatch reuses it.
    if (last_levels_ && last_levels_.use_count() == 1) {
      std::atomic_thread_fence(std::memory_order_acquire);  // other threads have finished reading it
      memory = std::move(*std::exchange(last_levels_, nullptr)).memory();
    }
  }
  auto made = std::make_shared<InputLevels<T>>(clamp, static_cast<T>(scale()), static_cast<T>(inverse()),
                                               based, threads, std::move(memory));
  if (!based) return made;
  const std::scoped_lock lock(mutex_);
  last_levels_ = made;
  return made;
}

// Copies the parameters of the input edges into the layout of the kernels.
template <class T>
void BatchOf<T>::prepare_inputs(Prepared& ready, unsigned threads) const {
  const std::size_t stretches = (shape_.inputs + stretch - 1) / stretch;
  ready.input = aligned<T>(shape_.blocks * shape_.inputs * 3 * block);
  const double *const gamma = ready.theta->data() + offset_[0], *const a = ready.theta->data() + offset_[1],
                      *const b = ready.theta->data() + offset_[2];
  const double by = scale();
  std::vector<T> sizes(shape_.blocks * stretches * 4 * block);
  for_each_index(shape_.blocks * stretches, threads, [&](std::size_t part) {
    const std::size_t of_block = part / stretches, from = part % stretches * stretch,
                      to = std::min(shape_.inputs, from + stretch);
    for (std::size_t v = 0; v < block; ++v) {
      const std::int32_t first = first_edge_[of_block * block + v];
      for (std::size_t i = from; i < to; ++i) {
        const std::size_t row = of_block * shape_.inputs + i;
        const EdgePosition place = first >= 0 ? EdgePosition{first + static_cast<std::int32_t>(i), false}
                                              : input_place_[row * block + v];
        T* const out = ready.input.get() + row * 3 * block + v;
        const bool none = place.edge < 0;
        out[0] = none ? T(0) : static_cast<T>(gamma[place.edge]);
        out[block] = none ? T(0) : static_cast<T>(a[place.edge] * by);
        out[2 * block] = none ? T(0) : static_cast<T>(place.reversed ? -b[place.edge] : b[place.edge]);
      }
    }
    arithmetic<T>().edge_sizes(to - from, ready.input.get() + (of_block * shape_.inputs + from) * 3 * block,
                               sizes.data() + part * 4 * block);
  });
  // Error of the derivatives (slopes) of expansions to third order at a distance d. It has two parts. The
  // fourth derivative contributes at most 0.13 (d/kT T)^3/6 times the sum of fourth powers, since 0.13 bounds
  // the fourth derivative of a Fermi function. The approximate occupations ("about") contribute 4e-4 of the
  // occupations, in the derivative and the curvature (d <= kT T). Double precision requires more than these
  // bounds allow.
  for (std::size_t k = 0; k < shape_.blocks * block; ++k) {
    double powers = 0, fourth = 0;
    for (std::size_t part = k / block * stretches; part < (k / block + 1) * stretches; ++part) {
      const T* const of_node = sizes.data() + part * 4 * block + k % block;
      ready.most_a = std::max(ready.most_a, static_cast<double>(of_node[0]));
      ready.steepest = std::max(ready.steepest, static_cast<double>(of_node[block]));
      powers += static_cast<double>(of_node[2 * block]);
      fourth += static_cast<double>(of_node[3 * block]);
    }
    if (sizeof(T) != sizeof(float)) continue;
    ready.slope_noise.push_back(static_cast<T>(4e-4 * powers * inverse()));
    ready.slope_growth.push_back(static_cast<T>(0.13 / 6 * fourth * std::pow(inverse(), 4)));
  }
}

template <class T>
std::shared_ptr<typename BatchOf<T>::Prepared> BatchOf<T>::prepared(
    const std::shared_ptr<const Vector>& theta, unsigned threads) const {
  {
    const std::scoped_lock lock(mutex_);
    if (last_ && last_->theta == theta) return last_;
  }
  auto made = std::make_shared<Prepared>();
  const Vector& all = *theta;
  const double *gamma = all.data() + offset_[0], *a = all.data() + offset_[1], *b = all.data() + offset_[2];
  made->theta = theta;
  prepare_inputs(*made, threads);
  for (const EdgePosition& place : edge_place_) {
    made->gamma.push_back(static_cast<T>(gamma[place.edge]));
    made->a.push_back(static_cast<T>(a[place.edge] * scale()));
    made->b.push_back(static_cast<T>(b[place.edge]));
  }
  made->low_ref = std::numeric_limits<double>::infinity();
  made->high_ref = -made->low_ref;
  const auto n = static_cast<Eigen::Index>(impl_.free.size());
  const Vector steepness = sim::steepness(impl_, all.data());
  for (const std::uint32_t k : free_of_) {
    const auto g = static_cast<Eigen::Index>(impl_.leak_offset + k);
    made->g.push_back(static_cast<T>(all[g]));
    made->mu_ref.push_back(static_cast<T>(all[g + n]));
    made->steepness.push_back(static_cast<T>(steepness[static_cast<Eigen::Index>(k)]));
    made->low_ref = std::min(made->low_ref, all[g + n]);
    made->high_ref = std::max(made->high_ref, all[g + n]);
  }
  made->values = {static_cast<T>(scale()), static_cast<T>(inverse()),
                  made->input.get(),       made->gamma.data(),
                  made->a.data(),          made->b.data(),
                  made->g.data(),          made->mu_ref.data(),
                  capacity_.data(),        made->steepness.data()};
  if (!made->slope_noise.empty()) {
    made->values.slope_noise = made->slope_noise.data();
    made->values.slope_growth = made->slope_growth.data();
  }
  const std::scoped_lock lock(mutex_);
  last_ = made;
  return made;
}

// A steady state's potentials lie between the levels (clamped levels, leak references) that lead to the
// nodes.
template <class T>
Interval BatchOf<T>::interval_of(const Prepared& ready, const InputLevels<T>& inputs, double error) const {
  return interval_for(std::min(inputs.low(), ready.low_ref), std::max(inputs.high(), ready.high_ref),
                      std::numbers::pi / inverse() / ready.steepest, error);
}

template <class T>
Values<T> BatchOf<T>::values_within(const Prepared& ready, const Interval& interval) const {
  Values<T> values = ready.values;
  const double furthest = std::abs(interval.middle) + interval.half;
  values.low = static_cast<T>(interval.middle - interval.half);
  values.high = static_cast<T>(interval.middle + interval.half);
  values.bounded =
      ready.most_a + scale() * (2 * ready.steepest * interval.half + furthest) < most_exponent<T>;
  return values;
}

// The table of a minibatch; null if the currents are too steep for a series.
template <class T>
std::shared_ptr<const Tabulated<T>> BatchOf<T>::table_of(Prepared& ready, const InputLevels<T>& inputs,
                                                         unsigned threads) const {
  // Relative to the sum of the gammas: the exact law then corrects a few 1e-4 kT.
  constexpr double error = 3e-4;
  static const auto none = std::make_shared<const Tabulated<T>>();
  if (shape_.blocks == 0) return none;
  Interval interval = interval_of(ready, inputs, error);
  if (interval.terms == 0) return nullptr;
  {
    const std::scoped_lock lock(ready.mutex);
    const auto& kept = ready.table;
    if (kept && kept->based == inputs.based() && kept->level == inputs.base() &&
        kept->interval.middle == interval.middle && kept->interval.half == interval.half)
      return kept;
  }
  const double base = inputs.base();
  auto made = tabulated(shape_, values_within(ready, interval), interval, inputs.based() ? &base : nullptr,
                        ready.steepest, threads);
  const std::scoped_lock lock(ready.mutex);
  ready.table = made;
  return made;
}

// The series of a minibatch; without terms if a series would not pay.
template <class T>
std::shared_ptr<const Series<T>> BatchOf<T>::series_of(Prepared& ready, const InputLevels<T>& inputs,
                                                       unsigned threads) const {
  const Interval interval = interval_of(ready, inputs, series_error<T>);
  {
    const std::scoped_lock lock(ready.mutex);
    const auto& kept = ready.series;
    if (kept && kept->level == inputs.base() && kept->interval == interval && kept->common == inputs.common())
      return kept;
  }
  auto made = series_of_base(shape_, values_within(ready, interval), interval, inputs.base(), inputs.common(),
                             threads);
  const std::scoped_lock lock(ready.mutex);
  ready.series = made;
  return made;
}

template <class T>
typename BatchOf<T>::InputFunctions BatchOf<T>::input_functions(Prepared& ready,
                                                                std::span<const Pattern> clamp,
                                                                unsigned threads) const {
  static const auto none = std::make_shared<const Series<T>>();
  std::shared_ptr<const InputLevels<T>> inputs = input_levels(clamp, true, threads);
  if (!inputs->based() || shape_.blocks == 0) return {inputs, none};
  // Each term takes one evaluation of all edges; each sample saves most of one evaluation.
  const std::size_t terms = interval_of(ready, *inputs, series_error<T>).terms;
  const bool pays = terms > 0 && static_cast<double>(clamp.size()) * (2 * inputs->share() - 1) >=
                                     static_cast<double>(terms);
  if (!pays) return {input_levels(clamp, false, threads), none};
  return {inputs, series_of(ready, *inputs, threads)};
}

template <class T>
void BatchOf<T>::in_groups(const Call& call, const InputLevels<T>& inputs,
                           std::span<const std::uint32_t> which, std::size_t side, const Body& body) const {
  const std::size_t n = shape_.nodes();
  const Groups groups(which.size(), side);
  for_each_index(groups.count, call.threads, [&](std::size_t group) {
    const std::span<const std::uint32_t> members = which.subspan(groups.begin(group), groups.size(group));
    T* const nodes = scratch_of_thread<T, 0>(3 * side * n);
    std::array<Sample<T>, block> samples;
    for (std::size_t i = 0; i < members.size(); ++i) {
      const std::uint32_t sample = members[i];
      T *from = nodes + 3 * i * n, *u = from + n, *to = u + n;
      const Vector* const injected = call.inject.empty() ? nullptr : call.inject[sample];
      for (std::size_t k = 0; k < n; ++k) {
        const auto at = static_cast<Eigen::Index>(free_of_[k]);
        from[k] = static_cast<T>((*call.start[sample])[at]);
        if (injected != nullptr) u[k] = static_cast<T>((*injected)[at]);
      }
      const std::span<const SingleInput<T>> singles = inputs.singles(sample);
      samples[i] = {singles.data(),
                    singles.size(),
                    singles.size() - inputs.varied(),
                    from,
                    injected != nullptr ? u : nullptr,
                    to};
    }
    body(samples.data(), members.size());
    for (std::size_t i = 0; i < members.size(); ++i) {
      const Sample<T>& sample = samples[i];
      Found& found = call.found[members[i]];
      const std::uint32_t before = found.exact;
      found = {sample.converged && !inputs.wide(members[i]),
               sample.contracting,
               sample.followed,
               static_cast<double>(sample.bound),
               static_cast<double>(sample.displacement),
               static_cast<double>(sample.time),
               before + sample.exact};
      if (!found.converged) continue;
      Vector& potential = call.potential[members[i]];
      potential.resize(static_cast<Eigen::Index>(n));
      for (std::size_t k = 0; k < n; ++k)
        potential[static_cast<Eigen::Index>(free_of_[k])] = static_cast<double>(sample.potential[k]);
    }
  });
}

// Restored states settle by Newton's method. The others, and those that do not settle, are relaxed in time.
template <class T>
void BatchOf<T>::relax(const std::shared_ptr<const Vector>& theta, std::span<const Pattern> clamp,
                       std::span<const Vector* const> start, std::span<const Vector* const> inject,
                       const std::vector<bool>& restored, const SteadyStateOptions& options, unsigned threads,
                       std::span<Vector> potential, std::span<Found> found) const {
  if (clamp.empty()) return;
  std::fill(found.begin(), found.end(), Found{});
  // In parallel, since each of the two begins on one thread.
  std::shared_ptr<Prepared> ready;
  for_each_index(2, threads, [&](std::size_t which) {
    if (which == 0) ready = prepared(theta, threads);
    else input_levels(clamp, true, threads);
  });
  const double tolerance =
      sizeof(T) == sizeof(double) ? options.tolerance : std::max(options.tolerance, 1e-3);
  // The error of an expansion to third order is of fourth order in the distance, in units of the width of the
  // currents' steps.
  const double reach = 4 * std::sqrt(std::sqrt(tolerance)) / (inverse() * std::max(ready->steepest, 1.0));
  const Call call{start,
                  inject,
                  threads,
                  {options.path_tolerance, options.path_reach, options.margin, options.trust, tolerance,
                   impl_.spec.kT, reach, std::min<std::uint32_t>(options.max_steps, 200)},
                  potential,
                  found};
  const std::size_t side = arithmetic<T>().group_size;
  std::vector<std::uint32_t> which;
  for (std::uint32_t i = 0; i < clamp.size(); ++i) {
    if (restored[i]) which.push_back(i);
  }
  const auto on_expansions = [&](std::size_t at_most, auto by) {
    const InputFunctions with = input_functions(*ready, clamp, threads);
    const Values<T> values = values_within(*ready, interval_of(*ready, *with.inputs, 1));
    in_groups(call, *with.inputs, which, at_most, [&](Sample<T>* samples, std::size_t count) {
      by(shape_, values, with.series->base, call.limits, samples, count,
         scratch_of_thread<T, 1>(scratch_to_settle(shape_)));
    });
  };
  if (!which.empty()) on_expansions(side, arithmetic<T>().settle_group);
  const auto unsettled = [&] {
    which.clear();
    for (std::uint32_t i = 0; i < clamp.size(); ++i) {
      if (!found[i].converged) which.push_back(i);
    }
    return which.size();
  };
  if (unsettled() == 0) return;
  // A table takes as long as a hundred samples. A few restored samples that went far are followed on
  // expansions instead, as two groups.
  const bool few = which.size() <= side &&
                   std::all_of(which.begin(), which.end(), [&](std::uint32_t i) { return restored[i]; });
  if (few) {
    on_expansions((which.size() + 1) / 2, arithmetic<T>().follow_group);
    if (unsettled() == 0) return;
  }
  const std::shared_ptr<const InputLevels<T>> inputs = input_levels(clamp, true, threads);
  const std::shared_ptr<const Tabulated<T>> made = table_of(*ready, *inputs, threads);
  if (made == nullptr) return;
  const Values<T> values = values_within(*ready, interval_of(*ready, *inputs, 1));
  in_groups(call, *inputs, which, side, [&](Sample<T>* samples, std::size_t count) {
    arithmetic<T>().relax_group(shape_, values, made->table, call.limits, samples, count,
                                scratch_of_thread<T, 1>(scratch_to_relax(shape_, made->table.terms)));
  });
}

// Whether the series and the precision hold for a sample. Steady states stay within the range of the levels
// that lead to them, but noisy readings may not.
template <class T>
bool BatchOf<T>::serves(const InputLevels<T>& inputs, const Series<T>& series, std::size_t sample,
                        const Vector& potential) const {
  if (inputs.wide(sample) || !(potential.cwiseAbs().maxCoeff() * inverse() <= widest)) return false;
  if (series.base.terms == 0) return true;
  return std::all_of(fed_.begin(), fed_.end(), [&](std::uint32_t k) {
    return k == nobody || std::abs(potential[static_cast<Eigen::Index>(free_of_[k])] -
                                   series.interval.middle) <= series.interval.half;
  });
}

template <class T>
void BatchOf<T>::pull_samples(const PullCall& call, std::size_t first, std::size_t count, T* sums,
                              const Layout& layout) const {
  const auto& [ready, inputs, series, potential, cotangent, costate, left] = call;
  const std::size_t n = shape_.nodes();
  T* const nodes = scratch_of_thread<T, 0>(3 * block * n);
  std::array<Pull<T>, block> samples;
  std::size_t most = 0;
  const Interval interval = interval_of(ready, inputs, 1);
  Values<T> values = values_within(ready, interval);
  for (std::size_t i = 0; i < count; ++i) {
    T *mu = nodes + 3 * i * n, *c = mu + n, *lambda = c + n;
    left[first + i] = serves(inputs, series, first + i, potential[first + i]) ? 0 : 1;
    for (std::size_t k = 0; k < n; ++k) {
      const auto at = static_cast<Eigen::Index>(free_of_[k]);
      // A sample left to the reference solver may have any potential; it contributes nothing here.
      const double here = left[first + i] != 0 ? interval.middle : potential[first + i][at];
      mu[k] = static_cast<T>(here);
      values.bounded = values.bounded && std::abs(here - interval.middle) <= interval.half;
      if (!cotangent.empty()) c[k] = left[first + i] != 0 ? T(0) : static_cast<T>(cotangent[first + i][at]);
      else lambda[k] = left[first + i] != 0 ? T(0) : static_cast<T>(costate[first + i][at]);
    }
    const std::span<const SingleInput<T>> singles = inputs.singles(first + i);
    most = std::max(most, singles.size());
    samples[i] = {
        singles.data(), singles.size(), singles.size() - inputs.varied(), mu, cotangent.empty() ? nullptr : c,
        lambda};
  }
  arithmetic<T>().pull_group(shape_, values, series.base, samples.data(), count,
                             {sums, sums + layout.edge, sums + layout.leak, sums + layout.moments},
                             scratch_of_thread<T, 1>(scratch_to_pull(shape_, most)));
  if (cotangent.empty()) return;
  for (std::size_t i = 0; i < count; ++i) {
    if (samples[i].singular) left[first + i] = 1;
    if (left[first + i] != 0) continue;
    costate[first + i].resize(static_cast<Eigen::Index>(n));
    for (std::size_t k = 0; k < n; ++k) {
      costate[first + i][static_cast<Eigen::Index>(free_of_[k])] = static_cast<double>(samples[i].costate[k]);
    }
  }
}

template <class T>
void BatchOf<T>::put(const Vector& theta, const EdgePosition& place, double window, double level,
                     double difference, Eigen::Ref<Vector> gradient) const {
  const double factor = theta[offset_[0] + place.edge] * inverse();
  gradient[offset_[0] + place.edge] += window;
  gradient[offset_[1] + place.edge] += factor * level;
  gradient[offset_[2] + place.edge] += (place.reversed ? -1 : 1) * factor / scale() * difference;
}

template <class T>
void BatchOf<T>::add_sums(const Prepared& ready, const Series<T>& series, std::span<const T> sums,
                          const Layout& layout, Eigen::Ref<Vector> gradient, unsigned threads) const {
  const std::size_t fed = shape_.blocks * block, terms = series.base.terms,
                    chunks = sums.size() / layout.size;
  const auto total = [&](std::size_t at) {
    double sum = 0;
    for (std::size_t c = 0; c < chunks; ++c) sum += static_cast<double>(sums[c * layout.size + at]);
    return sum;
  };
  // Converts the moments of the polynomials into weights at the series' nodes.
  const auto weight = aligned<T>(terms * fed);
  std::vector<double> moment(terms * fed);
  for (std::size_t i = 0; i < moment.size(); ++i) moment[i] = total(layout.moments + i);
  const Chebyshev chebyshev(std::max<std::size_t>(terms, 1));
  std::vector<double> sum_of(fed);
  for (std::size_t k = 0; k < terms; ++k) {
    std::fill(sum_of.begin(), sum_of.end(), 0.0);
    for (std::size_t m = 0; m < terms; ++m) {
      const double c = (m == 0 ? 1.0 : 2.0) / static_cast<double>(terms) * chebyshev(m, k);
      for (std::size_t i = 0; i < fed; ++i) sum_of[i] += moment[m * fed + i] * c;
    }
    for (std::size_t i = 0; i < fed; ++i) weight[k * fed + i] = static_cast<T>(sum_of[i]);
  }
  const Values<T> values = values_within(ready, series.interval);
  const std::size_t stretches = (shape_.inputs + stretch - 1) / stretch;
  for_each_index(1 + shape_.blocks * stretches, threads, [&](std::size_t task) {
    if (task == 0) {
      add_rest(ready, sums, layout, gradient);
      return;
    }
    const std::size_t part = task - 1, b = part / stretches, from = part % stretches * stretch,
                      to = std::min(shape_.inputs, from + stretch);
    alignas(64) T sum[stretch * 3 * block];
    arithmetic<T>().input_gradient(shape_, values, series.base, series.node.data(),
                                   series.node_exponential.data(), weight.get(),
                                   {sums.data(), chunks, layout.size}, b, from, to, sum);
    const double by_level = inverse(), by_difference = inverse() / scale();
    for (std::size_t v = 0; v < block; ++v) {
      const std::int32_t first = first_edge_[b * block + v];
      if (first < 0) {
        for (std::size_t i = from; i < to; ++i) {
          const EdgePosition& place = input_place_[(b * shape_.inputs + i) * block + v];
          const T* const of_edge = sum + (i - from) * 3 * block + v;
          if (place.edge >= 0)
            put(*ready.theta, place, of_edge[0], of_edge[block], of_edge[2 * block], gradient);
        }
        continue;
      }
      // The same as put(), for edges that follow one another in theta.
      double* const out = gradient.data() + first;
      const double* const gamma = ready.theta->data() + offset_[0] + first;
      for (std::size_t i = from; i < to; ++i) {
        const T* const of_edge = sum + (i - from) * 3 * block + v;
        const auto at = static_cast<std::int64_t>(i);
        out[offset_[0] + at] += of_edge[0];
        out[offset_[1] + at] += gamma[at] * by_level * of_edge[block];
        out[offset_[2] + at] += gamma[at] * by_difference * of_edge[2 * block];
      }
    }
  });
}

template <class T>
void BatchOf<T>::add_rest(const Prepared& ready, std::span<const T> sums, const Layout& layout,
                          Eigen::Ref<Vector> gradient) const {
  const auto total = [&](std::size_t at) {
    double lanes[block] = {};
    for (std::size_t c = 0; c < sums.size() / layout.size; ++c) {
      const T* const of_chunk = sums.data() + c * layout.size + at;
      for (std::size_t v = 0; v < block; ++v) lanes[v] += static_cast<double>(of_chunk[v]);
    }
    return std::accumulate(std::begin(lanes), std::end(lanes), 0.0);
  };
  for (std::size_t i = 0; i < shape_.edges; ++i) {
    const std::size_t at = layout.edge + i * 3 * block;
    put(*ready.theta, edge_place_[i], total(at), total(at + block), total(at + 2 * block), gradient);
  }
  const auto n = static_cast<Eigen::Index>(shape_.nodes());
  for (std::size_t k = 0; k < shape_.nodes(); ++k) {
    const std::size_t at = layout.leak + k * 2 * block;
    const auto g = static_cast<Eigen::Index>(impl_.leak_offset + free_of_[k]);
    gradient[g] += total(at);
    gradient[g + n] += total(at + block);
  }
}

template <class T>
std::vector<std::uint32_t> BatchOf<T>::pull(const std::shared_ptr<const Vector>& theta,
                                            std::span<const Pattern> clamp, std::span<const Vector> potential,
                                            std::span<const Vector> cotangent, std::span<Vector> costate,
                                            Eigen::Ref<Vector> gradient, unsigned threads) const {
  if (clamp.empty()) return {};
  const std::shared_ptr<Prepared> ready = prepared(theta, threads);
  const auto [inputs, series] = input_functions(*ready, clamp, threads);
  const std::size_t side = arithmetic<T>().group_size, fed = shape_.blocks * block;
  const std::size_t input_size = shape_.blocks * shape_.inputs * 3 * block,
                    edge_size = shape_.edges * 3 * block, leak_size = shape_.nodes() * 2 * block;
  const Layout layout{input_size, input_size + edge_size, input_size + edge_size + leak_size,
                      input_size + edge_size + leak_size + series->base.terms * fed};
  const Groups groups(clamp.size(), side);
  const std::size_t chunks = chunks_for(groups.count);
  const auto memory = aligned<T>(chunks * layout.size);
  const std::span<T> sums(memory.get(), chunks * layout.size);
  std::vector<std::uint8_t> left(clamp.size(), 0);
  const PullCall call{*ready, *inputs, *series, potential, cotangent, costate, left};
  for_each_index(chunks, threads, [&](std::size_t c) {
    std::fill_n(sums.data() + c * layout.size, layout.size, T(0));
    for (std::size_t g = c * groups.count / chunks; g < (c + 1) * groups.count / chunks; ++g) {
      pull_samples(call, groups.begin(g), groups.size(g), sums.data() + c * layout.size, layout);
    }
  });
  add_sums(*ready, *series, sums, layout, gradient, threads);
  std::vector<std::uint32_t> which;
  for (std::uint32_t i = 0; i < left.size(); ++i) {
    if (left[i] != 0) which.push_back(i);
  }
  return which;
}

template <class T>
std::shared_ptr<const Batch> make(const Network::Impl& impl) {
  return std::make_shared<BatchOf<T>>(impl);
}
template std::shared_ptr<const Batch> make<float>(const Network::Impl&);
template std::shared_ptr<const Batch> make<double>(const Network::Impl&);

std::shared_ptr<const Batch> shared(const Network::Impl& impl, Batches kind) {
  if (kind == Batches::off) return nullptr;
  if (std::string p = problem(impl); !p.empty()) throw std::invalid_argument("batches: " + p);
  const std::scoped_lock lock(impl.batches_mutex);
  std::weak_ptr<const Batch>& kept = impl.kept_batches[kind == Batches::single_precision ? 0 : 1];
  std::shared_ptr<const Batch> batch = kept.lock();
  if (batch == nullptr)
    kept = batch = kind == Batches::single_precision ? make<float>(impl) : make<double>(impl);
  return batch;
}

}  // namespace ness::sim::batches
