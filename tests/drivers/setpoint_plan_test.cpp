#include "ness/drivers/setpoint_plan.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "ness/device/random.hpp"

using namespace ness;
using namespace ness::drivers;

namespace {

// Executes a plan and checks every mixture of old and new levels within each step: all subsets of its writes.
void walk(const SetpointPlanner& planner, const std::vector<double>& from, const std::vector<double>& to,
          const std::vector<RampStep>& steps) {
  std::vector<double> now = from;
  for (const RampStep& step : steps) {
    REQUIRE_FALSE(step.writes.empty());
    double needed = 0;
    for (const auto& [c, level] : step.writes) {
      const PlannedChannel& channel = planner.channels()[c];
      CHECK(std::abs(level - now[c]) <= channel.largest_step * (1 + 1e-12));
      needed = std::max(needed, std::abs(level - now[c]) / channel.rate);
    }
    CHECK(step.wait == Approx(needed));
    for (std::size_t mixture = 1; mixture < (std::size_t{1} << step.writes.size()); ++mixture) {
      std::vector<double> mixed = now;
      for (std::size_t w = 0; w < step.writes.size(); ++w) {
        if ((mixture >> w & 1) != 0) mixed[step.writes[w].first] = step.writes[w].second;
      }
      INFO(planner.broken(mixed));
      REQUIRE(planner.broken(mixed).empty());
    }
    for (const auto& [c, level] : step.writes) now[c] = level;
  }
  CHECK(now == to);
}

}  // namespace

TEST_CASE("a single channel ramps in steps, and arrives exactly", "[plan]") {
  const SetpointPlanner planner({{"gate", {-2, 2}, 0.1, 0.5, 1e-6}}, {});
  const auto steps = planner.plan(std::vector<double>{0.05}, std::vector<double>{1.0});
  CHECK(steps.size() == 10);  // 0.95 V in steps of 0.1 V
  walk(planner, {0.05}, {1.0}, steps);
  CHECK(planner.plan(std::vector<double>{1.0}, std::vector<double>{1.0}).empty());
}

TEST_CASE("adjacent gates at their limit leapfrog", "[plan]") {
  const SetpointPlanner planner({{"g1", {-5, 5}, 0.5, 1, 1e-6}, {"g2", {-5, 5}, 0.5, 1, 1e-6}},
                                {{"g1 - g2", {{0, 1}, {1, -1}}, {-2, 2}}});
  const std::vector<double> from{0, -2}, to{2, 0};  // on the limit all the way
  const auto steps = planner.plan(from, to);
  walk(planner, from, to, steps);
  const auto back = planner.plan(to, from);
  walk(planner, to, from, back);
}

TEST_CASE("between states that keep limits on differences there is always a way, whatever the mixture on it",
          "[plan]") {
  Random random(11);
  int planned = 0;
  for (int run = 0; run < 300; ++run) {
    const std::size_t n = 2 + random.below(4);
    std::vector<PlannedChannel> channels;
    for (std::size_t c = 0; c < n; ++c)
      channels.push_back(
          {"g" + std::to_string(c), {-3, 3}, random.uniform(0.05, 0.7), random.uniform(0.1, 2), 1e-6});
    std::vector<CrossLimit> limits;
    for (std::size_t c = 0; c + 1 < n; ++c) {
      const double L = random.uniform(0.2, 2);
      limits.push_back({"d" + std::to_string(c), {{c, 1}, {c + 1, -1}}, {-L, L}});
    }
    const SetpointPlanner planner(channels, limits);
    // Random states, moved to the nearest allowed ones: mostly on several limits at once.
    const auto state = [&] {
      std::vector<double> levels(n);
      for (double& level : levels) level = random.uniform(-4, 4);
      levels = planner.nearest(levels, std::vector<bool>(n, false));
      for (double& level : levels) level = std::clamp(level * (1 - 1e-9), -3.0, 3.0);
      return levels;
    };
    const std::vector<double> from = state(), to = state();
    REQUIRE(planner.broken(from).empty());
    REQUIRE(planner.broken(to).empty());
    walk(planner, from, to, planner.plan(from, to));
    ++planned;
  }
  CHECK(planned == 300);
}

