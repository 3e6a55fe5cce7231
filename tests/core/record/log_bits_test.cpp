// Single wrong bits, lost ends, and lost power: what is read is what was written, or is reported.
#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <unistd.h>

#include "core/record/log_fixture.hpp"
#include "crc32.hpp"
#include "hdf5_write_driver.hpp"
#include "ness/device/random.hpp"
#include "sector_checks.hpp"

using namespace log_test;

#ifdef __SANITIZE_ADDRESS__
// HDF5 1.10.8 does not free all that it had made when it cannot read its bookkeeping, which is tried here.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5_serial.so"; }
#endif

namespace {

constexpr std::uint64_t steps_per_checkpoint = 10;

// Everything that a log says, as bytes; rows, steps, epochs and checkpoints that are reported as damaged are
// counted instead.
class Content {
 public:
  explicit Content(const LogReader& log) {
    const LogHeader& header = log.header();
    text(header.title), text(header.experiment), text(header.command);
    number(header.seed), number(log.rows()), number(log.steps()), number(log.epochs());
    number(log.checkpoints()), number(static_cast<int>(log.status())), text(log.reason());
    for (const auto& [name, version] : header.versions) text(name), text(version);
    device(header.info);
    for (const auto& set : header.pattern_sets) {
      if (!set) continue;
      text(set->name());
      for (std::uint64_t i = 0; i < set->rows(); ++i) vector(set->levels(i));
    }
    each(log.rows(), log.damaged_rows(), [&](std::uint64_t i) { row(log.row(i)); });
    each(log.steps(), log.damaged_steps(), [&](std::uint64_t i) { step(log, i); });
    each(log.epochs(), log.damaged_epochs(), [&](std::uint64_t i) { epoch(log.epoch(i)); });
    each(log.checkpoints(), log.damaged_checkpoints(),
         [&](std::uint64_t i) { checkpoint(log.checkpoint(i)); });
    damaged += log.damaged_parts().size();
  }
  std::string bytes;
  std::size_t damaged = 0;

