// Prints a page of docs/reference, made of the keys that the files' readers ask for. A program of the tests,
// not a subcommand: whoever uses `ness` has the pages.
//
//   ness-reference experiment-file|bench-file
#include <cstdio>
#include <stdexcept>
#include <string>

#include "ness/files/bench_keys.hpp"
#include "ness/files/experiment.hpp"
#include "ness/files/key_list.hpp"

namespace {

const char* const made =
    "This page is made from the program that reads the file (`tests/docs/docs_test.py --write`); a test "
    "compares the two. "
    "An empty default means: nothing, unless it is given.";

std::string page(const std::string& name) {
  if (name == "experiment-file") {
    const ness::KeyList keys = ness::experiment_keys();
    ness::require_meanings(keys.tables());
    return ness::page_of("Experiment files",
                         "What `ness train`, `evaluate`, `compare`, `advise` and `check-gradient` read: "
                         "TOML. `--set table.key=value` sets any "
                         "key, `--seed N` the seed. Potentials are in kT. Commented examples: "
                         "[tools/experiments](../../tools/experiments).\n\n"
                         "In a table with kinds the key `kind` chooses one. A key that this kind does not "
                         "read is refused; where `--set TABLE.kind=NAME` chooses another kind than the "
                         "file, the file's keys that it does not read are removed.\n\n" +
                             std::string(made),
                         keys.tables());
  }
  if (name == "bench-file") {
    const ness::KeyList keys = ness::bench_keys();
    ness::require_meanings(keys.tables());
    return ness::page_of("Bench files",
                         "What `ness train --bench`, `check`, `sweep`, `safe` and `emulate` read: TOML. With "
                         "`--device bench` the instruments are at their "
                         "addresses; with `--device emulated` the same instruments are emulated in virtual "
                         "time on the experiment's own network, each behind a "
                         "socket or pseudo-terminal of this machine. Commented examples: "
                         "[bench-resistor.toml](../../tools/experiments/bench-resistor.toml), "
                         "[bench-emulated.toml](../../tools/experiments/bench-emulated.toml), "
                         "[bench-emulated-source-meters.toml](../../tools/experiments/"
                         "bench-emulated-source-meters.toml). `--device bench` has met no hardware "
                         "yet. What `ness check` does: [commands](commands.md#checking-a-bench).\n\n" +
                             std::string(made),
                         keys.tables());
  }
  throw std::invalid_argument("expected experiment-file or bench-file, found " + name);
}

}  // namespace

int main(int count, char** words) {
  try {
    std::fputs(page(count == 2 ? words[1] : "").c_str(), stdout);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ness-reference: %s\n", error.what());
    return 1;
  }
}
