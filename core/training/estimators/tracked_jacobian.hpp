// What is remembered of each sample's Jacobian between measurements, and how single probes and shifts of the free state correct it.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>

#include "ness/device/vector.hpp"

namespace ness {

/// One sample's Jacobian: answers per unit of input, [n_answers x n_free].
struct KnownJacobian {
  Matrix response;
  Vector potential;        ///< [n_free] the free state of the last measurement, or of the last shift that was large enough to be learned from
  Vector currents;         ///< [n_free] the model's currents there, at the parameters of that time; empty where there is no model
  std::uint64_t age = 0;   ///< visits since the last measurement
  std::uint64_t next = 0;  ///< the node that is probed next
  bool due = false;        ///< measured at the next visit: something was too far from what was remembered

  /// Broyden's update (1965): the least change of the response after which it maps `input` to `answer`; for the unit vector of a node it
  /// replaces that node's column. `error` is the standard error of the residual |answer - response input|: the update is scaled by
  /// max(0, 1 - error^2 / residual^2) (the positive-part shrinkage of James and Stein), so that what noise alone explains changes nothing.
  /// Returns true if the residual is more than `reset` times the answer expected, and three standard errors besides.
  bool correct(const Vector& input, const Vector& answer, double error, double reset);
};

/// The Jacobians of the samples seen so far, by their index in the data set.
class TrackedJacobians {
 public:
  const KnownJacobian* find(std::uint64_t sample) const;
  void store(std::uint64_t sample, KnownJacobian known);

  /// Bytes that so many samples take.
  static double bytes(std::uint64_t samples, std::size_t answers, std::size_t free);

  /// All of it as numbers, in the order of the samples, and back. unpack throws std::invalid_argument, beginning with `who`, for numbers that
  /// pack did not make, and then changes nothing.
  Vector pack() const;
  void unpack(const Vector& numbers, std::string_view who);

 private:
  std::map<std::uint64_t, KnownJacobian> known_;
};

}  // namespace ness
