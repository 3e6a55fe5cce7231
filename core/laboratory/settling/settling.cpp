#include "ness/laboratory/settling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace ness {

namespace {

// Standard error of a mean from the scatter of block means, blocks of `size`. With correlated noise, the
// white-noise error would be too small.
double blocked_error(std::span<const double> residual, std::size_t size) {
  const std::size_t blocks = residual.size() / size;
  double sum = 0, squares = 0;
  for (std::size_t b = 0; b < blocks; ++b) {
    double mean = 0;
    for (std::size_t i = 0; i < size; ++i) mean += residual[b * size + i];
    mean /= static_cast<double>(size);
    sum += mean;
    squares += mean * mean;
  }
  const double n = static_cast<double>(blocks);
  return std::sqrt(std::max(0.0, squares - sum * sum / n) / (n - 1) / n);
}

double largest_blocked_error(std::span<const double> residual, std::size_t size) {
  double error = 0;
  for (; residual.size() / size >= 8; size *= 2) error = std::max(error, blocked_error(residual, size));
  return error;
}

}  // namespace

double correlated_error(std::span<const double> readings) {
  if (readings.size() < 2) return std::numeric_limits<double>::quiet_NaN();
  return std::max(blocked_error(readings, 1), largest_blocked_error(readings, 2));
}

std::string SettleOptions::problem() const {
  if (!(tolerance > 0) || !std::isfinite(tolerance)) return "tolerance must be a finite number > 0";
  if (!(tau_max >= 0) || !std::isfinite(tau_max)) return "tau_max must be a finite number >= 0";
  if (least < 4) return "at least 4 readings are needed for a slope with an error";
  if (!(confidence > 0) || !std::isfinite(confidence)) return "confidence must be a finite number > 0";
  if (!(noise >= 0) || !std::isfinite(noise)) return "noise must be a finite number >= 0";
  return {};
}

SettleJudge::SettleJudge(const SettleOptions& options) : options_(options) {
  if (const std::string problem = options.problem(); !problem.empty())
    throw std::invalid_argument("settling: " + problem);
  restart();
}

void SettleJudge::restart() {
  times_.clear();
  readings_.clear();
  verdict_ = {};
  verdict_.bound = std::numeric_limits<double>::infinity();
}

void SettleJudge::add(double time, double reading) {
  if (!std::isfinite(reading)) throw std::invalid_argument("settling: a reading is not finite");
  if (!std::isfinite(time) || (!times_.empty() && !(time > times_.back())))
    throw std::invalid_argument("settling: times must ascend");
  times_.push_back(time);
  readings_.push_back(reading);
  judge();
}

void SettleJudge::judge() {
  if (readings_.size() < options_.least) return;
  // The later half of the readings; the earlier half is the approach.
  const std::size_t n = std::max<std::size_t>(4, readings_.size() / 2), first = readings_.size() - n;
  const std::span<const double> t(times_.data() + first, n), x(readings_.data() + first, n);
  double t_mean = 0, x_mean = 0;
  for (std::size_t i = 0; i < n; ++i) {
    t_mean += t[i];
    x_mean += x[i];
  }
  t_mean /= static_cast<double>(n);
  x_mean /= static_cast<double>(n);
  double tt = 0, tx = 0;
  for (std::size_t i = 0; i < n; ++i) {
    tt += (t[i] - t_mean) * (t[i] - t_mean);
    tx += (t[i] - t_mean) * (x[i] - x_mean);
  }
  const double slope = tx / tt;
  std::vector<double> residual(n);
  double squares = 0;
  for (std::size_t i = 0; i < n; ++i) {
    residual[i] = x[i] - x_mean - slope * (t[i] - t_mean);
    squares += residual[i] * residual[i];
  }
  double sigma = std::max(options_.noise, std::sqrt(squares / static_cast<double>(n - 2)));
  double mean_error = sigma / std::sqrt(static_cast<double>(n));
  mean_error = std::max(mean_error, largest_blocked_error(residual, 2));
  // Correlated noise increases the error of the slope by the same factor as that of the mean.
  const double slope_error = mean_error * std::sqrt(static_cast<double>(n)) / std::sqrt(tt);
  // Longer tails of the t distribution for few readings, to the necessary accuracy.
  const double k = options_.confidence * (1 + 2.5 / static_cast<double>(n - 2));
  // Each reading is a mean over its aperture, so the window extends half a spacing beyond its first and last
  // time.
  const double window = (t[n - 1] - t[0]) * static_cast<double>(n) / static_cast<double>(n - 1);
  verdict_.mean = x_mean;
  verdict_.standard_error = mean_error;
  verdict_.slope = slope;
  verdict_.window = n;
  verdict_.bound =
      k * mean_error +
      (options_.tau_max > 0 ? (std::abs(slope) + k * slope_error) * (options_.tau_max + window / 6) : 0);
  verdict_.settled = verdict_.bound < options_.tolerance;
}

bool oscillates(std::span<const double> burst, double noise) {
  if (burst.size() < 4) return false;
  double mean = 0, squares = 0;
  for (const double x : burst) mean += x;
  mean /= static_cast<double>(burst.size());
  for (const double x : burst) squares += (x - mean) * (x - mean);
  // Chi-squared with n - 1 degrees of freedom, by Wilson and Hilferty's cube root: 4.75 standard deviations
  // are 1e-6.
  const double degrees = static_cast<double>(burst.size() - 1), c = 2 / (9 * degrees);
  const double limit = degrees * std::pow(1 - c + 4.75 * std::sqrt(c), 3);
  return squares > limit * noise * noise;
}

}  // namespace ness
