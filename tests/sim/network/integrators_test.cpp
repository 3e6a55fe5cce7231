// The second and third opinion, against closed forms.
#include <catch2/catch.hpp>

#include <cmath>

#include "sim/network/integrators.hpp"
#include "sim/network/networks.hpp"

using namespace integrators;

TEST_CASE("CVODE and Radau follow a stiff linear system and the logistic equation") {
  // y1' = -1e6 (y1 - cos t) - sin t: cos t from y1 = 1; y2' = y2 (1 - y2): logistic.
  System system;
  system.rate = [](double t, const VectorXd& y) {
    return VectorXd(VectorXd{{-1e6 * (y[0] - std::cos(t)) - std::sin(t), y[1] * (1 - y[1])}});
  };
  system.jacobian = [](double, const VectorXd& y) { return MatrixXd{{-1e6, 0}, {0, 1 - 2 * y[1]}}; };
  const VectorXd start{{1, 1e-3}};
  for (auto make : {cvode, radau}) {
    const auto path = make(system, start, Tolerance{});
    for (const double t : {0.5, 3.0, 8.0, 20.0}) {
      path->advance(t);
      // Errors of 1e-10 a step add up over hundreds of steps.
      CHECK(std::abs(path->state()[0] - std::cos(t)) < 1e-7);
      CHECK(std::abs(path->state()[1] - 1 / (1 + 999 * std::exp(-t))) < 1e-7);
    }
  }
}

TEST_CASE("the equations of dots, written a second time, are those of the network") {
  using namespace networks;
  NetworkSpec spec = random_dots({2, 3, 1}, 7, 4, 0.6, true);
  const Network network(spec);
  const Vector theta = network.theta(), levels{{1.3, -2.1}};
  const System system = dots(spec, levels);
  const Boundary b = boundary(theta, {1.3, -2.1});
  const auto work = network.workspace();
  network.impose(b, *work);
  Random random(3);
  Vector mu(4), unbalanced;
  for (double& x : mu) x = 3 * random.normal();
  Matrix jacobian;
  network.evaluate(*work, mu, unbalanced, &jacobian);
  const Vector C = network.capacity(mu);
  CHECK((system.rate(0, mu) - unbalanced.cwiseQuotient(C)).cwiseAbs().maxCoeff() < 1e-13);
  CHECK((system.jacobian(0, mu) + Matrix(C.cwiseInverse().asDiagonal() * jacobian)).cwiseAbs().maxCoeff() <
        1e-13);
}