TEST_CASE("a plan refuses what breaks a limit, and says which", "[plan]") {
  const SetpointPlanner planner({{"g1", {-5, 5}, 0.5, 1, 1e-6}, {"g2", {-5, 5}, 0.5, 1, 1e-6}},
                                {{"g1 - g2", {{0, 1}, {1, -1}}, {-2, 2}}});
  const std::vector<double> zero{0, 0}, beyond{6, 5}, apart{1.5, -1}, down{-1, 1.5};
  CHECK_THROWS_WITH(planner.plan(zero, beyond),
                    Catch::Contains("upper limit of 'g1'") && Catch::Contains("6") && Catch::Contains("5"));
  CHECK_THROWS_WITH(planner.plan(zero, apart),
                    Catch::Contains("upper bound of 'g1 - g2'") && Catch::Contains("2.5"));
  CHECK_THROWS_WITH(planner.plan(zero, down), Catch::Contains("lower bound of 'g1 - g2'") &&
                                                  Catch::Contains("-2.5 is beyond") && Catch::Contains("-2"));
  CHECK_THROWS_AS(planner.plan(zero, std::vector<double>{NAN, 0}), std::invalid_argument);
  CHECK_THROWS_AS(planner.plan(zero, std::vector<double>{0}), std::invalid_argument);
  // A corner that monotone moves cannot leave: both limits of the sum are reached.
  const SetpointPlanner corner({{"x", {-5, 5}, 1, 1, 1e-6}, {"y", {-5, 5}, 1, 1, 1e-6}},
                               {{"x + y", {{0, 1}, {1, 1}}, {0, 0}}});
  CHECK_THROWS_AS(corner.plan(std::vector<double>{1, -1}, std::vector<double>{-1, 1}), PlanRefused);
}

TEST_CASE("a start beyond a limit is left, and never made worse", "[plan]") {
  const SetpointPlanner planner({{"g1", {-1, 1}, 0.25, 1, 1e-6}, {"g2", {-1, 1}, 0.25, 1, 1e-6}},
                                {{"g1 - g2", {{0, 1}, {1, -1}}, {-1, 1}}});
  std::vector<double> now{1.3, 0.0};  // beyond its own limit, and too far from g2
  const auto steps = planner.plan(now, std::vector<double>{0, -0.5});
  double own = 1.3, difference = 1.3;
  for (const RampStep& step : steps) {
    for (const auto& [c, level] : step.writes) now[c] = level;
    CHECK(now[0] <= own + 1e-12);
    CHECK(now[0] - now[1] <= std::max(1.0, difference) + 1e-12);
    own = now[0];
    difference = now[0] - now[1];
  }
  CHECK(now == std::vector<double>{0, -0.5});
}

TEST_CASE("when a channel is stuck the others go to the nearest point that is allowed with it", "[plan]") {
  const SetpointPlanner planner(
      {{"g1", {-5, 5}, 1, 1, 1e-6}, {"g2", {-5, 5}, 1, 1, 1e-6}, {"g3", {-5, 5}, 1, 1, 1e-6}},
      {{"g1 - g2", {{0, 1}, {1, -1}}, {-2, 2}}, {"g2 - g3", {{1, 1}, {2, -1}}, {-2, 2}}});
  const std::vector<double> safe{5, 0, 0};  // g1 is stuck at 5 V; the others' safe level is 0
  const auto levels = planner.nearest(safe, {true, false, false});
  CHECK(levels[0] == 5);
  CHECK(levels[1] == Approx(3).margin(1e-9));
  CHECK(levels[2] == Approx(1).margin(1e-9));
  // A plan leads there, also if the stuck channel is beyond its own limit.
  CHECK_FALSE(planner.plan(std::vector<double>{5, 4, 3}, levels).empty());
  const auto beyond = planner.nearest(std::vector<double>{5.5, 0, 0}, {true, false, false});
  CHECK(beyond[1] == Approx(3.5).margin(1e-9));
  CHECK_FALSE(planner.plan(std::vector<double>{5.5, 4.5, 3}, beyond).empty());
  // Nothing stuck and nothing violated: the wanted levels.
  CHECK(planner.nearest(std::vector<double>{1, 0, 0}, {false, false, false}) == std::vector<double>{1, 0, 0});
  const SetpointPlanner impossible({{"a", {-9, 9}, 1, 1, 0}, {"b", {-1, 1}, 1, 1, 0}},
                                   {{"a - b", {{0, 1}, {1, -1}}, {-2, 2}}});
  CHECK_THROWS_AS(impossible.nearest(std::vector<double>{9, 0}, {true, false}), PlanRefused);
}

TEST_CASE("limits that cannot be are refused when they are stated", "[plan]") {
  CHECK_THROWS_WITH(SetpointPlanner({{"g", {1, -1}, 1, 1, 0}}, {}),
                    Catch::Contains("'g'") && Catch::Contains("low below high"));
  CHECK_THROWS_WITH(SetpointPlanner({{"g", {-1, 1}, 0, 1, 0}}, {}), Catch::Contains("largest step"));
  CHECK_THROWS_WITH(SetpointPlanner({{"g", {-1, 1}, 1, 0, 0}}, {}), Catch::Contains("rate"));
  CHECK_THROWS_WITH(SetpointPlanner({{"g", {-1, 1}, 1, 1, 0}}, {{"c", {{3, 1}}, {-1, 1}}}),
                    Catch::Contains("'c'") && Catch::Contains("no channel 3"));
  CHECK_THROWS_WITH(SetpointPlanner({{"g", {-1, 1}, 1, 1, 0}}, {{"c", {}, {-1, 1}}}),
                    Catch::Contains("names no channel"));
}
