#include <catch2/catch.hpp>
#include <cmath>

#include "ness/training/optimizer.hpp"
#include "ness/device/random.hpp"
#include "ness/device/vector_loops.hpp"

using namespace ness;

namespace {

DeviceInfo info_of(std::vector<ParameterInfo> parameters) {
  DeviceInfo info;
  info.parameters = std::move(parameters);
  return info;
}

// a linear, k logarithmic, T constant.
DeviceInfo three() {
  return info_of({{"a", "a", "kT", {-5, 5}, Scale::linear, true, -1, -1},
                  {"k", "k", "1", {0.1, 10}, Scale::log, true, -1, -1},
                  {"T", "T", "1", {0, 10}, Scale::linear, false, -1, -1}});
}

DeviceInfo plain(int count) {
  std::vector<ParameterInfo> all;
  for (int i = 0; i < count; ++i)
    all.push_back({std::string("p").append(std::to_string(i)), "p", "1", {}, Scale::linear, true, -1, -1});
  return info_of(std::move(all));
}

Vector of(std::initializer_list<double> values) {
  Vector v(static_cast<Eigen::Index>(values.size()));
  std::copy(values.begin(), values.end(), v.begin());
  return v;
}

}  // namespace

TEST_CASE("the parameter space converts between theta and coordinates", "[optimizer]") {
  std::vector<ParameterRule> rules(3);
  rules[0].decay = 0.1;
  rules[1].decay = 0.5;
  rules[1].range = {0.5, 100};
  const ParameterSpace space(three(), rules);
  CHECK(space.trainable() == 2);
  CHECK_FALSE(space.trains(2));
  const Vector theta = of({2, 4, 0.3});
  const Vector gradient = space.gradient(theta, of({1, 1, 1}));
  CHECK(gradient[0] == Approx(1 + 0.1 * 2));
  CHECK(gradient[1] == Approx(4 + 0.5 * std::log(4)));  // dL/dlog k = k dL/dk
  CHECK(gradient[2] == 0);
  const Vector moved = space.stepped(theta, of({-0.5, std::log(2), 7}));
  CHECK(moved[0] == 1.5);
  CHECK(moved[1] == Approx(8).epsilon(1e-15));
  CHECK(moved[2] == theta[2]);
  CHECK(space.stepped(theta, of({10, 10, 0})) == of({5, 10, 0.3}));      // k: the device's limit
  CHECK(space.stepped(theta, of({-10, -10, 0})) == of({-5, 0.5, 0.3}));  // k: the rule's limit
  // a parameter that is not trained keeps its bits
  CHECK(space.projected(of({9, 0.2, 99})) == of({5, 0.5, 99}));
  // An infinite parameter stays infinite, and does not make a norm infinite.
  const ParameterSpace infinite(info_of({{"Ki", "Ki", "1", {0, INFINITY}, Scale::log, true, 0, -1}}));
  CHECK(infinite.gradient(of({INFINITY}), of({0}))[0] == 0);
  CHECK(infinite.stepped(of({INFINITY}), of({0}))[0] == INFINITY);
}

