// ness emulate: the instruments of a bench file, emulated in real time.
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.hpp"
#include "ness/bench/emulation.hpp"
#include "messages.hpp"
#include "ness/device/error.hpp"

namespace ness {

namespace {

struct EmulateOptions {
  std::string bench;
  std::vector<std::string> set;
  std::string trace;
  bool json = false;
};

int emulate_bench(const EmulateOptions& options, std::stop_token stop) {
  const BenchFile file = load_bench(options.bench, options.set);
  Emulation emulation = emulate(file);
  if (!options.trace.empty()) {
    auto out = std::make_shared<std::ofstream>(options.trace);
    if (!*out) throw FileError(options.trace + ": cannot be written");
    trace(emulation, std::move(out));
  }
  EmulationServer server(file, std::move(emulation));
  for (const Listening& entry : server.listening()) {
    if (options.json) {
      std::printf("%s\n", nlohmann::ordered_json{{"name", entry.name}, {"model", entry.model}, {"resource", entry.resource}}.dump().c_str());
    } else {
      std::printf("%-12s %-18s %s\n", entry.name.c_str(), entry.model.c_str(), entry.resource.c_str());
    }
  }
  std::fflush(stdout);
  inform("emulating in real time; Ctrl-C ends it");
  server.run(stop);
  return ExitCode::success;
}

}  // namespace

void add_emulate(CLI::App& app, Command& command) {
  CLI::App& sub = *app.add_subcommand("emulate", "the instruments of a bench file on TCP ports and pseudo-terminals, in real time");
  auto options = std::make_shared<EmulateOptions>();
  sub.add_option("BENCH", options->bench, "bench file (TOML)")->required()->type_name("FILE");
  sub.add_option("--set", options->set, "set any key of the bench file; may be repeated")->type_name("KEY=VALUE")->allow_extra_args(false);
  sub.add_option("--trace", options->trace, "every change of what the instruments impose, a line each: time, wire, what, level, limit (CSV)")->type_name("FILE");
  sub.add_flag("--json", options->json, "a line of JSON an instrument: name, model, resource name");
  sub.footer(
      "Each instrument listens on loopback, at a port or pseudo-terminal the system chooses: on TCP where its address in the file is a\n"
      "TCPIP one or none, on a pseudo-terminal for ASRL, behind a Prologix controller on TCP for GPIB. All share one circuit, the\n"
      "network of [emulation]. It runs until a signal.\n"
      "\n"
      "Example:\n"
      "  ness emulate bench-resistor.toml\n"
      "  lxi scpi -a 127.0.0.1 -p PORT -r '*IDN?'");
  sub.callback([options, &command] {
    const std::stop_token stop = command.stop;
    command.run = [options, stop] { return emulate_bench(*options, stop); };
  });
}

}  // namespace ness
