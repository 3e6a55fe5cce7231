// Calibration: the rows of a log as the fit needs them.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <unordered_map>

#include "ness/calibration/calibration.hpp"
#include "ness/files/network_platform.hpp"
#include "ness/runs/logged_run.hpp"
#include "ness/device/digest.hpp"
#include "ness/device/error.hpp"
#include "ness/device/random.hpp"

namespace ness {

namespace {

constexpr double none = std::numeric_limits<double>::quiet_NaN();

/// Parameter vectors by their digest, read when they are asked for.
class LoggedVectors {
 public:
  LoggedVectors(const LogReader& log, const Vector& initial) : log_(log) {
    found_.emplace(digest(VectorView(initial)), std::make_shared<const Vector>(initial));
    for (std::uint64_t i = 0; i < log.checkpoints(); ++i) {
      Vector theta = log.checkpoint(i).theta;
      const std::uint64_t name = digest(VectorView(theta));
      found_.emplace(name, std::make_shared<const Vector>(std::move(theta)));
    }
    if (log.steps() == 0 || log.theta(0).size() == 0) return;
    for (std::uint64_t i = 0; i < log.steps(); ++i) step_of_.emplace(log.step(i).theta_after, i);
  }
  bool knows(std::uint64_t name) const { return found_.contains(name) || step_of_.contains(name); }
  std::shared_ptr<const Vector> operator[](std::uint64_t name) {
    if (const auto at = found_.find(name); at != found_.end()) return at->second;
    return found_.emplace(name, std::make_shared<const Vector>(log_.theta(step_of_.at(name)))).first->second;
  }

 private:
  const LogReader& log_;
  std::unordered_map<std::uint64_t, std::shared_ptr<const Vector>> found_;
  std::unordered_map<std::uint64_t, std::uint64_t> step_of_;
};

/// Refuses logs of another network, or of other inputs, than the experiment in them describes.
void check_fit(const LogReader& log, const sim::Network& network,
               const std::vector<std::shared_ptr<const PatternSet>>& sets) {
  const DeviceInfo& info = log.header().info;
  const std::vector<ParameterInfo> parameters = network.parameter_info();
  const bool same = std::equal(
      parameters.begin(), parameters.end(), info.parameters.begin(), info.parameters.end(),
      [](const ParameterInfo& a, const ParameterInfo& b) { return a.name == b.name && a.scale == b.scale; });
  if (!same || info.terminals.size() != network.spec().graph.nodes.size()) {
    throw LogError(log.path() +
                   ": its device has other parameters or terminals than the network its experiment "
                   "describes, so that no twin of it can be fitted");
  }
  const auto& recorded = log.pattern_sets();
  for (std::size_t i = 0; i < recorded.size(); ++i) {
    if (i < sets.size() && sets[i]->digest() == recorded[i].digest) continue;
    throw LogError(log.path() + ": pattern set '" + recorded[i].name +
                   "' is not the one that its experiment describes");
  }
}

std::vector<CalibrationReading> readings_of(const DeviceInfo& info) {
  std::vector<CalibrationReading> readings;
  for (const std::uint32_t terminal : info.read())
    readings.push_back({terminal, false, info.terminals[terminal].name});
  for (std::uint32_t terminal = 0; terminal < info.terminals.size(); ++terminal) {
    const Terminal& described = info.terminals[terminal];
    if (described.reads_current && (described.clamped || described.can_hold))
      readings.push_back({terminal, true, "current at " + described.name});
  }
  return readings;
}

bool is_bench(const DeviceInfo& info) {
  return info.identity.starts_with("bench: ") || info.identity.starts_with("emulated bench: ");
}

bool settled(const LogRow& row) {
  return row.fault.empty() && !row.at && row.relaxation.quality.usable() &&
         row.relaxation.potential.allFinite();
}

/// What was imposed and read, in the network's own numbering.
class RowReader {
 public:
  RowReader(const DeviceInfo& info, const sim::Network& network,
            std::vector<std::shared_ptr<const PatternSet>> sets,
            const std::vector<CalibrationReading>& readings)
      : info_(info),
        network_(network),
        sets_(std::move(sets)),
        readings_(readings),
        read_(info.read()),
        nudgeable_(info.nudgeable()) {}

  CalibrationRow operator()(std::uint64_t index, const LogRow& logged,
                            const std::shared_ptr<const Vector>& base) const {
    CalibrationRow row;
    row.row = index;
    row.theta = base;
    if (!logged.overrides.empty()) {
      Vector theta = *base;
      for (const auto& [i, value] : logged.overrides) theta[i] = value;
      row.theta = std::make_shared<const Vector>(std::move(theta));
    }
    row.clamp = sets_.at(logged.pattern_set)->levels(logged.pattern_row);
    if (logged.nudge.size() > 0) {
      row.nudge = Vector::Zero(static_cast<Eigen::Index>(network_.free().size()));
      for (std::size_t i = 0; i < nudgeable_.size(); ++i)
        row.nudge[free_index(nudgeable_[i])] = logged.nudge[static_cast<Eigen::Index>(i)];
    }
    for (const Hold& hold : logged.holds)
      row.held.emplace_back(static_cast<std::uint32_t>(free_index(hold.terminal)), hold.level);
    row.rest = logged.start == LogRow::StartKind::rest;
    row.rest_rate = logged.rest_rate;
    take_readings(logged, row);
    return row;
  }

 private:
  Eigen::Index free_index(std::uint32_t terminal) const {
    return std::lower_bound(network_.free().begin(), network_.free().end(), terminal) -
           network_.free().begin();
  }

