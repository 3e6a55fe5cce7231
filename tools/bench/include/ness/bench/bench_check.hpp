// A bench of a file, checked against the network it should be: what `ness check` does, and training before it
// begins.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "ness/bench/bench_device.hpp"
#include "ness/files/bench_file.hpp"
#include "ness/laboratory/wiring_check.hpp"
#include "ness/files/toml_edit.hpp"

namespace ness {

/// The wires of a file as channels of a check, with tiny limits. `bench`: DeviceInfo of the bench that
/// make_bench made.
WiringCheckOptions check_options(const BenchFile& file, const DeviceInfo& bench);

/// Checks a bench, which is left at rest with its outputs on. `twin`: a simulation of what it should be;
/// `theta`: at these parameters.
WiringReport check_bench(const BenchFile& file, Device& bench, Device& twin, const Vector& theta,
                         std::stop_token stop = {});

/// What of a report that passed belongs into the file: [settle] tau_max and noise, tau_input, tau_gate and
/// volts of the wires that read. A time constant that was too fast to be seen leaves one in the file that
/// agrees with it.
std::vector<TomlEdit> findings(const BenchFile& file, const WiringReport& report);

/// What is wrong, in one line.
std::string summary(const BenchFile& file, const WiringReport& report);

}  // namespace ness
