// Batches of relaxations in vector code against the reference solver and the reference gradient, one network
// and sample at a time.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "batch/batch.hpp"
#include "ness/device/random.hpp"
#include "ness/network/network.hpp"
#include "ness/network/simulation.hpp"
#include "ness/network/steady_state.hpp"
#include "ness/network/vector_target.hpp"
#include "sim/network/networks.hpp"

using namespace networks;

namespace {
// Patterns with most levels equal, as in images; every seventh input rarely has that level, as pixels in the
// middle.
std::vector<Vector> patterns(std::size_t samples, std::size_t inputs, double common, std::uint64_t seed) {
  Random random(seed, 21);
  std::vector<Vector> all(samples, Vector::Constant(static_cast<Eigen::Index>(inputs), -2.0));
  for (Vector& levels : all) {
    for (std::size_t i = 0; i < inputs; ++i) {
      if (random.uniform() > (i % 7 == 2 ? 0.3 * common : common))
        levels[static_cast<Eigen::Index>(i)] = -2 + 4 * random.uniform();
    }
  }
  return all;
}

std::vector<Pattern> as_patterns(const std::vector<Vector>& levels) {
  std::vector<Pattern> all;
  for (const Vector& one : levels) all.push_back(pattern_of(one));
  return all;
}

std::vector<const Vector*> pointers(const std::vector<Vector>& to) {
  std::vector<const Vector*> all;
  for (const Vector& one : to) all.push_back(&one);
  return all;
}

struct Case {
  std::vector<std::uint32_t> layers;
  double b;
  std::size_t samples;
  double common;  // share of the inputs at one level
};
const Case cases[] = {{{2, 2, 1}, 1.0, 5, 0.0},
                      {{5, 9, 3}, 1.0, 33, 0.0},
                      {{60, 20, 4}, 1.0, 70, 0.95},
                      {{3, 8, 2, 1}, 2.0, 40, 0.0},
                      {{200, 17, 10}, 0.8, 64, 0.95}};

// All samples of a case, by batch and by reference.
template <class T>
void against_the_reference(const Case& c, std::uint64_t seed, double tolerance, double state_tolerance,
                           double gradient_tolerance) {
  NetworkSpec spec = random_dots(c.layers, seed, c.b);
  // In networks of even seed every third input edge has the other direction, from the free node into the
  // clamped one.
  for (std::size_t e = 0; seed % 2 == 0 && e < spec.graph.edges.size(); e += 3) {
    GraphEdge& edge = spec.graph.edges[e];
    if (spec.graph.nodes[edge.source].clamped) std::swap(edge.source, edge.target);
  }
  const Network network(spec);
  const Network::Impl impl(spec, LinearAlgebra::dense);
  REQUIRE(batches::problem(impl).empty());
  const std::shared_ptr<const batches::Batch> batch = batches::make<T>(impl);
  const auto theta = std::make_shared<const Vector>(network.theta());
  const std::vector<Vector> levels = patterns(c.samples, c.layers.front(), c.common, seed);
  const std::vector<Pattern> clamp = as_patterns(levels);
  Random random(seed, 22);
  std::vector<Vector> inject(c.samples, Vector::Zero(network.rest().size())),
      start(c.samples, network.rest());
  for (std::size_t i = 0; i < c.samples; i += 3) {
    for (double& u : inject[i]) u = 0.05 * random.normal();
  }
  SteadyStateOptions options;
  options.tolerance = tolerance;
  std::vector<Vector> found(c.samples), expected(c.samples), cotangent(c.samples);
  std::vector<batches::Batch::Found> what(c.samples);
  std::vector<Boundary> boundaries(c.samples);
  const auto work = network.workspace();
  for (std::size_t i = 0; i < c.samples; ++i) {
    boundaries[i].theta = theta->data();
    boundaries[i].clamp = levels[i];
    boundaries[i].inject = inject[i];
    const SteadyState state = relax(network, boundaries[i], start[i], SteadyStateOptions{}, false, *work);
    REQUIRE(state.verdict == Verdict::converged);
    expected[i] = state.potential;
    cotangent[i].resize(expected[i].size());
    for (double& x : cotangent[i]) x = random.normal();
  }
  const auto gradients_at = [&](const std::vector<Vector>& states) {
    std::vector<Vector> costate(c.samples), other(c.samples), expected_costate(c.samples);
    for (std::size_t i = 0; i < c.samples; ++i) {
      Vector unbalanced;
      Jacobian slope;
      network.impose(boundaries[i], *work);
      network.evaluate(*work, states[i], unbalanced, &slope);
      REQUIRE(network.factor(*work, slope));
      network.solve_transposed(*work, cotangent[i], expected_costate[i]);
    }
    Vector gradient = Vector::Zero(theta->size()), reference = gradient, twice = gradient, given = gradient;
    batch->pull(theta, clamp, states, cotangent, costate, gradient, 1);
    network.add_gradient(boundaries, states, expected_costate, reference, 1);
    CHECK((gradient - reference).norm() < gradient_tolerance * reference.norm());
    for (std::size_t i = 0; i < c.samples; ++i)
      CHECK((costate[i] - expected_costate[i]).norm() < gradient_tolerance * expected_costate[i].norm());
    batch->pull(theta, clamp, states, cotangent, other, twice, 2);
    CHECK(twice == gradient);
    batch->pull(theta, clamp, states, {}, expected_costate, given, 1);
    CHECK((given - reference).norm() < gradient_tolerance * reference.norm());
  };
  // From rest, and from near the steady state.
  for (const bool restored : {false, true}) {
    std::vector<Vector> from = start;
    if (restored) {
      from = expected;
      for (Vector& mu : from) {
        for (double& x : mu) x += 0.05 * random.normal();
      }
    }
    batch->relax(theta, clamp, pointers(from), pointers(inject), std::vector<bool>(c.samples, restored),
                 options, 1, found, what);
    std::size_t converged = 0;
    for (std::size_t i = 0; i < c.samples; ++i) {
      if (!what[i].converged) continue;  // left to the reference solver
      ++converged;
      INFO("sample " << i << (restored ? " from near" : " from rest"));
      CHECK((found[i] - expected[i]).cwiseAbs().maxCoeff() < state_tolerance);
      CHECK(what[i].exact >= 1);  // no state is called converged without the exact law
    }
    CHECK(10 * converged >= 9 * c.samples);
    // The same bits on two threads.
    std::vector<Vector> again(c.samples);
    batch->relax(theta, clamp, pointers(from), pointers(inject), std::vector<bool>(c.samples, restored),
                 options, 2, again, what);
    for (std::size_t i = 0; i < c.samples; ++i) {
      if (what[i].converged) CHECK(again[i] == found[i]);
      else again[i] = expected[i];
    }
    gradients_at(again);
  }
  gradients_at(expected);
  // A gradient is a function of its arguments: a batch that has not relaxed anything gives the same bits, as
  // in a replay.
  Vector here = Vector::Zero(theta->size()), afresh = here;
  std::vector<Vector> costate(c.samples);
  batch->relax(theta, clamp, pointers(expected), pointers(inject), std::vector<bool>(c.samples, true),
               options, 1, found, what);
  batch->pull(theta, clamp, found, cotangent, costate, here, 1);
  batches::make<T>(impl)->pull(theta, clamp, found, cotangent, costate, afresh, 1);
  CHECK(here == afresh);
}
}  // namespace

