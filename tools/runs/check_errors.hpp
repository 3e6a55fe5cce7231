// How well `ness check` knows what it writes into a bench file.
//
// key                              standard error
// wiring.W.volts, of a reading     its offset's error in the check of the run (kT x volts_per_kT), and that
// of
//                                  its rounding; a wire without the key has 0 V
// settle.noise                     of a standard deviation from n readings, by their successive differences:
//                                  sqrt(3n - 4) / (2(n - 1)) of it (22 % of 16 readings)
// (what is a share of a value is one of the mean of then and now)
// settle.tau_max, tau_input,       2 % of it, since a fit states none: on an emulated bench whose noise alone
// tau_gate of a wire               changes they scatter by 0.5 %; and 7 noise / change of it, where a step is
//                                  small beside the noise
#pragma once

#include <vector>

#include "ness/files/differences.hpp"
#include "ness/record/log.hpp"

namespace ness {

/// Of the keys on which two bench files differ, those that differ by more than 4 combined standard errors, or
/// have none; Difference::where says the error. Where one bench was not checked yet, its errors are taken to
/// be those of the other; where neither was, volts are compared exactly.
std::vector<Difference> beyond_errors(std::vector<Difference> all, const BenchRecord& then,
                                      const BenchRecord& now);

}  // namespace ness
