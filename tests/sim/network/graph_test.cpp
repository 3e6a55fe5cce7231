#include <catch2/catch.hpp>

#include "ness/network/graph.hpp"

using namespace ness;

TEST_CASE("layered graphs list edges by layer, target, source", "[graph]") {
  const Graph graph = layered({2, 3, 1});
  REQUIRE(graph.nodes.size() == 6);
  CHECK(graph.nodes[0].clamped);
  CHECK(graph.nodes[1].clamped);
  CHECK_FALSE(graph.nodes[2].clamped);
  CHECK(graph.nodes[5].layer == 2);
  CHECK(graph.outputs == std::vector<std::uint32_t>{5});
  std::vector<std::pair<std::uint32_t, std::uint32_t>> edges;
  for (const GraphEdge& edge : graph.edges) {
    edges.emplace_back(edge.source, edge.target);
    CHECK(edge.layer == graph.nodes[edge.target].layer);
  }
  CHECK(edges == std::vector<std::pair<std::uint32_t, std::uint32_t>>{
                     {0, 2}, {1, 2}, {0, 3}, {1, 3}, {0, 4}, {1, 4}, {2, 5}, {3, 5}, {4, 5}});
  CHECK(graph.problem().empty());
  CHECK_THROWS_WITH(layered({3}), Catch::Contains("1 layers") && Catch::Contains("at least 2"));
  CHECK_THROWS_WITH(layered({3, 0, 1}), Catch::Contains("layer 1 is empty"));
}

TEST_CASE("what is wrong with a graph is named", "[graph]") {
  const Graph good = layered({2, 2, 1});
  Graph graph = good;
  graph.edges[3].target = 9;
  CHECK_THAT(graph.problem(),
             Catch::Contains("edge 3") && Catch::Contains("node 9") && Catch::Contains("5 nodes"));
  graph = good;
  graph.edges[1].target = graph.edges[1].source;
  CHECK_THAT(graph.problem(), Catch::Contains("edge 1") && Catch::Contains("itself"));
  graph = good;
  graph.outputs = {};
  CHECK_THAT(graph.problem(), Catch::Contains("no output"));
  graph.outputs = {4, 4};
  CHECK_THAT(graph.problem(), Catch::Contains("node 4") && Catch::Contains("twice"));
  graph.outputs = {12};
  CHECK_THAT(graph.problem(), Catch::Contains("output node 12"));
  graph.outputs = {0};
  CHECK_THAT(graph.problem(), Catch::Contains("clamped"));
  graph = good;
  for (GraphNode& node : graph.nodes) node.clamped = true;
  CHECK_THAT(graph.problem(), Catch::Contains("no free node"));
}

TEST_CASE("floating nodes are those that no chain of edges grounds", "[graph]") {
  Graph graph;  // 0 (clamped) - 1 - 2,   3 - 4,   5
  graph.nodes.resize(6);
  graph.nodes[0].clamped = true;
  graph.edges = {{0, 1, 0}, {2, 1, 0}, {3, 4, 0}};
  const std::vector<bool> nothing(6, false);
  CHECK(graph.floating(nothing) == std::vector<std::uint32_t>{3, 4, 5});
  std::vector<bool> grounded = nothing;
  grounded[4] = true;
  CHECK(graph.floating(grounded) == std::vector<std::uint32_t>{5});
  CHECK_THROWS_WITH(graph.floating({true}), Catch::Contains("1 grounds for 6 nodes"));
}