TEST_CASE("batches: the states and gradients of the reference, in both precisions, on every vector target") {
  const std::vector<std::string> targets = vector_targets();
  for (const std::string& target : targets) {
    force_vector_target(target);
    for (const Case& c : cases) {
      for (const std::uint64_t seed : {1U, 2U}) {
        INFO("target " << target << ", layers of " << c.layers[0] << ", " << c.layers[1] << ".. nodes, seed "
                       << seed);
        // Single precision: currents are sums of about 100 terms with relative error 1e-7, over conductances
        // of order 1. The last correction of Newton's method is at most the tolerance; its square remains.
        against_the_reference<float>(c, seed, 1e-3, 2e-5, 2e-5);
        // Double precision: the square of 1e-6; gradients use the base's series, with an error of 1e-6.
        against_the_reference<double>(c, seed, 1e-6, 1e-10, 2e-6);
      }
    }
  }
  force_vector_target(targets.front());
}

TEST_CASE("batches: a state restored near by settles on one expansion of the currents around it") {
  // One expansion is then enough: Newton's method on it has an error of the fourth power of the distance over
  // 24, if the derivatives are right. The exact law, at its first evaluation, finds the state settled to a
  // little more than that. The third derivative matters at the smaller distance, where it contributes some 80
  // times the tolerance; with a commonest level the error of its series (2e-7) does not allow such a small
  // distance. Both distances are within the reach of one expansion (BatchOf::relax).
  const NetworkSpec spec = random_dots({200, 17, 10}, 4, 0.5);  // steeper currents have no series
  const Network network(spec);
  const Network::Impl impl(spec, LinearAlgebra::dense);
  const std::shared_ptr<const batches::Batch> batch = batches::make<double>(impl);
  const auto theta = std::make_shared<const Vector>(network.theta());
  struct Near {
    double common, distance, tolerance;  // kT
  };
  for (const auto& [common, distance, tolerance] : {Near{0.0, 0.0008, 1e-12}, Near{0.95, 0.015, 1e-7}}) {
    constexpr std::size_t samples = 96;
    const std::vector<Pattern> clamp = as_patterns(patterns(samples, 200, common, 6));
    SteadyStateOptions options;
    options.tolerance = tolerance;
    std::vector<Vector> start(samples, network.rest()), settled(samples), found(samples);
    std::vector<batches::Batch::Found> what(samples);
    batch->relax(theta, clamp, pointers(start), {}, std::vector<bool>(samples, false), options, 1, settled,
                 what);
    Random random(7, 3);
    std::size_t once = 0, usable = 0;
    for (std::size_t i = 0; i < samples; ++i) {
      REQUIRE(what[i].converged);
      start[i] = settled[i];
      for (double& x : start[i]) x += random.uniform() < 0.5 ? distance : -distance;
    }
    batch->relax(theta, clamp, pointers(start), {}, std::vector<bool>(samples, true), options, 1, found,
                 what);
    for (std::size_t i = 0; i < samples; ++i) {
      if (!what[i].converged || what[i].followed) continue;
      ++usable;
      if (what[i].exact == 1) ++once;
      CHECK((found[i] - settled[i]).cwiseAbs().maxCoeff() < 1e-9);
    }
    CHECK(usable == samples);
    CHECK(once == samples);
  }
}

