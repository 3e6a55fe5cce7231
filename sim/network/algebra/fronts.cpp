#include "algebra/fronts.hpp"

#include <sys/mman.h>
#ifdef __SSE2__
#include <xmmintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <new>

#include "algebra/cholmod_analysis.hpp"
#include "algebra/front_kernels.hpp"

namespace ness::sim {

namespace {
// Diagonal pivots are accepted while no column's entries grow by more than this: at most 4 of 16 digits are
// lost.
constexpr double largest_growth = 1e4;
constexpr double smallest_pivot = 1e-14;  // of the largest

// The factors of a large network take hundreds of megabytes, and are read and written throughout. Pages of 2
// MB instead of 4 kB, where the system has them, avoid most address look-ups.
Aligned<double> in_large_pages(std::size_t n) {
  constexpr std::size_t page = std::size_t{2} << 20;
  Aligned<double> memory = aligned<double>(n);
  const std::size_t bytes = n * sizeof(double);
  if (bytes < 8 * page) return memory;
  const auto begin = (reinterpret_cast<std::uintptr_t>(memory.get()) + page - 1) / page * page,
             end = (reinterpret_cast<std::uintptr_t>(memory.get()) + bytes) / page * page;
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  return memory;
}

// Influence decays exponentially across a large network, down to denormal numbers. Processors compute with
// these about 100 times slower, so they are flushed to 0 here. (A million nodes: without this, a
// factorisation of 1.1 s took 5 s on average on the way to a steady state.)
class Flushing {
 public:
#ifdef __SSE2__
  Flushing() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040U); }  // results, and operands
  ~Flushing() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#else
  Flushing() {}
  ~Flushing() {}
#endif
 public:
  Flushing(const Flushing&) = delete;
  Flushing& operator=(const Flushing&) = delete;
};
}  // namespace

namespace {
/// Builds Fronts step by step; each step uses what the ones before it filled in.
struct FrontsBuilder {
  const JacobianPattern& pattern;
  const CholmodAnalysis& symbolic;
  std::size_t nodes = pattern.nodes(), count = symbolic.factor->nsuper;
  std::vector<std::int32_t> front_of =
      std::vector<std::int32_t>(nodes);  ///< front that eliminates the k-th node
  std::vector<std::int32_t> elimination = std::vector<std::int32_t>(nodes);  ///< inverse of the order
  std::vector<std::int32_t> parent = std::vector<std::int32_t>(count, -1);
  Fronts fronts = {};

  const std::int32_t* ints(const void* list) const { return static_cast<const std::int32_t*>(list); }

  void read_supernodes() {
    const std::int32_t *order = ints(symbolic.factor->Perm), *first = ints(symbolic.factor->super);
    const std::int32_t *rows_begin = ints(symbolic.factor->pi), *rows = ints(symbolic.factor->s);
    fronts.order.assign(order, order + nodes);
    fronts.row.assign(rows, rows + rows_begin[count]);
    fronts.relative.assign(fronts.row.size(), 0);
    fronts.front.resize(count);
    for (std::size_t k = 0; k < nodes; ++k)
      elimination[static_cast<std::size_t>(order[k])] = static_cast<std::int32_t>(k);
    for (std::size_t s = 0; s < count; ++s) {
      Fronts::Front& f = fronts.front[s];
      f.first = static_cast<std::uint32_t>(first[s]);
      f.pivots = static_cast<std::uint32_t>(first[s + 1] - first[s]);
      f.rows_at = static_cast<std::size_t>(rows_begin[s]);
      f.rows = static_cast<std::uint32_t>(rows_begin[s + 1] - rows_begin[s]);
      f.factor_at = fronts.factor_size;
      fronts.factor_size += std::size_t{2} * f.rows * f.pivots;
      fronts.largest_front = std::max<std::size_t>(fronts.largest_front, f.rows);
      std::fill_n(front_of.begin() + first[s], f.pivots, static_cast<std::int32_t>(s));
    }
  }

