// Sessions of drivers to emulated instruments in virtual time: overlapping measurements take the maximum of
// their times, a timeout takes its own time, and a Prologix between them changes nothing.
#include "ness/emulators/models.hpp"
#include "ness/emulators/virtual_time.hpp"

#include <catch2/catch.hpp>

#include "ness/protocols/errors.hpp"
#include "ness/protocols/prologix.hpp"
#include "ness/protocols/session.hpp"

using namespace ness;
using namespace ness::sim;
using protocols::Milliseconds;
using protocols::Session;

namespace {

std::unique_ptr<Circuit> star(std::uint32_t rays) {
  NetworkSpec spec;
  spec.graph.nodes = {{"hub", true, 0}};
  for (std::uint32_t k = 1; k <= rays; ++k) {
    spec.graph.nodes.push_back({"ray" + std::to_string(k), false, 1});
    spec.graph.edges.push_back({0, k, 1});
    spec.edges.push_back({Law::linear, {1}});
  }
  spec.graph.outputs = {1};
  spec.nodes.resize(rays + 1);
  return std::make_unique<Circuit>(spec, CircuitScale{0.1, 2.5e-6, 1}, std::vector<double>(rays + 1, 1e-9));
}

// A link with the capacity of one piece per direction. Writing more than fits, or reading when nothing is
// there, would block forever, because both ends are in the same thread.
struct Tube {
  std::string up, down;
  int opened = 0, accepted = 0;
  std::size_t longest = 0;
  void put(std::string& into, std::string_view bytes) {
    into += bytes;
    longest = std::max(longest, into.size());
    if (into.size() > FarEnd::piece) throw std::logic_error("the link is full");
  }
};
class NearEnd final : public protocols::Transport {
 public:
  explicit NearEnd(std::shared_ptr<Tube> tube) : tube_(std::move(tube)) {}
  const std::string& address() const override { return address_; }
  void open(Milliseconds) override {
    ++tube_->opened;
    open_ = true;
  }
  void close() noexcept override { open_ = false; }
  bool is_open() const override { return open_; }
  void write(std::string_view bytes, Milliseconds) override { tube_->put(tube_->up, bytes); }
  // A few bytes at a time, as on a serial line.
  std::size_t read(std::span<char> into, Milliseconds) override {
    if (tube_->down.empty()) throw std::logic_error("nothing will ever come");
    const std::size_t n = std::min({into.size(), tube_->down.size(), std::size_t{7}});
    std::copy_n(tube_->down.begin(), n, into.begin());
    tube_->down.erase(0, n);
    return n;
  }

 private:
  std::shared_ptr<Tube> tube_;
  std::string address_ = "tube";
  bool open_ = false;
};
class OtherEnd final : public FarEnd {
 public:
  explicit OtherEnd(std::shared_ptr<Tube> tube) : tube_(std::move(tube)) {}
  void accept() override {
    tube_->up.clear();
    tube_->down.clear();
    ++tube_->accepted;
  }
  void receive(std::size_t count, std::string& into) override {
    if (count > tube_->up.size()) throw std::logic_error("nothing will ever come");
    into += tube_->up.substr(0, count);
    tube_->up.erase(0, count);
  }
  void send(std::string_view bytes) override { tube_->put(tube_->down, bytes); }

 private:
  std::shared_ptr<Tube> tube_;
};

}  // namespace

TEST_CASE("a link between is never full, never empty, and changes neither replies nor times",
          "[virtual-time]") {
  const auto conversation = [](const std::shared_ptr<Tube>& tube) {
    auto bench = std::make_shared<EmulatedBench>(star(1));
    EmulatedInstrument& daq = bench->add(
        emulated_keysight_daq970a(bench->circuit(), {{101, bench->circuit().attach(1, 1)}}, Imperfection()));
    auto transport = tube ? virtual_time_transport(bench, daq, "daq", std::make_unique<NearEnd>(tube),
                                                   std::make_unique<OtherEnd>(tube), 1e4)
                          : virtual_time_transport(bench, daq, "daq", 1e4);
    Session session(std::move(transport), {});
    std::vector<std::pair<double, std::string>> said;
    const auto ask = [&](const std::string& query) {
      std::string reply = session.query(query, Milliseconds(100000));
      said.emplace_back(bench->time(), std::move(reply));
    };
    ask("*IDN?");
    session.write("CONF:VOLT:DC 1,(@101);:TRIG:COUN 300;:VOLT:DC:NPLC 0.02,(@101)");
    ask("READ?");
    std::string message = "*CLS";
    while (message.size() < 5000) message += ";*ESE 8";
    ask(message + ";*ESE?");
    session.write("TRIG:COUN 3000");
    CHECK_THROWS_AS(session.query("READ?"), Timeout);
    pass_time(*bench, 60);
    ask("*IDN?");
    if (tube) {
      CHECK(session.openings() == 2);
      CHECK(tube->opened == 2);
      CHECK(tube->accepted == 2);
      CHECK(tube->longest == FarEnd::piece);
      CHECK((tube->up.empty() && tube->down.empty()));
    }
    return said;
  };
  const auto with = conversation(std::make_shared<Tube>()), without = conversation(nullptr);
  CHECK(with.at(1).second.size() > 4 * FarEnd::piece);
  CHECK(with == without);
}

