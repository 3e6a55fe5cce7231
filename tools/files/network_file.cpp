#include "ness/files/network_file.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "ness/device/nearest.hpp"
#include "ness/device/error.hpp"

namespace ness {

namespace {

using Json = nlohmann::json;

/// One JSON object, read strictly: fields nobody asks for are errors.
class Fields {
 public:
  Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) throw FileError(where_ + ": expected an object {..}, found " + shown(object));
  }

  const Json* find(const std::string& name) {
    asked_.insert(name);
    const auto it = object_.find(name);
    return it == object_.end() ? nullptr : &*it;
  }
  const Json& need(const std::string& name, const std::string& expected) {
    const Json* found = find(name);
    if (!found) fail(name, "missing; expected " + expected);
    return *found;
  }

  enum class Must { finite, positive, not_negative };
  bool number(const std::string& name, double& value, Must must = Must::finite) {
    const Json* found = find(name);
    if (!found) return false;
    const double number =
        found->is_number() ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
    const bool good = std::isfinite(number) &&
                      (must == Must::finite || number > 0 || (must == Must::not_negative && number == 0));
    if (!good) {
      const char* expected = must == Must::finite     ? "a finite number"
                             : must == Must::positive ? "a number > 0"
                                                      : "a number >= 0";
      fail(name, std::string("expected ") + expected + ", found " + shown(*found));
    }
    value = number;
    return true;
  }
  /// An index below `count`.
  std::uint32_t index(const std::string& name, std::size_t count) {
    return index_of(need(name, "a node"), name, count);
  }
  std::uint32_t index_of(const Json& value, const std::string& name, std::size_t count) {
    if (!value.is_number_integer() || value.get<std::int64_t>() < 0 || value.get<std::uint64_t>() >= count) {
      fail(name, "expected a node from 0 to " + std::to_string(count - 1) + ", found " + shown(value));
    }
    return value.get<std::uint32_t>();
  }

  void finish() const {
    for (const auto& [name, value] : object_.items()) {
      if (!asked_.count(name))
        fail(name, "unknown field; " + suggestion(name, {asked_.begin(), asked_.end()}));
    }
  }
  [[noreturn]] void fail(const std::string& name, const std::string& message) const {
    throw FileError(where_ + ": '" + name + "': " + message);
  }
  static std::string shown(const Json& value) {
    if (value.is_object()) return "an object";
    if (value.is_array()) return "an array of " + std::to_string(value.size());
    return value.dump();
  }

 private:
  const Json& object_;
  std::string where_;
  std::set<std::string> asked_;
};

void read_node(Fields fields, GraphNode& node, sim::NodeProperties& properties) {
  using Must = Fields::Must;
  if (const Json* clamped = fields.find("clamped")) {
    if (!clamped->is_boolean())
      fields.fail("clamped", "expected true or false, found " + Fields::shown(*clamped));
    node.clamped = clamped->get<bool>();
  }
  if (const Json* name = fields.find("name")) {
    if (!name->is_string()) fields.fail("name", "expected a string, found " + Fields::shown(*name));
    node.name = name->get<std::string>();
  }
  fields.number("T", properties.T, Must::positive);
  fields.number("g", properties.g, Must::not_negative);
  fields.number("mu_ref", properties.mu_ref);
  fields.number("capacity", properties.capacity, Must::positive);
  fields.number("mu0", properties.mu0);
  fields.number("mu_init", properties.mu_init);
  fields.finish();
}

std::array<bool, 4> read_edge(Fields fields, std::size_t nodes, GraphEdge& edge,
                              sim::EdgeProperties& properties) {
  std::array<bool, 4> all_given{};
  edge.source = fields.index("source", nodes);
  edge.target = fields.index("target", nodes);
  const Json& law = fields.need("law", sim::law_names());
  if (!law.is_string()) fields.fail("law", "expected " + sim::law_names() + ", found " + Fields::shown(law));
  try {
    properties.law = sim::law_of(law.get<std::string>());
  } catch (const std::invalid_argument&) {
    fields.fail("law", "expected " + sim::law_names() + ", found " + Fields::shown(law));
  }
  const std::span<const sim::LawParameter> parameters = properties.law->parameters;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const sim::LawParameter& parameter = parameters[i];
    const std::string name(parameter.name);
    properties.p[i] = parameter.initial;
    // JSON has no infinity: no inhibition is a Ki that is absent, null or "inf".
    const Json* found = fields.find(name);
    if (found && std::isinf(parameter.initial) && (found->is_null() || *found == "inf")) continue;
    all_given[i] =
        fields.number(name, properties.p[i],
                      parameter.sign == sim::Sign::any ? Fields::Must::finite : Fields::Must::not_negative);
    if (!all_given[i] && std::isnan(parameter.initial)) {
      fields.fail(name, "missing; a " + std::string(properties.law->name) + " edge needs it");
    }
  }
  fields.finish();
  return all_given;
}

Json parsed(const std::string& text, const std::string& path) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    const std::size_t at = std::min(error.byte, text.size());
    const auto line =
        1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at > 0 ? at - 1 : 0), '\n');
    std::string what = error.what();
    if (const auto colon = what.find(": "); colon != std::string::npos) what = what.substr(colon + 2);
    throw FileError(path + ":" + std::to_string(line) + ": no JSON (which has no NaN or Infinity): " + what);
  }
}

const Json& array_of(Fields& fields, const std::string& name, const std::string& what) {
  const Json& found = fields.need(name, "an array of " + what);
  if (!found.is_array())
    fields.fail(name, "expected an array of " + what + ", found " + Fields::shown(found));
  return found;
}

}  // namespace

sim::NetworkSpec network_from_json(const std::string& text, const std::string& path,
                                   std::vector<std::array<bool, 4>>* given) {
  const Json root = parsed(text, path);
  Fields fields(root, path);
  sim::NetworkSpec spec;
  const Json& nodes = array_of(fields, "nodes", "nodes");
  const Json& edges = array_of(fields, "edges", "edges");
  const Json& outputs = array_of(fields, "outputs", "output nodes");
  spec.graph.nodes.resize(nodes.size());
  spec.nodes.resize(nodes.size());
  spec.graph.edges.resize(edges.size());
  spec.edges.resize(edges.size());
  for (std::size_t k = 0; k < nodes.size(); ++k) {
    spec.graph.nodes[k].name = std::to_string(k);
    read_node(Fields(nodes[k], path + ": nodes[" + std::to_string(k) + "]"), spec.graph.nodes[k],
              spec.nodes[k]);
  }
  for (std::size_t e = 0; e < edges.size(); ++e) {
    Fields edge(edges[e], path + ": edges[" + std::to_string(e) + "]");
    const auto of_edge = read_edge(std::move(edge), nodes.size(), spec.graph.edges[e], spec.edges[e]);
    if (given) given->push_back(of_edge);
  }
  for (const Json& output : outputs)
    spec.graph.outputs.push_back(fields.index_of(output, "outputs", nodes.size()));
  fields.number("kT", spec.kT, Fields::Must::positive);
  fields.number("c_ref", spec.c_ref, Fields::Must::positive);
  if (const Json* title = fields.find("title"); title && !title->is_string()) {
    fields.fail("title", "expected a string, found " + Fields::shown(*title));
  }
  fields.finish();
  if (const std::string problem = spec.problem(); !problem.empty()) throw FileError(path + ": " + problem);
  return spec;
}

}  // namespace ness
