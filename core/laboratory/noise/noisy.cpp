#include "ness/laboratory/noisy.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>
#include <utility>

#include "noise/gauss_markov.hpp"
#include "ness/device/random.hpp"
#include "ness/device/number_text.hpp"

namespace ness {
namespace {

// Channels of random numbers: each source of noise has a block of 2^26.
constexpr std::uint32_t block = 1u << 26;
constexpr std::uint32_t read_channels = 0;
constexpr std::uint32_t current_channels = 1 * block;
constexpr std::uint32_t flicker_channels = 2 * block;
constexpr std::uint32_t drift_channels = 4 * block;
constexpr std::uint32_t drift_sign_channels = 5 * block;
constexpr std::uint32_t write_channels = 8 * block;
constexpr std::uint32_t parameter_drift_channels = 9 * block;
constexpr std::uint32_t parameter_drift_sign_channels = 10 * block;
constexpr std::uint32_t jump_channels = 11 * block;
constexpr std::uint32_t variation_channels = 12 * block;
constexpr std::uint32_t cross_talk_channels = 13 * block;
constexpr std::uint32_t path_channels = 14 * block;
constexpr std::uint32_t gate_gain_channels = 15 * block;
// Each octave of the flicker noise has a part of the block.
constexpr std::uint32_t octave_channels = 1u << 21;
static_assert(NoiseOptions::flicker_octaves * octave_channels <= block);

std::uint32_t channel_of(Eigen::Index i) { return static_cast<std::uint32_t>(i); }

double rounded(double value, double resolution) {
  return resolution > 0 ? std::round(value / resolution) * resolution : value;
}

double sign_at(std::uint64_t seed, std::uint32_t channel) {
  return uniform_at(seed, 0, channel) < 0.5 ? -1 : 1;
}

// Standard error of a number with standard error `error` after noise of `deviation` was added.
double joined_error(double error, double deviation) {
  return std::sqrt(error * error + deviation * deviation);
}

// Jumps of some parameters. The time between two jumps of a parameter is geometric, so random numbers are
// drawn per jump, not per time.
class Jumps {
 public:
  Jumps(const NoiseOptions& options, std::vector<std::uint32_t> parameters)
      : options_(options), parameters_(std::move(parameters)) {
    begin();
  }

  void add(Vector& deviation, std::uint64_t time) {
    if (time < time_) begin();
    time_ = time;
    for (std::size_t p = 0; p < parameters_.size(); ++p) {
      State& state = states_[p];
      while (state.next <= time) {
        state.shift +=
            options_.jump_size * normal_at(options_.seed, state.jumps, jump_channels + parameters_[p]);
        ++state.jumps;
        state.next = after(state.next, state.jumps, parameters_[p]);
      }
      deviation[parameters_[p]] += state.shift;
    }
  }

 private:
  struct State {
    std::uint64_t next = 0;   // time of the next jump
    std::uint64_t jumps = 0;  // number of jumps until then
    double shift = 0;
  };

  void begin() {
    states_.assign(parameters_.size(), {});
    for (std::size_t p = 0; p < parameters_.size(); ++p) states_[p].next = after(0, 0, parameters_[p]);
  }

  std::uint64_t after(std::uint64_t time, std::uint64_t jump, std::uint32_t parameter) const {
    const double passed_over = std::log1p(-uniform_at(options_.seed, jump, jump_channels + parameter)) /
                               std::log1p(-options_.jump_rate);
    if (passed_over >= 0x1p62) return std::numeric_limits<std::uint64_t>::max();
    return time + 1 + static_cast<std::uint64_t>(passed_over);
  }

