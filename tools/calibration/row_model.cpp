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

constexpr std::size_t most_effects = 400;

bool of_first_order(NuisanceKind kind) {
  return kind == NuisanceKind::input_lead || kind == NuisanceKind::meter_load;
}

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
  find_effects(options);
}

// What the rows cannot tell from an offset, for it never moved, is part of the offset.
void RowModel::find_effects(const CalibrationOptions& options) {
  middle_ = Vector::Zero(parameters());
  if (!options.nuisances) return;
  for (const CalibrationRow& row : data_.rows) {
    const Vector setpoint = setpoints(row);
    for (Eigen::Index i = 0; i < parameters(); ++i)
      middle_[i] += (parameters_[static_cast<std::size_t>(i)].scale == Scale::log ? std::log(setpoint[i])
                                                                                  : setpoint[i]) /
                    static_cast<double>(data_.rows.size());
  }
  for (Eigen::Index i = 0; i < parameters(); ++i) {
    if (parameters_[static_cast<std::size_t>(i)].scale == Scale::log) middle_[i] = std::exp(middle_[i]);
  }
  std::vector<bool> moves(parameters_.size(), false);
  bool driven = false, inputs_move = false;
  const Vector first = setpoints(data_.rows.front());
  for (const CalibrationRow& row : data_.rows) {
    const Vector setpoint = setpoints(row);
    for (std::size_t i = 0; i < moves.size(); ++i) {
      const auto at = static_cast<Eigen::Index>(i);
      moves[i] = moves[i] || (setpoint[at] != first[at] && std::isfinite(setpoint[at]));
    }
    driven = driven || row.clamp.size() > 0;
    inputs_move = inputs_move || (row.clamp - data_.rows.front().clamp).cwiseAbs().maxCoeff() > 0;
  }
  const auto add = [&](NuisanceKind kind, Eigen::Index of, Eigen::Index from = 0) {
    effects_.push_back({kind, of, from});
  };
  for (Eigen::Index i = 0; i < parameters(); ++i) {
    if (!moves[static_cast<std::size_t>(i)]) continue;
    const bool log = parameters_[static_cast<std::size_t>(i)].scale == Scale::log;
    add(log ? NuisanceKind::log_gate_gain : NuisanceKind::gate_gain, i);
    if (log) add(NuisanceKind::log_gate_zero, i);
  }
  // Where gains of readings, or of inputs, are unknowns, the others are exact: of both nobody knows where 0
  // is.
  if (!options.gains && !options.inputs) {
    for (Eigen::Index r = 0; r < readings(); ++r) {
      add(is_current(r) ? NuisanceKind::current_gain : NuisanceKind::reading_gain, r);
      add(is_current(r) ? NuisanceKind::current_offset : NuisanceKind::reading_offset, r);
    }
  }
  for (std::size_t i = 0; i < network_.clamped().size() && driven; ++i) {
    const auto at = static_cast<Eigen::Index>(i);
    if (!options.inputs && !options.gains) {
      if (inputs_move) add(NuisanceKind::input_gain, at);
      add(NuisanceKind::input_offset, at);
    }
    add(NuisanceKind::input_lead, at);
  }
  if (!options.gains) {
    for (const NuisanceKind kind : {NuisanceKind::meter_gain, NuisanceKind::meter_zero}) {
      if (options.stated[static_cast<std::size_t>(kind)] > 0) add(kind, 0);
    }
  }
  if (std::any_of(data_.readings.begin(), data_.readings.end(),
                  [](const CalibrationReading& reading) { return !reading.current; }))
    add(NuisanceKind::meter_load, 0);
  const std::size_t without = effects_.size();
  for (Eigen::Index i = 0; i < parameters(); ++i) {
    const ParameterInfo& to = parameters_[static_cast<std::size_t>(i)];
    for (Eigen::Index j = 0; j < parameters() && effects_.size() <= most_effects; ++j) {
      const ParameterInfo& from = parameters_[static_cast<std::size_t>(j)];
      if (i != j && moves[static_cast<std::size_t>(i)] && moves[static_cast<std::size_t>(j)] &&
          to.scale == Scale::linear && from.scale == Scale::linear && to.kind == from.kind)
        add(NuisanceKind::cross_talk, i, j);
    }
  }
  // Each costs as much as an unknown, and is told apart from the others only by rows that are many more.
  std::size_t numbers = 0;
  for (const CalibrationRow& row : data_.rows)
    numbers += static_cast<std::size_t>(row.reading.array().isFinite().count());
  const auto fits = [&](std::size_t n) {
    return n <= most_effects && 2 * (n + static_cast<std::size_t>(unknowns())) <= numbers;
  };
  if (!fits(effects_.size())) {
    too_many_effects_ = true;
    effects_.resize(fits(without) ? without : 0);
  }
}

