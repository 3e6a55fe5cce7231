// What a log says of the bench that its run was made on, and whether a bench is still that one.
#pragma once

#include <vector>

#include "ness/files/differences.hpp"
#include "ness/record/log.hpp"
#include "ness/runs/run.hpp"

namespace ness {

/// Of a run on a bench: its file, and what its instruments answered (once they have been connected).
BenchRecord bench_record(const Run& run);

/// Keys on which two benches differ: those of their files, and instruments that identify themselves as others
/// (key "instruments.NAME.identity"; where both were asked). Throws FileError where a file is no TOML.
std::vector<Difference> bench_differences(const BenchRecord& then, const BenchRecord& now);

}  // namespace ness
