#include <catch2/catch.hpp>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "ness/network/lattice.hpp"
#include "ness/network/steady_state.hpp"
#include "ness/network/transient.hpp"
#include "sim/network/cvode.hpp"
#include "sim/network/networks.hpp"
#include "solver/rodas.hpp"

using namespace networks;

namespace {
// A node of capacity C behind a conductance G, with a leak g: tau = C/(G + g).
Network rc(double G, double g, double C) {
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(g, 0, C));
  add_edge(spec, 0, 1, linear(G));
  spec.graph.outputs = {1};
  return Network(spec);
}
}  // namespace

TEST_CASE("a step charges an RC node exponentially, with the time constant C/(G + g)") {
  const double G = 2, g = 0.5, C = 3, x = 1.5, tau = C / (G + g);
  const Network network = rc(G, g, C);
  const Vector theta = network.theta();
  const double times[] = {0, 0.1, 1, 3, 30};
  const auto states = follow(network, boundary(theta, {x}), network.rest(), times);
  for (std::size_t i = 0; i < 5; ++i) {
    // Errors of at most 1e-8 per step add up over a hundred steps, but decay with tau; between the ends of
    // steps dense output is used.
    CHECK(states[i][0] == Approx(x * G / (G + g) * (1 - std::exp(-times[i] / tau))).margin(1e-7));
  }
}

TEST_CASE("a ramp lags behind by rate times tau, and then settles") {
  const double G = 2, g = 0.5, C = 3, x = -1.5, rate = 0.5, tau = C / (G + g), gain = G / (G + g);
  const Network network = rc(G, g, C);
  const Vector theta = network.theta();
  TransientOptions options;
  options.clamp_rate = rate;
  const double end = std::abs(x) / rate;
  const double times[] = {1.0, end, end + 2};
  const auto states = follow(network, boundary(theta, {x}), network.rest(), times, options);
  auto ramp = [&](double t) { return -gain * rate * (t - tau * (1 - std::exp(-t / tau))); };
  CHECK(states[0][0] == Approx(ramp(1)).margin(1e-7));
  CHECK(states[1][0] == Approx(ramp(end)).margin(1e-7));
  CHECK(states[2][0] == Approx(gain * x + (ramp(end) - gain * x) * std::exp(-2 / tau)).margin(1e-7));
}

TEST_CASE("an enzyme pool fills with its concentration, not its potential, relaxing linearly") {
  // Far below saturation and without leak of the product, V dc/dt = (Vf/Ka)(c_s - c): an exponential in c.
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, [] {
    NodeProperties p;
    p.capacity = 2;
    p.mu_init = std::log(1e-6);
    return p;
  }());
  const double K = 1e6;
  add_edge(spec, 0, 1, enzyme(3 * K, K, K, std::numeric_limits<double>::infinity()));
  spec.graph.outputs = {1};
  const Network network(spec);
  const Vector theta = network.theta();
  const double times[] = {0.3, 1, 2};
  const auto states = follow(network, boundary(theta, {0}), network.rest(), times);
  for (std::size_t i = 0; i < 3; ++i) {
    const double c = 1 + (1e-6 - 1) * std::exp(-3 * times[i] / 2);
    CHECK(std::exp(states[i][0]) == Approx(c).epsilon(5e-6));  // the effect of saturation is 1/K
  }
}

TEST_CASE("a pool that a leak empties within a finite time is followed through it") {
  // dc/dt = -g (ln c + 60), so that the time until mu is e^-60/g (Ei(60) - Ei(60 + mu)). From mu = -40 on it
  // falls by kT in less than a unit in the last place of the time.
  NetworkSpec spec;
  add_node(spec, true);
  add_node(spec, false, leak(0.1, -60, 1));
  add_edge(spec, 0, 1, enzyme(1e-40, 1, 1, std::numeric_limits<double>::infinity()));
  spec.graph.outputs = {1};
  const Network network(spec);
  const Vector theta = network.theta();
  const auto until = [](double mu) {
    return std::exp(-60) / 0.1 * (std::expint(60.0) - std::expint(60 + mu));
  };
  const double times[] = {until(-1), until(-5), 2 * until(-59)};
  const auto states = follow(network, boundary(theta, {-60}), network.rest(), times);
  // Errors of 1e-8 a step in some hundred steps; near the end an error of the time weighs e^5.
  CHECK(states[0][0] == Approx(-1).margin(1e-5));
  CHECK(states[1][0] == Approx(-5).margin(1e-3));
  CHECK(states[2][0] == Approx(-60).margin(1e-7));
}

TEST_CASE(
    "the steady-state solver ends where the transient of a mixed network ends, with unequal capacities") {
  const Network network(mixed());
  const Vector theta = network.theta();
  const Boundary b = boundary(theta, {1.2, -0.4});
  const double times[] = {500};
  const SteadyState state = relax(network, b, network.rest());
  REQUIRE(state.verdict == Verdict::converged);
  CHECK((follow(network, b, network.rest(), times).front() - state.potential).cwiseAbs().maxCoeff() < 1e-7);
}

