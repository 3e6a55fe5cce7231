#include "loop/one_error.hpp"

#include <algorithm>

#include "estimators/gradient_sum.hpp"
#include "ness/device/random.hpp"

namespace ness {
namespace {

Vector redrawn_error(const Estimator& estimator, const DeviceInfo& info, const Minibatch& batch,
                     const Loss& loss, std::span<const std::vector<Relaxation>> rows, std::uint32_t draws,
                     std::uint64_t seed) {
  const bool known = std::any_of(rows.begin(), rows.end(), [](const auto& chain) {
    return std::any_of(chain.begin(), chain.end(), [](const Relaxation& row) {
      return row.sigma.size() > 0 || row.current_sigma.size() > 0;
    });
  });
  if (!known || draws == 0) return {};
  const Gradient measured = estimator.form(info, batch, loss, rows);
  if (measured.used == 0 || measured.next) return {};
  Vector squares = Vector::Zero(measured.value.size());
  std::uint32_t formed = 0;
  for (std::uint32_t draw = 0; draw < draws; ++draw) {
    std::vector<std::vector<Relaxation>> redrawn(rows.begin(), rows.end());
    std::uint64_t ordinal = 0;
    for (auto& chain : redrawn) {
      for (Relaxation& row : chain) {
        std::uint32_t channel = draw << 16;
        for (Eigen::Index k = 0; k < row.sigma.size(); ++k)
          row.potential[k] += row.sigma[k] * normal_at(seed, ordinal, channel++);
        for (Eigen::Index k = 0; k < row.current_sigma.size(); ++k)
          row.current[k] += row.current_sigma[k] * normal_at(seed, ordinal, channel++);
        ++ordinal;
      }
    }
    const Gradient other = estimator.form(info, batch, loss, redrawn);
    if (other.used != measured.used) continue;
    squares += (other.value - measured.value).cwiseAbs2();
    ++formed;
  }
  if (formed == 0) return {};
  return (squares / formed).cwiseSqrt();
}

}  // namespace

void state_one_error(Gradient& gradient, const Estimator& estimator, const DeviceInfo& info,
                     const Minibatch& batch, const Loss& loss, std::span<const std::vector<Relaxation>> rows,
                     std::uint32_t draws, std::uint64_t seed) {
  // Without an error from readings only that of several directions is stated.
  if (gradient.used > 0 && estimator.repeats() == Estimator::Repeats::random)
    gradient.reading_error = estimator.whole_error(info, batch, loss, rows, gradient, {});
  if (gradient.reading_error.size() == 0)
    gradient.reading_error = redrawn_error(estimator, info, batch, loss, rows, draws, seed);
}

Gradient mean_with_one_error(std::span<const Gradient> passes) {
  Gradient mean = mean_of(passes, Estimator::Repeats::dependent);
  if (passes.size() == 1) return mean;
  Vector squares = Vector::Zero(mean.value.size()), scatter = squares;
  double used = 0, counted = 0;
  bool known = true;
  for (const Gradient& pass : passes) {
    if (pass.used == 0) continue;
    const auto weight = static_cast<double>(pass.used);
    used += weight;
    known = known && pass.reading_error.size() > 0;
    if (known) squares += (weight * pass.reading_error).cwiseAbs2();
    scatter += (pass.value - mean.value).cwiseAbs2();
    counted += 1;
  }
  mean.reading_error = {};
  if (counted > 1) {
    mean.reading_error = (scatter / (counted * (counted - 1))).cwiseSqrt();
    if (known && squares.sum() / (used * used) > mean.reading_error.squaredNorm())
      mean.reading_error = squares.cwiseSqrt() / used;
  } else if (known && used > 0) {
    mean.reading_error = squares.cwiseSqrt() / used;
  }
  return mean;
}

}  // namespace ness
