#include "ness/laboratory/twin.hpp"

#include <cmath>
#include <stdexcept>

#include "ness/device/error.hpp"
#include "ness/device/number_text.hpp"

namespace ness {
namespace {

// Imposed parameters, from setpoints. A base shared by several drives is converted once.
class Imposing {
 public:
  Imposing(std::span<const ParameterInfo> parameters, const TwinOffsets& offsets)
      : parameters_(parameters), offsets_(offsets) {}
  Parameters operator()(const Parameters& asked) {
    if (offsets_.theta.size() == 0 && !offsets_.gates()) return asked;
    // Overriding a parameter moves others by cross-talk, which are not in the overrides.
    if (offsets_.gates() && !asked.overrides.empty())
      return Parameters::of(imposed_values(parameters_, asked.values(), offsets_));
    if (asked.base != last_asked_) {
      last_asked_ = asked.base;
      last_ = Parameters::of(imposed_values(parameters_, *asked.base, offsets_));
    }
    Parameters imposed = last_;
    imposed.overrides = asked.overrides;
    for (auto& [i, value] : imposed.overrides)
      value = offset_value(parameters_[i].scale, value, offsets_.theta[i]);
    return imposed;
  }

 private:
  std::span<const ParameterInfo> parameters_;
  const TwinOffsets& offsets_;
  std::shared_ptr<const Vector> last_asked_;
  Parameters last_;
};

void impose(const TwinOffsets& offsets, Imposing& imposing, Drive& drive) {
  drive.theta = imposing(drive.theta);
  if (offsets.inputs() && drive.clamp.set)
    drive.clamp = pattern_of(offset_levels(offsets, drive.clamp.levels()));
}

// mu from the readings, and back.
Vector unread(const TwinOffsets& offsets, Vector read) {
  if (offsets.reading_offset.size() > 0) read -= offsets.reading_offset;
  if (offsets.gain.size() > 0) read.array() /= offsets.gain.array();
  return read;
}

Vector as_read(const TwinOffsets& offsets, Vector potential) {
  if (offsets.gain.size() > 0) potential.array() *= offsets.gain.array();
  if (offsets.reading_offset.size() > 0) potential += offsets.reading_offset;
  return potential;
}

// Of an error of a gate: empty, or what is wrong with it.
std::string gates_problem(const TwinOffsets& offsets, std::span<const ParameterInfo> parameters) {
  for (const auto& [what, values] :
       {std::pair{"gain", &offsets.gate_gain}, std::pair{"zero", &offsets.gate_zero}}) {
    if (values->size() != 0 && static_cast<std::size_t>(values->size()) != parameters.size()) {
      return std::to_string(values->size()) + " " + what + "s of gates; expected " +
             std::to_string(parameters.size()) + ", or none";
    }
    for (Eigen::Index i = 0; i < values->size(); ++i) {
      const double value = (*values)[i];
      const ParameterInfo& info = parameters[static_cast<std::size_t>(i)];
      if (!std::isfinite(value))
        return std::string("the ") + what + " of the gate of " + info.name + " is " + number_text(value) +
               "; it must be finite";
      if (values == &offsets.gate_zero && value != 0 && info.scale == Scale::linear)
        return "a zero of the gate of " + info.name + ", whose scale is linear: expected an offset instead";
    }
  }
  for (const TwinCrossTalk& talk : offsets.cross_talk) {
    if (talk.to >= parameters.size() || talk.from >= parameters.size() || talk.to == talk.from)
      return "cross-talk from parameter " + std::to_string(talk.from) + " to " + std::to_string(talk.to) +
             "; expected two of the " + std::to_string(parameters.size());
    if (parameters[talk.to].scale != Scale::linear || parameters[talk.from].scale != Scale::linear ||
        !std::isfinite(talk.share))
      return "cross-talk from " + parameters[talk.from].name + " to " + parameters[talk.to].name + " of " +
             number_text(talk.share) + "; expected a finite number, and two parameters of linear scale";
  }
  return {};
}

}  // namespace

std::string TwinOffsets::problem(std::span<const ParameterInfo> parameters, std::size_t free_nodes,
                                 std::size_t clamped_nodes) const {
  const auto sized = [](const char* what, const Vector& values, std::size_t wanted) {
    if (values.size() == 0 || static_cast<std::size_t>(values.size()) == wanted) return std::string();
    return std::to_string(values.size()) + " " + what + "; expected " + std::to_string(wanted) + ", or none";
  };
  if (std::string wrong = sized("offsets of parameters", theta, parameters.size()); !wrong.empty())
    return wrong;
  if (std::string wrong = gates_problem(*this, parameters); !wrong.empty()) return wrong;
  if (std::string wrong = sized("gains of readings", gain, free_nodes); !wrong.empty()) return wrong;
  if (std::string wrong = sized("offsets of readings", reading_offset, free_nodes); !wrong.empty())
    return wrong;
  if (std::string wrong = sized("gains of inputs", input_gain, clamped_nodes); !wrong.empty()) return wrong;
  if (std::string wrong = sized("offsets of inputs", input_offset, clamped_nodes); !wrong.empty())
    return wrong;
  for (Eigen::Index i = 0; i < theta.size(); ++i) {
    if (!std::isfinite(theta[i]))
      return "the offset of " + parameters[static_cast<std::size_t>(i)].name + " is " +
             number_text(theta[i]) + "; it must be finite";
  }
  for (const auto& [what, gains] : {std::pair{"reading", &gain}, std::pair{"input", &input_gain}}) {
    for (Eigen::Index k = 0; k < gains->size(); ++k) {
      const double value = (*gains)[k];
      if (!(value > 0) || std::isinf(value))
        return std::string("the gain of ") + what + " " + std::to_string(k) + " is " + number_text(value) +
               "; it must be finite and > 0";
    }
  }
  for (const auto& [what, zeros] :
       {std::pair{"reading", &reading_offset}, std::pair{"input", &input_offset}}) {
    for (Eigen::Index k = 0; k < zeros->size(); ++k) {
      if (!std::isfinite((*zeros)[k]))
        return std::string("the offset of ") + what + " " + std::to_string(k) + " is " +
               number_text((*zeros)[k]) + "; it must be finite";
    }
  }
  return {};
}

double offset_value(Scale scale, double setpoint, double offset) {
  return scale == Scale::log ? setpoint * std::exp(offset) : setpoint + offset;
}

Vector offset_levels(const TwinOffsets& offsets, Vector levels) {
  if (offsets.input_gain.size() > 0) levels.array() *= offsets.input_gain.array();
  if (offsets.input_offset.size() > 0) levels += offsets.input_offset;
  return levels;
}

Vector offset_values(std::span<const ParameterInfo> parameters, const Vector& setpoint,
                     const Vector& offset) {
  if (offset.size() == 0) return setpoint;
  Vector values = setpoint;
  for (Eigen::Index i = 0; i < values.size(); ++i)
    values[i] = offset_value(parameters[static_cast<std::size_t>(i)].scale, setpoint[i], offset[i]);
  return values;
}

Vector imposed_values(std::span<const ParameterInfo> parameters, const Vector& setpoint,
                      const TwinOffsets& offsets) {
  Vector through = setpoint;
  for (Eigen::Index i = 0; i < offsets.gate_gain.size(); ++i) {
    const double gain = 1 + offsets.gate_gain[i];
    if (gain == 1) continue;  // keeps a setpoint's bits
    through[i] = parameters[static_cast<std::size_t>(i)].scale == Scale::log ? std::pow(setpoint[i], gain)
                                                                             : gain * setpoint[i];
  }
  Vector values = offset_values(parameters, through, offsets.theta);
  if (offsets.gate_zero.size() > 0) values += offsets.gate_zero;
  for (const TwinCrossTalk& talk : offsets.cross_talk) values[talk.to] += talk.share * setpoint[talk.from];
  return values;
}

TwinModel::TwinModel(std::shared_ptr<const Model> model, std::vector<ParameterInfo> parameters,
                     std::size_t clamped_nodes, TwinOffsets offsets)
    : model_(std::move(model)), parameters_(std::move(parameters)), offsets_(std::move(offsets)) {
  if (!model_) throw std::invalid_argument("twin: no model");
  if (parameters_.size() != model_->parameters()) {
    throw std::invalid_argument("twin: " + std::to_string(parameters_.size()) +
                                " parameters described; the model has " +
                                std::to_string(model_->parameters()));
  }
  if (const std::string problem = offsets_.problem(parameters_, model_->free_nodes(), clamped_nodes);
      !problem.empty())
    throw std::invalid_argument("twin: " + problem);
}

std::vector<Drive> TwinModel::imposed(std::span<const Drive> drives) const {
  Imposing imposing(parameters_, offsets_);
  std::vector<Drive> altered(drives.begin(), drives.end());
  for (Drive& drive : altered) impose(offsets_, imposing, drive);
  return altered;
}

Vector TwinModel::true_potential(const Vector& read) const { return unread(offsets_, read); }

std::vector<Vector> TwinModel::true_potentials(std::span<const Vector> read) const {
  std::vector<Vector> potentials;
  potentials.reserve(read.size());
  for (const Vector& one : read) potentials.push_back(true_potential(one));
  return potentials;
}

Vector TwinModel::currents(const Drive& drive, const Vector& potential) const {
  return model_->currents(imposed(std::span(&drive, 1)).front(), true_potential(potential));
}

Matrix TwinModel::conductance(const Drive& drive, const Vector& potential) const {
  Matrix G = model_->conductance(imposed(std::span(&drive, 1)).front(), true_potential(potential));
  if (offsets_.gain.size() > 0) G.array().rowwise() /= offsets_.gain.transpose().array();
  return G;
}

void TwinModel::costates(std::span<const Drive> drives, std::span<const Vector> potential,
                         std::span<const Vector> cotangent, std::span<Vector> costate) const {
  // (dI/dmu_read)^T lambda = c is (dI/dmu)^T lambda = gain c.
  std::vector<Vector> c(cotangent.begin(), cotangent.end());
  if (offsets_.gain.size() > 0) {
    for (Vector& one : c) one.array() *= offsets_.gain.array();
  }
  model_->costates(imposed(drives), true_potentials(potential), c, costate);
}

void TwinModel::add_gradient(std::span<const Drive> drives, std::span<const Vector> potential,
                             std::span<const Vector> costate, Eigen::Ref<Vector> gradient) const {
  if (static_cast<std::size_t>(gradient.size()) != parameters_.size()) {
    throw std::invalid_argument("twin: a gradient of " + std::to_string(gradient.size()) + " for " +
                                std::to_string(parameters_.size()) + " parameters");
  }
  // d theta/d theta_set depends on the setpoint where a logarithm has a gain: then drive by drive.
  const std::vector<Drive> altered = imposed(drives);
  const std::vector<Vector> potentials = true_potentials(potential);
  const auto add = [&](std::size_t first, std::size_t count) {
    Vector added = Vector::Zero(gradient.size());
    model_->add_gradient(std::span(altered).subspan(first, count),
                         std::span(potentials).subspan(first, count), costate.subspan(first, count), added);
    const Vector by_value = added;
    for (Eigen::Index i = 0; i < added.size(); ++i) {
      const bool log = parameters_[static_cast<std::size_t>(i)].scale == Scale::log;
      const double gain = offsets_.gate_gain.size() > 0 ? offsets_.gate_gain[i] : 0;
      if (gain != 0)
        added[i] *= log ? (1 + gain) * std::pow(drives[first].theta.values()[i], gain) : 1 + gain;
      if (log && offsets_.theta.size() > 0) added[i] *= std::exp(offsets_.theta[i]);
    }
    for (const TwinCrossTalk& talk : offsets_.cross_talk) added[talk.from] += talk.share * by_value[talk.to];
    gradient += added;
  };
  bool each = false;
  for (Eigen::Index i = 0; i < offsets_.gate_gain.size(); ++i)
    each =
        each || (offsets_.gate_gain[i] != 0 && parameters_[static_cast<std::size_t>(i)].scale == Scale::log);
  if (!each) return add(0, drives.size());
  for (std::size_t d = 0; d < drives.size(); ++d) add(d, 1);
}

TwinDevice::TwinDevice(Device& device, TwinOffsets offsets)
    : WrappingDevice(device), offsets_(std::move(offsets)), info_(device.info()) {
  if (const std::string problem =
          offsets_.problem(info_.parameters, info_.free().size(), info_.clamped().size());
      !problem.empty())
    throw std::invalid_argument("twin: " + problem);
  if (offsets_.readings() && !info_.reads_every_free_potential())
    throw Unsupported("twin: gains and offsets of readings, but not every free potential is read");
  if (offsets_.any()) info_.identity += ", calibrated";
}

void TwinDevice::do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) {
  Imposing imposing(info_.parameters, offsets_);
  std::vector<Drive> altered(drives.begin(), drives.end());
  for (Drive& drive : altered) {
    impose(offsets_, imposing, drive);
    if (const auto* from = std::get_if<From>(&drive.start); from && offsets_.readings())
      drive.start = From{std::make_shared<const Vector>(unread(offsets_, *from->potential))};
  }
  inner().relax(
      altered,
      [&](std::size_t index, const Relaxation& relaxation) {
        if (!offsets_.readings()) return sink(index, relaxation);
        Relaxation read = relaxation;
        read.potential = as_read(offsets_, relaxation.potential);
        for (Eigen::Index i = 0; i < read.path.rows(); ++i)
          read.path.row(i) = as_read(offsets_, relaxation.path.row(i).transpose()).transpose();
        if (offsets_.gain.size() > 0 && read.sigma.size() > 0) read.sigma.array() *= offsets_.gain.array();
        sink(index, read);
      },
      stop);
}

}  // namespace ness
