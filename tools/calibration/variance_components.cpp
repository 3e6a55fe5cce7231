#include "variance_components.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>

namespace ness {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
// In units of the white noise. Below the least, 1e4 relaxations do not tell them from 0.
constexpr double least_walk = 1e-5, most_walk = 30, least_flicker = 1e-2, most_flicker = 100;
constexpr double least_nuisance = 1e-9, most_nuisance = 1;

using Pair = std::array<double, 2>;
using SerialPart = double SerialNoise::*;
constexpr std::array<SerialPart, 2> serial_parts{&SerialNoise::walk, &SerialNoise::flicker};

double bounded(SerialPart part, double in_units_of_white) {
  return part == &SerialNoise::walk ? std::clamp(in_units_of_white, least_walk, most_walk)
                                    : std::clamp(in_units_of_white, least_flicker, most_flicker);
}

/// Nelder and Mead's simplex, in two dimensions, from `from` with edges of `edge`. Returns the best point.
std::pair<Pair, double> simplex(const std::function<double(const Pair&)>& f, const Pair& from, double edge,
                                int evaluations, double until) {
  struct Corner {
    Pair at;
    double value;
  };
  std::array<Corner, 3> corners{};
  for (std::size_t i = 0; i < 3; ++i) {
    corners[i].at = from;
    if (i > 0) corners[i].at[i - 1] += edge;
    corners[i].value = f(corners[i].at);
  }
  evaluations -= 3;
  const auto along = [&](double t) {
    Pair at{};
    for (std::size_t d = 0; d < 2; ++d) {
      const double middle = (corners[0].at[d] + corners[1].at[d]) / 2;
      at[d] = middle + t * (corners[2].at[d] - middle);
    }
    --evaluations;
    return Corner{at, f(at)};
  };
  const auto ordered = [](const Corner& a, const Corner& b) { return a.value < b.value; };
  std::sort(corners.begin(), corners.end(), ordered);
  while (evaluations > 0 && corners[2].value - corners[0].value > until) {
    Corner next = along(-1);
    if (next.value < corners[0].value) {
      if (const Corner further = along(-2); further.value < next.value) next = further;
    } else if (next.value >= corners[1].value) {
      next = next.value < corners[2].value ? along(-0.5) : along(0.5);
    }
    if (next.value < corners[2].value) {
      corners[2] = next;
    } else {
      for (std::size_t i = 1; i < 3; ++i) {
        for (std::size_t d = 0; d < 2; ++d) corners[i].at[d] = (corners[i].at[d] + corners[0].at[d]) / 2;
        corners[i].value = f(corners[i].at);
        --evaluations;
      }
    }
    std::sort(corners.begin(), corners.end(), ordered);
  }
  return {corners[0].at, corners[0].value};
}

/// The least of f on a grid of `points` from low to high, refined by golden sections about it.
std::pair<double, double> least_on(const std::function<double(double)>& f, double low, double high,
                                   int points, int sections) {
  std::vector<double> values;
  const double step = (high - low) / (points - 1);
  for (int i = 0; i < points; ++i) values.push_back(f(low + i * step));
  const auto best = static_cast<int>(std::min_element(values.begin(), values.end()) - values.begin());
  double a = low + std::max(best - 1, 0) * step, b = low + std::min(best + 1, points - 1) * step;
  std::pair<double, double> least{low + best * step, values[static_cast<std::size_t>(best)]};
  constexpr double golden = 0.3819660112501051;
  double x = a + golden * (b - a), y = b - golden * (b - a), fx = f(x), fy = f(y);
  for (int i = 0; i < sections; ++i) {
    if (fx < least.second) least = {x, fx};
    if (fy < least.second) least = {y, fy};
    if (fx < fy) {
      b = y;
      y = x;
      fy = fx;
      fx = f(x = a + golden * (b - a));
    } else {
      a = x;
      x = y;
      fx = fy;
      fy = f(y = b - golden * (b - a));
    }
  }
  return least;
}

}  // namespace

