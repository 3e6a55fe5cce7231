// Arithmetic of batches: relaxations of one network side by side, in vector code. Purpose and set-up:
// batch.hpp.
//
// There are two layouts. Input edges: one sample at a time, the nodes that the edges lead to side by side, in
// blocks of 16. The network between free nodes: 16 samples side by side (fewer with shorter vectors), so that
// its small linear systems take almost no time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ness::sim::batches {

constexpr std::size_t block = 16;  ///< nodes, and at most samples, side by side
constexpr std::uint32_t nobody = 0xffffffffU;

/// A network in the order of elimination: nodes 0 .. first-1 have no edges between them and are eliminated
/// first.
struct Shape {
  std::size_t inputs = 0;              ///< clamped nodes
  std::size_t first = 0, rest = 0;     ///< free nodes
  std::size_t blocks = 0;              ///< of fed nodes: nodes that input edges lead to
  const std::uint32_t* fed = nullptr;  ///< [blocks * 16] the node of each place; nobody: padding
  std::size_t edges = 0;               ///< between free nodes
  const std::uint32_t *source = nullptr, *target = nullptr;  ///< [edges] nodes
  /// [edges] places of the couplings
  const std::uint32_t *source_target = nullptr, *target_source = nullptr;
  const bool* repeated = nullptr;  ///< [edges] an earlier edge has the same ends
  std::size_t nodes() const { return first + rest; }
  std::size_t couplings() const {
    return 2 * first * rest + rest * rest;
  }  ///< upper [first][rest], lower [rest][first], square [rest][rest]
};

/// A parameter vector in the order and precision of the kernels. Potentials times `scale` are in units of kT
/// T ln 2.
template <class T>
struct Values {
  T scale = 1;               ///< log2(e)/(kT T)
  T inverse = 1;             ///< 1/(kT T)
  const T* input = nullptr;  ///< [blocks][inputs][3][16] gamma, scale a, b; gamma 0 where there is no edge
  const T *gamma = nullptr, *a = nullptr, *b = nullptr;          ///< [edges], a scaled
  const T *g = nullptr, *mu_ref = nullptr, *capacity = nullptr;  ///< [nodes]
  const T* steepness = nullptr;                                  ///< [nodes] Network::steepness
  /// Error of the derivatives that expansions give for the input currents of a fed node, [blocks * 16]: at a
  /// distance D from the expansion point it is at most slope_noise + slope_growth D^3. Null: the derivatives
  /// of expansions are not accurate enough.
  const T *slope_noise = nullptr, *slope_growth = nullptr;
  /// Interval of potentials (kT) in which input currents are known as functions.
  T low = 0, high = 0;
  /// In that interval, |scaled level of an input edge| plus |scaled potential of either end| stays below
  /// most_exponent.
  bool bounded = false;
};
/// Exponents of two that need no limit: the product of two factors 1 + 2^x, and its inverse, are far from the
/// ends of the range.
template <class T>
constexpr double most_exponent = sizeof(T) == sizeof(float) ? 59 : 490;

/// All that is computed once per update of the parameters, at the nodes of the series, to represent the input
/// currents of samples as Chebyshev series of their nodes' own potentials.
template <class T>
struct Table {
  std::size_t terms = 0;  ///< of the series, a multiple of 4; 0: there are no input edges
  T low = 0, high = 0;    ///< their interval (kT)
  /// There is a commonest level; only inputs that differ from it are singles.
  bool based = false;
  T level = 0, exponential = 1;         ///< the commonest level, scaled, and 2^-level
  T highest = 0;                        ///< exponents a + b x are limited to this
  bool wide = false;                    ///< occupations may be too small for the precision
  const T* node_exponential = nullptr;  ///< [terms] 2^-mu
  const T* transform = nullptr;         ///< [terms][terms] from values at the nodes to the series
  const T* growth = nullptr;            ///< [blocks][inputs][terms][16] 2^(-b mu)
  const T* current = nullptr;           ///< [blocks][inputs][terms][16] at the commonest level, or null
  const T* sum = nullptr;               ///< [terms][blocks * 16] `current` summed over the inputs
};

