#include <klu.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <optional>

#include "algebra/cholmod_analysis.hpp"
#include "algebra/contraction.hpp"
#include "algebra/fronts.hpp"
#include "algebra/sparse_lu.hpp"

namespace ness::sim {

namespace {
// Below this many operations, minimum degree is close to the best order. Above it, nested dissection is tried
// too (2-D lattices: from about 2 x 10^4 nodes).
constexpr double worth_dissecting = 5e7;
}  // namespace

Ordering::Analysis Ordering::analyse(int method) const {
  const CholmodAnalysis analysis(*pattern_, method, {}, CHOLMOD_SIMPLICIAL);
  const auto* order = static_cast<const std::int32_t*>(analysis.factor->Perm);
  return {{order, order + pattern_->nodes()}, analysis.common.fl};
}

double Ordering::first_flops() const {
  std::call_once(once_first_, [this] { first_ = analyse(CHOLMOD_AMD); });
  return first_.flops;
}

const Ordering::Analysis& Ordering::best() const {
  std::call_once(once_best_, [this] {
    const double flops = first_flops();
    best_ = first_;
    if (flops < worth_dissecting) return;
    Analysis dissected = analyse(CHOLMOD_METIS);
    if (dissected.flops < flops) best_ = std::move(dissected);
  });
  return best_;
}

const std::vector<std::int32_t>& Ordering::order() const { return best().order; }
double Ordering::flops() const { return best().flops; }
const std::shared_ptr<const Fronts>& Ordering::fronts() const {
  std::call_once(once_fronts_, [this] { fronts_ = std::make_shared<const Fronts>(Fronts::of(*this)); });
  return fronts_;
}

struct SparseLu::Impl {
  std::shared_ptr<const Ordering> ordering;
  std::optional<FrontalLu> frontal;
  klu_common common;
  klu_symbolic* symbolic = nullptr;
  klu_numeric* numeric = nullptr;  // of a matrix that needed a search for pivots
  std::vector<double> values;      // of the matrix factored
  bool good = false;               // the matrix was regular
  // KLU takes indices as int *, but does not change them.
  int* begin() const { return const_cast<int*>(ordering->pattern()->begin.data()); }
  int* column() const { return const_cast<int*>(ordering->pattern()->column.data()); }

  explicit Impl(std::shared_ptr<const Ordering> given) : ordering(std::move(given)) {
    klu_defaults(&common);
    common.btf = 0;    // one block: every edge couples both ways
    common.scale = 2;  // by the largest entry
  }
  ~Impl() {
    drop();
    if (symbolic != nullptr) klu_free_symbolic(&symbolic, &common);
  }
  void drop() {
    if (numeric != nullptr) klu_free_numeric(&numeric, &common);
    good = false;
  }
  bool eliminate(const Jacobian& matrix, FrontalLu::Pivots pivots) {
    if (!frontal) frontal.emplace(ordering->fronts());
    return frontal->factor(matrix, pivots);
  }
  // KLU reads the rows of the matrix as columns: it factors the transpose.
  bool pivot() {
    if (symbolic == nullptr) {
      // The order is given, so KLU does not search for one.
      auto* order = const_cast<int*>(ordering->order().data());
      symbolic = klu_analyze_given(static_cast<int>(ordering->pattern()->nodes()), begin(), column(), order,
                                   order, &common);
      if (symbolic == nullptr) throw std::bad_alloc();
    }
    numeric = klu_factor(begin(), column(), values.data(), symbolic, &common);
    if (common.status < 0) throw std::bad_alloc();  // out of memory, or more than 2^31 - 1 entries
    if (numeric == nullptr || common.status != KLU_OK) return false;
    klu_rcond(symbolic, numeric, &common);
    return common.rcond > 1e-14;  // false for NaN
  }
};

SparseLu::SparseLu(std::shared_ptr<const Ordering> ordering, SolverCounts& counts)
    : impl_(std::make_unique<Impl>(std::move(ordering))), counts_(counts) {}
SparseLu::~SparseLu() = default;
void SparseLu::forget() { impl_->drop(); }

bool SparseLu::factor(const Jacobian& matrix) {
  Impl& lu = *impl_;
  const std::vector<double>& a = matrix.values();
  if (lu.good && std::memcmp(lu.values.data(), a.data(), a.size() * sizeof(double)) == 0)
    return ++counts_.reused, true;
  lu.drop();
  if (!matrix.finite()) return false;
  lu.values = a;
  if (lu.eliminate(matrix, FrontalLu::Pivots::any)) return ++counts_.factored, lu.good = true;
  ++counts_.pivoted;
  if (lu.pivot()) return lu.good = true;
  lu.drop();
  return false;
}

bool SparseLu::positive_definite(const Jacobian& symmetric) {
  impl_->drop();
  return symmetric.finite() && impl_->eliminate(symmetric, FrontalLu::Pivots::positive);
}

void SparseLu::solve(const Vector& b, Vector& x) {
  Impl& lu = *impl_;
  x = b;
  if (lu.good && lu.numeric == nullptr) return lu.frontal->solve(x);
  if (!lu.good ||
      klu_tsolve(lu.symbolic, lu.numeric, static_cast<int>(b.size()), 1, x.data(), &lu.common) == 0) {
    x.setConstant(std::numeric_limits<double>::quiet_NaN());
  }
}

void SparseLu::solve_transposed(const Vector& b, Vector& x) {
  Impl& lu = *impl_;
  x = b;
  if (lu.good && lu.numeric == nullptr) return lu.frontal->solve_transposed(x);
  if (!lu.good ||
      klu_solve(lu.symbolic, lu.numeric, static_cast<int>(b.size()), 1, x.data(), &lu.common) == 0) {
    x.setConstant(std::numeric_limits<double>::quiet_NaN());
  }
}

namespace {
class SparseLuSolver final : public LinearSolver, public Counting {
 public:
  explicit SparseLuSolver(std::shared_ptr<const Ordering> ordering)
      : lu_(ordering, counts), contraction_(ordering) {}
  bool factor(const Jacobian& matrix) override { return lu_.factor(matrix); }
  void solve(const Vector& b, Vector& x) override { lu_.solve(b, x); }
  void solve_transposed(const Vector& b, Vector& x) override { lu_.solve_transposed(b, x); }
  bool contracting(const Jacobian& jacobian) override {
    return contraction_.shown(
        jacobian,
        [&](const Jacobian& comparison, Vector& d) {
          if (!lu_.factor(comparison)) return false;
          lu_.solve(Vector::Ones(comparison.size()), d);
          return true;
        },
        [&](const Jacobian& symmetric) { return lu_.positive_definite(symmetric); }, counts);
  }
  void forget() override {
    lu_.forget();
    contraction_.forget();
  }

 private:
  SparseLu lu_;
  Contraction contraction_;
};
}  // namespace

std::unique_ptr<LinearSolver> sparse_lu(std::shared_ptr<const Ordering> ordering) {
  return std::make_unique<SparseLuSolver>(std::move(ordering));
}

const SolverCounts* counts_of(const LinearSolver& solver) {
  const auto* counting = dynamic_cast<const Counting*>(&solver);
  return counting == nullptr ? nullptr : &counting->counts;
}

}  // namespace ness::sim
