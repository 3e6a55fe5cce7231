// ness solve: the steady state of one network, and its gradients.
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <stdexcept>

#include "command.hpp"
#include "results.hpp"
#include "ness/runs/evaluations.hpp"
#include "ness/network/all_states.hpp"
#include "ness/network/steady_state.hpp"
#include "ness/network/transient.hpp"
#include "ness/files/network_file.hpp"
#include "ness/files/network_platform.hpp"
#include "ness/files/text_file.hpp"
#include "ness/device/dense_lu.hpp"
#include "ness/device/error.hpp"
#include "ness/device/number_text.hpp"

namespace ness {

namespace {

struct SolveOptions {
  std::string network;
  std::vector<double> clamp, target;
  std::vector<std::string> hold, inject;
  double ramp = std::numeric_limits<double>::infinity();
  std::vector<std::string> set;
  bool all = false, json = false;
};

/// "3=0.5": a node and a number.
std::pair<std::uint32_t, double> assignment(const std::string& text, const std::string& option) {
  const std::string expected = option + " " + text + ": expected NODE=VALUE, as in " + option + " 3=0.5";
  const auto equals = text.find('=');
  if (equals == std::string::npos) throw std::invalid_argument(expected);
  try {
    std::size_t used = 0, used_value = 0;
    const std::string node_text = text.substr(0, equals), value_text = text.substr(equals + 1);
    const unsigned long node = std::stoul(node_text, &used);
    const double value = std::stod(value_text, &used_value);
    if (used != node_text.size() || used_value != value_text.size() || node_text.starts_with('-') ||
        !std::isfinite(value) || node > std::numeric_limits<std::uint32_t>::max()) {
      throw std::invalid_argument(expected);
    }
    return {static_cast<std::uint32_t>(node), value};
  } catch (const std::exception&) {
    throw std::invalid_argument(expected);
  }
}

/// A network, what is imposed on it, and where it came to rest.
class Solution {
 public:
  /// `given`: the parameters of each edge that the file names, and whose gradients are told.
  Solution(const sim::NetworkSpec& spec, std::vector<std::array<bool, 4>> given, const SolveOptions& options,
           const sim::SimulationOptions& solver)
      : network_(spec), given_(std::move(given)), theta_(network_.theta()) {
    impose(options);
    Vector start = network_.rest();
    if (std::isfinite(options.ramp)) {
      // The ramp's end is followed exactly; from there on nothing moves but the network.
      sim::TransientOptions transient = solver.transient;
      transient.clamp_rate = options.ramp;
      const double duration =
          boundary_.clamp.size() > 0 ? boundary_.clamp.cwiseAbs().maxCoeff() / options.ramp : 0;
      const std::vector<double> times{duration};
      start = sim::follow(network_, boundary_, start, times, transient).back();
    }
    sim::SteadyStateOptions steady = solver.steady_state;
    steady.eigenvalue = true;
    state_ = sim::relax(network_, boundary_, start, steady);
  }

  bool converged() const { return state_.verdict == sim::Verdict::converged; }

  Report json(const SolveOptions& options) const {
    Report result;
    result["status"] = sim::to_string(state_.verdict);
    if (!converged()) {
      // Not called potentials: no steady state was established.
      result["last_iterate"] = report_of(network_.node_potentials(boundary_, state_.potential));
      return result;
    }
    result["kT"] = network_.spec().kT;
    result["potentials"] = report_of(network_.node_potentials(boundary_, state_.potential));
    result["edge_currents"] = report_of(network_.edge_currents(boundary_, state_.potential));
    const Matrix jacobian = moving_jacobian();
    result["conductance_matrix"] = Report::list();
    for (Eigen::Index k = 0; k < jacobian.rows(); ++k)
      result["conductance_matrix"].add(report_of(-jacobian.row(k).transpose()));
    result["max_real_eigenvalue"] = sim::max_real_eigenvalue(network_, boundary_, state_.potential);
    if (!options.target.empty()) add_gradients(result, options.target, jacobian);
    result["residual"] = state_.residual;
    result["steps"] = state_.steps;
    result["near_other_branch"] = state_.near_other_branch;
    return result;
  }

