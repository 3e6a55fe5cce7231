#include "ness/protocols/session.hpp"

#include <catch2/catch.hpp>
#include <deque>

#include "protocols/ends.hpp"
#include "ness/protocols/errors.hpp"

using namespace ness;
using namespace ness::protocols;

namespace {

// A scripted exchange: each message must be the next expected one; replies arrive in the given pieces.
// Expected messages that never come also fail the test.
class Script final : public MemoryPeer {
 public:
  Script& expect(const std::string& message, std::deque<std::string> pieces = {}) {
    script_.push_back({message, std::move(pieces)});
    return *this;
  }
  void receive(std::string_view bytes) override {
    REQUIRE_FALSE(script_.empty());
    CHECK(std::string(bytes) == script_.front().message);
    for (const std::string& piece : script_.front().pieces) ready_.push_back(piece);
    script_.pop_front();
  }
  std::string send() override {
    if (ready_.empty()) return {};
    std::string piece = ready_.front();
    ready_.pop_front();
    return piece;
  }
  bool finished() const { return script_.empty() && ready_.empty(); }

 private:
  struct Line {
    std::string message;
    std::deque<std::string> pieces;
  };
  std::deque<Line> script_;
  std::deque<std::string> ready_;
};

struct Scripted {
  std::shared_ptr<Script> script = std::make_shared<Script>();
  Session session;
  explicit Scripted(SessionOptions options = {})
      : session(memory_transport("MEMORY", script), std::move(options)) {}
};

}  // namespace

TEST_CASE("a session writes messages and reads replies, whatever pieces they come in", "[session]") {
  Scripted s;
  s.script->expect("*RST\n")
      .expect("*IDN?\n", {"KEITH", "LEY,24", "00,1,C30\r", "\n"})
      .expect("A?\n", {"1\n"});
  s.session.write("*RST");
  CHECK(s.session.identity() == "KEITHLEY,2400,1,C30");
  CHECK(s.session.query("A?") == "1");
  CHECK(s.script->finished());
  CHECK(s.session.openings() == 1);
}

TEST_CASE("several queries may be asked before the first reply is received", "[session]") {
  Scripted s;
  s.script->expect("A?\n", {"1\n2"}).expect("B?\n", {"\n"});
  s.session.ask("A?");
  s.session.ask("B?");
  CHECK(s.session.receive() == "1");
  CHECK(s.session.receive() == "2");
  CHECK_THROWS_AS(s.session.receive(), std::logic_error);
}

TEST_CASE("numbers are read as instruments write them, and nothing else is a number", "[session]") {
  CHECK(parse_number("+1.000206E+00") == 1.000206);
  CHECK(parse_number(" -5e-3\r") == -5e-3);
  CHECK(parse_number("+9.910000E+37") == 9.91e37);
  CHECK(parse_numbers("+1.0E+00, -2,3.5") == std::vector<double>{1, -2, 3.5});
  for (const char* text : {"", "x", "1x", "1 2", "nan", "inf", "-inf", "+-1", "1e999", "0x10"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_number(text), std::invalid_argument);
  }
  CHECK_THROWS_AS(parse_numbers("1,,2"), std::invalid_argument);
  Scripted s;
  s.script->expect("READ?\n", {"+1.0E-03,+2.0E-03\n"}).expect("READ?\n", {"1\n"}).expect("V?\n", {"VOLT\n"});
  CHECK(s.session.query_numbers("READ?", 2) == std::vector<double>{1e-3, 2e-3});
  CHECK_THROWS_WITH(s.session.query_numbers("READ?", 2), Catch::Contains("MEMORY") &&
                                                             Catch::Contains("'READ?'") &&
                                                             Catch::Contains("expected 2 numbers, 1 came") &&
                                                             Catch::Contains("the reply was '1'"));
  CHECK_THROWS_AS(s.session.query_number("V?"), InstrumentError);
}

