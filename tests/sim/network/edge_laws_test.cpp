#include <catch2/catch.hpp>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "ness/device/random.hpp"
#include "ness/network/edge_laws.hpp"

using namespace ness;
using namespace ness::sim;

namespace {
// The laws as written in the paper, in long double: independent reference for values, and by differences for
// derivatives.
using Long = long double;

Long dot(const std::array<Long, 4>& p, Long mu_s, Long mu_t, Long T_s, Long T_t, Long kT) {
  const Long eps = p[1] + p[2] * (mu_s - mu_t) + p[3] * (mu_s + mu_t) / 2;
  auto f = [&](Long mu, Long T) { return 1 / (1 + std::exp((eps - mu) / (kT * T))); };
  return p[0] * (f(mu_s, T_s) - f(mu_t, T_t));
}

Long enzyme(const std::array<Long, 4>& p, Long mu_s, Long mu_t, Long mu0_s, Long mu0_t, Long kT, Long c_ref) {
  const Long Keq = std::exp(-(mu0_t - mu0_s) / kT), Vr = p[0] * p[2] / (p[1] * Keq);
  const Long c_s = c_ref * std::exp((mu_s - mu0_s) / kT), c_t = c_ref * std::exp((mu_t - mu0_t) / kT);
  return (p[0] * c_s / p[1] - Vr * c_t / p[2]) / (1 + c_s / p[1] + c_t / p[2] + c_s * c_s / (p[1] * p[3]));
}

// Fourth-order difference of f at x: truncation h^4 = 1e-16, rounding 1e-19/h = 1e-15, relative to the scale
// of f.
template <class F>
double slope(F f, double at) {
  const Long x = at, h = 1e-4L;
  return static_cast<double>((8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h));
}

std::array<Long, 4> widen(const double* p) { return {p[0], p[1], p[2], p[3]}; }
}  // namespace

TEST_CASE("quantum-dot current and partial derivatives against the formula in long double") {
  Random random(1);
  for (int trial = 0; trial < 300; ++trial) {
    const double p[4] = {std::exp(random.normal()), 2 * random.normal(), 2 * random.normal(),
                         trial % 3 == 0 ? random.normal() : 0.0};
    const EdgeEnd s{3 * random.normal(), trial % 2 == 0 ? 1.0 : std::exp(0.4 * random.normal()), 0},
        t{3 * random.normal(), trial % 2 == 0 ? 1.0 : std::exp(0.4 * random.normal()), 0};
    const double kT = trial % 5 == 0 ? 0.7 : 1.0;
    const auto P = widen(p);
    const EdgeCurrent I = quantum_dot_current(p, s, t, kT);
    // gamma and the derivatives are of order 1..10; 1e-12 is the error of the differences.
    const double margin = 1e-12 * (1 + p[0]) * (1 + std::abs(p[2]));
    CHECK(std::abs(I.current - static_cast<double>(dot(P, s.mu, t.mu, s.T, t.T, kT))) < 1e-15 * (1 + p[0]));
    CHECK(std::abs(I.by_source - slope([&](Long x) { return dot(P, x, t.mu, s.T, t.T, kT); }, s.mu)) <
          margin);
    CHECK(std::abs(I.by_target - slope([&](Long x) { return dot(P, s.mu, x, s.T, t.T, kT); }, t.mu)) <
          margin);
    for (std::size_t i = 0; i < 4; ++i) {
      auto varied = [&](Long x) {
        auto q = P;
        q[i] = x;
        return dot(q, s.mu, t.mu, s.T, t.T, kT);
      };
      CHECK(std::abs(I.by_parameter[i] - slope(varied, p[i])) <
            margin * (1 + std::abs(s.mu) + std::abs(t.mu)));
    }
  }
}

TEST_CASE("enzyme current and partial derivatives, through the Haldane relation") {
  Random random(2);
  for (int trial = 0; trial < 300; ++trial) {
    const double p[4] = {
        std::exp(random.normal()), std::exp(random.normal()), std::exp(random.normal()),
        trial % 4 == 0 ? std::numeric_limits<double>::infinity() : std::exp(random.normal())};
    const EdgeEnd s{random.normal(), 1, 0.5 * random.normal()}, t{random.normal(), 1, 0.5 * random.normal()};
    const double kT = trial % 5 == 0 ? 0.8 : 1.0, c_ref = trial % 3 == 0 ? 1.6 : 1.0;
    const auto P = widen(p);
    const EdgeCurrent I = enzyme_current(p, s, t, kT, c_ref);
    const double margin = 1e-11 * (1 + p[0]) * (1 + 1 / p[1]) * (1 + 1 / p[2]) * (1 + 1 / p[3]);
    CHECK(std::abs(I.current - static_cast<double>(enzyme(P, s.mu, t.mu, s.mu0, t.mu0, kT, c_ref))) <
          1e-14 * (1 + p[0]));
    CHECK(std::abs(I.by_source - slope([&](Long x) { return enzyme(P, x, t.mu, s.mu0, t.mu0, kT, c_ref); },
                                       s.mu)) < margin);
    CHECK(std::abs(I.by_target - slope([&](Long x) { return enzyme(P, s.mu, x, s.mu0, t.mu0, kT, c_ref); },
                                       t.mu)) < margin);
    for (std::size_t i = 0; i < (std::isinf(p[3]) ? 3U : 4U); ++i) {
      auto varied = [&](Long x) {
        auto q = P;
        q[i] = x;
        return enzyme(q, s.mu, t.mu, s.mu0, t.mu0, kT, c_ref);
      };
      // Logarithmic steps: p may be small.
      const double by_log = slope([&](Long w) { return varied(std::exp(w)); }, std::log(p[i]));
      CHECK(std::abs(I.by_parameter[i] * p[i] - by_log) < margin);
    }
  }
}