namespace {
// log2 of the factor by which an error falls when steps are halved: the order, if errors are far above
// rounding.
double order(double coarse, double fine) { return std::log2(coarse / fine); }

struct Steps {
  Vector end, between;  // after all steps, and at 0.37 of the last one by dense output
};
// Equal steps over `time`, of a network whose levels move from 0 at `velocity` (empty: constant at the
// boundary's levels).
Steps equal_steps(const Network& network, const Boundary& b, double time, int n,
                  const Vector& velocity = {}) {
  Rodas path(network, b);
  path.begin(0, network.rest(), velocity.size() > 0 ? Vector::Zero(velocity.size()) : b.clamp, velocity);
  const double h = time / n;
  for (int i = 0; i < n; ++i) {
    REQUIRE(path.attempt(h));
    REQUIRE(path.accept((i + 1) * h));
  }
  return {path.state(), path.at(time - 0.63 * h)};
}
}  // namespace

TEST_CASE("RODAS is of order 4, at rest and while levels move, and its dense output of order 3 at least") {
  // All laws, unequal capacities, pools whose capacity depends on the potential.
  const Network network(mixed());
  const Vector theta = network.theta();
  const Boundary b = boundary(theta, {1.2, -0.4});
  TransientOptions exact;
  exact.relative_tolerance = 1e-12, exact.absolute_tolerance = 1e-13;
  const double time = 1;
  for (const bool moving : {false, true}) {
    INFO("moving " << moving);
    // Both levels arrive at `time` or later: no kink before.
    const Vector velocity = moving ? Vector::Constant(2, 1.1).cwiseProduct(Vector{{1, -1}}) : Vector{};
    Boundary ramped = b;
    if (moving) ramped.clamp = velocity * 1.5, exact.clamp_rate = 1.1;
    std::vector<double> at_end, between;
    for (const int n : {8, 16, 32}) {
      const double times[] = {time - 0.63 * time / n, time};
      const std::vector<Vector> truth = follow_by_cvode(network, ramped, network.rest(), times, exact);
      const Steps found = equal_steps(network, ramped, time, n, velocity);
      between.push_back((found.between - truth[0]).cwiseAbs().maxCoeff());
      at_end.push_back((found.end - truth[1]).cwiseAbs().maxCoeff());
    }
    INFO("errors at the end " << at_end[0] << " " << at_end[1] << " " << at_end[2] << ", between "
                              << between[0] << " " << between[1] << " " << between[2]);
    CHECK(order(at_end[1], at_end[2]) > 3.7);
    CHECK(order(at_end[0], at_end[1]) > 3.4);
    // Global order: that of the method; dense output alone has a local error of order h^4.
    CHECK(order(between[1], between[2]) > 3.4);
  }
}

TEST_CASE("transients agree with CVODE's at tight tolerances: steps, ramps, dots, mixed laws, held nodes") {
  struct Case {
    const char* what;
    NetworkSpec spec;
  };
  const Case cases[] = {
      {"mixed laws", mixed()},
      {"dots", random_dots({4, 6, 2}, 3, 0.7)},
      {"dots of unequal temperatures and capacities", random_dots({4, 6, 2}, 4, 0.5, 0.2, true)}};
  TransientOptions exact, usual;
  exact.relative_tolerance = 1e-12, exact.absolute_tolerance = 1e-13;
  for (const Case& c : cases) {
    for (const double rate : {std::numeric_limits<double>::infinity(), 0.7, 20.0}) {
      for (const bool held : {false, true}) {
        INFO(c.what << ", rate " << rate << ", held " << held);
        const Network network(c.spec);
        const Vector theta = network.theta();
        Boundary b = boundary(theta, {1.2, -0.4, 0.9, 0});
        b.clamp.conservativeResize(static_cast<Eigen::Index>(network.clamped().size()));
        if (held) b.held = {{0, 0.3}};
        const double times[] = {0, 0.01, 0.3, 1.0, 1.6, 2.5, 7, 60};
        exact.clamp_rate = usual.clamp_rate = rate;
        const auto truth = follow_by_cvode(network, b, network.rest(), times, exact);
        const auto found = follow(network, b, network.rest(), times, usual);
        for (std::size_t i = 0; i < truth.size(); ++i) {
          INFO("time " << times[i]);
          // The default tolerance, 1e-8 |mu| per step, accumulated over a hundred steps.
          CHECK((found[i] - truth[i]).cwiseAbs().maxCoeff() < 3e-7);
        }
        TransientOptions tight = exact;
        tight.relative_tolerance = 1e-10, tight.absolute_tolerance = 1e-11;
        const auto close = follow(network, b, network.rest(), times, tight);
        for (std::size_t i = 0; i < truth.size(); ++i)
          CHECK((close[i] - truth[i]).cwiseAbs().maxCoeff() < 5e-9);
      }
    }
  }
}

