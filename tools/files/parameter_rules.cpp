#include "ness/files/parameter_rules.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "ness/files/nearest.hpp"
#include "ness/device/random.hpp"

namespace ness {

namespace {

using Kind = InitialValue::Kind;
constexpr double inf = std::numeric_limits<double>::infinity();

// Streams of the seed from which initial values are drawn: one a parameter. The number of a kind is part of what a seed means:
// new kinds go to the end.
const std::array<std::string, 11> numbered_kinds{"gamma", "a", "b", "d", "G", "Vf", "Ka", "Kb", "Ki", "g", "mu_ref"};
constexpr std::uint64_t draw_streams = 0x64726100;  // high half; Random's other users have theirs elsewhere

Random stream_of(std::uint64_t seed, const std::string& kind, std::uint32_t item) {
  const auto number = std::find(numbered_kinds.begin(), numbered_kinds.end(), kind) - numbered_kinds.begin();
  return Random(seed, (draw_streams + static_cast<std::uint64_t>(number)) << 32 | item);
}

struct KindInfo {
  bool leak = false;
  bool positive = false;
  bool may_be_infinite = false;
  bool required = false;  // has no default
};

std::map<std::string, KindInfo> kinds_of(const sim::NetworkSpec& spec) {
  std::map<std::string, KindInfo> kinds{{"g", {true, true, false, false}}, {"mu_ref", {true, false, false, false}}};
  for (const sim::EdgeProperties& edge : spec.edges) {
    const sim::LawInfo& law = sim::law_info(edge.law);
    for (std::size_t i = 0; i < law.parameters; ++i) {
      KindInfo& kind = kinds[std::string(law.names[i])];
      kind.positive = law.positive[i];
      kind.may_be_infinite = std::isinf(law.defaults[i]);
      kind.required = kind.required || std::isnan(edge.p[i]);
    }
  }
  return kinds;
}

bool is_interval(Kind rule) { return rule == Kind::uniform || rule == Kind::log_uniform || rule == Kind::fold; }

/// Empty if the rule can be used for the kind; otherwise what was expected.
std::string problem_of(Kind rule, std::pair<double, double> numbers, const std::string& name, const KindInfo& kind) {
  const bool logarithmic = rule == Kind::log_normal || rule == Kind::log_uniform;
  const bool interval = is_interval(rule);
  const std::string is_positive = "'" + name + "' is positive: expected ";
  if (interval && !(numbers.first < numbers.second)) return "expected [low, high] with low < high";
  if (!interval && numbers.second < 0) return "expected [mean, standard deviation] with a standard deviation >= 0";
  if (kind.positive && rule == Kind::normal) return is_positive + "'log-normal', 'log-uniform', 'uniform' or 'value'";
  if (kind.positive && rule == Kind::uniform && numbers.first < 0) return is_positive + "low >= 0";
  if (!kind.positive && logarithmic) return "'" + name + "' has either sign: expected 'normal', 'uniform' or 'value'";
  if (rule == Kind::fold && name != "a") return "places the fold of a quantum dot: expected under [parameters.a] alone";
  if (rule == Kind::ratio && name != "Kb" && name != "Ki") {
    return "is relative to an enzyme's Ka: expected under [parameters.Kb] and [parameters.Ki] alone";
  }
  return {};
}

About about_initial(Kind rule) {
  switch (rule) {
    case Kind::value: return {"its unit", "the initial value"};
    case Kind::normal: return {"its unit", "[mean, standard deviation] of the initial value"};
    case Kind::uniform: return {"its unit", "[low, high] of the initial value"};
    case Kind::log_normal: return {"", "[mean, standard deviation] of the initial value's logarithm"};
    case Kind::log_uniform: return {"", "[low, high] of the initial value's logarithm"};
    case Kind::fold: return {"kT", "[low, high] of x in a = -b x: where the edge folds (`a` alone)"};
    case Kind::ratio: return {"", "[mean, standard deviation] of the logarithm of its ratio to Ka (`Kb`, `Ki`)"};
  }
  return {};
}

std::optional<InitialValue> read_initial(Keys& table, const std::string& name, const KindInfo& kind) {
  std::optional<InitialValue> initial;
  std::string first_key;
  const auto take = [&](const std::string& key, Kind rule) {
    double value = std::numeric_limits<double>::quiet_NaN();  // no rule is the default
    std::pair<double, double> pair{value, value};
    if (rule == Kind::value) {
      const Number must_be = kind.may_be_infinite ? Number::or_infinite : kind.positive ? Number::not_negative : Number::finite;
      if (!table.number(key, value, must_be, about_initial(rule))) return;
      pair = {value, 0};
    } else if (!table.pair(key, pair, about_initial(rule))) {
      return;
    }
    if (initial) table.fail(key, "an initial value is given by one rule, and '" + first_key + "' is here too");
    if (const std::string problem = problem_of(rule, pair, name, kind); !problem.empty()) table.fail(key, problem);
    initial = InitialValue{rule, pair.first, pair.second};
    first_key = key;
  };
  const std::array<Kind, 7> rules{Kind::value,       Kind::normal, Kind::uniform, Kind::log_normal,
                                  Kind::log_uniform, Kind::fold,   Kind::ratio};
  for (std::size_t i = 0; i < rules.size(); ++i) take(initial_value_keys()[i], rules[i]);
  bool stratified = false;
  const About about{"", "beside an interval: each of the n edges into a layer (or leaks of it) has its own n-th part of it"};
  if (table.flag("stratified", stratified, about) && stratified) {
    if (!initial || !is_interval(initial->kind)) table.fail("stratified", "expected beside 'uniform', 'log-uniform' or 'fold'");
    initial->stratified = true;
  }
  return initial;
}

ParameterRefinement read_refinement(Keys& table, const std::string& name, const KindInfo& kind) {
  ParameterRefinement refinement;
  refinement.initial = read_initial(table, name, kind);
  std::pair<double, double> range{-inf, inf};
  if (table.pair("range", range, {"its unit", "[low, high]: the parameter stays within"})) {
    if (!(range.first < range.second)) table.fail("range", "expected [low, high] with low < high");
    if (kind.positive && range.first < 0) table.fail("range", "'" + name + "' is positive: expected low >= 0");
    refinement.range = Range{range.first, range.second};
  }
  bool trainable = true;
  if (table.flag("trainable", trainable, {"", "false: a constant of the device"})) refinement.trainable = trainable;
  double decay = 0, rate = 1;
  if (table.number("decay", decay, Number::not_negative, {"", "L2: this times the parameter, on its scale, is added to the gradient"})) {
    refinement.decay = decay;
  }
  if (table.number("rate", rate, Number::not_negative, {"", "factor on the learning rate"})) refinement.rate = rate;
  return refinement;
}

/// The number in "layer-2"; nothing where the name is of another form.
std::optional<std::uint32_t> numbered(const std::string& name, const std::string& prefix) {
  if (!name.starts_with(prefix + "-")) return std::nullopt;
  std::uint32_t number = 0;
  const char* begin = name.data() + prefix.size() + 1;
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), number);
  if (error != std::errc{} || end != name.data() + name.size()) return std::nullopt;
  return number;
}

