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
  std::uint32_t instrument = 0;         // readings of one instrument drift alike
  std::vector<std::uint64_t> ordinals;  // ascending
  RowMatrix columns;                    // [n x (effects, fixed, residual)]
};

/// The restricted likelihood of the strengths, linearised: effects are normal with the deviation of their
/// kind, fixed columns are free, the noise of readings is independent from one reading to another. Criteria
/// are -2 log of it (Patterson and Thompson 1971), by the mixed model's equations.
///
/// A reading whose unknowns follow slow noise says next to nothing of how strong it is. Readings of one
/// instrument therefore all walk, or none does, and so with 1/f noise. Their strengths (kT) differ: the
/// logarithms are normal about a mean of which nothing is known, with the deviation `unlike`. The prior is
/// part of the criterion.
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
  static constexpr double unlike = 0.5;

  /// Of each reading: numbers less what unknowns and nuisances have taken of them.
  std::vector<double> freedom(const Strengths& at);
  /// What is known of each row of `directions` x the fixed columns' coefficients, averaged over strengths
  /// that are as likely as the criterion says.
  struct Averaged {
    Vector variance;  // mean of the variance, and of the square by which the estimate moves
    Vector freedom;   // of Student's distribution with the same second and fourth moments; its variance is
                      // `variance`
  };
  Averaged averaged(const Strengths& at, const Matrix& directions);
  /// The variance at these strengths alone.
  Vector variances(const Strengths& at, const Matrix& directions);

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
  Vector coefficients(const Matrix& directions) const;
  double scale_one(std::size_t r, Strengths& at);
  double scaled_criterion(const std::vector<std::size_t>& readings, Strengths& at);
  std::vector<std::vector<std::size_t>> instruments(const Strengths& at) const;
  double prior(const Strengths& at) const;
  void maximise_noise(const std::vector<std::size_t>& readings, Strengths& at, bool rough);
  void maximise_deviations(const std::vector<std::size_t>& readings, Strengths& at);
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
