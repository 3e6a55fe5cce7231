#include "ness/files/parameter_rules.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "ness/device/nearest.hpp"
#include "ness/device/random.hpp"

namespace ness {

namespace {

using Kind = InitialValue::Kind;
constexpr double inf = std::numeric_limits<double>::infinity();

// Streams of the seed from which initial values are drawn: one a parameter, the kind in the high half, the
// edge or node in the low one. The stream of a kind is part of what a seed means. These kinds have been
// numbered from the beginning; any other has its stream from its name (FNV-1a), with the highest bit set:
// Random's other users have theirs below.
const std::array<std::string, 11> numbered_kinds{"gamma", "a",  "b",  "d", "G",     "Vf",
                                                 "Ka",    "Kb", "Ki", "g", "mu_ref"};
constexpr std::uint64_t draw_streams = 0x64726100;

std::uint64_t stream_of_kind(const std::string& kind) {
  const auto known = std::find(numbered_kinds.begin(), numbered_kinds.end(), kind);
  if (known != numbered_kinds.end())
    return draw_streams + static_cast<std::uint64_t>(known - numbered_kinds.begin());
  std::uint32_t hash = 2166136261U;
  for (const char letter : kind) hash = (hash ^ static_cast<unsigned char>(letter)) * 16777619U;
  return hash | 0x80000000U;
}

Random stream_of(std::uint64_t seed, const std::string& kind, std::uint32_t item) {
  return Random(seed, stream_of_kind(kind) << 32 | item);
}

struct KindInfo {
  bool leak = false;
  bool positive = false;
  bool may_be_infinite = false;
  bool required = false;            // has no default
  std::string fold_with, ratio_to;  // LawParameter's
};

std::map<std::string, KindInfo> kinds_of(const sim::NetworkSpec& spec) {
  std::map<std::string, KindInfo> kinds{{"g", {true, true, false, false, {}, {}}},
                                        {"mu_ref", {true, false, false, false, {}, {}}}};
  for (const sim::EdgeProperties& edge : spec.edges) {
    for (std::size_t i = 0; i < edge.law->parameters.size(); ++i) {
      const sim::LawParameter& parameter = edge.law->parameters[i];
      KindInfo& kind = kinds[std::string(parameter.name)];
      // Laws may share a kind: then what any of them demands, or allows, holds.
      kind.positive = kind.positive || parameter.sign != sim::Sign::any;
      kind.may_be_infinite = kind.may_be_infinite || std::isinf(parameter.initial);
      kind.required = kind.required || std::isnan(edge.p[i]);
      if (!parameter.fold_with.empty()) kind.fold_with = parameter.fold_with;
      if (!parameter.ratio_to.empty()) kind.ratio_to = parameter.ratio_to;
    }
  }
  return kinds;
}

// The kinds of all laws for which a rule refers to another parameter: "[parameters.Kb] and [parameters.Ki]".
std::string kinds_with(std::string_view sim::LawParameter::*reference) {
  std::vector<std::string> kinds;
  for (const sim::Law law : sim::edge_laws()) {
    for (const sim::LawParameter& parameter : law->parameters) {
      if (!(parameter.*reference).empty())
        kinds.push_back("[parameters." + std::string(parameter.name) + "]");
    }
  }
  std::string list;
  for (std::size_t i = 0; i < kinds.size(); ++i)
    list += (i == 0 ? "" : i + 1 == kinds.size() ? " and " : ", ") + kinds[i];
  return list;
}

bool is_interval(Kind rule) {
  return rule == Kind::uniform || rule == Kind::log_uniform || rule == Kind::fold;
}

/// Empty if the rule can be used for the kind; otherwise what was expected.
std::string problem_of(Kind rule, std::pair<double, double> numbers, const std::string& name,
                       const KindInfo& kind) {
  const bool logarithmic = rule == Kind::log_normal || rule == Kind::log_uniform;
  const bool interval = is_interval(rule);
  const std::string is_positive = "'" + name + "' is positive: expected ";
  if (interval && !(numbers.first < numbers.second)) return "expected [low, high] with low < high";
  if (!interval && numbers.second < 0)
    return "expected [mean, standard deviation] with a standard deviation >= 0";
  if (kind.positive && rule == Kind::normal)
    return is_positive + "'log-normal', 'log-uniform', 'uniform' or 'value'";
  if (kind.positive && rule == Kind::uniform && numbers.first < 0) return is_positive + "low >= 0";
  if (!kind.positive && logarithmic)
    return "'" + name + "' has either sign: expected 'normal', 'uniform' or 'value'";
  if (rule == Kind::fold && kind.fold_with.empty()) {
    return "places the fold of an edge: expected under " + kinds_with(&sim::LawParameter::fold_with) +
           " alone";
  }
  if (rule == Kind::ratio && kind.ratio_to.empty()) {
    return "is relative to another parameter of the edge: expected under " +
           kinds_with(&sim::LawParameter::ratio_to) + " alone";
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
    case Kind::ratio:
      return {"", "[mean, standard deviation] of the logarithm of its ratio to Ka (`Kb`, `Ki`)"};
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
      const Number must_be = kind.may_be_infinite ? Number::or_infinite
                             : kind.positive      ? Number::not_negative
                                                  : Number::finite;
      if (!table.number(key, value, must_be, about_initial(rule))) return;
      pair = {value, 0};
    } else if (!table.pair(key, pair, about_initial(rule))) {
      return;
    }
    if (initial)
      table.fail(key, "an initial value is given by one rule, and '" + first_key + "' is here too");
    if (const std::string problem = problem_of(rule, pair, name, kind); !problem.empty())
      table.fail(key, problem);
    initial = InitialValue{rule, pair.first, pair.second};
    first_key = key;
  };
  const std::array<Kind, 7> rules{Kind::value,       Kind::normal, Kind::uniform, Kind::log_normal,
                                  Kind::log_uniform, Kind::fold,   Kind::ratio};
  for (std::size_t i = 0; i < rules.size(); ++i) take(initial_value_keys()[i], rules[i]);
  bool stratified = false;
  const About about{
      "",
      "beside an interval: each of the n edges into a layer (or leaks of it) has its own n-th part of it"};
  if (table.flag("stratified", stratified, about) && stratified) {
    if (!initial || !is_interval(initial->kind))
      table.fail("stratified", "expected beside 'uniform', 'log-uniform' or 'fold'");
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
    if (kind.positive && range.first < 0)
      table.fail("range", "'" + name + "' is positive: expected low >= 0");
    refinement.range = Range{range.first, range.second};
  }
  bool trainable = true;
  if (table.flag("trainable", trainable, {"", "false: a constant of the device"}))
    refinement.trainable = trainable;
  double decay = 0, rate = 1;
  if (table.number("decay", decay, Number::not_negative,
                   {"", "L2: this times the parameter, on its scale, is added to the gradient"})) {
    refinement.decay = decay;
  }
  if (table.number("rate", rate, Number::not_negative, {"", "factor on the learning rate"}))
    refinement.rate = rate;
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

KindRules read_kind(Table& table, const std::string& name, const KindInfo& kind,
                    const sim::NetworkSpec& spec) {
  KindRules rules;
  rules.base = read_refinement(table, name, kind);
  const std::string item_name = kind.leak ? "node" : "edge";
  for (const std::string& refined : table.other_tables()) {
    Table inner = *table.table(refined);
    const auto layer = numbered(refined, "layer"), item = numbered(refined, item_name);
    if (layer) {
      const auto& nodes = spec.graph.nodes;
      const auto& edges = spec.graph.edges;
      const bool leaks = std::any_of(nodes.begin(), nodes.end(),
                                     [&](const auto& node) { return !node.clamped && node.layer == *layer; });
      const bool joined =
          std::any_of(edges.begin(), edges.end(), [&](const auto& edge) { return edge.layer == *layer; });
      const std::string none = kind.leak ? "no free node is in layer " : "no edge leads into layer ";
      if (!(kind.leak ? leaks : joined))
        inner.fail("", none + std::to_string(*layer) + " (the input is layer 0)");
      rules.layers[*layer] = read_refinement(inner, name, kind);
    } else if (item) {
      const std::size_t count = kind.leak ? spec.graph.nodes.size() : spec.graph.edges.size();
      if (*item >= count)
        inner.fail("", "expected " + item_name + "-0 to " + item_name + "-" + std::to_string(count - 1));
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

/// The parameter of that name of an edge, in its law's order; nothing where its law has none.
std::optional<std::size_t> parameter_of(const sim::EdgeProperties& edge, std::string_view name) {
  for (std::size_t i = 0; i < edge.law->parameters.size(); ++i) {
    if (edge.law->parameters[i].name == name) return i;
  }
  return std::nullopt;
}

/// What a rule may refer to.
struct DrawContext {
  double other = 0;                       // the edge's b for folds, its Ka for ratios
  std::uint32_t stratum = 0, strata = 1;  // which of how many edges into its layer, or leaks of its layer
};

/// Of each edge, among those into its layer, and of each free node, among those of its layer.
struct DrawContexts {
  std::vector<DrawContext> edges, nodes;
};

DrawContexts contexts_in(const Graph& graph) {
  DrawContexts contexts{std::vector<DrawContext>(graph.edges.size()),
                        std::vector<DrawContext>(graph.nodes.size())};
  std::map<std::uint32_t, std::uint32_t> edges_into, nodes_of;
  for (std::size_t e = 0; e < graph.edges.size(); ++e)
    contexts.edges[e].stratum = edges_into[graph.edges[e].layer]++;
  for (std::size_t k = 0; k < graph.nodes.size(); ++k) {
    if (!graph.nodes[k].clamped) contexts.nodes[k].stratum = nodes_of[graph.nodes[k].layer]++;
  }
  for (std::size_t e = 0; e < graph.edges.size(); ++e)
    contexts.edges[e].strata = edges_into[graph.edges[e].layer];
  for (std::size_t k = 0; k < graph.nodes.size(); ++k) {
    if (!graph.nodes[k].clamped) contexts.nodes[k].strata = nodes_of[graph.nodes[k].layer];
  }
  return contexts;
}

double clipped(double value, const std::optional<Range>& range) {
  return range && std::isfinite(value) ? std::clamp(value, range->low, range->high) : value;
}

/// The key that gives the initial value of an edge's or a node's parameter, or limits one that it does not
/// give.
std::string initial_key(const std::string& kind, const KindRules& rules, std::uint32_t item,
                        std::uint32_t layer, const char* item_name) {
  const std::string table = "parameters." + kind;
  const auto key_in = [&](const std::string& inner, const ParameterRefinement& refinement) {
    return table + inner + "." +
           (refinement.initial ? initial_value_keys()[static_cast<std::size_t>(refinement.initial->kind)]
                               : "range");
  };
  const auto of_item = rules.items.find(item);
  const auto of_layer = rules.layers.find(layer);
  const std::string in_item = "." + std::string(item_name) + "-" + std::to_string(item),
                    in_layer = ".layer-" + std::to_string(layer);
  if (of_item != rules.items.end() && of_item->second.initial) return key_in(in_item, of_item->second);
  if (of_layer != rules.layers.end() && of_layer->second.initial) return key_in(in_layer, of_layer->second);
  if (rules.base.initial) return key_in("", rules.base);
  if (of_item != rules.items.end() && of_item->second.range) return key_in(in_item, of_item->second);
  if (of_layer != rules.layers.end() && of_layer->second.range) return key_in(in_layer, of_layer->second);
  return key_in("", rules.base);
}

double draw(const InitialValue& rule, Random random, const DrawContext& context) {
  const auto within = [&] {
    if (!rule.stratified) return random.uniform(rule.first, rule.second);
    return rule.first +
           (rule.second - rule.first) * (context.stratum + random.uniform(0, 1)) / context.strata;
  };
  switch (rule.kind) {
    case Kind::value: return rule.first;
    case Kind::normal: return rule.first + rule.second * random.normal();
    case Kind::uniform: return within();
    case Kind::log_normal: return std::exp(rule.first + rule.second * random.normal());
    case Kind::log_uniform: return std::exp(within());
    case Kind::ratio: return context.other * std::exp(rule.first + rule.second * random.normal());
    case Kind::fold: return -context.other * within();
  }
  return 0;
}

}  // namespace

const std::vector<std::string>& initial_value_keys() {
  static const std::vector<std::string> keys{"value",       "normal", "uniform", "log-normal",
                                             "log-uniform", "fold",   "ratio"};
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
  KeyList keys = top.table("parameters.KIND",
                           "KIND is one of the network's: `G` (linear), `gamma`, `a`, `b`, `d` (quantum "
                           "dots), `Vf`, `Ka`, `Kb`, `Ki` (enzymes), "
                           "`g`, `mu_ref` (leaks). One rule gives the initial value; levels are in kT, "
                           "conductances in units. Refined in "
                           "`[parameters.KIND.layer-N]` (edges into the layer, its leaks), "
                           "`[parameters.KIND.edge-N]` and, of leaks, `.node-N`");
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
    const sim::EdgeLaw& law = *spec.edges[e].law;
    for (std::size_t i = 0; i < law.parameters.size(); ++i) {
      const std::string name(law.parameters[i].name);
      const bool ruled =
          rules[name].of(static_cast<std::uint32_t>(e), spec.graph.edges[e].layer).initial.has_value();
      if (!std::isnan(spec.edges[e].p[i]) || ruled) continue;
      const std::string message = "no initial value for '" + name + "' of edge " + std::to_string(e) +
                                  ", a " + std::string(law.name) + " edge; expected [parameters." + name +
                                  "] with " + one_of(initial_value_keys());
      if (parameters) parameters->fail("", message);
      root.fail("", message);
    }
  }
  return rules;
}

sim::NetworkSpec drawn(const sim::NetworkSpec& spec, const ParameterRules& rules, std::uint64_t seed,
                       std::vector<ClippedValue>* all_clipped) {
  sim::NetworkSpec result = spec;
  const auto limit = [&](double value, const ParameterRefinement& rule, const std::string& kind,
                         const KindRules& kind_rules, std::uint32_t item, std::uint32_t layer,
                         const char* item_name) {
    const double inside = clipped(value, rule.range);
    if (all_clipped != nullptr && std::isfinite(value) && inside != value) {
      all_clipped->push_back({initial_key(kind, kind_rules, item, layer, item_name),
                              kind + "[" + std::to_string(item) + "]", value, *rule.range,
                              rule.initial && rule.initial->kind != Kind::value});
    }
    return inside;
  };
  const DrawContexts contexts = contexts_in(spec.graph);
  const auto draw_edges = [&](const std::string& kind, const KindRules& kind_rules) {
    for (std::uint32_t e = 0; e < result.edges.size(); ++e) {
      sim::EdgeProperties& edge = result.edges[e];
      const std::optional<std::size_t> index = parameter_of(edge, kind);
      if (!index) continue;
      const ParameterRefinement rule = kind_rules.of(e, result.graph.edges[e].layer);
      DrawContext context = contexts.edges[e];
      const sim::LawParameter& parameter = edge.law->parameters[*index];
      const std::string_view reference =
          rule.initial && rule.initial->kind == Kind::fold ? parameter.fold_with : parameter.ratio_to;
      if (const auto other = parameter_of(edge, reference)) context.other = edge.p[*other];
      if (rule.initial) edge.p[*index] = draw(*rule.initial, stream_of(seed, kind, e), context);
      edge.p[*index] = limit(edge.p[*index], rule, kind, kind_rules, e, result.graph.edges[e].layer, "edge");
    }
  };
  const auto draw_leaks = [&](const std::string& kind, const KindRules& kind_rules,
                              double sim::NodeProperties::*member) {
    for (std::uint32_t k = 0; k < result.nodes.size(); ++k) {
      if (result.graph.nodes[k].clamped) continue;
      const ParameterRefinement rule = kind_rules.of(k, result.graph.nodes[k].layer);
      if (rule.initial)
        result.nodes[k].*member = draw(*rule.initial, stream_of(seed, kind, k), contexts.nodes[k]);
      result.nodes[k].*member =
          limit(result.nodes[k].*member, rule, kind, kind_rules, k, result.graph.nodes[k].layer, "node");
    }
  };
  // A parameter whose rule refers to another one comes after it.
  const auto refers = [&](const std::string& kind) {
    return std::any_of(spec.edges.begin(), spec.edges.end(), [&](const sim::EdgeProperties& edge) {
      const auto i = parameter_of(edge, kind);
      return i && !(edge.law->parameters[*i].fold_with.empty() && edge.law->parameters[*i].ratio_to.empty());
    });
  };
  std::vector<std::string> later;
  for (const auto& [kind, kind_rules] : rules) {
    if (kind == "g") draw_leaks(kind, kind_rules, &sim::NodeProperties::g);
    else if (kind == "mu_ref") draw_leaks(kind, kind_rules, &sim::NodeProperties::mu_ref);
    else if (refers(kind)) later.push_back(kind);
    else draw_edges(kind, kind_rules);
  }
  for (const std::string& kind : later) draw_edges(kind, rules.at(kind));
  return result;
}

std::vector<ParameterRule> training_rules(const std::vector<ParameterInfo>& parameters, const Vector& theta,
                                          const Graph& graph, const ParameterRules& rules) {
  std::vector<ParameterRule> all(parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const ParameterInfo& parameter = parameters[i];
    const auto kind = rules.find(parameter.kind);
    if (kind != rules.end()) {
      const std::int64_t item = parameter.edge >= 0 ? parameter.edge : parameter.node;
      const std::uint32_t layer = parameter.edge >= 0
                                      ? graph.edges[static_cast<std::size_t>(parameter.edge)].layer
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
