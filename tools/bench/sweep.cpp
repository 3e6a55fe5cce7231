#include "ness/bench/sweep.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>

#include "ness/bench/bench_device.hpp"
#include "ness/bench/bench_sessions.hpp"
#include "ness/files/line_elements.hpp"
#include "ness/device/nearest.hpp"
#include "ness/device/error.hpp"
#include "ness/drivers/meters.hpp"
#include "ness/drivers/levels.hpp"
#include "ness/drivers/source_meter.hpp"

namespace ness {

namespace {

constexpr std::chrono::milliseconds safe_budget{10000};
constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

[[noreturn]] void refuse(const std::string& reason) { throw std::invalid_argument("sweep: " + reason); }

// Mean and standard error of the mean. Readings that round to the same digits are not exact: a display's step
// is an error of its own, which no number of readings takes away.
std::pair<double, double> mean_of(const std::vector<double>& values, double step) {
  const double n = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (const double value : values) mean += value / n;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / (n - 1) / n + step * step / 12)};
}

// Of neighbours whose slope says nothing either way.
bool silent(const SweepPoint& point, double errors) {
  return std::abs(point.slope) <= errors * point.slope_error;
}

}  // namespace

void mark_slopes(std::span<SweepPoint> points, double errors) {
  for (std::size_t i = 0; i < points.size(); ++i) {
    SweepPoint& here = points[i];
    here.slope = here.slope_error = nan_value;
    here.ndc = false;
    if (i + 1 == points.size()) continue;
    const SweepPoint& next = points[i + 1];
    const double rise = next.volts - here.volts;
    const bool measured = !here.in_compliance && !next.in_compliance && !here.over_range && !next.over_range;
    if (!measured || !(std::abs(rise) > 0)) continue;
    here.slope = (next.amperes - here.amperes) / rise;
    here.slope_error = std::hypot(std::hypot(here.amperes_error, next.amperes_error),
                                  here.slope * std::hypot(here.volts_error, next.volts_error)) /
                       std::abs(rise);
    here.ndc = here.slope < -errors * here.slope_error;
  }
}

std::vector<NdcRegion> ndc_regions(std::span<const SweepPoint> points, double errors) {
  std::vector<NdcRegion> regions;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (!points[i].ndc) continue;
    std::size_t end = i + 1;  // the point behind the last negative slope
    for (std::size_t k = end; k < points.size() && (points[k].ndc || silent(points[k], errors)); ++k) {
      if (points[k].ndc) end = k + 1;
    }
    const SweepPoint &a = points[i], &b = points[end];
    const bool up = a.volts < b.volts;
    NdcRegion region{{std::min(a.volts, b.volts), std::max(a.volts, b.volts)},
                     up ? a.amperes : b.amperes,
                     up ? b.amperes : a.amperes,
                     0};
    for (std::size_t k = i; k < end; ++k) region.steepest = std::min(region.steepest, points[k].slope);
    regions.push_back(region);
    i = end - 1;
  }
  return regions;
}

struct Sweep::Impl {
  // A wire of the sweep that has a level.
  struct Driven {
    std::size_t wire = 0;
    double level = 0;  // V asked of it
  };

  BenchFile file;
  SweepOptions options;
  BenchSessions sessions;
  std::unique_ptr<drivers::Voltmeter> voltmeter;  // what reads the other end, one of the two
  std::unique_ptr<drivers::Scanner> scanner;
  std::size_t from = 0;
  std::optional<std::size_t> to;
  std::vector<Driven> driven;               // the first is swept
  std::unique_ptr<drivers::Levels> levels;  // of `driven`, in its order
  std::vector<SweepPoint> points;
  SafeReport report;

  Impl(BenchFile f, SweepOptions o, bool emulated)
      : file(std::move(f)),
        options(std::move(o)),
        sessions(file, emulated ? DeviceKind::emulated : DeviceKind::bench) {
    if (options.points < 2) refuse(std::to_string(options.points) + " points; expected at least 2");
    if (options.readings < 2)
      refuse(std::to_string(options.readings) +
             " readings a point; expected at least 2, for a standard error");
    if (!std::isfinite(options.first) || !std::isfinite(options.last) || options.first == options.last)
      refuse("a range from " + number(options.first) + " V to " + number(options.last) +
             " V; expected two different finite levels");
    if (!(options.errors >= 0)) refuse(number(options.errors) + " standard errors; expected 0 or more");
    choose_wires();
    plan_levels();
    make_instruments();
    if (options.settle < 0) {
      double slowest = file.settle.tau_max;
      slowest = std::max(slowest, line(from).time_constant);
      if (to) slowest = std::max(slowest, line(*to).time_constant);
      options.settle = 10 * slowest;
    }
  }

  const BenchWire& wire(std::size_t w) const { return file.wiring[w]; }
  const BenchInstrument& instrument(std::size_t w) const { return file.instrument(wire(w)); }
  drivers::Role role(std::size_t w) const { return instrument(w).role(); }
  bool is_source(std::size_t w) const { return role(w) == drivers::Role::source_meter; }
  bool is_read(std::size_t w) const { return !sets_levels(role(w)); }
  LineScale line(std::size_t w) const { return line_scale(wire(w), role(w)); }

