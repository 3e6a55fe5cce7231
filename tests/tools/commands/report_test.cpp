// Reports as JSON, and read back. The expected texts are written by hand.
#include "report.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

namespace ness {

TEST_CASE("A report is one line of JSON, in the order of its making", "[report]") {
  Report report;
  report["name"] = "x\"y\n";
  report["loss"] = 0.1;
  report["third"] = 1.0 / 3;
  report["least"] = std::numeric_limits<double>::denorm_min();
  report["whole number"] = 2.0;
  report["most"] = std::numeric_limits<std::uint64_t>::max();
  report["below"] = -3;
  report["yes"] = true;
  report["none"] = std::nan("");
  report["beyond"] = -std::numeric_limits<double>::infinity();
  report["nothing"] = Report();
  report["list"] = std::vector<double>{1.5, std::nan("")};
  report["texts"] = std::vector<std::string>{"a", "b"};
  report["pair"] = Report::list({"a", 1});
  report["empty list"] = Report::list();
  report["empty table"] = Report::table();
  report["rows"].add({{"k", 1u}, {"g", 0.25}});
  report["rows"].add(Report{{"k", 2u}});
  report["deep"]["er"] = false;
  report["loss"] = 0.2;  // keeps its position
  CHECK(report.json() ==
        R"({"name":"x\"y\n","loss":0.2,"third":0.3333333333333333,"least":5e-324,"whole number":2.0,)"
        R"("most":18446744073709551615,"below":-3,"yes":true,)"
        R"("list":[1.5,null],"texts":["a","b"],"pair":["a",1],"empty list":[],"empty table":{},)"
        R"("rows":[{"k":1,"g":0.25},{"k":2}],"deep":{"er":false}})");
}

TEST_CASE("A report is a value", "[report]") {
  Report first{{"a", 1}, {"b", Report::list({1, 2})}};
  Report second = first;
  second["b"].add(3);
  second.add_all({{"a", "changed"}, {"c", 4}});
  CHECK(first.json() == R"({"a":1,"b":[1,2]})");
  CHECK(second.json() == R"({"a":"changed","b":[1,2,3],"c":4})");
  first = std::move(second);
  CHECK(first.json() == R"({"a":"changed","b":[1,2,3],"c":4})");
}

TEST_CASE("A report is read back, and refuses what it is not", "[report]") {
  const Report report{
      {"n", 3u}, {"x", 0.5}, {"no", std::nan("")}, {"t", "text"}, {"l", Report::list({1, 2})}, {"b", true}};
  CHECK(report["n"].count() == 3);
  CHECK(report["n"].number() == 3);
  CHECK(report["x"].number() == 0.5);
  CHECK(std::isnan(report["no"].number()));
  CHECK(report["no"].is_nothing());
  CHECK(report["t"].text() == "text");
  CHECK(report["l"].values().size() == 2);
  CHECK(report["b"].truth());
  CHECK(report.fields().front().name == "n");
  CHECK(report.contains("t"));
  CHECK_FALSE(report.contains("u"));
  CHECK_THROWS_AS(report["u"], std::logic_error);
  CHECK_THROWS_AS(report["t"].count(), std::logic_error);
  CHECK_THROWS_AS(report["x"].text(), std::logic_error);
  CHECK_THROWS_AS(report["t"].values(), std::logic_error);
}

}  // namespace ness
