#include "batch.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <numbers>
#include <stdexcept>
#include <unordered_map>

#include "batch_kernels.hpp"
#include "parallel.hpp"

namespace ness::sim::batches {

namespace {
constexpr double widest = 30;  // |mu|/(kT T) within which no product of exponentials leaves single precision

// What a minibatch's inputs have in common.
struct Levels {
  double base = 0;     // the commonest
  double share = 0;    // of the inputs at it
  double low = 0, high = 0;
};

Levels levels_of(std::span<const Vector> clamp) {
  Levels found;
  found.low = std::numeric_limits<double>::infinity();
  found.high = -found.low;
  std::unordered_map<double, std::size_t> counts;
  std::size_t looked = 0;
  for (std::size_t i = 0; i < clamp.size(); ++i) {
    for (const double x : clamp[i]) {
      found.low = std::min(found.low, x);
      found.high = std::max(found.high, x);
    }
    if (i >= 4) continue;  // a few samples tell what is common
    for (const double x : clamp[i]) ++counts[x];
    looked += static_cast<std::size_t>(clamp[i].size());
  }
  std::size_t most = 0;
  for (const auto& [level, count] : counts) {
    if (count > most || (count == most && level < found.base)) {
      most = count;
      found.base = level;
    }
  }
  if (looked > 0) found.share = static_cast<double>(most) / static_cast<double>(looked);
  return found;
}

// T_m at node k of a series of so many terms.
double chebyshev(std::size_t m, std::size_t k, std::size_t terms) {
  return std::cos(std::numbers::pi * static_cast<double>(m) * (static_cast<double>(k) + 0.5) / static_cast<double>(terms));
}
}  // namespace

std::string problem(const Network::Impl& impl) {
  const NetworkSpec& spec = impl.spec;
  for (std::size_t k = 0; k < spec.nodes.size(); ++k) {
    if (spec.nodes[k].T != spec.nodes[0].T) return "node " + std::to_string(k) + " has another temperature than node 0; batches need one";
  }
  std::vector<std::vector<std::uint32_t>> seen(impl.free.size());
  for (std::size_t e = 0; e < spec.edges.size(); ++e) {
    const GraphEdge& ends = spec.graph.edges[e];
    const std::string where = "edge " + std::to_string(e);
    if (spec.edges[e].law != Law::quantum_dot) return where + " is " + std::string(law_info(spec.edges[e].law).name) + "; batches need quantum dots";
    if (impl.laws.front().offset[3] >= 0) return "common-mode lever arms d; batches need d = 0";
    const std::int64_t s = impl.free_index[ends.source], t = impl.free_index[ends.target];
    if ((s < 0) == (t < 0)) continue;
    seen[static_cast<std::size_t>(std::max(s, t))].push_back(s < 0 ? ends.source : ends.target);
  }
  for (std::size_t k = 0; k < seen.size(); ++k) {
    std::sort(seen[k].begin(), seen[k].end());
    if (std::adjacent_find(seen[k].begin(), seen[k].end()) != seen[k].end()) return "node " + std::to_string(impl.free[k]) + " has two edges to one clamped node; batches need one";
  }
  if (impl.algebra != LinearAlgebra::dense) return "a network of " + std::to_string(impl.free.size()) + " free nodes; batches need one that is eliminated densely";
  return {};
}

namespace {
// Where Chebyshev series in a node's potential hold (kT), and how many terms they need; 0: too many.
struct Interval {
  double middle = 0, half = 0;
  std::size_t terms = 0;
  double node(std::size_t k) const { return middle + half * chebyshev(1, k, terms); }
  bool operator==(const Interval&) const = default;
};

template <class T>
struct Tabulated {
  bool based = false;
  double level = 0;
  Interval interval;
  Table<T> table;
  std::vector<T> node, node_exponential, transform, growth, current, sum;
};

// The base's currents as Chebyshev series.
template <class T>
struct Series {
  double level = 0;
  Interval interval;
  Base<T> base;
  std::vector<T> current, node, node_exponential;
};

// Terms that bring the series' error below `error` (of the sum of the edges' gammas): the current has its nearest poles pi kT T / steepest
// off the real axis, and a Chebyshev series falls by rho a term, the sum of the half axes of the ellipse through them.
std::size_t terms_for(double half_width, double pole, double error) {
  const double e = pole / half_width, rho = e + std::sqrt(1 + e * e);
  const double terms = std::ceil(std::log(1 / error) / std::log(rho));
  return terms <= 48 ? static_cast<std::size_t>(terms) : 0;
}

// A network in vector code.
template <class T>
class BatchOf final : public Batch {
 public:
  explicit BatchOf(const Network::Impl& impl);
  void relax(const std::shared_ptr<const Vector>& theta, std::span<const Vector> clamp, std::span<const Vector> start, std::span<const Vector> inject,
             const std::vector<bool>& restored, const SteadyStateOptions& options, unsigned threads, std::span<Vector> potential, std::span<Found> found) const override;
  void pull(const std::shared_ptr<const Vector>& theta, std::span<const Vector> clamp, std::span<const Vector> potential, std::span<const Vector> cotangent,
            std::span<Vector> costate, Eigen::Ref<Vector> gradient, unsigned threads) const override;

