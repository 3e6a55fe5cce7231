#include "sim/network/integrators.hpp"

#include <cvode/cvode.h>
#include <nvector/nvector_serial.h>
#include <sunlinsol/sunlinsol_dense.h>
#include <sunmatrix/sunmatrix_dense.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace integrators {

namespace {
// SUNDIALS objects, freed in reverse order.
class Cvode final : public Integrator {
 public:
  Cvode(const System& system, const VectorXd& start, const Tolerance& tolerance)
      : system_(system), size_(start.size()) {
    check(SUNContext_Create(nullptr, &context_), "SUNContext_Create");
    const auto n = static_cast<sunindextype>(size_);
    y_ = N_VNew_Serial(n, context_);
    A_ = SUNDenseMatrix(n, n, context_);
    if (y_ == nullptr || A_ == nullptr) throw std::bad_alloc();
    std::copy(start.data(), start.data() + n, N_VGetArrayPointer(y_));
    solver_ = SUNLinSol_Dense(y_, A_, context_);
    memory_ = CVodeCreate(CV_BDF, context_);
    if (solver_ == nullptr || memory_ == nullptr) throw std::bad_alloc();
    check(CVodeSetErrHandlerFn(memory_, keep_message, this), "CVodeSetErrHandlerFn");
    check(CVodeInit(memory_, right_side, 0, y_), "CVodeInit");
    check(CVodeSStolerances(memory_, tolerance.relative, tolerance.absolute), "CVodeSStolerances");
    check(CVodeSetUserData(memory_, this), "CVodeSetUserData");
    check(CVodeSetLinearSolver(memory_, solver_, A_), "CVodeSetLinearSolver");
    check(CVodeSetJacFn(memory_, set_jacobian), "CVodeSetJacFn");
    check(CVodeSetMaxNumSteps(memory_, tolerance.steps), "CVodeSetMaxNumSteps");
    check(CVodeSetMaxHnilWarns(memory_, -1), "CVodeSetMaxHnilWarns");
  }
  ~Cvode() override {
    if (memory_ != nullptr) CVodeFree(&memory_);
    if (solver_ != nullptr) SUNLinSolFree(solver_);
    if (A_ != nullptr) SUNMatDestroy(A_);
    if (y_ != nullptr) N_VDestroy(y_);
    if (context_ != nullptr) SUNContext_Free(&context_);
  }
  Cvode(const Cvode&) = delete;
  Cvode& operator=(const Cvode&) = delete;

  void advance(double t) override {
    if (t - now_ <= 1e-14 * t) return;  // nearer than CVODE can step
    check(CVodeSetStopTime(memory_, t), "CVodeSetStopTime");
    check(CVode(memory_, t, y_, &now_, CV_NORMAL), "CVode");
  }
  void restart() override { check(CVodeReInit(memory_, now_, y_), "CVodeReInit"); }
  VectorXd state() const override { return Eigen::Map<const VectorXd>(N_VGetArrayPointer(y_), size_); }

 private:
  static int right_side(realtype t, N_Vector y, N_Vector ydot, void* user) {
    const Cvode& self = *static_cast<Cvode*>(user);
    Eigen::Map<VectorXd> rate(N_VGetArrayPointer(ydot), self.size_);
    rate = self.system_.rate(t, Eigen::Map<const VectorXd>(N_VGetArrayPointer(y), self.size_));
    return rate.allFinite() ? 0 : 1;  // 1: CVODE tries a smaller step
  }
  static int set_jacobian(realtype t, N_Vector y, N_Vector, SUNMatrix J, void* user, N_Vector, N_Vector,
                          N_Vector) {
    const Cvode& self = *static_cast<Cvode*>(user);
    const MatrixXd by =
        self.system_.jacobian(t, Eigen::Map<const VectorXd>(N_VGetArrayPointer(y), self.size_));
    for (Eigen::Index i = 0; i < self.size_; ++i) {
      for (Eigen::Index j = 0; j < self.size_; ++j) SM_ELEMENT_D(J, i, j) = by(i, j);
    }
    return 0;
  }
  static void keep_message(int code, const char*, const char* function, char* message, void* user) {
    if (code < 0) static_cast<Cvode*>(user)->error_ = std::string(function) + ": " + message;
  }
  void check(int code, const char* call) const {
    if (code < 0)
      throw std::runtime_error(
          error_.empty() ? std::string(call) + " failed with code " + std::to_string(code) : error_);
  }
  const System& system_;
  const Eigen::Index size_;
  std::string error_;
  SUNContext context_ = nullptr;
  N_Vector y_ = nullptr;
  SUNMatrix A_ = nullptr;
  SUNLinearSolver solver_ = nullptr;
  void* memory_ = nullptr;
  double now_ = 0;
};

// Radau IIA with three stages. Newton's method runs on the whole system of 3 n equations, until its
// correction is a thousandth of the tolerance.
class Radau final : public Integrator {
 public:
  Radau(const System& system, const VectorXd& start, const Tolerance& tolerance)
      : system_(system), tolerance_(tolerance), y_(start) {}

