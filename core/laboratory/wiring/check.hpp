// The check of a bench's wiring: its measurements and its conclusions.
#pragma once

#include <cstdint>
#include <limits>
#include <stop_token>
#include <string>
#include <vector>

#include "ness/laboratory/wiring_check.hpp"
#include "wiring/wiring_rows.hpp"
#include "wiring/wiring_step.hpp"

namespace ness::wiring {

class Check {
 public:
  Check(Device& bench, Device& twin, const Vector& theta, const WiringCheckOptions& options,
        std::stop_token stop);
  WiringReport run();

 private:
  const WiringChannel& channel(Eigen::Index c) const {
    return options_.channels[static_cast<std::size_t>(c)];
  }
  ChannelReport& entry(Eigen::Index c) { return report_.channels[static_cast<std::size_t>(c)]; }
  ReadingReport& reading(Eigen::Index r) { return report_.readings[static_cast<std::size_t>(r)]; }

  // Measurements: wiring_measure.cpp.
  Relaxation relax(const Drive& drive);
  void find_limited(const Drive& drive, const Relaxation& row);
  // Consecutive readings at rest: the scatter from one to the next, in which a slow drift does not appear;
  // their mean; and the levels that the sources measured.
  struct Singles {
    Vector noise, mean, inputs;
  };
  Singles single_readings();
  void at_rest();
  void time_constants();
  bool time_constants_of(Eigen::Index c, std::size_t point, double expected);
  void measure();
  void measure_row(Eigen::Index c, std::size_t point);
  bool unclear(Eigen::Index c, std::size_t point) const;

  // Conclusions: wiring_judge.cpp.
  double row_norm(const Matrix& rows, Eigen::Index c, const std::vector<bool>& reading) const;
  void fail(const std::string& line) { report_.failures.push_back(line); }
  void judge();
  void set_verdict_of_channel(Eigen::Index c, WiringVerdict verdict);
  void set_verdict_of_reading(Eigen::Index r, WiringVerdict verdict);
  bool find_shorts();
  std::vector<Eigen::Index> find_mute_readings();
  std::vector<Eigen::Index> find_silent_channels();
  bool explains(const Matrix& expected) const;
  void report_silent(const std::vector<Eigen::Index>& silent, bool mute_readings);
  bool as_weak(const Matrix& expected, Eigen::Index c, double gain) const;
  void leakage();
  void report_channels(const Cabling& cabling);
  void report_readings(const Cabling& cabling);
  void report_rows(const Matrix& expected, bool hidden);
  void report_strengths(Eigen::Index c);
  void report_cross_talk(Eigen::Index c, const Matrix& expected, double gain);

  // Sources that hold free terminals: wiring_holders.cpp.
  void holders();

  static constexpr std::uint32_t averaged = 4;  // number of readings averaged for a settled one

  Device &bench_, &exact_;
  WiringCheckOptions options_;
  std::stop_token stop_;
  Levels levels_;  // converts levels to drives of the bench
  Twin twin_;
  std::vector<std::uint32_t> clamped_;
  Eigen::Index C_ = 0, R_ = 0;
  WiringReport report_;
  StepOptions step_options_;
  Vector safe_, current_;
  std::vector<Vector> points_;
  Matrix usual_;  // rows expected by the twin for cabling without mistakes
  Measured measured_;
  double wait_ = 0;
  bool at_one_potential_ = false, any_limited_ = false;
  std::vector<bool> no_number_, limited_;
};

/// "12.5 %"
std::string percent(double share);
/// Three digits.
std::string rounded(double x);

}  // namespace ness::wiring
