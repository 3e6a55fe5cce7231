// The noise of a reading from relaxation to relaxation: white, walking, flickering.
#pragma once

#include <cstdint>
#include <span>

#include "ness/device/vector.hpp"

namespace ness {

/// Of one reading: white noise of deviation `white`, a random walk of `walk` x white per square root of a
/// relaxation since the log's first, and 1/f noise of deviation `flicker` x white: Ornstein-Uhlenbeck
/// processes of equal variance whose correlation times are two octaves apart, from 1 to 2^20 relaxations.
struct SerialNoise {
  double white = 1, walk = 0, flicker = 0;
  bool correlated() const { return walk > 0 || flicker > 0; }
};

/// Replaces each column by its standardised innovations, L^-1 column, for the covariance L L^T of the
/// readings at these ordinals (ascending), in units of white^2: the Kalman filter of the processes above, in
/// O(rows x columns). Returns the logarithm of the determinant of L L^T.
double whiten(std::span<const std::uint64_t> ordinals, const SerialNoise& noise, RowMatrix& columns);

}  // namespace ness