// Too far for Newton's method: a few samples follow the relaxation in time on expansions, many on a table.
// They must reach the same steady states, with the same verdict on the path as the reference.
template <class T>
void followed_from_afar(std::size_t samples, double tolerance, double state_tolerance) {
  std::size_t converged = 0, followed = 0, all = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const NetworkSpec spec = random_dots({60, 20, 4}, seed, 0.7);
    const Network network(spec);
    const Network::Impl impl(spec, LinearAlgebra::dense);
    const std::shared_ptr<const batches::Batch> batch = batches::make<T>(impl);
    const auto theta = std::make_shared<const Vector>(network.theta());
    const std::vector<Vector> levels = patterns(samples, 60, seed % 2 == 0 ? 0.95 : 0.0, seed);
    Random random(seed, 31);
    std::vector<Vector> start(samples, network.rest()), found(samples);
    for (Vector& from : start) {
      for (double& x : from) x += 1.2 * (2 * random.uniform() - 1);
    }
    SteadyStateOptions options;
    options.tolerance = tolerance;
    std::vector<batches::Batch::Found> what(samples);
    batch->relax(theta, as_patterns(levels), pointers(start), {}, std::vector<bool>(samples, true), options,
                 1, found, what);
    const auto work = network.workspace();
    for (std::size_t i = 0; i < samples; ++i) {
      ++all;
      if (!what[i].converged) continue;
      ++converged;
      Boundary boundary;
      boundary.theta = theta->data();
      boundary.clamp = levels[i];
      const SteadyState state = relax(network, boundary, start[i], SteadyStateOptions{}, true, *work);
      INFO("seed " << seed << ", sample " << i);
      REQUIRE(state.verdict == Verdict::converged);
      CHECK((found[i] - state.potential).cwiseAbs().maxCoeff() < state_tolerance);
      CHECK(std::abs(what[i].displacement - (state.potential - start[i]).cwiseAbs().maxCoeff()) <
            state_tolerance);
      CHECK(what[i].exact >= 1);
      if (!what[i].followed) continue;
      ++followed;
      CHECK(what[i].time > 0);
      if (state.contracting) CHECK(what[i].contracting);
    }
    std::vector<Vector> again(samples);
    batch->relax(theta, as_patterns(levels), pointers(start), {}, std::vector<bool>(samples, true), options,
                 2, again, what);
    for (std::size_t i = 0; i < samples; ++i) {
      if (what[i].converged) CHECK(again[i] == found[i]);
    }
  }
  CHECK(10 * converged >= 9 * all);
  CHECK(2 * followed > all);
}