  // --- what is asked for, against the file ---------------------------------------------------------------

  std::size_t wire_named(const std::string& name) const {
    const auto found = std::find_if(file.wiring.begin(), file.wiring.end(),
                                    [&](const BenchWire& w) { return w.name == name; });
    if (found != file.wiring.end()) return static_cast<std::size_t>(found - file.wiring.begin());
    std::vector<std::string> names;
    for (const BenchWire& w : file.wiring) names.push_back(w.name);
    refuse("there is no [wiring." + name + "] in " + file.path + "; " + suggestion(name, names));
  }

  void add_level(std::size_t w, double level) {
    if (is_source(w) && instrument(w).settings.source.sourced != drivers::Sourced::voltage) {
      refuse("wire '" + wire(w).name + "' is of '" + instrument(w).name +
             "', a source of current; expected a source of voltage");
    }
    const auto twice =
        std::find_if(driven.begin(), driven.end(), [&](const Driven& d) { return d.wire == w; });
    if (twice != driven.end() || w == to) refuse("wire '" + wire(w).name + "' has a part in it already");
    if (is_read(w)) refuse("wire '" + wire(w).name + "' is read; expected one whose level is set");
    driven.push_back({w, level});
  }

  void choose_wires() {
    from = wire_named(options.from);
    if (!is_source(from) || !wire(from).node)
      refuse("wire '" + options.from + "' is not that of a source-meter; expected one to sweep");
    if (wire(from).gain != 1)
      refuse("wire '" + options.from + "' has a gain of " + number(wire(from).gain) +
             ": what its source-meter draws is not the edge's current");
    add_level(from, options.first);
    if (!options.to.empty()) {
      const std::size_t end = wire_named(options.to);
      if (!wire(end).node || wire(end).node == wire(from).node)
        refuse("wire '" + options.to +
               "' does not lead to the edge's other end: expected another node than that of '" +
               options.from + "'");
      if (!is_read(end)) {
        if (is_source(end) && wire(end).gain != 1)
          refuse("wire '" + options.to + "' has a gain of " + number(wire(end).gain) +
                 ": its source-meter does not measure the node");
        add_level(end, -line(end).volts / line(end).gain);
      }
      to = end;
    }
    for (const auto& [name, level] : options.hold) add_level(wire_named(name), level);
  }

  void plan_levels() {
    std::vector<std::size_t> wires;
    for (const Driven& d : driven) wires.push_back(d.wire);
    const auto swept = [&](const std::string& name) {
      return std::any_of(driven.begin(), driven.end(),
                         [&](const Driven& d) { return wire(d.wire).name == name; });
    };
    for (const BenchDifference& difference : file.differences) {
      if (swept(difference.first) == swept(difference.second)) continue;
      refuse("[limits." + difference.name + "] holds '" + difference.first + "' and '" + difference.second +
             "' together: expected --hold " +
             (swept(difference.first) ? difference.second : difference.first) + "=VOLTS too");
    }
    levels = make_levels(file, sessions, wires);
    std::vector<double> asked;
    for (const Driven& d : driven) asked.push_back(d.level);
    for (const double end : {options.first, options.last}) {
      asked[0] = end;
      if (const std::string broken = levels->broken(asked); !broken.empty()) refuse(broken);
    }
  }

  void make_instruments() {
    if (!to || !is_read(*to)) return;
    auto session = sessions.session(wire(*to).instrument);
    const BenchInstrument& reader = instrument(*to);
    switch (reader.role()) {
      case drivers::Role::scanner:
        scanner = driver_of<drivers::Scanner>(reader.kind, std::move(session));
        break;
      case drivers::Role::voltmeter:
        voltmeter = driver_of<drivers::Voltmeter>(reader.kind, std::move(session));
        break;
      case drivers::Role::source_meter:
      case drivers::Role::dac: refuse(reader.kind.name + ": a " + to_string(reader.role()) + " is no meter");
    }
    if (scanner) scanner->require(reader.settings.meter);
    if (voltmeter) voltmeter->require(reader.settings.meter);
  }

  // The source-meter behind a wire of the sweep.
  drivers::SourceMeter& source_of(std::size_t w) {
    const auto d = static_cast<std::size_t>(
        std::find_if(driven.begin(), driven.end(), [&](const Driven& x) { return x.wire == w; }) -
        driven.begin());
    return levels->source(levels->channels()[d].instrument);
  }

  void start(std::stop_token stop) {
    // Everyone is asked who they are before anyone is told to do anything.
    levels->connect();
    if (scanner) scanner->connect();
    if (voltmeter) voltmeter->connect();
    if (scanner) scanner->configure({wire(*to).channel}, instrument(*to).settings.meter);
    if (voltmeter) voltmeter->configure(instrument(*to).settings.meter);
    levels->start(stop);
    check_queues();
  }

