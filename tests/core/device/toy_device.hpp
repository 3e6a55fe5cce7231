// A small network with its equations written out: device and model of the core's tests.
#pragma once

#include <Eigen/LU>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "ness/device/device.hpp"
#include "ness/device/error.hpp"
#include "ness/device/model.hpp"

namespace toy {

using namespace ness;

struct Options {
  std::vector<std::uint32_t> layers{2, 2, 1};
  double skew = 0;  ///< 0: reciprocal edges
  bool restores_state = true;
  double tolerance = 1e-15;  ///< of the last Newton step; with a large one the result depends on the start
  Range nudge{-10, 10};      ///< of every free terminal
  Range level{-50, 50};      ///< of every terminal
  bool holds_all = false;    ///< every free terminal can be held; otherwise only the hidden ones
  std::function<bool(const Drive&)> fails;  ///< relaxations that do not converge
};

inline std::string bracketed(std::int64_t index) {
  std::string text = "[";
  return text.append(std::to_string(index)).append("]");
}

/// Fully connected layers, the first clamped: edges by layer, then target, then source.
struct Layers {
  struct Edge {
    std::uint32_t source, target;
  };
  std::vector<std::string> names;
  std::vector<Edge> edges;
  std::vector<std::uint32_t> outputs;

  explicit Layers(const std::vector<std::uint32_t>& sizes) {
    std::uint32_t begin = 0;
    for (std::size_t l = 0; l < sizes.size(); ++l) {
      const std::uint32_t end = begin + sizes[l];
      const std::string name = l == 0                  ? "in"
                               : l + 1 == sizes.size() ? "out"
                               : sizes.size() == 3     ? "hidden"
                                                       : "hidden" + std::to_string(l) + "_";
      for (std::uint32_t k = begin; k < end; ++k) {
        names.push_back(name + std::to_string(k - begin));
        for (std::uint32_t s = begin - (l > 0 ? sizes[l - 1] : 0); s < begin; ++s) edges.push_back({s, k});
        if (l + 1 == sizes.size()) outputs.push_back(k);
      }
      begin = end;
    }
  }
};

/// Edges I = scale k (d + alpha d^3 + skew d (mu_s + mu_t)), d = mu_s - mu_t; leaks g (mu - r) at every free
/// node. Parameters: k and alpha of each edge, g and r of each free node, then `scale`, a constant. Free
/// states are unique for alpha >= 0 and skew = 0 (the currents are the gradient of a convex function).
class Network : public Device, public Model {
 public:
  explicit Network(Options options = {}) : options_(std::move(options)), graph_(options_.layers) {
    info_.identity = "toy network";
    info_.restores_state = options_.restores_state;
    info_.deterministic = true;
    info_.outputs = graph_.outputs;
    for (const std::string& name : graph_.names) {
      Terminal terminal;
      terminal.name = name;
      terminal.clamped = name.starts_with("in");
      terminal.level = options_.level;
      terminal.can_hold = terminal.reads_current =
          name.starts_with("hidden") || (options_.holds_all && !terminal.clamped);
      if (!terminal.clamped) terminal.nudge = options_.nudge;
      info_.terminals.push_back(terminal);
    }
    inputs_ = options_.layers[0];
    free_ = graph_.names.size() - inputs_;
    for (std::size_t e = 0; e < graph_.edges.size(); ++e) {
      const auto edge = static_cast<std::int64_t>(e);
      const std::string index = bracketed(edge);
      info_.parameters.push_back({"k" + index, "k", "1", {1e-6, 1e6}, Scale::log, true, edge, -1});
      info_.parameters.push_back({"alpha" + index, "alpha", "1", {0, 100}, Scale::linear, true, edge, -1});
    }
    for (std::size_t n = 0; n < free_; ++n) {
      const auto node = static_cast<std::int64_t>(inputs_ + n);
      const std::string index = bracketed(node);
      info_.parameters.push_back({"g" + index, "g", "1", {1e-6, 1e6}, Scale::log, true, -1, node});
      info_.parameters.push_back({"r" + index, "r", "kT", {-50, 50}, Scale::linear, true, -1, node});
    }
    info_.parameters.push_back({"scale", "scale", "1", {0.5, 2}, Scale::linear, false, -1, -1});
    state_ = Vector::Zero(free_);
  }

