#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "laws/laws.hpp"
#include "ness/device/random.hpp"
#include "ness/network/edge_laws.hpp"
#include "ness/network/network.hpp"
#include "ness/network/steady_state.hpp"
#include "sim/network/networks.hpp"
#include "sim/network/vector_targets.hpp"

using namespace networks;

namespace {
// A star: `n` clamped nodes feed one free node, which feeds a second, so that fan-in, gathered and padded
// edges all occur.
NetworkSpec star(std::uint32_t n, double level_scale, bool unequal, double d, std::uint64_t seed) {
  NetworkSpec spec;
  Random random(seed, 9);
  auto temperature = [&] { return unequal ? std::exp(0.3 * random.normal()) : 1.0; };
  for (std::uint32_t i = 0; i < n; ++i) add_node(spec, true);
  add_node(spec, false, leak(1));
  add_node(spec, false, leak(1));
  for (auto& node : spec.nodes) node.T = temperature();
  for (std::uint32_t i = 0; i < n; ++i)
    add_edge(spec, i, n,
             quantum_dot(std::exp(random.normal()), level_scale * random.normal(), 2 * random.normal(),
                         d * random.normal()));
  for (std::uint32_t i = 0; i < n; i += 2)
    add_edge(spec, n, i,
             quantum_dot(std::exp(random.normal()), level_scale * random.normal(), random.normal(), d));
  add_edge(spec, n, n + 1, quantum_dot(0.3, 0.2, 0.4, d));
  spec.graph.outputs = {n + 1};
  return spec;
}
}  // namespace

TEST_CASE("vector kernels agree with the scalar laws edge by edge, on every target, at extremes too") {
  on_every_target([] {
    for (const std::uint32_t n : {1U, 3U, 4U, 7U, 8U, 9U, 16U, 33U, 600U}) {
      for (const bool unequal : {false, true}) {
        for (const double d : {0.0, 0.7}) {
          for (const double scale : {1.0, 40.0, 900.0}) {
            const Network network(star(n, scale, unequal, d, n));
            const Vector theta = network.theta();
            Random random(n, 4);
            Boundary b;
            b.theta = theta.data();
            b.clamp.resize(n);
            for (double& x : b.clamp) x = (scale > 100 ? 200 : 5) * random.normal();
            Vector potential(2);
            potential << 0.7, -1.3;
            const auto work = network.workspace();
            network.impose(b, *work);
            Vector unbalanced;
            Matrix slope;
            network.evaluate(*work, potential, unbalanced, &slope);
            // The same by the scalar law, summed per node.
            const Vector mu = network.node_potentials(b, potential);
            Vector expected(2), largest = Vector::Zero(2);
            Matrix expected_slope = Matrix::Zero(2, 2);
            for (Eigen::Index k = 0; k < 2; ++k) {
              expected[k] = -potential[k];
              expected_slope(k, k) = 1;
            }
            for (std::size_t e = 0; e < network.spec().edges.size(); ++e) {
              const EdgeCurrent I = network.edge(e, b, mu);
              const GraphEdge& ends = network.spec().graph.edges[e];
              const Eigen::Index s = static_cast<Eigen::Index>(ends.source) - n,
                                 t = static_cast<Eigen::Index>(ends.target) - n;
              if (s >= 0) {
                expected[s] -= I.current;
                expected_slope(s, s) += I.by_source;
                largest[s] += std::abs(I.by_source) + std::abs(I.by_target) + network.spec().edges[e].p[0];
              }
              if (t >= 0) {
                expected[t] += I.current;
                expected_slope(t, t) -= I.by_target;
                largest[t] += std::abs(I.by_source) + std::abs(I.by_target) + network.spec().edges[e].p[0];
              }
              if (s >= 0 && t >= 0) {
                expected_slope(s, t) += I.by_target;
                expected_slope(t, s) -= I.by_source;
              }
            }
            // Exponents are of the size of the level (up to 1e3); an exponential multiplies their rounding of
            // 1e-16 by that size.
            const double tolerance = 1e-15 * (10 + 4 * scale) * (1 + largest.maxCoeff());
            CHECK((unbalanced - expected).cwiseAbs().maxCoeff() < tolerance);
            CHECK((slope - expected_slope).cwiseAbs().maxCoeff() < tolerance);
          }
        }
      }
    }
  });
}