  void check_queues() {
    levels->check_queues();
    if (scanner) scanner->check();
    if (voltmeter) voltmeter->check();
  }

  // --- measuring -----------------------------------------------------------------------------------------

  // A node behind its line: from the volts at a source-meter and the amperes out of it to those at the node
  // and into it.
  struct AtNode {
    double volts, amperes;
  };
  AtNode at_node(std::size_t w, double volts, double amperes) const {
    const sim::LineElements& elements = wire(w).elements;
    if (elements.divider) {
      volts -= amperes * elements.divider->upper;
      amperes -= volts / elements.divider->lower;
    }
    // With remote sense the lead is behind what is sensed.
    const double lead = instrument(w).settings.source.four_wire ? 0 : wire(w).lead;
    return {wire(w).volts + volts - amperes * (elements.series + lead), amperes};
  }

  SweepPoint measure(double level, std::stop_token stop) {
    SweepPoint point;
    point.level = level;
    std::vector<double> volts, amperes;
    drivers::SourceMeter& swept = source_of(from);
    drivers::SourceMeter* other = to && is_source(*to) ? &source_of(*to) : nullptr;
    const bool metered = to && is_read(*to);
    const LineScale far = to ? line(*to) : LineScale{};
    for (std::size_t n = 0; n < options.readings; ++n) {
      if (stop.stop_requested()) throw Cancelled();
      swept.arm();
      if (other != nullptr) other->arm();
      if (scanner) scanner->arm();
      if (voltmeter) voltmeter->arm();
      const drivers::SourceReading reading = swept.fetch();
      AtNode here = at_node(from, reading.volts, reading.amperes);
      point.in_compliance = point.in_compliance || reading.in_compliance;
      point.over_range = point.over_range || reading.over_range;
      double there = 0;
      if (other != nullptr) {
        const drivers::SourceReading end = other->fetch();
        there = at_node(*to, end.volts, end.amperes).volts;
        point.in_compliance = point.in_compliance || end.in_compliance;
        point.over_range = point.over_range || end.over_range;
      } else if (metered) {
        const drivers::MeterReading end = scanner ? scanner->fetch().front() : voltmeter->fetch();
        point.over_range = point.over_range || end.over_range;
        there = far.volts + far.gain * end.volts;
        if (far.amperes_per_volt != 0) here.amperes = far.amperes_per_volt * (end.volts - far.zero);
      } else if (to) {
        there = here.amperes * far.resistance;  // a DAC's channel, which does not say what it carries
      }
      volts.push_back(here.volts - there);
      amperes.push_back(here.amperes);
    }
    const drivers::SourceReading step = swept.display(instrument(from).settings.source);
    const bool amplified = metered && far.amperes_per_volt != 0;
    std::tie(point.volts, point.volts_error) = mean_of(volts, step.volts);
    std::tie(point.amperes, point.amperes_error) = mean_of(amperes, amplified ? 0 : step.amperes);
    if (std::isnan(point.amperes) || std::isnan(point.volts)) point.over_range = true;
    return point;
  }

  void sweep(const std::function<void(const SweepPoint&)>& on_point, std::stop_token stop) {
    if (stop.stop_requested()) throw Cancelled();
    start(stop);
    std::vector<double> targets;
    for (const Driven& d : driven) targets.push_back(d.level);
    // What is held first, then the bias.
    targets[0] = levels->present()[0];
    if (levels->broken(targets).empty()) levels->go(targets, stop);
    for (std::size_t i = 0; i < options.points; ++i) {
      const double share = static_cast<double>(i) / static_cast<double>(options.points - 1);
      targets[0] =
          i + 1 == options.points ? options.last : options.first + share * (options.last - options.first);
      levels->go(targets, stop);
      sessions.clock()->wait(options.settle, stop);
      points.push_back(measure(targets[0], stop));
      if (on_point) on_point(points.back());
    }
    check_queues();
  }
};

Sweep::Sweep(BenchFile file, SweepOptions options, bool emulated)
    : impl_(std::make_unique<Impl>(std::move(file), std::move(options), emulated)) {}
Sweep::~Sweep() = default;

double Sweep::settle() const { return impl_->options.settle; }

void Sweep::run(const std::function<void(const SweepPoint&)>& on_point, std::stop_token stop) {
  const auto end = [&](SafeProfile profile) {
    if (impl_->levels->started()) impl_->report = impl_->levels->make_safe(safe_budget, profile);
    mark_slopes(impl_->points, impl_->options.errors);
  };
  impl_->points.clear();
  impl_->report = {};
  try {
    impl_->sweep(on_point, stop);
  } catch (const Cancelled&) {
    end(SafeProfile::cancel);
    throw;
  } catch (...) {
    end(SafeProfile::emergency);
    throw;
  }
  end(SafeProfile::stop);
}

const std::vector<SweepPoint>& Sweep::points() const { return impl_->points; }
const SafeReport& Sweep::safe() const { return impl_->report; }

}  // namespace ness