TEST_CASE("blocks are read by their length, line feeds within and all", "[session]") {
  Scripted s;
  s.script->expect("A?\n", {"#", "15a\nb\n", "c\n"})
      .expect("B?\n", {"#214(@101,102,103)\r\n"})
      .expect("C?\n", {"#0\n\n\n\n\n"})
      .expect("D?\n", {"#10\n"});
  CHECK(s.session.query_block("A?") == "a\nb\nc");
  CHECK(s.session.query_block("B?") == "(@101,102,103)");
  CHECK(s.session.query_block("C?", 4) == "\n\n\n\n");
  CHECK(s.session.query_block("D?").empty());
  s.script->expect("E?\n", {"1\n"});
  CHECK_THROWS_AS(s.session.query_block("E?"), InstrumentError);
  s.script->expect("F?\n", {"#12ab,\n"});
  CHECK_THROWS_WITH(s.session.query_block("F?"), Catch::Contains("after the block"));
  CHECK_FALSE(s.session.is_open());
  s.script->expect("G?\n", {"#9999999999\n"});
  CHECK_THROWS_WITH(s.session.query_block("G?"), Catch::Contains("announces 1000000010 bytes"));
}

TEST_CASE("after a timeout the link is closed and opened again: a late reply never answers the next query",
          "[session]") {
  ends::Listener listener;
  SessionOptions options;
  options.timeouts.first_reply = Milliseconds(30);
  std::vector<std::string> transcript;
  options.transcript = [&](const Exchange& e) {
    transcript.push_back(std::to_string(static_cast<int>(e.kind)) + ' ' + std::string(e.text));
  };
  Session session(socket_transport({0, "127.0.0.1", listener.port()}), options);
  session.open();
  ends::End first = listener.accept();
  CHECK_THROWS_MATCHES(session.query("SLOW?"), Timeout,
                       Catch::Matchers::Predicate<const Timeout&>(
                           [](const Timeout& t) {
                             return std::string(t.what()).find("no complete reply to 'SLOW?' in 30 ms") !=
                                    std::string::npos;
                           },
                           "says which query"));
  CHECK_FALSE(session.is_open());
  CHECK(first.take(6) == "SLOW?\n");
  first.say("stale\n");  // the client has closed
  session.ask("FAST?");
  ends::End second = listener.accept();
  CHECK(second.take(6) == "FAST?\n");
  second.say("fresh\n");
  CHECK(session.receive(Milliseconds(10000)) == "fresh");
  CHECK(session.openings() == 2);
  REQUIRE(transcript.size() == 7);  // opened, sent, failed, closed, opened, sent, received
  CHECK(transcript[1] == "1 SLOW?");
  CHECK(transcript[3] == "3 ");
}

TEST_CASE("a serial line has no connection that could end: late replies are dropped before the next query",
          "[session]") {
  class Line final : public Transport {  // a memory transport that keeps bytes sent to it while it was closed
   public:
    explicit Line(std::shared_ptr<MemoryPeer> peer) : inner_(memory_transport("LINE", std::move(peer))) {}
    const std::string& address() const override { return inner_->address(); }
    void open(Milliseconds limit) override { inner_->open(limit); }
    void close() noexcept override { inner_->close(); }
    bool is_open() const override { return inner_->is_open(); }
    void write(std::string_view message, Milliseconds limit) override { inner_->write(message, limit); }
    std::size_t read(std::span<char> into, Milliseconds limit) override { return inner_->read(into, limit); }
    bool keeps_late_replies() const override { return true; }

   private:
    std::unique_ptr<Transport> inner_;
  };
  auto script = std::make_shared<Script>();
  Session session(std::make_unique<Line>(script), SessionOptions{});
  script->expect("READ?\n");
  CHECK_THROWS_AS(session.query("READ?"), Timeout);
  // The earlier measurement arrives before the identity, in two pieces, with an empty line.
  script
      ->expect("*IDN?\n",
               {"+1.0E+00,+2.0E", "-06,+1.4E+04,+0\n\r\nKEITHLEY INSTRUMENTS INC.,MODEL 2400,1,C30\n"})
      .expect("A?\n", {"7\n"});
  CHECK(session.query("A?") == "7");
  CHECK(script->finished());
  // Nothing was lost this time, so there is no additional query.
  session.close();
  script->expect("B?\n", {"8\n"});
  CHECK(session.query("B?") == "8");
  // An instrument that does not identify itself is not usable again.
  script->expect("C?\n").expect("*IDN?\n", {"+1\n"});
  CHECK_THROWS_AS(session.query("C?"), Timeout);
  CHECK_THROWS_AS(session.query("D?"), Timeout);
  CHECK_FALSE(session.is_open());
  // The late answer to the *IDN? that timed out is not taken as the answer to the next.
  script->expect("*IDN?\n", {"A,B,0,1\n", "A,B,0,1\n"}).expect("D?\n", {"9\n"});
  CHECK(session.query("D?") == "9");
  CHECK(script->finished());
  // If it never comes, a timeout shows that.
  script->expect("*IDN?\n").expect("*IDN?\n", {"A,B,0,1\n"}).expect("E?\n", {"10\n"});
  CHECK_THROWS_AS(session.identity(), Timeout);
  CHECK(session.query("E?") == "10");
  // Another program may have been killed while it waited: a session that inherits the line sends *IDN? at
  // once.
  SessionOptions inheriting;
  inheriting.inherits = true;
  Session heir(std::make_unique<Line>(script), inheriting);
  script->expect("*IDN?\n", {"+3.0E-01\n", "A,B,0,1\n"}).expect("F?\n", {"11\n"});
  CHECK(heir.query("F?") == "11");
  CHECK(script->finished());
}