KindRules read_kind(Table& table, const std::string& name, const KindInfo& kind, const sim::NetworkSpec& spec) {
  KindRules rules;
  rules.base = read_refinement(table, name, kind);
  const std::string item_name = kind.leak ? "node" : "edge";
  for (const std::string& refined : table.other_tables()) {
    Table inner = *table.table(refined);
    const auto layer = numbered(refined, "layer"), item = numbered(refined, item_name);
    if (layer) {
      const auto& nodes = spec.graph.nodes;
      const auto& edges = spec.graph.edges;
      const bool leaks =
          std::any_of(nodes.begin(), nodes.end(), [&](const auto& node) { return !node.clamped && node.layer == *layer; });
      const bool joined = std::any_of(edges.begin(), edges.end(), [&](const auto& edge) { return edge.layer == *layer; });
      const std::string none = kind.leak ? "no free node is in layer " : "no edge leads into layer ";
      if (!(kind.leak ? leaks : joined)) inner.fail("", none + std::to_string(*layer) + " (the input is layer 0)");
      rules.layers[*layer] = read_refinement(inner, name, kind);
    } else if (item) {
      const std::size_t count = kind.leak ? spec.graph.nodes.size() : spec.graph.edges.size();
      if (*item >= count) inner.fail("", "expected " + item_name + "-0 to " + item_name + "-" + std::to_string(count - 1));
      if (kind.leak && spec.graph.nodes[*item].clamped) {
        inner.fail("", "node " + std::to_string(*item) + " is clamped: it has no leak");
      }
      rules.items[*item] = read_refinement(inner, name, kind);
    } else {
      inner.fail("", "unknown refinement; expected layer-N or " + item_name + "-N");
    }
    inner.finish();
  }
  table.finish();
  return rules;
}