VarianceComponents::VarianceComponents(std::vector<ReadingBlock> blocks, std::vector<NuisanceKind> effects,
                                       double least_noise)
    : blocks_(std::move(blocks)),
      kinds_(std::move(effects)),
      least_noise_(least_noise),
      filtered_(blocks_.size()) {}

VarianceComponents VarianceComponents::present(const Strengths& at) const {
  std::vector<Eigen::Index> columns;
  std::vector<NuisanceKind> kinds;
  for (std::size_t e = 0; e < kinds_.size(); ++e) {
    if (at.of(kinds_[e]) == 0) continue;
    columns.push_back(static_cast<Eigen::Index>(e));
    kinds.push_back(kinds_[e]);
  }
  for (auto c = static_cast<Eigen::Index>(kinds_.size()); c < blocks_.front().columns.cols(); ++c)
    columns.push_back(c);
  std::vector<ReadingBlock> blocks;
  for (const ReadingBlock& block : blocks_)
    blocks.push_back({block.instrument, block.ordinals, block.columns(Eigen::all, columns)});
  return {std::move(blocks), std::move(kinds), least_noise_};
}

const VarianceComponents::Filtered& VarianceComponents::filtered(std::size_t r, const SerialNoise& noise) {
  std::array<Filtered, 2>& known = filtered_[r];
  for (Filtered& one : known) {
    if (one.known && one.noise.walk == noise.walk && one.noise.flicker == noise.flicker) return one;
  }
  // The first is the white one for good.
  Filtered& made = known[noise.correlated() ? 1 : 0];
  RowMatrix columns = blocks_[r].columns;
  made.log_determinant = whiten(blocks_[r].ordinals, noise, columns);
  made.gram = Matrix::Zero(columns.cols(), columns.cols());
  made.gram.selfadjointView<Eigen::Lower>().rankUpdate(columns.transpose());
  made.gram.triangularView<Eigen::StrictlyUpper>() = made.gram.transpose();
  made.noise = noise;
  made.known = true;
  return made;
}

Matrix VarianceComponents::scaled(std::size_t r, const Strengths& at) {
  const SerialNoise& noise = at.noise[r];
  const Matrix& gram = filtered(r, noise).gram;
  return unit_.asDiagonal() * gram(active_, active_) * unit_.asDiagonal() / (noise.white * noise.white);
}

bool VarianceComponents::factor(const Strengths& at) {
  active_.clear();
  std::vector<double> unit;
  const auto effects = static_cast<Eigen::Index>(kinds_.size());
  for (Eigen::Index e = 0; e < effects; ++e) {
    const double deviation = at.of(kinds_[static_cast<std::size_t>(e)]);
    if (deviation == 0) continue;
    active_.push_back(e);
    unit.push_back(deviation);
  }
  const std::size_t random = active_.size();
  for (Eigen::Index c = effects; c < blocks_.front().columns.cols(); ++c) {
    active_.push_back(c);
    unit.push_back(1);
  }
  unit_ = Eigen::Map<const Vector>(unit.data(), static_cast<Eigen::Index>(unit.size()));
  matrix_ = Matrix::Zero(unit_.size(), unit_.size());
  for (std::size_t r = 0; r < blocks_.size(); ++r) {
    if (!blocks_[r].ordinals.empty()) matrix_ += scaled(r, at);
  }
  matrix_.diagonal().head(static_cast<Eigen::Index>(random)).array() += 1;
  const Eigen::LLT<Matrix> cholesky(matrix_);
  factor_ = cholesky.matrixL();
  return cholesky.info() == Eigen::Success && factor_.allFinite();
}

double VarianceComponents::criterion(const Strengths& at) {
  if (!factor(at)) return infinity;
  const Eigen::Index last = factor_.rows() - 1;
  double sum = std::pow(factor_(last, last), 2) + 2 * factor_.diagonal().head(last).array().log().sum();
  for (std::size_t r = 0; r < blocks_.size(); ++r) {
    if (blocks_[r].ordinals.empty()) continue;
    sum += filtered(r, at.noise[r]).log_determinant +
           2 * static_cast<double>(blocks_[r].ordinals.size()) * std::log(at.noise[r].white);
  }
  return sum + prior(at);
}

