#include "ness/runs/bench_record.hpp"

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

}  // namespace ness