bool has_parameter(const sim::EdgeProperties& edge, const std::string& kind, std::size_t& index) {
  const sim::LawInfo& law = sim::law_info(edge.law);
  const auto end = law.names.begin() + static_cast<std::ptrdiff_t>(law.parameters);
  const auto found = std::find(law.names.begin(), end, kind);
  index = static_cast<std::size_t>(found - law.names.begin());
  return found != end;
}

/// What a rule may refer to.
struct Place {
  double other = 0;                       // the edge's b for folds, its Ka for ratios
  std::uint32_t stratum = 0, strata = 1;  // which of how many edges into its layer, or leaks of its layer
};

/// The place of each edge among those into its layer, and of each free node among those of its layer.
struct Places {
  std::vector<Place> edges, nodes;
};

Places places_in(const Graph& graph) {
  Places places{std::vector<Place>(graph.edges.size()), std::vector<Place>(graph.nodes.size())};
  std::map<std::uint32_t, std::uint32_t> edges_into, nodes_of;
  for (std::size_t e = 0; e < graph.edges.size(); ++e) places.edges[e].stratum = edges_into[graph.edges[e].layer]++;
  for (std::size_t k = 0; k < graph.nodes.size(); ++k) {
    if (!graph.nodes[k].clamped) places.nodes[k].stratum = nodes_of[graph.nodes[k].layer]++;
  }
  for (std::size_t e = 0; e < graph.edges.size(); ++e) places.edges[e].strata = edges_into[graph.edges[e].layer];
  for (std::size_t k = 0; k < graph.nodes.size(); ++k) {
    if (!graph.nodes[k].clamped) places.nodes[k].strata = nodes_of[graph.nodes[k].layer];
  }
  return places;
}

double clipped(double value, const std::optional<Range>& range) {
  return range && std::isfinite(value) ? std::clamp(value, range->low, range->high) : value;
}

double draw(const InitialValue& rule, Random random, const Place& place) {
  const auto within = [&] {
    if (!rule.stratified) return random.uniform(rule.first, rule.second);
    return rule.first + (rule.second - rule.first) * (place.stratum + random.uniform(0, 1)) / place.strata;
  };
  switch (rule.kind) {
    case Kind::value: return rule.first;
    case Kind::normal: return rule.first + rule.second * random.normal();
    case Kind::uniform: return within();
    case Kind::log_normal: return std::exp(rule.first + rule.second * random.normal());
    case Kind::log_uniform: return std::exp(within());
    case Kind::ratio: return place.other * std::exp(rule.first + rule.second * random.normal());
    case Kind::fold: return -place.other * within();
  }
  return 0;
}

}  // namespace

const std::vector<std::string>& initial_value_keys() {
  static const std::vector<std::string> keys{"value", "normal", "uniform", "log-normal", "log-uniform", "fold", "ratio"};
  return keys;
}

ParameterRefinement KindRules::of(std::uint32_t item, std::uint32_t layer) const {
  ParameterRefinement all = base;
  const auto refine = [&all](const ParameterRefinement& by) {
    if (by.initial) all.initial = by.initial;
    if (by.range) all.range = by.range;
    if (by.trainable) all.trainable = by.trainable;
    if (by.decay) all.decay = by.decay;
    if (by.rate) all.rate = by.rate;
  };
  if (const auto it = layers.find(layer); it != layers.end()) refine(it->second);
  if (const auto it = items.find(item); it != items.end()) refine(it->second);
  return all;
}

void list_parameter_keys(const KeyList& top) {
  KeyList keys = top.table(
      "parameters.KIND",
      "KIND is one of the network's: `G` (linear), `gamma`, `a`, `b`, `d` (quantum dots), `Vf`, `Ka`, `Kb`, `Ki` (enzymes), "
      "`g`, `mu_ref` (leaks). One rule gives the initial value; levels are in kT, conductances in units. Refined in "
      "`[parameters.KIND.layer-N]` (edges into the layer, its leaks), `[parameters.KIND.edge-N]` and, of leaks, `.node-N`");
  read_refinement(keys, "a", {});
}