  /// Every steady state that was found.
  Report all_states() const {
    std::vector<Vector> known;
    if (converged()) known.push_back(state_.potential);
    Report list = Report::list();
    for (const sim::FoundState& found : sim::all_steady_states(network_, boundary_, known)) {
      const bool reached = converged() && found.potential == state_.potential;
      Report one = Report::table();
      one["potentials"] = report_of(network_.node_potentials(boundary_, found.potential));
      // An eigenvalue that could not be established is left out.
      if (std::isfinite(found.max_real_eigenvalue)) {
        one["max_real_eigenvalue"] = found.max_real_eigenvalue;
        one["stable"] = found.max_real_eigenvalue < 0;
      }
      one["reached"] = reached;
      list.add(std::move(one));
    }
    return list;
  }

 private:
  void impose(const SolveOptions& options) {
    const sim::NetworkSpec& spec = network_.spec();
    if (options.clamp.size() != network_.clamped().size()) {
      throw std::invalid_argument("--clamp has " + std::to_string(options.clamp.size()) +
                                  " levels; this network has " + std::to_string(network_.clamped().size()) +
                                  " clamped nodes");
    }
    if (!options.target.empty() && options.target.size() != spec.graph.outputs.size()) {
      throw std::invalid_argument("--target has " + std::to_string(options.target.size()) +
                                  " potentials; this network has " +
                                  std::to_string(spec.graph.outputs.size()) + " outputs");
    }
    free_index_.assign(spec.graph.nodes.size(), -1);
    for (std::size_t k = 0; k < network_.free().size(); ++k)
      free_index_[network_.free()[k]] = static_cast<std::int64_t>(k);
    boundary_.theta = theta_.data();
    boundary_.clamp =
        Eigen::Map<const Vector>(options.clamp.data(), static_cast<Eigen::Index>(options.clamp.size()));
    if (!boundary_.clamp.allFinite()) throw std::invalid_argument("--clamp: levels must be finite");
    for (const double target : options.target) {
      if (!std::isfinite(target)) throw std::invalid_argument("--target: potentials must be finite");
    }
    for (const std::string& text : options.hold) {
      const auto [node, level] = assignment(text, "--hold");
      boundary_.held.emplace_back(free_index(node, "--hold " + text), level);
    }
    if (!options.inject.empty())
      boundary_.inject = Vector::Zero(static_cast<Eigen::Index>(network_.free().size()));
    for (const std::string& text : options.inject) {
      const auto [node, current] = assignment(text, "--inject");
      boundary_.inject[free_index(node, "--inject " + text)] += current;
    }
    held_.assign(network_.free().size(), false);
    for (const auto& [index, level] : boundary_.held) held_[index] = true;
    for (std::size_t k = 0; k < held_.size(); ++k) {
      if (!held_[k]) moving_.push_back(static_cast<Eigen::Index>(k));
    }
  }

  std::uint32_t free_index(std::uint32_t node, const std::string& what) const {
    if (node >= free_index_.size() || free_index_[node] < 0) {
      throw std::invalid_argument(what + ": node " + std::to_string(node) +
                                  " is not a free node of this network");
    }
    return static_cast<std::uint32_t>(free_index_[node]);
  }

  /// dI/dmu of the free nodes that are not held.
  Matrix moving_jacobian() const {
    const Matrix whole = network_.jacobian(boundary_, state_.potential);
    return whole(moving_, moving_);
  }