  /// The parent is the front of the first node left over. Depths, computed from the roots down, choose the
  /// stack.
  void join_parents() {
    std::vector<std::uint32_t> children(count + 1, 0);
    for (std::size_t s = count; s-- > 0;) {
      Fronts::Front& f = fronts.front[s];
      if (f.rows == f.pivots) continue;
      parent[s] = front_of[static_cast<std::size_t>(fronts.row[f.rows_at + f.pivots])];
      const Fronts::Front& p = fronts.front[static_cast<std::size_t>(parent[s])];
      f.stack = 1 - p.stack;
      ++children[static_cast<std::size_t>(parent[s])];
      // Both lists ascend, and the parent contains every node that is left over.
      std::size_t at = 0;
      for (std::size_t r = f.pivots; r < f.rows; ++r) {
        const std::int32_t node = fronts.row[f.rows_at + r];
        while (fronts.row[p.rows_at + at] != node) ++at;
        fronts.relative[f.rows_at + r] = static_cast<std::int32_t>(at);
      }
    }
    std::uint32_t end = 0;
    for (std::size_t s = 0; s < count; ++s) {
      fronts.front[s].children_end = end;  // start for now; the loop below moves it to the end
      end += children[s];
    }
    fronts.child.resize(end);
    for (std::size_t s = 0; s < count; ++s) {
      if (parent[s] < 0) continue;
      fronts.child[fronts.front[static_cast<std::size_t>(parent[s])].children_end++] =
          static_cast<std::uint32_t>(s);
    }
  }

  /// The order of the tree is a postorder, so children come immediately before their parent on their stack.
  void place_updates() {
    std::size_t top[2] = {0, 0};
    std::uint32_t child_at = 0;
    for (Fronts::Front& f : fronts.front) {
      for (; child_at < f.children_end; ++child_at) {
        const Fronts::Front& c = fronts.front[fronts.child[child_at]];
        top[c.stack] = std::min(top[c.stack], c.update_at);
      }
      f.update_at = top[f.stack];
      const std::size_t rest = f.rows - f.pivots;
      top[f.stack] += rest * rest;
      fronts.stack_size[f.stack] = std::max(fronts.stack_size[f.stack], top[f.stack]);
    }
  }

  /// Each entry (i, j) goes to the front that eliminates the first of the two nodes.
  void place_entries() {
    const auto column_of = [&](std::int32_t p) {
      return elimination[static_cast<std::size_t>(pattern.column[static_cast<std::size_t>(p)])];
    };
    const auto front_at = [&](std::size_t i, std::int32_t p) {
      return static_cast<std::size_t>(
          front_of[static_cast<std::size_t>(std::min(elimination[i], column_of(p)))]);
    };
    std::vector<std::uint32_t> entries(count, 0);
    for (std::size_t i = 0; i < nodes; ++i) {
      for (std::int32_t p = pattern.begin[i]; p < pattern.begin[i + 1]; ++p) ++entries[front_at(i, p)];
    }
    std::uint32_t end = 0;
    for (std::size_t s = 0; s < count; ++s) {
      fronts.front[s].entries_end = end;
      end += entries[s];
    }
    fronts.entry.resize(end);
    for (std::size_t i = 0; i < nodes; ++i) {
      for (std::int32_t p = pattern.begin[i]; p < pattern.begin[i + 1]; ++p) {
        Fronts::Front& f = fronts.front[front_at(i, p)];
        const std::int32_t row = elimination[i], column = column_of(p);
        const auto pivot = static_cast<std::size_t>(std::min(row, column)) - f.first;
        const auto first = fronts.row.begin() + static_cast<std::ptrdiff_t>(f.rows_at);
        const auto below =
            static_cast<std::size_t>(std::lower_bound(first, first + f.rows, std::max(row, column)) - first);
        const std::size_t upper = row >= column ? 0 : std::size_t{f.rows} * f.pivots;
        fronts.entry[f.entries_end++] = {p, static_cast<std::int32_t>(i),
                                         f.factor_at + upper + pivot * f.rows + below};
      }
    }
  }
};
}  // namespace