  NoiseOptions options_;
  std::vector<std::uint32_t> parameters_;
  std::vector<State> states_;
  std::uint64_t time_ = 0;
};

// Parameters of one kind, and their coupling.
struct Coupled {
  std::vector<std::uint32_t> parameters;
  Matrix coupling;
};

std::vector<Coupled> coupled_knobs(const NoiseOptions& options,
                                   const std::vector<ParameterInfo>& parameters) {
  std::vector<Coupled> all;
  if (options.cross_talk == 0) return all;
  std::map<std::string, std::vector<std::uint32_t>> kinds;
  for (std::uint32_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].trainable && parameters[i].scale == Scale::linear)
      kinds[parameters[i].kind].push_back(i);
  }
  for (auto& [kind, members] : kinds) {
    const std::size_t n = members.size();
    if (n < 2) continue;
    if (n > NoiseOptions::cross_talk_limit) {
      throw std::invalid_argument("noise: cross_talk between the " + std::to_string(n) +
                                  " parameters of kind '" + kind + "'; it is for at most " +
                                  std::to_string(NoiseOptions::cross_talk_limit) + " of a kind");
    }
    const double deviation = options.cross_talk / std::sqrt(static_cast<double>(n - 1));
    Matrix coupling = Matrix::Zero(static_cast<Eigen::Index>(n), static_cast<Eigen::Index>(n));
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        if (i == j) continue;
        coupling(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j)) =
            deviation * normal_at(options.seed, members[i], cross_talk_channels + members[j]);
      }
    }
    all.push_back({std::move(members), std::move(coupling)});
  }
  if (all.empty()) {
    throw std::invalid_argument(
        "noise: cross_talk " + number_text(options.cross_talk) +
        "; the device has no two trainable parameters of one kind whose scale is linear");
  }
  return all;
}

std::vector<std::uint32_t> of_kinds(const std::vector<std::string>& kinds,
                                    const std::vector<ParameterInfo>& parameters) {
  for (const std::string& kind : kinds) {
    if (std::none_of(parameters.begin(), parameters.end(),
                     [&](const ParameterInfo& one) { return one.kind == kind; }))
      throw std::invalid_argument("noise: jump_kinds name '" + kind +
                                  "'; the device has no parameter of that kind");
  }
  std::vector<std::uint32_t> found;
  for (std::uint32_t i = 0; i < parameters.size(); ++i) {
    if (std::find(kinds.begin(), kinds.end(), parameters[i].kind) != kinds.end()) found.push_back(i);
  }
  return found;
}

bool jumps(const NoiseOptions& options) { return options.jump_rate > 0 && options.jump_size > 0; }

bool moves_parameters(const NoiseOptions& options) {
  return options.write > 0 || options.parameter_drift > 0 || options.parameter_drift_rate > 0 ||
         jumps(options);
}

bool alters_parameters(const NoiseOptions& options) {
  return moves_parameters(options) || options.variation > 0 || options.gate_gain > 0 ||
         options.cross_talk > 0 || options.resolution > 0;
}

bool adds_noise(const NoiseOptions& options) {
  return options.varies_in_time() || alters_parameters(options) || options.nudge_resolution > 0;
}

}  // namespace

std::string NoiseOptions::problem() const {
  const std::pair<const char*, double> all[] = {{"read", read},
                                                {"read_current", read_current},
                                                {"drift", drift},
                                                {"drift_rate", drift_rate},
                                                {"flicker", flicker},
                                                {"write", write},
                                                {"variation", variation},
                                                {"gate_gain", gate_gain},
                                                {"parameter_drift", parameter_drift},
                                                {"parameter_drift_rate", parameter_drift_rate},
                                                {"jump_rate", jump_rate},
                                                {"jump_size", jump_size},
                                                {"cross_talk", cross_talk},
                                                {"resolution", resolution},
                                                {"nudge_resolution", nudge_resolution}};
  for (const auto& [name, value] : all) {
    if (!(value >= 0) || std::isinf(value))
      return std::string(name) + " " + number_text(value) + "; it must be finite and >= 0";
  }
  if (jump_rate > 1) return "jump_rate " + number_text(jump_rate) + "; it is a probability, at most 1";
  if (jumps(*this) && jump_kinds.empty())
    return "jump_kinds is empty; name the kinds of parameters that jump";
  return {};
}

