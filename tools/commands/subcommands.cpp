#include "subcommands.hpp"

// A row: what is typed, the function that declares it (each in a file of its own), its line in the help.
#define NESS_SUBCOMMANDS(ROW)                                                                               \
  ROW("train", declare_train, "train a network as an experiment file says, with every relaxation in a log") \
  ROW("evaluate", declare_evaluate,                                                                         \
      "loss and accuracy of trained parameters on every set, from cold starts")                             \
  ROW("replay", declare_replay,                                                                             \
      "re-execute the training of a log from what was recorded, and compare bit for bit")                   \
  ROW("check-gradient", declare_check_gradient,                                                             \
      "angle and error of a gradient estimator against central differences, and its cost")                  \
  ROW("calibrate", declare_calibrate,                                                                       \
      "fits the twin of a device to logged relaxations: offsets, gains, noise, with intervals")             \
  ROW("advise", declare_advise,                                                                             \
      "which gradient estimators a device's terminals allow, what each costs, and why the others are "      \
      "refused")                                                                                            \
  ROW("compare", declare_compare,                                                                           \
      "every estimator on one task and one kind of device, over many seeds, beside training on the twin")   \
  ROW("inspect", declare_inspect, "what a log holds, how the run ended, and whether every row is whole")    \
  ROW("diff", declare_diff, "what differs between the runs of two logs: experiment, bench, data, program")  \
  ROW("export", declare_export, "a log as CSV files, or as a netCDF file that xarray opens")                \
  ROW("solve", declare_solve, "the steady state of one network, its currents, conductances and gradients")  \
  ROW("check", declare_check,                                                                               \
      "is everything wired as a bench file says? Moves each source alone, a little, and finds which meter " \
      "answers")                                                                                            \
  ROW("emulate", declare_emulate,                                                                           \
      "the instruments of a bench file on TCP ports and pseudo-terminals, in real time")                    \
  ROW("idn", declare_idn, "asks instruments who they are")                                                  \
  ROW("query", declare_query, "sends messages to an instrument and prints its replies")                     \
  ROW("list", declare_list, "the serial ports of this machine, as resource names")                          \
  ROW("safe", declare_safe, "every output of a bench to its safe level, whoever left it where it is")       \
  ROW("sweep", declare_sweep, "measures the I-V curve of one edge, and marks where it falls (NDC)")

namespace ness {

#define NESS_DECLARED(name, declare, summary) void declare(Options& line, const Command& command);
NESS_SUBCOMMANDS(NESS_DECLARED)

namespace {

#define NESS_ROW(name, declare, summary) {name, summary, declare},
constexpr Subcommand table[] = {NESS_SUBCOMMANDS(NESS_ROW)};

}  // namespace

std::span<const Subcommand> subcommands() { return table; }

}  // namespace ness
