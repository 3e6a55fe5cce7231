// Input currents as Chebyshev series of a node's own potential, computed once per update of the parameters.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/aligned.hpp"
#include "batch/batch_kernels.hpp"

namespace ness::sim::batches {

/// Interval in which a series holds (kT), and its number of terms; 0: too many would be needed.
struct Interval {
  double middle = 0, half = 0;
  std::size_t terms = 0;
  bool operator==(const Interval&) const = default;
};

/// From low to high with a margin, with enough terms for an error below `error` times the sum of the edges'
/// gammas. The nearest poles of the currents are `pole` (kT) off the real axis. Each term reduces the error
/// by a factor: the sum of the half axes of the ellipse through the poles.
Interval interval_for(double low, double high, double pole, double error);

/// T_m at the nodes of a series with this number of terms.
class Chebyshev {
 public:
  explicit Chebyshev(std::size_t terms);
  double operator()(std::size_t m, std::size_t k) const { return cosine_[m * (2 * k + 1) % cosine_.size()]; }

 private:
  std::vector<double> cosine_;  // of multiples of pi/(2 terms)
};

/// A table (batch_kernels.hpp) and its memory.
template <class T>
struct Tabulated {
  bool based = false;
  double level = 0;  ///< the commonest level (kT)
  Interval interval;
  Table<T> table;
  std::vector<T> node, node_exponential, transform;
  Aligned<T> sum, growth, current;  ///< large, and not cleared first
};
/// base: the commonest level, or null; steepest: the largest |b| or |1 + b| of an input edge.
template <class T>
std::shared_ptr<const Tabulated<T>> tabulated(const Shape& shape, const Values<T>& values, Interval interval,
                                              const double* base, double steepest, unsigned threads);

/// Series of the base's currents, and their memory; without terms if there are none.
template <class T>
struct Series {
  double level = 0;
  Interval interval;
  Base<T> base;
  std::vector<T> node, node_exponential;
  Aligned<T> current;
  std::vector<std::uint8_t> common;
};
/// common: [inputs] 1 where an input contributes.
template <class T>
std::shared_ptr<const Series<T>> series_of_base(const Shape& shape, const Values<T>& values,
                                                Interval interval, double base,
                                                const std::vector<std::uint8_t>& common, unsigned threads);

}  // namespace ness::sim::batches