  // What a source imposes says nothing of the network: the level of a held node, the current of a node that
  // is not held.
  void take_readings(const LogRow& logged, CalibrationRow& row) const {
    const Relaxation& measured = logged.relaxation;
    row.reading = row.sigma = Vector::Constant(static_cast<Eigen::Index>(readings_.size()), none);
    for (std::size_t r = 0; r < readings_.size(); ++r) {
      const std::uint32_t terminal = readings_[r].node;
      const auto at = static_cast<Eigen::Index>(r);
      const bool held = std::any_of(logged.holds.begin(), logged.holds.end(),
                                    [&](const Hold& hold) { return hold.terminal == terminal; });
      if (readings_[r].current) {
        if (measured.current.size() > 0 && (held || info_.terminals[terminal].clamped))
          row.reading[at] = measured.current[static_cast<Eigen::Index>(terminal)];
      } else if (!held) {
        const auto place = std::find(read_.begin(), read_.end(), terminal) - read_.begin();
        row.reading[at] = measured.potential[place];
        if (measured.sigma.size() > 0 && measured.sigma[place] > 0) row.sigma[at] = measured.sigma[place];
      }
    }
  }

  const DeviceInfo& info_;
  const sim::Network& network_;
  std::vector<std::shared_ptr<const PatternSet>> sets_;
  const std::vector<CalibrationReading>& readings_;
  std::vector<std::uint32_t> read_, nudgeable_;
};

/// The rows that settled and whose parameters are known. Counts them, and those without parameters, in
/// `data`. Throws LogError where there is none.
std::vector<std::uint64_t> usable_rows(const LogReader& log, const LoggedVectors& vectors,
                                       CalibrationData& data) {
  std::vector<std::uint64_t> usable;
  for (std::uint64_t i = 0; i < log.rows(); ++i) {
    const LogRow row = log.row(i);
    if (!settled(row)) continue;
    if (vectors.knows(row.theta_digest)) usable.push_back(i);
    else ++data.unknown_theta;
  }
  data.usable = usable.size();
  if (usable.empty()) {
    throw LogError(log.path() + ": none of its " + std::to_string(log.rows()) + " relaxations can be used: " +
                   (data.unknown_theta > 0 ? "of " + std::to_string(data.unknown_theta) +
                                                 " that settled the log holds no parameters (log.full_theta)"
                                           : "none settled"));
  }
  return usable;
}

/// Readings that no row has are none.
void leave_out_empty_readings(CalibrationData& data) {
  std::vector<std::size_t> kept;
  for (std::size_t r = 0; r < data.readings.size(); ++r) {
    if (std::any_of(data.rows.begin(), data.rows.end(), [&](const CalibrationRow& row) {
          return std::isfinite(row.reading[static_cast<Eigen::Index>(r)]);
        }))
      kept.push_back(r);
  }
  const auto of_kept = [&](const Vector& all) {
    Vector some(static_cast<Eigen::Index>(kept.size()));
    for (std::size_t r = 0; r < kept.size(); ++r)
      some[static_cast<Eigen::Index>(r)] = all[static_cast<Eigen::Index>(kept[r])];
    return some;
  };
  for (CalibrationRow& row : data.rows) {
    row.reading = of_kept(row.reading);
    row.sigma = of_kept(row.sigma);
  }
  std::vector<CalibrationReading> had;
  for (const std::size_t r : kept) had.push_back(data.readings[r]);
  data.readings = std::move(had);
}

}  // namespace

CalibrationData calibration_data(const LogReader& log, const Experiment& experiment, const Run& run,
                                 std::uint64_t rows) {
  if (log.rows() == 0)
    throw LogError(log.path() + ": holds no relaxations, so there is nothing to calibrate with");
  if (log.outputs_only()) {
    throw LogError(log.path() +
                   ": its rows hold the outputs alone (log.rows = \"outputs\"); a calibration needs the "
                   "potentials of all nodes that were read");
  }
  const DeviceInfo& info = log.header().info;
  const std::shared_ptr<const sim::Network> built = network_of(run.platform);
  if (!built)
    throw std::invalid_argument(
        log.path() +
        ": was recorded on another platform than a network, and only networks can be calibrated");
  const sim::Network& network = *built;
  const auto sets = pattern_sets(*experiment.task);
  check_fit(log, network, sets);

  CalibrationData data;
  data.logged = log.rows();
  data.readings = readings_of(info);
  for (const std::uint32_t node : network.free()) {
    const Terminal& terminal = info.terminals[node];
    data.nudged_by_leak.push_back(is_bench(info) && !terminal.nudge.empty() && !terminal.reads_current);
  }
  LoggedVectors vectors(log, run.theta);
  const std::vector<std::uint64_t> usable = usable_rows(log, vectors, data);
  const std::uint64_t count = std::min<std::uint64_t>(rows, usable.size());
  const RowReader read(info, network, sets, data.readings);
  for (std::uint64_t part = 0; part < count; ++part) {
    const std::uint64_t begin = part * usable.size() / count, end = (part + 1) * usable.size() / count;
    const auto within = static_cast<std::uint64_t>(uniform_at(0, part, 0) * static_cast<double>(end - begin));
    const std::uint64_t index = usable[std::min(begin + within, end - 1)];
    const LogRow row = log.row(index);
    data.rows.push_back(read(index, row, vectors[row.theta_digest]));
  }
  leave_out_empty_readings(data);
  return data;
}

}  // namespace ness