TEST_CASE("no current between equal potentials, for any level, concentration or rate") {
  Random random(3);
  for (int trial = 0; trial < 100; ++trial) {
    const double mu = 4 * random.normal();
    const double dots[4] = {std::exp(random.normal()), random.normal(), 3 * random.normal(), random.normal()};
    CHECK(quantum_dot_current(dots, {mu, 1, 0}, {mu, 1, 0}, 1).current == 0);
    const double rates[4] = {1.5, std::exp(random.normal()), std::exp(random.normal()), 0.7};
    CHECK(enzyme_current(rates, {mu, 1, random.normal()}, {mu, 1, random.normal()}, 1, 1.3).current == 0);
  }
}

TEST_CASE(
    "the quantum dot's off-diagonal conductance is Eq. 18 and its skew gamma (f~_t - f~_s)/T, whatever b") {
  Random random(4);
  for (int trial = 0; trial < 50; ++trial) {
    const double p[4] = {0.9, random.normal(), 2 * random.normal(), 0};
    const double mu_s = random.normal(), mu_t = random.normal();
    const double eps = p[1] + p[2] * (mu_s - mu_t);
    auto broadening = [&](double mu) {
      const double f = 1 / (1 + std::exp(eps - mu));
      return f * (1 - f);
    };
    const EdgeCurrent I = quantum_dot_current(p, {mu_s, 1, 0}, {mu_t, 1, 0}, 1);
    CHECK(-I.by_target == Approx(p[0] * ((1 + p[2]) * broadening(mu_t) - p[2] * broadening(mu_s)))
                              .epsilon(1e-12)
                              .margin(1e-14));
    // G_st = -dI/dmu_t, G_ts = dI/dmu_s.
    CHECK(-I.by_target - I.by_source ==
          Approx(p[0] * (broadening(mu_t) - broadening(mu_s))).epsilon(1e-12).margin(1e-14));
  }
}

TEST_CASE(
    "with the common-mode lever arm d = 1 the current depends on the difference alone and is reciprocal") {
  const double p[4] = {1.1, 0.4, 1.7, 1};
  const EdgeCurrent here = quantum_dot_current(p, {0.8, 1, 0}, {-0.5, 1, 0}, 1);
  const EdgeCurrent shifted = quantum_dot_current(p, {0.8 + 2.5, 1, 0}, {-0.5 + 2.5, 1, 0}, 1);
  CHECK(shifted.current == Approx(here.current).epsilon(1e-14));
  CHECK(here.by_source == Approx(-here.by_target).epsilon(1e-14));
}

TEST_CASE("the enzyme's threshold of NDC is Eq. F10") {
  const double p[4] = {1.3, 0.7, 1.9, 0.4};
  const double c_t = 0.3, Vf = p[0], Vr = p[0] * p[2] / p[1];  // Keq = 1
  const double ratio = Vr * p[1] * c_t / (Vf * p[2]);
  const double threshold =
      ratio + std::sqrt(ratio * ratio + p[1] * p[3] * (1 + (Vf + Vr) * c_t / (Vf * p[2])));
  auto by_source = [&](double c) {
    return enzyme_current(p, {std::log(c), 1, 0}, {std::log(c_t), 1, 0}, 1, 1).by_source;
  };
  CHECK(std::abs(by_source(threshold)) < 1e-14);
  CHECK(by_source(threshold * 0.99) > 0);
  CHECK(by_source(threshold * 1.01) < 0);
}

TEST_CASE("deep blockade keeps its relative precision") {
  // Both ends full: f_s - f_t = e^v - e^u to first order, here 1e-13 with 16 digits in it.
  const double p[4] = {1, -30, 0, 0};
  const EdgeCurrent I = quantum_dot_current(p, {1, 1, 0}, {0, 1, 0}, 1);
  const Long u = -31, v = -30;
  const Long exact = std::exp(v) * (1 - std::exp(u - v)) / ((1 + std::exp(u)) * (1 + std::exp(v)));
  CHECK(I.current == Approx(static_cast<double>(exact)).epsilon(1e-14));
}

TEST_CASE("the linear law") {
  const double G = 0.6;
  const EdgeCurrent I = linear_current(&G, {2, 1, 0}, {-1, 1, 0});
  CHECK(I.current == Approx(1.8));
  CHECK(I.by_source == G);
  CHECK(I.by_target == -G);
  CHECK(I.by_parameter[0] == 3);
  CHECK_THROWS_WITH(law_of("diode"), Catch::Contains("diode") && Catch::Contains("quantum-dot"));
}