TEST_CASE(
    "batches: restored states that are far from steady ones follow the relaxation, few or many of them") {
  for (const std::size_t samples : {1U, 9U, 40U}) {
    INFO(samples << " samples");
    followed_from_afar<float>(samples, 1e-3, 2e-5);
    followed_from_afar<double>(samples, 1e-6, 1e-10);
  }
}

// In single precision the derivatives are those of expansions where these are accurate enough. The decision
// whether a flow contracts must be right nevertheless: no state near the border may be called settled unless
// the reference's Jacobian proves contraction. Any potentials are a steady state under a suitable injected
// current; on a line from rest, contraction ends somewhere.
TEST_CASE(
    "batches: a restored state near the border of contraction is settled only where the flow contracts") {
  constexpr std::size_t samples = 32;
  std::size_t within_settled = 0, borders = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    const NetworkSpec spec = random_dots({6, 8, 3}, seed, 1.5);
    const Network network(spec);
    const Network::Impl impl(spec, LinearAlgebra::dense);
    const std::shared_ptr<const batches::Batch> batch = batches::make<float>(impl);
    const auto work = network.workspace();
    const auto theta = std::make_shared<const Vector>(network.theta());
    const Vector levels = patterns(1, 6, 0.0, seed)[0];
    Boundary boundary;
    boundary.clamp = levels;
    Random random(seed, 9);
    Vector direction(network.rest().size());
    for (double& x : direction) x = 2 * random.uniform() - 1;
    // With leak conductances larger by `more`.
    const auto contracts = [&](const Vector& potential, Vector& current, double more = 0) {
      Jacobian slope;
      NetworkSpec changed = spec;
      for (NodeProperties& node : changed.nodes) node.g += node.g > 0 ? more : 0;
      const Vector with_more = Network(changed).theta();
      boundary.theta = with_more.data();
      network.impose(boundary, *work);
      network.evaluate(*work, potential, current, &slope);
      current = -current;
      return network.contracting(*work, slope);
    };
    Vector current;
    double within = 0, outside = 2;
    if (!contracts(within * direction, current) || contracts(outside * direction, current)) continue;
    while (outside - within > 1e-9) {
      const double middle = (within + outside) / 2;
      (contracts(middle * direction, current) ? within : outside) = middle;
    }
    ++borders;
    for (const double off : {-0.2, -0.05, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2, 5e-2}) {
      const Vector state = (within + off) * direction;
      contracts(state, current);
      const std::vector<Vector> inject(samples, current);
      std::vector<Vector> start(samples, state), found(samples);
      for (Vector& from : start) {
        const double distance = 0.5 * random.uniform();
        for (double& x : from) x += distance * (2 * random.uniform() - 1);
      }
      std::vector<batches::Batch::Found> what(samples);
      batch->relax(theta, std::vector<Pattern>(samples, pattern_of(levels)), pointers(start),
                   pointers(inject), std::vector<bool>(samples, true), SteadyStateOptions{}, 1, found, what);
      for (std::size_t i = 0; i < samples; ++i) {
        if (!what[i].converged || what[i].followed) continue;
        INFO("seed " << seed << ", off the border by " << off);
        within_settled += off < 0 ? 1 : 0;
        // The Jacobian is evaluated before the last correction, which is at most 1e-3 kT, times second
        // derivatives of about 10.
        CHECK(contracts(found[i], current, 0.02));
      }
    }
  }
  // Borders occur, and states do settle on their inner side: of 64 each those that start within the width of
  // an edge.
  CAPTURE(borders, within_settled);
  CHECK(borders >= 20);
  CHECK(within_settled >= 5 * borders);
}

