#include "variance_components.hpp"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace ness {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
// In units of the white noise. Below the least, 1e4 relaxations do not tell them from 0.
constexpr double least_walk = 1e-5, most_walk = 30, least_flicker = 1e-2, most_flicker = 100;
constexpr double least_nuisance = 1e-9, most_nuisance = 1;

using Pair = std::array<double, 2>;

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
    blocks.push_back({block.ordinals, block.columns(Eigen::all, columns)});
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
  return sum;
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

// The criterion with such noise of reading r, whose white part is the best for it.
double VarianceComponents::with(std::size_t r, Strengths& at, double walk, double flicker) {
  at.noise[r].walk = walk;
  at.noise[r].flicker = flicker;
  for (int i = 0; i < 2; ++i) {
    if (!factor(at)) return infinity;
    const double before = at.noise[r].white;
    scale_one(r, at);
    if (std::abs(at.noise[r].white / before - 1) < 1e-3) break;
  }
  return criterion(at);
}

void VarianceComponents::maximise_noise(std::size_t r, Strengths& at, bool rough) {
  if (blocks_[r].ordinals.size() < 20 || at.noise[r].white <= 100 * least_noise_) return;
  Strengths best = at, trial = at;
  const double least = with(r, best, 0, 0);
  const auto bounded = [](double logarithm, double low, double high) {
    return std::clamp(std::exp(logarithm), low, high);
  };
  // Both; then each alone: what is not worth its component is left out.
  double both = infinity, of_walk = infinity, of_flicker = infinity;
  Strengths with_both = at, with_walk = at, with_flicker = at;
  const SerialNoise before = at.noise[r];
  {
    const Pair from{std::log(before.walk > 0 ? before.walk : 0.003),
                    std::log(before.flicker > 0 ? before.flicker : 0.3)};
    const auto [point, value] = simplex(
        [&](const Pair& p) {
          return with(r, trial, bounded(p[0], least_walk, most_walk),
                      bounded(p[1], least_flicker, most_flicker));
        },
        from, rough ? 1.5 : 0.4, rough ? 36 : 16, 0.05);
    both = with(r, with_both, bounded(point[0], least_walk, most_walk),
                bounded(point[1], least_flicker, most_flicker));
  }
  if (both < least - worth_a_component) {
    const auto alone = [&](Strengths& of, bool walk) {
      const double centre = std::log(walk ? with_both.noise[r].walk : with_both.noise[r].flicker);
      of = with_both;
      const auto value = [&](double logarithm) {
        return walk ? with(r, of, bounded(logarithm, least_walk, most_walk), 0)
                    : with(r, of, 0, bounded(logarithm, least_flicker, most_flicker));
      };
      const auto [point, found] = least_on(value, centre - 0.5, centre + 3.5, 5, 4);
      value(point);
      return found;
    };
    of_walk = alone(with_walk, true);
    of_flicker = alone(with_flicker, false);
  }
  const double one = std::min(of_walk, of_flicker);
  if (both < std::min(least, one) - worth_a_component && both < least - 2 * worth_a_component) {
    best = with_both;
  } else if (one < least - worth_a_component) {
    best = of_walk < of_flicker ? with_walk : with_flicker;
  }
  at = best;
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
    for (std::size_t r = 0; r < blocks_.size() && serial; ++r)
      fewer.maximise_noise(r, at, rough && cycle == 0);
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

Vector VarianceComponents::degrees_of_freedom(const Strengths& at, const Matrix& directions) {
  if (std::any_of(kinds_.begin(), kinds_.end(), [&](NuisanceKind kind) { return at.of(kind) == 0; }))
    return present(at).degrees_of_freedom(at, directions);
  constexpr double h = 0.2;  // of a logarithm: strengths are known to some 10 %, and so far is it a parabola
  std::vector<std::function<double&(Strengths&)>> all;
  std::vector<std::size_t> group;
  for (std::size_t r = 0; r < at.noise.size(); ++r) {
    if (blocks_[r].ordinals.empty()) continue;
    all.emplace_back([r](Strengths& s) -> double& { return s.noise[r].white; });
    group.push_back(r);
    if (at.noise[r].walk > 0) {
      all.emplace_back([r](Strengths& s) -> double& { return s.noise[r].walk; });
      group.push_back(r);
    }
    if (at.noise[r].flicker > 0) {
      all.emplace_back([r](Strengths& s) -> double& { return s.noise[r].flicker; });
      group.push_back(r);
    }
  }
  for (std::size_t k = 0; k < nuisance_kinds; ++k) {
    if (at.nuisance[k] == 0 || at.given[k]) continue;
    all.emplace_back([k](Strengths& s) -> double& { return s.nuisance[k]; });
    group.push_back(at.noise.size());
  }
  const auto n = static_cast<Eigen::Index>(all.size());
  const double here = criterion(at);
  const Vector v = variances(at, directions);
  Matrix slope(directions.rows(), n), curvature = Matrix::Zero(n, n);
  Vector up(n);
  for (Eigen::Index i = 0; i < n; ++i) {
    Strengths plus = at, minus = at;
    all[static_cast<std::size_t>(i)](plus) *= std::exp(h);
    all[static_cast<std::size_t>(i)](minus) *= std::exp(-h);
    up[i] = criterion(plus);
    slope.col(i) = variances(plus, directions);
    const double down = criterion(minus);
    slope.col(i) = (slope.col(i) - variances(minus, directions)) / (2 * h);
    // -log likelihood is half of the criterion. A component near 0 has next to no curvature, and no influence
    // either.
    curvature(i, i) = std::max(0.5 * (up[i] + down - 2 * here) / (h * h), 0.25);
  }
  for (Eigen::Index i = 0; i < n; ++i) {
    for (Eigen::Index j = 0; j < i; ++j) {
      if (group[static_cast<std::size_t>(i)] != group[static_cast<std::size_t>(j)]) continue;
      Strengths both = at;
      all[static_cast<std::size_t>(i)](both) *= std::exp(h);
      all[static_cast<std::size_t>(j)](both) *= std::exp(h);
      // f(+,+) - f(+,0) - f(0,+) + f(0,0)
      curvature(i, j) = curvature(j, i) = 0.5 * (criterion(both) - up[i] - up[j] + here) / (h * h);
    }
  }
  Eigen::LDLT<Matrix> inverse(curvature);
  if (inverse.info() != Eigen::Success || !inverse.isPositive())
    inverse.compute(Matrix(curvature.diagonal().asDiagonal()));
  Vector freedom(directions.rows());
  for (Eigen::Index i = 0; i < freedom.size(); ++i) {
    const Vector s = slope.row(i).transpose();
    const double variance = s.dot(inverse.solve(s));
    freedom[i] = variance > 0 ? 2 * v[i] * v[i] / variance : infinity;
  }
  return freedom;
}

}  // namespace ness