double RowModel::gain(const Vector& x, Eigen::Index r) const {
  double gain = gains_                                     ? 1 + x[parameters() + r]
                : is_current(r) || given_.gain.size() == 0 ? 1
                                                           : given_.gain[free_index_[node(r)]];
  for (std::size_t e = 0; e < effects_.size(); ++e) {
    if (((effects_[e].kind == NuisanceKind::reading_gain || effects_[e].kind == NuisanceKind::current_gain) &&
         effects_[e].of == r) ||
        (effects_[e].kind == NuisanceKind::meter_gain && !is_current(r)))
      gain *= 1 + effect(x, e);
  }
  return gain;
}

double RowModel::zero(const Vector& x, Eigen::Index r) const {
  double zero = gains_ ? x[parameters() + readings() + r]
                : is_current(r) || given_.reading_offset.size() == 0
                    ? 0
                    : given_.reading_offset[free_index_[node(r)]];
  for (std::size_t e = 0; e < effects_.size(); ++e) {
    if (((effects_[e].kind == NuisanceKind::reading_offset ||
          effects_[e].kind == NuisanceKind::current_offset) &&
         effects_[e].of == r) ||
        (effects_[e].kind == NuisanceKind::meter_zero && !is_current(r)))
      zero += effect(x, e);
  }
  return zero;
}

// A current that is injected through a leak is a move of its reference by u / g_set: the source there has the
// gain of its gate, and the leak makes g of it.
Vector RowModel::setpoints(const CalibrationRow& row) const {
  Vector setpoint = *row.theta;
  for (std::size_t k = 0; k < data_.nudged_by_leak.size() && row.nudge.size() > 0; ++k) {
    if (!data_.nudged_by_leak[k]) continue;
    const double g = setpoint[static_cast<Eigen::Index>(network_.leak_g(k))];
    if (g > 0)
      setpoint[static_cast<Eigen::Index>(network_.leak_mu_ref(k))] +=
          row.nudge[static_cast<Eigen::Index>(k)] / g;
  }
  return setpoint;
}