TEST_CASE("the gradient contraction agrees with the scalar laws, on every target and any number of threads") {
  on_every_target([] {
    for (const bool unequal : {false, true}) {
      for (const double d : {0.0, 0.7}) {
        const std::uint32_t n = 21;
        const Network network(star(n, 1, unequal, d, 5));
        const Vector theta = network.theta();
        Random random(8, 4);
        std::vector<Boundary> boundaries(3);
        std::vector<Vector> potential, costate;
        Vector expected = Vector::Zero(theta.size());
        for (Boundary& b : boundaries) {
          b.theta = theta.data();
          b.clamp.resize(n);
          for (double& x : b.clamp) x = random.normal();
          potential.push_back(Vector::Random(2));
          costate.push_back(Vector::Random(2));
          const Vector mu = network.node_potentials(b, potential.back());
          auto at = [&](std::uint32_t node) { return node < n ? 0.0 : costate.back()[node - n]; };
          for (std::size_t e = 0; e < network.spec().edges.size(); ++e) {
            const GraphEdge& ends = network.spec().graph.edges[e];
            const EdgeCurrent I = network.edge(e, b, mu);
            for (std::size_t i = 0; i < 4; ++i) {
              if (network.edge_parameter(e, i) >= 0)
                expected[network.edge_parameter(e, i)] -=
                    (at(ends.source) - at(ends.target)) * I.by_parameter[i];
            }
          }
          for (std::size_t k = 0; k < 2; ++k) {
            expected[static_cast<Eigen::Index>(network.leak_g(k))] -=
                costate.back()[k] * (potential.back()[k] - network.spec().nodes[n + k].mu_ref);
            expected[static_cast<Eigen::Index>(network.leak_mu_ref(k))] +=
                costate.back()[k] * network.spec().nodes[n + k].g;
          }
        }
        Vector one = Vector::Zero(theta.size()), two = one;
        network.add_gradient(boundaries, potential, costate, one, 1);
        network.add_gradient(boundaries, potential, costate, two, 2);
        CHECK((one - expected).cwiseAbs().maxCoeff() < 1e-13 * (1 + expected.cwiseAbs().maxCoeff()));
        CHECK(one == two);  // bit for bit
      }
    }
  });
}

namespace {
constexpr double infinite = std::numeric_limits<double>::infinity();
template <class T>
// largest relative change by rounding to nearest
constexpr double unit = std::numeric_limits<T>::epsilon() / 2;

// Exactly n values, so that a sanitizer detects reads beyond them.
template <class T>
std::unique_ptr<T[]> array(std::size_t n) {
  return std::make_unique<T[]>(n);
}

struct Case {
  Law law = Law::quantum_dot;
  std::size_t n = 1;
  bool one_target = false, unequal = false, with_d = false;
  double kT = 1;
  double level = 1, potential = 1;  // standard deviations, kT
  bool no_current = false, no_inhibition = false;
  std::size_t outlier =
      std::numeric_limits<std::size_t>::max();  // an edge of this level and source potential
  double outlier_level = 0, outlier_potential = 0;
};

// Edges in arrays of one precision, and the law of each in double precision at the same (rounded) parameters
// and potentials. The tolerance of each quantity is the possible effect of rounding: arguments of
// exponentials, of size X, are rounded in a few steps, so that an exponential has a relative error of `unit`
// times a few X, and so have occupations and saturations (which never change by more than the arguments of
// their logarithms).
template <class T>
struct Bundle {
  Case c;
  std::unique_ptr<T[]> p[4], mu_s, mu_t, node_s, node_t, inverse_s, inverse_t, quotient;
  std::vector<EdgeCurrent> law;
  std::vector<double> at_current, at_slope;
  std::vector<std::array<double, 4>> at_parameter;
  kernels::Edges<T> edges;

