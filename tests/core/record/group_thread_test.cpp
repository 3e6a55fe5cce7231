// The log's thread: order, one group at a time, failures, several logs at once.
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <regex>
#include <thread>

#include "group_thread.hpp"
#include "core/record/log_fixture.hpp"

using namespace log_test;

namespace {
// A clock that does not advance until it is set.
class SetClock final : public Clock {
 public:
  double now() const override { return now_; }
  void wait(double seconds, std::stop_token) override { now_ += seconds; }
  void set(double now) { now_ = now; }

 private:
  double now_ = 0;
};

RowGroup group_of(std::uint64_t count) {
  RowGroup group;
  group.relaxations.count = count;
  return group;
}
}  // namespace

TEST_CASE("groups are written in order, and one at a time: who hands over the next waits") {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false, begun = false, second_given = false;
  std::vector<std::uint64_t> written;
  {
    GroupThread thread([&](RowGroup& group) {
      std::unique_lock lock(mutex);
      begun = true;
      changed.notify_all();
      changed.wait(lock, [&] { return open; });
      written.push_back(group.relaxations.count);
      group.relaxations.clear();
    });
    RowGroup group = group_of(1);
    thread.hand_over(group);
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return begun; });
    }
    std::thread other([&] {
      RowGroup next = group_of(2);
      thread.hand_over(next);  // the first group is being written
      {
        const std::lock_guard lock(mutex);
        second_given = true;
      }
      CHECK(next.rows() == 0);  // the returned memory is that of the first group, emptied
      next.relaxations.count = 3;
      thread.hand_over(next);
    });
    {
      // If the second group were taken while the first is being written, it would be visible here.
      for (int k = 0; k < 1000; ++k) {
        std::this_thread::yield();
        const std::lock_guard lock(mutex);
        REQUIRE_FALSE(second_given);
      }
      const std::lock_guard lock(mutex);
      open = true;
    }
    changed.notify_all();
    other.join();
    thread.wait();
    CHECK(written == std::vector<std::uint64_t>{1, 2, 3});
    group.relaxations.count = 4;
    thread.hand_over(group);
  }
  // everything handed over is written before the thread ends
  CHECK(written == std::vector<std::uint64_t>{1, 2, 3, 4});
}

TEST_CASE("after a write that fails none is made, nobody waits, and the rows stay where they are") {
  int calls = 0;
  GroupThread thread([&](RowGroup&) {
    ++calls;
    throw LogError("the disk is full");
  });
  RowGroup group = group_of(7);
  thread.hand_over(group);
  thread.wait();
  REQUIRE(thread.failed());
  CHECK(message_of([&] { std::rethrow_exception(thread.failure()); }) == "the disk is full");
  group.relaxations.count = 5;
  thread.hand_over(group);
  thread.wait();
  CHECK(group.relaxations.count == 5);
  CHECK(calls == 1);
}

TEST_CASE("the log's thread takes no signal") {
  sigset_t blocked;
  sigemptyset(&blocked);
  GroupThread thread([&](RowGroup&) { pthread_sigmask(SIG_BLOCK, nullptr, &blocked); });
  RowGroup group = group_of(1);
  thread.hand_over(group);
  thread.wait();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE})
    CHECK(sigismember(&blocked, signal) == 1);
  sigset_t here;
  pthread_sigmask(SIG_BLOCK, nullptr, &here);
  CHECK(sigismember(&here, SIGINT) == 0);
}

TEST_CASE("in the background and by the caller a log has the same bytes") {
  const Folder folder;
  const auto set = small_set();
  const auto make = [&](const std::string& path, bool background) {
    LogOptions options;
    options.background = background;
    options.group_rows = background ? 64 : 32;  // there, a group is half of that
    options.clock = std::make_shared<SetClock>();
    LogWriter log(path, small_header(set), options);
    for (std::uint64_t i = 0; i < 1000; ++i) {
      log.append(drive_of(i, set), relaxation_of(i));
      if (i % 10 == 9) log.append(step_of(i / 10), vector_of({1, 2, static_cast<double>(i)}));
      log.tick();
    }
    log.commit();
  };
  make(folder / "caller.h5", false);
  make(folder / "background.h5", true);
  const LogReader a(folder / "caller.h5"), b(folder / "background.h5");
  REQUIRE(a.rows() == 1000);
  REQUIRE(b.rows() == 1000);
  CHECK(a.steps() == b.steps());
  CHECK(b.damaged_rows().empty());
  for (std::uint64_t i = 0; i < 1000; ++i) check_row(b.row(i), drive_of(i, set), relaxation_of(i));
  // Equal except for the times of start and end, which are real time.
  const std::regex moment("20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z");
  const std::string one = std::regex_replace(bytes_of(folder / "caller.h5"), moment, "?"),
                    two = std::regex_replace(bytes_of(folder / "background.h5"), moment, "?");
  CHECK((one == two));  // megabytes: do not print them
}

TEST_CASE("a group that is old enough is given to the thread by the row that finds it so") {
  const Folder folder;
  const auto set = small_set();
  const auto clock = std::make_shared<SetClock>();
  LogOptions options;
  options.background = true;
  options.group_rows = 1000;
  options.group_age = std::chrono::seconds(2);
  options.clock = clock;
  LogWriter log(folder / "run.h5", small_header(set), options);
  const auto counted = [&] { return LogReader(folder / "run.h5").rows(); };
  append_rows(log, set, 0, 3);
  clock->set(1.9);
  append_rows(log, set, 3, 4);
  log.tick();
  CHECK(counted() == 0);  // nothing was handed over, so nothing can have been written
  clock->set(2.1);
  append_rows(log, set, 4, 5);
  log.tick();
  append_rows(log, set, 5, 6);
  // Handing over the next group waits for the one before: then the first is counted.
  log.submit();
  CHECK(counted() >= 5);
  log.commit();
  CHECK(counted() == 6);
}

TEST_CASE("several logs are written at once, each by its own thread") {
  const Folder folder;
  const auto set = small_set();
  LogOptions options;
  options.background = true;
  options.group_rows = 20;
  {
    LogWriter a(folder / "a.h5", small_header(set), options), b(folder / "b.h5", small_header(set), options);
    for (std::uint64_t i = 0; i < 500; ++i) {
      append_rows(a, set, i, i + 1);
      a.tick();
      append_rows(b, set, 2 * i, 2 * i + 1);
      b.tick();
      if (i % 100 == 50) CHECK(LogReader(folder / "a.h5").rows() <= i + 1);  // read while both write
    }
    a.close(ExitStatus::finished, "");
    b.close(ExitStatus::finished, "");
  }
  const LogReader a(folder / "a.h5"), b(folder / "b.h5");
  REQUIRE(a.rows() == 500);
  REQUIRE(b.rows() == 500);
  CHECK(a.damaged_rows().empty());
  CHECK(b.damaged_rows().empty());
  for (std::uint64_t i = 0; i < 500; i += 13) {
    check_row(a.row(i), drive_of(i, set), relaxation_of(i));
    check_row(b.row(i), drive_of(2 * i, set), relaxation_of(2 * i));
  }
}