TEST_CASE("a transient of a large network is followed by sparse algebra, as by a dense matrix") {
  LatticeOptions options;
  options.sides = {12, 12};
  const NetworkSpec spec = lattice(options);
  const Network sparse(spec, LinearAlgebra::direct), dense(spec, LinearAlgebra::dense);
  const Vector theta = sparse.theta();
  Boundary b;
  b.theta = theta.data();
  b.clamp = Vector::LinSpaced(static_cast<Eigen::Index>(sparse.clamped().size()), -1, 1);
  TransientOptions ramp;
  ramp.clamp_rate = 2;
  const double times[] = {0.2, 3};
  const auto a = follow(sparse, b, sparse.rest(), times, ramp),
             c = follow(dense, b, dense.rest(), times, ramp);
  for (std::size_t i = 0; i < 2; ++i) CHECK((a[i] - c[i]).cwiseAbs().maxCoeff() < 1e-8);
}

TEST_CASE("a transient that cannot be followed says where it stopped") {
  const Network network = rc(1, 1, 1);
  const Vector theta = network.theta();
  TransientOptions options;
  options.max_steps = 3;
  const double times[] = {10.0};
  CHECK_THROWS_WITH(follow(network, boundary(theta, {1}), network.rest(), times, options),
                    Catch::Contains("max_steps = 3") && Catch::Contains("of 10"));
}

TEST_CASE("unusable transients are refused") {
  const Network network = rc(1, 1, 1);
  const Vector theta = network.theta();
  const double backwards[] = {1.0, 0.5};
  CHECK_THROWS_WITH(follow(network, boundary(theta, {0}), network.rest(), backwards),
                    Catch::Contains("time 1 is 0.5"));
  TransientOptions options;
  options.relative_tolerance = 2;
  const double times[] = {1.0};
  CHECK_THROWS_WITH(follow(network, boundary(theta, {0}), network.rest(), times, options),
                    Catch::Contains("relative_tolerance is 2"));
}

// test_network "[.transient-times]": duration of transients compared with CVODE, and their errors, at the
// default tolerances and smaller ones.
TEST_CASE("transients beside CVODE: time", "[.transient-times]") {
  struct Case {
    const char* what;
    NetworkSpec spec;
    double rate, end;
  };
  LatticeOptions options;
  options.sides = {14, 14};
  const double step = std::numeric_limits<double>::infinity();
  const Case cases[] = {{"mixed laws, a step", mixed(), step, 30},
                        {"mixed laws, a ramp", mixed(), 0.5, 30},
                        {"dots 4-8-3, a step", random_dots({4, 8, 3}, 3, 0.5), step, 30},
                        {"dots 4-8-3, a ramp", random_dots({4, 8, 3}, 3, 0.5), 0.5, 30},
                        {"dots 100-30-10, a ramp", random_dots({100, 30, 10}, 5, 0.5), 5, 3},
                        {"a lattice of 196 nodes, a ramp", lattice(options), 1, 30}};
  for (const Case& c : cases) {
    const Network network(c.spec);
    const Vector theta = network.theta();
    Boundary b;
    b.theta = theta.data();
    // no two levels arrive at the same time, which CVODE refuses
    b.clamp = Vector::LinSpaced(static_cast<Eigen::Index>(network.clamped().size()), 0.4, 1.5);
    const double times[] = {0.1 * c.end, c.end};
    TransientOptions exact, asked;
    exact.relative_tolerance = 1e-12, exact.absolute_tolerance = 1e-13,
    exact.clamp_rate = asked.clamp_rate = c.rate;
    const auto truth = follow_by_cvode(network, b, network.rest(), times, exact);
    for (const double tolerance : {1e-6, 1e-8, 1e-10}) {
      asked.relative_tolerance = tolerance, asked.absolute_tolerance = 1e-2 * tolerance;
      const auto measured = [&](auto&& method) {
        std::vector<Vector> states;
        double best = std::numeric_limits<double>::infinity();
        for (int turn = 0; turn < 5; ++turn) {
          const auto began = std::chrono::steady_clock::now();
          states = method();
          best =
              std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
        }
        return std::pair{1e3 * best, std::max((states[0] - truth[0]).cwiseAbs().maxCoeff(),
                                              (states[1] - truth[1]).cwiseAbs().maxCoeff())};
      };
      const auto [ours, our_error] =
          measured([&] { return follow(network, b, network.rest(), times, asked); });
      const auto [theirs, their_error] =
          measured([&] { return follow_by_cvode(network, b, network.rest(), times, asked); });
      std::printf("%-32s %.0e: %8.3f ms, error %.1e; CVODE %8.3f ms, error %.1e; ratio %.2f\n", c.what,
                  tolerance, ours, our_error, theirs, their_error, ours / theirs);
    }
  }
}
