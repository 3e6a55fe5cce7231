// Storage of each sample's Jacobian between measurements, and its correction by single probes and by shifts
// of the free state.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>

#include "ness/device/vector.hpp"

namespace ness {

/// One sample's Jacobian: answers per unit of input, [n_answers x n_free].
struct KnownJacobian {
  Matrix response;
  /// [n_free] Free state of the last measurement, or of the last shift large enough for an update.
  Vector potential;
  /// [n_free] The model's currents at `potential`, with the parameters of that time; empty without a model.
  Vector currents;
  std::uint64_t age = 0;   ///< visits since the last measurement
  std::uint64_t next = 0;  ///< node to be probed next
  /// A full measurement is due at the next visit, because an answer was too far from the expected one.
  bool due = false;

  /// [n_free] The variance of each column's entries that noise of the readings it came from leaves (mean over
  /// the answers; columns are taken as independent). Empty where it is not known.
  Vector variance = {};

  /// Broyden's update (1965): the smallest change of the response after which it maps `input` to `answer`.
  /// For a node's unit vector it replaces that node's column. `error` is the standard error of the residual
  /// |answer - response input|. The update is scaled by max(0, 1 - error^2 / residual^2) (positive-part
  /// James-Stein shrinkage), so that noise alone changes nothing. Returns true if the residual exceeds
  /// `reset` times the expected answer by more than three standard errors. `variance`: of the entries of
  /// `answer`, mean; this->variance follows the update, its scaling taken as given.
  bool correct(const Vector& input, const Vector& answer, double error, double variance, double reset);

 private:
  // Changes `variance` with an update by `gain`; `seen`: the mean squared residual of an answer.
  void follow(const Vector& input, double of_answer, double seen, double gain);
};

/// The Jacobians of the samples seen so far, by their index in the data set.
class TrackedJacobians {
 public:
  const KnownJacobian* find(std::uint64_t sample) const;
  void store(std::uint64_t sample, KnownJacobian known);

  /// Memory of this number of samples, in bytes.
  static double bytes(std::uint64_t samples, std::size_t answers, std::size_t free);

  /// All Jacobians as numbers, in the order of the samples, and back. unpack throws std::invalid_argument,
  /// beginning with `who`, for numbers not made by pack, and then changes nothing.
  Vector pack() const;
  void unpack(const Vector& numbers, std::string_view who);

 private:
  std::map<std::uint64_t, KnownJacobian> known_;
};

}  // namespace ness
