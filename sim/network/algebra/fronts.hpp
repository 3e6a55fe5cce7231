// Sparse LU by fronts: nodes with the same neighbours are eliminated together, in dense matrices.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/aligned.hpp"
#include "algebra/sparse_solvers.hpp"

namespace ness::sim {

/// Which nodes of a pattern are eliminated together, in which front, and where everything lies. (J. W. H. Liu, SIAM Rev. 34 (1992) 82; supernodes
/// are CHOLMOD's, those that cost few zeros merged.)
struct Fronts {
  struct Front {
    std::size_t rows_at = 0, factor_at = 0, update_at = 0;  ///< in `row`, in the factors, in one of the two stacks of updates
    std::uint32_t first = 0, pivots = 0, rows = 0;          ///< first node eliminated (in elimination order), how many, size of the front
    std::uint32_t children_end = 0, entries_end = 0;        ///< ends of its parts of `child` and `entry`
    std::uint32_t stack = 0;                                ///< which stack its update lies on: the parent's is the other one
  };
  struct Entry {
    std::int32_t place, row;  ///< in the pattern; its row there
    std::size_t at;           ///< in the factors
  };
  std::vector<Front> front;           ///< children before their parents
  std::vector<std::uint32_t> child;   ///< fronts by parent
  std::vector<Entry> entry;           ///< the pattern's places by front
  std::vector<std::int32_t> order;    ///< [n] the node eliminated k-th
  std::vector<std::int32_t> row;      ///< each front's nodes, ascending in elimination order
  std::vector<std::int32_t> relative; ///< like `row`, behind the pivots: where in the parent's front the node is
  std::size_t factor_size = 0, stack_size[2] = {0, 0}, largest_front = 0;

  /// Throws std::bad_alloc where memory does not suffice, or the factors outgrow what CHOLMOD can number.
  static Fronts of(const Ordering& ordering);
};

/// LU with pivots on the diagonal.
class FrontalLu {
 public:
  explicit FrontalLu(std::shared_ptr<const Fronts> fronts) : fronts_(std::move(fronts)) {}
  enum class Pivots { any, positive };
  /// False where the matrix is singular to working precision, or entries grow so much that pivots should be looked for; or, where positive
  /// pivots are asked for, at the first that is not. Throws std::bad_alloc.
  bool factor(const Jacobian& matrix, Pivots pivots);
  void solve(Vector& x) { substitute(x, false); }            ///< x := M^-1 x
  void solve_transposed(Vector& x) { substitute(x, true); }  ///< x := M^-T x

 private:
  void assemble(const Fronts::Front& f, const Jacobian& matrix, std::size_t entry, std::size_t child);
  void substitute(Vector& x, bool transposed);
  std::shared_ptr<const Fronts> fronts_;
  Aligned<double> factors_, stack_[2], room_, largest_;
  Vector reciprocal_scale_;              // of the rows: the matrix that is factored has entries of at most 1
  Vector ordered_, local_;
};

}  // namespace ness::sim