  void advance(double t) override {
    for (long steps = 0; now_ < t; ++steps) {
      if (steps == tolerance_.steps) throw std::runtime_error("Radau: too many steps");
      step(t);
    }
  }
  void restart() override { h_ = 0; }
  VectorXd state() const override { return y_; }

 private:
  VectorXd weight(const VectorXd& y) const {
    return (tolerance_.absolute + tolerance_.relative * y.cwiseAbs().array()).inverse();
  }

  void step(double last) {
    const VectorXd f = system_.rate(now_, y_);
    const MatrixXd J = system_.jacobian(now_, y_);
    const Eigen::Index n = y_.size();
    const VectorXd w = weight(y_);
    if (h_ == 0) h_ = 1e-6 / std::max(1e-3, f.cwiseAbs().maxCoeff());
    for (bool repeated = false;; repeated = true) {
      const bool ends = h_ * 1.01 >= last - now_;
      const double h = ends ? last - now_ : h_;
      if (!(h > 1e-15 * std::max(now_, 1e-9))) throw std::runtime_error("Radau: the step size vanishes");
      MatrixXd matrix = MatrixXd::Identity(3 * n, 3 * n);
      for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) matrix.block(i * n, j * n, n, n) -= h * A(i, j) * J;
      }
      const Eigen::PartialPivLU<MatrixXd> lu(matrix);
      VectorXd z = VectorXd::Zero(3 * n), residual(3 * n);
      bool solved = false;
      double before = std::numeric_limits<double>::infinity();
      for (int iteration = 0; iteration < 15 && !solved; ++iteration) {
        residual = -z;
        for (int j = 0; j < 3; ++j) {
          const VectorXd fj = system_.rate(now_ + c(j) * h, y_ + z.segment(j * n, n));
          for (int i = 0; i < 3; ++i) residual.segment(i * n, n) += h * A(i, j) * fj;
        }
        const VectorXd correction = lu.solve(residual);
        double size = 0;
        for (int i = 0; i < 3; ++i)
          size = std::max(size, correction.segment(i * n, n).cwiseProduct(w).cwiseAbs().maxCoeff());
        if (!std::isfinite(size) || (iteration > 1 && size > 0.7 * before)) break;
        z += correction;
        before = size;
        solved = size < 1e-3;
      }
      if (!solved) {
        h_ = 0.3 * h;
        continue;
      }
      const double root6 = std::sqrt(6.0), u = 30 / (6 + std::cbrt(81.0) - std::cbrt(9.0));
      const VectorXd spread = f + ((-13 - 7 * root6) / 3 * z.segment(0, n) +
                                   (-13 + 7 * root6) / 3 * z.segment(n, n) - 1.0 / 3 * z.segment(2 * n, n)) /
                                      h;
      const Eigen::PartialPivLU<MatrixXd> filter(MatrixXd::Identity(n, n) * (u / h) - J);
      VectorXd error = filter.solve(spread);
      double size = error.cwiseProduct(w).cwiseAbs().maxCoeff();
      if (size >= 1) {
        // Stiff parts of the estimate are damped by a second filter.
        error = filter.solve(system_.rate(now_, y_ + error) + (spread - f));
        size = error.cwiseProduct(w).cwiseAbs().maxCoeff();
      }
      const double factor = 0.9 / std::pow(std::max(size, 1e-8), 0.25);
      if (!(size < 1)) {
        h_ = h * std::clamp(factor, 0.1, 0.9);
        continue;
      }
      y_ += z.segment(2 * n, n);
      now_ = ends ? last : now_ + h;
      if (!ends || factor < 1) h_ = h * std::clamp(factor, 0.2, repeated ? 1.0 : 5.0);
      return;
    }
  }

  static double A(int i, int j) {
    static const double s = std::sqrt(6.0);
    static const double a[3][3] = {{(88 - 7 * s) / 360, (296 - 169 * s) / 1800, (-2 + 3 * s) / 225},
                                   {(296 + 169 * s) / 1800, (88 + 7 * s) / 360, (-2 - 3 * s) / 225},
                                   {(16 - s) / 36, (16 + s) / 36, 1.0 / 9}};
    return a[i][j];
  }
  static double c(int i) {
    static const double s = std::sqrt(6.0);
    return i == 0 ? (4 - s) / 10 : i == 1 ? (4 + s) / 10 : 1;
  }

  const System& system_;
  const Tolerance tolerance_;
  VectorXd y_;
  double now_ = 0, h_ = 0;
};
}  // namespace