  const DeviceInfo& info() const override { return info_; }
  std::size_t free_nodes() const override { return free_; }
  std::size_t parameters() const override { return info_.parameters.size(); }

  /// Example parameters: all edges of the same kind, with different values.
  Vector example_theta(double alpha = 0.2) const {
    Vector theta(info_.parameters.size());
    for (std::size_t i = 0; i < info_.parameters.size(); ++i) {
      const double wave = std::sin(1.0 + 2.3 * static_cast<double>(i));  // irregular values
      const std::string& kind = info_.parameters[i].kind;
      theta[i] = kind == "k"       ? std::exp(0.5 * wave)
                 : kind == "alpha" ? alpha * (1 + 0.5 * wave)
                 : kind == "g"     ? 0.5 + 0.2 * wave
                                   : wave;
    }
    theta[theta.size() - 1] = 1;
    return theta;
  }

  std::uint64_t solved = 0;  ///< relaxations made

  // Model
  Vector currents(const Drive& drive, const Vector& potential) const override {
    return currents(drive.theta.values(), drive.clamp.levels(), potential);
  }
  Matrix conductance(const Drive& drive, const Vector& potential) const override {
    return -jacobian(drive.theta.values(), drive.clamp.levels(), potential);
  }

  void add_gradient(std::span<const Drive> drives, std::span<const Vector> potential,
                    std::span<const Vector> costate, Eigen::Ref<Vector> gradient) const override {
    for (std::size_t i = 0; i < drives.size(); ++i) {
      const Vector theta = drives[i].theta.values(), levels = drives[i].clamp.levels();
      const double scale = theta[theta.size() - 1];
      const auto at = [&](std::uint32_t node) {
        return node < inputs_ ? levels[node] : potential[i][node - inputs_];
      };
      const auto lambda = [&](std::uint32_t node) { return node < inputs_ ? 0 : costate[i][node - inputs_]; };
      for (std::size_t e = 0; e < graph_.edges.size(); ++e) {
        const auto [s, t] = graph_.edges[e];
        const double d = at(s) - at(t), pull = lambda(s) - lambda(t);
        const double shape = d + theta[2 * e + 1] * d * d * d + options_.skew * d * (at(s) + at(t));
        gradient[2 * e] -= pull * scale * shape;
        gradient[2 * e + 1] -= pull * scale * theta[2 * e] * d * d * d;
        gradient[theta.size() - 1] -= pull * theta[2 * e] * shape;
      }
      for (std::size_t n = 0; n < free_; ++n) {
        const std::size_t g = 2 * graph_.edges.size() + 2 * n;
        gradient[g] -= costate[i][n] * (potential[i][n] - theta[g + 1]);
        gradient[g + 1] += costate[i][n] * theta[g];
      }
    }
  }

  /// Net outgoing currents, [n_free].
  Vector currents(const Vector& theta, const Vector& levels, const Vector& mu) const {
    Vector total = Vector::Zero(free_);
    const double scale = theta[theta.size() - 1];
    const auto at = [&](std::uint32_t node) { return node < inputs_ ? levels[node] : mu[node - inputs_]; };
    for (std::size_t e = 0; e < graph_.edges.size(); ++e) {
      const auto [s, t] = graph_.edges[e];
      const double d = at(s) - at(t);
      const double current =
          scale * theta[2 * e] * (d + theta[2 * e + 1] * d * d * d + options_.skew * d * (at(s) + at(t)));
      if (s >= inputs_) total[s - inputs_] += current;
      if (t >= inputs_) total[t - inputs_] -= current;
    }
    for (std::size_t n = 0; n < free_; ++n) {
      const std::size_t g = 2 * graph_.edges.size() + 2 * n;
      total[n] += theta[g] * (mu[n] - theta[g + 1]);
    }
    return total;
  }

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override {
    const std::vector<std::uint32_t> nudgeable = info_.nudgeable();
    for (std::size_t i = 0; i < drives.size(); ++i) {
      if (stop.stop_requested()) throw Cancelled();
      const Drive& drive = drives[i];
      if (std::holds_alternative<Rest>(drive.start)) state_.setZero();
      if (const From* from = std::get_if<From>(&drive.start)) state_ = *from->potential;
      Relaxation row;
      row.timing = {time_, time_ + 1, time_ + 1, options_.tolerance};
      time_ += 1;
      ++solved;
      if (options_.fails && options_.fails(drive)) {
        row.potential = Vector::Constant(free_, std::numeric_limits<double>::quiet_NaN());
        row.quality.raise(Flag::not_converged);
      } else {
        Vector u = Vector::Zero(free_);
        for (Eigen::Index k = 0; k < drive.nudge.size(); ++k) u[nudgeable[k] - inputs_] = drive.nudge[k];
        solve(drive, u);
        row.potential = state_;
        if (!drive.holds.empty()) row.current = supplied(drive, u);
      }
      sink(i, row);
    }
  }