TEST_CASE("a reply that stops halfway is a timeout that shows what came", "[session]") {
  Scripted s;
  s.script->expect("A?\n", {"+1.2"});
  CHECK_THROWS_WITH(s.session.query("A?"), Catch::Contains("'+1.2' had come"));
  CHECK_FALSE(s.session.is_open());
}

TEST_CASE("what comes unasked closes the link", "[session]") {
  Scripted s;
  s.script->expect("A?\n", {"1\n2\n"});
  CHECK(s.session.query("A?") == "1");
  CHECK_THROWS_WITH(s.session.query("B?"), Catch::Contains("came unasked"));
  CHECK_FALSE(s.session.is_open());
  s.script->expect("B?\n", {"3\n"});
  CHECK(s.session.query("B?") == "3");
}

TEST_CASE("a reply without an end is cut at the longest allowed", "[session]") {
  SessionOptions options;
  options.longest_reply = 1000;
  Scripted s(options);
  s.script->expect("A?\n", {std::string(600, 'x'), std::string(600, 'x')});
  CHECK_THROWS_WITH(s.session.query("A?"), Catch::Contains("exceeds 1000 bytes"));
}

TEST_CASE("the error queue is drained once, to its end", "[session]") {
  Scripted s;
  s.script->expect("SYST:ERR?\n", {"-113,\"Undefined header;VOLTA 1\"\n"})
      .expect("SYST:ERR?\n", {"+822,\"Too small for sense range\"\n"})
      .expect("SYST:ERR?\n", {"0, \"No error\"\n"});
  const auto errors = s.session.drain_errors();
  CHECK(errors ==
        std::vector<QueuedError>{{-113, "Undefined header;VOLTA 1"}, {822, "Too small for sense range"}});
  CHECK(s.script->finished());
  s.script->expect("SYST:ERR?\n", {"nonsense\n"});
  CHECK_THROWS_AS(s.session.drain_errors(), InstrumentError);
}

TEST_CASE("status byte and completion", "[session]") {
  Scripted s;
  s.script->expect("*STB?\n", {"+64\n"})
      .expect("*OPC?\n", {"1\n"})
      .expect("*STB?\n", {"256\n"})
      .expect("*OPC?\n", {"0\n"});
  CHECK(s.session.status_byte() == 64);
  s.session.wait_complete();
  CHECK_THROWS_AS(s.session.status_byte(), InstrumentError);
  CHECK_THROWS_AS(s.session.wait_complete(), InstrumentError);
}

TEST_CASE("misuse of a session is refused", "[session]") {
  Scripted s;
  CHECK_THROWS_AS(s.session.write("A\nB"), std::invalid_argument);
  CHECK_THROWS_AS(Session(nullptr, {}), std::invalid_argument);
  SessionOptions options;
  options.terminator.clear();
  CHECK_THROWS_AS(Session(memory_transport("M", s.script), options), std::invalid_argument);
}
