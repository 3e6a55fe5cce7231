// What a log says of the bench that its run was made on, and whether a bench is still that one.
#pragma once

#include <optional>
#include <vector>

#include "ness/files/differences.hpp"
#include "ness/record/log.hpp"
#include "ness/runs/run.hpp"

namespace ness {

/// Of a run on a bench: its file, what its instruments answered (once they have been connected), and what its
/// check found.
BenchRecord bench_record(const Run& run);
/// What the instruments say of their settings now, one a bench_record().instruments. Where one does not
/// answer: {"no answer", why}.
std::vector<BenchRecord::Statements> settings_now(const Run& run);
/// The bench on which the run of a log was made last; none in simulation.
std::optional<BenchRecord> last_bench(const LogHeader& header);

/// Keys on which two benches differ: those of their files, and instruments that identify themselves as others
/// (key "instruments.NAME.identity"; where both were asked). What `ness check` writes (see check_errors.hpp)
/// differs where it is more than 4 combined standard errors apart. Throws FileError where a file is no TOML.
std::vector<Difference> bench_differences(const BenchRecord& then, const BenchRecord& now);

}  // namespace ness
