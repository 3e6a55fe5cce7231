// Network files: their meaning, and refusals.
#include "ness/files/network_file.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "ness/device/error.hpp"

using namespace ness;

namespace {

const std::string good = R"({"nodes": [{"clamped": true, "T": 1.5}, )"
                         R"({"g": 0.25, "mu_ref": -1, "capacity": 2, "mu0": 0.5, "mu_init": 0.1}],
        "edges": [{"source": 0, "target": 1, "law": "quantum-dot", "gamma": 1, "a": 0.5, "b": 1.8},
                  {"source": 1, "target": 0, "law": "enzyme", "Vf": 1, "Ka": 2, "Kb": 3, "Ki": null}],
        "outputs": [1], "kT": 0.5, "c_ref": 2})";

/// `good` with one piece of it replaced.
std::string with(const std::string& piece, const std::string& by) {
  std::string text = good;
  const auto at = text.find(piece);
  REQUIRE(at != std::string::npos);
  return text.replace(at, piece.size(), by);
}

std::string refusal(const std::string& text) {
  try {
    network_from_json(text, "net.json");
  } catch (const FileError& error) {
    return error.what();
  }
  return "nothing was refused";
}

}  // namespace

TEST_CASE("a network file is read as it says") {
  std::vector<std::array<bool, 4>> given;
  const sim::NetworkSpec spec = network_from_json(good, "net.json", &given);
  REQUIRE(spec.nodes.size() == 2);
  CHECK(spec.graph.nodes[0].clamped);
  CHECK(spec.nodes[0].T == 1.5);
  CHECK(spec.nodes[1].T == 1);
  CHECK(spec.nodes[1].g == 0.25);
  CHECK(spec.nodes[1].mu_ref == -1);
  CHECK(spec.nodes[1].capacity == 2);
  CHECK(spec.nodes[1].mu0 == 0.5);
  CHECK(spec.nodes[1].mu_init == 0.1);
  CHECK(spec.edges[0].law == sim::Law::quantum_dot);
  CHECK(spec.edges[0].p == std::array<double, 4>{1, 0.5, 1.8, 0});
  CHECK(spec.edges[1].p[1] == 2);
  CHECK(std::isinf(spec.edges[1].p[3]));
  CHECK(spec.graph.outputs == std::vector<std::uint32_t>{1});
  CHECK(spec.kT == 0.5);
  CHECK(spec.c_ref == 2);
  CHECK(given[0] == std::array<bool, 4>{true, true, true, false});
  CHECK(given[1] == std::array<bool, 4>{true, true, true, false});
}

TEST_CASE("a wrong network file is refused with node or edge, field, value and what was expected") {
  CHECK(refusal(with("\"T\": 1.5", "\"T\": -1")) ==
        "net.json: nodes[0]: 'T': expected a number > 0, found -1");
  CHECK(refusal(with("\"capacity\": 2", "\"capacity\": -2")) ==
        "net.json: nodes[1]: 'capacity': expected a number > 0, found -2");
  CHECK(refusal(with("\"capacity\": 2", "\"capasity\": 2")) ==
        "net.json: nodes[1]: 'capasity': unknown field; did you mean 'capacity'?");
  CHECK(refusal(with("\"g\": 0.25", "\"g\": \"x\"")) ==
        "net.json: nodes[1]: 'g': expected a number >= 0, found \"x\"");
  CHECK(refusal(with("\"gamma\": 1, ", "")) ==
        "net.json: edges[0]: 'gamma': missing; a quantum-dot edge needs it");
  CHECK(refusal(with("\"b\": 1.8", "\"b\": 1.8, \"Ki\": 2"))
            .starts_with("net.json: edges[0]: 'Ki': unknown field"));
  CHECK(refusal(with("\"law\": \"enzyme\"", "\"law\": \"enzym\"")) ==
        "net.json: edges[1]: 'law': expected 'linear', 'quantum-dot' or 'enzyme', found \"enzym\"");
  CHECK(refusal(with("\"target\": 1,", "\"target\": 2,")) ==
        "net.json: edges[0]: 'target': expected a node from 0 to 1, found 2");
  CHECK(refusal(with("\"source\": 0", "\"source\": 0.5")) ==
        "net.json: edges[0]: 'source': expected a node from 0 to 1, found 0.5");
  CHECK(refusal(with("\"outputs\": [1]", "\"outputs\": [-1]")) ==
        "net.json: 'outputs': expected a node from 0 to 1, found -1");
  CHECK(refusal(with("\"outputs\": [1], ", "")) ==
        "net.json: 'outputs': missing; expected an array of output nodes");
  CHECK(refusal(with("\"kT\": 0.5", "\"kT\": 0")) == "net.json: 'kT': expected a number > 0, found 0");
  CHECK(refusal(with("\"kT\"", "\"kt\"")).starts_with("net.json: 'kt': unknown field"));
  CHECK(refusal("[]") == "net.json: expected an object {..}, found an array of 0");
}

TEST_CASE("what is no JSON is refused with its line: NaN is none") {
  CHECK(refusal(with("\"a\": 0.5", "\"a\": NaN")).starts_with("net.json:2: no JSON"));
  CHECK(refusal("{\n\n\"nodes\": [}").starts_with("net.json:3: no JSON"));
  CHECK(refusal("").find("no JSON") != std::string::npos);
}

TEST_CASE("networks that cannot be solved are refused with the reason") {
  // Node 2 is not connected: no edge, no leak.
  const std::string floating = refusal(R"({"nodes": [{"clamped": true}, {"g": 1}, {}],
    "edges": [{"source": 0, "target": 1, "law": "linear", "G": 1}], "outputs": [1]})");
  CHECK(floating.find("node 2") != std::string::npos);
  CHECK(refusal(R"({"nodes": [{"clamped": true}], "edges": [], "outputs": []})").find("no free node") !=
        std::string::npos);
  CHECK(refusal(with("\"source\": 0", "\"source\": 1")).find("to itself") != std::string::npos);
}
