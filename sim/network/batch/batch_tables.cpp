#include "batch/batch_tables.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ness/device/parallel.hpp"

namespace ness::sim::batches {

namespace {
constexpr std::size_t most_terms = 48;

// Nodes of a series (scaled), and 2^-node.
template <class T>
void set_nodes(const Interval& interval, const Chebyshev& chebyshev, T scale, std::vector<T>& node,
               std::vector<T>& exponential) {
  std::vector<double> at(interval.terms);
  for (std::size_t k = 0; k < interval.terms; ++k) at[k] = interval.middle + interval.half * chebyshev(1, k);
  node.resize(interval.terms);
  exponential.resize(interval.terms);
  arithmetic<T>().scale_levels(interval.terms, at.data(), scale, node.data(), exponential.data());
}
}  // namespace

Interval interval_for(double low, double high, double pole, double error) {
  const double half = 0.52 * (high - low) + 0.006 * pole, e = pole / half, rho = e + std::sqrt(1 + e * e);
  const double terms = std::max(1.0, std::ceil(std::log(1 / error) / std::log(rho)));
  return {(low + high) / 2, half,
          terms <= static_cast<double>(most_terms) ? static_cast<std::size_t>(terms) : 0};
}

Chebyshev::Chebyshev(std::size_t terms) : cosine_(4 * terms) {
  for (std::size_t j = 0; j < cosine_.size(); ++j)
    cosine_[j] = std::cos(std::numbers::pi * static_cast<double>(j) / static_cast<double>(2 * terms));
}

template <class T>
std::shared_ptr<const Tabulated<T>> tabulated(const Shape& shape, const Values<T>& values, Interval interval,
                                              const double* base, double steepest, unsigned threads) {
  interval.terms = (interval.terms + 3) / 4 * 4;
  const std::size_t terms = interval.terms, fed = shape.blocks * block, rows = shape.inputs * terms * block;
  const Chebyshev chebyshev(terms);
  auto made = std::make_shared<Tabulated<T>>();
  made->based = base != nullptr;
  made->level = base != nullptr ? *base : 0;
  made->interval = interval;
  set_nodes(interval, chebyshev, values.scale, made->node, made->node_exponential);
  for (std::size_t m = 0; m < terms; ++m) {
    for (std::size_t k = 0; k < terms; ++k)
      made->transform.push_back(
          static_cast<T>((m == 0 ? 1.0 : 2.0) / static_cast<double>(terms) * chebyshev(m, k)));
  }
  made->growth = aligned<T>(shape.blocks * rows);
  if (made->based) made->current = aligned<T>(shape.blocks * rows);
  made->sum = aligned<T>(terms * fed);
  Table<T>& table = made->table;
  table.terms = terms;
  table.low = static_cast<T>(interval.middle - interval.half);
  table.high = static_cast<T>(interval.middle + interval.half);
  table.based = made->based;
  arithmetic<T>().scale_levels(1, &made->level, values.scale, &table.level, &table.exponential);
  // Products of exponentials are 2^(a + b x) 2^(-b mu) 2^-mu, where the last two are within 2^reach; two such
  // products are multiplied. The limit of the first factor must stay far above 1 at every node.
  const double limit = sizeof(T) == sizeof(float) ? 62 : 500, enough = sizeof(T) == sizeof(float) ? 20 : 50;
  const double reach =
      (1 + steepest) * (std::abs(interval.middle) + interval.half) * static_cast<double>(values.scale);
  table.wide = limit - 3 * reach < enough;
  table.highest = static_cast<T>(table.wide ? limit : limit - reach);
  table.node_exponential = made->node_exponential.data();
  table.transform = made->transform.data();
  table.growth = made->growth.get();
  table.current = made->current.get();
  table.sum = made->sum.get();
  const std::size_t stretches = (shape.inputs + stretch - 1) / stretch;
  std::vector<T> parts(shape.blocks * stretches * terms * block);
  for_each_index(shape.blocks * stretches, threads, [&](std::size_t part) {
    const std::size_t b = part / stretches, from = part % stretches * stretch,
                      to = std::min(shape.inputs, from + stretch);
    arithmetic<T>().table_rows(
        shape, values, table, made->node.data(), b, from, to, made->growth.get() + b * rows,
        made->based ? made->current.get() + b * rows : nullptr, parts.data() + part * terms * block);
  });
  for (std::size_t b = 0; b < shape.blocks; ++b) {
    for (std::size_t i = 0; i < terms * block; ++i) {
      double sum = 0;
      for (std::size_t part = b * stretches; part < (b + 1) * stretches; ++part)
        sum += static_cast<double>(parts[part * terms * block + i]);
      made->sum[i / block * fed + b * block + i % block] = static_cast<T>(sum);
    }
  }
  return made;
}

template <class T>
std::shared_ptr<const Series<T>> series_of_base(const Shape& shape, const Values<T>& values,
                                                Interval interval, double base,
                                                const std::vector<std::uint8_t>& common, unsigned threads) {
  const std::size_t terms = interval.terms, fed = shape.blocks * block;
  const Chebyshev chebyshev(terms);
  auto made = std::make_shared<Series<T>>();
  made->level = base;
  made->interval = interval;
  made->common = common;
  set_nodes(interval, chebyshev, values.scale, made->node, made->node_exponential);
  T scaled = 0, exponential = 1;
  arithmetic<T>().scale_levels(1, &base, values.scale, &scaled, &exponential);
  const auto at = aligned<T>(terms * fed);
  for_each_index(terms, threads, [&](std::size_t k) {
    arithmetic<T>().base_currents(shape, values, common.data(), scaled, exponential,
                                  made->node[k] / values.scale, at.get() + k * fed);
  });
  made->current = aligned<T>(terms * fed);
  std::vector<double> sum(fed);
  for (std::size_t m = 0; m < terms; ++m) {
    std::fill(sum.begin(), sum.end(), 0.0);
    const double factor = (m == 0 ? 1.0 : 2.0) / static_cast<double>(terms);
    for (std::size_t k = 0; k < terms; ++k) {
      const double c = factor * chebyshev(m, k);
      for (std::size_t i = 0; i < fed; ++i) sum[i] += static_cast<double>(at[k * fed + i]) * c;
    }
    for (std::size_t i = 0; i < fed; ++i) made->current[m * fed + i] = static_cast<T>(sum[i]);
  }
  made->base = {made->common.data(),
                terms,
                scaled,
                exponential,
                static_cast<T>(interval.middle - interval.half),
                static_cast<T>(interval.middle + interval.half),
                made->current.get()};
  return made;
}

template std::shared_ptr<const Tabulated<float>> tabulated(const Shape&, const Values<float>&, Interval,
                                                           const double*, double, unsigned);
template std::shared_ptr<const Tabulated<double>> tabulated(const Shape&, const Values<double>&, Interval,
                                                            const double*, double, unsigned);
template std::shared_ptr<const Series<float>> series_of_base(const Shape&, const Values<float>&, Interval,
                                                             double, const std::vector<std::uint8_t>&,
                                                             unsigned);
template std::shared_ptr<const Series<double>> series_of_base(const Shape&, const Values<double>&, Interval,
                                                              double, const std::vector<std::uint8_t>&,
                                                              unsigned);

}  // namespace ness::sim::batches