 private:
  template <class Read>
  void each(std::uint64_t count, const std::vector<std::uint64_t>& bad, const Read& read) {
    damaged += bad.size();
    for (std::uint64_t i = 0; i < count; ++i) {
      if (!std::binary_search(bad.begin(), bad.end(), i)) read(i);
    }
  }
  template <class T>
  void number(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(const std::string& value) {
    number(value.size());
    bytes += value;
  }
  void vector(const Vector& values) {
    number(values.size());
    for (const double value : values) number(value);
  }
  void device(const DeviceInfo& info) {
    text(info.identity), text(info.potential_unit), text(info.current_unit), text(info.arithmetic);
    for (const Terminal& t : info.terminals)
      text(t.name), number(t.clamped), number(t.level.low), number(t.nudge.high), number(t.reads_potential);
    for (const ParameterInfo& p : info.parameters)
      text(p.name), text(p.kind), number(p.range.low), number(p.range.high), number(p.trainable);
    for (const std::uint32_t output : info.outputs) number(output);
  }
  void row(const LogRow& r) {
    number(r.theta_digest), number(r.pattern_set), number(r.pattern_row);
    for (const auto& [index, value] : r.overrides) number(index), number(value);
    for (const Hold& hold : r.holds) number(hold.terminal), number(hold.level);
    vector(r.nudge), number(r.start), number(r.rest_rate), number(r.start_digest), number(r.at);
    number(r.observe.time), number(r.observe.samples), number(r.observe.every), number(r.label.step);
    number(r.label.sample), number(r.label.position), number(r.label.purpose);
    const Relaxation& x = r.relaxation;
    vector(x.potential), vector(x.sigma), vector(x.current), vector(x.clamp_readback);
    vector(x.theta_readback), vector(x.environment), number(x.path.size());
    for (const double value : x.path.reshaped()) number(value);
    number(x.quality.whole);
    for (const std::uint16_t flags : x.quality.terminal) number(flags);
    number(x.timing.start), number(x.timing.settled), number(x.timing.read), number(x.timing.bound);
    text(r.fault), number(r.recorded);
  }
  void step(const LogReader& log, std::uint64_t i) {
    const StepReport s = log.step(i);
    number(s.step), number(s.loss), number(s.gradient_norm), number(s.rate), number(s.theta_before);
    number(s.theta_after), number(s.worst), vector(log.theta(i));
  }
  void epoch(const EpochReport& e) { number(e.epoch), number(e.loss), number(e.samples); }
  void checkpoint(const Checkpoint& c) {
    number(c.step), number(c.epoch), number(c.relaxations);
    vector(c.theta), vector(c.optimizer), vector(c.trainer), vector(c.estimator);
  }
};

Checkpoint checkpoint_of(std::uint64_t i, std::uint64_t rows) {
  const auto x = static_cast<double>(i);
  return {i * steps_per_checkpoint, i, rows, vector_of({1, 2, x}), vector_of({x, -x}), vector_of({0.5}), {}};
}

EpochReport epoch_of(std::uint64_t i) {
  EpochReport epoch;
  epoch.epoch = i;
  epoch.loss = 1 / (static_cast<double>(i) + 2);
  epoch.samples = 4;
  return epoch;
}

// Rows, a step for every ten, an epoch and a checkpoint for every hundred.
void append_all(LogWriter& log, const std::shared_ptr<const PatternSet>& set, std::uint64_t first,
                std::uint64_t end, bool failures = true) {
  for (std::uint64_t i = first; i < end; ++i) {
    const bool fails = failures && i % 50 == 49;
    log.append(drive_of(i, set), relaxation_of(i), fails ? "no answer, " + std::to_string(i) : "");
    if (i % 10 == 9) log.append(step_of(i / 10), vector_of({1, 2, static_cast<double>(i)}));
    log.tick();
    if (i % 100 != 99) continue;
    log.append(epoch_of(i / 100));
    log.append(checkpoint_of(i / 100 + 1, i + 1 - (failures ? (i + 1) / 50 : 0)));
  }
}

void make_log(const std::string& path, std::uint64_t rows, const LogOptions& options = {},
              bool restores_state = true) {
  const auto set = small_set();
  LogHeader header = small_header(set);
  header.info.restores_state = restores_state;
  LogWriter log(path, header, options);
  append_all(log, set, 0, rows, restores_state);
  log.close(ExitStatus::cancelled, "stopped on request");
}

// What a reader finds: the content, or nothing where it throws.
std::optional<Content> content_of(const std::string& path) {
  try {
    return Content(LogReader(path));
  } catch (const LogError&) {
    return std::nullopt;
  }
}

// Of a file with checks: positions of its covered sectors, and of all others.
struct Places {
  std::vector<std::uint64_t> covered, rows;
};
Places places_of(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY);
  REQUIRE(file >= 0);
  const hdf5::CheckPlaces places = hdf5::find_checks(file);
  REQUIRE(places.known());
  Places found;
  for (std::uint64_t i = 0; i * hdf5::sector_bytes < fs::file_size(path); ++i) {
    hdf5::SectorCheck check;
    if (const auto place = places.place_of(i)) hdf5::read_at(file, *place, &check, sizeof check);
    if (check.covered()) found.covered.push_back(i);
    else if (!places.own(i)) found.rows.push_back(i);
  }
  ::close(file);
  return found;
}

}  // namespace