/// The currents into the fed nodes from the common inputs, if all of these had the base level, as Chebyshev
/// series of the node's own potential.
template <class T>
struct Base {
  const std::uint8_t* common = nullptr;  ///< [inputs]
  std::size_t terms = 0;                 ///< 0: no base
  T level = 0, exponential = 1;          ///< scaled level, 2^-level
  T low = 0, high = 0;                   ///< the series' interval (kT)
  const T* current = nullptr;            ///< [terms][blocks * 16]
};

/// Inputs whose edges are handled by one task.
constexpr std::size_t stretch = 56;

/// An input whose edges are evaluated one by one: a common input that differs from the base level, or an
/// input that is not common.
template <class T>
struct SingleInput {
  std::uint32_t input;
  T level, exponential;  ///< scaled, and 2^-level
};

/// One sample of a group.
template <class T>
struct Sample {
  /// First the common ones, then the others; without a base, all inputs.
  const SingleInput<T>* singles = nullptr;
  std::size_t n_singles = 0, n_common = 0;
  const T* start = nullptr;   ///< [nodes] kT
  const T* inject = nullptr;  ///< [nodes]; null: none
  // Results:
  T* potential = nullptr;  ///< [nodes]
  bool converged = false, contracting = true, followed = false;
  T bound = 0, displacement = 0, time = 0;
  std::uint32_t exact = 0;
};

struct Limits {
  double path_tolerance = 0.03, path_reach = 4, margin = 1e-4, trust = 0.5, tolerance = 1e-3, kT = 1;
  /// Distance (kT) from the expansion point within which expansions of input currents are accurate enough to
  /// apply the exact law.
  double reach = 0.3;
  std::uint32_t max_steps = 200;
};

/// Gradient of a group of samples, summed over the samples; every entry is multiplied by +costate.
template <class T>
struct Sums {
  /// [blocks][inputs][3][16] Window, level, and level times difference (scaled), without the factor gamma.
  T* input = nullptr;
  T* edge = nullptr;  ///< [edges][3][16 samples]
  T* leak = nullptr;  ///< [nodes][2][16 samples]: g, mu_ref
  /// [terms][blocks * 16] Sum of costate times Chebyshev polynomials, if there is a base.
  T* moments = nullptr;
};

/// Sums of several chunks of samples, side by side in memory. Each chunk begins with the sums of its input
/// edges.
template <class T>
struct Chunks {
  const T* sums = nullptr;
  std::size_t n = 0, size = 0;  ///< number of chunks, and numbers per chunk
};

/// One sample of a gradient.
template <class T>
struct Pull {
  /// As in Sample; the inputs that are not common are the same for all samples.
  const SingleInput<T>* singles = nullptr;
  std::size_t n_singles = 0, n_common = 0;
  const T* potential = nullptr;  ///< [nodes]
  const T* cotangent = nullptr;  ///< [nodes] dL/dmu; null: the costate is given
  T* costate = nullptr;          ///< [nodes]
  bool singular = false;         ///< result: there is no costate
};

/// Rows of `block` numbers for the network between free nodes of one group.
inline std::size_t lane_rows(const Shape& s, std::size_t terms) {
  return 20 * s.nodes() + s.couplings() + s.rest * s.rest + s.first * s.rest +
         (9 + terms) * s.blocks * block + (terms > 5 ? terms : 5) * s.blocks;
}
/// Scratch (numbers) for a group that settles: its network, and one sample's levels and their exponentials.
inline std::size_t scratch_to_settle(const Shape& s) { return lane_rows(s, 0) * block + 2 * s.inputs; }
/// The same for a group relaxed in time: also its samples' series while they are computed.
inline std::size_t scratch_to_relax(const Shape& s, std::size_t terms) {
  return (lane_rows(s, terms) + block * terms * s.blocks) * block + 2 * s.inputs;
}
/// The same for the gradient of a group: also its fed nodes three times, those of one sample, and every
/// sample's singles.
inline std::size_t scratch_to_pull(const Shape& s, std::size_t most_singles) {
  return (lane_rows(s, 0) + (3 * block + 1) * s.blocks + block * s.blocks * most_singles * 3) * block;
}

