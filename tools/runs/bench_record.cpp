#include "ness/runs/bench_record.hpp"

#include <algorithm>

#include "ness/device/error.hpp"
#include "ness/files/differences.hpp"

namespace ness {

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
                                  identities[i].model, identities[i].identity});
  }
  return record;
}

std::vector<Difference> bench_differences(const BenchRecord& then, const BenchRecord& now) {
  std::vector<Difference> all = differences(then.text, now.text, now.path);
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

std::vector<std::string> require_same_bench(const BenchRecord& then, const BenchRecord& now,
                                            std::span<const std::string> allowed, const std::string& log) {
  std::vector<std::string> accepted, refused;
  std::string keys;
  std::vector<bool> used(allowed.size(), false);
  for (const Difference& one : bench_differences(then, now)) {
    bool allows = false;
    for (std::size_t i = 0; i < allowed.size(); ++i) {
      if (!named(one.key, allowed.subspan(i, 1))) continue;
      allows = used[i] = true;
    }
    (allows ? accepted : refused).push_back(one.text());
    if (!allows) keys += (keys.empty() ? "" : ",") + one.key;
  }
  if (!refused.empty()) {
    std::string message = log + ": its run was made on another bench than " + now.path + " is:";
    for (const std::string& line : refused) message += "\n  " + line;
    throw FileError(message + "\nIf that is meant: --changed " + keys);
  }
  // Before the instruments were asked, a name may be of one of their identities.
  for (std::size_t i = 0; i < allowed.size() && !now.instruments.empty(); ++i) {
    if (!used[i])
      throw FileError("--changed " + allowed[i] + ": the bench does not differ from that of " + log +
                      " there");
  }
  return accepted;
}

}  // namespace ness