TEST_CASE(
    "batches: a network they do not serve is named, and potentials out of range are left to the reference") {
  CHECK(batches::problem(Network::Impl(random_dots({3, 4, 1}, 1, 1.0, 0.5), LinearAlgebra::dense)) ==
        "common-mode lever arms d; batches need d = 0");
  CHECK(batches::problem(Network::Impl(random_dots({3, 4, 1}, 1, 1.0, 0, true), LinearAlgebra::dense))
            .find("temperature") != std::string::npos);
  CHECK(batches::problem(Network::Impl(mixed(), LinearAlgebra::dense)).find("batches need") !=
        std::string::npos);
  const NetworkSpec spec = random_dots({3, 4, 1}, 5, 1.0);
  const Network::Impl impl(spec, LinearAlgebra::dense);
  const std::shared_ptr<const batches::Batch> batch = batches::make<float>(impl);
  const Network network(spec);
  const auto theta = std::make_shared<const Vector>(network.theta());
  const std::vector<Pattern> clamp{pattern_of(Vector::Constant(3, 50.0))};
  std::vector<Vector> start{network.rest()}, found(1);
  std::vector<batches::Batch::Found> what(1);
  batch->relax(theta, clamp, pointers(start), {}, {false}, SteadyStateOptions{}, 1, found, what);
  CHECK_FALSE(what[0].converged);
}

TEST_CASE("a simulation with batches: every kind of drive in one call, as the reference has it") {
  const NetworkSpec spec = random_dots({5, 9, 3}, 11, 1.0);
  const auto network = std::make_shared<const Network>(spec);
  const auto kind = GENERATE(Batches::single_precision, Batches::double_precision);
  SimulationOptions options;
  Simulation reference(network, options);
  options.batches = kind;
  Simulation batched(network, options);
  options.threads = 1;
  Simulation alone(network, options);
  const std::vector<Pattern> clamp = as_patterns(patterns(90, 5, 0.0, 3));
  const Parameters theta = Parameters::of(network->theta());
  Random random(12, 1);
  std::vector<Drive> drives(clamp.size());
  for (std::size_t i = 0; i < drives.size(); ++i) {
    Drive& drive = drives[i];
    drive.theta = theta;
    drive.clamp = clamp[i];
    switch (i % 9) {
      case 1: drive.holds.push_back({network->free()[2], 0.3}); break;
      case 2: drive.theta = theta.with(3, 0.7); break;
      case 3: drive.start = Rest{2.0}; break;
      case 4: drive.observe = At{0.8, 3}; break;
      case 5: drive.start = From{std::make_shared<const Vector>(network->rest())}; break;
      case 6:
        drive.nudge = Vector::Zero(static_cast<Eigen::Index>(network->free().size()));
        for (double& u : drive.nudge) u = 0.05 * random.normal();
        break;
      case 7: drive.theta = Parameters::of(1.01 * network->theta()); break;
      default: break;
    }
  }
  const auto relaxed = [](Device& device, std::span<const Drive> all) {
    std::vector<Relaxation> rows;
    device.relax(all, [&](std::size_t i, const Relaxation& row) {
      CHECK(i == rows.size());
      rows.push_back(row);
    });
    return rows;
  };
  const std::vector<Relaxation> expected = relaxed(reference, drives), found = relaxed(batched, drives),
                                again = relaxed(alone, drives);
  REQUIRE(found.size() == drives.size());
  // As in the test of batches: sums of few terms, and the square of the last correction, 1e-3 kT in single
  // precision, the option's 1e-8 in double.
  const double tolerance = kind == Batches::single_precision ? 1e-5 : 1e-12;
  for (std::size_t i = 0; i < drives.size(); ++i) {
    INFO("drive " << i);
    CHECK(found[i].quality.all() == expected[i].quality.all());
    CHECK((found[i].potential - expected[i].potential).cwiseAbs().maxCoeff() < tolerance);
    CHECK(found[i].current.size() == expected[i].current.size());
    CHECK(again[i].potential == found[i].potential);
    const std::size_t which = i % 9;
    if (which >= 1 && which <= 4)
      CHECK(found[i].potential == expected[i].potential);  // not by batch: the reference solver's bits
  }
  // Present: one after another, each from the last state.
  std::vector<Drive> present(drives.begin(), drives.begin() + 1);
  present.push_back(drives[8]);
  present.back().start = Present{};
  CHECK((relaxed(batched, present)[1].potential - relaxed(reference, present)[1].potential)
            .cwiseAbs()
            .maxCoeff() < tolerance);
}