TEST_CASE("the bit that changes a CRC is found from the change alone") {
  Random random(1);
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{13}, std::size_t{4096}}) {
    hdf5::Sector sector{};
    for (auto& byte : sector) byte = static_cast<std::byte>(random.below(256));
    const std::uint32_t before = crc32({sector.data(), bytes});
    for (int i = 0; i < 50; ++i) {
      const std::uint64_t bit = random.below(8 * bytes);
      sector[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
      CHECK(hdf5::bit_of(before ^ crc32({sector.data(), bytes}), bytes) == bit);
      // Two wrong bits are not taken for one.
      const std::uint64_t other = random.below(8 * bytes);
      if (other != bit) {
        sector[other / 8] ^= static_cast<std::byte>(1u << (other % 8));
        CHECK(hdf5::bit_of(before ^ crc32({sector.data(), bytes}), bytes) == std::nullopt);
        sector[other / 8] ^= static_cast<std::byte>(1u << (other % 8));
      }
      sector[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    }
  }
}

// Half of the flips hit bookkeeping and header, the others rows.
TEST_CASE("one wrong bit anywhere is reported or has no effect, and a repair puts it right", "[bits]") {
  const Folder folder;
  const std::string path = folder / "run.h5";
  make_log(path, 230);
  const std::string file = bytes_of(path);
  const std::optional<Content> right = content_of(path);
  REQUIRE(right);
  REQUIRE(right->damaged == 0);
  const Places places = places_of(path);
  REQUIRE(places.covered.size() > 20);
  REQUIRE(places.rows.size() > 20);
  Random random(GENERATE(1, 2));
  int reported = 0, harmless = 0;
  for (int i = 0; i < 150; ++i) {
    const auto& sectors = i % 2 == 0 ? places.covered : places.rows;
    const std::uint64_t byte =
        sectors[random.below(sectors.size())] * hdf5::sector_bytes + random.below(hdf5::sector_bytes);
    if (byte >= file.size()) continue;
    const std::uint64_t bit = random.below(8);
    INFO("bit " << bit << " of byte " << byte);
    std::string flipped = file;
    flipped[byte] = static_cast<char>(flipped[byte] ^ (1 << bit));
    fs::remove(path);
    write_bytes(path, flipped);
    const std::optional<Content> found = content_of(path);
    const bool report = !found || found->damaged > 0;
    if (!report) CHECK(found->bytes == right->bytes);
    ++(report ? reported : harmless);
    const RepairReport repair = repair_log(path);
    CHECK(repair.damaged.empty());
    CHECK(repair.damaged_file.empty());
    CHECK((!report || repair.mended.size() == 1));
    const std::optional<Content> repaired = content_of(path);
    REQUIRE(repaired);
    CHECK(repaired->damaged == 0);
    CHECK(repaired->bytes == right->bytes);
  }
  // All of the bookkeeping is covered; of rows, what is not counted is not.
  CHECK(reported > 75);
  CHECK(harmless > 0);
}

TEST_CASE("a header larger than the first table of checks reaches is covered to its end", "[bits]") {
  const Folder folder;
  const std::string path = folder / "run.h5";
  const RowMatrix levels = RowMatrix::Constant(1'500'000, 2, 0.25);  // 24 MB
  LogWriter(path, small_header(std::make_shared<DensePatterns>("large", levels)), {})
      .close(ExitStatus::finished, "");
  std::string file = bytes_of(path);
  const std::size_t far = 20'000'000;
  file[far] = static_cast<char>(file[far] ^ 1);
  write_bytes(path, file);
  CHECK_THAT(message_of([&] { LogReader reader(path); }), Catch::Contains("their CRC fails"));
  CHECK(repair_log(path).mended == std::vector<std::string>{"bit 0 of byte 20000000"});
  CHECK(LogReader(path).damaged_parts().empty());
}

TEST_CASE("a log with one wrong bit is continued as it was, or not at all", "[bits]") {
  const Folder folder;
  const std::string path = folder / "run.h5";
  make_log(path, 110);
  const std::string file = bytes_of(path);
  const auto set = small_set();
  const auto continued = [&]() -> std::optional<Content> {
    try {
      LogWriter log(path, LogWriter::Continue{}, {});
      append_all(log, set, 110, 120);
      log.close(ExitStatus::finished, "done");
      return content_of(path);
    } catch (const LogError&) {
      return std::nullopt;
    }
  };
  const auto without_times = [&](const LogReader& log) {
    std::string bytes;
    for (std::uint64_t i = 0; i < log.rows(); ++i) {
      const LogRow row = log.row(i);
      bytes += std::to_string(row.theta_digest) + ' ' + std::to_string(row.label.sample) + '\n';
    }
    return bytes;
  };
  REQUIRE(continued());
  const std::string right = without_times(LogReader(path));
  const Places places = places_of(path);
  Random random(3);
  int refused = 0;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t byte =
        places.covered[random.below(places.covered.size())] * hdf5::sector_bytes + random.below(4096);
    if (byte >= file.size()) continue;
    std::string flipped = file;
    flipped[byte] = static_cast<char>(flipped[byte] ^ (1 << random.below(8)));
    INFO("byte " << byte);
    fs::remove(path);
    write_bytes(path, flipped);
    if (const auto found = continued(); found && found->damaged == 0)
      CHECK(without_times(LogReader(path)) == right);
    else ++refused;
  }
  CHECK(refused > 10);
}

