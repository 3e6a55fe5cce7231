// What a log says of the bench of its run, and of where its parameters came from.
#include <catch2/catch.hpp>

#include "log_fixture.hpp"
#include "ness/device/error.hpp"
#include "ness/record/log.hpp"

using namespace log_test;

namespace {

BenchRecord bench_of(const std::string& scale) {
  BenchRecord bench{"bench.toml", "[scale]\nvolts_per_kT = " + scale + "\n", {}};
  // Names that HDF5 or the columns beside the groups would take for something else, and one twice.
  for (const char* name : {"gates", "name", "rack/meter", "rack_meter", "."}) {
    bench.instruments.push_back({name, "TCPIP0::192.0.2.11::5025::SOCKET", "Keithley 2400", "KEITHLEY,2400"});
    bench.instruments.back().calibration = {{"calibrated", "2024,3,18"}};
    bench.instruments.back().settings_start = {{"of", name}, {"level (V)", "+1.000000E-01"}, {"empty", ""}};
  }
  bench.instruments.back().calibration.clear();
  BenchCheck check;
  check.wires = {{"in-0", "right", "", "read-2 read-3", 0.25, 0.2, 1e-3, 1.25, 0.01, 4.0},
                 {"a-0", "not visible", "a-1", "", 0, 0, 0, 0, 0, std::nullopt}};
  check.readings = {{"read-2", "right", "", 1e-3, 2e-4, 8e-4}};
  check.steps = {{"in-0", "read-2", 0.2, 1e-5, 0}, {"a-0", "read-2", 0.1, std::nullopt, 2e-5}};
  check.warnings = {"a-0: within its tiny limits the twin expects no response"};
  check.undecided = {"a-0, a-1"};
  check.noise_readings = 16;
  check.relaxations = 123;
  bench.check = check;
  return bench;
}

}  // namespace

TEST_CASE("a log holds the settings of its instruments at the start, and at the end", "[bench]") {
  const Folder folder;
  LogHeader header = small_header();
  header.bench = bench_of("0.1");
  {
    LogWriter log(folder / "run.h5", header, {});
    CHECK(LogReader(folder / "run.h5").header().bench == header.bench);  // none at the end yet
    std::vector<BenchRecord::Statements> end;
    for (const BenchRecord::Instrument& one : header.bench->instruments) end.push_back(one.settings_start);
    end[1] = {{"no answer", std::string(300, 'x')}};
    end[2].emplace_back("one more", "than there is room for");
    end[3][1].second = "\xC2\xB5" + std::string(250, 'y');
    log.settings_at_end(end);
    log.close(ExitStatus::finished, "");
    header.bench->instruments[0].settings_end = end[0];
    header.bench->instruments[1].settings_end = {{"no answer", std::string(200, 'x')}};
    header.bench->instruments[2].settings_end = header.bench->instruments[2].settings_start;
    end[3][1].second.resize(200);
    header.bench->instruments[3].settings_end = end[3];
    header.bench->instruments[4].settings_end = end[4];
  }
  const LogReader log(folder / "run.h5");
  REQUIRE(log.header().bench);
  for (std::size_t i = 0; i < 5; ++i) {
    INFO("instrument " << i);
    CHECK(log.header().bench->instruments[i] == header.bench->instruments[i]);
  }
  CHECK(log.header().bench->check == header.bench->check);
  CHECK(log.header().continued.empty());
}

TEST_CASE("a log that goes on holds the bench that it goes on on", "[bench]") {
  const Folder folder;
  LogHeader header = small_header();
  const auto set = header.pattern_sets.front();
  header.bench = bench_of("0.1");
  {
    LogWriter log(folder / "run.h5", header, {});
    for (std::uint64_t i = 0; i < 3; ++i) log.append(drive_of(i, set), relaxation_of(i));
    log.close(ExitStatus::cancelled, "");
  }
  std::vector<BenchContinuation> all;
  for (const std::uint64_t first : {3, 5}) {
    LogWriter log(folder / "run.h5", LogWriter::Continue{}, {});
    all.push_back(
        {bench_of("0.2"), first, "2026-01-31T12:00:00Z", {"scale.volts_per_kT: 0.1 then, 0.2 now"}});
    all.back().bench.instruments.pop_back();
    log.bench_now(all.back());
    for (std::uint64_t i = first; i < first + 2; ++i) log.append(drive_of(i, set), relaxation_of(i));
    std::vector<BenchRecord::Statements> end(4, {{"of", "the end"}});
    if (first == 5) {
      log.settings_at_end(end);  // the last bench's, and no other's
      for (BenchRecord::Instrument& one : all.back().bench.instruments) one.settings_end = end[0];
    }
    log.close(ExitStatus::cancelled, "");
  }
  const LogReader log(folder / "run.h5");
  CHECK(log.header().bench == header.bench);
  CHECK(log.header().continued == all);
  REQUIRE(log.rows() == 7);
  for (std::uint64_t i = 0; i < 7; ++i) check_row(log.row(i), drive_of(i, set), relaxation_of(i));
  CHECK(log.damaged_rows().empty());
  CHECK(repair_log(folder / "run.h5").rows_kept == 7);
  CHECK(LogReader(folder / "run.h5").header().continued == all);
}

TEST_CASE("a log without a bench takes no settings, and one that goes on on a bench holds it", "[bench]") {
  const Folder folder;
  {
    LogWriter log(folder / "run.h5", small_header(), {});
    CHECK_NOTHROW(log.settings_at_end({{{"a", "b"}}}));
    log.close(ExitStatus::cancelled, "");
  }
  CHECK_FALSE(LogReader(folder / "run.h5").header().bench);
  {
    LogWriter log(folder / "run.h5", LogWriter::Continue{}, {});
    log.bench_now({bench_of("0.1"), 0, "2026-01-31T12:00:00Z", {}});
    log.close(ExitStatus::finished, "");
  }
  CHECK_FALSE(LogReader(folder / "run.h5").header().bench);
  REQUIRE(LogReader(folder / "run.h5").header().continued.size() == 1);
  CHECK(LogReader(folder / "run.h5").header().continued.front().bench == bench_of("0.1"));
}

TEST_CASE("a log says where its first parameters came from") {
  const Folder folder;
  LogHeader header = small_header();
  LogWriter(folder / "own.h5", header, {}).close(ExitStatus::finished, "");
  CHECK_FALSE(LogReader(folder / "own.h5").header().from);
  header.from = LogOrigin{"../twin.h5", "best", 120, Vector::LinSpaced(3, -1, 1.0 / 3)};
  LogWriter(folder / "run.h5", header, {}).close(ExitStatus::finished, "");
  const LogReader log(folder / "run.h5");
  REQUIRE(log.header().from);
  CHECK(log.header().from->path == "../twin.h5");
  CHECK(log.header().from->kind == "best");
  CHECK(log.header().from->step == 120);
  CHECK(log.header().from->theta == header.from->theta);
}
