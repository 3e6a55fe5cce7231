#include "estimators/nudge_size.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "estimators/perturbation_size.hpp"
#include "estimators/costate_estimator.hpp"
#include "ness/device/number_text.hpp"

namespace ness {
namespace {

constexpr double fallback = 1e-3;  // if nothing can be measured

// Observations at the free states of a few samples.
struct FreeStates {
  double largest = 0;           // |dL/dmu| at any output
  std::vector<double> squares;  // sum of squared reading errors of each sample
  std::uint64_t relaxations = 0;
};

double squared_errors(const std::vector<Relaxation>& rows, bool deterministic) {
  const Relaxation& first = rows.front();
  if (first.sigma.size() > 0) return first.sigma.squaredNorm();
  if (deterministic)
    return std::isfinite(first.timing.bound)
               ? static_cast<double>(first.potential.size()) * first.timing.bound * first.timing.bound
               : 0;
  Vector mean = Vector::Zero(first.potential.size());
  for (const Relaxation& row : rows) mean += row.potential / static_cast<double>(rows.size());
  double sum = 0;
  for (const Relaxation& row : rows)
    sum += (row.potential - mean).squaredNorm() / static_cast<double>(rows.size() - 1);
  return sum;
}

FreeStates look(Device& device, const DeviceInfo& info, const Minibatch& few, const Loss& loss,
                std::stop_token stop) {
  FreeStates seen;
  seen.squares.resize(few.samples.size(), 0);
  for (std::size_t i = 0; i < few.samples.size(); ++i) {
    std::vector<Relaxation> rows;
    const auto relax = [&] {
      Drive drive = few.free_drive(i);
      drive.label.purpose = Label::Purpose::probe;
      device.relax(
          {&drive, 1}, [&](std::size_t, const Relaxation& row) { rows.push_back(row); }, stop);
      ++seen.relaxations;
      return rows.back().quality.usable();
    };
    if (!relax()) continue;
    constexpr std::size_t again = 4;
    bool usable = true;
    while (usable && rows.front().sigma.size() == 0 && !info.deterministic && rows.size() < again)
      usable = relax();
    if (!usable) rows.pop_back();
    seen.squares[i] = rows.size() > 1 || rows.front().sigma.size() > 0 || info.deterministic
                          ? squared_errors(rows, info.deterministic)
                          : 0;
    seen.largest = std::max(seen.largest, cotangent(info, few, loss, i, rows.front()).cwiseAbs().maxCoeff());
  }
  return seen;
}

Minibatch first_of(const Minibatch& batch, std::size_t most) {
  Minibatch few = batch;
  const std::size_t n = std::min(most, batch.samples.size());
  few.samples.resize(n);
  if (!few.variants.empty()) few.variants.resize(n);
  if (!few.starts.empty()) few.starts.resize(n);
  return few;
}

}  // namespace

NudgeStrength::NudgeStrength(double given, const std::string& who) : automatic_(given == 0), value_(given) {
  if (!(given >= 0) || std::isinf(given))
    throw std::invalid_argument(who + ": beta " + number_text(given) +
                                "; it must be finite and > 0, or 0 to be chosen");
}

double NudgeStrength::value() const {
  if (!(value_ > 0))
    throw std::logic_error("beta is 0, to be chosen from noise and curvature, and prepare has not chosen it");
  return value_;
}

Vector NudgeStrength::state() const {
  return automatic_ && value_ > 0 ? Vector::Constant(1, value_) : Vector();
}

void NudgeStrength::restore(const Vector& state, std::string_view who) {
  const bool possible =
      state.size() == 0 || (automatic_ && state.size() == 1 && state[0] > 0 && std::isfinite(state[0]));
  if (!possible) {
    throw std::invalid_argument(std::string(who) + ": " + std::to_string(state.size()) +
                                " numbers are no state of it: expected " +
                                (automatic_ ? "the beta that was chosen" : "none, since beta is given"));
  }
  if (automatic_) value_ = state.size() == 0 ? 0 : state[0];
}

NudgeSize best_nudge(Device& device, const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                     const NudgeError& error,
                     const std::function<std::vector<std::optional<Vector>>(const Minibatch&, double,
                                                                            std::uint64_t&)>& measure,
                     std::stop_token stop) {
  const Minibatch few = first_of(batch, 4);
  const FreeStates seen = look(device, info, few, loss, stop);
  NudgeSize chosen{fallback, seen.relaxations};
  if (!(seen.largest > 0)) return chosen;
  double room = 0.8;  // units of current; the nudge at h is a quarter, 0.2
  for (const std::uint32_t output : info.outputs) {
    const Range& range = info.terminals[output].nudge;
    room = std::min({room, -range.low, range.high});
  }
  double h = room / 4 / seen.largest;
  constexpr int tries = 6;
  for (int attempt = 0; attempt < tries; ++attempt, h /= 4) {
    const std::vector<std::optional<Vector>> at_h = measure(few, h, chosen.relaxations),
                                             at_2h = measure(few, 2 * h, chosen.relaxations);
    Vector one(0), two(0);
    double squares = 0;
    for (std::size_t i = 0; i < at_h.size(); ++i) {
      if (!at_h[i] || !at_2h[i]) continue;
      const Eigen::Index old = one.size(), n = at_h[i]->size();
      one.conservativeResize(old + n);
      two.conservativeResize(old + n);
      one.tail(n) = *at_h[i];
      two.tail(n) = *at_2h[i];
      squares += seen.squares[i];
    }
    if (one.size() == 0) continue;
    chosen.beta =
        best_perturbation_size(one, two, h, error.noise * std::sqrt(squares), error.order, 1e-6 * h, 2 * h);
    return chosen;
  }
  return chosen;
}

}  // namespace ness