TEST_CASE("a log that lost its end is continued from its newest whole checkpoint", "[bits]") {
  const bool bench = GENERATE(false, true);
  const Folder folder;
  const std::string path = folder / "run.h5";
  LogOptions options;
  options.group_rows = GENERATE(1, 16384);
  constexpr std::uint64_t rows = 3050;
  make_log(path, rows, options, !bench);
  const std::string file = bytes_of(path);
  const auto set = small_set();
  Random random(4);
  int repaired = 0, with_checkpoint = 0;
  constexpr std::uint64_t checkpoints = rows / 100;
  int kept_checkpoints[2] = {0, 0};
  for (int i = 0; i < 30; ++i) {
    const double share = i < 3 ? 0.98 - 0.14 * i : random.uniform(0.3, 1);  // 98, 84 and 70 % at first
    const auto bytes = static_cast<std::uint64_t>(share * static_cast<double>(file.size()));
    INFO(bytes << " of " << file.size() << " bytes");
    for (const char* name : {"run.h5", "run.h5.damaged"}) fs::remove(folder / name);
    write_bytes(path, file.substr(0, bytes));
    RepairReport report;
    try {
      report = repair_log(path);
    } catch (const LogError& error) {  // the header itself is lost
      CHECK_THAT(error.what(), Catch::Contains(path) && Catch::Contains("its header is lost"));
      CHECK(bytes < 600'000);
      CHECK(bytes_of(path) == file.substr(0, bytes));
      continue;
    }
    ++repaired;
    CHECK(report.was_truncated);
    CHECK(report.rows_kept + report.rows_clipped == rows);
    std::uint64_t kept = 0;
    {
      const LogReader log(path);
      kept = log.rows();
      CHECK(kept == report.rows_kept);
      CHECK(log.checkpoints() == report.checkpoints_kept);
      const std::vector<std::uint64_t> damaged = log.damaged_rows();
      CHECK(damaged == report.damaged);
      for (std::uint64_t k = 0; k < kept; ++k) {
        if (!std::binary_search(damaged.begin(), damaged.end(), k))
          check_row(log.row(k), drive_of(k, set), relaxation_of(k));
      }
      // What a resumed run needs, and where it is.
      if (log.checkpoints() > 0) {
        ++with_checkpoint;
        const Checkpoint newest = log.checkpoint(log.checkpoints() - 1);
        CHECK(std::none_of(damaged.begin(), damaged.end(),
                           [&](std::uint64_t k) { return k >= newest.epoch * 100; }));
        CHECK(newest.epoch * 100 <= kept);
        CHECK(newest.step <= log.steps());
      }
      // A simulation computes again what it lost; a bench keeps all that it has.
      if (!bench) {
        CHECK(damaged.empty());
        CHECK(log.damaged_steps().empty());
      } else {
        ++kept_checkpoints[log.checkpoints() == checkpoints];
      }
      CHECK(log.damaged_steps().size() <= log.steps());
      CHECK(log.damaged_parts().empty());
      // What lost something has not come to its end, and can be continued.
      CHECK((log.status() == ExitStatus::running) ==
            (report.rows_clipped + report.steps_clipped + report.checkpoints_clipped > 0));
      if (!report.damaged_file.empty()) CHECK(bytes_of(report.damaged_file) == file.substr(0, bytes));
    }
    LogWriter again(path, LogWriter::Continue{}, {});
    CHECK(again.rows() == kept);
    append_all(again, set, kept, kept + 20, !bench);
    again.close(ExitStatus::finished, "done");
    const LogReader log(path);
    CHECK(log.rows() == kept + 20);
    check_row(log.row(kept + 19), drive_of(kept + 19, set), relaxation_of(kept + 19));
  }
  CHECK(repaired > 20);
  if (bench) {
    CHECK(with_checkpoint > 8);
    CHECK(kept_checkpoints[1] > 8);
  }
}

namespace {

// Replays what was written to a file up to a loss of power: what was synced is there; of what was written
// after, each write may be lost, or come before another.
std::string after_power_loss(const std::string& before, const std::vector<hdf5::FileAct>& acts,
                             std::size_t count, Random& random) {
  std::size_t synced = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (acts[i].kind == hdf5::FileAct::Kind::sync) synced = i + 1;
  }
  std::vector<std::size_t> order;
  for (std::size_t i = synced; i < count; ++i) {
    if (random.below(2) == 0) order.push_back(i);
  }
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  std::string file = before;
  const auto apply = [&](const hdf5::FileAct& act) {
    if (act.kind == hdf5::FileAct::Kind::size) file.resize(act.place, '\0');
    if (act.kind != hdf5::FileAct::Kind::write) return;
    if (file.size() < act.place + act.bytes.size()) file.resize(act.place + act.bytes.size(), '\0');
    std::memcpy(file.data() + act.place, act.bytes.data(), act.bytes.size());
  };
  for (std::size_t i = 0; i < synced; ++i) apply(acts[i]);
  for (const std::size_t i : order) {
    // A size that comes late does not cut what is there.
    if (acts[i].kind == hdf5::FileAct::Kind::size && acts[i].place < file.size()) continue;
    apply(acts[i]);
  }
  return file;
}

}  // namespace

