// Logs after an accident: lost bytes, flipped bits, a full disk, and files that are not logs.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <functional>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/record/log_fixture.hpp"
#include "sector_checks.hpp"

using namespace log_test;

namespace {

constexpr std::uint64_t n_rows = 100;

// A finished log of n_rows rows, and one step for every ten.
void make_log(const std::string& path) {
  const auto set = small_set();
  LogWriter log(path, small_header(set), {});
  append_rows(log, set, 0, n_rows);
  for (std::uint64_t i = 0; i < n_rows / 10; ++i)
    log.append(step_of(i), vector_of({1, 2, static_cast<double>(i)}));
  log.close(ExitStatus::finished, "");
}

// The position of these bytes, which must occur once in the file; what the journal held last does not count.
std::size_t place_of(const std::string& path, const std::string& file, const std::string& bytes) {
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  REQUIRE(descriptor >= 0);
  const hdf5::CheckPlaces places = hdf5::find_checks(descriptor);
  ::close(descriptor);
  std::vector<std::size_t> found;
  for (std::size_t at = file.find(bytes); at != std::string::npos; at = file.find(bytes, at + 1)) {
    if (!places.own(at / hdf5::sector_bytes)) found.push_back(at);
  }
  REQUIRE(found.size() == 1);
  return found[0];
}

// Gives a changed file the checks of what it is now: as if it had been written so.
void cover_again(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDWR);
  REQUIRE(file >= 0);
  const hdf5::CheckPlaces places = hdf5::find_checks(file);
  CHECK(places.known());
  CHECK(hdf5::cover_all(file, places));
  ::close(file);
}

// Runs `act` in a process whose files cannot grow beyond `bytes`, as on a full disk. The process ends by
// exit(), so that the exit handlers of libraries run. True if it ended normally.
bool with_file_size(rlim_t bytes, const std::function<void()>& act) {
  std::fflush(nullptr);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, bytes};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      act();
    } catch (...) {
      std::_Exit(3);
    }
    std::exit(42);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 42;
}

}  // namespace

TEST_CASE("a log that lost its last byte is refused, and repaired without loss") {
  const Folder folder;
  const std::string path = folder / "run.h5";
  make_log(path);
  fs::resize_file(path, fs::file_size(path) - 1);
  const std::string unread = message_of([&] { LogReader reader(path); });
  CHECK_THAT(unread, Catch::Contains(path) && Catch::Contains("1 byte is missing"));
  CHECK_THAT(unread, Catch::Contains("ness inspect --repair " + path));
  CHECK(message_of([&] { LogWriter(path, LogWriter::Continue{}, {}); }) == unread);
  const RepairReport report = repair_log(path);
  CHECK(report.was_truncated);
  CHECK(report.padded_bytes == 1);
  CHECK(report.rows_kept == n_rows);
  CHECK(report.rows_clipped == 0);
  CHECK(report.steps_kept == 10);
  CHECK(report.damaged.empty());
  const LogReader log(path);
  const auto set = small_set();
  for (std::uint64_t i = 0; i < n_rows; ++i) check_row(log.row(i), drive_of(i, set), relaxation_of(i));
  CHECK_FALSE(fs::exists(path + ".lock"));
}

TEST_CASE("a whole log is left as it is by a repair") {
  const Folder folder;
  const std::string path = folder / "run.h5";
  make_log(path);
  const RepairReport report = repair_log(path);
  CHECK_FALSE(report.was_truncated);
  CHECK(report.padded_bytes == 0);
  CHECK(report.rows_clipped == 0);
  CHECK(LogReader(path).rows() == n_rows);
}

