// Sources that hold free terminals on demand.
#include <algorithm>
#include <cmath>

#include "wiring/check.hpp"

namespace ness::wiring {
namespace {

// relative to a held terminal's step: for leads, and errors of source and meter
constexpr double slack = 0.1;

// Response of the readings and of its own current to a source that holds a terminal, from a step up and a
// step down.
struct Held {
  Vector moved;                                                   // [n_read] kT per kT
  double conductance = std::numeric_limits<double>::quiet_NaN();  // units of current per kT
  bool limited = false;
};
template <class Relaxing>
Held hold(const WiringHolder& holder, double rest, Drive drive, const Relaxing& once) {
  drive.holds = {{holder.terminal, rest + holder.step}};
  const Relaxation up = once(drive);
  drive.holds = {{holder.terminal, rest - holder.step}};
  const Relaxation down = once(drive);
  Held held;
  held.moved = (up.potential - down.potential) / (2 * holder.step);
  if (up.current.size() > 0 && down.current.size() > 0) {
    held.conductance = (up.current[holder.terminal] - down.current[holder.terminal]) / (2 * holder.step);
  }
  held.limited = up.quality.has(Flag::in_compliance) || down.quality.has(Flag::in_compliance);
  return held;
}

// The fault of a source that holds the terminal of reading `own`; empty: none. Sets the verdict.
std::string fault_of(const Held& held, const Held& expected, Eigen::Index own,
                     const std::vector<ReadingReport>& readings, const WiringCheckOptions& options,
                     ChannelReport& entry) {
  const auto is = [&](WiringVerdict verdict, const std::string& what) {
    entry.verdict = verdict;
    return what;
  };
  Eigen::Index nearest = 0;  // reading whose response is closest to a whole step
  (held.moved.array() - 1).abs().minCoeff(&nearest);
  if (held.limited)
    return is(WiringVerdict::limited, "is in compliance at tiny levels: is its lead shorted?");
  if (nearest != own && std::abs(held.moved[nearest] - 1) <= slack) {
    entry.of = readings[static_cast<std::size_t>(nearest)].name;
    return is(WiringVerdict::exchanged, "holds the terminal of " + entry.of + ": are cables exchanged?");
  }
  if (std::abs(held.moved[own]) < nothing)
    return is(WiringVerdict::silent, "holds nothing: is its lead open?");
  if (std::abs(held.moved[own] - 1) > slack) {
    return is(WiringVerdict::wrong_gain,
              "moves its own node " + rounded(held.moved[own]) + " times as much as expected");
  }
  // Near NDC a conductance is a small difference of large terms, so the tolerance has an absolute part.
  const double allowed = options.gain_tolerance * std::abs(expected.conductance) + options.roughness;
  if (!(std::abs(held.conductance - expected.conductance) > allowed)) return {};
  if (held.conductance * expected.conductance < 0)
    return is(WiringVerdict::wrong_sign, "measures its current with the wrong sign");
  return is(WiringVerdict::wrong_gain, "sees a conductance of " + rounded(held.conductance) +
                                           " units of current per kT; the simulated network's is " +
                                           rounded(expected.conductance));
}

}  // namespace

void Check::holders() {
  if (options_.holders.empty()) return;
  const std::vector<std::uint32_t> read = bench_.info().read(), exact_read = exact_.info().read();
  Drive drive = levels_.drive(safe_), simulated = drive;
  drive.observe = At{std::max(wait_, options_.shortest), averaged};
  simulated.start = Rest{};
  const Vector rest = relax(drive).potential, exact_rest = exact_.relax(simulated).potential;
  for (const WiringHolder& holder : options_.holders) {
    const auto own = std::find(read.begin(), read.end(), holder.terminal) - read.begin();
    const auto exact_own =
        std::find(exact_read.begin(), exact_read.end(), holder.terminal) - exact_read.begin();
    const Held held = hold(holder, rest[own], drive, [this](const Drive& d) { return relax(d); });
    const Held expected =
        hold(holder, exact_rest[exact_own], simulated, [this](const Drive& d) { return exact_.relax(d); });
    ChannelReport found;
    found.name = holder.name;
    found.strength = 2 * holder.step * held.moved.norm();
    found.expected = 2 * holder.step * expected.moved.norm();
    found.error = std::sqrt(2 * step_options_.noise.squaredNorm() / averaged);
    found.gain = held.moved[own];
    if (std::isfinite(held.conductance)) found.conductance = held.conductance;
    const std::string fault = fault_of(held, expected, own, report_.readings, options_, found);
    if (!fault.empty()) fail(holder.name + ' ' + fault);
    std::vector<std::pair<double, std::size_t>> answered;
    for (std::size_t r = 0; r < read.size(); ++r) {
      const double moved = std::abs(held.moved[static_cast<Eigen::Index>(r)]);
      if (moved > slack && 2 * holder.step * moved > 5 * found.error) answered.emplace_back(moved, r);
    }
    std::sort(answered.rbegin(), answered.rend());
    for (const auto& [moved, r] : answered) found.answered.push_back(report_.readings[r].name);
    report_.channels.push_back(std::move(found));
  }
  relax(levels_.drive(safe_));
}

}  // namespace ness::wiring