bool NoiseOptions::varies_in_time() const {
  return read > 0 || read_current > 0 || drift > 0 || drift_rate > 0 || flicker > 0 ||
         moves_parameters(*this);
}

bool NoiseOptions::any() const { return adds_noise(*this) || readback; }

// ---- imposed quantities ---------------------------------------------------------------------------------

class Noisy::Imposed {
 public:
  Imposed(const NoiseOptions& options, const DeviceInfo& info)
      : options_(options),
        parameters_(info.parameters),
        alters_(alters_parameters(options)),
        moves_(moves_parameters(options)),
        coupled_(coupled_knobs(options, info.parameters)) {
    const auto count = static_cast<Eigen::Index>(parameters_.size());
    if (parameters_.size() > block)
      throw std::invalid_argument("noise: " + std::to_string(count) + " parameters; at most " +
                                  std::to_string(block));
    if (!alters_) return;
    fixed_ = Vector::Zero(count);
    if (options.variation > 0) {
      for (Eigen::Index i = 0; i < count; ++i)
        fixed_[i] = options.variation * normal_at(options.seed, 0, variation_channels + channel_of(i));
    }
    for (std::uint32_t i = 0; i < parameters_.size(); ++i) {
      if (parameters_[i].trainable) trainable_.push_back(i);
    }
    if (options.gate_gain > 0) {
      gain_ = Vector::Zero(count);
      for (const std::uint32_t i : trainable_)
        gain_[i] = options.gate_gain * normal_at(options.seed, 0, gate_gain_channels + i);
    }
    if (options.parameter_drift > 0)
      walk_ = std::make_unique<GaussMarkov>(options.seed, parameter_drift_channels,
                                            static_cast<Eigen::Index>(trainable_.size()), GaussMarkov::walk);
    if (options.parameter_drift_rate > 0) {
      for (const std::uint32_t i : trainable_)
        rate_.push_back(options.parameter_drift_rate *
                        sign_at(options.seed, parameter_drift_sign_channels + i));
    }
    if (jumps(options)) jumps_ = std::make_unique<Jumps>(options, of_kinds(options.jump_kinds, parameters_));
  }

  bool alters() const { return alters_; }

  /// The parameters that the device is really set to when `asked` is requested.
  Parameters imposed(const Parameters& asked, std::uint64_t ordinal) {
    if (moves_) move(ordinal);
    const Vector& deviation = moves_ ? moved_ : fixed_;
    // Overriding a coupled parameter moves others, which are not in the overrides.
    const bool whole = !coupled_.empty() && !asked.overrides.empty();
    if (whole) return Parameters::of(realised(asked.values(), deviation));
    if (moves_ || asked.base != asked_base_) {
      asked_base_ = asked.base;
      imposed_base_ = Parameters::of(realised(*asked.base, deviation));
    }
    Parameters made = imposed_base_;
    made.overrides = asked.overrides;
    for (auto& [parameter, value] : made.overrides)
      value = realised(parameter, through_gate(parameter, as_set(parameter, value)), deviation[parameter]);
    return made;
  }

  /// What does not move in time of the parameters at these setpoints.
  Vector fixed(const Vector& setpoint) const { return alters_ ? realised(setpoint, fixed_) : setpoint; }

  /// The setpoints of the sources: rounded, and within their range.
  Vector as_set(const Parameters& asked) const {
    Vector setpoints = asked.values();
    for (Eigen::Index i = 0; i < setpoints.size(); ++i) setpoints[i] = as_set(channel_of(i), setpoints[i]);
    return setpoints;
  }

 private:
  double as_set(std::uint32_t parameter, double setpoint) const {
    const ParameterInfo& info = parameters_[parameter];
    if (!info.trainable || options_.resolution == 0) return setpoint;
    return std::clamp(rounded(setpoint, options_.resolution), info.range.low, info.range.high);
  }