Fronts Fronts::of(const Ordering& ordering) {
  const CholmodAnalysis symbolic(*ordering.pattern(), CHOLMOD_GIVEN, ordering.order(), CHOLMOD_SUPERNODAL);
  FrontsBuilder builder{*ordering.pattern(), symbolic};
  builder.read_supernodes();
  builder.join_parents();
  builder.place_updates();
  builder.place_entries();
  return std::move(builder.fronts);
}

void FrontalLu::assemble(const Fronts::Front& f, const Jacobian& matrix, std::size_t entry,
                         std::size_t child) {
  const Fronts& all = *fronts_;
  double* factors = factors_.get();
  const std::size_t size = std::size_t{f.rows} * f.pivots, rest = f.rows - f.pivots;
  double *lower = factors + f.factor_at, *upper = lower + size, *update = stack_[f.stack].get() + f.update_at;
  std::fill_n(lower, 2 * size, 0.0);
  std::fill_n(update, rest * rest, 0.0);
  const double* a = matrix.values().data();
  for (; entry < f.entries_end; ++entry) {
    const Fronts::Entry& e = all.entry[entry];
    factors[e.at] = a[e.place] * reciprocal_scale_[e.row];
  }
  for (; child < f.children_end; ++child) {
    const Fronts::Front& c = all.front[all.child[child]];
    const std::int32_t* to = all.relative.data() + c.rows_at + c.pivots;
    const std::size_t m = c.rows - c.pivots;
    const std::size_t among_pivots =
        static_cast<std::size_t>(std::lower_bound(to, to + m, static_cast<std::int32_t>(f.pivots)) - to);
    const double* from = stack_[c.stack].get() + c.update_at;
    for (std::size_t j = 0; j < m; ++j, from += m) {
      const auto column = static_cast<std::size_t>(to[j]);
      if (j < among_pivots) {
        double* l = lower + column * f.rows;
        for (std::size_t i = j; i < m; ++i) l[to[i]] += from[i];
        double* u = upper + column;
        for (std::size_t i = 0; i < j; ++i) u[static_cast<std::size_t>(to[i]) * f.rows] += from[i];
      } else {
        double* u = upper + column;
        for (std::size_t i = 0; i < among_pivots; ++i) u[static_cast<std::size_t>(to[i]) * f.rows] += from[i];
        double* rest_column = update + (column - f.pivots) * rest - f.pivots;
        for (std::size_t i = among_pivots; i < m; ++i) rest_column[to[i]] += from[i];
      }
    }
  }
}

