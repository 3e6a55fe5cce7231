#include "ness/calibration/calibration.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>

#include "fisher.hpp"
#include "least_squares.hpp"
#include "ness/device/error.hpp"
#include "student_quantile.hpp"
#include "toml_number.hpp"
#include "residual_tests.hpp"
#include "row_model.hpp"
#include "variance_components.hpp"

namespace ness {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
/// An unknown with more of what is not identified in it than this has no interval.
constexpr double share_tolerance = 0.05;
constexpr std::uint32_t most_rounds = 40;
/// Beyond, the residuals' correlations say that the model is another one, not how far it is off.
constexpr double most_widened = 3;

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
    x_ = Vector::Zero(model_.size());
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
    if (options.inputs && from.input_offset.size() > 0)
      x_.segment(model_.first_input() + model_.inputs(), model_.inputs()) = from.input_offset;
    start_effects();
    origin_ = x_;
    check_size();
  }

  Calibration run() {
    for (result_.rounds = 1; result_.rounds <= most_rounds; ++result_.rounds) {
      const Vector before_noise = strengths_.noise.empty() ? Vector() : white();
      const std::vector<bool> before_left_out = left_out_;
      look();
      if (result_.rounds > 1 && settled(before_noise, before_left_out)) {
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
    const auto p = static_cast<std::uint64_t>(model_.size());
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

  bool has(NuisanceKind kind) const {
    return std::any_of(model_.effects().begin(), model_.effects().end(),
                       [&](const Effect& effect) { return effect.kind == kind; });
  }

  // Deviations start as on a poor bench: from there what the data show is found.
  void start_effects() {
    static constexpr std::array<double, nuisance_kinds> poor{1e-2, 1e-2, 1e-2, 1e-2, 1e-2, 1e-2, 1e-2,
                                                             1e-2, 1e-2, 1e-2, 1e-3, 0,    0,    1e-3};
    for (const Effect& effect : model_.effects())
      strengths_.of(effect.kind) = poor[static_cast<std::size_t>(effect.kind)];
    for (std::size_t k = 0; k < nuisance_kinds; ++k) {
      const auto kind = static_cast<NuisanceKind>(k);
      strengths_.given[k] = options_.stated[k] > 0;
      if (strengths_.given[k] && has(kind)) strengths_.of(kind) = options_.stated[k];
    }
  }

  // Where the model stands: predictions, who is left out, strengths of noise, what can be known.
  void look() {
    if (stop_.stop_requested()) throw Cancelled();
    states_ = model_.predict(x_, RowModel::From::logged, nullptr, {}, true);
    const Vector scale = robust_scale();
    for (std::size_t i = 0; i < states_.size(); ++i)
      left_out_[i] = !states_[i].settled || worst(states_[i], data_.rows[i], scale) > options_.outlier;
    numbers_.clear();
    for (Eigen::Index r = 0; r < model_.readings(); ++r) {
      for (std::size_t i = 0; i < states_.size(); ++i) {
        if (!left_out_[i] && std::isfinite(data_.rows[i].reading[r])) numbers_.push_back({i, r});
      }
    }
    if (static_cast<Eigen::Index>(numbers_.size()) <= model_.unknowns()) {
      throw std::runtime_error("the model explains too few of the relaxations: " +
                               std::to_string(std::count(left_out_.begin(), left_out_.end(), false)) +
                               " of " + std::to_string(left_out_.size()) +
                               " are left; does the log belong to this experiment?");
    }
    if (strengths_.noise.empty()) {
      strengths_.noise.resize(static_cast<std::size_t>(model_.readings()));
      for (Eigen::Index r = 0; r < scale.size(); ++r) noise(r).white = scale[r];
    }
    // The noise decides the weights, the weights decide how many degrees of freedom the fit takes from each
    // reading. Rounds go on until neither moves.
    weigh();
    estimate_strengths();
    weigh();
  }

  SerialNoise& noise(Eigen::Index r) { return strengths_.noise[static_cast<std::size_t>(r)]; }

  Vector white() const {
    Vector all(model_.readings());
    for (Eigen::Index r = 0; r < all.size(); ++r)
      all[r] = strengths_.noise[static_cast<std::size_t>(r)].white;
    return all;
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

  // Columns of nuisances that there are, in units of their deviation.
  std::vector<std::pair<Eigen::Index, double>> present() const {
    std::vector<std::pair<Eigen::Index, double>> columns;
    for (std::size_t e = 0; e < model_.effects().size(); ++e) {
      const double deviation = strengths_.of(model_.effects()[e].kind);
      if (deviation > 0) columns.emplace_back(model_.unknowns() + static_cast<Eigen::Index>(e), deviation);
    }
    return columns;
  }

  // The rows of `columns`, which are as numbers_, in units of the noise and without its correlations.
  void weigh(RowMatrix& columns) const {
    for (std::size_t n = 0; n < numbers_.size();) {
      const Eigen::Index r = numbers_[n].reading;
      const SerialNoise& of = strengths_.noise[static_cast<std::size_t>(r)];
      std::size_t end = n;
      std::vector<std::uint64_t> ordinals;
      for (; end < numbers_.size() && numbers_[end].reading == r; ++end)
        ordinals.push_back(data_.rows[numbers_[end].row].row);
      auto block = columns.middleRows(static_cast<Eigen::Index>(n), static_cast<Eigen::Index>(end - n));
      block /= of.white;
      if (of.correlated()) {
        RowMatrix filtered = block;
        whiten(ordinals, of, filtered);
        block = filtered;
      }
      n = end;
    }
  }

  void weigh() {
    const auto effects = present();
    const auto n = static_cast<Eigen::Index>(numbers_.size()), m = static_cast<Eigen::Index>(effects.size());
    RowMatrix rows(n, m + model_.unknowns());
    for (Eigen::Index i = 0; i < n; ++i) {
      const auto& [row, r] = numbers_[static_cast<std::size_t>(i)];
      const auto derivative = states_[row].derivative.row(r);
      for (Eigen::Index e = 0; e < m; ++e) {
        const auto& [column, deviation] = effects[static_cast<std::size_t>(e)];
        rows(i, e) = derivative[column] * deviation;
      }
      rows.row(i).tail(model_.unknowns()) = derivative.head(model_.unknowns());
    }
    weigh(rows);
    Matrix jacobian = Matrix::Zero(n + m, rows.cols());
    jacobian.topRows(n) = rows;
    jacobian.bottomLeftCorner(m, m).setIdentity();
    fisher_ = fisher_of(jacobian, options_.largest, m);
  }

  VarianceComponents components() const {
    std::vector<NuisanceKind> kinds;
    for (const Effect& effect : model_.effects()) kinds.push_back(effect.kind);
    const auto m = static_cast<Eigen::Index>(kinds.size());
    const Matrix directions = fisher_.identified();
    std::vector<ReadingBlock> blocks(static_cast<std::size_t>(model_.readings()));
    for (std::size_t r = 0; r < blocks.size(); ++r) blocks[r].instrument = data_.readings[r].current ? 1 : 0;
    for (std::size_t n = 0; n < numbers_.size(); ++n)
      blocks[static_cast<std::size_t>(numbers_[n].reading)].ordinals.push_back(
          data_.rows[numbers_[n].row].row);
    for (ReadingBlock& block : blocks)
      block.columns.resize(static_cast<Eigen::Index>(block.ordinals.size()), m + directions.cols() + 1);
    std::vector<Eigen::Index> filled(blocks.size(), 0);
    for (const Number& n : numbers_) {
      const auto r = static_cast<std::size_t>(n.reading);
      const auto derivative = states_[n.row].derivative.row(n.reading);
      auto line = blocks[r].columns.row(filled[r]++);
      line.head(m) = derivative.tail(m);
      line.segment(m, directions.cols()) = derivative.head(model_.unknowns()) * directions;
      // Nuisances are about 0.
      line[m + directions.cols()] = residual(n) - derivative.tail(m).dot(x_.tail(m));
    }
    return {std::move(blocks), std::move(kinds), exact_to};
  }

  // In the first round residuals are those of the description; of correlations they say nothing.
  void estimate_strengths() {
    VarianceComponents of = components();
    if (result_.rounds <= 1 || !options_.nuisances) {
      of.scale_noise(strengths_);
    } else {
      of.scale_noise(strengths_);
      // Near the end the strengths stay, so that rounds end.
      if (result_.rounds <= 3 || (result_.rounds < 12 && !(moved() < 1))) {
        Strengths best = strengths_;
        of.maximise(best, result_.rounds == 2, serial_);
        if (result_.rounds == 2 || of.criterion(best) < of.criterion(strengths_) - 0.05) strengths_ = best;
      }
    }
    for (std::size_t e = 0; e < model_.effects().size(); ++e) {
      if (strengths_.of(model_.effects()[e].kind) == 0)
        x_[model_.unknowns() + static_cast<Eigen::Index>(e)] = 0;
    }
    const std::vector<double> freedom = of.freedom(strengths_);
    freedom_of_ = Eigen::Map<const Vector>(freedom.data(), static_cast<Eigen::Index>(freedom.size()));
    freedom_ = freedom_of_.sum();
  }

  // How far the last step went, in standard errors of the principal direction that it changed most.
  double moved() const {
    const Vector y = fisher_.identified().transpose() * (x_ - before_x_).head(model_.unknowns());
    return y.size() == 0 || y.cwiseAbs().maxCoeff() < 1e-12
               ? 0
               : (y.array() * fisher_.singular.head(fisher_.rank).array()).abs().maxCoeff();
  }

  // True where another round would change nothing that is told.
  bool settled(const Vector& before_noise, const std::vector<bool>& before_left_out) const {
    return left_out_ == before_left_out && moved() < 1e-2 &&
           ((white() - before_noise).array().abs() < 1e-3 * white().array() + 10 * exact_to).all();
  }

  void improve() {
    const Matrix directions = fisher_.identified();
    const auto effects = present();
    const Eigen::Index fixed = directions.cols(), m = static_cast<Eigen::Index>(effects.size());
    if (fixed + m == 0) return;
    const Eigen::Index p = model_.unknowns();
    Vector y(fixed + m);
    y.head(fixed) = directions.transpose() * (x_ - origin_).head(p);
    for (Eigen::Index e = 0; e < m; ++e)
      y[fixed + e] =
          x_[effects[static_cast<std::size_t>(e)].first] / effects[static_cast<std::size_t>(e)].second;
    const auto at = [&](const Vector& of) {
      Vector x = origin_;
      x.tail(model_.size() - p).setZero();
      x.head(p) += directions * of.head(fixed);
      for (Eigen::Index e = 0; e < m; ++e)
        x[effects[static_cast<std::size_t>(e)].first] =
            of[fixed + e] * effects[static_cast<std::size_t>(e)].second;
      return x;
    };
    const auto n = static_cast<Eigen::Index>(numbers_.size());
    const auto residuals_at = [&](const Vector& of, double* residuals, double* jacobian) {
      if (stop_.stop_requested()) return false;
      const std::vector<Prediction> now =
          model_.predict(at(of), RowModel::From::states, &states_, left_out_, jacobian != nullptr);
      const Eigen::Index columns = jacobian != nullptr ? fixed + m : 0;
      RowMatrix rows(n, columns + 1);
      for (Eigen::Index i = 0; i < n; ++i) {
        const auto& [row, r] = numbers_[static_cast<std::size_t>(i)];
        if (!now[row].settled) return false;  // the step is too long
        rows(i, columns) = now[row].reading[r] - data_.rows[row].reading[r];
        if (columns == 0) continue;
        const auto derivative = now[row].derivative.row(r);
        rows.row(i).head(fixed) = derivative.head(p) * directions;
        for (Eigen::Index e = 0; e < m; ++e)
          rows(i, fixed + e) = derivative[effects[static_cast<std::size_t>(e)].first] *
                               effects[static_cast<std::size_t>(e)].second;
      }
      weigh(rows);
      Eigen::Map<Vector> value(residuals, n + m);
      value.head(n) = rows.col(columns);
      value.tail(m) = of.tail(m);
      if (columns == 0) return true;
      Eigen::Map<RowMatrix> slope(jacobian, n + m, columns);
      slope.topRows(n) = rows.leftCols(columns);
      slope.bottomRows(m).setZero();
      slope.bottomRightCorner(m, m).setIdentity();
      return true;
    };
    const bool improved = ness::improve(y, numbers_.size() + static_cast<std::size_t>(m),
                                        residuals_at);  // a few steps; there are more rounds
    if (stop_.stop_requested()) throw Cancelled();
    // From where not even the first evaluation succeeds another start may: the next round looks again.
    if (improved) x_ = at(y);
  }

  Calibration report() {
    const auto p = static_cast<std::size_t>(model_.unknowns());
    result_.rank = static_cast<std::size_t>(fisher_.rank);
    result_.numbers = numbers_.size();
    result_.degrees_of_freedom = freedom_;
    for (const SerialNoise& of : strengths_.noise) {
      result_.noise.push_back(of.white);
      result_.walk.push_back(of.walk * of.white);
      result_.flicker.push_back(of.flicker * of.white);
    }
    result_.nuisance = strengths_.nuisance;
    tell_effects();
    name_unknowns();
    const Matrix none = fisher_.unknown();
    if (none.cols() > 0) result_.not_identified = readable(none);
    const Spread spread = spread_of_unknowns();
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
            (d < fisher_.rank ? spread.averaged[at] : 1) *
            std::pow(fisher_.directions(at, d) * (boundless ? options_.largest : 1 / fisher_.singular[d]), 2);
      }
      unknown.standard_error = std::sqrt(variance);
      const double quantile = spread.scale[at] * student_quantile(std::max(1.0, spread.freedom[at]),
                                                                  0.5 + 0.5 * options_.confidence);
      unknown.low = unknown.offset - quantile * unknown.standard_error;
      unknown.high = unknown.offset + quantile * unknown.standard_error;
    }
    judge_by_the_log();
    judge_residuals();
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
    // reading's are pooled. What walks or flickers is no part of them.
    double chi_squared = 0, freedom = 0;
    for (Eigen::Index r = 0; r < model_.readings(); ++r) {
      double stated = 0, count = 0, all = 0;
      for (const Number& n : numbers_) {
        if (n.reading != r) continue;
        ++all;
        const double sigma = data_.rows[n.row].sigma[r];
        if (!std::isfinite(sigma)) continue;
        stated += sigma * sigma;
        ++count;
      }
      if (count == 0) continue;
      const double of_stated = freedom_of_[r] * count / all;
      chi_squared += of_stated * noise(r).white * noise(r).white / (stated / count);
      freedom += of_stated;
    }
    result_.chi_squared = freedom > 0 ? chi_squared / freedom : nan;
  }

  // Rows with the same inputs, nudges and holds have the same number.
  std::vector<std::uint64_t> imposed() const {
    std::map<std::vector<double>, std::uint64_t> known;
    std::vector<std::uint64_t> of_row;
    for (const CalibrationRow& row : data_.rows) {
      std::vector<double> key(row.clamp.begin(), row.clamp.end());
      // A nudge goes with the loss's gradient, and changes from row to row: its sign counts.
      for (const double u : row.nudge) key.push_back(u > 0 ? 1 : u < 0 ? -1 : 0);
      key.push_back(static_cast<double>(row.nudge.size()));
      for (const auto& [node, level] : row.held) key.push_back(node);
      of_row.push_back(known.emplace(std::move(key), known.size()).first->second);
    }
    return of_row;
  }

  // Intervals suppose that the model describes the data. Where it does not they are wider; where it is far
  // from it, or never came to rest, there are none.
  void judge_residuals() {
    RowMatrix rows(static_cast<Eigen::Index>(numbers_.size()), 1);
    bool noise_is_rounding = true;
    for (std::size_t n = 0; n < numbers_.size(); ++n)
      rows(static_cast<Eigen::Index>(n), 0) = residual(numbers_[n]);
    for (const double white : result_.noise) noise_is_rounding = noise_is_rounding && white <= 1e3 * exact_to;
    weigh(rows);
    const std::vector<std::uint64_t> same = imposed();
    std::vector<Innovations> readings;
    for (const CalibrationReading& reading : data_.readings) readings.push_back({reading.name, {}, {}});
    for (std::size_t n = 0; n < numbers_.size(); ++n) {
      Innovations& of = readings[static_cast<std::size_t>(numbers_[n].reading)];
      of.value.push_back(rows(static_cast<Eigen::Index>(n), 0));
      of.imposed.push_back(same[numbers_[n].row]);
    }
    if (!noise_is_rounding) {
      const ResidualDoubts found = residual_doubts(readings);
      result_.doubts = found.lines;
      result_.widened = std::sqrt(std::max(1.0, found.inflation));
    }
    if (model_.too_many_effects())
      result_.doubts.push_back(
          "gains of gates and cross-talk are too many to be told from so few readings, and "
          "are taken for none");
    if (!result_.converged) {
      result_.withheld = "the fit did not come to rest within " + std::to_string(most_rounds) + " rounds";
    } else if (result_.widened > most_widened) {
      result_.withheld = "the model does not describe the log: " + result_.doubts.front();
    }
    for (CalibratedUnknown& unknown : result_.unknowns) {
      if (!unknown.identified) continue;
      unknown.standard_error *= result_.widened;
      unknown.low = unknown.offset - result_.widened * (unknown.offset - unknown.low);
      unknown.high = unknown.offset + result_.widened * (unknown.high - unknown.offset);
    }
  }

  struct Spread {
    Vector freedom;   // of Student's distribution
    Vector scale;     // of it, in standard errors
    Vector averaged;  // the mean variance by that with the strengths as estimated
  };
  // Without nuisances and correlations: the numbers less what the fit took of them. With, each unknown's own,
  // averaged over the strengths that there may be.
  Spread spread_of_unknowns() {
    const Eigen::Index p = model_.unknowns();
    Spread spread{Vector::Constant(p, freedom_), Vector::Ones(p), Vector::Ones(p)};
    const bool white = std::none_of(strengths_.noise.begin(), strengths_.noise.end(),
                                    [](const SerialNoise& of) { return of.correlated(); });
    if ((white && present().empty()) || fisher_.rank == 0) return spread;
    VarianceComponents of = components();
    const Matrix directions = fisher_.identified();
    const VarianceComponents::Averaged own = of.averaged(strengths_, directions);
    const Vector averaged = own.variance.cwiseQuotient(of.variances(strengths_, directions));
    for (Eigen::Index i = 0; i < p; ++i) {
      // Directions 1e-7 as well known as others are lost to the rounding of the equations that these are
      // from.
      if (!(averaged[i] > 0) || !(own.freedom[i] > 0)) continue;
      spread.averaged[i] = averaged[i];
      spread.freedom[i] = std::min(own.freedom[i], std::max(freedom_, 4.0));
      spread.scale[i] = std::sqrt((spread.freedom[i] - 2) / spread.freedom[i]);
    }
    return spread;
  }

  void tell_effects() {
    for (std::size_t e = 0; e < model_.effects().size(); ++e) {
      const auto& [kind, of, from] = model_.effects()[e];
      if (strengths_.of(kind) == 0) continue;
      result_.effects.push_back({kind, static_cast<std::uint32_t>(of), static_cast<std::uint32_t>(from),
                                 x_[model_.unknowns() + static_cast<Eigen::Index>(e)]});
    }
  }

  void tell_left_out() {
    std::vector<bool> kept = left_out_;
    kept.flip();
    const std::vector<Prediction> near = model_.predict(x_, RowModel::From::measured, nullptr, kept, false);
    for (std::size_t i = 0; i < left_out_.size(); ++i) {
      if (!left_out_[i]) continue;
      using Why = Calibration::LeftOut::Why;
      const bool explained =
          near[i].settled && worst(near[i], data_.rows[i], robust_scale()) <= options_.outlier;
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
      result_.twin.input_offset = x_.segment(model_.first_input() + model_.inputs(), model_.inputs());
    }
    add_effects_to_twin();
    const bool readings = std::any_of(result_.effects.begin(), result_.effects.end(), [](const auto& one) {
      return one.kind == NuisanceKind::reading_gain || one.kind == NuisanceKind::reading_offset ||
             one.kind == NuisanceKind::meter_gain || one.kind == NuisanceKind::meter_zero;
    });
    if (!options_.gains && !readings) return;
    result_.twin.gain = Vector::Ones(static_cast<Eigen::Index>(network_.free().size()));
    result_.twin.reading_offset = Vector::Zero(result_.twin.gain.size());
    for (Eigen::Index r = 0; r < model_.readings(); ++r) {
      if (const auto k = free_of(r)) {
        result_.twin.gain[*k] = model_.gain(x_, r);
        result_.twin.reading_offset[*k] = model_.zero(x_, r);
      }
    }
  }

  // What a twin has no word for, leads in front of inputs and the load of meters, is as small as the leads
  // are.
  void add_effects_to_twin() {
    TwinOffsets& twin = result_.twin;
    const auto put = [](Vector& values, Eigen::Index size, double at_rest, std::uint32_t i) -> double& {
      if (values.size() == 0) values = Vector::Constant(size, at_rest);
      return values[i];
    };
    const Eigen::Index inputs = static_cast<Eigen::Index>(network_.clamped().size());
    // A twin's gates are counted from 0, or 1.
    const Vector& middle = model_.middle();
    for (const Calibration::Nuisance& one : result_.effects) {
      double none = 0;
      double& offset = one.of < static_cast<std::uint32_t>(twin.theta.size()) ? twin.theta[one.of] : none;
      switch (one.kind) {
        case NuisanceKind::gate_gain: offset -= one.value * middle[one.of]; break;
        case NuisanceKind::log_gate_gain: offset -= one.value * std::log(middle[one.of]); break;
        case NuisanceKind::cross_talk: offset -= one.value * middle[one.from]; break;
        case NuisanceKind::log_gate_zero:
          offset = std::log(std::exp(offset) - one.value / middle[one.of]);
          break;
        default: break;
      }
      switch (one.kind) {
        case NuisanceKind::gate_gain:
        case NuisanceKind::log_gate_gain:
          put(twin.gate_gain, model_.parameters(), 0, one.of) += one.value;
          break;
        case NuisanceKind::log_gate_zero:
          put(twin.gate_zero, model_.parameters(), 0, one.of) += one.value;
          break;
        case NuisanceKind::cross_talk: {
          const auto same = std::find_if(
              twin.cross_talk.begin(), twin.cross_talk.end(),
              [&](const TwinCrossTalk& talk) { return talk.to == one.of && talk.from == one.from; });
          if (same == twin.cross_talk.end()) twin.cross_talk.push_back({one.of, one.from, one.value});
          else same->share += one.value;
          break;
        }
        case NuisanceKind::input_gain: put(twin.input_gain, inputs, 1, one.of) += one.value; break;
        case NuisanceKind::input_offset: put(twin.input_offset, inputs, 0, one.of) += one.value; break;
        default: break;
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
  Vector x_, origin_, before_x_, freedom_of_;
  Strengths strengths_;
  bool serial_ = true;
  std::vector<Prediction> states_;
  std::vector<Number> numbers_;
  Fisher fisher_;
  double freedom_ = 0;
  Calibration result_;
};

}  // namespace

const char* to_string(NuisanceKind kind) {
  switch (kind) {
    case NuisanceKind::gate_gain: return "gains of gates";
    case NuisanceKind::log_gate_gain: return "gains of gates (of the logarithm)";
    case NuisanceKind::log_gate_zero: return "zeros of gates";
    case NuisanceKind::cross_talk: return "cross-talk";
    case NuisanceKind::reading_gain: return "gains of potential readings";
    case NuisanceKind::reading_offset: return "offsets of potential readings";
    case NuisanceKind::current_gain: return "gains of current readings";
    case NuisanceKind::current_offset: return "offsets of current readings";
    case NuisanceKind::input_gain: return "gains of inputs";
    case NuisanceKind::input_offset: return "offsets of inputs";
    case NuisanceKind::input_lead: return "leads of inputs";
    case NuisanceKind::meter_gain: return "the meter's gain";
    case NuisanceKind::meter_zero: return "the meter's zero";
    case NuisanceKind::meter_load: return "the meter's load";
  }
  return "?";
}

const char* key_of(NuisanceKind kind) {
  switch (kind) {
    case NuisanceKind::gate_gain: return "gate-gain";
    case NuisanceKind::log_gate_gain: return "log-gate-gain";
    case NuisanceKind::log_gate_zero: return "log-gate-zero";
    case NuisanceKind::cross_talk: return "cross-talk";
    case NuisanceKind::reading_gain: return "reading-gain";
    case NuisanceKind::reading_offset: return "reading-offset";
    case NuisanceKind::current_gain: return "current-gain";
    case NuisanceKind::current_offset: return "current-offset";
    case NuisanceKind::input_gain: return "input-gain";
    case NuisanceKind::input_offset: return "input-offset";
    case NuisanceKind::input_lead: return "input-lead";
    case NuisanceKind::meter_gain: return "meter-gain";
    case NuisanceKind::meter_zero: return "meter-zero";
    case NuisanceKind::meter_load: return "meter-load";
  }
  return "?";
}

std::string CalibrationOptions::problem() const {
  if (!(confidence > 0 && confidence < 1))
    return "confidence " + toml_number(confidence) + "; it must be in (0, 1)";
  if (!(largest > 0) || std::isinf(largest))
    return "largest " + toml_number(largest) + "; it must be finite and > 0";
  for (std::size_t k = 0; k < nuisance_kinds; ++k) {
    if (!(stated[k] >= 0) || std::isinf(stated[k]))
      return std::string("accuracy of ") + key_of(static_cast<NuisanceKind>(k)) + " " +
             toml_number(stated[k]) + "; it must be finite and >= 0";
  }
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
