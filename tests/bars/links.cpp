// Bars of links in real time. Prints lines of JSON.
//   ness-bar-links overlap ROUNDS MODEL=RESOURCE ..
//     instruments read one by one, and all at once
//   ness-bar-links relaxations N EXPERIMENT BENCH VIRTUAL
//     relaxations of a bench in real time (BENCH), and of the same instruments in virtual time without links
//     (VIRTUAL); the difference is the time of the links
//   ness-bar-links echo
//     prints a port and returns what it receives, until standard input ends
//   ness-bar-links speed PORT ROUNDS QUERIES
//     queries per second of a session there, and of a bare socket with the same bytes
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "ness/files/bench_file.hpp"
#include "ness/drivers/meters.hpp"
#include "ness/drivers/source_meter.hpp"
#include "ness/protocols/connections.hpp"
#include "ness/protocols/session.hpp"
#include "ness/runs/run.hpp"

using namespace ness;

namespace {

using Json = nlohmann::ordered_json;

double wall() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
double processor() {
  timespec t{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

// --- overlap ---------------------------------------------------------------------------------------------

// One instrument of any role, set to measure for 10 ms at 50 Hz.
struct Reader {
  std::string model;
  std::function<void()> arm;
  std::function<double()> fetch;  // volts
};

Reader reader(const std::string& model, const protocols::ResourceName& resource) {
  protocols::Connections connections;
  auto session = std::make_unique<protocols::Session>(connections.to(resource), protocols::SessionOptions{});
  drivers::MeterSettings meter;
  meter.range = 1;
  meter.cycles = 0.2;  // 4 ms
  meter.autozero = false;
  if (model == "keithley-2400") {
    std::shared_ptr<drivers::SourceMeter> source = drivers::keithley_2400(std::move(session));
    drivers::SourceMeterSettings settings;
    settings.cycles = 0.25;  // 5 ms, for each of volts and amperes
    settings.source_delay = 0;
    settings.autozero = false;
    source->connect();
    source->configure(settings);
    source->set_output(true);
    return {model, [source] { source->arm(); }, [source] { return source->fetch().volts; }};
  }
  if (model == "keysight-34970a" || model == "keysight-daq970a") {
    std::shared_ptr<drivers::Scanner> scanner = model == "keysight-34970a"
                                                    ? drivers::keysight_34970a(std::move(session))
                                                    : drivers::keysight_daq970a(std::move(session));
    meter.delay = 1e-3;  // plus 1 ms of its relay and 8 ms of conversion: its autozero is always on
    scanner->connect();
    scanner->configure({101}, meter);
    return {model, [scanner] { scanner->arm(); }, [scanner] { return scanner->fetch().at(0).volts; }};
  }
  std::shared_ptr<drivers::Voltmeter> voltmeter = model == "agilent-34401a"
                                                      ? drivers::agilent_34401a(std::move(session))
                                                      : drivers::keysight_34461a(std::move(session));
  meter.delay = 6e-3;
  voltmeter->connect();
  voltmeter->configure(meter);
  return {model, [voltmeter] { voltmeter->arm(); }, [voltmeter] { return voltmeter->fetch().volts; }};
}

int overlap(int rounds, const std::vector<std::string>& places) {
  std::vector<Reader> readers;
  for (const std::string& place : places)
    readers.push_back(reader(place.substr(0, place.find('=')),
                             protocols::parse_resource_name(place.substr(place.find('=') + 1))));
  std::vector<std::vector<double>> alone(readers.size());
  std::vector<double> together;
  for (int i = -2; i < rounds; ++i) {  // two rounds of warm-up
    for (std::size_t r = 0; r < readers.size(); ++r) {
      const double begin = wall();
      readers[r].arm();
      readers[r].fetch();
      if (i >= 0) alone[r].push_back(wall() - begin);
    }
    const double begin = wall();
    for (const Reader& r : readers) r.arm();
    for (const Reader& r : readers) r.fetch();
    if (i >= 0) together.push_back(wall() - begin);
  }
  double slowest = 0, sum = 0;
  Json each;
  for (std::size_t r = 0; r < readers.size(); ++r) {
    const double one = median(alone[r]);
    slowest = std::max(slowest, one);
    sum += one;
    each.push_back({{"model", readers[r].model}, {"ms", one * 1e3}});
  }
  const double all = median(together);
  std::cout << Json{{"figure", "overlap"},
                    {"instruments", readers.size()},
                    {"rounds", rounds},
                    {"together_ms", all * 1e3},
                    {"slowest_ms", slowest * 1e3},
                    {"sum_ms", sum * 1e3},
                    {"ratio", all / slowest},
                    {"alone", each}}
            << '\n';
  return 0;
}

// --- relaxations -----------------------------------------------------------------------------------------

struct Taken {
  std::vector<double> time, work;  // s: by the device's clock; processor time of this process
};

Taken relax(const Experiment& experiment, const std::string& bench, DeviceKind kind, std::size_t n) {
  Run run = prepare(experiment, load_bench(bench), kind);
  std::vector<Drive> drives;
  for (std::size_t i = 0; i <= n; ++i) {
    Drive drive;
    drive.theta = Parameters::of(run.theta);
    drive.clamp = experiment.task->train.pattern(i % experiment.task->train.size());
    drives.push_back(drive);
  }
  Taken taken;
  double time = 0, work = 0;
  run.device().relax(drives, [&](std::size_t index, const Relaxation& row) {
    if (!row.quality.usable())
      throw std::runtime_error("relaxation " + std::to_string(index) + " is not usable");
    if (index > 0) {  // the first relaxation connects and sets everything
      taken.time.push_back(run.bench.sessions->clock()->now() - time);
      taken.work.push_back(processor() - work);
    }
    time = run.bench.sessions->clock()->now();
    work = processor();
  });
  run.device().make_safe(std::chrono::milliseconds(5000));
  return taken;
}

int relaxations(std::size_t n, const std::string& file, const std::string& bench,
                const std::string& in_virtual_time) {
  const Experiment experiment = load_experiment(file);
  const Taken pure = relax(experiment, in_virtual_time, DeviceKind::emulated, n),
              real = relax(experiment, bench, DeviceKind::bench, n);
  std::vector<double> beyond, work;
  for (std::size_t i = 0; i < n; ++i) {
    beyond.push_back((real.time[i] - pure.time[i]) / real.time[i]);
    work.push_back(real.work[i] / real.time[i]);
  }
  std::cout << Json{{"figure", "relaxations"},
                    {"n", n},
                    {"relaxation_ms", median(real.time) * 1e3},
                    {"instruments_ms", median(pure.time) * 1e3},
                    {"beyond_instruments", median(beyond)},
                    {"client_processor", median(work)}}
            << '\n';
  return 0;
}

// --- raw speed -------------------------------------------------------------------------------------------

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

void no_delay(int descriptor) {
  const int on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int echo() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* general = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener, general, length) != 0 || ::listen(listener, 8) != 0 ||
      ::getsockname(listener, general, &length) != 0)
    fail("no port to listen on");
  std::cout << ntohs(address.sin_port) << std::endl;
  std::thread([listener] {
    for (;;) {
      const int client = ::accept(listener, nullptr, nullptr);
      if (client < 0) continue;
      no_delay(client);
      std::thread([client] {
        char bytes[4096];
        for (ssize_t n; (n = ::recv(client, bytes, sizeof bytes, 0)) > 0;) {
          if (::send(client, bytes, static_cast<std::size_t>(n), MSG_NOSIGNAL) != n) break;
        }
        ::close(client);
      }).detach();
    }
  }).detach();
  std::string line;
  while (std::getline(std::cin, line)) {}
  ::_exit(0);
}

int speed(std::uint16_t port, int rounds, int queries) {
  const std::string query = "*IDN?", message = query + '\n';
  protocols::Session session(protocols::socket_transport({0, "127.0.0.1", port}), {});
  session.open();
  const int bare = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (::connect(bare, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail("no connection");
  no_delay(bare);
  const auto by_session = [&] {
    for (int i = 0; i < queries; ++i) {
      if (session.query(query) != query) throw std::runtime_error("the echo is none");
    }
  };
  const auto by_socket = [&] {
    char bytes[4096];
    for (int i = 0; i < queries; ++i) {
      if (::send(bare, message.data(), message.size(), 0) != static_cast<ssize_t>(message.size()))
        fail("sending failed");
      for (std::size_t had = 0; had < message.size();) {
        const ssize_t n = ::recv(bare, bytes + had, sizeof bytes - had, 0);
        if (n <= 0) fail("receiving failed");
        had += static_cast<std::size_t>(n);
      }
      if (std::string_view(bytes, message.size()) != message) throw std::runtime_error("the echo is none");
    }
  };
  std::vector<double> ratios, sessions, sockets;
  for (int i = -2; i < rounds; ++i) {
    // The order alternates from pair to pair.
    double took[2] = {0, 0};
    for (const int which : {i & 1, 1 - (i & 1)}) {
      const double begin = wall();
      which == 0 ? by_session() : by_socket();
      took[which] = wall() - begin;
    }
    if (i < 0) continue;
    sessions.push_back(queries / took[0]);
    sockets.push_back(queries / took[1]);
    ratios.push_back(took[1] / took[0]);
  }
  ::close(bare);
  std::cout << Json{{"figure", "speed"},
                    {"rounds", rounds},
                    {"queries", queries},
                    {"session_per_s", median(sessions)},
                    {"socket_per_s", median(sockets)},
                    {"ratio", median(ratios)}}
            << '\n';
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const auto is = [&](const char* name, std::size_t least) {
    return !words.empty() && words[0] == name && words.size() > least;
  };
  try {
    if (is("overlap", 2)) return overlap(std::stoi(words[1]), {words.begin() + 2, words.end()});
    if (is("relaxations", 4)) return relaxations(std::stoul(words[1]), words[2], words[3], words[4]);
    if (is("echo", 0)) return echo();
    if (is("speed", 3))
      return speed(static_cast<std::uint16_t>(std::stoul(words[1])), std::stoi(words[2]),
                   std::stoi(words[3]));
  } catch (const std::exception& error) {
    std::cerr << "ness-bar-links: " << error.what() << '\n';
    return 1;
  }
  std::cerr << "ness-bar-links: expected overlap ROUNDS MODEL=RESOURCE .., relaxations N EXPERIMENT BENCH "
               "VIRTUAL, echo, or speed PORT ROUNDS QUERIES\n";
  return 2;
}
