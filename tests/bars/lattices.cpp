// Large networks: square lattices of quantum dots (cubic: --three), by sparse LU or by iteration.
//   ness-bar-lattices [--from NODES] [--to NODES] [--algebra direct|iterative] [--only factor|warm] [--three]
//   [--leak G] [--b DEVIATION]
// One line of JSON per lattice: seconds to compile, to evaluate, for the first factorisation (with the
// ordering), for a further factorisation and a solution (with its residual), for the certificate; for a cold
// relaxation (from rest, clamped levels stepping to N(0, 3 kT); --only warm: by growing levels instead) and
// for a warm one (from that state, levels moved by N(0, 0.1 kT)), with the largest |F| left; resident memory.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <stdexcept>
#include <string>

#include <nlohmann/json.hpp>

#include "ness/device/random.hpp"
#include "ness/network/lattice.hpp"
#include "ness/network/steady_state.hpp"

using namespace ness;
using namespace ness::sim;

namespace {
double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

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
  return {{"seconds", seconds_taken},   {"verdict", to_string(state.verdict)},
          {"steps", state.steps},       {"evaluations", state.evaluations},
          {"residual", state.residual}, {"followed", state.followed}};
}

struct Measurement {
  LinearAlgebra algebra = LinearAlgebra::automatic;
  double leak = 1e-3, b = 1;
  bool relax = true;  // false: only factorisation and solution
  bool cold = true;   // false: the state is reached by growing levels
};

void measure(const std::vector<std::uint32_t>& sides, const Measurement& what) {
  LatticeOptions options;
  options.sides = sides;
  options.leak = what.leak;
  options.b = what.b;
  NetworkSpec spec = lattice(options);
  const std::size_t edges = spec.edges.size();
  std::unique_ptr<Network> network;
  const double compile = seconds([&] { network = std::make_unique<Network>(std::move(spec), what.algebra); });
  const Vector theta = network->theta();
  Random random(2, 3);
  Boundary b;
  b.theta = theta.data();
  b.clamp.resize(static_cast<Eigen::Index>(network->clamped().size()));
  for (double& x : b.clamp) x = 3 * random.normal();
  nlohmann::json line{{"sides", sides},      {"nodes", network->free().size()},
                      {"edges", edges},      {"algebra", to_string(network->algebra())},
                      {"leak", what.leak},   {"b", what.b},
                      {"compile_s", compile}};
  const auto work = network->workspace();
  network->impose(b, *work);
  Vector F, x;
  Jacobian jacobian;
  network->evaluate(*work, network->rest(), F, &jacobian);
  line["evaluate_s"] = seconds([&] { network->evaluate(*work, network->rest(), F, &jacobian); });
  bool factored = false;
  // includes the ordering
  line["first_factor_s"] = seconds([&] { factored = network->factor(*work, jacobian); });
  line["solve_s"] = seconds([&] { network->solve(*work, F, x); });
  line["solution_residual"] = (jacobian * x - F).norm() / F.norm();
  jacobian.add_to_diagonal(Vector::Constant(jacobian.size(), 1e-3));
  line["factor_s"] = seconds([&] { factored = network->factor(*work, jacobian) && factored; });
  if (!factored)
    throw std::runtime_error("a matrix of " + std::to_string(jacobian.size()) + " nodes cannot be factored");
  line["contracting_s"] = seconds([&] { line["contracting"] = network->contracting(*work, jacobian); });
  if (!what.relax) {
    std::cout << line << std::endl;
    return;
  }
  SteadyState state;
  const SteadyStateOptions steady;
  if (what.cold) {
    const double taken = seconds([&] { state = relax(*network, b, network->rest(), steady, false, *work); });
    line["cold"] = told(state, taken);
  } else {
    // The start of the warm relaxation: the steady state, reached from rest through growing levels, each by a
    // warm relaxation.
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
  double largest = 1e6, smallest = 1e2;
  Measurement what;
  bool three = false;
  const auto usage = [] {
    std::cerr << "ness-bar-lattices [--from NODES] [--to NODES] [--algebra direct|iterative] [--only "
                 "factor|warm] [--three] [--leak G] [--b DEVIATION]\n";
    return 2;
  };
  try {
    for (int i = 1; i < argc; ++i) {
      const std::string option = argv[i];
      if (option == "--three") {
        three = true;
        continue;
      }
      if (i + 1 == argc) return usage();
      const std::string value = argv[++i];
      if (option == "--from") smallest = std::stod(value);
      else if (option == "--to") largest = std::stod(value);
      else if (option == "--leak") what.leak = std::stod(value);
      else if (option == "--b") what.b = std::stod(value);
      else if (option == "--algebra" && value == "direct") what.algebra = LinearAlgebra::direct;
      else if (option == "--algebra" && value == "iterative") what.algebra = LinearAlgebra::iterative;
      else if (option == "--only" && value == "factor") what.relax = false;
      else if (option == "--only" && value == "warm") what.cold = false;
      else return usage();
    }
    for (const double n : {1e2, 1e3, 1e4, 1e5, 1e6}) {
      if (n < smallest || n > largest) continue;
      const auto side = static_cast<std::uint32_t>(std::lround(std::pow(n, three ? 1.0 / 3 : 0.5)));
      measure(three ? std::vector{side, side, side} : std::vector{side, side}, what);
    }
  } catch (const std::exception& error) {
    std::cerr << "ness-bar-lattices: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