 private:
  struct Prepared;
  std::shared_ptr<Prepared> prepared(const std::shared_ptr<const Vector>& theta) const;
  Interval interval_of(const Prepared& ready, const Levels& levels, double error) const;
  std::shared_ptr<const Tabulated<T>> table_of(Prepared& ready, std::span<const Vector> clamp, unsigned threads) const;
  std::shared_ptr<const Series<T>> series_of(Prepared& ready, std::span<const Vector> clamp, unsigned threads) const;

  const Network::Impl& impl_;
  Shape shape_;
  std::vector<std::uint32_t> position_;  // of each free index in the order of elimination
  std::vector<std::uint32_t> free_of_;   // free index of each position
  std::vector<std::uint32_t> fed_, source_, target_, source_target_, target_source_;
  std::unique_ptr<bool[]> repeated_;
  struct Place {
    std::int64_t gamma = -1, a = -1, b = -1;  // in theta; gamma -1: no edge
    bool reversed = false;                    // from the free node into the clamped one: the current of the edge turned round, b of the other sign
  };
  std::vector<Place> input_place_;  // [blocks][inputs][16]
  std::vector<Place> edge_place_;   // [edges]
  mutable std::mutex mutex_;
  mutable std::shared_ptr<Prepared> last_;
};
}  // namespace

template <class T>
struct BatchOf<T>::Prepared {
  std::shared_ptr<const Vector> theta;
  std::vector<T> input, gamma, a, b, g, mu_ref, capacity;
  Values<T> values;
  double steepest = 1;  // largest of |b|, |1 + b| of an input edge: how near the poles of its current are
  double low_ref = 0, high_ref = 0;
  std::mutex mutex;
  std::shared_ptr<const Tabulated<T>> table;  // the last that was asked for
  std::shared_ptr<const Series<T>> series;
};

template <class T>
BatchOf<T>::BatchOf(const Network::Impl& impl) : impl_(impl) {
  const std::size_t n = impl.free.size();
  position_.resize(n);
  for (const auto* part : {&impl.plan.first, &impl.plan.rest}) {
    for (const std::int32_t k : *part) {
      position_[static_cast<std::size_t>(k)] = static_cast<std::uint32_t>(free_of_.size());
      free_of_.push_back(static_cast<std::uint32_t>(k));
    }
  }
  shape_.inputs = impl.clamped.size();
  shape_.first = impl.plan.first.size();
  shape_.rest = impl.plan.rest.size();
  std::vector<std::size_t> clamped_index(impl.spec.graph.nodes.size(), 0);
  for (std::size_t i = 0; i < impl.clamped.size(); ++i) clamped_index[impl.clamped[i]] = i;

  std::vector<bool> is_fed(n, false);
  for (const GraphEdge& edge : impl.spec.graph.edges) {
    const std::int64_t s = impl.free_index[edge.source], t = impl.free_index[edge.target];
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

  std::vector<bool> taken(shape_.couplings(), false);
  std::vector<bool> repeated;
  const std::size_t F = shape_.first, R = shape_.rest;
  const auto coupling = [&](std::size_t row, std::size_t column) {
    if (row < F) return row * R + (column - F);
    if (column < F) return F * R + (row - F) * F + column;
    return 2 * F * R + (row - F) * R + (column - F);
  };
  const LawEdges& law = impl.of(Law::quantum_dot);
  for (std::size_t i = 0; i < law.count(); ++i) {
    const GraphEdge& edge = impl.spec.graph.edges[law.edges[i]];
    const std::int64_t s = impl.free_index[edge.source], t = impl.free_index[edge.target], at = static_cast<std::int64_t>(i);
    if (s < 0 && t < 0) continue;
    const Place place{law.offset[0] + at, law.offset[1] + at, law.offset[2] + at, t < 0};
    if (s >= 0 && t >= 0) {
      const std::uint32_t ps = position_[static_cast<std::size_t>(s)], pt = position_[static_cast<std::size_t>(t)];
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
  shape_.fed = fed_.data();
  shape_.source = source_.data();
  shape_.target = target_.data();
  shape_.source_target = source_target_.data();
  shape_.target_source = target_source_.data();
  shape_.repeated = repeated_.get();
}

template <class T>
std::shared_ptr<typename BatchOf<T>::Prepared> BatchOf<T>::prepared(const std::shared_ptr<const Vector>& theta) const {
  {
    const std::scoped_lock lock(mutex_);
    if (last_ && last_->theta == theta) return last_;
  }
  auto made = std::make_shared<Prepared>();
  const double inverse = impl_.inverse_T.empty() ? 1 : impl_.inverse_T.front(), scale = inverse * std::numbers::log2e;
  const Vector& all = *theta;
  made->theta = theta;
  made->input.assign(shape_.blocks * shape_.inputs * 3 * block, T(0));
  for (std::size_t i = 0; i < shape_.blocks * shape_.inputs; ++i) {
    for (std::size_t v = 0; v < block; ++v) {
      const Place& place = input_place_[i * block + v];
      if (place.gamma < 0) continue;
      const double b = place.reversed ? -all[place.b] : all[place.b];
      T* to = made->input.data() + i * 3 * block + v;
      to[0] = static_cast<T>(all[place.gamma]);
      to[block] = static_cast<T>(all[place.a] * scale);
      to[2 * block] = static_cast<T>(b);
      made->steepest = std::max({made->steepest, std::abs(b), std::abs(1 + b)});
    }
  }
  for (const Place& place : edge_place_) {
    made->gamma.push_back(static_cast<T>(all[place.gamma]));
    made->a.push_back(static_cast<T>(all[place.a] * scale));
    made->b.push_back(static_cast<T>(all[place.b]));
  }
  made->low_ref = std::numeric_limits<double>::infinity();
  made->high_ref = -made->low_ref;
  for (const std::uint32_t k : free_of_) {
    const auto n = static_cast<Eigen::Index>(impl_.free.size());
    const auto g = static_cast<Eigen::Index>(impl_.leak_offset + k);
    made->g.push_back(static_cast<T>(all[g]));
    made->mu_ref.push_back(static_cast<T>(all[g + n]));
    made->capacity.push_back(static_cast<T>(impl_.spec.nodes[impl_.free[k]].capacity));
    made->low_ref = std::min(made->low_ref, all[g + n]);
    made->high_ref = std::max(made->high_ref, all[g + n]);
  }
  made->values = {static_cast<T>(scale), static_cast<T>(inverse), made->input.data(), made->gamma.data(), made->a.data(), made->b.data(),
                  made->g.data(), made->mu_ref.data(), made->capacity.data()};
  const std::scoped_lock lock(mutex_);
  last_ = made;
  return made;
}

namespace {
template <class T>
std::vector<T>& scratch_of_thread(std::size_t size) {
  thread_local std::vector<T> scratch;
  if (scratch.size() < size) scratch.resize(size);
  return scratch;
}

template <class T>
struct Laid {
  std::vector<T> level, exponential;
  std::vector<Spot<T>> spots;
  bool wide = false;
};

template <class T>
void lay(Laid<T>& out, const Vector& clamp, const Values<T>& values, bool based, T level) {
  const auto n = static_cast<std::size_t>(clamp.size());
  out.level.resize(n);
  out.exponential.resize(n);
  out.spots.clear();
  arithmetic<T>().scale_levels(n, clamp.data(), values.scale, out.level.data(), out.exponential.data());
  for (std::size_t i = 0; i < n; ++i) {
    out.wide = out.wide || !(std::abs(clamp[static_cast<Eigen::Index>(i)]) * values.inverse <= widest);
    if (based && out.level[i] == level) continue;
    out.spots.push_back({static_cast<std::uint32_t>(i), out.level[i], out.exponential[i]});
  }
}
}  // namespace

// Potentials at steady states lie between the levels that lead to the nodes.
template <class T>
Interval BatchOf<T>::interval_of(const Prepared& ready, const Levels& levels, double error) const {
  const double low = std::min(levels.low, ready.low_ref), high = std::max(levels.high, ready.high_ref), kT_T = 1 / static_cast<double>(ready.values.inverse);
  const double half = 0.52 * (high - low) + 0.01 * kT_T;
  return {(low + high) / 2, half, terms_for(half, std::numbers::pi * kT_T / ready.steepest, error)};
}

// The table of a minibatch; null where the currents are too steep for series.
template <class T>
std::shared_ptr<const Tabulated<T>> BatchOf<T>::table_of(Prepared& ready, std::span<const Vector> clamp, unsigned threads) const {
  constexpr double error = 3e-4;  // of the sum of the gammas: what the exact law has to correct is a few 1e-4 kT
  static const auto none = std::make_shared<const Tabulated<T>>();
  if (shape_.blocks == 0) return none;
  const Levels levels = levels_of(clamp);
  Interval interval = interval_of(ready, levels, error);
  if (interval.terms == 0) return nullptr;
  interval.terms = (interval.terms + 3) / 4 * 4;
  const bool based = levels.share > 0.6;
  {
    const std::scoped_lock lock(ready.mutex);
    if (ready.table && ready.table->based == based && ready.table->level == levels.base && ready.table->interval == interval) return ready.table;
  }
  const std::size_t terms = interval.terms, fed = shape_.blocks * block, rows = shape_.inputs * terms * block;
  auto made = std::make_shared<Tabulated<T>>();
  made->based = based;
  made->level = levels.base;
  made->interval = interval;
  std::vector<double> node(terms);
  for (std::size_t k = 0; k < terms; ++k) node[k] = interval.node(k);
  made->node.resize(terms);
  made->node_exponential.resize(terms);
  arithmetic<T>().scale_levels(terms, node.data(), ready.values.scale, made->node.data(), made->node_exponential.data());
  for (std::size_t m = 0; m < terms; ++m) {
    for (std::size_t k = 0; k < terms; ++k) made->transform.push_back(static_cast<T>((m == 0 ? 1.0 : 2.0) / static_cast<double>(terms) * chebyshev(m, k, terms)));
  }
  made->growth.resize(shape_.blocks * rows);
  if (based) made->current.resize(shape_.blocks * rows);
  made->sum.resize(terms * fed);
  Table<T>& table = made->table;
  table.terms = terms;
  table.low = static_cast<T>(interval.middle - interval.half);
  table.high = static_cast<T>(interval.middle + interval.half);
  table.based = based;
  arithmetic<T>().scale_levels(1, &levels.base, ready.values.scale, &table.level, &table.exponential);
  // Products of exponentials: 2^(a + b x) 2^(-b mu) 2^-mu, all of the latter within 2^reach; two of them are multiplied. What is limited
  // has to stay far above 1 at any node.
  const double limit = sizeof(T) == sizeof(float) ? 62 : 500, enough = sizeof(T) == sizeof(float) ? 20 : 50;
  const double reach = (1 + ready.steepest) * (std::abs(interval.middle) + interval.half) * static_cast<double>(ready.values.scale);
  table.wide = limit - 3 * reach < enough;
  table.highest = static_cast<T>(table.wide ? limit : limit - reach);
  table.node_exponential = made->node_exponential.data();
  table.transform = made->transform.data();
  table.growth = made->growth.data();
  table.current = made->current.data();
  table.sum = made->sum.data();
  constexpr std::size_t stretch = 56;  // inputs
  const std::size_t stretches = (shape_.inputs + stretch - 1) / stretch;
  std::vector<T> parts(shape_.blocks * stretches * terms * block);
  for_each_index(shape_.blocks * stretches, threads, [&](std::size_t part) {
    const std::size_t b = part / stretches, from = part % stretches * stretch, to = std::min(shape_.inputs, from + stretch);
    arithmetic<T>().table_rows(shape_, ready.values, table, made->node.data(), b, from, to, made->growth.data() + b * rows, based ? made->current.data() + b * rows : nullptr,
                               parts.data() + part * terms * block);
  });
  for (std::size_t b = 0; b < shape_.blocks; ++b) {
    for (std::size_t i = 0; i < terms * block; ++i) {
      double sum = 0;
      for (std::size_t part = b * stretches; part < (b + 1) * stretches; ++part) sum += static_cast<double>(parts[part * terms * block + i]);
      made->sum[i / block * fed + b * block + i % block] = static_cast<T>(sum);
    }
  }
  const std::scoped_lock lock(ready.mutex);
  ready.table = made;
  return made;
}

// The series of a minibatch; without terms where it would not pay.
template <class T>
std::shared_ptr<const Series<T>> BatchOf<T>::series_of(Prepared& ready, std::span<const Vector> clamp, unsigned threads) const {
  constexpr double error = 2e-7;
  static const auto none = std::make_shared<const Series<T>>();
  const Levels levels = levels_of(clamp);
  if (shape_.blocks == 0 || !(levels.share > 0.6)) return none;
  const Values<T>& values = ready.values;
  const Interval interval = interval_of(ready, levels, error);
  const std::size_t terms = interval.terms;
  if (terms == 0 || static_cast<double>(clamp.size()) * (2 * levels.share - 1) < static_cast<double>(terms)) return none;
  {
    const std::scoped_lock lock(ready.mutex);
    if (ready.series && ready.series->level == levels.base && ready.series->interval == interval) return ready.series;
  }
  const std::size_t fed = shape_.blocks * block;
  auto made = std::make_shared<Series<T>>();
  made->level = levels.base;
  made->interval = interval;
  T scaled = 0, exponential = 1;
  arithmetic<T>().scale_levels(1, &levels.base, values.scale, &scaled, &exponential);
  std::vector<T> at(terms * fed);
  std::vector<double> node(terms);
  for (std::size_t k = 0; k < terms; ++k) node[k] = interval.node(k);
  for_each_index(terms, threads, [&](std::size_t k) { arithmetic<T>().base_currents(shape_, values, scaled, exponential, static_cast<T>(node[k]), at.data() + k * fed); });
  made->current.resize(terms * fed);
  for (std::size_t m = 0; m < terms; ++m) {
    for (std::size_t i = 0; i < fed; ++i) {
      double sum = 0;
      for (std::size_t k = 0; k < terms; ++k) sum += static_cast<double>(at[k * fed + i]) * chebyshev(m, k, terms);
      made->current[m * fed + i] = static_cast<T>(sum * (m == 0 ? 1.0 : 2.0) / static_cast<double>(terms));
    }
  }
  made->node.resize(terms);
  made->node_exponential.resize(terms);
  arithmetic<T>().scale_levels(terms, node.data(), values.scale, made->node.data(), made->node_exponential.data());
  made->base = {terms, scaled, exponential, static_cast<T>(interval.middle - interval.half), static_cast<T>(interval.middle + interval.half), made->current.data()};
  const std::scoped_lock lock(ready.mutex);
  ready.series = made;
  return made;
}

template <class T>
void BatchOf<T>::relax(const std::shared_ptr<const Vector>& theta, std::span<const Vector> clamp, std::span<const Vector> start, std::span<const Vector> inject,
                     const std::vector<bool>& restored, const SteadyStateOptions& options, unsigned threads, std::span<Vector> potential, std::span<Found> found) const {
  const std::shared_ptr<Prepared> ready = prepared(theta);
  const Values<T>& values = ready->values;
  const std::shared_ptr<const Tabulated<T>> tabulated = table_of(*ready, clamp, threads);
  if (tabulated == nullptr) return;
  const Table<T>& table = tabulated->table;
  const double tolerance = sizeof(T) == sizeof(double) ? options.tolerance : std::max(options.tolerance, 1e-3);
  const Limits limits{options.path_tolerance, options.trust, tolerance, impl_.spec.kT, std::min<std::uint32_t>(options.max_steps, 200)};
  const std::size_t side = arithmetic<T>().group_size, n = shape_.nodes();
  for_each_index((clamp.size() + side - 1) / side, threads, [&](std::size_t group) {
    const std::size_t first = group * side, count = std::min(side, clamp.size() - first);
    thread_local std::vector<Laid<T>> laid;
    laid.resize(side);
    thread_local std::vector<T> nodes;
    nodes.assign(3 * side * n, T(0));
    std::vector<Sample<T>> samples(count);
    std::size_t most = 0;
    for (std::size_t i = 0; i < count; ++i) {
      laid[i].wide = false;
      lay<T>(laid[i], clamp[first + i], values, table.based, table.level);
      most = std::max(most, laid[i].spots.size());
      T *from = nodes.data() + 3 * i * n, *u = from + n, *to = u + n;
      const bool injected = !inject.empty() && inject[first + i].size() > 0;
      for (std::size_t k = 0; k < n; ++k) {
        const auto at = static_cast<Eigen::Index>(free_of_[k]);
        from[k] = static_cast<T>(start[first + i][at]);
        if (injected) u[k] = static_cast<T>(inject[first + i][at]);
      }
      samples[i] = {laid[i].level.data(), laid[i].exponential.data(), laid[i].spots.data(), laid[i].spots.size(), from, injected ? u : nullptr, restored[first + i], to};
    }
    std::vector<T>& scratch = scratch_of_thread<T>(scratch_to_relax(shape_, table.terms, most));
    arithmetic<T>().relax_group(shape_, values, table, limits, samples.data(), count, scratch.data());
    for (std::size_t i = 0; i < count; ++i) {
      const Sample<T>& sample = samples[i];
      found[first + i] = {sample.converged && !laid[i].wide, sample.contracting, sample.followed, static_cast<double>(sample.bound), static_cast<double>(sample.displacement),
                          static_cast<double>(sample.time), sample.exact};
      potential[first + i].resize(static_cast<Eigen::Index>(n));
      for (std::size_t k = 0; k < n; ++k) potential[first + i][static_cast<Eigen::Index>(free_of_[k])] = static_cast<double>(sample.potential[k]);
    }
  });
}

template <class T>
void BatchOf<T>::pull(const std::shared_ptr<const Vector>& theta, std::span<const Vector> clamp, std::span<const Vector> potential, std::span<const Vector> cotangent,
                    std::span<Vector> costate, Eigen::Ref<Vector> gradient, unsigned threads) const {
  const std::shared_ptr<Prepared> ready = prepared(theta);
  const Values<T>& values = ready->values;
  const std::shared_ptr<const Series<T>> series = series_of(*ready, clamp, threads);
  const std::size_t side = arithmetic<T>().group_size, n = shape_.nodes(), fed = shape_.blocks * block, terms = series->base.terms;
  const std::size_t input_size = shape_.blocks * shape_.inputs * 3 * block, edge_size = shape_.edges * 3 * block, leak_size = n * 2 * block;
  const std::size_t size = input_size + edge_size + leak_size + terms * fed;
  constexpr std::size_t wave = 16;  // groups whose sums are held at once
  std::vector<T> sums(std::min(wave, (clamp.size() + side - 1) / side) * size);
  std::vector<double> total(size, 0.0);
  for (std::size_t begin = 0; begin * side < clamp.size(); begin += wave) {
    const std::size_t groups = std::min(wave, (clamp.size() + side - 1) / side - begin);
    for_each_index(groups, threads, [&](std::size_t g) {
      const std::size_t first = (begin + g) * side, count = std::min(side, clamp.size() - first);
      T* mine = sums.data() + g * size;
      std::fill(mine, mine + size, T(0));
      thread_local std::vector<Laid<T>> laid;
      laid.resize(side);
      thread_local std::vector<T> nodes;
      nodes.assign(3 * side * n, T(0));
      std::vector<Pull<T>> samples(count);
      std::size_t most = 0;
      for (std::size_t i = 0; i < count; ++i) {
        lay<T>(laid[i], clamp[first + i], values, terms > 0, series->base.level);
        most = std::max(most, laid[i].spots.size());
        T *mu = nodes.data() + 3 * i * n, *c = mu + n, *lambda = c + n;
        for (std::size_t k = 0; k < n; ++k) {
          const auto at = static_cast<Eigen::Index>(free_of_[k]);
          mu[k] = static_cast<T>(potential[first + i][at]);
          if (!cotangent.empty()) c[k] = static_cast<T>(cotangent[first + i][at]);
          else lambda[k] = static_cast<T>(costate[first + i][at]);
        }
        samples[i] = {laid[i].spots.data(), laid[i].spots.size(), mu, cotangent.empty() ? nullptr : c, lambda};
      }
      std::vector<T>& scratch = scratch_of_thread<T>(scratch_to_pull(shape_, most));
      const Sums<T> into{mine, mine + input_size, mine + input_size + edge_size, mine + input_size + edge_size + leak_size};
      arithmetic<T>().pull_group(shape_, values, series->base, samples.data(), count, into, scratch.data());
      if (cotangent.empty()) return;
      for (std::size_t i = 0; i < count; ++i) {
        costate[first + i].resize(static_cast<Eigen::Index>(n));
        for (std::size_t k = 0; k < n; ++k) {
          costate[first + i][static_cast<Eigen::Index>(free_of_[k])] = samples[i].singular ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(samples[i].costate[k]);
        }
      }
    });
    constexpr std::size_t chunk = 4096;
    for_each_index((size + chunk - 1) / chunk, threads, [&](std::size_t part) {
      for (std::size_t g = 0; g < groups; ++g) {
        for (std::size_t i = part * chunk; i < std::min(size, (part + 1) * chunk); ++i) total[i] += static_cast<double>(sums[g * size + i]);
      }
    });
  }
  // Moments of the polynomials become weights of the series' nodes.
  std::vector<T> weight(terms * fed);
  const double* moment = total.data() + input_size + edge_size + leak_size;
  for (std::size_t k = 0; k < terms; ++k) {
    for (std::size_t i = 0; i < fed; ++i) {
      double sum = 0;
      for (std::size_t m = 0; m < terms; ++m) sum += (m == 0 ? 1.0 : 2.0) * moment[m * fed + i] * chebyshev(m, k, terms);
      weight[k * fed + i] = static_cast<T>(sum / static_cast<double>(terms));
    }
  }
  const double inverse = static_cast<double>(values.inverse), by_scale = 1 / static_cast<double>(values.scale);
  const Vector& all = *theta;
  const auto put = [&](const Place& place, double window, double level, double difference) {
    const double gamma = all[place.gamma];
    gradient[place.gamma] += window;
    gradient[place.a] += gamma * inverse * level;
    gradient[place.b] += (place.reversed ? -1 : 1) * gamma * inverse * by_scale * difference;
  };
  constexpr std::size_t stretch = 56;  // inputs
  const std::size_t stretches = (shape_.inputs + stretch - 1) / stretch;
  for_each_index(shape_.blocks * stretches, threads, [&](std::size_t part) {
    const std::size_t b = part / stretches, from = part % stretches * stretch, to = std::min(shape_.inputs, from + stretch);
    T own[stretch * 3 * block];
    if (terms > 0) {
      arithmetic<T>().base_gradient(shape_, values, series->base, series->node.data(), series->node_exponential.data(), weight.data(), b, from, to, own);
    } else {
      std::fill(own, own + stretch * 3 * block, T(0));
    }
    for (std::size_t v = 0; v < block; ++v) {
      for (std::size_t i = from; i < to; ++i) {
        const Place& place = input_place_[(b * shape_.inputs + i) * block + v];
        if (place.gamma < 0) continue;
        const double* sum = total.data() + (b * shape_.inputs + i) * 3 * block + v;
        const T* base = own + (i - from) * 3 * block + v;
        put(place, sum[0] + static_cast<double>(base[0]), sum[block] + static_cast<double>(base[block]), sum[2 * block] + static_cast<double>(base[2 * block]));
      }
    }
  });
  const auto lanes = [&](const double* of) {
    double sum = 0;
    for (std::size_t v = 0; v < block; ++v) sum += of[v];
    return sum;
  };
  for (std::size_t i = 0; i < shape_.edges; ++i) {
    const double* sum = total.data() + input_size + i * 3 * block;
    put(edge_place_[i], lanes(sum), lanes(sum + block), lanes(sum + 2 * block));
  }
  for (std::size_t k = 0; k < n; ++k) {
    const double* sum = total.data() + input_size + edge_size + k * 2 * block;
    const auto g = static_cast<Eigen::Index>(impl_.leak_offset + free_of_[k]);
    gradient[g] += lanes(sum);
    gradient[g + static_cast<Eigen::Index>(n)] += lanes(sum + block);
  }
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
  if (batch == nullptr) kept = batch = kind == Batches::single_precision ? make<float>(impl) : make<double>(impl);
  return batch;
}

}  // namespace ness::sim::batches
