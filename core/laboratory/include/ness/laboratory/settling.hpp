// Settling: a reading counts as settled when its distance from the steady state is bounded, not when it looks
// quiet.
//
// A relaxation is a sum of decays, none slower than tau_max (measured, by a step response). Over a window of
// length W a decay of time constant tau has a mean at most (tau + W/6) times its least-squares slope away
// from its end: equal to tau for short windows, and the limit W/6 for long ones. So |window mean - steady
// state| <= |slope| (tau_max + W/6), and noise enters as standard errors of slope and mean, which widen the
// bound: noise delays a verdict. That it brings one forward takes the same rare chance as a bound that does
// not hold.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace ness {

struct SettleOptions {
  double tolerance = 1e-2;  ///< settled where the bound is below this; in the unit of the readings
  double tau_max = 0;       ///< slowest time constant, s; 0: only noise is averaged
  std::size_t least = 8;    ///< fewest readings for a verdict
  double confidence = 3;  ///< standard errors that count; 3: the bound holds in more than 99 of 100 verdicts
  /// Expected standard deviation of one reading: a smaller scatter in a window is taken for chance
  double noise = 0;
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
};

/// The verdict after the readings so far.
struct SettleVerdict {
  bool settled = false;
  double mean = 0;            ///< of the window
  double standard_error = 0;  ///< of the mean, from block averages where they say more
  double slope = 0;           ///< per second
  double bound = 0;           ///< on |mean - steady state|; infinite before there are enough readings
  std::size_t window = 0;     ///< readings in it: the later half
};

/// Judges one terminal after a change. Readings are averages over equal apertures, at ascending times.
class SettleJudge {
 public:
  /// Throws std::invalid_argument for unusable options.
  explicit SettleJudge(const SettleOptions& options);
  /// Forgets all readings: call it after every change of a drive.
  void restart();
  /// Throws std::invalid_argument for a time that does not ascend or a reading that is not finite.
  void add(double time, double reading);
  const SettleVerdict& verdict() const { return verdict_; }

 private:
  void judge();
  SettleOptions options_;
  std::vector<double> times_, readings_;
  SettleVerdict verdict_;
};

/// Standard error of the mean of readings that may depend on one another: from their scatter, and from that
/// of means over blocks of 2, 4, .. readings (at least 8 blocks), whichever says more (H. Flyvbjerg and H. G.
/// Petersen, J. Chem. Phys. 91 (1989) 461). NaN for fewer than two readings.
double correlated_error(std::span<const double> readings);

/// True if readings at short aperture scatter more than `noise` (standard deviation of one reading) explains:
/// an oscillation that long averages hide. False alarms by noise alone have a probability of about 1e-6.
bool oscillates(std::span<const double> burst, double noise);

}  // namespace ness
