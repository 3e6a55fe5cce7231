// The experiment that relaxations and epochs are measured on: tools/experiments/mnist.toml, 784-30-10.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ness/files/experiment.hpp"
#include "ness/runs/run.hpp"

namespace benchmarks {

/// Read once, with the images. Throws FileError where they are not found: under $NESS_DATA, or shared/data beside the checkout.
const ness::Experiment& mnist();

struct Epochs {
  std::vector<double> seconds;        ///< of each epoch after the first, which starts from rest
  std::vector<double> edge, exponential;  ///< seconds of the units, each the mean of before and after the epoch
  std::vector<ness::Vector> theta;    ///< after each epoch
  std::uint64_t left_out = 0;         ///< samples whose relaxation was unusable
};
/// Trains twice for `epochs` >= 2 of the experiment's, once without a log and once with one at `log`, to which every relaxation and step goes:
/// an epoch of one after an epoch of the other, so that both see the same machine.
struct InTurns {
  Epochs without, with;
};
InTurns train_in_turns(std::uint64_t epochs, const std::string& log);

/// Two epochs without a log; trained once.
const Epochs& trained();

/// `n` drives with the parameters given, of training images evenly spaced over the set, from rest.
std::vector<ness::Drive> drives(const ness::Vector& theta, std::size_t n);

}  // namespace benchmarks
