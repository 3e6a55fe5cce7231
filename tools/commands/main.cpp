// The `ness` command.
#include "messages.hpp"
#include "subcommands.hpp"

int main(int argc, char** argv) {
  ness::start_messages();
  return ness::run_command(ness::subcommands(), argc, argv);
}