  /// What the gate makes of a setpoint.
  double through_gate(std::uint32_t parameter, double setpoint) const {
    if (gain_.size() == 0 || gain_[parameter] == 0) return setpoint;
    return parameters_[parameter].scale == Scale::log ? std::pow(setpoint, 1 + gain_[parameter])
                                                      : setpoint * (1 + gain_[parameter]);
  }

  double realised(std::uint32_t parameter, double setpoint, double deviation) const {
    const ParameterInfo& info = parameters_[parameter];
    const double value = info.scale == Scale::log ? setpoint * std::exp(deviation) : setpoint + deviation;
    return std::clamp(value, info.range.low, info.range.high);
  }

  Vector realised(Vector setpoints, const Vector& deviation) const {
    for (Eigen::Index i = 0; i < setpoints.size(); ++i) setpoints[i] = as_set(channel_of(i), setpoints[i]);
    const Vector asked = coupled_.empty() ? Vector() : setpoints;
    for (Eigen::Index i = 0; i < setpoints.size(); ++i)
      setpoints[i] = through_gate(channel_of(i), setpoints[i]);
    for (const Coupled& knobs : coupled_) {
      const Vector moved_by = knobs.coupling * asked(knobs.parameters);
      setpoints(knobs.parameters) += moved_by;
    }
    for (Eigen::Index i = 0; i < setpoints.size(); ++i)
      setpoints[i] = realised(channel_of(i), setpoints[i], deviation[i]);
    return setpoints;
  }

  void move(std::uint64_t ordinal) {
    moved_ = fixed_;
    const std::uint64_t time = ordinal + 1;
    if (options_.write > 0) {
      for (const std::uint32_t i : trainable_)
        moved_[i] += options_.write * normal_at(options_.seed, ordinal, write_channels + i);
    }
    if (walk_) {
      const Vector& walked = walk_->at(time);
      for (std::size_t k = 0; k < trainable_.size(); ++k)
        moved_[trainable_[k]] += options_.parameter_drift * walked[static_cast<Eigen::Index>(k)];
    }
    for (std::size_t k = 0; k < rate_.size(); ++k)
      moved_[trainable_[k]] += rate_[k] * static_cast<double>(time);
    if (jumps_) jumps_->add(moved_, time);
  }

  NoiseOptions options_;
  std::vector<ParameterInfo> parameters_;
  bool alters_, moves_;
  std::vector<Coupled> coupled_;
  // [n_parameters] Deviations in the parameter's scale: constant ones of this device, and present ones.
  Vector fixed_, moved_;
  Vector gain_;  // [n_parameters] relative errors of gates; empty: none
  std::vector<std::uint32_t> trainable_;
  std::unique_ptr<GaussMarkov> walk_;
  std::vector<double> rate_;
  std::unique_ptr<Jumps> jumps_;
  // Kept alive, so that no other vector can have its address.
  std::shared_ptr<const Vector> asked_base_;
  Parameters imposed_base_;
};

Pattern Noisy::imposed(const Pattern& clamp) const {
  Vector levels = clamp.levels();
  for (Eigen::Index i = 0; i < levels.size(); ++i) {
    const Range& range = info_.terminals[clamped_[static_cast<std::size_t>(i)]].level;
    levels[i] = std::clamp(rounded(levels[i], options_.resolution), range.low, range.high);
  }
  return pattern_of(levels);
}

void Noisy::round_sources(Drive& drive) const {
  if (options_.resolution > 0) {
    drive.clamp = imposed(drive.clamp);
    for (Hold& hold : drive.holds) {
      const Range& range = info_.terminals[hold.terminal].level;
      hold.level = std::clamp(rounded(hold.level, options_.resolution), range.low, range.high);
    }
  }
  if (options_.nudge_resolution > 0) {
    for (Eigen::Index i = 0; i < drive.nudge.size(); ++i) {
      const Range& range = info_.terminals[nudgeable_[static_cast<std::size_t>(i)]].nudge;
      const double current = rounded(drive.nudge[i], options_.nudge_resolution);
      drive.nudge[i] = current == 0 ? 0 : std::clamp(current, range.low, range.high);  // zero is allowed
    }
  }
}

