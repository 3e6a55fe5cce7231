#include "sim/network/cvode.hpp"

#include <cvode/cvode.h>
#include <nvector/nvector_serial.h>
#include <sunlinsol/sunlinsol_dense.h>
#include <sunmatrix/sunmatrix_dense.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "ness/network/rosenbrock.hpp"

using namespace ness;
using namespace ness::sim;

namespace {
// Data of the callbacks: a network under a boundary whose clamped levels may still move.
struct Motion {
  const Network& network;
  Boundary now;  // levels at the time last evaluated
  Vector final_levels;
  double rate;
  Network::WorkspacePtr work;
  Vector potential, unbalanced;
  Matrix jacobian;
  std::string error;

  void set_time(double t) {
    if (std::isinf(rate)) return;
    for (Eigen::Index i = 0; i < final_levels.size(); ++i)
      now.clamp[i] = std::copysign(std::min(std::abs(final_levels[i]), rate * t), final_levels[i]);
    network.impose(now, *work);
  }
  void load(N_Vector y) { potential = Eigen::Map<const Vector>(N_VGetArrayPointer(y), potential.size()); }
};

int right_side(realtype t, N_Vector y, N_Vector ydot, void* user) {
  auto& motion = *static_cast<Motion*>(user);
  motion.load(y);
  motion.set_time(t);
  motion.network.evaluate(*motion.work, motion.potential, motion.unbalanced, nullptr);
  Eigen::Map<Vector> rate(N_VGetArrayPointer(ydot), motion.potential.size());
  rate = motion.unbalanced.cwiseQuotient(motion.network.capacity(motion.potential));
  return rate.allFinite() ? 0 : 1;  // 1: CVODE tries a smaller step
}

int set_jacobian(realtype t, N_Vector y, N_Vector, SUNMatrix J, void* user, N_Vector, N_Vector, N_Vector) {
  auto& motion = *static_cast<Motion*>(user);
  motion.load(y);
  motion.set_time(t);
  motion.network.evaluate(*motion.work, motion.potential, motion.unbalanced, &motion.jacobian);
  const Vector C = motion.network.capacity(motion.potential);
  const std::vector<bool> enzyme = motion.network.potential_dependent_capacity();
  const std::vector<bool> held = held_nodes(*motion.work);
  const auto n = motion.potential.size();
  for (Eigen::Index k = 0; k < n; ++k) {
    for (Eigen::Index j = 0; j < n; ++j) SM_ELEMENT_D(J, k, j) = held[k] ? 0 : -motion.jacobian(k, j) / C[k];
    if (enzyme[k] && !held[k])
      SM_ELEMENT_D(J, k, k) -= motion.unbalanced[k] / (C[k] * motion.network.spec().kT);
  }
  return 0;
}

void keep_message(int code, const char*, const char* function, char* message, void* user) {
  if (code < 0) static_cast<Motion*>(user)->error = std::string(function) + ": " + message;
}

// SUNDIALS objects, freed in reverse order.
class Cvode {
 public:
  Cvode(Motion& motion, const Vector& start, const TransientOptions& options) : motion_(motion) {
    check(SUNContext_Create(nullptr, &context_), "SUNContext_Create");
    const auto n = static_cast<sunindextype>(start.size());
    y_ = N_VNew_Serial(n, context_);
    A_ = SUNDenseMatrix(n, n, context_);
    if (y_ == nullptr || A_ == nullptr) throw std::bad_alloc();
    std::copy(start.data(), start.data() + n, N_VGetArrayPointer(y_));
    solver_ = SUNLinSol_Dense(y_, A_, context_);
    memory_ = CVodeCreate(CV_BDF, context_);
    if (solver_ == nullptr || memory_ == nullptr) throw std::bad_alloc();
    check(CVodeSetErrHandlerFn(memory_, keep_message, &motion_), "CVodeSetErrHandlerFn");
    check(CVodeInit(memory_, right_side, 0, y_), "CVodeInit");
    check(CVodeSStolerances(memory_, options.relative_tolerance, options.absolute_tolerance),
          "CVodeSStolerances");
    check(CVodeSetUserData(memory_, &motion_), "CVodeSetUserData");
    check(CVodeSetLinearSolver(memory_, solver_, A_), "CVodeSetLinearSolver");
    check(CVodeSetJacFn(memory_, set_jacobian), "CVodeSetJacFn");
    check(CVodeSetMaxNumSteps(memory_, options.max_steps), "CVodeSetMaxNumSteps");
    check(CVodeSetMaxHnilWarns(memory_, -1), "CVodeSetMaxHnilWarns");
  }
  ~Cvode() {
    if (memory_ != nullptr) CVodeFree(&memory_);
    if (solver_ != nullptr) SUNLinSolFree(solver_);
    if (A_ != nullptr) SUNMatDestroy(A_);
    if (y_ != nullptr) N_VDestroy(y_);
    if (context_ != nullptr) SUNContext_Free(&context_);
  }
  Cvode(const Cvode&) = delete;
  Cvode& operator=(const Cvode&) = delete;

  /// Integrates to exactly `t`, with no evaluation beyond it, so that a kink of the ramp at `t` is respected.
  void advance(double t) {
    if (t <= now_) return;
    check(CVodeSetStopTime(memory_, t), "CVodeSetStopTime");
    check(CVode(memory_, t, y_, &now_, CV_NORMAL), "CVode");
  }
  /// Restarts at the present time and state, after a kink.
  void restart() { check(CVodeReInit(memory_, now_, y_), "CVodeReInit"); }
  Vector state() const { return Eigen::Map<const Vector>(N_VGetArrayPointer(y_), motion_.potential.size()); }

 private:
  void check(int code, const char* call) const {
    if (code < 0)
      throw std::runtime_error("transient: " +
                               (motion_.error.empty()
                                    ? std::string(call) + " failed with code " + std::to_string(code)
                                    : motion_.error));
  }
  Motion& motion_;
  SUNContext context_ = nullptr;
  N_Vector y_ = nullptr;
  SUNMatrix A_ = nullptr;
  SUNLinearSolver solver_ = nullptr;
  void* memory_ = nullptr;
  double now_ = 0;
};
}  // namespace

std::vector<Vector> follow_by_cvode(const Network& network, const Boundary& boundary, const Vector& start,
                                    std::span<const double> times, const TransientOptions& options) {
  Motion motion{network, boundary, boundary.clamp, options.clamp_rate, network.workspace(), start, {},
                {},      {}};
  Vector from = start;
  for (const auto& [k, level] : boundary.held) from[k] = level;
  motion.network.impose(motion.now, *motion.work);
  Cvode cvode(motion, from, options);
  const double ramp_end = std::isinf(options.clamp_rate) || boundary.clamp.size() == 0
                              ? 0
                              : boundary.clamp.cwiseAbs().maxCoeff() / options.clamp_rate;
  std::vector<double> kinks;
  if (ramp_end > 0) {
    for (Eigen::Index i = 0; i < boundary.clamp.size(); ++i)
      kinks.push_back(std::abs(boundary.clamp[i]) / options.clamp_rate);
    std::sort(kinks.begin(), kinks.end());
    kinks.erase(std::unique(kinks.begin(), kinks.end()), kinks.end());
  }
  std::vector<Vector> states;
  auto kink = kinks.begin();
  for (const double t : times) {
    for (; kink != kinks.end() && *kink <= t; ++kink) {
      cvode.advance(*kink);
      if (*kink > 0) cvode.restart();
    }
    cvode.advance(t);
    states.push_back(cvode.state());
  }
  return states;
}
