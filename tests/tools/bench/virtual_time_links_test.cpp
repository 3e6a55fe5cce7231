// Virtual time over real links: every kind of link gives the same replies and times as passing the bytes
// within the process.
#include "ness/bench/virtual_time_links.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "ness/bench/endpoints.hpp"
#include "ness/protocols/errors.hpp"
#include "ness/protocols/session.hpp"
#include "ness/emulators/virtual_time.hpp"

using namespace ness;
using protocols::Milliseconds;
using protocols::Session;

namespace {

// A bench file with one instrument per kind of address, all at one resistor, with noise and errors.
struct Bench {
  std::filesystem::path directory;
  BenchFile file;
  Emulation emulation;
  std::unique_ptr<VirtualTimeLinks> links;

  explicit Bench(bool real) {
    std::string pattern = (std::filesystem::temp_directory_path() / "ness-links-XXXXXX").string();
    directory = ::mkdtemp(pattern.data());
    std::ofstream(directory / "resistor.json") << R"({"nodes": [{"clamped": true}, {}],
    "edges": [{"source": 0, "target": 1, "law": "linear", "G": 1}], "outputs": [1]})";
    std::ofstream(directory / "bench.toml") << R"([instruments.serial]
model = "keithley-2400"
address = "ASRL/dev/ttyUSB0::INSTR"
baud = 57600
[instruments.socket]
model = "keysight-daq970a"
address = "TCPIP0::192.0.2.10::5025::SOCKET"
[instruments.meter]
model = "agilent-34401a"
address = "GPIB0::22::INSTR"
[instruments.other-meter]
model = "keysight-34461a"
address = "GPIB0::23::INSTR"
[wiring.a]
instrument = "serial"
node = 0
[wiring.b]
instrument = "socket"
channel = 101
node = 1
[wiring.c]
instrument = "meter"
node = 1
[wiring.d]
instrument = "other-meter"
node = 1
[emulation]
network = "resistor.json"
)"
                                            << "links = " << (real ? "true\n" : "false\n");
    file = load_bench((directory / "bench.toml").string());
    emulation = emulate(file);
    links = std::make_unique<VirtualTimeLinks>(file, emulation);
  }
  ~Bench() { std::filesystem::remove_all(directory); }
};

// A conversation with all of them: overlapping measurements, long messages and long replies, a query without
// answer, a reopened link. Returns the messages with their times.
std::vector<std::string> conversation(bool real) {
  Bench bench(real);
  std::vector<std::unique_ptr<Session>> sessions;
  for (std::size_t i = 0; i < bench.file.instruments.size(); ++i)
    sessions.push_back(std::make_unique<Session>(bench.links->to(i), protocols::SessionOptions{}));
  Session &source = *sessions[0], &scanner = *sessions[1], &meter = *sessions[2], &other = *sessions[3];
  CHECK((source.address().find("/dev/pts/") != std::string::npos) == real);
  CHECK((scanner.address().find("127.0.0.1") != std::string::npos) == real);
  CHECK((meter.address().find("127.0.0.1") != std::string::npos) == real);
  std::vector<std::string> said;
  const auto note = [&](const std::string& text) {
    char time[40];
    std::snprintf(time, sizeof time, "%a ", bench.emulation.bench->time());
    said.push_back(time + text);
  };
  for (const auto& session : sessions) note(session->identity());
  source.write("*RST;:SENS:CURR:PROT 1E-4;:SENS:FUNC:ALL;:FORM:ELEM VOLT,CURR;:SOUR:VOLT 0.3;:OUTP ON");
  scanner.write("CONF:VOLT:DC 1,(@101);:TRIG:COUN 400;:VOLT:DC:NPLC 0.02,(@101)");
  meter.write("CONF:VOLT:DC 1");
  other.write("CONF:VOLT:DC 1");
  // All started at once; the GPIB instruments share one link and are read one after the other.
  source.ask(":READ?");
  scanner.ask("READ?");
  note(meter.query("READ?", Milliseconds(10000)));
  note(other.query("READ?", Milliseconds(10000)));
  note(source.receive(Milliseconds(10000)));
  const std::string readings = scanner.receive(Milliseconds(60000));
  CHECK(readings.size() > 400 * 15);  // more than the buffer of a pseudo-terminal or of a piece
  note(readings);
  // Messages of many pieces are received whole (8000 bytes at 5760 bytes/s are within a write's 2 s): the
  // queue contains only the one unit that is not a command.
  for (Session* session : {&scanner, &source}) {
    std::string message = "*CLS";
    while (message.size() < 8000) message += ";*ESE 32;*SRE 0";
    session->write(message + ";BOGUS 1");
    note(session->query("*ESE?", Milliseconds(60000)));
    const auto errors = session->drain_errors();
    CHECK(errors.size() == 1);
    note(errors.empty() ? "" : std::to_string(errors[0].number));
  }
  // A late reply on each kind of link: timed out, reopened, and discarded.
  scanner.write("TRIG:COUN 2000");
  meter.write("VOLT:DC:NPLC 100");
  for (Session* session : {&scanner, &meter}) {
    const std::uint64_t before = session->openings();
    CHECK_THROWS_AS(session->query("READ?"), Timeout);
    note("");
    CHECK_FALSE(session->is_open());
    sim::pass_time(*bench.emulation.bench, 60);
    note(session->identity());
    CHECK(session->openings() == before + 1);
  }
  source.close();
  note(source.query(":SOUR:VOLT?"));
  note(other.identity());
  for (const auto& session : sessions) CHECK(session->drain_errors().size() <= 1);
  return said;
}

}  // namespace

TEST_CASE("virtual time over sockets, pseudo-terminals and a Prologix has the bits of virtual time without",
          "[links]") {
  const auto over_links = conversation(true), without = conversation(false);
  CHECK(over_links.size() == without.size());
  CHECK(over_links == without);
}

TEST_CASE("what a client left on a line is not read by the next", "[links]") {
  PseudoTerminal terminal;
  auto link = protocols::serial_transport({terminal.path}, {});
  auto far = far_end(std::move(terminal));
  std::array<char, 64> bytes;
  for (const std::string word : {"first", "second"}) {
    link->open(Milliseconds(1000));
    far->accept();
    link->write(word, Milliseconds(1000));
    std::string heard;
    far->receive(word.size(), heard);
    CHECK(heard == word);
    far->send(word);
    const std::size_t n = link->read(bytes, Milliseconds(1000));
    CHECK(word.starts_with(std::string_view(bytes.data(), n)));
    far->send("left over");
    link->close();
  }
}

TEST_CASE("a far end says which link failed", "[links]") {
  ListeningSocket socket;
  auto link = protocols::socket_transport({0, "127.0.0.1", socket.port()});
  const std::string address = link->address();
  auto far = far_end(std::move(socket));
  link->open(Milliseconds(1000));
  far->accept();
  link->write("abc", Milliseconds(1000));
  link->close();
  std::string heard;
  try {
    far->receive(4, heard);
    FAIL("four bytes of three");
  } catch (const LinkError& error) {
    CHECK(std::string(error.what()).find(address) != std::string::npos);
    CHECK(heard == "abc");
  }
  CHECK_THROWS_AS(far->receive(sim::FarEnd::piece + 1, heard), std::invalid_argument);
}