// ---- readings -------------------------------------------------------------------------------------------

class Noisy::Offsets {
 public:
  Offsets(const NoiseOptions& options, std::size_t readings) : options_(options) {
    if (readings > octave_channels)
      throw std::invalid_argument("noise: " + std::to_string(readings) + " readings; at most " +
                                  std::to_string(octave_channels));
    const auto size = static_cast<Eigen::Index>(readings);
    if (options.drift > 0)
      walk_ = std::make_unique<GaussMarkov>(options.seed, drift_channels, size, GaussMarkov::walk);
    if (options.drift_rate > 0) {
      rate_.resize(size);
      for (Eigen::Index k = 0; k < size; ++k)
        rate_[k] = options.drift_rate * sign_at(options.seed, drift_sign_channels + channel_of(k));
    }
    if (options.flicker > 0) {
      for (std::uint32_t octave = 0; octave < NoiseOptions::flicker_octaves; ++octave)
        octaves_.emplace_back(options.seed, flicker_channels + octave * octave_channels, size,
                              std::ldexp(1.0, static_cast<int>(octave)));
    }
  }

  void add(Vector& potential, std::uint64_t ordinal) {
    const std::uint64_t time = ordinal + 1;
    if (walk_) potential += options_.drift * walk_->at(time);
    if (rate_.size() > 0) potential += static_cast<double>(time) * rate_;
    const double share = options_.flicker / std::sqrt(static_cast<double>(NoiseOptions::flicker_octaves));
    for (GaussMarkov& octave : octaves_) potential += share * octave.at(time);
  }

 private:
  NoiseOptions options_;
  std::unique_ptr<GaussMarkov> walk_;
  Vector rate_;
  std::vector<GaussMarkov> octaves_;
};

// `of_mean`: what was added to the mean of the readings, which stays the same whether they are kept or not.
// Each reading gets noise of its own less the mean of all: with the mean's own noise, the noise of a reading
// is again white and independent of the others'.
void Noisy::add_to_path(RowMatrix& path, const Vector& of_mean, std::uint64_t ordinal) const {
  path.rowwise() += of_mean.transpose();
  if (options_.read == 0) return;
  if (static_cast<std::uint64_t>(path.size()) > block)
    throw std::invalid_argument("noise: a path of " + std::to_string(path.size()) + " readings; at most " +
                                std::to_string(block));
  RowMatrix own(path.rows(), path.cols());
  for (Eigen::Index i = 0; i < path.size(); ++i)
    own.data()[i] = options_.read * normal_at(options_.seed, ordinal, path_channels + channel_of(i));
  const Vector mean = own.colwise().mean().transpose();
  path += own.rowwise() - mean.transpose();
}

