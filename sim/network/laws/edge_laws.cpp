#include "ness/network/edge_laws.hpp"

#include <stdexcept>

namespace ness::sim {

namespace {
std::string listed(const char* quote) {
  const std::span<const Law> laws = edge_laws();
  std::string list;
  for (std::size_t i = 0; i < laws.size(); ++i) {
    if (i > 0) list += i + 1 == laws.size() ? " or " : ", ";
    list += quote + std::string(laws[i]->name) + quote;
  }
  return list;
}
}  // namespace

Law law_of(std::string_view name) {
  for (const Law law : edge_laws()) {
    if (law->name == name) return law;
  }
  throw std::invalid_argument("no edge law '" + std::string(name) + "': expected " + listed(""));
}

std::string law_names() { return listed("'"); }

std::string description(const EdgeLaw& law) {
  std::string text(law.name);
  for (std::size_t i = 0; i < law.parameters.size(); ++i) {
    const LawParameter& parameter = law.parameters[i];
    const bool must_be_given = parameter.initial != parameter.initial;
    text +=
        (i == 0 ? " (" : ", ") + std::string(must_be_given ? "" : "optional ") + std::string(parameter.name);
  }
  return text + (law.pools ? "; capacity is the volume)" : ")");
}

}  // namespace ness::sim
