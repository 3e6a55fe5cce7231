// Large networks: square lattices of quantum dots, by sparse LU and by iteration.
//   ness-bar-lattices [LARGEST = 1000000] [--three]
// One line of JSON a lattice and kind of linear algebra: seconds to compile it, to order it, of one factorisation and one solution, of a cold relaxation (from rest,
// clamped levels stepping to N(0, 3 kT)), of a warm one (from that state, levels moved by N(0, 0.1 kT)), the largest |F| left, resident memory.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <iostream>
#include <string>

#include <nlohmann/json.hpp>

#include "ness/core/random.hpp"
#include "ness/sim/lattice.hpp"
#include "ness/sim/steady_state.hpp"

using namespace ness;
using namespace ness::sim;

namespace {
double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <class F>
double seconds(F work) {
  const double begin = now();
  work();
  return now() - begin;
}

double gigabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024e-9;
}

nlohmann::json told(const SteadyState& state, double seconds_taken) {
  return {{"seconds", seconds_taken}, {"verdict", to_string(state.verdict)}, {"steps", state.steps}, {"evaluations", state.evaluations}, {"residual", state.residual}, {"followed", state.followed}};
}

void measure(const std::vector<std::uint32_t>& sides, LinearAlgebra algebra, double leak, double b_deviation, bool cold) {
  LatticeOptions options;
  options.sides = sides;
  options.leak = leak;
  options.b = b_deviation;
  NetworkSpec spec = lattice(options);
  const std::size_t edges = spec.edges.size();
  std::unique_ptr<Network> network;
  const double compile = seconds([&] { network = std::make_unique<Network>(std::move(spec), algebra); });
  const Vector theta = network->theta();
  Random random(2, 3);
  Boundary b;
  b.theta = theta.data();
  b.clamp.resize(static_cast<Eigen::Index>(network->clamped().size()));
  for (double& x : b.clamp) x = 3 * random.normal();
  nlohmann::json line{{"sides", sides}, {"nodes", network->free().size()}, {"edges", edges}, {"algebra", to_string(network->algebra())}, {"leak", leak}, {"b", b_deviation}, {"compile_s", compile}};
  const auto work = network->workspace();
  network->impose(b, *work);
  Vector F, x;
  Slope slope;
  network->evaluate(*work, network->rest(), F, &slope);
  line["evaluate_s"] = seconds([&] { network->evaluate(*work, network->rest(), F, &slope); });
  line["first_factor_s"] = seconds([&] { network->factor(*work, slope); });  // with the ordering
  line["solve_s"] = seconds([&] { network->solve(*work, F, x); });
  slope.add_to_diagonal(Vector::Constant(slope.size(), 1e-3));
  line["factor_s"] = seconds([&] { network->factor(*work, slope); });
  line["contracting_s"] = seconds([&] { line["contracting"] = network->contracting(*work, slope); });
  SteadyState state;
  const SteadyStateOptions steady;
  if (cold) {
    const double taken = seconds([&] { state = relax(*network, b, network->rest(), steady, false, *work); });
    line["cold"] = told(state, taken);
  } else {
    // The warm start's own start: the steady state, reached from rest by way of small levels, each a warm relaxation.
    const Vector levels = b.clamp;
    state.potential = network->rest();
    const double taken = seconds([&] {
      for (double share = 0.1; share < 1.05; share += 0.1) {
        b.clamp = share * levels;
        state = relax(*network, b, state.potential, steady, true, *work);
      }
    });
    line["continued"] = told(state, taken);
  }
  if (state.verdict == Verdict::converged) {
    for (double& level : b.clamp) level += 0.1 * random.normal();
    SteadyState warm;
    const double taken = seconds([&] { warm = relax(*network, b, state.potential, steady, true, *work); });
    line["warm"] = told(warm, taken);
  }
  line["gigabytes"] = gigabytes();
  std::cout << line << std::endl;
}
}  // namespace

int main(int argc, char** argv) {
  double largest = 1e6, leak = 1e-3, b = 1;
  bool three = false, cold = true;
  std::string algebra = "both";
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--three") three = true;
    else if (argument == "--warm") cold = false;
    else if (argument == "--leak") leak = std::stod(argv[++i]);
    else if (argument == "--b") b = std::stod(argv[++i]);
    else if (argument == "--algebra") algebra = argv[++i];
    else if (argument == "--only") { const auto side = static_cast<std::uint32_t>(std::stoul(argv[++i])); 
      measure(three ? std::vector{side, side, side} : std::vector{side, side}, algebra == "direct" ? LinearAlgebra::direct : algebra == "iterative" ? LinearAlgebra::iterative : algebra == "dense" ? LinearAlgebra::dense : LinearAlgebra::automatic, leak, b, cold); return 0; }
    else largest = std::stod(argument);
  }
  for (const double n : {1e2, 1e3, 1e4, 1e5, 1e6}) {
    if (n > largest) break;
    const auto side = static_cast<std::uint32_t>(std::lround(std::pow(n, three ? 1.0 / 3 : 0.5)));
    const std::vector<std::uint32_t> sides = three ? std::vector{side, side, side} : std::vector{side, side};
    if (algebra != "iterative" && !(three && n > 2e4)) measure(sides, LinearAlgebra::direct, leak, b, n < 5e5 && cold);
    if (algebra != "direct") measure(sides, LinearAlgebra::iterative, leak, b, cold);
  }
}
