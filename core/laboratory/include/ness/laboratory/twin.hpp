// The calibrated twin: a model with the parameters that the device really has, driven by the device's
// setpoints.
//
// At the setpoint theta_set the device has theta = theta_set + offset (linear scale) or theta_set exp(offset)
// (log scale). Gates can have gains, zeros and cross-talk: theta = (1 + gate_gain) theta_set + offset + share
// x the setpoint of another (linear scale), theta = theta_set^(1 + gate_gain) exp(offset) + gate_zero (log
// scale). Its readings are gain mu + reading_offset; an input set to level x is held at input_gain x +
// input_offset. Drives and logs always hold setpoints; only the twin converts them.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ness/device/model.hpp"
#include "ness/device/wrapping_device.hpp"

namespace ness {

/// A gate that moves a parameter which is not its own.
struct TwinCrossTalk {
  std::uint32_t to = 0, from = 0;  ///< parameters, both in linear scale
  double share = 0;                ///< of the setpoint of `from` that is added to the value of `to`
};

/// The differences between a device and its description, as found by a calibration.
struct TwinOffsets {
  Vector theta;      ///< [n_parameters] offset of each parameter in its scale; empty: none
  Vector gate_gain;  ///< [n_parameters] relative error of each parameter's gate; empty: 0
  Vector gate_zero;  ///< [n_parameters] added to each value whose scale is log, in its unit; empty: 0
  std::vector<TwinCrossTalk> cross_talk;
  Vector gain;            ///< [n_free] of each free node's reading, in terminal order; empty: 1
  Vector reading_offset;  ///< [n_free] of each free node's reading (kT); empty: 0
  Vector input_gain;      ///< [n_clamped] of each clamped level, in terminal order; empty: 1
  Vector input_offset;    ///< [n_clamped] of each clamped level (kT); empty: 0
  /// True if anything differs.
  bool any() const { return theta.size() > 0 || gates() || readings() || inputs(); }
  bool gates() const { return gate_gain.size() > 0 || gate_zero.size() > 0 || !cross_talk.empty(); }
  bool inputs() const { return input_gain.size() > 0 || input_offset.size() > 0; }
  bool readings() const { return gain.size() > 0 || reading_offset.size() > 0; }
  /// Empty if usable with these parameters and that many free and clamped nodes; otherwise the reason: a
  /// wrong size, a number that is not finite, a gain that is not positive, a zero or cross-talk of a
  /// parameter of another scale.
  std::string problem(std::span<const ParameterInfo> parameters, std::size_t free_nodes,
                      std::size_t clamped_nodes) const;
};

/// The value of a parameter at `setpoint`: setpoint + offset, or setpoint exp(offset).
double offset_value(Scale scale, double setpoint, double offset);
/// The potentials at which clamped terminals are held, [n_clamped].
Vector offset_levels(const TwinOffsets& offsets, Vector levels);
/// The same as offset_value for vectors, [n_parameters]. `offset` empty: the setpoints.
Vector offset_values(std::span<const ParameterInfo> parameters, const Vector& setpoint, const Vector& offset);
/// The values that a device has at these setpoints, [n_parameters]: offsets and gates.
Vector imposed_values(std::span<const ParameterInfo> parameters, const Vector& setpoint,
                      const TwinOffsets& offsets);

/// A model seen through the offsets: takes setpoints and potentials as read, and returns derivatives with
/// respect to these. dI/dmu_read = dI/dmu / gain; dI/dtheta_set = (dtheta/dtheta_set)^T dI/dtheta, which is
/// exp(offset) dI/dtheta in log scale with perfect gates. As safe to use from threads as the inner model.
class TwinModel final : public Model {
 public:
  /// `parameters` and `clamped_nodes` as the device describes them. Throws std::invalid_argument with
  /// TwinOffsets::problem().
  TwinModel(std::shared_ptr<const Model> model, std::vector<ParameterInfo> parameters,
            std::size_t clamped_nodes, TwinOffsets offsets);
  std::size_t free_nodes() const override { return model_->free_nodes(); }
  std::size_t parameters() const override { return model_->parameters(); }
  Vector currents(const Drive& drive, const Vector& potential) const override;
  Matrix conductance(const Drive& drive, const Vector& potential) const override;
  void costates(std::span<const Drive> drives, std::span<const Vector> potential,
                std::span<const Vector> cotangent, std::span<Vector> costate) const override;
  void add_gradient(std::span<const Drive> drives, std::span<const Vector> potential,
                    std::span<const Vector> costate, Eigen::Ref<Vector> gradient) const override;

 private:
  std::vector<Drive> imposed(std::span<const Drive> drives) const;
  Vector true_potential(const Vector& read) const;
  std::vector<Vector> true_potentials(std::span<const Vector> read) const;
  std::shared_ptr<const Model> model_;
  std::vector<ParameterInfo> parameters_;
  TwinOffsets offsets_;
};

/// A device seen through the offsets: it takes setpoints, relaxes with the true parameters, and its readings
/// have the gains and offsets. A state to start from is given as it was read. Keeps a reference to the
/// device; with gains or offsets of readings every free potential of it must be readable.
class TwinDevice final : public WrappingDevice {
 public:
  /// Throws std::invalid_argument with TwinOffsets::problem(), Unsupported where readings are missing.
  TwinDevice(Device& device, TwinOffsets offsets);
  const DeviceInfo& info() const override { return info_; }

 protected:
  void do_relax(std::span<const Drive> drives, const Sink& sink, std::stop_token stop) override;

 private:
  TwinOffsets offsets_;
  DeviceInfo info_;
};

}  // namespace ness
