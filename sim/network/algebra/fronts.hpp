// Sparse LU by fronts (multifrontal): nodes with the same neighbours are eliminated together, in dense
// matrices.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/aligned.hpp"
#include "algebra/sparse_solvers.hpp"

namespace ness::sim {

/// Fronts of a pattern: the nodes that each eliminates, and the memory layout. (J. W. H. Liu, SIAM Rev. 34
/// (1992) 82; the supernodes are CHOLMOD's, merged where that adds few zeros.)
struct Fronts {
  struct Front {
    /// Positions in `row`, in the factors, and in one of the two stacks of updates.
    std::size_t rows_at = 0, factor_at = 0, update_at = 0;
    /// First node eliminated (in elimination order), number of pivots, size of the front.
    std::uint32_t first = 0, pivots = 0, rows = 0;
    std::uint32_t children_end = 0, entries_end = 0;  ///< ends of its parts of `child` and `entry`
    /// Stack of its update; the parent's update is on the other stack.
    std::uint32_t stack = 0;
  };
  struct Entry {
    std::int32_t place, row;  ///< position and row in the pattern
    std::size_t at;           ///< position in the factors
  };
  std::vector<Front> front;          ///< children before their parents
  std::vector<std::uint32_t> child;  ///< fronts by parent
  std::vector<Entry> entry;          ///< entries of the pattern, by front
  std::vector<std::int32_t> order;   ///< [n] the node eliminated k-th
  std::vector<std::int32_t> row;     ///< each front's nodes, ascending in elimination order
  /// Like `row`, without the pivots: index of the node in the parent's front.
  std::vector<std::int32_t> relative;
  std::size_t factor_size = 0, stack_size[2] = {0, 0}, largest_front = 0;

  /// Throws std::bad_alloc if memory is insufficient, or the factors exceed what CHOLMOD can index.
  static Fronts of(const Ordering& ordering);
};

/// LU with pivots on the diagonal.
class FrontalLu {
 public:
  explicit FrontalLu(std::shared_ptr<const Fronts> fronts) : fronts_(std::move(fronts)) {}
  enum class Pivots { any, positive };
  /// False if the matrix is singular to working precision, or if entries grow so much that pivots must be
  /// searched for. With Pivots::positive: false at the first pivot that is not positive. Throws
  /// std::bad_alloc.
  bool factor(const Jacobian& matrix, Pivots pivots);
  void solve(Vector& x) { substitute(x, false); }            ///< x := M^-1 x
  void solve_transposed(Vector& x) { substitute(x, true); }  ///< x := M^-T x

 private:
  void assemble(const Fronts::Front& f, const Jacobian& matrix, std::size_t entry, std::size_t child);
  void substitute(Vector& x, bool transposed);
  std::shared_ptr<const Fronts> fronts_;
  Aligned<double> factors_, stack_[2], room_, largest_;
  Vector reciprocal_scale_;  // of the rows: the scaled matrix has entries of at most 1
  Vector ordered_, local_;
};

}  // namespace ness::sim