TEST_CASE("rows beyond the counts are not seen, and are clipped by a repair or a continuation") {
  const Folder folder;
  const std::string path = folder / "run.h5";
  make_log(path);
  // The counts before the last group: 60 of 100 rows, 6 of 10 steps. They are adjacent in /committed.
  std::string file = bytes_of(path);
  const auto counts = [](char rows, char steps) {
    return std::string{rows, 0, 0, 0, 0, 0, 0, 0, steps, 0, 0, 0, 0, 0, 0, 0};
  };
  file.replace(place_of(path, file, counts(100, 10)), 16, counts(60, 6));
  write_bytes(path, file);
  cover_again(path);
  {
    const LogReader log(path);
    CHECK(log.rows() == 60);
    CHECK(log.steps() == 6);
    CHECK(log.ragged().rows == 40);
    CHECK(log.ragged().steps == 4);
    CHECK_THAT(message_of<std::invalid_argument>([&] { log.row(60); }), Catch::Contains("which has 60"));
  }
  const auto set = small_set();
  std::uint64_t end = 60;
  SECTION("repair") {
    const RepairReport report = repair_log(path);
    CHECK(report.rows_kept == 60);
    CHECK(report.rows_clipped == 40);
    CHECK(report.steps_kept == 6);
    CHECK(report.steps_clipped == 4);
    CHECK(report.damaged.empty());
  }
  SECTION("continuation") {
    LogWriter log(path, LogWriter::Continue{}, {});
    append_rows(log, set, 60, 70);
    log.close(ExitStatus::finished, "");
    end = 70;
  }
  const LogReader log(path);
  REQUIRE(log.rows() == end);
  CHECK(log.ragged().rows == 0);
  CHECK(log.ragged().steps == 0);
  for (std::uint64_t i = 0; i < end; ++i) check_row(log.row(i), drive_of(i, set), relaxation_of(i));
}

TEST_CASE("wrong bits are found, by row, and the row is not handed out") {
  const Folder folder;
  const std::string path = folder / "run.h5";
  make_log(path);
  std::string file = bytes_of(path);
  const auto row = GENERATE(std::uint64_t{0}, std::uint64_t{57}, std::uint64_t{99});
  SECTION("in a potential") {
    file[place_of(path, file, bytes_of(static_cast<double>(row) + 0.3)) + 3] ^= 0x11;
  }
  SECTION("in the digest of theta") {
    const std::uint64_t digest = drive_of(row, small_set()).theta.digest;
    file[place_of(path, file, bytes_of(std::bit_cast<double>(digest)))] ^= 0x03;
  }
  write_bytes(path, file);
  const LogReader log(path);
  CHECK(log.damaged_rows() == std::vector<std::uint64_t>{row});
  CHECK_THAT(message_of([&] { log.row(row); }),
             Catch::Contains(path) && Catch::Contains("the CRC of row " + std::to_string(row) + " fails"));
  CHECK(repair_log(path).damaged == std::vector<std::uint64_t>{row});
  check_row(log.row(42), drive_of(42, small_set()), relaxation_of(42));
}

TEST_CASE("a damaged variable part is found") {
  const Folder folder;
  const std::string path = folder / "run.h5";
  const auto set = small_set();
  {
    LogWriter log(path, small_header(set), {});
    append_rows(log, set, 0, 10);
    log.append(drive_of(10, set), relaxation_of(10), "the cryostat is warm");
    log.append(drive_of(11, set), relaxation_of(11));
    log.close(ExitStatus::finished, "");
  }
  std::string file = bytes_of(path);
  file[place_of(path, file, "cryostat")] ^= 0x20;
  write_bytes(path, file);
  CHECK(LogReader(path).damaged_rows() == std::vector<std::uint64_t>{10});
}

TEST_CASE("a log whose tail is lost keeps the rows that are whole, and the file as it was") {
  const Folder folder;
  const std::string path = folder / "run.h5";
  make_log(path);
  const std::uint64_t whole = fs::file_size(path);
  fs::resize_file(path, whole - whole / 8);
  const RepairReport report = repair_log(path);
  CHECK(report.was_truncated);
  CHECK(report.padded_bytes == whole / 8);
  CHECK(report.damaged_file == path + ".damaged");
  CHECK(fs::exists(report.damaged_file));
  CHECK(report.rows_kept + report.rows_clipped == n_rows);
  CHECK(report.rows_clipped > 0);
  const LogReader log(path);
  CHECK(log.rows() == report.rows_kept);
  CHECK(log.damaged_rows().empty());
  for (std::uint64_t i = 0; i < log.rows(); ++i)
    check_row(log.row(i), drive_of(i, small_set()), relaxation_of(i));
}