// The mean of the logarithms, of which nothing is known, is where the prior is the greatest.
double VarianceComponents::prior(const Strengths& at) const {
  double sum = 0;
  for (const SerialPart part : serial_parts) {
    std::map<std::uint32_t, std::array<double, 3>> of;  // count, sum, sum of squares
    for (std::size_t r = 0; r < blocks_.size(); ++r) {
      if (blocks_[r].ordinals.empty() || at.noise[r].*part == 0) continue;
      const double logarithm = std::log(at.noise[r].*part * at.noise[r].white);
      auto& [count, first, second] = of[blocks_[r].instrument];
      ++count;
      first += logarithm;
      second += logarithm * logarithm;
    }
    for (const auto& [instrument, sums] : of)
      sum += (sums[2] - sums[1] * sums[1] / sums[0]) / (unlike * unlike);
  }
  return sum;
}

// The readings that can show a correlation, instrument by instrument.
std::vector<std::vector<std::size_t>> VarianceComponents::instruments(const Strengths& at) const {
  std::map<std::uint32_t, std::vector<std::size_t>> of;
  for (std::size_t r = 0; r < blocks_.size(); ++r) {
    if (blocks_[r].ordinals.size() >= 20 && at.noise[r].white > 100 * least_noise_)
      of[blocks_[r].instrument].push_back(r);
  }
  std::vector<std::vector<std::size_t>> all;
  for (auto& [instrument, readings] : of) all.push_back(std::move(readings));
  return all;
}

// One step of sigma^2 = (residuals, filtered)^2 / freedom, which the likelihood's derivative by a reading's
// scale asks for. Returns the freedom.
double VarianceComponents::scale_one(std::size_t r, Strengths& at) {
  const auto n = static_cast<double>(blocks_[r].ordinals.size());
  if (n == 0) return 0;
  const Eigen::Index k = matrix_.rows() - 1;
  const auto L = factor_.topLeftCorner(k, k).triangularView<Eigen::Lower>();
  const Matrix gram = scaled(r, at);
  // The solution of the mixed model's equations.
  const Vector solution = L.transpose().solve(Vector(factor_.row(k).head(k).transpose()));
  double squares =
      gram(k, k) - 2 * solution.dot(gram.col(k).head(k)) + solution.dot(gram.topLeftCorner(k, k) * solution);
  const Matrix half = L.solve(Matrix(gram.topLeftCorner(k, k)));
  const double taken = L.transpose().solve(half).trace();
  const double freedom = n - taken;
  // A reading whose few numbers the fit has used up keeps the noise that it was given.
  if (freedom > 0.5 && squares >= 0)
    at.noise[r].white = std::max(at.noise[r].white * std::sqrt(squares / freedom), least_noise_);
  return freedom;
}

void VarianceComponents::scale_noise(Strengths& at) {
  for (int i = 0; i < 20; ++i) {
    if (!factor(at)) return;
    double moved = 0;
    for (std::size_t r = 0; r < blocks_.size(); ++r) {
      const double before = at.noise[r].white;
      scale_one(r, at);
      moved = std::max(moved, std::abs(at.noise[r].white / before - 1));
    }
    if (moved < 1e-6) return;
  }
}

std::vector<double> VarianceComponents::freedom(const Strengths& at) {
  std::vector<double> all;
  Strengths as = at;
  if (!factor(as)) return std::vector<double>(blocks_.size(), 0);
  for (std::size_t r = 0; r < blocks_.size(); ++r) {
    Strengths one = at;
    all.push_back(scale_one(r, one));
  }
  return all;
}

// The criterion where the white noise of these readings is the best for what else there is.
double VarianceComponents::scaled_criterion(const std::vector<std::size_t>& readings, Strengths& at) {
  for (int i = 0; i < 2; ++i) {
    if (!factor(at)) return infinity;
    double moved = 0;
    for (const std::size_t r : readings) {
      const double before = at.noise[r].white;
      scale_one(r, at);
      moved = std::max(moved, std::abs(at.noise[r].white / before - 1));
    }
    if (moved < 1e-3) break;
  }
  return criterion(at);
}

