// Input currents as Chebyshev series of a node's own potential: what is made once per update of the parameters.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/aligned.hpp"
#include "batch/batch_kernels.hpp"

namespace ness::sim::batches {

/// Where a series holds (kT), and its terms; 0: too many would be needed.
struct Interval {
  double middle = 0, half = 0;
  std::size_t terms = 0;
  bool operator==(const Interval&) const = default;
};

/// From low to high with a margin, with as many terms as bring the error below `error` of the sum of the edges' gammas. The nearest poles
/// of the currents lie `pole` (kT) off the real axis, and a series falls by the sum of the half axes of the ellipse through them a term.
Interval interval_for(double low, double high, double pole, double error);

/// T_m at the nodes of a series of so many terms.
class Chebyshev {
 public:
  explicit Chebyshev(std::size_t terms);
  double operator()(std::size_t m, std::size_t k) const { return cosine_[m * (2 * k + 1) % cosine_.size()]; }

 private:
  std::vector<double> cosine_;  // of multiples of pi/(2 terms)
};

/// A table (batch_kernels.hpp) with its memory.
template <class T>
struct Tabulated {
  bool based = false;
  double level = 0;  ///< the commonest (kT)
  Interval interval;
  Table<T> table;
  std::vector<T> node, node_exponential, transform;
  Aligned<T> sum, growth, current;  ///< megabytes that nobody has to clear first
};
/// base: the commonest level, null without; steepest: the largest of |b|, |1 + b| of an input edge.
template <class T>
std::shared_ptr<const Tabulated<T>> tabulated(const Shape& shape, const Values<T>& values, Interval interval, const double* base, double steepest, unsigned threads);

/// The base's currents as series, with their memory; without terms where there are none.
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
std::shared_ptr<const Series<T>> series_of_base(const Shape& shape, const Values<T>& values, Interval interval, double base, const std::vector<std::uint8_t>& common,
                                                unsigned threads);

}  // namespace ness::sim::batches
