// The table of laws of this program, replacing the library's (sim/network/laws/table.cpp): one additional
// row.
#include "sim/toy_law/toy_law.hpp"

namespace ness::sim {

namespace {
constexpr Law table[] = {Law::linear, Law::quantum_dot, Law::enzyme, hopping_law};
}  // namespace

std::span<const Law> edge_laws() { return table; }

}  // namespace ness::sim
