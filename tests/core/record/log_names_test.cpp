// A log is one file, by whatever name it is reached: one process writes it, anybody reads it, and what
// somebody put in its place is not touched.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/record/log_fixture.hpp"

using namespace log_test;

TEST_CASE("a log that is being written has one writer, by whatever name another comes") {
  const Folder folder;
  const auto set = small_set();
  const std::string path = folder / "run.h5";
  LogWriter first(path, small_header(set), {});
  append_rows(first, set, 0, 3);
  std::string name = path;
  SECTION("a symbolic link") {
    name = folder / "link.h5";
    fs::create_symlink(path, name);
  }
  SECTION("a symbolic link from another folder") {
    fs::create_directory(folder / "other");
    name = folder / "other/link.h5";
    fs::create_symlink("../run.h5", name);
  }
  SECTION("a hard link") {
    name = folder / "hard.h5";
    fs::create_hard_link(path, name);
  }
  SECTION("another path") {
    fs::create_directory(folder / "other");
    name = folder / "other/../run.h5";
  }
  SECTION("its lock file was removed") { fs::remove(path + ".lock"); }
  SECTION("its lock file was replaced") {
    fs::remove(path + ".lock");
    write_bytes(path + ".lock", "process 1 on nowhere");
  }
  SECTION("it was given another name") {
    name = folder / "renamed.h5";
    fs::rename(path, name);
  }
  CHECK_THAT(message_of([&] { LogWriter(name, LogWriter::Continue{}, {}); }),
             Catch::Contains(name) && Catch::Contains("is being written by"));
  CHECK_THAT(message_of([&] { repair_log(name); }),
             Catch::Contains(name) && Catch::Contains("is being written by"));
  // Readers are let in, also those that lock the whole file, as HDF5's do.
  CHECK_NOTHROW(LogReader(name));
  const int reader = ::open(name.c_str(), O_RDONLY);
  REQUIRE(reader >= 0);
  CHECK(::flock(reader, LOCK_SH | LOCK_NB) == 0);
  append_rows(first, set, 3, 5);
  first.close(ExitStatus::finished, "");
  ::close(reader);
  const LogReader log(name);
  REQUIRE(log.rows() == 5);
  for (std::uint64_t i = 0; i < 5; ++i) check_row(log.row(i), drive_of(i, set), relaxation_of(i));
  // Afterwards every name will do.
  CHECK(LogWriter(name, LogWriter::Continue{}, {}).rows() == 5);
}

TEST_CASE("a log that is locked under its own name can be continued through a link") {
  const Folder folder;
  const auto set = small_set();
  LogWriter(folder / "run.h5", small_header(set), {}).close(ExitStatus::finished, "");
  fs::create_symlink("run.h5", folder / "link.h5");
  LogWriter through(folder / "link.h5", LogWriter::Continue{}, {});
  // The lock file stands beside the log itself, where the next writer looks.
  CHECK(fs::exists(folder / "run.h5.lock"));
  CHECK_FALSE(fs::exists(folder / "link.h5.lock"));
  const std::string who = "process " + std::to_string(getpid()) + " on ";
  CHECK_THAT(message_of([&] { LogWriter(folder / "run.h5", LogWriter::Continue{}, {}); }),
             Catch::Contains("is being written by " + who));
}

TEST_CASE("links that were put where a new log's files go do not lead to what they point at") {
  const Folder folder;
  const std::string path = folder / "run.h5", victim = folder / "thesis.tex";
  write_bytes(victim, "precious");
  const auto made = [&] {
    LogWriter(path, small_header(), {}).close(ExitStatus::finished, "");
    CHECK(LogReader(path).rows() == 0);
    CHECK_FALSE(fs::is_symlink(path));
  };
  SECTION("the unfinished file, symbolic") {
    fs::create_symlink(victim, path + ".part");
    made();
  }
  SECTION("the unfinished file, hard") {
    fs::create_hard_link(victim, path + ".part");
    made();
  }
  SECTION("the unfinished file, left by a process that was killed") {
    write_bytes(path + ".part", "half a log");
    made();
  }
  SECTION("the lock file, hard") {
    fs::create_hard_link(victim, path + ".lock");
    made();
  }
  SECTION("the lock file, symbolic") {
    fs::create_symlink(victim, path + ".lock");
    CHECK_THAT(message_of([&] { LogWriter(path, small_header(), {}); }),
               Catch::Contains(path + ".lock") && Catch::Contains("is a link"));
    CHECK_FALSE(fs::exists(path));
  }
  SECTION("the log itself, to nothing") {
    fs::create_symlink(folder / "nothing", path);
    CHECK_THAT(message_of([&] { LogWriter(path, small_header(), {}); }), Catch::Contains("exists already"));
    CHECK_FALSE(fs::exists(folder / "nothing"));
  }
  CHECK(bytes_of(victim) == "precious");
  CHECK_FALSE(fs::exists(path + ".part"));
}

TEST_CASE("a log that others delete, replace or cut while it is written is noticed, and saved beside it") {
  const Folder folder;
  const auto set = small_set();
  const std::string path = folder / "run.h5";
  LogOptions options;
  options.group_rows = 2;
  options.background = GENERATE(false, true);
  LogWriter log(path, small_header(set), options);
  append_rows(log, set, 0, 4);
  log.commit();
  std::string what;
  std::uint64_t first = 0;  // row that is saved
  SECTION("deleted") {
    fs::remove(path);
    what = "it has been deleted";
  }
  SECTION("replaced") {
    write_bytes(folder / "other.h5", "another file");
    fs::rename(folder / "other.h5", path);
    what = "another file has taken its name";
  }
  SECTION("cut") {
    fs::resize_file(path, fs::file_size(path) / 2);
    what = "something else has cut it";
    first = 4;
  }
  SECTION("overwritten") {
    write_bytes(path, std::string(fs::file_size(path) + 1000, 'x'));
    what = "is not an HDF5 file";
    first = 4;
  }
  std::uint64_t appended = 4;
  const std::string message = message_of([&] {
    for (; appended < 20; ++appended) {
      log.append(drive_of(appended, set), relaxation_of(appended));
      log.tick();
    }
    log.commit();
  });
  CHECK_THAT(message, Catch::Contains(path) && Catch::Contains(what));
  CHECK_THAT(message, Catch::Contains("saved in '" + path + ".saved'"));
  log.close(ExitStatus::failed, "the log is lost");
  const LogReader saved(path + ".saved");
  CHECK(saved.damaged_rows().empty());
  CHECK(saved.damaged_parts().empty());
  CHECK(saved.header().experiment == small_header(set).experiment);
  // The row at which it was noticed is there too.
  REQUIRE(saved.rows() >= 2);
  CHECK(saved.rows() + first + 1 >= std::min<std::uint64_t>(appended + 1, 20));
  for (std::uint64_t i = 0; i < saved.rows(); ++i)
    check_row(saved.row(i), drive_of(first + i, set), relaxation_of(first + i));
}