Relaxation Noisy::read(Relaxation relaxation, std::uint64_t ordinal, const Observe& observe) {
  // White noise of one reading. The noise of several readings is independent, so their mean has less.
  const At* at = std::get_if<At>(&observe);
  const double share = at != nullptr ? 1 / std::sqrt(static_cast<double>(at->samples)) : 1;
  const double noise = share * options_.read, current_noise = share * options_.read_current;
  const Vector before = relaxation.path.size() > 0 ? relaxation.potential : Vector();
  offsets_->add(relaxation.potential, ordinal);
  if (noise > 0) {
    if (relaxation.sigma.size() == 0) relaxation.sigma = Vector::Zero(relaxation.potential.size());
    for (Eigen::Index k = 0; k < relaxation.potential.size(); ++k) {
      relaxation.potential[k] += noise * normal_at(options_.seed, ordinal, read_channels + channel_of(k));
      relaxation.sigma[k] = joined_error(relaxation.sigma[k], noise);
    }
  }
  if (relaxation.path.size() > 0) add_to_path(relaxation.path, relaxation.potential - before, ordinal);
  if (current_noise > 0 && relaxation.current.size() > 0) {
    if (relaxation.current_sigma.size() == 0)
      relaxation.current_sigma = Vector::Zero(relaxation.current.size());
    for (Eigen::Index t = 0; t < relaxation.current.size(); ++t) {
      if (std::isnan(relaxation.current[t])) {
        relaxation.current_sigma[t] = std::numeric_limits<double>::quiet_NaN();
        continue;
      }
      relaxation.current[t] +=
          current_noise * normal_at(options_.seed, ordinal, current_channels + channel_of(t));
      relaxation.current_sigma[t] = joined_error(relaxation.current_sigma[t], current_noise);
    }
  }
  return relaxation;
}

// ---- the device -----------------------------------------------------------------------------------------

Noisy::Noisy(Device& device, const NoiseOptions& options)
    : WrappingDevice(device), options_(options), info_(device.info()) {
  if (const std::string problem = options.problem(); !problem.empty())
    throw std::invalid_argument("noise: " + problem);
  if (adds_noise(options)) info_.identity += " with noise";
  // Variation, cross-talk and resolution are the same in every relaxation, so they do not matter here.
  if (options.varies_in_time()) info_.deterministic = false;
  for (ParameterInfo& parameter : info_.parameters) {
    if (parameter.trainable) parameter.resolution = std::max(parameter.resolution, options.resolution);
  }
  clamped_ = info_.clamped();
  nudgeable_ = info_.nudgeable();
  imposed_ = std::make_unique<Imposed>(options, info_);
  offsets_ = std::make_unique<Offsets>(options, info_.read().size());
}

Noisy::~Noisy() = default;

Vector Noisy::variation() const {
  Vector deviation = Vector::Zero(static_cast<Eigen::Index>(info_.parameters.size()));
  for (Eigen::Index i = 0; i < deviation.size() && options_.variation > 0; ++i) {
    deviation[i] = options_.variation * normal_at(options_.seed, 0, variation_channels + channel_of(i));
  }
  return deviation;
}

Vector Noisy::deviation(const Vector& setpoint) const {
  Vector of = imposed_->fixed(setpoint);
  for (Eigen::Index i = 0; i < of.size(); ++i) {
    const bool log = info_.parameters[static_cast<std::size_t>(i)].scale == Scale::log;
    of[i] = of[i] == setpoint[i] ? 0 : log ? std::log(of[i] / setpoint[i]) : of[i] - setpoint[i];
  }
  return of;
}

void Noisy::seek(std::uint64_t ordinal) {
  if (ordinal >> 62 != 0)
    throw std::invalid_argument("noise: ordinal " + std::to_string(ordinal) + "; it must be below 2^62");
  ordinal_ = ordinal;
  inner().seek(ordinal);
}

void Noisy::do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) {
  const std::uint64_t first = ordinal_;
  std::vector<Drive> altered;
  if (imposed_->alters() || options_.nudge_resolution > 0) {  // resolution alters parameters, too
    altered.assign(drives.begin(), drives.end());
    for (std::size_t i = 0; i < altered.size(); ++i) {
      if (imposed_->alters()) altered[i].theta = imposed_->imposed(drives[i].theta, first + i);
      round_sources(altered[i]);
    }
  }
  inner().relax(
      altered.empty() ? drives : std::span<const Drive>(altered),
      [&](std::size_t index, const Relaxation& relaxation) {
        ordinal_ = first + index + 1;
        Relaxation row = read(relaxation, first + index, drives[index].observe);
        if (options_.readback) row.theta_readback = imposed_->as_set(drives[index].theta);
        sink(index, row);
      },
      stop);
}

}  // namespace ness