bool FrontalLu::factor(const Jacobian& matrix, Pivots pivots) {
  const Fronts& all = *fronts_;
  const JacobianPattern& pattern = *matrix.pattern();
  const std::size_t n = pattern.nodes();
  if (!factors_) {
    room_ = aligned<double>(kernels::front_room);
    largest_ = aligned<double>(all.largest_front);
    for (const int k : {0, 1}) stack_[k] = in_large_pages(all.stack_size[k]);
    factors_ = in_large_pages(all.factor_size);
  }
  reciprocal_scale_.resize(static_cast<Eigen::Index>(n));
  // Largest magnitude in each column, of the matrix and of U.
  Vector before = Vector::Zero(static_cast<Eigen::Index>(n)), after = before;
  for (std::size_t i = 0; i < n; ++i) {
    double largest = 0;
    for (std::int32_t p = pattern.begin[i]; p < pattern.begin[i + 1]; ++p)
      largest = std::max(largest, std::abs(matrix.values()[static_cast<std::size_t>(p)]));
    if (largest == 0) return false;
    const double by = reciprocal_scale_[static_cast<Eigen::Index>(i)] = 1 / largest;
    for (std::int32_t p = pattern.begin[i]; p < pattern.begin[i + 1]; ++p) {
      double& column = before[pattern.column[static_cast<std::size_t>(p)]];
      column = std::max(column, std::abs(matrix.values()[static_cast<std::size_t>(p)]) * by);
    }
  }
  const Flushing flushing;
  double smallest = std::numeric_limits<double>::infinity(), largest = 0;
  std::size_t entry = 0, child = 0;
  for (const Fronts::Front& f : all.front) {
    assemble(f, matrix, entry, child);
    entry = f.entries_end, child = f.children_end;
    double* lower = factors_.get() + f.factor_at;
    kernels::eliminate({f.rows, f.pivots, lower, lower + std::size_t{f.rows} * f.pivots,
                        stack_[f.stack].get() + f.update_at, largest_.get(), room_.get()});
    for (std::size_t c = 0; c < f.pivots; ++c) {
      const double signed_pivot = lower[c * (f.rows + 1)], pivot = std::abs(signed_pivot);
      if (!(pivot > 0) || (pivots == Pivots::positive && signed_pivot < 0)) return false;
      smallest = std::min(smallest, pivot);
      largest = std::max(largest, pivot);
      largest_[c] = std::max(largest_[c], pivot);
    }
    for (std::size_t r = 0; r < f.rows; ++r) {
      double& column = after[all.order[static_cast<std::size_t>(all.row[f.rows_at + r])]];
      column = std::max(column, largest_[r]);
    }
  }
  if (pivots == Pivots::positive) return true;
  if (!(smallest > smallest_pivot * largest)) return false;
  for (Eigen::Index k = 0; k < after.size(); ++k) {
    if (!(after[k] < largest_growth * before[k])) return false;
  }
  return true;
}

// R^-1 M = L U with row scales R, so M^-1 = U^-1 L^-1 R^-1 and M^-T = R^-1 L^-T U^-T.
void FrontalLu::substitute(Vector& x, bool transposed) {
  const Fronts& all = *fronts_;
  const Eigen::Index n = x.size();
  const Flushing flushing;
  ordered_.resize(n);
  local_.resize(static_cast<Eigen::Index>(all.largest_front));
  if (!transposed) x.array() *= reciprocal_scale_.array();
  for (Eigen::Index k = 0; k < n; ++k) ordered_[k] = x[all.order[static_cast<std::size_t>(k)]];
  for (const Fronts::Front& f : all.front) {
    const std::int32_t* row = all.row.data() + f.rows_at;
    const double *lower = factors_.get() + f.factor_at, *upper = lower + std::size_t{f.rows} * f.pivots;
    local_.head(f.pivots) = ordered_.segment(f.first, f.pivots);
    local_.segment(f.pivots, f.rows - f.pivots).setZero();
    kernels::solve_forward(f.rows, f.pivots, transposed ? upper : lower, transposed ? lower : nullptr,
                           local_.data());
    ordered_.segment(f.first, f.pivots) = local_.head(f.pivots);
    for (std::size_t r = f.pivots; r < f.rows; ++r) ordered_[row[r]] += local_[static_cast<Eigen::Index>(r)];
  }
  for (auto front = all.front.rbegin(); front != all.front.rend(); ++front) {
    const Fronts::Front& f = *front;
    const std::int32_t* row = all.row.data() + f.rows_at;
    const double *lower = factors_.get() + f.factor_at, *upper = lower + std::size_t{f.rows} * f.pivots;
    for (std::size_t r = 0; r < f.rows; ++r) local_[static_cast<Eigen::Index>(r)] = ordered_[row[r]];
    kernels::solve_backward(f.rows, f.pivots, transposed ? lower : upper, transposed ? nullptr : lower,
                            local_.data());
    ordered_.segment(f.first, f.pivots) = local_.head(f.pivots);
  }
  for (Eigen::Index k = 0; k < n; ++k) x[all.order[static_cast<std::size_t>(k)]] = ordered_[k];
  if (transposed) x.array() *= reciprocal_scale_.array();
}

}  // namespace ness::sim
