// The coordinates in which parameters are trained.
#pragma once

#include <cstddef>
#include <vector>

#include "ness/device/device.hpp"
#include "ness/device/vector.hpp"

namespace ness {

/// What training does with one parameter, beside what the device allows.
struct ParameterRule {
  bool trainable = true;
  Range range;       ///< device coordinates; the device's own range applies as well
  double decay = 0;  ///< L2: adds decay * w to the gradient, w the parameter in its scale's coordinate
  double rate = 1;   ///< factor on the learning rate
};

/// Parameters begin .. end-1.
struct Part {
  std::size_t begin, end;
};

/// The coordinates an optimizer steps in: the logarithm where the device says the scale is logarithmic, the
/// value elsewhere. The only place where the two are converted. Untrainable parameters keep their bits.
class ParameterSpace {
 public:
  /// `rules` has one entry a parameter, or is empty (defaults). Throws std::invalid_argument naming the
  /// parameter for a decay, rate or range that makes no sense, or a range outside the device's.
  ParameterSpace(const DeviceInfo& info, std::vector<ParameterRule> rules = {});
  std::size_t size() const { return scale_.size(); }
  std::size_t trainable() const;
  /// The device's description with the parameters' `trainable` and `range` narrowed to the rules: what
  /// estimators go by.
  DeviceInfo narrowed(DeviceInfo info) const;
  bool trains(std::size_t i) const { return rules_[i].trainable; }
  /// dL/dw from dL/dtheta: chain rule of the scale, decay added, 0 where not trainable.
  Vector gradient(const Vector& theta, const Vector& gradient) const;
  /// Standard errors of dL/dw from those of dL/dtheta; 0 where not trainable.
  Vector errors(const Vector& theta, const Vector& standard_error) const;
  /// theta after the step dw (in coordinates), projected onto all limits.
  Vector stepped(const Vector& theta, const Vector& dw) const;
  /// The same for the parameters in `part` alone; arrays of these. Parts may be made on several threads.
  void gradient(Part part, const double* theta, const double* gradient, double* in_coordinates) const;
  void stepped(Part part, const double* theta, const double* dw, double* moved) const;
  /// theta projected onto all limits.
  Vector projected(const Vector& theta) const;
  double rate(std::size_t i) const { return rules_[i].rate; }

 private:
  // Neighbours that are stepped alike.
  struct Run {
    std::size_t begin, end;
    Scale scale;
    bool trainable, decays;
    Range range;  // infinite where they are not trained
    bool continues(const Run& next) const {
      return end == next.begin && scale == next.scale && trainable == next.trainable &&
             decays == next.decays && range.low == next.range.low && range.high == next.range.high;
    }
  };
  std::vector<ParameterRule> rules_;
  std::vector<Scale> scale_;
  std::vector<Run> runs_;
  template <class Body>
  void for_runs(Part part, const Body& body) const;
};

}  // namespace ness
