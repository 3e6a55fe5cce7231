// The strengths of noise and of nuisances, by restricted maximum likelihood.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "ness/calibration/calibration.hpp"
#include "serial_noise.hpp"

namespace ness {

/// Strengths: each reading's noise, and the standard deviation of each kind of nuisance, 0: there is none.
struct Strengths {
  std::vector<SerialNoise> noise;
  std::array<double, nuisance_kinds> nuisance{};
  std::array<bool, nuisance_kinds> given{};  // known beforehand
  double of(NuisanceKind kind) const { return nuisance[static_cast<std::size_t>(kind)]; }
  double& of(NuisanceKind kind) { return nuisance[static_cast<std::size_t>(kind)]; }
};

/// The numbers of one reading: residual = J delta + noise about the present unknowns, nuisances at 0.
struct ReadingBlock {
  std::vector<std::uint64_t> ordinals;  // ascending
  RowMatrix columns;                    // [n x (effects, fixed, residual)]
};

/// The restricted likelihood of the strengths, linearised: effects are normal with the deviation of their
/// kind, fixed columns are free, the noise of readings is independent from one reading to another. Criteria
/// are -2 log of it (Patterson and Thompson 1971), by the mixed model's equations.
class VarianceComponents {
 public:
  VarianceComponents(std::vector<ReadingBlock> blocks, std::vector<NuisanceKind> effects, double least_noise);

  double criterion(const Strengths& at);
  /// The white noise of all readings where the criterion is least, everything else as it is.
  void scale_noise(Strengths& at);
  /// Moves all strengths to where the criterion is least. `rough`: from anywhere; else from nearby.
  /// `serial`: noise may be correlated. A component that lowers the criterion by less than
  /// `worth_a_component` is 0.
  void maximise(Strengths& at, bool rough, bool serial);
  static constexpr double worth_a_component = 2;

  /// Of each reading: numbers less what unknowns and nuisances have taken of them.
  std::vector<double> freedom(const Strengths& at);
  /// Degrees of freedom of the variance of each row of `directions` x the fixed columns' coefficients, by
  /// Satterthwaite: 2 v^2 / var(v), var(v) from the curvature of the criterion at its minimum.
  Vector degrees_of_freedom(const Strengths& at, const Matrix& directions);

 private:
  struct Filtered {
    SerialNoise noise;
    Matrix gram;
    double log_determinant = 0;
    bool known = false;
  };
  // The same without the effects that are not there: fewer columns to filter.
  VarianceComponents present(const Strengths& at) const;
  const Filtered& filtered(std::size_t r, const SerialNoise& noise);
  // The mixed model's matrix [active effects in units of their deviation, fixed, residual] of the last
  // strengths, and its Cholesky factor.
  bool factor(const Strengths& at);
  Matrix scaled(std::size_t r, const Strengths& at);
  Vector variances(const Strengths& at, const Matrix& directions);
  double scale_one(std::size_t r, Strengths& at);
  double with(std::size_t r, Strengths& at, double walk, double flicker);
  void maximise_noise(std::size_t r, Strengths& at, bool rough);
  void maximise_kind(NuisanceKind kind, Strengths& at, bool rough);

  std::vector<ReadingBlock> blocks_;
  std::vector<NuisanceKind> kinds_;
  double least_noise_;
  std::vector<std::array<Filtered, 2>> filtered_;
  std::vector<Eigen::Index> active_;  // columns
  Vector unit_;                       // of each active column
  Matrix matrix_, factor_;
};

}  // namespace ness
