// What data can say of unknowns.
#pragma once

#include "ness/device/vector.hpp"

namespace ness {

/// Singular values below this share of the largest are zero.
constexpr double negligible = 1e-7;

/// The principal directions of the Fisher matrix J^T J, from the singular values of J.
struct Fisher {
  Matrix directions;  // [n_unknowns x n_unknowns], columns
  Vector singular;    // [n_unknowns], descending; 0 beyond the number of readings
  Eigen::Index rank = 0;
  Matrix identified() const { return directions.leftCols(rank); }
  Matrix unknown() const { return directions.rightCols(directions.cols() - rank); }
};

/// Of J [n_residuals x (nuisances, n_unknowns)], in units of the noise, the rows of the nuisances' own
/// distribution among them: what is left for the unknowns after `nuisances` columns. A direction whose
/// standard error is beyond `largest` is not identified.
Fisher fisher_of(const Matrix& jacobian, double largest, Eigen::Index nuisances = 0);

}  // namespace ness