  /// The loss, and its gradient by everything in the file: dL/dp = -lambda^T dI/dp, edge by edge from the law
  /// itself.
  void add_gradients(Report& result, const std::vector<double>& target, const Matrix& jacobian) const {
    const sim::NetworkSpec& spec = network_.spec();
    const Vector mu = network_.node_potentials(boundary_, state_.potential);
    Vector by_potential = Vector::Zero(mu.size());
    double loss = 0;
    for (std::size_t o = 0; o < target.size(); ++o) {
      const double difference = mu[spec.graph.outputs[o]] - target[o];
      loss += difference * difference;
      by_potential[spec.graph.outputs[o]] += 2 * difference;
    }
    // Costates of clamped and held nodes are zero: no balance is imposed there.
    Vector c(static_cast<Eigen::Index>(moving_.size()));
    for (Eigen::Index k = 0; k < c.size(); ++k)
      c[k] = by_potential[network_.free()[static_cast<std::size_t>(moving_[static_cast<std::size_t>(k)])]];
    Vector solved = c;
    if (c.size() > 0) DenseLu(jacobian.transpose()).solve(c, solved);
    Vector lambda = Vector::Zero(mu.size()),
           free_lambda = Vector::Zero(static_cast<Eigen::Index>(held_.size()));
    for (Eigen::Index k = 0; k < c.size(); ++k) {
      const Eigen::Index index = moving_[static_cast<std::size_t>(k)];
      lambda[network_.free()[static_cast<std::size_t>(index)]] = solved[k];
      free_lambda[index] = solved[k];
    }
    result["loss"] = loss;
    Report& gradients = result["gradients"];
    gradients["edges"] = Report::list();
    for (std::size_t e = 0; e < spec.edges.size(); ++e) gradients["edges"].add(edge_gradient(e, mu, lambda));
    gradients["leaks"] = Report::list();
    for (const std::uint32_t k : network_.free()) {
      const sim::NodeProperties& node = spec.nodes[k];
      gradients["leaks"].add(
          {{"node", k}, {"g", -lambda[k] * (mu[k] - node.mu_ref)}, {"mu_ref", lambda[k] * node.g}});
    }
    gradients["clamps"] = report_of(network_.clamp_gradient(boundary_, state_.potential, free_lambda));
  }

  Report edge_gradient(std::size_t e, const Vector& mu, const Vector& lambda) const {
    const sim::NetworkSpec& spec = network_.spec();
    const GraphEdge& edge = spec.graph.edges[e];
    const sim::EdgeProperties& properties = spec.edges[e];
    const auto end = [&](std::uint32_t node) {
      return sim::EdgeEnd{mu[node], spec.nodes[node].T, spec.nodes[node].mu0};
    };
    const sim::EdgeCurrent current = sim::edge_current(properties.law, properties.p.data(), end(edge.source),
                                                       end(edge.target), spec.kT, spec.c_ref);
    const std::span<const sim::LawParameter> parameters = properties.law->parameters;
    Report gradient = Report::table();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (!given_[e][i]) continue;
      gradient[std::string(parameters[i].name)] =
          -(lambda[edge.source] - lambda[edge.target]) * current.by_parameter[i];
    }
    return gradient;
  }

  sim::Network network_;
  std::vector<std::array<bool, 4>> given_;
  Vector theta_;
  sim::Boundary boundary_;
  std::vector<std::int64_t> free_index_;  // by node; -1: clamped
  std::vector<bool> held_;                // by free index
  std::vector<Eigen::Index> moving_;      // free indices not held
  sim::SteadyState state_;
};

std::string described_laws() {
  std::string list;
  for (const sim::Law law : sim::edge_laws()) list += (list.empty() ? "" : ", ") + sim::description(*law);
  return list;
}

void print_states(const Report& result) {
  if (!result.contains("states")) return;
  const Report::List& states = result["states"].values();
  std::printf("%zu steady state%s found:\n", states.size(), states.size() == 1 ? "" : "s");
  for (const Report& state : states) {
    const char* stability = !state.contains("stable") ? "stability unknown"
                            : state["stable"].truth() ? "stable"
                                                      : "unstable";
    std::printf("  %-8s %s%s\n", stability, state["potentials"].json().c_str(),
                state["reached"].truth() ? "  the relaxation ends here" : "");
  }
}

void print_for_people(const Report& result) {
  std::printf("status: %s\n", result["status"].text().c_str());
  if (result.contains("last_iterate")) {
    std::printf("No steady state was established, so none is printed.\n");
    print_states(result);
    return;
  }
  const auto list = [&](const char* what, const Report::List& values) {
    for (std::size_t i = 0; i < values.size(); ++i)
      std::printf("  %s %-4zu %.17g\n", what, i, values[i].number());
  };
  const double kT = result["kT"].number();
  if (kT == 1) std::printf("potentials (kT):\n");
  else std::printf("potentials (in the unit of energy in which kT is %s):\n", number_text(kT).c_str());
  list("node", result["potentials"].values());
  std::printf("currents (source to target):\n");
  list("edge", result["edge_currents"].values());
  std::printf("largest real part of the eigenvalues of C^-1 G: %.17g\n",
              result["max_real_eigenvalue"].number());
  if (result["near_other_branch"].truth())
    std::printf("A small disturbance on the way would have led to another branch.\n");
  if (result.contains("loss")) {
    std::printf("loss: %.17g\n", result["loss"].number());
    std::printf("gradients:\n");
    const Report::List& edges = result["gradients"]["edges"].values();
    for (std::size_t e = 0; e < edges.size(); ++e)
      std::printf("  edge %-4zu %s\n", e, edges[e].json().c_str());
    for (const Report& leak : result["gradients"]["leaks"].values())
      std::printf("  leak      %s\n", leak.json().c_str());
    std::printf("  clamps    %s\n", result["gradients"]["clamps"].json().c_str());
  }
  print_states(result);
}

int solve(const SolveOptions& options) {
  std::vector<std::array<bool, 4>> given;
  const sim::NetworkSpec spec =
      network_from_json(text_of_file(options.network, "a network file (JSON)"), options.network, &given);
  if (const std::string ignored = spec.ignored(); !ignored.empty())
    throw FileError(options.network + ": " + ignored);
  const Solution solution(spec, std::move(given), options, solver_options(options.set));
  Report result = solution.json(options);
  if (options.all) result["states"] = solution.all_states();
  if (options.json) result.print_json();
  else print_for_people(result);
  return solution.converged() ? ExitCode::success : ExitCode::failure;
}

}  // namespace