void VarianceComponents::maximise_noise(const std::vector<std::size_t>& readings, Strengths& at, bool rough) {
  // All strengths of a part rise and fall together: its mean, and how far each is from it.
  const Strengths reference = at;
  const auto count = static_cast<double>(readings.size());
  double size = 0;
  for (const std::size_t r : readings) size += std::log(at.noise[r].white) / count;
  Pair mean{std::log(0.003) + size, std::log(0.3) + size};
  std::array<std::vector<double>, 2> from_mean;
  for (std::size_t p = 0; p < 2; ++p) {
    from_mean[p].assign(readings.size(), 0);
    const auto strength = [&](std::size_t r) { return at.noise[r].*serial_parts[p] * at.noise[r].white; };
    if (!std::all_of(readings.begin(), readings.end(), [&](std::size_t r) { return strength(r) > 0; }))
      continue;
    mean[p] = 0;
    for (const std::size_t r : readings) mean[p] += std::log(strength(r)) / count;
    for (std::size_t i = 0; i < readings.size(); ++i)
      from_mean[p][i] = std::log(strength(readings[i])) - mean[p];
  }
  const auto value = [&](Strengths& of, const Pair& means) {
    for (std::size_t i = 0; i < readings.size(); ++i) {
      for (std::size_t p = 0; p < 2; ++p) {
        of.noise[readings[i]].*serial_parts[p] =
            std::isinf(means[p]) ? 0
                                 : bounded(serial_parts[p], std::exp(means[p] + from_mean[p][i]) /
                                                                reference.noise[readings[i]].white);
      }
    }
    return scaled_criterion(readings, of);
  };
  Strengths best = at, trial = at;
  const double least = value(best, {-infinity, -infinity});
  // Both; then each alone: what is not worth its component is left out.
  const auto [point, found] =
      simplex([&](const Pair& p) { return value(trial, p); }, mean, rough ? 1.5 : 0.4, rough ? 36 : 16, 0.05);
  Strengths with_both = at;
  const double both = value(with_both, point);
  std::array<double, 2> alone{infinity, infinity};
  std::array<Strengths, 2> with_one{at, at};
  if (both < least - worth_a_component) {
    for (std::size_t p = 0; p < 2; ++p) {
      with_one[p] = with_both;
      const auto of_one = [&](double logarithm) {
        Pair means{-infinity, -infinity};
        means[p] = logarithm;
        return value(with_one[p], means);
      };
      alone[p] = of_one(least_on(of_one, point[p] - 0.5, point[p] + 3.5, 5, 4).first);
    }
  }
  const std::size_t better = alone[0] < alone[1] ? 0 : 1;
  if (both < std::min(least, alone[better]) - worth_a_component && both < least - 2 * worth_a_component) {
    best = with_both;
  } else if (alone[better] < least - worth_a_component) {
    best = with_one[better];
  }
  at = best;
  maximise_deviations(readings, at);
}

void VarianceComponents::maximise_deviations(const std::vector<std::size_t>& readings, Strengths& at) {
  if (readings.size() < 2) return;
  for (const std::size_t r : readings) {
    for (const SerialPart part : serial_parts) {
      if (at.noise[r].*part == 0) continue;
      const double centre = std::log(at.noise[r].*part);
      const auto value = [&](double logarithm) {
        at.noise[r].*part = bounded(part, std::exp(logarithm));
        return scaled_criterion({r}, at);
      };
      value(least_on(value, centre - 3 * unlike, centre + 3 * unlike, 5, 4).first);
    }
  }
}

void VarianceComponents::maximise_kind(NuisanceKind kind, Strengths& at, bool rough) {
  if (at.given[static_cast<std::size_t>(kind)] ||
      std::find(kinds_.begin(), kinds_.end(), kind) == kinds_.end())
    return;
  const double before = at.of(kind);
  const auto value = [&](double logarithm) {
    at.of(kind) = std::exp(logarithm);
    return criterion(at);
  };
  const bool anywhere = rough || before == 0;
  const double centre = before > 0 ? std::log(before) : 0;
  const auto [point, least] =
      least_on(value, anywhere ? std::log(least_nuisance) : centre - 2,
               anywhere ? std::log(most_nuisance) : centre + 2, anywhere ? 14 : 5, 10);
  at.of(kind) = 0;
  if (least < criterion(at) - worth_a_component) at.of(kind) = std::exp(point);
}

