// The table of laws. Nothing else is in this file, so that a program can bring its own table.
#include "ness/network/edge_laws.hpp"

namespace ness::sim {

namespace {
constexpr Law table[] = {Law::linear, Law::quantum_dot, Law::enzyme};
}  // namespace

std::span<const Law> edge_laws() { return table; }

}  // namespace ness::sim