TEST_CASE("a network that batches do not serve is refused where they are asked for") {
  const auto network = std::make_shared<const Network>(mixed());
  SimulationOptions options;
  options.batches = Batches::single_precision;
  CHECK_THROWS_WITH(
      Simulation(network, options),
      Catch::Contains("batches: node 1 has another temperature") && Catch::Contains("batches need one"));
  CHECK_THROWS_AS(NetworkModel(network, 1, Batches::double_precision), std::invalid_argument);
  CHECK_NOTHROW(Simulation(network, SimulationOptions{}));
}

TEST_CASE("batches: what their elimination does not solve is solved by the reference") {
  // Far from steady states of steep dots, dI/dmu has pivots that are not positive, and is nevertheless
  // regular.
  std::size_t unsolved = 0;
  for (const std::uint64_t seed : {1U, 2U, 3U, 4U}) {
    const auto network = std::make_shared<const Network>(random_dots({4, 8, 3}, seed, 3.0));
    const std::vector<Pattern> clamp = as_patterns(patterns(20, 4, 0.0, seed));
    Random random(seed, 31);
    const Parameters theta = Parameters::of(network->theta());
    std::vector<Drive> drives(clamp.size());
    std::vector<Vector> at(clamp.size(), network->rest()), cotangent = at, costate(clamp.size()),
                                                           expected(clamp.size());
    for (std::size_t i = 0; i < drives.size(); ++i) {
      drives[i].theta = theta;
      drives[i].clamp = clamp[i];
      for (double& mu : at[i]) mu = 1.5 * random.normal();
      for (double& c : cotangent[i]) c = random.normal();
    }
    Vector gradient = Vector::Zero(theta.base->size()), reference = gradient, unused = gradient;
    unsolved += batches::shared(network->impl(), Batches::double_precision)
                    ->pull(theta.base, clamp, at, cotangent, costate, unused, 1)
                    .size();
    NetworkModel(network, 1, Batches::double_precision)
        .add_adjoint_gradient(drives, at, cotangent, costate, gradient);
    NetworkModel(network, 1).add_adjoint_gradient(drives, at, cotangent, expected, reference);
    for (std::size_t i = 0; i < drives.size(); ++i)
      CHECK((costate[i] - expected[i]).norm() < 1e-6 * expected[i].norm());
    CHECK((gradient - reference).norm() < 1e-5 * reference.norm());
  }
  CHECK(unsolved > 0);
}