  Bundle(const Case& described, std::uint64_t seed) : c(described) {
    Random random(seed, 3);
    auto rounded = [](double x) { return static_cast<T>(x); };
    const std::size_t n = c.n, targets = c.one_target ? 1 : n;
    auto potential = [&] {
      return rounded(
          std::clamp(c.kT * c.potential * random.normal(), -c.kT * 3 * c.potential, c.kT * 3 * c.potential));
    };
    mu_s = array<T>(n), mu_t = array<T>(targets), node_s = array<T>(n), node_t = array<T>(targets);
    inverse_s = array<T>(n), inverse_t = array<T>(n), quotient = array<T>(n);
    auto mu0_s = array<T>(n), mu0_t = array<T>(targets), T_s = array<T>(n), T_t = array<T>(targets);
    for (auto& values : p) values = array<T>(n);
    for (std::size_t i = 0; i < n; ++i)
      mu_s[i] = potential(), mu0_s[i] = rounded(c.kT * random.normal()),
      T_s[i] = c.unequal ? rounded(std::exp(0.3 * random.normal())) : T(1);
    for (std::size_t i = 0; i < targets; ++i)
      mu_t[i] = potential(), mu0_t[i] = rounded(c.kT * random.normal()),
      T_t[i] = c.unequal ? rounded(std::exp(0.3 * random.normal())) : T(1);
    for (std::size_t i = 0; i < n; ++i) {
      if (c.law == Law::quantum_dot) {
        p[0][i] = c.no_current ? T(0) : rounded(std::exp(random.normal()));
        p[1][i] = rounded(c.kT * c.level * random.normal());
        p[2][i] = rounded(2 * random.normal());
        p[3][i] = c.with_d ? rounded(random.normal()) : T(0);
      } else {
        for (auto& values : p) values[i] = rounded(std::exp(random.normal()));
        if (c.no_current) p[0][i] = 0;
        if (c.no_inhibition) p[3][i] = std::numeric_limits<T>::infinity();
      }
    }
    if (c.outlier < n)
      p[1][c.outlier] = rounded(c.outlier_level), mu_s[c.outlier] = rounded(c.outlier_potential);
    const double c_ref = c.law == Law::enzyme ? static_cast<double>(rounded(1.4)) : 1;
    auto source = [&](std::size_t i) { return EdgeEnd{mu_s[i], T_s[i], mu0_s[i]}; };
    auto target = [&](std::size_t i) {
      return EdgeEnd{mu_t[c.one_target ? 0 : i], T_t[c.one_target ? 0 : i], mu0_t[c.one_target ? 0 : i]};
    };
    for (std::size_t i = 0; i < n; ++i) {
      const double parameters[4] = {p[0][i], p[1][i], p[2][i], p[3][i]};
      inverse_s[i] = rounded(1 / (c.kT * source(i).T));
      inverse_t[i] = rounded(1 / (c.kT * target(i).T));
      quotient[i] = rounded(std::exp((target(i).mu0 - source(i).mu0) / c.kT));
      law.push_back(edge_current(c.law, parameters, source(i), target(i), c.kT, c_ref));
      tolerate(parameters, source(i), target(i));
    }
    edges.n = n;
    for (std::size_t k = 0; k < c.law->parameters.size(); ++k)
      edges.p[k] = c.law == Law::quantum_dot && k == 3 && !c.with_d ? nullptr : p[k].get();
    edges.mu_s = mu_s.get(), edges.mu_t = mu_t.get(), edges.one_target = c.one_target;
    edges.inverse = rounded(1 / c.kT), edges.quotient = quotient.get();
    edges.inverse_s = inverse_s.get(), edges.inverse_t = inverse_t.get();
    if (c.law == Law::enzyme) {
      kernels::concentrations(n, mu_s.get(), mu0_s.get(), edges.inverse, rounded(c_ref), node_s.get());
      kernels::concentrations(targets, mu_t.get(), mu0_t.get(), edges.inverse, rounded(c_ref), node_t.get());
    } else if (!c.unequal) {
      const std::vector<T> same(n, edges.inverse);
      kernels::exp_minus(n, mu_s.get(), same.data(), node_s.get());
      kernels::exp_minus(targets, mu_t.get(), same.data(), node_t.get());
    }
    if (c.law == Law::enzyme || (c.law == Law::quantum_dot && !c.unequal))
      edges.node_s = node_s.get(), edges.node_t = node_t.get();
  }

