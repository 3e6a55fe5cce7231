// An edge law that Ness does not have, added as a user would: only hopping.cpp and its row in table.cpp.
#pragma once

#include "ness/network/edge_laws.hpp"

/// I = G sinh((mu_s - mu_t)/(w kT)): electrons hopping over a barrier in both directions (Eyring); w is the
/// width of a hop.
extern const ness::sim::EdgeLaw hopping_law;