TEST_CASE("eight measurements side by side take the time of one", "[virtual-time]") {
  auto bench = std::make_shared<EmulatedBench>(star(8));
  std::vector<std::unique_ptr<Session>> sessions;
  for (std::uint32_t k = 1; k <= 8; ++k) {
    EmulatedInstrument& meter = bench->add(
        emulated_keysight_34461a(bench->circuit(), bench->circuit().attach(k, 1), Imperfection::none()));
    sessions.push_back(std::make_unique<Session>(
        virtual_time_transport(bench, meter, "meter" + std::to_string(k)), protocols::SessionOptions{}));
    sessions.back()->write("CONF:VOLT:DC 10;:VOLT:DC:NPLC 0.2;:VOLT:DC:ZERO:AUTO OFF");
    sessions.back()->wait_complete();
  }
  const double begin = bench->time();
  sessions[0]->query("READ?");
  const double one = bench->time() - begin;
  CHECK(one > 4e-3);  // 0.2 NPLC at 50 Hz
  const double together = bench->time();
  for (auto& session : sessions) session->ask("READ?");
  for (auto& session : sessions) session->receive();
  CHECK(bench->time() - together < 1.01 * one);
  const double apart = bench->time();
  for (auto& session : sessions) session->query("READ?");
  CHECK(bench->time() - apart == Approx(8 * one).epsilon(0.01));
}

TEST_CASE("in virtual time a timeout takes its own time, and the session opens again", "[virtual-time]") {
  auto bench = std::make_shared<EmulatedBench>(star(1));
  EmulatedInstrument& meter = bench->add(
      emulated_keysight_34461a(bench->circuit(), bench->circuit().attach(1, 1), Imperfection::none()));
  Session session(virtual_time_transport(bench, meter, "meter"), {});
  session.write("VOLT:DC:NPLC 100;:SAMP:COUN 10");  // 40 s
  const double begin = bench->time();
  CHECK_THROWS_AS(session.query("READ?"), Timeout);
  CHECK(bench->time() - begin == Approx(2).margin(1e-3));
  CHECK_FALSE(session.is_open());
  // After reopening, the late reply is not taken as the next one.
  pass_time(*bench, 60);
  CHECK(session.identity().find("34461A") != std::string::npos);
  CHECK(session.query("READ?", Milliseconds(60000)).find(',') != std::string::npos);
}

TEST_CASE("a serial line takes ten bits a character", "[virtual-time]") {
  auto bench = std::make_shared<EmulatedBench>(star(1));
  EmulatedInstrument& smu = bench->add(
      emulated_keithley_2400(bench->circuit(), bench->circuit().attach(0, 1), Imperfection::none()));
  Session session(virtual_time_transport(bench, smu, "smu", 960), {});
  const double begin = bench->time();
  const std::string identity = session.query("*IDN?");
  // plus 2 ms for the command
  CHECK(bench->time() - begin == Approx((6 + identity.size() + 1) / 960.0 + 2e-3).margin(1e-9));
}

TEST_CASE("a Prologix stands between sessions and instruments", "[virtual-time][prologix]") {
  auto bench = std::make_shared<EmulatedBench>(star(1));
  EmulatedInstrument& smu = bench->add(
      emulated_keithley_2400(bench->circuit(), bench->circuit().attach(0, 1), Imperfection::none()));
  EmulatedInstrument& meter = bench->add(
      emulated_agilent_34401a(bench->circuit(), bench->circuit().attach(1, 1), Imperfection::none()));
  EmulatedInstrument& box = bench->add(emulated_prologix({{24, &smu}, {22, &meter}}));
  protocols::PrologixController controller(virtual_time_transport(bench, box, "prologix"), {});
  Session source(controller.instrument({0, 24, std::nullopt}), {}),
      voltmeter(controller.instrument({0, 22, std::nullopt}), {});
  CHECK(source.identity().find("MODEL 2400") != std::string::npos);
  CHECK(voltmeter.identity().find("34401A") != std::string::npos);
  CHECK(controller.version().find("Prologix") == 0);
  source.write("*RST;:SENS:CURR:PROT 1E-3;:SOUR:VOLT 0.5;:SENS:FUNC:ALL;:FORM:ELEM VOLT,CURR;:OUTP ON");
  voltmeter.write("INP:IMP:AUTO ON");
  // Both are started, then both are read; the multimeter takes longer than the controller's 3 s.
  voltmeter.write("CONF:VOLT:DC 1;:VOLT:DC:NPLC 100");
  source.ask(":READ?");
  const auto volts_amperes = protocols::parse_numbers(source.receive());
  CHECK(volts_amperes.at(0) == Approx(0.5).margin(1e-6));
  CHECK(voltmeter.query_number("READ?", Milliseconds(20000)) == Approx(0.5).margin(5e-6));
  // All queries were in turn: no -410, no -420.
  CHECK(source.drain_errors().empty());
  CHECK(voltmeter.drain_errors().empty());
  // An address without instrument is silent.
  Session nobody(controller.instrument({0, 9, std::nullopt}), {});
  CHECK_THROWS_AS(nobody.query("*IDN?"), Timeout);
  CHECK(source.query(":OUTP?") == "1");
  CHECK(source.status_byte() == 0);
}