  void tolerate(const double* q, const EdgeEnd& s, const EdgeEnd& t) {
    const double difference = std::abs(s.mu - t.mu), ends = std::abs(s.mu) + std::abs(t.mu),
                 mean = 0.5 * std::abs(s.mu + t.mu);
    double current = 0, slope = 0;
    std::array<double, 4> parameter{};
    if (c.law == Law::linear) {
      const double u = 2 * unit<T>;
      current = u * q[0] * ends, slope = u * q[0], parameter = {u * ends, 0, 0, 0};
    } else if (c.law == Law::quantum_dot) {
      const double colder = std::min(s.T, t.T) * c.kT;
      const double u =
          unit<T> *
          (4 + 2 * (std::abs(q[1]) + std::abs(q[2]) * difference + std::abs(q[3]) * mean + ends) / colder);
      const double by_level = u * q[0] / colder;
      current = u * q[0], slope = by_level * (1 + std::abs(q[2]) + std::abs(q[3]));
      parameter = {u, by_level, by_level * difference, by_level * (mean + ends * unit<T>)};
    } else {
      const double u = unit<T> * (8 + 4 * (ends + std::abs(s.mu0) + std::abs(t.mu0)) / c.kT);
      const double saturated =
          1 + std::exp((t.mu0 - s.mu0) / c.kT) * q[2] / q[1];  // 1 + Vr/Vf: bounds |I|/Vf
      current = u * q[0] * saturated, slope = 4 * u * q[0] * saturated * saturated / c.kT;
      parameter = {u * saturated, 4 * current * saturated / q[1], 4 * current * saturated / q[2],
                   4 * current * saturated / q[3]};
      if (std::isinf(q[3])) parameter[3] = std::numeric_limits<double>::min();
    }
    const double tiny = std::numeric_limits<T>::min() * 16;  // denormal numbers are rounded to fewer digits
    at_current.push_back(current + tiny), at_slope.push_back(slope + tiny);
    for (double& x : parameter) x += tiny;
    at_parameter.push_back(parameter);
  }
};

// The largest error in units of the tolerance; NaN and infinity count as larger than any.
struct Worst {
  double ratio = 0;
  void see(double value, double expected, double tolerance) {
    const double error = std::abs(value - expected) / tolerance;
    ratio = std::isfinite(error) ? std::max(ratio, error) : infinite;
  }
};

template <class T>
void check_bundle(const Case& c, std::uint64_t seed) {
  INFO("law " << c.law->name << ", " << sizeof(T) << " bytes, n " << c.n << ", one target " << c.one_target
              << ", unequal T " << c.unequal << ", d " << c.with_d << ", kT " << c.kT << ", level " << c.level
              << ", potential " << c.potential << ", no current " << c.no_current << ", no inhibition "
              << c.no_inhibition);
  const Bundle<T> b(c, seed);
  const std::size_t n = c.n;
  Worst each, gradient, sum;

  const T untouched = 77;
  std::vector<T> current(n + 1, untouched), by_source(n + 1, untouched), by_target(n + 1, untouched);
  kernels::each(c.law, b.edges, current.data(), by_source.data(), by_target.data());
  double total = 0, total_slope = 0, at_total = 0, at_total_slope = 0;
  for (std::size_t i = 0; i < n; ++i) {
    each.see(current[i], b.law[i].current, b.at_current[i]);
    each.see(by_source[i], b.law[i].by_source, b.at_slope[i]);
    each.see(by_target[i], b.law[i].by_target, b.at_slope[i]);
    total += b.law[i].current, total_slope += b.law[i].by_target;
    // Sums: n roundings of partial sums, plus the errors of the terms.
    at_total += b.at_current[i] + static_cast<double>(n) * unit<T> * std::abs(b.law[i].current);
    at_total_slope += b.at_slope[i] + static_cast<double>(n) * unit<T> * std::abs(b.law[i].by_target);
  }
  CHECK(each.ratio <= 1);
  CHECK(std::min({current[n], by_source[n], by_target[n]}) == untouched);
  CHECK(std::max({current[n], by_source[n], by_target[n]}) == untouched);

  Random random(seed, 8);
  std::vector<T> weight(n), by[4];
  for (T& w : weight) w = static_cast<T>(random.normal());
  T* pointers[4] = {};
  for (std::size_t k = 0; k < 4; ++k)
    by[k].assign(n + 1, 0), by[k][n] = untouched, pointers[k] = by[k].data();
  std::vector<std::array<double, 4>> expected(n), tolerance(n);
  for (const bool one_weight : {false, true}) {  // the second is added to the first
    kernels::gradient(c.law, b.edges, weight.data(), one_weight, pointers);
    for (std::size_t i = 0; i < n; ++i) {
      const double w = weight[one_weight ? 0 : i];
      for (std::size_t k = 0; k < 4; ++k) {
        if (b.edges.p[k] == nullptr) continue;
        expected[i][k] -= w * b.law[i].by_parameter[k];
        tolerance[i][k] +=
            std::abs(w) * b.at_parameter[i][k] + 4 * unit<T> * std::abs(w * b.law[i].by_parameter[k]);
        gradient.see(by[k][i], expected[i][k], tolerance[i][k] + unit<T> * std::abs(expected[i][k]));
      }
    }
  }
  for (std::size_t k = 0; k < 4; ++k) {
    CHECK(by[k][n] == untouched);
    if (b.edges.p[k] == nullptr)
      CHECK(std::count(by[k].begin(), by[k].end(), T(0)) == static_cast<std::ptrdiff_t>(n));
  }
  CHECK(gradient.ratio <= 1);

  if (!c.one_target) return;
  const kernels::Sum<T> sums = kernels::sum(c.law, b.edges);
  sum.see(sums.current, total, at_total);
  sum.see(sums.by_target, total_slope, at_total_slope);
  CHECK(sum.ratio <= 1);
  CHECK(kernels::current_sum(c.law, b.edges) == sums.current);
}

template <class T>
void check_law(Law law) {
  std::uint64_t seed = 0;
  for (const std::size_t n : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 50, 784}) {
    for (const bool one_target : {false, true}) {
      for (const bool unequal : {false, true}) {
        for (const bool with_d : {false, true}) {
          Case c{.law = law, .n = n, .one_target = one_target, .unequal = unequal, .with_d = with_d};
          if (law != Law::quantum_dot && (unequal || with_d)) continue;
          check_bundle<T>(c, ++seed);
          c.kT = 0.3;
          check_bundle<T>(c, ++seed);
          c.kT = 1;
          c.no_current = true;
          check_bundle<T>(c, ++seed);
          c.no_current = false;
          c.no_inhibition = true;
          if (law == Law::enzyme) check_bundle<T>(c, ++seed);
          // Extremes: levels of 900 kT, potentials of 200 (or, at the limits of single precision, of the size
          // that its exponentials reach).
          for (const bool inhibition : {false, true}) {
            c.no_inhibition = !inhibition;
            c.level = 900;
            c.potential = sizeof(T) == 4 ? (law == Law::enzyme ? 8 : 25) : 66;
            check_bundle<T>(c, ++seed);
            if (law == Law::quantum_dot && unequal) {
              c.potential = 200;
              check_bundle<T>(c, ++seed);
            }
          }
        }
      }
    }
  }
}

