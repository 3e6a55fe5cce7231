#include "estimators/gradient_sum.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "ness/device/error.hpp"

namespace ness {

GradientSum::GradientSum(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                         std::span<const std::vector<Relaxation>> rows)
    : batch_(batch), loss_(loss), rows_(rows), output_positions_(info.output_positions()) {
  if (rows.size() != batch.samples.size()) {
    throw std::invalid_argument("gradient: rows of " + std::to_string(rows.size()) +
                                " samples for a minibatch of " + std::to_string(batch.samples.size()));
  }
  const auto read = static_cast<Eigen::Index>(info.read().size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].empty())
      throw std::invalid_argument("gradient: sample " + std::to_string(i) + " has no free relaxation");
    for (const Relaxation& row : rows[i]) {
      gradient_.worst = static_cast<std::uint16_t>(gradient_.worst | row.quality.all());
      if (row.potential.size() == read) continue;
      throw std::invalid_argument("gradient: a row of sample " + std::to_string(i) + " has " +
                                  std::to_string(row.potential.size()) + " potentials; the device reads " +
                                  std::to_string(read) + " (rows of outputs only cannot form a gradient)");
    }
    gradient_.relaxations += rows[i].size();
  }
}

Vector GradientSum::outputs(const Vector& potential) const {
  Vector values(static_cast<Eigen::Index>(output_positions_.size()));
  for (std::size_t k = 0; k < output_positions_.size(); ++k)
    values[static_cast<Eigen::Index>(k)] = potential[output_positions_[k]];
  return values;
}

double GradientSum::loss_at(std::size_t i, std::size_t position, Vector* gradient) const {
  return loss_.value(outputs(rows_[i][position]), batch_.target(i), gradient);
}

double GradientSum::loss_of(std::size_t i, const Vector& potential) const {
  return loss_.value(outputs(potential), batch_.target(i));
}

bool GradientSum::correct(std::size_t i, const Vector& potential) const {
  return loss_.correct(outputs(potential), batch_.target(i));
}

void GradientSum::asymmetry(double found) {
  asymmetry_sum_ += found;
  ++asymmetries_;
}

Vector GradientSum::cotangent(std::size_t i) const {
  double loss = 0;
  return cotangent(i, loss);
}

Vector GradientSum::cotangent(std::size_t i, double& loss) const {
  Vector at_outputs;
  loss = loss_at(i, 0, &at_outputs);
  Vector everywhere = Vector::Zero(rows_[i][0].potential.size());
  for (std::size_t k = 0; k < output_positions_.size(); ++k)
    everywhere[output_positions_[k]] = at_outputs[static_cast<Eigen::Index>(k)];
  return everywhere;
}

void GradientSum::use(std::size_t i) { use(loss_at(i, 0), correct(i, rows_[i][0].potential) ? 1.0 : 0.0); }

void GradientSum::use(double loss, double correct) {
  ++gradient_.used;
  gradient_.loss += loss;
  gradient_.correct += correct;
}

Gradient GradientSum::finish(Vector sum, double divided_by) {
  // No sample used: the gradient is 0 / 0, NaN.
  const auto used = static_cast<double>(gradient_.used);
  gradient_.value = std::move(sum);
  if (gradient_.used == 0) {
    gradient_.value.setConstant(std::numeric_limits<double>::quiet_NaN());
  } else if (used != divided_by) {
    gradient_.value /= used / divided_by;
  }
  gradient_.loss /= used;
  gradient_.correct /= used;
  if (asymmetries_ > 0) gradient_.asymmetry = asymmetry_sum_ / static_cast<double>(asymmetries_);
  return std::move(gradient_);
}

void Contraction::add(const Minibatch& batch, std::size_t i, const Relaxation& free) {
  samples.push_back(i);
  drives.push_back(batch.free_drive(i));
  potentials.push_back(free.potential);
}

Gradient contracted(const Model& model, GradientSum total, Contraction parts, std::size_t parameters) {
  std::size_t kept = 0;
  for (std::size_t k = 0; k < parts.samples.size(); ++k) {
    if (!parts.costates[k].allFinite()) {
      total.leave_out(parts.samples[k]);
      continue;
    }
    total.use(parts.samples[k]);
    if (kept != k) {
      parts.drives[kept] = std::move(parts.drives[k]);
      parts.potentials[kept] = std::move(parts.potentials[k]);
      parts.costates[kept] = std::move(parts.costates[k]);
    }
    ++kept;
  }
  Vector sum = Vector::Zero(static_cast<Eigen::Index>(parameters));
  const std::span<const Drive> drives(parts.drives.data(), kept);
  if (kept > 0)
    model.add_gradient(drives, {parts.potentials.data(), kept}, {parts.costates.data(), kept}, sum);
  return total.finish(std::move(sum));
}