void VarianceComponents::maximise(Strengths& at, bool rough, bool serial) {
  double before = criterion(at);
  for (int cycle = 0; cycle < 4; ++cycle) {
    for (std::size_t k = 0; k < nuisance_kinds; ++k)
      maximise_kind(static_cast<NuisanceKind>(k), at, rough && cycle == 0);
    VarianceComponents fewer = present(at);
    for (const std::vector<std::size_t>& readings : instruments(at)) {
      if (serial) fewer.maximise_noise(readings, at, rough && cycle == 0);
    }
    fewer.scale_noise(at);
    const double now = fewer.criterion(at);
    if (!(now < before - 0.3)) return;
    before = now;
  }
}

Vector VarianceComponents::variances(const Strengths& at, const Matrix& directions) {
  if (!factor(at)) return Vector::Constant(directions.rows(), std::numeric_limits<double>::quiet_NaN());
  const Eigen::Index fixed = directions.cols(), k = factor_.rows() - 1;
  // Fixed columns are last, so that their part of the factor is their own, effects allowed for.
  const auto L = factor_.block(k - fixed, k - fixed, fixed, fixed).triangularView<Eigen::Lower>();
  const Matrix half = L.solve(Matrix(directions.transpose()));
  return half.colwise().squaredNorm().transpose();
}

// The fixed columns' part of the solution of the last factor.
Vector VarianceComponents::coefficients(const Matrix& directions) const {
  const Eigen::Index fixed = directions.cols(), k = factor_.rows() - 1;
  const auto L = factor_.block(k - fixed, k - fixed, fixed, fixed).triangularView<Eigen::Lower>();
  return directions * L.transpose().solve(Vector(factor_.row(k).segment(k - fixed, fixed).transpose()));
}

