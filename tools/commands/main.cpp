// The `ness` command.
#include "subcommands.hpp"

int main(int argc, char** argv) { return ness::run_command(ness::subcommands(), argc, argv); }