// Powers of two compared with the C library in long double.
template <class T>
double worst_power() {
  const double limit = sizeof(T) == 4 ? 125 : 1021;
  Random random(5, 5);
  std::vector<T> y, found;
  for (int i = 0; i < 200'000; ++i) y.push_back(static_cast<T>(limit * (2 * random.uniform() - 1)));
  for (int i = 0; i <= 200'000; ++i) y.push_back(static_cast<T>(1e-5 * i - 1));  // all fractions, densely
  for (int k = -static_cast<int>(limit); k <= limit; ++k) {  // at and near rounding points
    const T half = static_cast<T>(k) + T(0.5);
    y.insert(y.end(),
             {static_cast<T>(k), half, std::nextafter(half, T(-2000)), std::nextafter(half, T(2000))});
  }
  found.resize(y.size());
  kernels::power_of_two(y.size(), y.data(), found.data());
  long double worst = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (std::abs(y[i]) > limit) continue;
    const long double truth = std::exp2(static_cast<long double>(y[i]));
    worst = std::max(worst, std::abs(found[i] / truth - 1));
  }
  for (const T far : {T(1e4), std::numeric_limits<T>::infinity()}) {
    const T beyond[2] = {far, -far};
    T at[2];
    kernels::power_of_two(2, beyond, at);
    CHECK(at[0] == std::exp2(static_cast<T>(limit)));
    CHECK(at[1] == std::exp2(static_cast<T>(-limit)));
  }
  return static_cast<double>(worst / std::numeric_limits<T>::epsilon());
}

// exp(-x/0.3) and the concentrations, in units of the effect of rounding the argument and 1/kT.
template <class T>
double worst_exponential() {
  const double limit = sizeof(T) == 4 ? 80 : 690;
  Random random(6, 5);
  const std::size_t n = 20'001;
  std::vector<T> x(n), inverse(n, static_cast<T>(1 / 0.3)), zero(n), found(n);
  for (T& value : x) value = static_cast<T>(0.3 * limit * (2 * random.uniform() - 1));
  kernels::exp_minus(n, x.data(), inverse.data(), found.data());
  long double worst = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const long double argument = static_cast<long double>(x[i]) * inverse[i], truth = std::exp(-argument);
    worst = std::max(worst, std::abs(found[i] / truth - 1) / (unit<T> * (3 + 2 * std::abs(argument))));
  }
  const long double furthest = sizeof(T) == 4 ? 31 : 346;
  const T c_ref = static_cast<T>(1.7);
  kernels::concentrations(n, x.data(), zero.data(), inverse[0], c_ref, found.data());
  for (std::size_t i = 0; i < n; ++i) {
    const long double argument = static_cast<long double>(x[i]) * inverse[i];
    if (std::abs(argument) > furthest) continue;
    worst = std::max(worst, std::abs(found[i] / (c_ref * std::exp(argument)) - 1) /
                                (unit<T> * (3 + 2 * std::abs(argument))));
  }
  return static_cast<double>(worst);
}
}  // namespace