ParameterRules read_parameter_rules(Table& root, const sim::NetworkSpec& spec) {
  ParameterRules rules;
  const auto kinds = kinds_of(spec);
  std::optional<Table> parameters = root.table("parameters");
  for (const auto& [name, kind] : kinds) {
    if (parameters) {
      if (auto table = parameters->table(name)) rules[name] = read_kind(*table, name, kind, spec);
    }
  }
  if (parameters) parameters->finish();
  for (std::size_t e = 0; e < spec.edges.size(); ++e) {
    const sim::LawInfo& law = sim::law_info(spec.edges[e].law);
    for (std::size_t i = 0; i < law.parameters; ++i) {
      const std::string name(law.names[i]);
      const bool ruled = rules[name].of(static_cast<std::uint32_t>(e), spec.graph.edges[e].layer).initial.has_value();
      if (!std::isnan(spec.edges[e].p[i]) || ruled) continue;
      const std::string message = "no initial value for '" + name + "' of edge " + std::to_string(e) + ", a " +
                                  std::string(law.name) + " edge; expected [parameters." + name + "] with " +
                                  one_of(initial_value_keys());
      if (parameters) parameters->fail("", message);
      root.fail("", message);
    }
  }
  return rules;
}

sim::NetworkSpec drawn(const sim::NetworkSpec& spec, const ParameterRules& rules, std::uint64_t seed) {
  sim::NetworkSpec result = spec;
  const Places places = places_in(spec.graph);
  const auto draw_edges = [&](const std::string& kind, const KindRules& kind_rules) {
    for (std::uint32_t e = 0; e < result.edges.size(); ++e) {
      sim::EdgeProperties& edge = result.edges[e];
      std::size_t index = 0, reference = 0;
      if (!has_parameter(edge, kind, index)) continue;
      const ParameterRefinement rule = kind_rules.of(e, result.graph.edges[e].layer);
      Place place = places.edges[e];
      if (has_parameter(edge, kind == "a" ? "b" : "Ka", reference)) place.other = edge.p[reference];
      if (rule.initial) edge.p[index] = draw(*rule.initial, stream_of(seed, kind, e), place);
      edge.p[index] = clipped(edge.p[index], rule.range);
    }
  };
  const auto draw_leaks = [&](const std::string& kind, const KindRules& kind_rules, double sim::NodeProperties::* member) {
    for (std::uint32_t k = 0; k < result.nodes.size(); ++k) {
      if (result.graph.nodes[k].clamped) continue;
      const ParameterRefinement rule = kind_rules.of(k, result.graph.nodes[k].layer);
      if (rule.initial) result.nodes[k].*member = draw(*rule.initial, stream_of(seed, kind, k), places.nodes[k]);
      result.nodes[k].*member = clipped(result.nodes[k].*member, rule.range);
    }
  };
  for (const auto& [kind, kind_rules] : rules) {
    if (kind == "g") draw_leaks(kind, kind_rules, &sim::NodeProperties::g);
    else if (kind == "mu_ref") draw_leaks(kind, kind_rules, &sim::NodeProperties::mu_ref);
    else if (kind != "a") draw_edges(kind, kind_rules);
  }
  // Last, because a fold is placed with the edge's b. (Ka comes before Kb and Ki by its name.)
  if (const auto a = rules.find("a"); a != rules.end()) draw_edges("a", a->second);
  return result;
}

std::vector<ParameterRule> training_rules(const std::vector<ParameterInfo>& parameters, const Vector& theta, const Graph& graph,
                                          const ParameterRules& rules) {
  std::vector<ParameterRule> all(parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const ParameterInfo& parameter = parameters[i];
    const auto kind = rules.find(parameter.kind);
    if (kind != rules.end()) {
      const std::int64_t item = parameter.edge >= 0 ? parameter.edge : parameter.node;
      const std::uint32_t layer = parameter.edge >= 0 ? graph.edges[static_cast<std::size_t>(parameter.edge)].layer
                                                      : graph.nodes[static_cast<std::size_t>(parameter.node)].layer;
      const ParameterRefinement rule = kind->second.of(static_cast<std::uint32_t>(item), layer);
      all[i].trainable = rule.trainable.value_or(true);
      if (rule.range) all[i].range = *rule.range;
      all[i].decay = rule.decay.value_or(0);
      all[i].rate = rule.rate.value_or(1);
    }
    const double value = theta[static_cast<Eigen::Index>(i)];
    const bool steppable = parameter.scale == Scale::linear || (value > 0 && std::isfinite(value));
    all[i].trainable = all[i].trainable && parameter.trainable && steppable;
  }
  return all;
}

}  // namespace ness
