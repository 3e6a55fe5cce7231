#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "estimators/estimator_rows.hpp"
#include "estimators/measured_jacobian.hpp"
#include "ness/device/dense_lu.hpp"

namespace ness {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

const char* name_of(const ConductanceOptions& options) {
  return options.measure_every > 0 ? "conductance-by-voltage-tracked" : "conductance-by-voltage";
}

class ConductanceByVoltage final : public MeasuredJacobian {
 public:
  ConductanceByVoltage(std::shared_ptr<const Model> model, const ConductanceOptions& o)
      : MeasuredJacobian(name_of(o), std::move(model),
                         {o.probe, o.central, o.measure_every, o.refresh, o.reset}, o.perturbations, o.law) {}

 private:
  std::string unmet_by_costate(const DeviceInfo& info) const override { return unmet_by_holding(info); }

  Probe probe_of(const DeviceInfo& info, const Relaxation& free, std::size_t node,
                 double size) const override {
    const Range& range = info.terminals[info.free()[node]].level;
    const double here = free.potential[static_cast<Eigen::Index>(node)],
                 up = std::max(0.0, std::min(size, range.high - here)),
                 down = std::max(0.0, std::min(size, here - range.low));
    if (central()) return {up, -down, Probe::Kind::pair};
    return {up >= down ? up : -down, 0, Probe::Kind::one_sided};
  }

  bool impose_step(Drive& drive, const DeviceInfo& info, const Relaxation& free, std::size_t node,
                   double step) const override {
    const std::vector<std::uint32_t> terminals = info.free();
    for (std::size_t k = 0; k < terminals.size(); ++k) {
      const Range& range = info.terminals[terminals[k]].level;
      const double here = free.potential[static_cast<Eigen::Index>(k)];
      if (!range.contains(here)) return false;
      // here + (high - here) may exceed high by rounding.
      drive.holds.push_back(
          {terminals[k], k == node ? std::clamp(here + step, range.low, range.high) : here});
    }
    return true;
  }

  bool has_base() const override { return !central(); }

  static Vector at_free(const DeviceInfo& info, const Vector& all) {
    const std::vector<std::uint32_t> terminals = info.free();
    Vector some = Vector::Constant(static_cast<Eigen::Index>(terminals.size()), nan);
    if (static_cast<std::size_t>(all.size()) != info.terminals.size()) return some;
    for (std::size_t k = 0; k < terminals.size(); ++k) some[static_cast<Eigen::Index>(k)] = all[terminals[k]];
    return some;
  }
  Vector answer(const DeviceInfo& info, const Relaxation& row, const Vector&) const override {
    return at_free(info, row.current);
  }
  Vector answer_error(const DeviceInfo& info, const Relaxation& row) const override {
    const Vector errors = at_free(info, row.current_sigma);
    return errors.allFinite() ? errors : Vector();
  }
  double answer_variance(const DeviceInfo& info, const Relaxation& row) const override {
    return answer_error(info, row).size() > 0
               ? answer_error(info, row).squaredNorm() / static_cast<double>(answers(info))
               : nan;
  }
  std::string unstated(const DeviceInfo& info) const override {
    if (tracks())
      return "the errors of where the nodes were held remain in the conductance that is remembered "
             "(measure_every = 0)";
    if (model() == nullptr)
      return "without a model nothing says how the conductance depends on where the nodes are held";
    return Response::limit(info.free().size());
  }
  bool reads_currents(const DeviceInfo&) const override { return true; }
  // Nodes are held where the free state was read. An error there adds to all held currents alike, and
  // cancels; what it changes in dI/dmu does not.
  void follow(const DeviceInfo& info, const Minibatch& batch, const Loss&, const Sample& was,
              const RedrawnSample& now, const Response& response) const override {
    if (response.model() == nullptr) return;
    const std::vector<std::uint32_t> terminals = info.free();
    const Matrix change =
        response.conductance() - response.model()->conductance(response.drive(), now.free->potential);
    for_steps(info, batch, was, [&](std::size_t k, std::size_t node, double step) {
      Vector& current = now.perturbations[k]->current;
      if (static_cast<std::size_t>(current.size()) != info.terminals.size()) return;
      for (std::size_t n = 0; n < terminals.size(); ++n)
        current[terminals[n]] += step * change(static_cast<Eigen::Index>(n), static_cast<Eigen::Index>(node));
    });
  }
  std::size_t answers(const DeviceInfo& info) const override { return info.free().size(); }

  Vector solved(const DeviceInfo&, const Matrix& response, const Vector& c) const override {
    const DenseLu lu(response.transpose());
    if (!lu.solvable()) return Vector::Constant(c.size(), nan);
    Vector solution;
    lu.solve(c, solution);
    return solution;
  }

  double asymmetry_of(const DeviceInfo&, const Sample&, const Matrix& response) const override {
    return (response - response.transpose()).norm() / (response + response.transpose()).norm();
  }

  Shift shift_of(const DeviceInfo&, const Matrix& response, const Vector& shift, const Vector& equivalent,
                 const Vector& errors) const override {
    return {shift, equivalent, (response * errors.asDiagonal()).norm()};
  }
};

}  // namespace

std::unique_ptr<Estimator> conductance_by_voltage(std::shared_ptr<const Model> model,
                                                  const ConductanceOptions& options) {
  return std::make_unique<ConductanceByVoltage>(std::move(model), options);
}

EstimatorMaker read_conductance(Keys& keys, bool tracked) {
  const auto options = read_measured_jacobian<ConductanceOptions>(keys, tracked, "kT");
  return
      [options](const EstimatorContext& context) { return conductance_by_voltage(context.model, options); };
}

}  // namespace ness