TEST_CASE(
    "every law's kernels agree with the scalar law lane by lane, in both precisions, on every target, at "
    "extremes too") {
  on_every_target([] {
    for (const Law law : {Law::linear, Law::quantum_dot, Law::enzyme}) {
      check_law<double>(law);
      check_law<float>(law);
    }
  });
}

namespace {
// The current of a single quantum dot, by the summing kernel.
template <class T>
T current_of_one(T gamma, T a, T b, T mu_s, T mu_t) {
  const T inverse = 1;
  T node_s, node_t;
  kernels::exp_minus(1, &mu_s, &inverse, &node_s);
  kernels::exp_minus(1, &mu_t, &inverse, &node_t);
  kernels::Edges<T> edges;
  edges.n = 1, edges.p[0] = &gamma, edges.p[1] = &a, edges.p[2] = &b;
  edges.mu_s = &mu_s, edges.mu_t = &mu_t, edges.node_s = &node_s, edges.node_t = &node_t,
  edges.one_target = true;
  return kernels::sum(Law::quantum_dot, edges).current;
}
}  // namespace

TEST_CASE(
    "sums over many dots are right where one of them leaves the range of single precision, in whichever part "
    "of the sum") {
  on_every_target([] {
    std::uint64_t seed = 0;
    for (const bool with_d : {false, true}) {
      for (const std::size_t outlier : {0, 700, 1023, 1024, 2499}) {
        // Beyond the exponential's argument; within it, but its product with that of the potential is beyond;
        // both in the other direction.
        for (const auto& [level, potential] : {std::pair{1e6, 0.0},
                                               {-1e6, 0.0},
                                               {95.0, 0.0},
                                               {-95.0, 0.0},
                                               {80.0, -60.0},
                                               {40.0, -55.0},
                                               {-80.0, 60.0},
                                               {-40.0, 55.0},
                                               {86.0, 0.1}}) {
          check_bundle<float>({.n = 2500,
                               .one_target = true,
                               .with_d = with_d,
                               .outlier = outlier,
                               .outlier_level = level,
                               .outlier_potential = potential},
                              ++seed);
        }
      }
    }
    // Half full at the source, emptier and emptier at the target: up to the limit of the product of inverse
    // occupations, and beyond.
    Worst worst;
    for (int i = 0; i <= 100; ++i) {
      const float mu_t = -38 - 0.1F * static_cast<float>(i);
      // tolerance as in Bundle
      worst.see(current_of_one<float>(1, 44, 0, 44, mu_t), 0.5, unit<float> * (4 + 2 * (44 + 44 + 48)));
    }
    CHECK(worst.ratio <= 1);
    // Many of moderate size, whose squares add up to more than any single one.
    check_bundle<float>({.n = 2500, .one_target = true, .level = 30}, ++seed);
  });
}

