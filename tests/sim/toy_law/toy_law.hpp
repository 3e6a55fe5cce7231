// An edge law that Ness does not have, as somebody would add it: hopping.cpp and its row in table.cpp are all.
#pragma once

#include "ness/network/edge_laws.hpp"

/// I = G sinh((mu_s - mu_t)/(w kT)): electrons that hop over a barrier both ways (Eyring), w their step.
extern const ness::sim::EdgeLaw hopping_law;