TEST_CASE("rules that make no sense are refused by name", "[optimizer]") {
  std::vector<ParameterRule> rules(3);
  const auto said = [&] {
    try {
      ParameterSpace space(three(), rules);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  rules[1].decay = -1;
  CHECK_THAT(said(), Catch::Contains("parameter k") && Catch::Contains("decay -1"));
  rules[1] = {};
  rules[0].rate = NAN;
  CHECK_THAT(said(), Catch::Contains("parameter a") && Catch::Contains("rate nan"));
  rules[0] = {};
  rules[0].range = {3, 1};
  CHECK_THAT(said(), Catch::Contains("range [3") && Catch::Contains("empty"));
  rules[0].range = {6, 7};
  CHECK_THAT(said(), Catch::Contains("outside the device's") && Catch::Contains("[-5"));
  rules.pop_back();
  CHECK_THAT(said(), Catch::Contains("2 parameter rules") && Catch::Contains("3 parameters"));
}

TEST_CASE("schedules follow their formulas", "[optimizer]") {
  Schedule schedule;
  CHECK(schedule.factor(0, 10) == 1);
  CHECK(schedule.factor(99, 100) == 1);
  schedule.warm_up = 0.2;
  CHECK(schedule.factor(0, 10) == 0.5);  // two steps of warm-up: 1/2, 2/2
  CHECK(schedule.factor(1, 10) == 1);
  CHECK(schedule.factor(5, 10) == 1);
  schedule.shape = cosine_rate(0.1);
  CHECK(schedule.factor(2, 10) == Approx(1));
  CHECK(schedule.factor(6, 10) == Approx(0.55));  // half-way: the mean of 1 and 0.1
  CHECK(schedule.factor(10, 10) == Approx(0.1));
  schedule = {};
  schedule.shape = stepped_rate(0.1, 0.5);
  CHECK(schedule.factor(9, 100) == 1);
  CHECK(schedule.factor(10, 100) == 0.5);
  CHECK(schedule.factor(30, 100) == 0.125);
  CHECK(schedule.factor(29, 100) == 0.25);
  schedule = {};
  schedule.shape = spsa_rate();
  CHECK(schedule.factor(0, 100) == 1);
  // A = 10: a / (A + k + 1)^0.602 relative to the first step
  CHECK(schedule.factor(50, 100) == Approx(std::pow(11.0 / 61.0, 0.602)).epsilon(1e-14));
  schedule.shape = spsa_rate(0, 1);
  CHECK(schedule.factor(3, 100) == 0.25);
  schedule.warm_up = 0.02;
  CHECK(schedule.factor(0, 100) == 0.5);
  CHECK(schedule.factor(2, 100) == 1);
  CHECK(schedule.factor(5, 100) == 0.25);  // counted from the end of the warm-up
  CHECK_THROWS_WITH(spsa_rate(0, -1), Catch::Contains("power -1"));
  CHECK_THROWS_WITH(spsa_rate(NAN, 1), Catch::Contains("stability nan"));
  CHECK_THROWS_WITH(cosine_rate(INFINITY), Catch::Contains("final_factor inf"));
  CHECK_THROWS_WITH(stepped_rate(0.5, 0), Catch::Contains("step_factor 0"));
  schedule = {};
  schedule.warm_up = 1;
  CHECK_THAT(schedule.problem(), Catch::Contains("warm_up 1"));
}

TEST_CASE("optimizers follow their formulas", "[optimizer]") {
  std::vector<ParameterRule> rules(2);
  rules[1].rate = 10;
  const ParameterSpace space(plain(2), rules);
  OptimizerOptions options;
  options.rate = 0.1;
  const Vector g1 = of({1, -2}), g2 = of({3, 0.5});
  SECTION("sgd") {
    options.make = sgd_optimizer();
    const auto sgd = make_optimizer(options, space);
    CHECK(sgd->step(g1, 0.5).isApprox(of({-0.05, 1}), 1e-15));
    CHECK(sgd->state().size() == 0);
  }
  SECTION("momentum") {
    options.make = momentum_optimizer({0.5});
    const auto momentum = make_optimizer(options, space);
    momentum->step(g1, 1);
    CHECK(momentum->step(g2, 1).isApprox(of({-0.35, 0.5}), 1e-15));  // v = g1/2 + g2
  }
  SECTION("adam") {
    // By hand for a constant gradient: m/bias = g and v/bias = g^2, so each step is -rate g / (|g| +
    // epsilon).
    options.make = adam_optimizer({.epsilon = 1e-3});
    const auto adam = make_optimizer(options, space);
    for (int i = 0; i < 5; ++i) {
      const Vector step = adam->step(g1, 1);
      CHECK(step[0] == Approx(-0.1 / 1.001).epsilon(1e-12));
      CHECK(step[1] == Approx(1.0 * 2 / 2.001).epsilon(1e-12));
    }
    // Two different gradients: the formulas of Kingma & Ba, algorithm 1, written out.
    const auto fresh = make_optimizer(options, space);
    fresh->step(g1, 1);
    const double m = (0.9 * 0.1 * 1 + 0.1 * 3) / (1 - 0.81),
                 v = (0.999 * 0.001 * 1 + 0.001 * 9) / (1 - 0.999 * 0.999);
    CHECK(fresh->step(g2, 1)[0] == Approx(-0.1 * m / (std::sqrt(v) + 1e-3)).epsilon(1e-12));
  }
  SECTION("clipping scales, and keeps the direction") {
    options.make = sgd_optimizer();
    options.clip = 1;
    const ParameterSpace even(plain(2));
    const auto sgd = make_optimizer(options, even);
    CHECK(sgd->step(of({3, 4}), 1).isApprox(of({-0.06, -0.08}), 1e-14));
    CHECK(sgd->step(of({0.3, 0.4}), 1).isApprox(of({-0.03, -0.04}), 1e-14));
  }
}

TEST_CASE("a step in parts is the step as a whole, bit for bit", "[optimizer]") {
  // Runs of several kinds, cut by the parts: logarithmic, linear, untrained, decaying, with a narrower range.
  constexpr std::size_t size = 40;
  DeviceInfo info = plain(size);
  for (std::size_t i = 5; i < 25; ++i) info.parameters[i].scale = Scale::log;
  std::vector<ParameterRule> rules(size);
  for (std::size_t i = 12; i < 15; ++i) rules[i].trainable = false;
  for (std::size_t i = 18; i < 31; ++i) rules[i].decay = 0.1;
  for (std::size_t i = 28; i < 34; ++i) rules[i].range = {0.9, 1.1};
  const ParameterSpace space(info, rules);
  Random random(3);
  Vector theta(size), g(size);
  for (std::size_t i = 0; i < size; ++i) {
    theta[static_cast<Eigen::Index>(i)] = 0.9 + 0.2 * random.uniform();
    g[static_cast<Eigen::Index>(i)] = random.normal();
  }
  for (const OptimizerMaker& kind : {sgd_optimizer(), momentum_optimizer(), adam_optimizer()}) {
    OptimizerOptions options;
    options.make = kind;
    options.rate = 0.3;
    options.clip = 2;
    const auto whole = make_optimizer(options, space), parted = make_optimizer(options, space);
    for (int step = 0; step < 3; ++step) {
      const Vector w = space.gradient(theta, g), dw = whole->step(w, 0.5), moved = space.stepped(theta, dw);
      Vector w_parts(size), dw_parts(size), moved_parts(size);
      for (const Part part : {Part{0, 7}, Part{7, 13}, Part{13, 29}, Part{29, size}})
        space.gradient(part, theta.data() + part.begin, g.data() + part.begin, w_parts.data() + part.begin);
      parted->begin(w_parts.norm(), 0.5);
      for (const Part part : {Part{29, size}, Part{0, 7}, Part{13, 29}, Part{7, 13}}) {
        parted->move(part, w_parts.data() + part.begin, dw_parts.data() + part.begin);
        space.stepped(part, theta.data() + part.begin, dw_parts.data() + part.begin,
                      moved_parts.data() + part.begin);
      }
      CHECK(w_parts == w);
      CHECK(dw_parts == dw);
      CHECK(moved_parts == moved);
      for (Eigen::Index i = 12; i < 15; ++i) CHECK(moved[i] == theta[i]);
      for (Eigen::Index i = 28; i < 34; ++i) CHECK((moved[i] >= 0.9 && moved[i] <= 1.1));
    }
  }
}

// Compared with the exponential in extended precision. One product, and one exponential to 3 units in the
// last place: 4 units.
TEST_CASE("growth is an exponential's, also where it is too large or too small for a number") {
  std::vector<double> by{0,     -0.0,   1e-300, 0.34657, -0.34658, 1,     -1,       699.9,    -699.9,
                         700.1, -700.1, 709.7,  -745.2,  1000,     -1000, INFINITY, -INFINITY};
  Random random(3, 3);
  for (int i = 0; i < 4000; ++i)
    by.push_back(std::pow(10, 4 * random.uniform() - 3) * (random.uniform() < 0.5 ? -1 : 1));
  std::vector<double> value(by.size()), grown(by.size());
  for (double& v : value) v = 0.5 + random.uniform();
  vector_loops::grow(by.size(), value.data(), by.data(), grown.data());
  for (std::size_t i = 0; i < by.size(); ++i) {
    const long double exact = static_cast<long double>(value[i]) * std::exp(static_cast<long double>(by[i]));
    INFO("e^" << by[i] << " times " << value[i] << " is " << grown[i]);
    if (std::fabs(by[i]) > 700) CHECK(grown[i] == value[i] * std::exp(by[i]));
    else CHECK(std::fabs(static_cast<long double>(grown[i]) - exact) <= 4 * 2.3e-16L * exact);
  }
  const double none = std::numeric_limits<double>::quiet_NaN();
  vector_loops::grow(1, &value[0], &none, &grown[0]);
  CHECK(std::isnan(grown[0]));
}

TEST_CASE("optimizers are saved and restored bit for bit", "[optimizer]") {
  const ParameterSpace space(plain(3));
  for (const OptimizerMaker& kind : {sgd_optimizer(), momentum_optimizer(), adam_optimizer()}) {
    OptimizerOptions options;
    options.make = kind;
    const auto gone_on = make_optimizer(options, space), restored = make_optimizer(options, space);
    for (int i = 0; i < 7; ++i) gone_on->step(Vector::Constant(3, std::sin(i)), 0.3);
    restored->restore(gone_on->state());
    for (int i = 0; i < 3; ++i) {
      const Vector g = of({0.1 * i, -1, 1e-7});
      CHECK(gone_on->step(g, 0.7) == restored->step(g, 0.7));
    }
    CHECK_THROWS_WITH(restored->restore(Vector::Zero(2)), Catch::Contains("2 numbers"));
    CHECK_THROWS_WITH(restored->step(Vector::Zero(2), 1), Catch::Contains("2 entries for 3"));
  }
}

TEST_CASE("unusable optimizer options are refused", "[optimizer]") {
  const ParameterSpace space(plain(1));
  OptimizerOptions options;
  options.rate = 0;
  CHECK_THROWS_WITH(make_optimizer(options, space), Catch::Contains("rate 0"));
  CHECK_THROWS_WITH(adam_optimizer({.beta2 = 1}), Catch::Contains("beta2 1"));
  CHECK_THROWS_WITH(momentum_optimizer({-0.1}), Catch::Contains("momentum"));
  options = {};
  options.clip = NAN;
  CHECK_THAT(options.problem(), Catch::Contains("clip"));
  CHECK_THROWS_WITH(stepped_rate(0), Catch::Contains("schedule: step_every"));
  options = {};
  options.schedule.warm_up = -1;
  CHECK_THAT(options.problem(), Catch::Contains("schedule: warm_up -1"));
}