TEST_CASE("the current of a dot in deep blockade is relatively precise") {
  on_every_target([] {
    auto check = [](auto zero, double deepest) {
      using T = decltype(zero);
      Worst worst;
      for (const bool full : {false, true}) {
        for (double depth = 1; depth <= deepest; depth *= 1.5) {
          for (const double difference : {-8.0, -2.0, -0.5, 0.5, 2.0, 8.0}) {
            const T gamma = 1, a = static_cast<T>(full ? -depth : depth), b = T(0.25),
                    mu_s = static_cast<T>(difference), mu_t = 0;
            const double p[4] = {gamma, a, b, 0};
            const double truth = quantum_dot_current(p, {mu_s}, {mu_t}, 1).current;
            // Exponentials have a relative error of a few `unit` times the argument; their difference has the
            // error of the larger.
            const double uncertain = unit<T> * (8 + 4 * (depth + 2 * std::abs(difference))) * 2 /
                                     (1 - std::exp(-std::abs(difference)));
            worst.see(current_of_one(gamma, a, b, mu_s, mu_t), truth, std::abs(truth) * uncertain);
          }
        }
      }
      CHECK(worst.ratio <= 1);
    };
    check(double{}, 330);  // up to 2^-499 of gamma
    check(float{}, 32);    // up to 2^-60
  });
}

TEST_CASE(
    "powers of two and exponentials are right to the last digits, in both precisions, on every target") {
  on_every_target([] {
    // The polynomial's error is far below; its last two operations round by half a unit in the last place of
    // 0.7..1.5 each, the sum of small terms before them by a fraction of that.
    CHECK(worst_power<float>() < 1.0);
    CHECK(worst_power<double>() < 1.0);
    CHECK(worst_exponential<float>() < 1.0);
    CHECK(worst_exponential<double>() < 1.0);
  });
}

