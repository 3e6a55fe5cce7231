#include "ness/protocols/prologix.hpp"

#include <catch2/catch.hpp>
#include <map>

#include "ness/protocols/errors.hpp"
#include "ness/protocols/session.hpp"

using namespace ness;
using namespace ness::protocols;

namespace {

// A controller according to its manual, with instruments that answer "?" messages with "<address>:<message>"
// after `silent` reads without answer.
class Controller final : public MemoryPeer {
 public:
  std::vector<std::string> settings, heard;
  std::map<std::string, std::string> waiting;  // address: reply
  std::string address = "0", out;
  int silent = 0, reads = 0, clears = 0;

  void receive(std::string_view bytes) override {
    std::string data;
    bool escaped = false;
    bool plain = bytes.starts_with("++");
    for (const char c : bytes) {
      if (escaped) {
        data += c;
        escaped = false;
      } else if (c == 27) {
        escaped = true;
      } else if (c != '\r' && c != '\n') {
        data += c;
      }
    }
    if (!plain) {
      heard.push_back(address + '<' + data);
      if (data.find('?') != std::string::npos) waiting[address] = address + ':' + data + '\n';
    } else if (data.starts_with("++addr ")) {
      address = data.substr(7);
    } else if (data == "++read eoi") {
      ++reads;
      if (silent > 0) --silent;
      else out += std::exchange(waiting[address], "");
    } else if (data == "++clr") {
      ++clears;
      waiting[address].clear();
    } else if (data == "++spoll") {
      out += waiting[address].empty() ? "0\r\n" : "16\r\n";
    } else if (data == "++ver") {
      out += "Prologix GPIB-ETHERNET Controller version 01.06.06.00\r\n";
    } else if (data == "++srq") {
      out += "0\r\n";
    } else {
      settings.push_back(data);
    }
  }
  std::string send() override { return std::exchange(out, ""); }
};

struct Fixture {
  std::shared_ptr<Controller> controller = std::make_shared<Controller>();
  PrologixController prologix{memory_transport("PRLGX", controller), Timeouts{}};
};

}  // namespace

TEST_CASE("instruments behind a Prologix are addressed, escaped and read on request", "[prologix]") {
  Fixture f;
  Session a(f.prologix.instrument({0, 5, std::nullopt}), {}),
      b(f.prologix.instrument({0, 9, std::uint8_t{96}}), {});
  CHECK(a.query("*IDN?") == "5:*IDN?");
  CHECK(b.query("A+B?") == "9 96:A+B?");
  a.write("VOLT +1");
  CHECK(f.controller->heard == std::vector<std::string>{"5<*IDN?", "9 96<A+B?", "5<VOLT +1"});
  // The settings that a controller needs, with the flash disabled first, and never reading by itself.
  CHECK(f.controller->settings == std::vector<std::string>{"++savecfg 0", "++mode 1", "++auto 0",
                                                           "++read_tmo_ms 3000", "++eos 2", "++eoi 1",
                                                           "++eot_enable 0"});
  CHECK(f.controller->reads == 2);
  CHECK(f.prologix.version().find("GPIB-ETHERNET") != std::string::npos);
  CHECK_FALSE(f.prologix.service_requested());
}

TEST_CASE("replies of two instruments are asked for, then received from each", "[prologix]") {
  Fixture f;
  Session a(f.prologix.instrument({0, 5, std::nullopt}), {}),
      b(f.prologix.instrument({0, 6, std::nullopt}), {});
  a.ask("READ?");
  b.ask("READ?");
  CHECK(a.receive() == "5:READ?");
  CHECK(b.receive() == "6:READ?");
}

TEST_CASE("a read longer than the controller waits is asked for again", "[prologix]") {
  Fixture f;
  f.controller->silent = 2;
  Session a(f.prologix.instrument({0, 5, std::nullopt}), {});
  CHECK(a.query("READ?", Milliseconds(20000)) == "5:READ?");
  CHECK(f.controller->reads == 3);
}

TEST_CASE("serial poll and device clear go through the controller", "[prologix]") {
  Fixture f;
  Session a(f.prologix.instrument({0, 5, std::nullopt}), {});
  CHECK(a.status_byte() == 0);
  a.ask("READ?");
  a.clear();
  CHECK(f.controller->clears == 1);
  CHECK(a.query("*IDN?") == "5:*IDN?");
  CHECK(a.openings() == 1);
}

TEST_CASE("a timeout at one instrument closes the controller's link, and each opens it again", "[prologix]") {
  Fixture f;
  Session a(f.prologix.instrument({0, 5, std::nullopt}), {}),
      b(f.prologix.instrument({0, 6, std::nullopt}), {});
  CHECK(b.query("*IDN?") == "6:*IDN?");
  f.controller->silent = 100;
  CHECK_THROWS_AS(a.query("READ?"), Timeout);
  CHECK_FALSE(a.is_open());
  CHECK_FALSE(b.is_open());
  f.controller->silent = 0;
  f.controller->waiting.clear();
  CHECK(b.query("*IDN?") == "6:*IDN?");
  CHECK(b.openings() == 2);
  CHECK(a.query("*IDN?") == "5:*IDN?");
}