TEST_CASE(
    "batches: gradients at readings out of range, at wide levels and of costates that are no numbers are the "
    "reference's") {
  // Readings (for example of a noisy device) outside the interval of the base's series, where polynomials of
  // order 20 grow by 1e6 and more.
  constexpr std::uint32_t samples = 70, out_of_range = 3, far_out = 7, wide = 4, no_number = 9;
  // no series holds for such a wide range: the readings count as within it
  const bool with_wide = GENERATE(false, true);
  const auto network = std::make_shared<const Network>(random_dots({60, 20, 4}, 5, 0.3));
  std::vector<Vector> levels = patterns(samples, 60, 0.95, 5);
  if (with_wide) levels[wide][11] = 100;
  const std::vector<Pattern> clamp = as_patterns(levels);
  Random random(5, 33);
  const Parameters theta = Parameters::of(network->theta());
  std::vector<Drive> drives(samples);
  std::vector<Vector> at(samples, network->rest()), cotangent = at, given = at;
  for (std::size_t i = 0; i < samples; ++i) {
    drives[i].theta = theta;
    drives[i].clamp = clamp[i];
    for (double& mu : at[i]) mu = -1.5 + 2 * random.uniform();
    for (double& c : cotangent[i]) c = random.normal();
    for (double& lambda : given[i]) lambda = random.normal();
  }
  at[out_of_range][8] = 2.6;
  at[far_out].setConstant(-60);
  cotangent[no_number][2] = std::numeric_limits<double>::quiet_NaN();
  const NetworkModel reference(network, 1);
  std::vector<Vector> expected(samples);
  Vector exact = Vector::Zero(theta.base->size()), of_given = exact;
  reference.add_adjoint_gradient(drives, at, cotangent, expected, exact);
  reference.add_gradient(drives, at, given, of_given);
  REQUIRE(exact.allFinite());
  REQUIRE_FALSE(expected[no_number].allFinite());
  for (const Batches kind : {Batches::single_precision, Batches::double_precision}) {
    const double tolerance =
        kind == Batches::single_precision ? 2e-5 : 2e-6;  // as in the comparison with the reference above
    std::vector<Vector> costate(samples);
    Vector gradient = Vector::Zero(theta.base->size()), again = gradient;
    const NetworkModel fast(network, 2, kind);
    fast.add_adjoint_gradient(drives, at, cotangent, costate, gradient);
    fast.add_gradient(drives, at, given, again);
    CHECK((gradient - exact).norm() < tolerance * exact.norm());
    CHECK((again - of_given).norm() < tolerance * of_given.norm());
    for (std::size_t i = 0; i < samples; ++i) {
      if (i == no_number) CHECK_FALSE(costate[i].allFinite());
      else CHECK((costate[i] - expected[i]).norm() < tolerance * expected[i].norm());
    }
    // Only these samples are left to the reference.
    std::vector<Vector> own(samples);
    const std::vector<std::uint32_t> left{with_wide ? wide : out_of_range, far_out, no_number};
    CHECK(batches::shared(network->impl(), kind)->pull(theta.base, clamp, at, cotangent, own, gradient, 1) ==
          left);
  }
}

TEST_CASE("batches: a level that is no number settles nowhere, wherever it stands") {
  const NetworkSpec spec = random_dots({60, 9, 3}, 3, 0.5);
  const Network network(spec);
  const Network::Impl impl(spec, LinearAlgebra::dense);
  const std::shared_ptr<const batches::Batch> single = batches::make<float>(impl);
  const auto theta = std::make_shared<const Vector>(network.theta());
  class Bad final : public PatternSet {
   public:
    explicit Bad(RowMatrix levels) : levels_(std::move(levels)) {}
    const std::string& name() const override { return name_; }
    std::uint64_t base_rows() const override { return static_cast<std::uint64_t>(levels_.rows()); }
    std::uint32_t width() const override { return static_cast<std::uint32_t>(levels_.cols()); }
    void levels(std::uint64_t row, Eigen::Ref<Vector> out) const override {
      out = levels_.row(static_cast<Eigen::Index>(row)).transpose();
    }

   private:
    std::string name_ = "bad";
    RowMatrix levels_;
  };
  constexpr std::size_t samples = 64;
  RowMatrix levels = RowMatrix::Constant(samples, 60, -2.0);
  levels.col(5).setLinSpaced(-1, 1);  // varied
  for (const Eigen::Index at : {0, 5, 31, 59}) levels(at, at) = std::numeric_limits<double>::quiet_NaN();
  const auto set = std::make_shared<const Bad>(levels);
  std::vector<Pattern> clamp;
  for (std::uint64_t i = 0; i < samples; ++i) clamp.push_back({set, i});
  const std::vector<Vector> start(samples, network.rest());
  for (const bool restored : {false, true}) {
    std::vector<Vector> found(samples);
    std::vector<batches::Batch::Found> what(samples);
    single->relax(theta, clamp, pointers(start), {}, std::vector<bool>(samples, restored),
                  SteadyStateOptions{}, 1, found, what);
    for (const std::size_t at : {0U, 5U, 31U, 59U}) CHECK_FALSE(what[at].converged);
    CHECK(std::count_if(what.begin(), what.end(), [](const auto& one) { return one.converged; }) ==
          samples - 4);
  }
}