// Nuisances add to what a twin that was given says of gates.
RowModel::Imposed RowModel::imposed(const Vector& setpoint, const Vector& x) const {
  TwinOffsets gates;
  gates.theta = x.head(parameters());
  gates.gate_gain = given_.gate_gain;
  gates.gate_zero = given_.gate_zero.size() > 0 ? given_.gate_zero : Vector(Vector::Zero(parameters()));
  gates.cross_talk = given_.cross_talk;
  Vector added = Vector::Zero(parameters());
  for (std::size_t e = 0; e < effects_.size(); ++e) {
    const Effect& one = effects_[e];
    switch (one.kind) {
      case NuisanceKind::gate_gain:
        added[one.of] += effect(x, e) * (setpoint[one.of] - middle_[one.of]);
        break;
      case NuisanceKind::log_gate_gain:
        gates.theta[one.of] += effect(x, e) * std::log(setpoint[one.of] / middle_[one.of]);
        break;
      case NuisanceKind::log_gate_zero:
        added[one.of] += effect(x, e) * (1 - setpoint[one.of] / middle_[one.of]);
        break;
      case NuisanceKind::cross_talk:
        added[one.of] += effect(x, e) * (setpoint[one.from] - middle_[one.from]);
        break;
      default: break;
    }
  }
  Imposed imposed{imposed_values(parameters_, setpoint, gates), Vector::Ones(parameters())};
  // What is 0 or infinite stays what it is.
  for (Eigen::Index i = 0; i < parameters(); ++i) {
    if (parameters_[static_cast<std::size_t>(i)].scale == Scale::log)
      imposed.by_offset[i] = std::isfinite(imposed.theta[i]) ? imposed.theta[i] - gates.gate_zero[i] : 0;
  }
  imposed.theta += added;
  return imposed;
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

Vector RowModel::levels(const CalibrationRow& row, const Vector& x) const {
  Vector levels = with_inputs_ ? row.clamp : offset_levels(given_, row.clamp);
  if (with_inputs_)
    levels += (row.clamp.array() * x.segment(first_input(), inputs()).array()).matrix() +
              x.segment(first_input() + inputs(), inputs());
  for (std::size_t e = 0; e < effects_.size(); ++e) {
    const Effect& one = effects_[e];
    if (one.kind == NuisanceKind::input_gain) levels[one.of] += effect(x, e) * row.clamp[one.of];
    if (one.kind == NuisanceKind::input_offset) levels[one.of] += effect(x, e);
  }
  return levels;
}

Prediction RowModel::predict(const CalibrationRow& row, const Vector& x, From from, const Vector* start,
                             bool derivatives, sim::Network::Workspace& work) const {
  const Vector setpoint = setpoints(row);
  const Imposed made = imposed(setpoint, x);
  const Vector& theta = made.theta;
  sim::Boundary boundary;
  boundary.theta = theta.data();
  boundary.clamp = levels(row, x);
  boundary.inject = row.nudge;
  boundary.held = row.held;
  for (std::size_t k = 0; k < data_.nudged_by_leak.size() && row.nudge.size() > 0; ++k) {
    if (data_.nudged_by_leak[k]) boundary.inject[static_cast<Eigen::Index>(k)] = 0;
  }
  const std::optional<Vector> read =
      from == From::states || (from == From::logged && row.rest) ? std::nullopt : as_measured(row, x);
  const bool restored = from == From::states || read.has_value();
  Prediction prediction;
  for (Eigen::Index i = 0; i < parameters(); ++i) {
    // Beyond, a conductance is negative: the step is too long.
    if (parameters_[static_cast<std::size_t>(i)].scale == Scale::log && theta[i] < 0) return prediction;
  }
  const sim::SteadyState state = sim::relax(network_, boundary,
                                            from == From::states ? *start
                                            : read               ? *read
                                                                 : cold(row, boundary),
                                            solver_, restored, work);
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
  // A lead's resistance and a meter's conductance are small against the network's.
  bool falls = false;
  for (std::size_t e = 0; e < effects_.size(); ++e)
    falls = falls || (of_first_order(effects_[e].kind) && effect(x, e) != 0);
  if (!derivatives && !falls) return prediction;
  derive(row, x, setpoint, made.by_offset, boundary, at, prediction);
  if (!prediction.derivative.allFinite()) prediction.settled = false;  // at a fold
  for (std::size_t e = 0; e < effects_.size() && falls; ++e) {
    if (of_first_order(effects_[e].kind))
      prediction.reading +=
          effect(x, e) * prediction.derivative.col(unknowns() + static_cast<Eigen::Index>(e));
  }
  return prediction;
}

void RowModel::derive(const CalibrationRow& row, const Vector& x, const Vector& setpoint,
                      const Vector& by_offset, const sim::Boundary& boundary, const sim::Linearisation& at,
                      Prediction& prediction) const {
  const sim::Sensitivity s = sim::sensitivity(network_, boundary, at);
  prediction.derivative = Matrix::Zero(readings(), size());
  for (Eigen::Index r = 0; r < readings(); ++r) {
    const double g = gain(x, r);
    auto line = prediction.derivative.row(r);
    Eigen::RowVectorXd by_value, by_level;
    if (is_current(r)) {
      by_value = at.by_potential.row(node(r)) * s.by_parameter + at.by_parameter.row(node(r));
      by_level = at.by_potential.row(node(r)) * s.by_clamp + at.by_clamp.row(node(r));
    } else {
      by_value = s.by_parameter.row(free_index_[node(r)]);
      by_level = s.by_clamp.row(free_index_[node(r)]);
    }
    by_value *= g;
    by_level *= g;
    line.head(parameters()) = by_value * by_offset.asDiagonal();
    const double read = (prediction.reading[r] - zero(x, r)) / g;
    if (gains_) {
      line[parameters() + r] = read;
      line[parameters() + readings() + r] = 1;
    }
    if (with_inputs_) {
      line.segment(first_input(), inputs()) = by_level * row.clamp.asDiagonal();
      line.segment(first_input() + inputs(), inputs()) = by_level;
    }
    for (std::size_t e = 0; e < effects_.size(); ++e) {
      const Effect& one = effects_[e];
      double& entry = line[unknowns() + static_cast<Eigen::Index>(e)];
      switch (one.kind) {
        case NuisanceKind::gate_gain: entry = by_value[one.of] * (setpoint[one.of] - middle_[one.of]); break;
        case NuisanceKind::log_gate_gain:
          entry = line[one.of] * std::log(setpoint[one.of] / middle_[one.of]);
          break;
        case NuisanceKind::log_gate_zero:
          entry = by_value[one.of] * (1 - setpoint[one.of] / middle_[one.of]);
          break;
        case NuisanceKind::cross_talk:
          entry = by_value[one.of] * (setpoint[one.from] - middle_[one.from]);
          break;
        case NuisanceKind::reading_gain:
        case NuisanceKind::current_gain: entry = one.of == r ? read : 0; break;
        case NuisanceKind::reading_offset:
        case NuisanceKind::current_offset: entry = one.of == r ? 1 : 0; break;
        case NuisanceKind::meter_load:
          if (!is_current(r)) entry = -g * s.response(free_index_[node(r)], free_index_[node(r)]) * read;
          break;
        case NuisanceKind::meter_gain: entry = is_current(r) ? 0 : read; break;
        case NuisanceKind::meter_zero: entry = is_current(r) ? 0 : 1; break;
        case NuisanceKind::input_gain: entry = by_level[one.of] * row.clamp[one.of]; break;
        case NuisanceKind::input_offset: entry = by_level[one.of]; break;
        case NuisanceKind::input_lead:
          entry = -by_level[one.of] * at.current[network_.clamped()[static_cast<std::size_t>(one.of)]];
          break;
      }
    }
  }
}

}  // namespace ness
