// Whether residuals are what the model says they are: white, once its noise is filtered out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ness/device/vector.hpp"

namespace ness {

/// Of one reading, in the order of the log: standardised innovations, and what was imposed (equal numbers:
/// the same inputs, nudges and holds).
struct Innovations {
  std::string name;
  std::vector<double> value;
  std::vector<std::uint64_t> imposed;
};

struct ResidualDoubts {
  std::vector<std::string> lines;  ///< what is not white, a line each
  double inflation = 1;            ///< of variances, by the correlations found; 1 without doubts
};

/// Three tests of each reading: serial correlation (Ljung and Box, 10 lags), runs of one sign (Wald and
/// Wolfowitz), and correlation from one relaxation to the next under the same inputs and nudges, which is
/// what a model that lacks something leaves: setpoints move slowly. White noise fails any of them in 1 log of
/// 1,000. A correlation that adds up to the sum s inflates the variance of whatever varies slowly by 1 + 2 s.
ResidualDoubts residual_doubts(const std::vector<Innovations>& readings);

}  // namespace ness