std::unique_ptr<Integrator> cvode(const System& system, const VectorXd& start, const Tolerance& tolerance) {
  return std::make_unique<Cvode>(system, start, tolerance);
}
std::unique_ptr<Integrator> radau(const System& system, const VectorXd& start, const Tolerance& tolerance) {
  return std::make_unique<Radau>(system, start, tolerance);
}

namespace {
struct Equations {
  ness::sim::NetworkSpec spec;
  VectorXd level;
  double rate;
  std::vector<std::size_t> free, clamped;

  Equations(const ness::sim::NetworkSpec& given, const VectorXd& levels, double ramp)
      : spec(given), level(levels), rate(ramp) {
    for (std::size_t k = 0; k < spec.graph.nodes.size(); ++k)
      (spec.graph.nodes[k].clamped ? clamped : free).push_back(k);
  }

  std::vector<double> potentials(double t, const VectorXd& y) const {
    std::vector<double> mu(spec.nodes.size());
    for (std::size_t i = 0; i < clamped.size(); ++i) {
      const double to = level[static_cast<Eigen::Index>(i)];
      mu[clamped[i]] = std::isinf(rate) ? to : std::copysign(std::min(std::abs(to), rate * t), to);
    }
    for (std::size_t k = 0; k < free.size(); ++k) mu[free[k]] = y[static_cast<Eigen::Index>(k)];
    return mu;
  }

  // Currents into every node, and their derivatives by the potentials.
  void sum(const std::vector<double>& mu, VectorXd& into, MatrixXd& by) const {
    const auto n = static_cast<Eigen::Index>(mu.size());
    into = VectorXd::Zero(n);
    by = MatrixXd::Zero(n, n);
    for (std::size_t e = 0; e < spec.edges.size(); ++e) {
      const Eigen::Index s = spec.graph.edges[e].source, t = spec.graph.edges[e].target;
      const auto& [gamma, a, b, d] = spec.edges[e].p;
      const double x = mu[static_cast<std::size_t>(s)], y = mu[static_cast<std::size_t>(t)];
      const double Ts = spec.kT * spec.nodes[static_cast<std::size_t>(s)].T,
                   Tt = spec.kT * spec.nodes[static_cast<std::size_t>(t)].T;
      const double level = a + b * (x - y) + d * (x + y) / 2;
      // f = (1 - tanh(u/2))/2, f' = -(1 - tanh^2)/4
      const double ts = std::tanh((level - x) / Ts / 2), tt = std::tanh((level - y) / Tt / 2);
      const double I = gamma * (tt - ts) / 2;
      const double ps = (1 - ts * ts) / 4 / Ts, pt = (1 - tt * tt) / 4 / Tt;
      const double by_x = gamma * (pt * (b + d / 2) - ps * (b + d / 2 - 1)),
                   by_y = gamma * (pt * (-b + d / 2 - 1) - ps * (-b + d / 2));
      into[s] -= I;
      into[t] += I;
      by(s, s) -= by_x;
      by(s, t) -= by_y;
      by(t, s) += by_x;
      by(t, t) += by_y;
    }
    for (const std::size_t k : free) {
      const auto i = static_cast<Eigen::Index>(k);
      into[i] -= spec.nodes[k].g * (mu[k] - spec.nodes[k].mu_ref);
      by(i, i) -= spec.nodes[k].g;
    }
  }
};
}  // namespace

