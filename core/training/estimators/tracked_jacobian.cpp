#include "estimators/tracked_jacobian.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace ness {
namespace {

// Numbers of an entry before its vectors: sample, age, next, due (and 2 more where variances follow; earlier
// versions did not keep them), answers, free, currents.
constexpr Eigen::Index head = 7;

bool is_count(double x) { return x >= 0 && x < 0x1p53 && x == std::floor(x); }

}  // namespace

// Of errors e of a row and y of the answer the residual is r = y - e x, of variance s; given r, e is -V x r /
// s and an independent rest of variance V - V x x V / s. The update adds g r x / |x|^2. A residual that noise
// does not explain shows a change of the response, not the errors: its expected square is used.
void KnownJacobian::follow(const Vector& input, double of_answer, double seen, double gain) {
  constexpr double errors = 3;
  const Vector weighted = variance.cwiseProduct(input);
  const double sum = weighted.dot(input) + of_answer;
  if (!(sum > 0)) return;
  const double square = seen <= errors * errors * sum ? seen : sum;
  variance +=
      square * (gain / input.squaredNorm() * input - weighted / sum).cwiseAbs2() - weighted.cwiseAbs2() / sum;
}

bool KnownJacobian::correct(const Vector& input, const Vector& answer, double error, double of_answer,
                            double reset) {
  constexpr double errors = 3;
  const Vector expected = response * input, residual = answer - expected;
  const double squared = residual.squaredNorm(), length = input.squaredNorm();
  if (!(squared > 0) || !(length > 0)) return false;
  const double gain = std::max(0.0, 1 - error * error / squared);
  response += gain / length * residual * input.transpose();
  if (std::isnan(of_answer)) variance.resize(0);
  if (variance.size() > 0) follow(input, of_answer, squared / static_cast<double>(residual.size()), gain);
  return std::sqrt(squared) > reset * expected.norm() + errors * error;
}

const KnownJacobian* TrackedJacobians::find(std::uint64_t sample) const {
  const auto at = known_.find(sample);
  return at == known_.end() ? nullptr : &at->second;
}

void TrackedJacobians::store(std::uint64_t sample, KnownJacobian known) { known_[sample] = std::move(known); }

double TrackedJacobians::bytes(std::uint64_t samples, std::size_t answers, std::size_t free) {
  return static_cast<double>(samples) * static_cast<double>((answers + 3) * free) * sizeof(double);
}

Vector TrackedJacobians::pack() const {
  Eigen::Index size = 0;
  for (const auto& [sample, known] : known_)
    size +=
        head + known.potential.size() + known.currents.size() + known.response.size() + known.variance.size();
  Vector numbers(size);
  Eigen::Index at = 0;
  const auto put = [&](const auto& part) {
    numbers.segment(at, part.size()) = part.reshaped();
    at += part.size();
  };
  for (const auto& [sample, known] : known_) {
    Vector counts(head);
    counts << static_cast<double>(sample), static_cast<double>(known.age), static_cast<double>(known.next),
        (known.due ? 1 : 0) + (known.variance.size() > 0 ? 2 : 0), static_cast<double>(known.response.rows()),
        static_cast<double>(known.response.cols()), static_cast<double>(known.currents.size());
    put(counts);
    put(known.potential);
    put(known.currents);
    put(known.response);
    put(known.variance);
  }
  return numbers;
}

void TrackedJacobians::unpack(const Vector& numbers, std::string_view who) {
  std::map<std::uint64_t, KnownJacobian> found;
  Eigen::Index at = 0;
  const auto refuse = [&] {
    throw std::invalid_argument(std::string(who) + ": " + std::to_string(numbers.size()) +
                                " numbers of a state, in which number " + std::to_string(at) +
                                " begins no remembered Jacobian");
  };
  while (at < numbers.size()) {
    if (numbers.size() - at < head) refuse();
    for (Eigen::Index k = 0; k < head; ++k) {
      if (!is_count(numbers[at + k])) refuse();
    }
    const double answers = numbers[at + 4], free = numbers[at + 5], currents = numbers[at + 6];
    const double flags = numbers[at + 3], variances = flags >= 2 ? free : 0;
    if (!(currents == 0 || currents == free) || flags > 3 ||
        free + currents + answers * free + variances > static_cast<double>(numbers.size() - at - head))
      refuse();
    KnownJacobian known;
    known.age = static_cast<std::uint64_t>(numbers[at + 1]);
    known.next = static_cast<std::uint64_t>(numbers[at + 2]);
    known.due = flags == 1 || flags == 3;
    const auto rows = static_cast<Eigen::Index>(answers), n = static_cast<Eigen::Index>(free),
               m = static_cast<Eigen::Index>(currents);
    const auto sample = static_cast<std::uint64_t>(numbers[at]);
    at += head;
    known.potential = numbers.segment(at, n);
    known.currents = numbers.segment(at + n, m);
    known.response = numbers.segment(at + n + m, rows * n).reshaped(rows, n);
    known.variance = numbers.segment(at + n + m + rows * n, flags >= 2 ? n : 0);
    at += n + m + rows * n + known.variance.size();
    found[sample] = std::move(known);
  }
  known_ = std::move(found);
}

}  // namespace ness
