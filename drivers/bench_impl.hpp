// State of a bench whose wiring has been checked.
#pragma once

#include <map>
#include <optional>

#include "ness/device/dense_lu.hpp"
#include "ness/drivers/bench.hpp"

namespace ness::drivers {

struct Bench::Impl {
  Levels levels;
  std::vector<std::unique_ptr<Scanner>> scanners;
  std::vector<std::unique_ptr<Voltmeter>> voltmeters;
  BenchSettings settings;
  std::shared_ptr<Clock> clock;

  std::vector<std::uint32_t> clamped, read, nudgeable;
  std::map<std::uint32_t, std::size_t> channel_of_terminal;  // channels that hold or inject
  // Gates: parameter values = zero + coupling x levels. The gates' own columns are factored for solving.
  std::vector<std::pair<std::uint32_t, std::size_t>> gates;  // (parameter, channel)
  Vector gate_zero;
  Matrix coupling;   // [gates x channels]
  DenseLu of_gates;  // factors of the gates' own columns of coupling
  // Of each nudgeable terminal: index in `gates` of its leak reference,
  std::vector<std::optional<std::size_t>> nudge_gate;
  std::vector<double> nudge_conductance;  // and the leak's g

  /// Destination of a number that was read: a reading or the environment.
  struct Destination {
    bool environment = false;
    std::size_t index = 0;
  };
  struct Scanned {
    std::uint32_t channel = 0;
    Destination destination;
  };
  std::vector<std::vector<Scanned>> scanned;                // per scanner
  std::vector<std::optional<Destination>> metered;          // per voltmeter
  std::vector<std::pair<std::size_t, Destination>> sensed;  // (source, destination)
  // Of each entry of `read`: index of its reading.
  std::vector<std::optional<std::size_t>> reading_of;

  SafeReport last_safe;

  // Changes since the last verdict; the settling time depends on them.
  bool input_moved = true, gate_moved = true;
  std::map<std::uint32_t, double> last_volts;  // terminals' last readings

  Impl(Levels l, std::vector<std::unique_ptr<Scanner>> s, std::vector<std::unique_ptr<Voltmeter>> v,
       BenchSettings b, std::shared_ptr<Clock> c)
      : levels(std::move(l)),
        scanners(std::move(s)),
        voltmeters(std::move(v)),
        settings(std::move(b)),
        clock(std::move(c)) {}

  const BenchChannel& channel(std::size_t c) const { return settings.channels[c]; }
  bool injects(std::size_t c) const {
    return channel(c).kind == LevelChannel::Kind::source &&
           levels.source_settings(channel(c).instrument).sourced == Sourced::current;
  }
  double kT_of_volts(double volts) const {
    return settings.scale.carrier * volts / settings.scale.volts_per_kT;
  }
  double volts_of_kT(double kT) const { return settings.scale.carrier * kT * settings.scale.volts_per_kT; }
  double units_of_amperes(double amperes) const {
    return settings.scale.carrier * amperes / settings.scale.amperes_per_unit;
  }
  double amperes_of_units(double units) const {
    return settings.scale.carrier * units * settings.scale.amperes_per_unit;
  }

  // --- once, after the check of the wiring (bench.cpp)
  void couple_gates(const std::map<std::uint32_t, std::size_t>& of_parameter);
  void find_nudges();
  void route_readings();
  /// Index in `gates` of the gate that sets a parameter.
  std::ptrdiff_t gate_of(std::uint32_t parameter) const;

  // --- levels (bench_drive.cpp)
  std::vector<double> levels_of(const Drive& drive, double share) const;
  Vector parameters_now(const DeviceInfo& info) const;
  void check(std::span<const Drive> drives) const;
  void impose(const Drive& drive, std::stop_token stop);
  void go(const std::vector<double>& targets, std::stop_token stop);
  bool hold(const Drive& drive);

  // --- readings (bench_read.cpp)
  struct Numbers {
    std::vector<MeterReading> readings;     // of settings.readings
    std::vector<MeterReading> environment;  // of settings.environment
    std::vector<std::optional<SourceReading>> sources;
  };
  bool holding() const;
  Numbers read_all(bool sources);
  void settle(Relaxation& row, std::vector<Numbers>& scans, std::stop_token stop);
  void look_for_oscillation(std::vector<std::uint16_t>& flags);
  void sample(Relaxation& row, std::vector<Numbers>& scans, const At& at, double start, std::stop_token stop);
  Vector currents(const Numbers& numbers, std::size_t terminals) const;
  void fill_currents(Relaxation& row, const std::vector<Numbers>& scans, std::size_t terminals) const;
  void fill(Relaxation& row, const std::vector<Numbers>& scans, const DeviceInfo& info);
  double potential(std::size_t reading, double volts) const;
  std::string outside(const Numbers& numbers) const;
  void pause_while_outside(std::stop_token stop);
  void check_queues();
};

}  // namespace ness::drivers
