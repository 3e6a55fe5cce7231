// Exponentials and edges.
#include "benchmarks/edges.hpp"
#include "benchmarks/table.hpp"

namespace benchmarks {
namespace {

template <class T>
constexpr const char* precision = sizeof(T) == 4 ? "single" : "double";

int rounds() { return static_cast<int>(3000 * effort); }

template <class T>
void exponential(benchmark::State& state) {
  Exponentials<T> exponentials;
  double least = 1e300;
  for (auto _ : state) {
    const double t = exponentials.once();
    state.SetIterationTime(t);
    least = std::min(least, t);
  }
  put(state, "exponential: a power of two, from and to the first-level cache",
      {.what = std::string(precision<T>), .figure = 1e9 * least, .unit = "ns"});
}

const char* name(Use use) {
  switch (use) {
    case Use::value: return "value";
    case Use::sum: return "value and derivative";
    case Use::each: return "value, both derivatives, stored";
    case Use::gradient: return "gradient by parameters";
  }
  return "";
}

template <class T>
void edge(benchmark::State& state, Law law, Use use, bool unequal) {
  InputEdges<T> edges(law, unequal);
  Exponentials<T> exponentials;
  Turns turns;
  for (auto _ : state) {
    const double t = edges.once(use);
    turns.see(t, exponentials.once());
    state.SetIterationTime(t * static_cast<double>(InputEdges<T>::count));
  }
  Row row{.what = std::string(law->name) + (unequal ? ", unequal temperatures" : "") + ", " + precision<T> +
                  ": " + name(use),
          .figure = 1e9 * turns.first(),
          .unit = "ns/edge",
          .ratio = turns.ratio(),
          .of = "exponential"};
  if (law == Law::quantum_dot && use == Use::sum && sizeof(T) == 4 && !unequal) row.limit = 4;
  put(state, "edges: 30 fan-ins of 784, parameters from the second-level cache", row);
}

template <class T>
void enzyme_beside_dot(benchmark::State& state, Use use) {
  InputEdges<T> enzymes(Law::enzyme), dots(Law::quantum_dot);
  Turns turns;
  for (auto _ : state) {
    const double t = enzymes.once(use);
    turns.see(t, dots.once(use));
    state.SetIterationTime(t);
  }
  put(state, "edges: 30 fan-ins of 784, parameters from the second-level cache",
      {.what = std::string("enzyme beside quantum dot, ") + precision<T> + ": " + name(use),
       .figure = 1e9 * turns.first(),
       .unit = "ns/edge",
       .ratio = turns.ratio(),
       .of = "quantum dot",
       .limit = 3});
}

template <class Body>
void add(const std::string& name, Body body) {
  benchmark::RegisterBenchmark(name.c_str(), body)->UseManualTime()->Iterations(rounds());
}
}  // namespace

void add_kernels() {
  add("exponential/single", exponential<float>);
  add("exponential/double", exponential<double>);
  for (const Law law : {Law::linear, Law::quantum_dot, Law::enzyme}) {
    for (const Use use : {Use::value, Use::sum, Use::each, Use::gradient}) {
      const std::string of = std::string("edge/") + std::string(law->name) + "/" + name(use);
      add(of + "/single", [=](benchmark::State& s) { edge<float>(s, law, use, false); });
      add(of + "/double", [=](benchmark::State& s) { edge<double>(s, law, use, false); });
    }
  }
  add("edge/unequal/single", [](benchmark::State& s) { edge<float>(s, Law::quantum_dot, Use::sum, true); });
  add("edge/unequal/double", [](benchmark::State& s) { edge<double>(s, Law::quantum_dot, Use::sum, true); });
  for (const Use use : {Use::sum, Use::each, Use::gradient}) {
    add(std::string("edge/enzyme-beside-dot/") + name(use) + "/single",
        [=](benchmark::State& s) { enzyme_beside_dot<float>(s, use); });
    add(std::string("edge/enzyme-beside-dot/") + name(use) + "/double",
        [=](benchmark::State& s) { enzyme_beside_dot<double>(s, use); });
  }
}

}  // namespace benchmarks
