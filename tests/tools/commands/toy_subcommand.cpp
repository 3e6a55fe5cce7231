// A subcommand as a user would add it: this file, and one row of a table (in subcommands_test.cpp).
#include <cstdint>
#include <memory>

#include "command.hpp"
#include "report.hpp"

namespace ness {

void declare_toy(Options& line, const Command& command) {
  struct Toy {
    std::string who;
    std::optional<std::uint64_t> exit_code;
    bool stays = false;
  };
  auto toy = std::make_shared<Toy>();
  line.add("WHO", toy->who, "who is greeted").required().value_name("NAME");
  line.add("--exit-code", toy->exit_code, "how it ends").value_name("N");
  line.flag("--stays", toy->stays, "on the first signal");
  line.action([toy, &command] {
    if (!toy->stays) command.leave_at_first();
    Report{{"hello", toy->who}}.print_json();
    return static_cast<int>(toy->exit_code.value_or(ExitCode::success));
  });
}

}  // namespace ness