namespace {

// What chi^2 / f of f degrees of freedom exceeds once in 1000 (Wilson & Hilferty 1931).
double unlikely(double f) {
  constexpr double quantile = 3.0902;  // of a standard normal number
  return std::pow(1 - 2 / (9 * f) + quantile * std::sqrt(2 / (9 * f)), 3);
}

// The error of the mean of passes, from the error that each states.
Vector combined(std::span<const Gradient> passes, Vector Gradient::*error) {
  Vector squares;
  double used = 0;
  for (const Gradient& pass : passes) {
    if (pass.used == 0) continue;
    if ((pass.*error).size() == 0) return {};
    const auto weight = static_cast<double>(pass.used);
    if (squares.size() == 0) squares = Vector::Zero((pass.*error).size());
    squares += (weight * (pass.*error)).cwiseAbs2();
    used += weight;
  }
  return squares.cwiseSqrt() / used;
}

}  // namespace

Gradient mean_of(std::span<const Gradient> passes, Estimator::Repeats repeats) {
  if (passes.size() == 1) return passes.front();
  Gradient mean;
  const Eigen::Index parameters = passes.front().value.size();
  Vector sum = Vector::Zero(parameters);
  double used = 0, asymmetry = 0, asymmetries = 0;
  for (const Gradient& pass : passes) {
    mean.relaxations += pass.relaxations;
    mean.lost += pass.lost;
    mean.worst = static_cast<std::uint16_t>(mean.worst | pass.worst);
    mean.used = std::max(mean.used, pass.used);
    mean.left_out = std::max(mean.left_out, pass.left_out);
    // Left out of the mean: left out of every pass.
    if (&pass == &passes.front()) mean.without = pass.without;
    std::erase_if(mean.without, [&pass](std::uint32_t i) {
      return std::find(pass.without.begin(), pass.without.end(), i) == pass.without.end();
    });
    if (std::isfinite(pass.asymmetry)) {
      asymmetry += pass.asymmetry;
      asymmetries += 1;
    }
    if (pass.used == 0) continue;
    const auto weight = static_cast<double>(pass.used);
    used += weight;
    sum += weight * pass.value;
    mean.loss += weight * pass.loss;
    mean.correct += weight * pass.correct;
  }
  if (asymmetries > 0) mean.asymmetry = asymmetry / asymmetries;
  mean.value = sum / used;
  mean.loss /= used;
  mean.correct /= used;
  Vector scatter = Vector::Zero(parameters);
  double counted = 0;
  for (const Gradient& pass : passes) {
    if (pass.used == 0) continue;
    scatter += (pass.value - mean.value).cwiseAbs2();
    counted += 1;
  }
  if (counted == 0 || (counted > 1 && repeats == Estimator::Repeats::dependent)) return mean;
  mean.reading_error = combined(passes, &Gradient::reading_error);
  mean.whole_error = combined(passes, &Gradient::whole_error);
  if (counted < 2) return mean;
  scatter = (scatter / (counted * (counted - 1))).cwiseSqrt();
  // The fewest degrees of freedom that the passes' scatter can have: all parameters may scatter as one.
  const double most = unlikely(counted - 1);
  const auto observed = [&](Vector& error) {
    if (error.size() == 0 || scatter.squaredNorm() > most * error.squaredNorm()) error = scatter;
  };
  observed(mean.whole_error);
  if (repeats == Estimator::Repeats::independent) observed(mean.reading_error);
  return mean;
}

std::string unmet_by_outputs(const DeviceInfo& info) {
  if (info.outputs.empty()) return "the device names no output";
  try {
    info.output_positions();
  } catch (const Unsupported& error) {
    return error.what();
  }
  return {};
}

std::string unmet_by_readings(const DeviceInfo& info) {
  std::string unmet = unmet_by_outputs(info);
  if (!unmet.empty()) return unmet;
  for (const std::uint32_t terminal : info.free()) {
    if (info.terminals[terminal].reads_potential) continue;
    return "terminal " + std::to_string(terminal) + " (" + info.terminals[terminal].name +
           ") has no potential reading; every free potential is needed";
  }
  return {};
}

std::string unmet_by_holding(const DeviceInfo& info) {
  for (const std::uint32_t terminal : info.free()) {
    const Terminal& t = info.terminals[terminal];
    const std::string who = "terminal " + std::to_string(terminal) + " (" + t.name + ")";
    if (!t.can_hold) return who + " cannot be held; every free node has to be";
    if (!t.reads_current) return who + " has no current reading; every holding current is needed";
  }
  return {};
}

std::string unmet_by_model(const DeviceInfo& info, const Model& model) {
  std::string unmet = unmet_by_readings(info);
  if (!unmet.empty()) return unmet;
  if (model.free_nodes() != info.free().size()) {
    return "the model has " + std::to_string(model.free_nodes()) + " free nodes, the device " +
           std::to_string(info.free().size());
  }
  if (model.parameters() != info.parameters.size()) {
    return "the model has " + std::to_string(model.parameters()) + " parameters, the device " +
           std::to_string(info.parameters.size());
  }
  return {};
}

}  // namespace ness
