// Apart: Eigen's singular values take as long to compile as all else in this room.
#include "fisher.hpp"

#include <Eigen/QR>
#include <Eigen/SVD>
#include <algorithm>

namespace ness {

Fisher fisher_of(const Matrix& jacobian, double largest, Eigen::Index nuisances) {
  const Eigen::Index p = jacobian.cols() - nuisances;
  Matrix R;
  if (jacobian.rows() > jacobian.cols()) {
    const Eigen::HouseholderQR<Matrix> qr(jacobian);
    R = qr.matrixQR().block(nuisances, nuisances, p, p).triangularView<Eigen::Upper>();
  } else if (nuisances > 0) {
    const Eigen::HouseholderQR<Matrix> qr(jacobian);
    const Matrix whole = qr.matrixQR().triangularView<Eigen::Upper>();
    R = whole.bottomRightCorner(whole.rows() - nuisances, p);
  } else {
    R = jacobian;
  }
  const Eigen::BDCSVD<Matrix> svd(R, Eigen::ComputeFullV);
  Fisher fisher;
  fisher.directions = svd.matrixV();
  fisher.singular = Vector::Zero(p);
  fisher.singular.head(svd.singularValues().size()) = svd.singularValues();
  const double least = std::max(negligible * fisher.singular[0], 1 / largest);
  while (fisher.rank < p && fisher.singular[fisher.rank] > least) ++fisher.rank;
  return fisher;
}

}  // namespace ness