/// The functions compiled for one instruction set.
template <class T>
struct Arithmetic {
  std::size_t group_size;  ///< samples computed side by side
  /// out = level * scale, and exponential = 2^-out, for n levels.
  void (*scale_levels)(std::size_t n, const double* level, T scale, T* out, T* exponential);
  /// Finds a sample's singles: the inputs that are not at their base level [n] (NaN: no base level), then the
  /// varied inputs; returns their number. Sizes: singles n and one vector, chosen n, scratch 2 n. ends: the
  /// smallest and the largest level.
  std::uint32_t (*find_singles)(std::size_t n, const double* level, T scale, const double* base,
                                const std::uint32_t* varied, std::size_t n_varied, SingleInput<T>* singles,
                                double* ends, double* chosen, T* scratch);
  /// For n rows of input edges of one block (Values::input), by the node they lead to, [4][16]: the largest
  /// |scaled a|; the largest of |b| and |c|, c = 1 + b; the sum of |gamma| (|b| + |c| + b^2 + c^2), and that
  /// of |gamma| (b^4 + c^4).
  void (*edge_sizes)(std::size_t n, const T* input, T* sizes);
  /// The exact input currents from the common inputs [inputs], with one level at all inputs and one potential
  /// (kT) at all nodes, [blocks * 16].
  void (*base_currents)(const Shape& shape, const Values<T>& values, const std::uint8_t* common, T level,
                        T exponential, T potential, T* current);
  /// Computes the table's rows of inputs [from, to) of a block, and their sums over these inputs [terms][16];
  /// node: [terms] scaled potentials.
  void (*table_rows)(const Shape& shape, const Values<T>& values, const Table<T>& table, const T* node,
                     std::size_t block_index, std::size_t from, std::size_t to, T* growth, T* current,
                     T* sums);
  /// Newton's method from the starts of n samples, at most group_size; input currents are expanded around the
  /// states reached. Samples that do not reach a steady state are not changed.
  void (*settle_group)(const Shape& shape, const Values<T>& values, const Base<T>& base, const Limits& limits,
                       Sample<T>* samples, std::size_t n, T* scratch);
  /// Relaxes n samples, at most group_size, in time; input currents are expanded around the states reached.
  void (*follow_group)(const Shape& shape, const Values<T>& values, const Base<T>& base, const Limits& limits,
                       Sample<T>* samples, std::size_t n, T* scratch);
  /// Relaxes n samples, at most group_size, in time; input currents are functions of the potentials.
  void (*relax_group)(const Shape& shape, const Values<T>& values, const Table<T>& table,
                      const Limits& limits, Sample<T>* samples, std::size_t n, T* scratch);
  /// Computes costates where a cotangent is given, and adds the gradient sums of a group to `sums`.
  void (*pull_group)(const Shape& shape, const Values<T>& values, const Base<T>& base, Pull<T>* samples,
                     std::size_t n, const Sums<T>& sums, T* scratch);
  /// The sums [to - from][3][16] of input edges [from, to) of a block: those of the chunks, plus the
  /// contribution of the base, which is the sum over the series' nodes of moment times derivative. moments:
  /// [terms][blocks * 16] at the nodes; node, node_exponential: [terms] scaled potentials, and 2^-node.
  void (*input_gradient)(const Shape& shape, const Values<T>& values, const Base<T>& base, const T* node,
                         const T* node_exponential, const T* moments, const Chunks<T>& chunks,
                         std::size_t block_index, std::size_t from, std::size_t to, T* sums);
};
/// The functions of the best instruction set of this machine, or of the forced one (vector_target.hpp). T is
/// float or double.
template <class T>
Arithmetic<T> arithmetic();

}  // namespace ness::sim::batches