// About its minimum the criterion is a parabola in the logarithms of the strengths, or nearly: the average is
// over three points (Gauss and Hermite) of each of its principal directions, which count for what the
// criterion itself is there.
VarianceComponents::Averaged VarianceComponents::averaged(const Strengths& at, const Matrix& directions) {
  if (std::any_of(kinds_.begin(), kinds_.end(), [&](NuisanceKind kind) { return at.of(kind) == 0; }))
    return present(at).averaged(at, directions);
  constexpr double h = 0.2;  // of a logarithm: strengths are known to some 10 %, and so far is it a parabola
  std::vector<std::function<double&(Strengths&)>> all;
  std::vector<std::size_t> group;
  std::array<std::map<std::uint32_t, std::vector<std::pair<Eigen::Index, Eigen::Index>>>, 2> alike;
  for (std::size_t r = 0; r < at.noise.size(); ++r) {
    if (blocks_[r].ordinals.empty()) continue;
    const auto white = static_cast<Eigen::Index>(all.size());
    all.emplace_back([r](Strengths& s) -> double& { return s.noise[r].white; });
    group.push_back(r);
    for (std::size_t p = 0; p < 2; ++p) {
      const SerialPart part = serial_parts[p];
      if (at.noise[r].*part == 0) continue;
      alike[p][blocks_[r].instrument].emplace_back(white, static_cast<Eigen::Index>(all.size()));
      all.emplace_back([r, part](Strengths& s) -> double& { return s.noise[r].*part; });
      group.push_back(r);
    }
  }
  for (std::size_t k = 0; k < nuisance_kinds; ++k) {
    if (at.nuisance[k] == 0 || at.given[k]) continue;
    all.emplace_back([k](Strengths& s) -> double& { return s.nuisance[k]; });
    group.push_back(at.noise.size());
  }
  const auto n = static_cast<Eigen::Index>(all.size());
  const auto moved = [&](const Vector& by) {
    Strengths to = at;
    for (Eigen::Index i = 0; i < n; ++i) all[static_cast<std::size_t>(i)](to) *= std::exp(by[i]);
    return to;
  };
  const auto likelihood = [&](const Vector& by) {
    const Strengths to = moved(by);
    return criterion(to) - prior(to);
  };
  const auto along = [&](Eigen::Index i, double by) { return Vector(by * Vector::Unit(n, i)); };
  const double here = likelihood(Vector::Zero(n));
  // Of half the criterion, which is -log likelihood. Strengths of different readings are told apart by
  // different numbers.
  Matrix curvature = Matrix::Zero(n, n);
  Vector up(n);
  for (Eigen::Index i = 0; i < n; ++i) {
    up[i] = likelihood(along(i, h));
    curvature(i, i) = std::max(0.5 * (up[i] + likelihood(along(i, -h)) - 2 * here) / (h * h), 0.0);
    for (Eigen::Index j = 0; j < i; ++j) {
      if (group[static_cast<std::size_t>(i)] != group[static_cast<std::size_t>(j)]) continue;
      // f(+,+) - f(+,0) - f(0,+) + f(0,0)
      curvature(i, j) = curvature(j, i) =
          0.5 * (likelihood(along(i, h) + along(j, h)) - up[i] - up[j] + here) / (h * h);
    }
  }
  // Of the prior, a parabola in the logarithms of the strengths in kT: that of the white noise, and the
  // part's in units of it.
  for (const auto& part : alike) {
    for (const auto& [instrument, readings] : part) {
      const auto count = static_cast<Eigen::Index>(readings.size());
      Matrix logarithm = Matrix::Zero(count, n);
      for (Eigen::Index i = 0; i < count; ++i) {
        logarithm(i, readings[static_cast<std::size_t>(i)].first) = 1;
        logarithm(i, readings[static_cast<std::size_t>(i)].second) = 1;
      }
      const Matrix centred = logarithm.rowwise() - logarithm.colwise().mean();
      curvature += centred.transpose() * centred / (unlike * unlike);
    }
  }
  const Eigen::SelfAdjointEigenSolver<Matrix> principal(curvature);
  const double minimum = criterion(at);
  const Vector variance = variances(at, directions), value = coefficients(directions);
  Vector mean = variance, spread = Vector::Zero(directions.rows());
  for (Eigen::Index d = 0; d < n; ++d) {
    // A part near 0 has next to no curvature below, and no influence either.
    const double deviation = 1 / std::sqrt(std::max(principal.eigenvalues()[d], 0.25));
    double weight = 2.0 / 3;
    Vector first = weight * variance, second = weight * variance.cwiseAbs2();
    for (const double side : {-1.0, 1.0}) {
      const Strengths to = moved(side * std::sqrt(3.0) * deviation * principal.eigenvectors().col(d));
      const double share = std::exp(1.5 - 0.5 * (criterion(to) - minimum)) / 6;
      if (!(share > 1e-6)) continue;
      Vector there = variances(to, directions);
      there += (coefficients(directions) - value).cwiseAbs2();
      weight += share;
      first += share * there;
      second += share * there.cwiseAbs2();
    }
    first /= weight;
    mean += first - variance;
    spread += second / weight - first.cwiseAbs2();
  }
  // A kind of nuisance that was found may be chance: with as much weight as the criterion leaves it, there is
  // none.
  for (std::size_t k = 0; k < nuisance_kinds; ++k) {
    if (at.nuisance[k] == 0 || at.given[k]) continue;
    Strengths without = at;
    without.nuisance[k] = 0;
    const double odds = std::exp(-0.5 * (criterion(without) - minimum)), share = odds / (1 + odds);
    if (!(share > 1e-6)) continue;
    Vector there = variances(without, directions);
    there += (coefficients(directions) - value).cwiseAbs2();
    mean += share * (there - variance);
    spread += share * (1 - share) * (there - variance).cwiseAbs2();
  }
  // The kurtosis of normals of different variances is 3 (1 + spread / mean^2), Student's 3 + 6/(freedom - 4).
  Averaged all_in{mean, Vector(mean.size())};
  for (Eigen::Index i = 0; i < mean.size(); ++i)
    all_in.freedom[i] = spread[i] > 0 ? 4 + 2 * mean[i] * mean[i] / spread[i] : infinity;
  return all_in;
}

}  // namespace ness
