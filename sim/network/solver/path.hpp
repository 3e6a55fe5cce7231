// What the reference solver and the batches have in common in following a relaxation (rosenbrock.cpp,
// steady_state.cpp, batch_lanes-inl.hpp). Numbers alone: vector code includes nothing that is inlined
// elsewhere.
#pragma once

namespace ness::sim::path {

/// The tolerance of a step in widths of the steepest edge, relative to that in kT.
constexpr double most_of_a_width = 6;
/// An error may grow by this factor within a step; an implicit method damps what grows faster, 1/(1 - z)^2
/// for e^(2z).
constexpr double fastest_growth = 2;
/// An unstable state has been left when the flow is faster by this factor.
constexpr double leaving = 10;
/// A relaxation whose errors may have led it this far from its path (arguments of an edge's exponentials) is
/// repeated with smaller steps; a batch leaves it to the reference solver.
constexpr double most_strayed = 0.3;
/// Newton's method may go this far in total, in widths of the steepest edge, for a trust of 1 kT. A
/// certificate at every iterate says nothing of the states that the relaxation passes beside them: at 4
/// widths one network of 6,600 was taken to another branch.
constexpr double trusted_widths = 1;
/// Certificates of contraction hold for what is between them where they are no further apart.
constexpr double certified_widths = 0.5;

}  // namespace ness::sim::path
