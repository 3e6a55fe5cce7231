#include "ness/files/differences.hpp"

#include <catch2/catch.hpp>

#include "ness/device/error.hpp"

namespace ness {

namespace {
std::vector<std::string> texts(const std::string& then, const std::string& now) {
  std::vector<std::string> all;
  for (const Difference& one : differences(then, now, "bench.toml")) all.push_back(one.text());
  return all;
}
}  // namespace

TEST_CASE("two files differ by their keys, not by their layout", "[differences]") {
  CHECK(texts("a = 1.0\n[t]\nx = [1, 2]  # two\ny = 'z'\n", "[t]\ny = \"z\"\nx = [1,2]\n[u]\n").size() == 1);
  CHECK(texts("a = 0.1", "# comment\na = 1e-1\n").empty());
  CHECK(texts("[s]\na = 1\nb = 2\n", "[s]\nb = 3\nc = 'd'\n") ==
        std::vector<std::string>{"s.a: 1 then, nothing now", "s.b: 2 then, 3 now",
                                 "s.c: nothing then, \"d\" now"});
  // Numbers to the last bit, kinds of numbers, entries of arrays, names that need quotes.
  CHECK(texts("a = 0.1", "a = 0.10000000000000002") ==
        std::vector<std::string>{"a: 0.1 then, 0.10000000000000002 now"});
  CHECK(texts("a = 1", "a = 1.0") == std::vector<std::string>{"a: 1 then, 1.0 now"});
  CHECK(texts("a = [1, 2]", "a = [2, 1]") == std::vector<std::string>{"a: [1, 2] then, [2, 1] now"});
  CHECK(texts("[\"x y\"]\na = 1", "") == std::vector<std::string>{"\"x y\".a: 1 then, nothing now"});
  CHECK_THROWS_AS(differences("a = ", "a = 1", "bench.toml"), FileError);
}

TEST_CASE("a network in an experiment is compared number by number", "[differences]") {
  const auto text = [](const std::string& json) { return "seed = 1\n[network]\njson = '" + json + "'\n"; };
  const auto said = [&](const std::string& then, const std::string& now) {
    std::vector<std::string> all;
    for (const Difference& one : experiment_differences(then, now, "e.toml")) all.push_back(one.text());
    return all;
  };
  const std::string network = R"({"nodes": [{}, {"g": 1}], "edges": [{"a": 0.4, "law": "linear"}]})";
  CHECK(said(text(network), text(R"({"edges":[{"law":"linear","a":0.4}],"nodes":[{},{"g":1}]})")).empty());
  CHECK(said(text(network), text(R"({"nodes": [{}, {"g": 2}], "edges": [{"a": 0.5, "law": "linear"}]})")) ==
        std::vector<std::string>{"network.json.edges.0.a: 0.4 then, 0.5 now",
                                 "network.json.nodes.1.g: 1 then, 2 now"});
  std::string many = "[0", others = "[1";
  for (int i = 1; i < 9; ++i) many += ", 0", others += ", 1";
  CHECK(said(text(many + "]"), text(others + "]")) ==
        std::vector<std::string>{"network.json (0, the first of 9 values): 0 then, 1 now"});
  CHECK(said("seed = 1\n", text(network)) ==
        std::vector<std::string>{"network.json: nothing then, a network of 65 bytes now"});
  CHECK(named("network.json.edges.0.a", std::vector<std::string>{"network.json"}));
}

TEST_CASE("a difference says where it is", "[differences]") {
  CHECK(Difference{"data.train.targets", "0.25", "0.5", "points.csv:17, column 'y'"}.text() ==
        "data.train.targets (points.csv:17, column 'y'): 0.25 then, 0.5 now");
}

TEST_CASE("a table's name stands for its keys, a part of a name for none", "[differences]") {
  const std::vector<std::string> names{"scale", "wiring.a-0.limits"};
  CHECK(named("scale", names));
  CHECK(named("scale.volts_per_kT", names));
  CHECK(named("wiring.a-0.limits", names));
  CHECK_FALSE(named("scales.volts_per_kT", names));
  CHECK_FALSE(named("wiring.a-0.per_volt", names));
  CHECK_FALSE(named("wiring", names));
}

}  // namespace ness
