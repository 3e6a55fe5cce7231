// CHOLMOD's symbolic analysis of a network's pattern.
#pragma once

#include <cholmod.h>

#include <cstdint>
#include <new>
#include <vector>

#include "ness/network/jacobian.hpp"

namespace ness::sim {

struct CholmodAnalysis {
  cholmod_common common;
  cholmod_factor* factor = nullptr;

  /// method: CHOLMOD_AMD, CHOLMOD_METIS, or CHOLMOD_GIVEN with an order; kind: CHOLMOD_SIMPLICIAL or
  /// CHOLMOD_SUPERNODAL. Throws std::bad_alloc if memory is insufficient, or if there are more than 2^31 - 1
  /// entries.
  CholmodAnalysis(const JacobianPattern& of, int method, const std::vector<std::int32_t>& order, int kind) {
    cholmod_start(&common);
    common.nmethods = 1;
    common.method[0].ordering = method;
    common.postorder = 1;
    common.supernodal = kind;
    common.print = 0;
    // CHOLMOD reads only one triangle, and no values. It takes indices as int *, but does not change them.
    cholmod_sparse matrix{};
    matrix.nrow = matrix.ncol = of.nodes();
    matrix.nzmax = of.entries();
    matrix.p = const_cast<std::int32_t*>(of.begin.data());
    matrix.i = const_cast<std::int32_t*>(of.column.data());
    matrix.stype = -1;
    matrix.itype = CHOLMOD_INT;
    matrix.xtype = CHOLMOD_PATTERN;
    matrix.dtype = CHOLMOD_DOUBLE;
    matrix.sorted = matrix.packed = 1;
    factor = cholmod_analyze_p(&matrix,
                               method == CHOLMOD_GIVEN ? const_cast<std::int32_t*>(order.data()) : nullptr,
                               nullptr, 0, &common);
    if (factor != nullptr && (kind == CHOLMOD_SIMPLICIAL || factor->is_super != 0)) return;
    cholmod_free_factor(&factor, &common);
    cholmod_finish(&common);
    throw std::bad_alloc();
  }
  ~CholmodAnalysis() {
    cholmod_free_factor(&factor, &common);
    cholmod_finish(&common);
  }
  CholmodAnalysis(const CholmodAnalysis&) = delete;
  CholmodAnalysis& operator=(const CholmodAnalysis&) = delete;
};

}  // namespace ness::sim