TEST_CASE("with fsync no committed row is lost with the power", "[bits]") {
  const Folder folder;
  const std::string path = folder / "run.h5", found = folder / "found.h5";
  const auto set = small_set();
  LogOptions options;
  options.durability = Durability::fsync;
  options.group_rows = 16384;
  std::vector<hdf5::FileAct> acts;
  std::vector<std::pair<std::size_t, std::uint64_t>> committed{{0, 0}};  // acts, rows
  std::string before;
  hdf5::watch_written_files([&](const hdf5::FileAct& act) { acts.push_back(act); });
  {
    LogWriter log(path, small_header(set), options);
    before = bytes_of(path);
    acts.clear();
    Random random(5);
    for (std::uint64_t rows = 0; rows < 2500;) {
      const std::uint64_t more = 1 + random.below(120);
      append_all(log, set, rows, rows + more);
      rows += more;
      log.commit();
      committed.emplace_back(acts.size(), rows);
    }
    log.close(ExitStatus::finished, "done");
  }
  hdf5::watch_written_files({});
  REQUIRE(committed.size() > 30);
  Random random(6);
  const char* const more = std::getenv("NESS_POWER_LOSSES");  // of the bar
  const int losses = more ? std::atoi(more) : 60;
  for (int i = 0; i < losses; ++i) {
    const std::size_t count = random.below(acts.size() + 1);
    std::uint64_t acknowledged = 0;
    for (const auto& [act, rows] : committed) {
      if (act <= count) acknowledged = rows;
    }
    INFO(count << " of " << acts.size() << " acts, " << acknowledged << " rows acknowledged");
    write_bytes(found, after_power_loss(before, acts, count, random));
    {
      const LogReader log(found);
      CHECK(log.rows() >= acknowledged);
      CHECK(log.damaged_rows().empty());
      CHECK(log.damaged_steps().empty());
      CHECK(log.damaged_checkpoints().empty());
      for (std::uint64_t k = 0; k < log.rows(); k += 37)
        check_row(log.row(k), drive_of(k, set), relaxation_of(k));
    }
    LogWriter again(found, LogWriter::Continue{}, {});
    const std::uint64_t rows = again.rows();
    CHECK(rows >= acknowledged);
    append_all(again, set, rows, rows + 30);
    again.close(ExitStatus::finished, "done");
    const LogReader log(found);
    CHECK(log.damaged_rows().empty());
    CHECK(log.damaged_parts().empty());
    check_row(log.row(acknowledged / 2), drive_of(acknowledged / 2, set), relaxation_of(acknowledged / 2));
    check_row(log.row(rows + 29), drive_of(rows + 29, set), relaxation_of(rows + 29));
  }
}
