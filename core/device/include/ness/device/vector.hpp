// Vectors and matrices in public interfaces.
#pragma once

#include <Eigen/Core>

namespace ness {

using Vector = Eigen::VectorXd;
using Matrix = Eigen::MatrixXd;
/// Row-major: one row a sample.
using RowMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using VectorView = Eigen::Ref<const Vector>;

}  // namespace ness
