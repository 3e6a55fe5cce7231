#include "ness/calibration/calibration.hpp"

#include <ceres/cost_function.h>
#include <ceres/problem.h>
#include <ceres/solver.h>

#include <Eigen/QR>
#include <Eigen/SVD>
#include <algorithm>
#include <atomic>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>

#include "ness/device/error.hpp"
#include "ness/network/sensitivity.hpp"
#include "ness/network/steady_state.hpp"
#include "ness/network/transient.hpp"
#include "ness/files/toml_table.hpp"

namespace ness {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
/// kT: what the solver leaves of a steady state is of the square of its last correction (1e-8), and rounding of the order of 1e-15.
constexpr double exact_to = 1e-13;
/// Singular values below this share of the largest are zero.
constexpr double negligible = 1e-7;
/// An unknown with more of what is not identified in it than this has no interval.
constexpr double share_tolerance = 0.05;
constexpr std::uint32_t most_rounds = 40;

void in_parallel(std::size_t n, unsigned threads, const std::function<void(std::size_t index, unsigned thread)>& body) {
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

/// What the model says of one row.
struct Prediction {
  bool settled = false;
  Vector potential;   // [n_free] where
  Vector reading;     // [n_readings]
  Matrix derivative;  // [n_readings x n_unknowns]
};

/// The model of all rows as a function of the unknowns: offsets of parameters; then gains - 1 and offsets of readings, gains - 1 and offsets
/// of inputs.
class Twin {
 public:
  Twin(const sim::Network& network, const sim::SteadyStateOptions& solver, const CalibrationData& data, const TwinOffsets& given, const CalibrationOptions& options)
      : network_(network), solver_(solver), data_(data), given_(given), parameters_(network.parameter_info()), gains_(options.gains), with_inputs_(options.inputs),
        threads_(options.threads > 0 ? options.threads : std::max(1U, std::thread::hardware_concurrency())), free_index_(network.spec().graph.nodes.size(), -1) {
    for (std::size_t k = 0; k < network.free().size(); ++k) free_index_[network.free()[k]] = static_cast<Eigen::Index>(k);
    for (unsigned t = 0; t < threads_; ++t) work_.push_back(network.workspace());
  }

  Eigen::Index parameters() const { return static_cast<Eigen::Index>(parameters_.size()); }
  Eigen::Index readings() const { return static_cast<Eigen::Index>(data_.readings.size()); }
  Eigen::Index inputs() const { return with_inputs_ ? static_cast<Eigen::Index>(network_.clamped().size()) : 0; }
  Eigen::Index first_input() const { return parameters() + (gains_ ? 2 * readings() : 0); }
  Eigen::Index unknowns() const { return first_input() + 2 * inputs(); }
  // What is not asked for is taken as it was given.
  double gain(const Vector& x, Eigen::Index r) const {
    if (gains_) return 1 + x[parameters() + r];
    return is_current(r) || given_.gain.size() == 0 ? 1 : given_.gain[free_index_[node(r)]];
  }
  double zero(const Vector& x, Eigen::Index r) const {
    if (gains_) return x[parameters() + readings() + r];
    return is_current(r) || given_.reading_offset.size() == 0 ? 0 : given_.reading_offset[free_index_[node(r)]];
  }

  enum class From { logged, measured, states };
  /// All rows at x. From::logged: from the start they had; measured: from where they were read; states: from `start`. Rows for which
  /// `skip` holds are left as they are.
  std::vector<Prediction> predict(const Vector& x, From from, const std::vector<Prediction>* start, const std::vector<bool>& skip, bool derivatives) {
    std::vector<Prediction> all(data_.rows.size());
    in_parallel(all.size(), threads_, [&](std::size_t i, unsigned thread) {
      if (!skip.empty() && skip[i]) return;
      all[i] = predict(data_.rows[i], x, from, start ? &(*start)[i].potential : nullptr, derivatives, *work_[thread]);
    });
    return all;
  }

 private:
  // The state of a row as it was read; nodes that were not read are where the cold model has them.
  std::optional<Vector> as_measured(const CalibrationRow& row, const Vector& x) const {
    Vector start = Vector::Constant(static_cast<Eigen::Index>(network_.free().size()), nan);
    for (Eigen::Index r = 0; r < readings(); ++r) {
      const CalibrationReading& reading = data_.readings[static_cast<std::size_t>(r)];
      if (!reading.current) start[free_index_[reading.node]] = (row.reading[r] - zero(x, r)) / gain(x, r);
    }
    for (const auto& [k, level] : row.held) start[k] = level;
    if (!start.allFinite()) return std::nullopt;
    return start;
  }

  Vector cold(const CalibrationRow& row, const sim::Boundary& boundary) const {
    const Vector rest = network_.rest();
    if (!row.rest || std::isinf(row.rest_rate) || !(row.rest_rate > 0) || boundary.clamp.size() == 0) return rest;
    const double time = boundary.clamp.cwiseAbs().maxCoeff() / row.rest_rate;
    sim::TransientOptions ramp;
    ramp.clamp_rate = row.rest_rate;
    return sim::follow(network_, boundary, rest, std::span(&time, 1), ramp).front();
  }

  Prediction predict(const CalibrationRow& row, const Vector& x, From from, const Vector* start, bool derivatives, sim::Network::Workspace& work) const {
    const Vector theta = offset_values(parameters_, *row.theta, x.head(parameters()));
    sim::Boundary boundary;
    boundary.theta = theta.data();
    boundary.clamp = with_inputs_ ? row.clamp : offset_levels(given_, row.clamp);
    if (with_inputs_) boundary.clamp += (row.clamp.array() * x.segment(first_input(), inputs()).array()).matrix() + x.tail(inputs());
    boundary.inject = row.nudge;
    boundary.held = row.held;
    for (std::size_t k = 0; k < data_.nudged_by_leak.size() && row.nudge.size() > 0; ++k) {
      // The reference was moved by u / g_set, and the leak makes g of it.
      if (data_.nudged_by_leak[k]) boundary.inject[static_cast<Eigen::Index>(k)] *= std::exp(x[static_cast<Eigen::Index>(network_.leak_g(k))]);
    }
    const std::optional<Vector> read = from == From::states || (from == From::logged && row.rest) ? std::nullopt : as_measured(row, x);
    const bool restored = from == From::states || read.has_value();
    const sim::SteadyState state = sim::relax(network_, boundary, from == From::states ? *start : read ? *read : cold(row, boundary), solver_, restored, work);
    Prediction prediction;
    prediction.settled = state.verdict == sim::Verdict::converged;
    prediction.potential = state.potential;
    if (!prediction.settled) return prediction;
    const sim::Linearisation at = sim::linearised(network_, boundary, state.potential);
    prediction.reading.resize(readings());
    for (Eigen::Index r = 0; r < readings(); ++r) {
      prediction.reading[r] = gain(x, r) * (is_current(r) ? at.current[node(r)] : state.potential[free_index_[node(r)]]) + zero(x, r);
    }
    if (!derivatives) return prediction;
    derive(row, x, theta, boundary, at, prediction);
    if (!prediction.derivative.allFinite()) prediction.settled = false;  // at a fold
    return prediction;
  }

  void derive(const CalibrationRow& row, const Vector& x, const Vector& theta, const sim::Boundary& boundary, const sim::Linearisation& at, Prediction& prediction) const {
    const sim::Sensitivity s = sim::sensitivity(network_, boundary, at);
    // d theta / d offset; what is 0 or infinite stays what it is.
    Vector by_offset = Vector::Ones(parameters());
    for (Eigen::Index i = 0; i < parameters(); ++i) {
      if (parameters_[static_cast<std::size_t>(i)].scale == Scale::log) by_offset[i] = std::isfinite(theta[i]) ? theta[i] : 0;
    }
    Matrix moved = s.by_parameter * by_offset.asDiagonal();
    for (std::size_t k = 0; k < data_.nudged_by_leak.size() && row.nudge.size() > 0; ++k) {
      const auto i = static_cast<Eigen::Index>(k);
      if (data_.nudged_by_leak[k]) moved.col(static_cast<Eigen::Index>(network_.leak_g(k))) += s.response.col(i) * boundary.inject[i];
    }
    prediction.derivative = Matrix::Zero(readings(), unknowns());
    for (Eigen::Index r = 0; r < readings(); ++r) {
      auto line = prediction.derivative.row(r).head(parameters());
      if (is_current(r)) line = at.by_potential.row(node(r)) * moved + at.by_parameter.row(node(r)) * by_offset.asDiagonal();
      else line = moved.row(free_index_[node(r)]);
      line *= gain(x, r);
      if (gains_) {
        prediction.derivative(r, parameters() + r) = (prediction.reading[r] - zero(x, r)) / gain(x, r);
        prediction.derivative(r, parameters() + readings() + r) = 1;
      }
      if (!with_inputs_) continue;
      Eigen::RowVectorXd by_level = is_current(r) ? Eigen::RowVectorXd(at.by_potential.row(node(r)) * s.by_clamp + at.by_clamp.row(node(r))) : Eigen::RowVectorXd(s.by_clamp.row(free_index_[node(r)]));
      by_level *= gain(x, r);
      prediction.derivative.row(r).segment(first_input(), inputs()) = by_level * row.clamp.asDiagonal();
      prediction.derivative.row(r).tail(inputs()) = by_level;
    }
  }

  bool is_current(Eigen::Index r) const { return data_.readings[static_cast<std::size_t>(r)].current; }
  Eigen::Index node(Eigen::Index r) const { return data_.readings[static_cast<std::size_t>(r)].node; }

  const sim::Network& network_;
  const sim::SteadyStateOptions& solver_;
  const CalibrationData& data_;
  const TwinOffsets& given_;
  std::vector<ParameterInfo> parameters_;
  bool gains_, with_inputs_;
  unsigned threads_;
  std::vector<Eigen::Index> free_index_;
  std::vector<sim::Network::WorkspacePtr> work_;
};

/// A number that is fitted: a reading of a row that is not left out.
struct Number {
  std::size_t row;
  Eigen::Index reading;
};

/// All residuals at once, in units of their noise, as a function of the identified directions: x = origin + directions y. One function, whose
/// rows run in parallel, so that the sum of squares has the same bits on any number of threads.
class Residuals final : public ceres::CostFunction {
 public:
  Residuals(Twin& twin, const CalibrationData& data, const std::vector<Number>& numbers, const Vector& noise, const std::vector<Prediction>& states,
            const std::vector<bool>& left_out, const Vector& origin, const Matrix& directions, std::stop_token stop)
      : twin_(twin), data_(data), numbers_(numbers), noise_(noise), states_(states), left_out_(left_out), origin_(origin), directions_(directions), stop_(std::move(stop)) {
    set_num_residuals(static_cast<int>(numbers.size()));
    mutable_parameter_block_sizes()->push_back(static_cast<int>(directions.cols()));
  }

  bool Evaluate(double const* const* parameters, double* residuals, double** jacobians) const override {
    if (stop_.stop_requested()) return false;
    const Vector x = origin_ + directions_ * Eigen::Map<const Vector>(parameters[0], directions_.cols());
    const bool derivatives = jacobians != nullptr && jacobians[0] != nullptr;
    const std::vector<Prediction> now = twin_.predict(x, Twin::From::states, &states_, left_out_, derivatives);
    for (std::size_t n = 0; n < numbers_.size(); ++n) {
      const auto& [row, r] = numbers_[n];
      if (!now[row].settled) return false;  // the step is too long
      residuals[n] = (now[row].reading[r] - data_.rows[row].reading[r]) / noise_[r];
      if (derivatives) {
        Eigen::Map<Eigen::RowVectorXd>(jacobians[0] + static_cast<Eigen::Index>(n) * directions_.cols(), directions_.cols()) = now[row].derivative.row(r) * directions_ / noise_[r];
      }
    }
    return true;
  }

 private:
  Twin& twin_;
  const CalibrationData& data_;
  const std::vector<Number>& numbers_;
  const Vector& noise_;
  const std::vector<Prediction>& states_;
  const std::vector<bool>& left_out_;
  const Vector& origin_;
  const Matrix& directions_;
  std::stop_token stop_;
};

/// The principal directions of the Fisher matrix J^T J, from the singular values of J.
struct Fisher {
  Matrix directions;     // [n_unknowns x n_unknowns], columns
  Vector singular;       // [n_unknowns], descending; 0 beyond the number of readings
  Eigen::Index rank = 0;
  Matrix identified() const { return directions.leftCols(rank); }
  Matrix unknown() const { return directions.rightCols(directions.cols() - rank); }
};

Fisher fisher_of(const Matrix& jacobian, double largest) {
  const Eigen::Index p = jacobian.cols();
  const Matrix R = jacobian.rows() > p ? Matrix(Eigen::HouseholderQR<Matrix>(jacobian).matrixQR().topRows(p).triangularView<Eigen::Upper>()) : jacobian;
  const Eigen::BDCSVD<Matrix> svd(R, Eigen::ComputeFullV);
  Fisher fisher;
  fisher.directions = svd.matrixV();
  fisher.singular = Vector::Zero(p);
  fisher.singular.head(svd.singularValues().size()) = svd.singularValues();
  const double least = std::max(negligible * fisher.singular[0], 1 / largest);
  while (fisher.rank < p && fisher.singular[fisher.rank] > least) ++fisher.rank;
  return fisher;
}

/// The basis of a space (columns) that elimination with the largest entry as pivot makes as sparse as it can.
std::vector<Combination> readable(Matrix basis) {
  const Eigen::Index k = basis.cols();
  std::vector<bool> used(static_cast<std::size_t>(basis.rows()), false);
  for (Eigen::Index done = 0; done < k; ++done) {
    Eigen::Index row = -1, column = done;
    for (Eigen::Index c = done; c < k; ++c) {
      for (Eigen::Index i = 0; i < basis.rows(); ++i) {
        if (!used[static_cast<std::size_t>(i)] && (row < 0 || std::abs(basis(i, c)) > std::abs(basis(row, column)))) {
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
    std::stable_sort(sum.begin(), sum.end(), [](const auto& a, const auto& b) { return std::abs(a.first) > std::abs(b.first) + 1e-6; });
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
  Fit(const sim::Network& network, const sim::SteadyStateOptions& solver, const CalibrationData& data, const TwinOffsets& from, const CalibrationOptions& options, std::stop_token stop)
      : network_(network), data_(data), options_(options), from_(from), stop_(std::move(stop)), twin_(network, solver, data, from, options), left_out_(data.rows.size(), false) {
    x_ = Vector::Zero(twin_.unknowns());
    if (from.theta.size() > 0) x_.head(twin_.parameters()) = from.theta;
    for (Eigen::Index r = 0; r < twin_.readings() && options.gains; ++r) {
      if (const auto k = free_of(r)) {
        if (from.gain.size() > 0) x_[twin_.parameters() + r] = from.gain[*k] - 1;
        if (from.reading_offset.size() > 0) x_[twin_.parameters() + twin_.readings() + r] = from.reading_offset[*k];
      }
    }
    if (options.inputs && from.input_gain.size() > 0) x_.segment(twin_.first_input(), twin_.inputs()) = (from.input_gain.array() - 1).matrix();
    if (options.inputs && from.input_offset.size() > 0) x_.tail(twin_.inputs()) = from.input_offset;
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
    return std::lower_bound(network_.free().begin(), network_.free().end(), reading.node) - network_.free().begin();
  }

  void check_size() const {
    std::uint64_t numbers = 0;
    for (const CalibrationRow& row : data_.rows) numbers += static_cast<std::uint64_t>(row.reading.array().isFinite().count());
    const auto p = static_cast<std::uint64_t>(twin_.unknowns());
    // Beyond, the singular values take minutes and the derivatives gigabytes.
    if (p > 3000) throw std::runtime_error("a network of " + std::to_string(twin_.parameters()) + " parameters is too large to be calibrated: at most 3000 unknowns");
    if (numbers * p > 250'000'000) {
      throw std::runtime_error(std::to_string(numbers) + " readings of " + std::to_string(p) + " unknowns do not fit into memory; expected fewer rows (--rows), at most " +
                               std::to_string(250'000'000 / p * data_.rows.size() / numbers));
    }
    if (numbers <= p) {
      throw std::runtime_error("too few relaxations: " + std::to_string(data_.rows.size()) + " with " + std::to_string(numbers) + " readings, for " + std::to_string(p) +
                               " unknowns and their noise; expected at least " + std::to_string(p / std::max<std::uint64_t>(1, numbers / data_.rows.size()) + 1) + " relaxations");
    }
  }

  // Where the model stands: predictions, who is left out, weights, what can be known.
  void look() {
    if (stop_.stop_requested()) throw Cancelled();
    states_ = twin_.predict(x_, Twin::From::logged, nullptr, {}, true);
    const Vector scale = robust_scale();
    for (std::size_t i = 0; i < states_.size(); ++i) left_out_[i] = !states_[i].settled || worst(states_[i], data_.rows[i], scale) > options_.outlier;
    numbers_.clear();
    for (std::size_t i = 0; i < states_.size(); ++i) {
      if (left_out_[i]) continue;
      for (Eigen::Index r = 0; r < twin_.readings(); ++r) {
        if (std::isfinite(data_.rows[i].reading[r])) numbers_.push_back({i, r});
      }
    }
    if (static_cast<Eigen::Index>(numbers_.size()) <= twin_.unknowns()) {
      throw std::runtime_error("the model explains too few of the relaxations: " + std::to_string(std::count(left_out_.begin(), left_out_.end(), false)) + " of " +
                               std::to_string(left_out_.size()) + " are left; does the log belong to this experiment?");
    }
    if (noise_.size() == 0) noise_ = scale;
    // The noise decides the weights, the weights decide how many degrees of freedom the fit takes from each reading. Rounds go on until
    // neither moves.
    weigh();
    estimate_noise();
    weigh();
  }

  double residual(const Number& n) const { return states_[n.row].reading[n.reading] - data_.rows[n.row].reading[n.reading]; }

  // 1.4826 x the median size of a normal residual is its standard deviation, whatever a few rows on another branch do.
  Vector robust_scale() const {
    Vector scale(twin_.readings());
    for (Eigen::Index r = 0; r < scale.size(); ++r) {
      std::vector<double> sizes;
      for (std::size_t i = 0; i < states_.size(); ++i) {
        if (states_[i].settled && std::isfinite(data_.rows[i].reading[r])) sizes.push_back(std::abs(residual({i, r})));
      }
      scale[r] = std::max(1.4826 * median(std::move(sizes)), exact_to);
    }
    return scale;
  }

  double worst(const Prediction& prediction, const CalibrationRow& row, const Vector& scale) const {
    double most = 0;
    for (Eigen::Index r = 0; r < scale.size(); ++r) {
      if (std::isfinite(row.reading[r])) most = std::max(most, std::abs(prediction.reading[r] - row.reading[r]) / std::max(scale[r], 10 * exact_to));
    }
    return most;
  }

  void weigh() {
    jacobian_.resize(static_cast<Eigen::Index>(numbers_.size()), twin_.unknowns());
    for (std::size_t n = 0; n < numbers_.size(); ++n) {
      jacobian_.row(static_cast<Eigen::Index>(n)) = states_[numbers_[n].row].derivative.row(numbers_[n].reading) / noise_[numbers_[n].reading];
    }
    fisher_ = fisher_of(jacobian_, options_.largest);
    // Leverage: what the fit takes from each residual.
    const Matrix U = jacobian_ * fisher_.identified() * fisher_.singular.head(fisher_.rank).cwiseInverse().asDiagonal();
    leverage_ = U.rowwise().squaredNorm();
  }

  void estimate_noise() {
    Vector squares = Vector::Zero(twin_.readings()), freedom = squares;
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
  bool settled(const Vector& before_x, const Vector& before_noise, const std::vector<bool>& before_left_out) const {
    if (left_out_ != before_left_out) return false;
    const Vector y = fisher_.identified().transpose() * (x_ - before_x);
    const bool still = y.size() == 0 || (y.array() * fisher_.singular.head(fisher_.rank).array()).abs().maxCoeff() < 1e-2 || y.cwiseAbs().maxCoeff() < 1e-12;
    return still && ((noise_ - before_noise).array().abs() < 1e-3 * noise_.array() + 10 * exact_to).all();
  }

  void improve() {
    const Matrix directions = fisher_.identified();
    if (directions.cols() == 0) return;
    Vector y = directions.transpose() * (x_ - origin_);
    ceres::Problem::Options ownership;
    ownership.cost_function_ownership = ceres::DO_NOT_TAKE_OWNERSHIP;
    Residuals residuals(twin_, data_, numbers_, noise_, states_, left_out_, origin_, directions, stop_);
    ceres::Problem problem(ownership);
    problem.AddResidualBlock(&residuals, nullptr, y.data());
    ceres::Solver::Options how;
    how.linear_solver_type = ceres::DENSE_QR;
    how.logging_type = ceres::SILENT;
    how.max_num_iterations = 15;  // a round; there are more
    how.max_num_consecutive_invalid_steps = 20;
    how.function_tolerance = 1e-9;
    how.parameter_tolerance = 1e-14;
    how.gradient_tolerance = 0;
    ceres::Solver::Summary summary;
    ceres::Solve(how, &problem, &summary);
    if (stop_.stop_requested()) throw Cancelled();
    // From where not even the first evaluation succeeds another start may: the next round looks again.
    if (summary.IsSolutionUsable()) x_ = origin_ + directions * y;
  }

  Calibration report() {
    const auto p = static_cast<std::size_t>(twin_.unknowns());
    result_.rank = static_cast<std::size_t>(fisher_.rank);
    result_.numbers = numbers_.size();
    result_.degrees_of_freedom = freedom_;
    result_.noise.assign(noise_.data(), noise_.data() + noise_.size());
    name_unknowns();
    const Matrix none = fisher_.unknown();
    if (none.cols() > 0) result_.not_identified = readable(none);
    const double quantile = boost::math::quantile(boost::math::students_t(std::max(1.0, freedom_)), 0.5 + 0.5 * options_.confidence);
    for (std::size_t i = 0; i < p; ++i) {
      CalibratedUnknown& unknown = result_.unknowns[i];
      const auto at = static_cast<Eigen::Index>(i);
      unknown.offset = x_[at];
      unknown.identified = none.cols() == 0 || none.row(at).norm() <= share_tolerance;
      if (!unknown.identified) continue;
      double variance = 0;
      for (Eigen::Index d = 0; d < fisher_.directions.cols(); ++d) {
        // What is not identified was left at its start: it is off by its own error, or, where that has no bound, by `largest`.
        const bool boundless = d >= fisher_.rank && fisher_.singular[d] <= negligible * fisher_.singular[0];
        variance += std::pow(fisher_.directions(at, d) * (boundless ? options_.largest : 1 / fisher_.singular[d]), 2);
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
    for (const ParameterInfo& info : network_.parameter_info()) result_.unknowns.push_back({info.name, info.scale == Scale::log ? "ln" : info.unit, info.scale});
    if (options_.gains) {
      for (const CalibrationReading& reading : data_.readings) result_.unknowns.push_back({"gain of " + reading.name, "1"});
      for (const CalibrationReading& reading : data_.readings) result_.unknowns.push_back({"offset of " + reading.name, reading.current ? "current" : "kT"});
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
    // A standard error from a few readings scatters, its inverse square does so without bounds: each reading's are pooled.
    Vector squares = Vector::Zero(twin_.readings()), stated = squares, freedom = squares, count = squares;
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
    const std::vector<Prediction> near = twin_.predict(x_, Twin::From::measured, nullptr, kept, false);
    for (std::size_t i = 0; i < left_out_.size(); ++i) {
      if (!left_out_[i]) continue;
      using Why = Calibration::LeftOut::Why;
      const bool explained = near[i].settled && worst(near[i], data_.rows[i], noise_) <= options_.outlier;
      result_.left_out.push_back({data_.rows[i].row, explained ? Why::other_branch : states_[i].settled ? Why::unexplained : Why::no_state});
    }
  }

  void make_twin() {
    result_.twin = from_;
    result_.twin.theta = x_.head(twin_.parameters());
    if (options_.inputs) {
      result_.twin.input_gain = (1 + x_.segment(twin_.first_input(), twin_.inputs()).array()).matrix();
      result_.twin.input_offset = x_.tail(twin_.inputs());
    }
    if (!options_.gains) return;
    result_.twin.gain = Vector::Ones(static_cast<Eigen::Index>(network_.free().size()));
    result_.twin.reading_offset = Vector::Zero(result_.twin.gain.size());
    for (Eigen::Index r = 0; r < twin_.readings(); ++r) {
      if (const auto k = free_of(r)) {
        result_.twin.gain[*k] = twin_.gain(x_, r);
        result_.twin.reading_offset[*k] = twin_.zero(x_, r);
      }
    }
  }

  const sim::Network& network_;
  const CalibrationData& data_;
  const CalibrationOptions& options_;
  const TwinOffsets& from_;
  std::stop_token stop_;
  Twin twin_;
  std::vector<bool> left_out_;
  Vector x_, origin_, before_x_, noise_, leverage_;
  std::vector<Prediction> states_;
  std::vector<Number> numbers_;
  Matrix jacobian_;
  Fisher fisher_;
  double freedom_ = 0;
  Calibration result_;
};

std::string written(double x) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", x);
  std::string shortest = text;
  // TOML wants a point or an exponent in a number that is no integer.
  if (shortest.find_first_of(".eni") == std::string::npos) shortest += ".0";
  return shortest;
}

std::string brief(double x, int digits = 2) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", digits, x);
  return text;
}

}  // namespace

std::string CalibrationOptions::problem() const {
  if (!(confidence > 0 && confidence < 1)) return "confidence " + written(confidence) + "; it must be in (0, 1)";
  if (!(largest > 0) || std::isinf(largest)) return "largest " + written(largest) + "; it must be finite and > 0";
  if (!(outlier > 3)) return "outlier " + written(outlier) + "; it must be > 3 standard deviations, which normal noise exceeds";
  return {};
}

Calibration calibrate(const sim::Network& network, const sim::SteadyStateOptions& solver, const CalibrationData& data, const TwinOffsets& twin,
                      const CalibrationOptions& options, std::stop_token stop) {
  if (const std::string problem = options.problem(); !problem.empty()) throw std::invalid_argument("calibration: " + problem);
  if (data.rows.empty() || data.readings.empty()) throw std::invalid_argument("calibration: no rows, or no readings");
  if (const std::string problem = twin.problem(network.parameter_info(), network.free().size(), network.clamped().size()); !problem.empty()) throw std::invalid_argument("calibration: " + problem);
  return Fit(network, solver, data, twin, options, std::move(stop)).run();
}

std::string twin_text(const Experiment& experiment, const sim::Network& network, const CalibrationData& data, const Calibration& found, const CalibrationOptions& options,
                      const std::string& log) {
  // Written anew, and without its comments, only where it says what has now been measured.
  Document document(experiment.text, experiment.path);
  for (const char* key : {"twin", "device.variation", "device.read_noise"}) document.erase(key);
  std::string text = document.text();
  if (!text.ends_with("\n")) text += "\n";
  const auto line = [&](const std::string& name, double value, const CalibratedUnknown& unknown) {
    text += "\"" + name + "\" = " + written(value);
    text += unknown.identified ? "  # +- " + brief(0.5 * (unknown.high - unknown.low)) + (unknown.scale == Scale::log ? " (of the logarithm)" : "") + "\n" : "  # not identified\n";
  };
  double squares = 0;
  std::size_t potentials = 0;
  for (std::size_t r = 0; r < data.readings.size(); ++r) {
    if (data.readings[r].current) continue;
    squares += found.noise[r] * found.noise[r];
    ++potentials;
  }
  text += "\n# The calibrated twin: what `ness calibrate` found in " + log + ", with " + brief(100 * options.confidence, 4) + " % intervals.\n[twin]\n";
  if (potentials > 0) text += "read_noise = " + written(std::sqrt(squares / static_cast<double>(potentials))) + "  # kT\n";
  text += "\n[twin.offset]\n";
  const auto parameters = network.parameters();
  for (std::size_t i = 0; i < parameters; ++i) line(found.unknowns[i].name, found.twin.theta[static_cast<Eigen::Index>(i)], found.unknowns[i]);
  const auto of_nodes = [&](const char* table, const std::vector<std::uint32_t>& nodes, const Vector& values, const std::vector<const CalibratedUnknown*>& unknowns) {
    if (values.size() == 0) return;
    text += std::string("\n[twin.") + table + "]\n";
    for (std::size_t k = 0; k < nodes.size(); ++k) {
      const std::string name = "node-" + std::to_string(nodes[k]);
      if (unknowns.empty()) text += name + " = " + written(values[static_cast<Eigen::Index>(k)]) + "  # as given\n";
      else if (unknowns[k]) line(name, values[static_cast<Eigen::Index>(k)], *unknowns[k]);
    }
  };
  // Of each free node the unknown of its reading, null where it was not read.
  const auto of_readings = [&](std::size_t first) {
    std::vector<const CalibratedUnknown*> unknowns;
    if (!options.gains) return unknowns;
    unknowns.resize(network.free().size(), nullptr);
    for (std::size_t r = 0; r < data.readings.size(); ++r) {
      if (data.readings[r].current) continue;
      unknowns[static_cast<std::size_t>(std::lower_bound(network.free().begin(), network.free().end(), data.readings[r].node) - network.free().begin())] = &found.unknowns[first + r];
    }
    return unknowns;
  };
  const auto of_inputs = [&](std::size_t first) {
    std::vector<const CalibratedUnknown*> unknowns;
    for (std::size_t i = 0; i < network.clamped().size() && options.inputs; ++i) unknowns.push_back(&found.unknowns[first + i]);
    return unknowns;
  };
  const std::size_t inputs = parameters + (options.gains ? 2 * data.readings.size() : 0);
  of_nodes("reading-gain", network.free(), found.twin.gain, of_readings(parameters));
  of_nodes("reading-offset", network.free(), found.twin.reading_offset, of_readings(parameters + data.readings.size()));
  of_nodes("input-gain", network.clamped(), found.twin.input_gain, of_inputs(inputs));
  of_nodes("input-offset", network.clamped(), found.twin.input_offset, of_inputs(inputs + network.clamped().size()));
  return text;
}

}  // namespace ness