TEST_CASE("files that are no logs are refused with what they are") {
  const Folder folder;
  const std::string path = folder / "run.h5";
  const auto refused = [&](const std::string& what) {
    CHECK_THAT(message_of([&] { LogReader reader(path); }), Catch::Contains(path) && Catch::Contains(what));
    CHECK_THAT(message_of([&] { LogWriter(path, LogWriter::Continue{}, {}); }),
               Catch::Contains(path) && Catch::Contains(what));
    CHECK_THAT(message_of([&] { repair_log(path); }), Catch::Contains(path) && Catch::Contains(what));
    CHECK_FALSE(fs::exists(path + ".lock"));
  };
  SECTION("missing") { refused("No such file or directory"); }
  SECTION("a folder") {
    fs::create_directory(path);
    refused("not a regular file");
  }
  SECTION("empty") {
    write_bytes(path, "");
    refused("(0 bytes) is not an HDF5 file");
  }
  SECTION("text") {
    write_bytes(path, std::string(1000, 'x'));
    refused("(1000 bytes) is not an HDF5 file");
  }
  SECTION("another HDF5 file") {
    make_log(path);
    std::string file = bytes_of(path);
    file[place_of(path, file, "ness_log_format")] = 'm';
    write_bytes(path, file);
    cover_again(path);
    refused("is an HDF5 file, but not a Ness log");
  }
  SECTION("another version of the format") {
    make_log(path);
    std::string file = bytes_of(path);
    // After the attribute's name (16 bytes): its type (16), its space (8), its value.
    char& version = file[place_of(path, file, "ness_log_format") + 40];
    REQUIRE(version == 6);
    version = 1;
    write_bytes(path, file);
    cover_again(path);
    refused("has format version 1, this program reads versions 3 to 6");
  }
}

TEST_CASE("on a full disk the log stops at once, and what was counted stays whole") {
  const Folder folder;
  const std::string path = folder / "run.h5";
  const auto set = small_set();
  const auto limit = GENERATE(rlim_t{5'700'000}, rlim_t{6'000'000}, rlim_t{7'045'678});
  const bool background = GENERATE(false, true);
  // Prints the number of acknowledged rows, and the exception.
  const bool ended = with_file_size(limit, [&] {
    LogOptions options;
    options.group_rows = 100;
    options.background = background;
    LogWriter log(path, small_header(set), options);
    std::uint64_t acknowledged = 0;
    std::string first, second, third;
    try {
      while (true) {
        append_rows(log, set, log.rows(), log.rows() + options.group_rows);
        log.commit();
        acknowledged = log.rows();
      }
    } catch (const LogError& error) {
      first = error.what();
    }
    try {
      append_rows(log, set, 0, 1);
    } catch (const LogError& error) {
      second = error.what();
    }
    try {
      log.commit();
    } catch (const LogError& error) {
      third = error.what();
    }
    log.close(ExitStatus::failed, "full disk");
    std::ofstream(folder / "said") << acknowledged << '\n'
                                   << first << '\n'
                                   << second << '\n'
                                   << third << '\n';
  });
  REQUIRE(ended);
  std::ifstream said(folder / "said");
  std::uint64_t acknowledged = 0;
  std::string first, second, third;
  said >> acknowledged >> std::ws;
  std::getline(said, first);
  std::getline(said, second);
  std::getline(said, third);
  CHECK_THAT(first, Catch::Contains("cannot write the log '" + path) && Catch::Contains("File too large"));
  CHECK_THAT(second, Catch::Contains("nothing is written after an earlier failure") &&
                         Catch::Contains("File too large"));
  CHECK(third == second);
  CHECK_FALSE(fs::exists(path + ".lock"));

  const LogReader log(path);
  CHECK(acknowledged >= 100);
  REQUIRE(log.rows() == acknowledged);
  CHECK(log.damaged_rows().empty());
  CHECK(log.status() == ExitStatus::running);
  for (std::uint64_t i = 0; i < log.rows(); i += 97)
    check_row(log.row(i), drive_of(i, set), relaxation_of(i));
  // With free space again, the run continues.
  LogWriter again(path, LogWriter::Continue{}, {});
  CHECK(again.rows() == acknowledged);
  append_rows(again, set, acknowledged, acknowledged + 500);
  again.close(ExitStatus::finished, "");
  CHECK(LogReader(path).damaged_rows().empty());
  CHECK(LogReader(path).rows() == acknowledged + 500);
}

TEST_CASE("a log that cannot be made for want of space leaves nothing behind") {
  const Folder folder;
  const std::string path = folder / "run.h5";
  const auto limit = GENERATE(rlim_t{0}, rlim_t{1000}, rlim_t{20'000}, rlim_t{200'000});
  const bool ended = with_file_size(limit, [&] {
    try {
      LogWriter(path, small_header(), {});
    } catch (const LogError& error) {
      if (std::string(error.what()).find("File too large") == std::string::npos) std::_Exit(4);
      return;
    }
    std::_Exit(5);
  });
  CHECK(ended);
  CHECK(fs::is_empty(folder / ""));
}
