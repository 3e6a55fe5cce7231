#include "ness/calibration/calibration.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>

#include "fisher.hpp"
#include "least_squares.hpp"
#include "ness/device/error.hpp"
#include "student_quantile.hpp"
#include "toml_number.hpp"
#include "row_model.hpp"

namespace ness {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
/// An unknown with more of what is not identified in it than this has no interval.
constexpr double share_tolerance = 0.05;
constexpr std::uint32_t most_rounds = 40;

/// A number that is fitted: a reading of a row that is not left out.
struct Number {
  std::size_t row;
  Eigen::Index reading;
};

/// The basis of a space (columns) that elimination with the largest entry as pivot makes as sparse as it can.
std::vector<Combination> readable(Matrix basis) {
  const Eigen::Index k = basis.cols();
  std::vector<bool> used(static_cast<std::size_t>(basis.rows()), false);
  for (Eigen::Index done = 0; done < k; ++done) {
    Eigen::Index row = -1, column = done;
    for (Eigen::Index c = done; c < k; ++c) {
      for (Eigen::Index i = 0; i < basis.rows(); ++i) {
        if (!used[static_cast<std::size_t>(i)] &&
            (row < 0 || std::abs(basis(i, c)) > std::abs(basis(row, column)))) {
          row = i;
          column = c;
        }
      }
    }
    if (row < 0) break;
    basis.col(done).swap(basis.col(column));
    basis.col(done) /= basis(row, done);
    for (Eigen::Index c = 0; c < k; ++c) {
      if (c != done) basis.col(c) -= basis.col(done) * basis(row, c);
    }
    used[static_cast<std::size_t>(row)] = true;
  }
  std::vector<Combination> combinations;
  for (Eigen::Index c = 0; c < k; ++c) {
    Eigen::Index top = 0;
    basis.col(c).cwiseAbs().maxCoeff(&top);
    const Vector v = basis.col(c) / basis(top, c);
    Combination sum;
    for (Eigen::Index i = 0; i < v.size(); ++i) {
      if (std::abs(v[i]) >= 5e-3) sum.emplace_back(v[i], static_cast<std::size_t>(i));
    }
    std::stable_sort(sum.begin(), sum.end(), [](const auto& a, const auto& b) {
      return std::abs(a.first) > std::abs(b.first) + 1e-6;
    });
    combinations.push_back(std::move(sum));
  }
  return combinations;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

class Fit {
 public:
  Fit(const sim::Network& network, const sim::SteadyStateOptions& solver, const CalibrationData& data,
      const TwinOffsets& from, const CalibrationOptions& options, std::stop_token stop)
      : network_(network),
        data_(data),
        options_(options),
        from_(from),
        stop_(std::move(stop)),
        model_(network, solver, data, from, options),
        left_out_(data.rows.size(), false) {
    x_ = Vector::Zero(model_.unknowns());
    if (from.theta.size() > 0) x_.head(model_.parameters()) = from.theta;
    for (Eigen::Index r = 0; r < model_.readings() && options.gains; ++r) {
      if (const auto k = free_of(r)) {
        if (from.gain.size() > 0) x_[model_.parameters() + r] = from.gain[*k] - 1;
        if (from.reading_offset.size() > 0)
          x_[model_.parameters() + model_.readings() + r] = from.reading_offset[*k];
      }
    }
    if (options.inputs && from.input_gain.size() > 0)
      x_.segment(model_.first_input(), model_.inputs()) = (from.input_gain.array() - 1).matrix();
    if (options.inputs && from.input_offset.size() > 0) x_.tail(model_.inputs()) = from.input_offset;
    origin_ = x_;
    check_size();
  }

  Calibration run() {
    for (result_.rounds = 1; result_.rounds <= most_rounds; ++result_.rounds) {
      const Vector before_noise = noise_;
      const std::vector<bool> before_left_out = left_out_;
      look();
      if (result_.rounds > 1 && settled(before_x_, before_noise, before_left_out)) {
        result_.converged = true;
        break;
      }
      before_x_ = x_;
      improve();
    }
    result_.rounds = std::min(result_.rounds, most_rounds);
    return report();
  }

 private:
  std::optional<Eigen::Index> free_of(Eigen::Index r) const {
    const CalibrationReading& reading = data_.readings[static_cast<std::size_t>(r)];
    if (reading.current) return std::nullopt;
    return std::lower_bound(network_.free().begin(), network_.free().end(), reading.node) -
           network_.free().begin();
  }

  void check_size() const {
    std::uint64_t numbers = 0;
    for (const CalibrationRow& row : data_.rows)
      numbers += static_cast<std::uint64_t>(row.reading.array().isFinite().count());
    const auto p = static_cast<std::uint64_t>(model_.unknowns());
    // Beyond, the singular values take minutes and the derivatives gigabytes.
    if (p > 3000)
      throw std::runtime_error("a network of " + std::to_string(model_.parameters()) +
                               " parameters is too large to be calibrated: at most 3000 unknowns");
    if (numbers * p > 250'000'000) {
      throw std::runtime_error(std::to_string(numbers) + " readings of " + std::to_string(p) +
                               " unknowns do not fit into memory; expected fewer rows (--rows), at most " +
                               std::to_string(250'000'000 / p * data_.rows.size() / numbers));
    }
    if (numbers <= p) {
      throw std::runtime_error(
          "too few relaxations: " + std::to_string(data_.rows.size()) + " with " + std::to_string(numbers) +
          " readings, for " + std::to_string(p) + " unknowns and their noise; expected at least " +
          std::to_string(p / std::max<std::uint64_t>(1, numbers / data_.rows.size()) + 1) + " relaxations");
    }
  }

  // Where the model stands: predictions, who is left out, weights, what can be known.
  void look() {
    if (stop_.stop_requested()) throw Cancelled();
    states_ = model_.predict(x_, RowModel::From::logged, nullptr, {}, true);
    const Vector scale = robust_scale();
    for (std::size_t i = 0; i < states_.size(); ++i)
      left_out_[i] = !states_[i].settled || worst(states_[i], data_.rows[i], scale) > options_.outlier;
    numbers_.clear();
    for (std::size_t i = 0; i < states_.size(); ++i) {
      if (left_out_[i]) continue;
      for (Eigen::Index r = 0; r < model_.readings(); ++r) {
        if (std::isfinite(data_.rows[i].reading[r])) numbers_.push_back({i, r});
      }
    }
    if (static_cast<Eigen::Index>(numbers_.size()) <= model_.unknowns()) {
      throw std::runtime_error("the model explains too few of the relaxations: " +
                               std::to_string(std::count(left_out_.begin(), left_out_.end(), false)) +
                               " of " + std::to_string(left_out_.size()) +
                               " are left; does the log belong to this experiment?");
    }
    if (noise_.size() == 0) noise_ = scale;
    // The noise decides the weights, the weights decide how many degrees of freedom the fit takes from each
    // reading. Rounds go on until neither moves.
    weigh();
    estimate_noise();
    weigh();
  }

  double residual(const Number& n) const {
    return states_[n.row].reading[n.reading] - data_.rows[n.row].reading[n.reading];
  }

  // 1.4826 x the median size of a normal residual is its standard deviation, whatever a few rows on another
  // branch do.
  Vector robust_scale() const {
    Vector scale(model_.readings());
    for (Eigen::Index r = 0; r < scale.size(); ++r) {
      std::vector<double> sizes;
      for (std::size_t i = 0; i < states_.size(); ++i) {
        if (states_[i].settled && std::isfinite(data_.rows[i].reading[r]))
          sizes.push_back(std::abs(residual({i, r})));
      }
      scale[r] = std::max(1.4826 * median(std::move(sizes)), exact_to);
    }
    return scale;
  }

  double worst(const Prediction& prediction, const CalibrationRow& row, const Vector& scale) const {
    double most = 0;
    for (Eigen::Index r = 0; r < scale.size(); ++r) {
      if (std::isfinite(row.reading[r]))
        most = std::max(most,
                        std::abs(prediction.reading[r] - row.reading[r]) / std::max(scale[r], 10 * exact_to));
    }
    return most;
  }

  void weigh() {
    jacobian_.resize(static_cast<Eigen::Index>(numbers_.size()), model_.unknowns());
    for (std::size_t n = 0; n < numbers_.size(); ++n) {
      jacobian_.row(static_cast<Eigen::Index>(n)) =
          states_[numbers_[n].row].derivative.row(numbers_[n].reading) / noise_[numbers_[n].reading];
    }
    fisher_ = fisher_of(jacobian_, options_.largest);
    // Leverage: what the fit takes from each residual.
    const Matrix U =
        jacobian_ * fisher_.identified() * fisher_.singular.head(fisher_.rank).cwiseInverse().asDiagonal();
    leverage_ = U.rowwise().squaredNorm();
  }

  void estimate_noise() {
    Vector squares = Vector::Zero(model_.readings()), freedom = squares;
    for (std::size_t n = 0; n < numbers_.size(); ++n) {
      squares[numbers_[n].reading] += std::pow(residual(numbers_[n]), 2);
      freedom[numbers_[n].reading] += 1 - leverage_[static_cast<Eigen::Index>(n)];
    }
    for (Eigen::Index r = 0; r < noise_.size(); ++r) {
      // A reading whose few numbers the fit has used up keeps the noise it was given.
      if (freedom[r] > 0.5) noise_[r] = std::max(std::sqrt(squares[r] / freedom[r]), exact_to);
    }
    freedom_ = freedom.sum();
  }

  // True where another round would change nothing that is told.
  bool settled(const Vector& before_x, const Vector& before_noise,
               const std::vector<bool>& before_left_out) const {
    if (left_out_ != before_left_out) return false;
    const Vector y = fisher_.identified().transpose() * (x_ - before_x);
    const bool still = y.size() == 0 ||
                       (y.array() * fisher_.singular.head(fisher_.rank).array()).abs().maxCoeff() < 1e-2 ||
                       y.cwiseAbs().maxCoeff() < 1e-12;
    return still && ((noise_ - before_noise).array().abs() < 1e-3 * noise_.array() + 10 * exact_to).all();
  }

  void improve() {
    const Matrix directions = fisher_.identified();
    if (directions.cols() == 0) return;
    Vector y = directions.transpose() * (x_ - origin_);
    const auto residuals_at = [&](const Vector& at, double* residuals, double* jacobian) {
      if (stop_.stop_requested()) return false;
      const std::vector<Prediction> now = model_.predict(origin_ + directions * at, RowModel::From::states,
                                                         &states_, left_out_, jacobian != nullptr);
      for (std::size_t n = 0; n < numbers_.size(); ++n) {
        const auto& [row, r] = numbers_[n];
        if (!now[row].settled) return false;  // the step is too long
        residuals[n] = (now[row].reading[r] - data_.rows[row].reading[r]) / noise_[r];
        if (jacobian == nullptr) continue;
        Eigen::Map<Eigen::RowVectorXd>(jacobian + static_cast<Eigen::Index>(n) * directions.cols(),
                                       directions.cols()) =
            now[row].derivative.row(r) * directions / noise_[r];
      }
      return true;
    };
    const bool improved =
        ness::improve(y, numbers_.size(), residuals_at);  // a few steps; there are more rounds
    if (stop_.stop_requested()) throw Cancelled();
    // From where not even the first evaluation succeeds another start may: the next round looks again.
    if (improved) x_ = origin_ + directions * y;
  }

  Calibration report() {
    const auto p = static_cast<std::size_t>(model_.unknowns());
    result_.rank = static_cast<std::size_t>(fisher_.rank);
    result_.numbers = numbers_.size();
    result_.degrees_of_freedom = freedom_;
    result_.noise.assign(noise_.data(), noise_.data() + noise_.size());
    name_unknowns();
    const Matrix none = fisher_.unknown();
    if (none.cols() > 0) result_.not_identified = readable(none);
    const double quantile = student_quantile(std::max(1.0, freedom_), 0.5 + 0.5 * options_.confidence);
    for (std::size_t i = 0; i < p; ++i) {
      CalibratedUnknown& unknown = result_.unknowns[i];
      const auto at = static_cast<Eigen::Index>(i);
      unknown.offset = x_[at];
      unknown.identified = none.cols() == 0 || none.row(at).norm() <= share_tolerance;
      if (!unknown.identified) continue;
      double variance = 0;
      for (Eigen::Index d = 0; d < fisher_.directions.cols(); ++d) {
        // What is not identified was left at its start: it is off by its own error, or, where that has no
        // bound, by `largest`.
        const bool boundless = d >= fisher_.rank && fisher_.singular[d] <= negligible * fisher_.singular[0];
        variance +=
            std::pow(fisher_.directions(at, d) * (boundless ? options_.largest : 1 / fisher_.singular[d]), 2);
      }
      unknown.standard_error = std::sqrt(variance);
      unknown.low = unknown.offset - quantile * unknown.standard_error;
      unknown.high = unknown.offset + quantile * unknown.standard_error;
    }
    judge_by_the_log();
    tell_left_out();
    make_twin();
    return std::move(result_);
  }

  void name_unknowns() {
    for (const ParameterInfo& info : network_.parameter_info())
      result_.unknowns.push_back({info.name, info.scale == Scale::log ? "ln" : info.unit, info.scale});
    if (options_.gains) {
      for (const CalibrationReading& reading : data_.readings)
        result_.unknowns.push_back({"gain of " + reading.name, "1"});
      for (const CalibrationReading& reading : data_.readings)
        result_.unknowns.push_back({"offset of " + reading.name, reading.current ? "current" : "kT"});
    }
    if (!options_.inputs) return;
    const auto inputs = [&](const char* what, const char* unit) {
      for (const std::uint32_t node : network_.clamped()) {
        const std::string& name = network_.spec().graph.nodes[node].name;
        result_.unknowns.push_back({what + (name.empty() ? "node " + std::to_string(node) : name), unit});
      }
    };
    inputs("gain of ", "1");
    inputs("offset of ", "kT");
  }

  void judge_by_the_log() {
    // A standard error from a few readings scatters, its inverse square does so without bounds: each
    // reading's are pooled.
    Vector squares = Vector::Zero(model_.readings()), stated = squares, freedom = squares, count = squares;
    for (std::size_t n = 0; n < numbers_.size(); ++n) {
      const Eigen::Index r = numbers_[n].reading;
      const double sigma = data_.rows[numbers_[n].row].sigma[r];
      if (!std::isfinite(sigma)) continue;
      squares[r] += std::pow(residual(numbers_[n]), 2);
      stated[r] += sigma * sigma;
      freedom[r] += 1 - leverage_[static_cast<Eigen::Index>(n)];
      ++count[r];
    }
    double chi_squared = 0;
    for (Eigen::Index r = 0; r < count.size(); ++r) {
      if (count[r] > 0) chi_squared += squares[r] * count[r] / stated[r];
    }
    result_.chi_squared = freedom.sum() > 0 ? chi_squared / freedom.sum() : nan;
  }

  void tell_left_out() {
    std::vector<bool> kept = left_out_;
    kept.flip();
    const std::vector<Prediction> near = model_.predict(x_, RowModel::From::measured, nullptr, kept, false);
    for (std::size_t i = 0; i < left_out_.size(); ++i) {
      if (!left_out_[i]) continue;
      using Why = Calibration::LeftOut::Why;
      const bool explained = near[i].settled && worst(near[i], data_.rows[i], noise_) <= options_.outlier;
      result_.left_out.push_back({data_.rows[i].row, explained            ? Why::other_branch
                                                     : states_[i].settled ? Why::unexplained
                                                                          : Why::no_state});
    }
  }

  void make_twin() {
    result_.twin = from_;
    result_.twin.theta = x_.head(model_.parameters());
    if (options_.inputs) {
      result_.twin.input_gain = (1 + x_.segment(model_.first_input(), model_.inputs()).array()).matrix();
      result_.twin.input_offset = x_.tail(model_.inputs());
    }
    if (!options_.gains) return;
    result_.twin.gain = Vector::Ones(static_cast<Eigen::Index>(network_.free().size()));
    result_.twin.reading_offset = Vector::Zero(result_.twin.gain.size());
    for (Eigen::Index r = 0; r < model_.readings(); ++r) {
      if (const auto k = free_of(r)) {
        result_.twin.gain[*k] = model_.gain(x_, r);
        result_.twin.reading_offset[*k] = model_.zero(x_, r);
      }
    }
  }

  const sim::Network& network_;
  const CalibrationData& data_;
  const CalibrationOptions& options_;
  const TwinOffsets& from_;
  std::stop_token stop_;
  RowModel model_;
  std::vector<bool> left_out_;
  Vector x_, origin_, before_x_, noise_, leverage_;
  std::vector<Prediction> states_;
  std::vector<Number> numbers_;
  Matrix jacobian_;
  Fisher fisher_;
  double freedom_ = 0;
  Calibration result_;
};

}  // namespace

std::string CalibrationOptions::problem() const {
  if (!(confidence > 0 && confidence < 1))
    return "confidence " + toml_number(confidence) + "; it must be in (0, 1)";
  if (!(largest > 0) || std::isinf(largest))
    return "largest " + toml_number(largest) + "; it must be finite and > 0";
  if (!(outlier > 3))
    return "outlier " + toml_number(outlier) +
           "; it must be > 3 standard deviations, which normal noise exceeds";
  return {};
}

Calibration calibrate(const sim::Network& network, const sim::SteadyStateOptions& solver,
                      const CalibrationData& data, const TwinOffsets& twin, const CalibrationOptions& options,
                      std::stop_token stop) {
  if (const std::string problem = options.problem(); !problem.empty())
    throw std::invalid_argument("calibration: " + problem);
  if (data.rows.empty() || data.readings.empty())
    throw std::invalid_argument("calibration: no rows, or no readings");
  if (const std::string problem =
          twin.problem(network.parameter_info(), network.free().size(), network.clamped().size());
      !problem.empty())
    throw std::invalid_argument("calibration: " + problem);
  return Fit(network, solver, data, twin, options, std::move(stop)).run();
}

}  // namespace ness