TEST_CASE(
    "networks of enzymes and of conductors agree with the scalar laws, fan-ins, gathered edges and "
    "gradients") {
  on_every_target([] {
    for (const Law law : {Law::linear, Law::enzyme}) {
      for (const std::uint32_t n : {3U, 8U, 33U, 600U}) {
        NetworkSpec spec = star(n, 1, false, 0, n);
        Random random(n, 6);
        for (auto& node : spec.nodes) node.mu0 = random.normal();
        for (auto& edge : spec.edges) {
          edge.law = law;
          for (double& p : edge.p) p = std::exp(random.normal());
          if (random.uniform() < 0.3) edge.p[3] = infinite;
        }
        spec.kT = 0.8;
        spec.c_ref = 1.3;
        const Network network(spec);
        const Vector theta = network.theta();
        std::vector<Boundary> boundaries(1);
        Boundary& b = boundaries[0];
        b.theta = theta.data();
        b.clamp.resize(n);
        for (double& x : b.clamp) x = 3 * random.normal();
        const std::vector<Vector> potential{Vector::Random(2)}, costate{Vector::Random(2)};
        const auto work = network.workspace();
        network.impose(b, *work);
        Vector unbalanced;
        Matrix slope;
        network.evaluate(*work, potential[0], unbalanced, &slope);
        const Vector mu = network.node_potentials(b, potential[0]);
        Vector expected = -potential[0], by_theta = Vector::Zero(theta.size());
        Matrix expected_slope = Matrix::Identity(2, 2);
        double largest = 1;
        for (std::size_t e = 0; e < spec.edges.size(); ++e) {
          const EdgeCurrent I = network.edge(e, b, mu);
          const auto s = static_cast<Eigen::Index>(spec.graph.edges[e].source) - n,
                     t = static_cast<Eigen::Index>(spec.graph.edges[e].target) - n;
          if (s >= 0) expected[s] -= I.current, expected_slope(s, s) += I.by_source;
          if (t >= 0) expected[t] += I.current, expected_slope(t, t) -= I.by_target;
          if (s >= 0 && t >= 0) expected_slope(s, t) += I.by_target, expected_slope(t, s) -= I.by_source;
          const double weight = (s >= 0 ? costate[0][s] : 0.0) - (t >= 0 ? costate[0][t] : 0.0);
          for (std::size_t k = 0; k < law->parameters.size(); ++k)
            by_theta[network.edge_parameter(e, k)] -= weight * I.by_parameter[k];
          largest += std::abs(I.current) + std::abs(I.by_source) + std::abs(I.by_target);
        }
        Vector gradient = Vector::Zero(theta.size());
        network.add_gradient(boundaries, potential, costate, gradient, 2);
        for (Eigen::Index k = 0; k < 2; ++k) {
          by_theta[static_cast<Eigen::Index>(network.leak_g(k))] -= costate[0][k] * potential[0][k];
          by_theta[static_cast<Eigen::Index>(network.leak_mu_ref(k))] += costate[0][k];
        }
        // 1e-14: arguments of up to some 15, in units of the rounding of a sum of all terms.
        CHECK((unbalanced - expected).cwiseAbs().maxCoeff() < 1e-14 * largest);
        CHECK((slope - expected_slope).cwiseAbs().maxCoeff() < 1e-14 * largest);
        CHECK((gradient - by_theta).cwiseAbs().maxCoeff() <
              1e-14 * largest * (1 + by_theta.cwiseAbs().maxCoeff()));
      }
    }
  });
}

TEST_CASE("an unknown vector target is refused with the list of those there are") {
  CHECK_THROWS_WITH(force_vector_target("AVX9"),
                    Catch::Contains("AVX9") && Catch::Contains(vector_targets().front()));
}
