#include "row_model.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <functional>
#include <limits>
#include <mutex>
#include <thread>

#include "ness/network/transient.hpp"

namespace ness {

namespace {

void in_parallel(std::size_t n, unsigned threads,
                 const std::function<void(std::size_t index, unsigned thread)>& body) {
  std::atomic<std::size_t> next{0};
  std::mutex failing;
  std::exception_ptr failed;
  const auto work = [&](unsigned thread) {
    try {
      for (std::size_t i = next++; i < n; i = next++) body(i, thread);
    } catch (...) {
      const std::scoped_lock lock(failing);
      failed = std::current_exception();
      next = n;
    }
  };
  std::vector<std::thread> others;
  for (unsigned t = 1; t < threads; ++t) others.emplace_back(work, t);
  work(0);
  for (std::thread& thread : others) thread.join();
  if (failed) std::rethrow_exception(failed);
}

}  // namespace

RowModel::RowModel(const sim::Network& network, const sim::SteadyStateOptions& solver,
                   const CalibrationData& data, const TwinOffsets& given, const CalibrationOptions& options)
    : network_(network),
      solver_(solver),
      data_(data),
      given_(given),
      parameters_(network.parameter_info()),
      gains_(options.gains),
      with_inputs_(options.inputs),
      threads_(options.threads > 0 ? options.threads : std::max(1U, std::thread::hardware_concurrency())),
      free_index_(network.spec().graph.nodes.size(), -1) {
  for (std::size_t k = 0; k < network.free().size(); ++k)
    free_index_[network.free()[k]] = static_cast<Eigen::Index>(k);
  for (unsigned t = 0; t < threads_; ++t) work_.push_back(network.workspace());
}

double RowModel::gain(const Vector& x, Eigen::Index r) const {
  if (gains_) return 1 + x[parameters() + r];
  return is_current(r) || given_.gain.size() == 0 ? 1 : given_.gain[free_index_[node(r)]];
}

double RowModel::zero(const Vector& x, Eigen::Index r) const {
  if (gains_) return x[parameters() + readings() + r];
  return is_current(r) || given_.reading_offset.size() == 0 ? 0 : given_.reading_offset[free_index_[node(r)]];
}

std::vector<Prediction> RowModel::predict(const Vector& x, From from, const std::vector<Prediction>* start,
                                          const std::vector<bool>& skip, bool derivatives) {
  std::vector<Prediction> all(data_.rows.size());
  in_parallel(all.size(), threads_, [&](std::size_t i, unsigned thread) {
    if (!skip.empty() && skip[i]) return;
    all[i] = predict(data_.rows[i], x, from, start ? &(*start)[i].potential : nullptr, derivatives,
                     *work_[thread]);
  });
  return all;
}

// The state of a row as it was read; nodes that were not read are where the cold model has them.
std::optional<Vector> RowModel::as_measured(const CalibrationRow& row, const Vector& x) const {
  Vector start = Vector::Constant(static_cast<Eigen::Index>(network_.free().size()),
                                  std::numeric_limits<double>::quiet_NaN());
  for (Eigen::Index r = 0; r < readings(); ++r) {
    const CalibrationReading& reading = data_.readings[static_cast<std::size_t>(r)];
    if (!reading.current) start[free_index_[reading.node]] = (row.reading[r] - zero(x, r)) / gain(x, r);
  }
  for (const auto& [k, level] : row.held) start[k] = level;
  if (!start.allFinite()) return std::nullopt;
  return start;
}

Vector RowModel::cold(const CalibrationRow& row, const sim::Boundary& boundary) const {
  const Vector rest = network_.rest();
  if (!row.rest || std::isinf(row.rest_rate) || !(row.rest_rate > 0) || boundary.clamp.size() == 0)
    return rest;
  const double time = boundary.clamp.cwiseAbs().maxCoeff() / row.rest_rate;
  sim::TransientOptions ramp;
  ramp.clamp_rate = row.rest_rate;
  return sim::follow(network_, boundary, rest, std::span(&time, 1), ramp).front();
}

Prediction RowModel::predict(const CalibrationRow& row, const Vector& x, From from, const Vector* start,
                             bool derivatives, sim::Network::Workspace& work) const {
  const Vector theta = offset_values(parameters_, *row.theta, x.head(parameters()));
  sim::Boundary boundary;
  boundary.theta = theta.data();
  boundary.clamp = with_inputs_ ? row.clamp : offset_levels(given_, row.clamp);
  if (with_inputs_)
    boundary.clamp +=
        (row.clamp.array() * x.segment(first_input(), inputs()).array()).matrix() + x.tail(inputs());
  boundary.inject = row.nudge;
  boundary.held = row.held;
  for (std::size_t k = 0; k < data_.nudged_by_leak.size() && row.nudge.size() > 0; ++k) {
    // The reference was moved by u / g_set, and the leak makes g of it.
    if (data_.nudged_by_leak[k])
      boundary.inject[static_cast<Eigen::Index>(k)] *=
          std::exp(x[static_cast<Eigen::Index>(network_.leak_g(k))]);
  }
  const std::optional<Vector> read =
      from == From::states || (from == From::logged && row.rest) ? std::nullopt : as_measured(row, x);
  const bool restored = from == From::states || read.has_value();
  const sim::SteadyState state = sim::relax(network_, boundary,
                                            from == From::states ? *start
                                            : read               ? *read
                                                                 : cold(row, boundary),
                                            solver_, restored, work);
  Prediction prediction;
  prediction.settled = state.verdict == sim::Verdict::converged;
  prediction.potential = state.potential;
  if (!prediction.settled) return prediction;
  const sim::Linearisation at = sim::linearised(network_, boundary, state.potential);
  prediction.reading.resize(readings());
  for (Eigen::Index r = 0; r < readings(); ++r) {
    prediction.reading[r] =
        gain(x, r) * (is_current(r) ? at.current[node(r)] : state.potential[free_index_[node(r)]]) +
        zero(x, r);
  }
  if (!derivatives) return prediction;
  derive(row, x, theta, boundary, at, prediction);
  if (!prediction.derivative.allFinite()) prediction.settled = false;  // at a fold
  return prediction;
}

void RowModel::derive(const CalibrationRow& row, const Vector& x, const Vector& theta,
                      const sim::Boundary& boundary, const sim::Linearisation& at,
                      Prediction& prediction) const {
  const sim::Sensitivity s = sim::sensitivity(network_, boundary, at);
  // d theta / d offset; what is 0 or infinite stays what it is.
  Vector by_offset = Vector::Ones(parameters());
  for (Eigen::Index i = 0; i < parameters(); ++i) {
    if (parameters_[static_cast<std::size_t>(i)].scale == Scale::log)
      by_offset[i] = std::isfinite(theta[i]) ? theta[i] : 0;
  }
  Matrix moved = s.by_parameter * by_offset.asDiagonal();
  for (std::size_t k = 0; k < data_.nudged_by_leak.size() && row.nudge.size() > 0; ++k) {
    const auto i = static_cast<Eigen::Index>(k);
    if (data_.nudged_by_leak[k])
      moved.col(static_cast<Eigen::Index>(network_.leak_g(k))) += s.response.col(i) * boundary.inject[i];
  }
  prediction.derivative = Matrix::Zero(readings(), unknowns());
  for (Eigen::Index r = 0; r < readings(); ++r) {
    auto line = prediction.derivative.row(r).head(parameters());
    if (is_current(r))
      line = at.by_potential.row(node(r)) * moved + at.by_parameter.row(node(r)) * by_offset.asDiagonal();
    else line = moved.row(free_index_[node(r)]);
    line *= gain(x, r);
    if (gains_) {
      prediction.derivative(r, parameters() + r) = (prediction.reading[r] - zero(x, r)) / gain(x, r);
      prediction.derivative(r, parameters() + readings() + r) = 1;
    }
    if (!with_inputs_) continue;
    Eigen::RowVectorXd by_level =
        is_current(r)
            ? Eigen::RowVectorXd(at.by_potential.row(node(r)) * s.by_clamp + at.by_clamp.row(node(r)))
            : Eigen::RowVectorXd(s.by_clamp.row(free_index_[node(r)]));
    by_level *= gain(x, r);
    prediction.derivative.row(r).segment(first_input(), inputs()) = by_level * row.clamp.asDiagonal();
    prediction.derivative.row(r).tail(inputs()) = by_level;
  }
}

}  // namespace ness
