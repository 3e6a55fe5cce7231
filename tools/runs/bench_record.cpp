#include "ness/runs/bench_record.hpp"

#include <algorithm>

#include "check_errors.hpp"
#include "ness/device/error.hpp"
#include "ness/files/differences.hpp"

namespace ness {

namespace {

BenchCheck recorded(const WiringReport& report, std::size_t noise_readings) {
  BenchCheck check;
  for (const ChannelReport& c : report.channels) {
    std::string answered;
    for (const std::string& name : c.answered) answered += (answered.empty() ? "" : " ") + name;
    check.wires.push_back({c.name, to_string(c.verdict), c.of, answered, c.strength, c.expected, c.error,
                           c.gain, c.misfit, c.conductance});
  }
  for (const ReadingReport& r : report.readings)
    check.readings.push_back({r.name, to_string(r.verdict), r.of, r.offset, r.offset_error, r.noise});
  for (const StepResponse& s : report.steps)
    check.steps.push_back({s.channel, s.reading, s.change, s.tau, s.bound});
  check.warnings = report.warnings;
  for (const auto& [a, b] : report.undecided) check.undecided.push_back(a + ", " + b);
  check.noise_readings = noise_readings;
  check.relaxations = report.relaxations;
  return check;
}

}  // namespace

BenchRecord bench_record(const Run& run) {
  const BenchFile& file = run.bench.sessions->file();
  BenchRecord record{file.path, file.text, {}};
  // In the order of Bench::identities.
  std::vector<const BenchInstrument*> instruments;
  for (const drivers::Role role :
       {drivers::Role::source_meter, drivers::Role::dac, drivers::Role::scanner, drivers::Role::voltmeter}) {
    for (const BenchInstrument& one : file.instruments) {
      if (one.role() == role) instruments.push_back(&one);
    }
  }
  const std::vector<drivers::InstrumentIdentity> identities = run.bench.bench->identities();
  for (std::size_t i = 0; i < identities.size(); ++i) {
    if (identities[i].identity.empty()) continue;
    const BenchInstrument& described = *instruments.at(i);
    record.instruments.push_back({described.name,
                                  described.address ? to_string(*described.address) : identities[i].address,
                                  identities[i].model, identities[i].identity, identities[i].calibration});
    if (i < run.bench_settings.size())
      record.instruments.back().settings_start = run.bench_settings[i].settings;
  }
  if (run.bench_check) record.check = recorded(*run.bench_check, file.check.options.noise_readings);
  return record;
}

std::vector<BenchRecord::Statements> settings_now(const Run& run) {
  const std::vector<drivers::InstrumentIdentity> identities = run.bench.bench->identities();
  const std::vector<drivers::StatedSettings> stated = run.bench.bench->settings();
  std::vector<BenchRecord::Statements> all;
  for (std::size_t i = 0; i < identities.size(); ++i) {
    if (identities[i].identity.empty()) continue;
    all.push_back(stated[i].problem.empty() ? stated[i].settings
                                            : BenchRecord::Statements{{"no answer", stated[i].problem}});
  }
  return all;
}

std::optional<BenchRecord> last_bench(const LogHeader& header) {
  return header.continued.empty() ? header.bench : header.continued.back().bench;
}

std::vector<Difference> bench_differences(const BenchRecord& then, const BenchRecord& now) {
  std::vector<Difference> all = beyond_errors(differences(then.text, now.text, now.path), then, now);
  const auto identities = [](const BenchRecord& of) {
    Values values;
    for (const BenchRecord::Instrument& one : of.instruments)
      values["instruments." + one.name + ".identity"] = '"' + one.identity + '"';
    return values;
  };
  for (Difference& one : differences(identities(then), identities(now))) {
    // An instrument that is in one file alone differs by its keys already.
    if (!one.then.empty() && !one.now.empty()) all.push_back(std::move(one));
  }
  return all;
}

}  // namespace ness
