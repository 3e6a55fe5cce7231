#include <catch2/catch.hpp>

#include "core/device/toy_device.hpp"

using namespace ness;

namespace {

// A model of which only the matrix is used.
class Given final : public Model {
 public:
  explicit Given(Matrix g) : g_(std::move(g)) {}
  std::size_t free_nodes() const override { return static_cast<std::size_t>(g_.rows()); }
  std::size_t parameters() const override { return 0; }
  Vector currents(const Drive&, const Vector& potential) const override { return -g_ * potential; }
  Matrix conductance(const Drive&, const Vector&) const override { return g_; }
  void add_gradient(std::span<const Drive>, std::span<const Vector>, std::span<const Vector>,
                    Eigen::Ref<Vector>) const override {}
  Vector costate(const Vector& cotangent) const {
    const Drive drive;
    const Vector potential = Vector::Zero(cotangent.size());
    Vector result;
    costates({&drive, 1}, {&potential, 1}, {&cotangent, 1}, {&result, 1});
    return result;
  }

 private:
  Matrix g_;
};

}  // namespace

TEST_CASE("costates solve the transposed system", "[model]") {
  // (-G)^T = [[2, 0], [1, 4]]: lambda = (c0 / 2, (c1 - c0 / 2) / 4), exact in binary.
  const Given model((Matrix(2, 2) << -2, -1, 0, -4).finished());
  CHECK(model.costate((Vector(2) << 3, 5).finished()) == (Vector(2) << 1.5, 0.875).finished());
  // Needs pivoting: (-G)^T = [[0, 1], [2, 0]].
  const Given swapped((Matrix(2, 2) << 0, -2, -1, 0).finished());
  CHECK(swapped.costate((Vector(2) << 3, 5).finished()) == (Vector(2) << 2.5, 3).finished());
}

TEST_CASE("a singular or undefined matrix gives a costate of NaN", "[model]") {
  const Vector c = Vector::Ones(2);
  CHECK(
      Given((Matrix(2, 2) << 1, -1, -1, 1).finished()).costate(c).array().isNaN().all());  // a network
                                                                                           // without a ground
  // 0.1 + 0.2 is not exactly 0.3: singular except for one rounding.
  CHECK(Given((Matrix(2, 2) << 0.1 + 0.2, 1, 0.3, 1).finished()).costate(c).array().isNaN().all());
  CHECK(Given(Matrix::Constant(2, 2, std::nan(""))).costate(c).array().isNaN().all());
  CHECK(Given(-Matrix::Identity(2, 2)).costate((Vector(2) << 1, INFINITY).finished()).array().isNaN().all());
  CHECK(Given(-1e-12 * Matrix::Identity(2, 2)).costate(c).allFinite());  // small is not singular
  const Given model(-Matrix::Identity(2, 2));
  const Drive drive;
  std::vector<Vector> none;
  CHECK_THROWS_WITH(model.costates({&drive, 1}, none, none, none), Catch::Contains("costates of 1 drives"));
}

TEST_CASE("the toy network's conductance matrix is the derivative of its currents", "[model]") {
  toy::Options options;
  options.skew = 0.1;
  const toy::Network network(options);
  const Vector theta = network.example_theta(), levels = (Vector(2) << 0.7, -0.4).finished();
  const Vector mu = (Vector(3) << 0.1, 0.3, -0.2).finished();
  Drive drive;
  drive.theta = Parameters::of(theta);
  drive.clamp = pattern_of(levels);
  const Matrix g = network.conductance(drive, mu);
  for (int k = 0; k < 3; ++k) {
    const double h = 1e-5;
    Vector up = mu, down = mu;
    up[k] += h;
    down[k] -= h;
    const Vector column =
        -(network.currents(theta, levels, up) - network.currents(theta, levels, down)) / (2 * h);
    CHECK((column - g.col(k)).norm() < 1e-9);  // h^2 times third derivatives of order 1, plus rounding / h
  }
}