System dots(const ness::sim::NetworkSpec& spec, const VectorXd& level, double rate) {
  const auto equations = std::make_shared<Equations>(spec, level, rate);
  System system;
  system.rate = [equations](double t, const VectorXd& y) {
    VectorXd into;
    MatrixXd by;
    equations->sum(equations->potentials(t, y), into, by);
    VectorXd f(y.size());
    for (std::size_t k = 0; k < equations->free.size(); ++k) {
      const std::size_t node = equations->free[k];
      f[static_cast<Eigen::Index>(k)] =
          into[static_cast<Eigen::Index>(node)] / equations->spec.nodes[node].capacity;
    }
    return f;
  };
  system.jacobian = [equations](double t, const VectorXd& y) {
    VectorXd into;
    MatrixXd by;
    equations->sum(equations->potentials(t, y), into, by);
    MatrixXd J(y.size(), y.size());
    for (Eigen::Index i = 0; i < y.size(); ++i) {
      const std::size_t row = equations->free[static_cast<std::size_t>(i)];
      for (Eigen::Index j = 0; j < y.size(); ++j) {
        const std::size_t column = equations->free[static_cast<std::size_t>(j)];
        J(i, j) = by(static_cast<Eigen::Index>(row), static_cast<Eigen::Index>(column)) /
                  equations->spec.nodes[row].capacity;
      }
    }
    return J;
  };
  return system;
}

std::vector<double> arrivals(const VectorXd& level, double rate) {
  std::vector<double> times;
  if (std::isinf(rate)) return times;
  for (const double to : level) times.push_back(std::abs(to) / rate);
  std::sort(times.begin(), times.end());
  times.erase(std::unique(times.begin(), times.end()), times.end());
  return times;
}

Rest follow_to_rest(const System& system, const VectorXd& start, const std::vector<double>& kinks,
                    std::unique_ptr<Integrator> (*make)(const System&, const VectorXd&, const Tolerance&),
                    double longest, const Tolerance& tolerance) {
  Rest rest;
  try {
    const std::unique_ptr<Integrator> path = make(system, start, tolerance);
    double from = 0;
    for (const double t : kinks) {
      if (!(t > from)) continue;
      path->advance(t);
      path->restart();
      from = t;
    }
    for (double wait = 3;; wait *= 2) {
      path->advance(from + wait);
      from += wait;
      rest.state = path->state();
      const VectorXd f = system.rate(from, rest.state);
      const MatrixXd J = system.jacobian(from, rest.state);
      const Eigen::VectorXcd eigenvalues = J.eigenvalues();
      const bool stable = eigenvalues.real().maxCoeff() < 0;
      VectorXd end = rest.state - J.partialPivLu().solve(f);
      if (stable && (end - rest.state).cwiseAbs().maxCoeff() < 1e-4) {
        // At rest if Newton's method, from here, ends beside here.
        for (int i = 0; i < 20; ++i)
          end -= system.jacobian(from, end).partialPivLu().solve(system.rate(from, end));
        if ((end - rest.state).cwiseAbs().maxCoeff() < 1e-3 &&
            system.jacobian(from, end).eigenvalues().real().maxCoeff() < 0) {
          rest.state = end;
          rest.kind = Rest::Kind::stable;
          return rest;
        }
      }
      if (from > longest) {
        rest.kind = f.cwiseAbs().maxCoeff() < 1e-9 ? Rest::Kind::unstable : Rest::Kind::moving;
        return rest;
      }
    }
  } catch (const std::runtime_error&) {
    return rest;
  }
}

}  // namespace integrators
