// Mistakes of a first day: what an experiment, its data and its bench say that can be read and run, but is
// wrong or hardly meant. Each is found before anything is imposed.
#pragma once

#include <vector>

#include "ness/files/experiment.hpp"
#include "ness/runs/run.hpp"

namespace ness {

/// Those of an experiment that was prepared for a run, refused ones first; at most a few of a kind. Each
/// names a file with its line and key, or with a sample. Finding one is a function, and a row of the table in
/// mistakes.cpp.
///
/// Refused is what makes the run worthless whatever follows: a target that is an input, a level that cannot
/// be imposed or that no network has ever been at, a label without an output, an initial value outside its
/// own range, nothing to train. Warned of is what may be meant: parameters that no wire sets, columns that do
/// not vary, samples that are both trained on and tested with.
std::vector<Mistake> mistakes(const Experiment& experiment, const Run& run);

}  // namespace ness
