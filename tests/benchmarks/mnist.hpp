// The experiment of the benchmarks of relaxations and epochs: tools/experiments/mnist.toml, 784-30-10.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ness/files/experiment.hpp"
#include "ness/runs/run.hpp"

namespace benchmarks {

/// Loaded once, with the images from $NESS_DATA or shared/data beside the checkout. Throws FileError if they
/// are not found.
const ness::Experiment& mnist();

struct Epochs {
  std::vector<double> seconds;            ///< of each epoch after the first, which starts from rest
  std::vector<double> edge, exponential;  ///< seconds of the units, mean of before and after the epoch
  std::vector<ness::Vector> theta;        ///< after each epoch
  std::uint64_t left_out = 0;             ///< samples whose relaxation was unusable
};
/// Trains the experiment twice for `epochs` >= 2, without a log and with a log at `log` of every relaxation
/// and step. Epochs of the two trainings alternate, so that both run under the same conditions.
struct InTurns {
  Epochs without, with;
};
InTurns train_in_turns(std::uint64_t epochs, const std::string& log);

/// Two epochs without a log; computed once.
const Epochs& trained();

/// `n` drives from rest with the given parameters, of training images evenly spaced over the set.
std::vector<ness::Drive> drives(const ness::Vector& theta, std::size_t n);

}  // namespace benchmarks