void declare_solve(Options& line, const Command& command) {
  auto options = std::make_shared<SolveOptions>();
  line.add("NETWORK", options->network, "network file (JSON)").required().value_name("FILE");
  line.add("--clamp", options->clamp,
           "levels of the clamped nodes, in file order (in the unit of the file's kT)")
      .comma_separated()
      .one_at_a_time()
      .value_name("X1,X2,..");
  line.add("--target", options->target, "targets of the outputs: prints loss and gradients too")
      .comma_separated()
      .one_at_a_time()
      .value_name("T1,..");
  line.add("--hold", options->hold, "hold a free node at a level; may be repeated")
      .value_name("NODE=LEVEL")
      .one_at_a_time();
  line.add("--inject", options->inject, "inject a current at a free node; may be repeated")
      .value_name("NODE=CURRENT")
      .one_at_a_time();
  line.add("--ramp", options->ramp,
           "raise the clamped levels from 0 at this rate (kT per unit time) instead of stepping them")
      .value_name("RATE")
      .positive();
  line.flag("--all", options->all,
            "search for the other steady states too: which are stable, and which one the relaxation reaches");
  line.add("--set", options->set,
           "set a key of the solver, as in --set solver.path_tolerance=0.01 (the table [solver] of an "
           "experiment file); may be repeated")
      .value_name("KEY=VALUE")
      .one_at_a_time();
  line.flag("--json", options->json, "one JSON object on standard output; numbers read back bit for bit");
  line.footer(
      "The steady state is the one that the relaxation from every node's mu_init reaches when the clamped "
      "levels step to "
      "--clamp.\n"
      "Exit code 0 only if that is a stable steady state: \"status\" is converged, not_converged, "
      "limit_cycle or diverged.\n"
      "\n"
      "A network file:\n"
      "  {\"nodes\": [{\"clamped\": true, \"T\": 1},\n"
      "             {\"g\": 0.25, \"mu_ref\": -1, \"T\": 1, \"capacity\": 1, \"mu0\": 0, \"mu_init\": 0}],\n"
      "   \"edges\": [{\"source\": 0, \"target\": 1, \"law\": \"quantum-dot\", \"gamma\": 1, \"a\": 0.5, "
      "\"b\": 1.8}],\n"
      "   \"outputs\": [1], \"kT\": 1, \"c_ref\": 1}\n"
      "Laws: " +
      described_laws() +
      ".\n"
      "\n"
      "Example:\n"
      "  ness solve net.json --clamp 3 --target 0.5 --json");
  line.action([options, &command] {
    command.leave_at_first();
    return solve(*options);
  });
}

}  // namespace ness