 private:
  Matrix jacobian(const Vector& theta, const Vector& levels, const Vector& mu) const {
    Matrix j = Matrix::Zero(free_, free_);
    const double scale = theta[theta.size() - 1];
    const auto at = [&](std::uint32_t node) { return node < inputs_ ? levels[node] : mu[node - inputs_]; };
    for (std::size_t e = 0; e < graph_.edges.size(); ++e) {
      const auto [s, t] = graph_.edges[e];
      const double d = at(s) - at(t), sum = at(s) + at(t), k = scale * theta[2 * e];
      const double steepness = 1 + 3 * theta[2 * e + 1] * d * d;
      const double by_source = k * (steepness + options_.skew * (sum + d)),
                   by_target = k * (-steepness + options_.skew * (d - sum));
      for (const auto& [node, sign] : {std::pair{s, 1.0}, std::pair{t, -1.0}}) {
        if (node < inputs_) continue;
        if (s >= inputs_) j(node - inputs_, s - inputs_) += sign * by_source;
        if (t >= inputs_) j(node - inputs_, t - inputs_) += sign * by_target;
      }
    }
    for (std::size_t n = 0; n < free_; ++n) j(n, n) += theta[2 * graph_.edges.size() + 2 * n];
    return j;
  }

  // Current supplied by the holding source: the net outgoing current of the node minus the injected current.
  Vector supplied(const Drive& drive, const Vector& u) const {
    const Vector short_of = currents(drive.theta.values(), drive.clamp.levels(), state_) - u;
    Vector current = Vector::Constant(static_cast<Eigen::Index>(info_.terminals.size()),
                                      std::numeric_limits<double>::quiet_NaN());
    for (const Hold& hold : drive.holds) current[hold.terminal] = short_of[hold.terminal - inputs_];
    return current;
  }

  // Newton's method; the step is halved until the residual decreases.
  void solve(const Drive& drive, const Vector& u) {
    const Vector theta = drive.theta.values(), levels = drive.clamp.levels();
    for (const Hold& hold : drive.holds) state_[hold.terminal - inputs_] = hold.level;
    const auto residual = [&](const Vector& mu) {
      Vector f = currents(theta, levels, mu) - u;
      for (const Hold& hold : drive.holds) f[hold.terminal - inputs_] = 0;
      return f;
    };
    for (int iteration = 0; iteration < 200; ++iteration) {
      const Vector f = residual(state_);
      Matrix j = jacobian(theta, levels, state_);
      for (const Hold& hold : drive.holds) {
        j.row(hold.terminal - inputs_).setZero();
        j(hold.terminal - inputs_, hold.terminal - inputs_) = 1;
      }
      const Vector step = -j.partialPivLu().solve(f);
      double part = 1;
      while (part > 1e-3 && !(residual(state_ + part * step).norm() < f.norm())) part /= 2;
      const double largest = step.cwiseAbs().maxCoeff();
      if (part <= 1e-3) {
        if (largest < 1e-9) return;  // the residual is rounding and cannot decrease
        part = 1;
      }
      state_ += part * step;
      if (largest < options_.tolerance) return;
    }
  }

  Options options_;
  Layers graph_;
  DeviceInfo info_;
  std::size_t inputs_ = 0, free_ = 0;
  Vector state_;
  double time_ = 0;
};

/// The network as a model for an estimator; `network` must outlive it.
inline std::shared_ptr<const Model> model_of(const Network& network) {
  return {std::shared_ptr<const Model>(), &network};
}

}  // namespace toy
