// ness emulate: the instruments of a bench file, emulated in real time.
#include <cstdio>
#include <fstream>
#include <memory>

#include "command.hpp"
#include "report.hpp"
#include "common_options.hpp"
#include "ness/bench/emulation_server.hpp"
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
      Report{{"name", entry.name}, {"model", entry.model}, {"resource", entry.resource}}.print_json();
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

void declare_emulate(Options& line, const Command& command) {
  auto options = std::make_shared<EmulateOptions>();
  add_bench_file(line, options->bench);
  add_set_of_bench(line, options->set);
  line.add("--trace", options->trace,
           "every change of what the instruments impose, a line each: time, wire, what, level, limit (CSV)")
      .value_name("FILE");
  line.flag("--json", options->json, "a line of JSON an instrument: name, model, resource name");
  line.footer(
      "Each instrument listens on loopback, at a port or pseudo-terminal the system chooses: on TCP where "
      "its address in the file is a\n"
      "TCPIP one or none, on a pseudo-terminal for ASRL, behind a Prologix controller on TCP for GPIB. All "
      "share one circuit, the\n"
      "network of [emulation]. It runs until a signal.\n"
      "\n"
      "Example:\n"
      "  ness emulate bench-resistor.toml\n"
      "  lxi scpi -a 127.0.0.1 -p PORT -r '*IDN?'");
  line.action([options, &command] { return emulate_bench(*options, command.stop); });
}

}  // namespace ness
