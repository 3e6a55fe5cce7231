#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "estimators/estimator_rows.hpp"
#include "estimators/measured_jacobian.hpp"
#include "ness/device/dense_lu.hpp"

namespace ness {
namespace {

const char* name_of(const NodeProbingOptions& options) {
  return options.measure_every > 0 ? "node-probing-tracked" : "node-probing";
}

class NodeProbing final : public MeasuredJacobian {
 public:
  NodeProbing(std::shared_ptr<const Model> model, const NodeProbingOptions& o)
      : MeasuredJacobian(name_of(o), std::move(model),
                         {o.probe, o.central, o.measure_every, o.refresh, o.reset}, o.perturbations, o.law) {}

 private:
  std::string unmet_by_costate(const DeviceInfo& info) const override {
    for (const std::uint32_t terminal : info.free()) {
      const Terminal& t = info.terminals[terminal];
      if (t.nudge.empty())
        return "terminal " + std::to_string(terminal) + " (" + t.name +
               ") cannot be nudged; currents are injected at every free node";
    }
    return {};
  }

  Probe probe_of(const DeviceInfo& info, const Relaxation&, std::size_t node, double size) const override {
    const Range& range = info.terminals[info.free()[node]].nudge;
    const double up = range.high, down = -range.low, wide = std::max(up, down), narrow = std::min(up, down),
                 sign = up >= down ? 1 : -1;
    // If the range does not contain 0, currents between 0 and the range cannot be injected.
    const double least = std::max(0.0, sign > 0 ? range.low : -range.high);
    if (!central()) {
      const double side = up >= size ? 1 : down >= size ? -1 : sign;
      return {side * std::max(std::min(size, side > 0 ? up : down), side == sign ? least : 0), 0,
              Probe::Kind::one_sided};
    }
    if (narrow >= std::min(size, wide / 2))
      return {std::min(size, narrow), -std::min(size, narrow), Probe::Kind::pair};
    const double first = std::max(std::min(size, wide / 2), least);
    return {sign * first, sign * std::min(2 * first, wide), Probe::Kind::parabola};
  }

  // Every free node can be nudged, so its index in Drive::nudge is its index among the free nodes.
  bool impose_step(Drive& drive, const DeviceInfo& info, const Relaxation&, std::size_t node,
                   double step) const override {
    drive.nudge = Vector::Zero(static_cast<Eigen::Index>(info.free().size()));
    drive.nudge[static_cast<Eigen::Index>(node)] = step;
    return true;
  }

  bool has_base() const override { return false; }

  static Vector at_outputs(const DeviceInfo& info, const Vector& all) {
    const std::vector<std::uint32_t> positions = info.output_positions();
    Vector some(static_cast<Eigen::Index>(positions.size()));
    for (std::size_t k = 0; k < positions.size(); ++k) some[static_cast<Eigen::Index>(k)] = all[positions[k]];
    return some;
  }
  Vector answer(const DeviceInfo& info, const Relaxation&, const Vector& potential) const override {
    return at_outputs(info, potential);
  }
  Vector answer_error(const DeviceInfo& info, const Relaxation& row) const override {
    return row.sigma.size() > 0 || info.deterministic ? at_outputs(info, reading_errors(row)) : Vector();
  }
  double answer_variance(const DeviceInfo& info, const Relaxation& row) const override {
    return row.sigma.size() > 0
               ? at_outputs(info, row.sigma).squaredNorm() / static_cast<double>(answers(info))
               : std::numeric_limits<double>::quiet_NaN();
  }
  std::string unstated(const DeviceInfo&) const override {
    return tracks() && !central()
               ? "one probe a node is measured against the free state, whose error all columns "
                 "then remember in common (central = true)"
               : std::string();
  }
  std::size_t answers(const DeviceInfo& info) const override { return info.outputs.size(); }

  Vector solved(const DeviceInfo& info, const Matrix& response, const Vector& c) const override {
    return response.transpose() * at_outputs(info, c);
  }

  double asymmetry_of(const DeviceInfo& info, const Sample& sample, const Matrix&) const override {
    const Matrix R = all_potentials(info, sample);
    const DenseLu lu(R);
    if (!lu.solvable()) return std::numeric_limits<double>::quiet_NaN();
    const Matrix G = lu.solve(Matrix(Matrix::Identity(R.rows(), R.cols())));
    return (G - G.transpose()).norm() / (G + G.transpose()).norm();
  }

  Shift shift_of(const DeviceInfo& info, const Matrix&, const Vector& shift, const Vector& equivalent,
                 const Vector& errors) const override {
    return {equivalent, at_outputs(info, shift), at_outputs(info, errors).norm()};
  }
};

}  // namespace

std::unique_ptr<Estimator> node_probing(std::shared_ptr<const Model> model,
                                        const NodeProbingOptions& options) {
  return std::make_unique<NodeProbing>(std::move(model), options);
}

EstimatorMaker read_node_probing(Keys& keys, bool tracked) {
  const auto options = read_measured_jacobian<NodeProbingOptions>(keys, tracked, "units of current");
  return [options](const EstimatorContext& context) { return node_probing(context.model, options); };
}

}  // namespace ness
