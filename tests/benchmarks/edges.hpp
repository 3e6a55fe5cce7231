// Units of the other figures: one exponential, and one edge of a kernel. Pairs are measured alternately,
// because the speed of a machine changes from second to second.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <thread>
#include <vector>

#include "kernels/aligned.hpp"
#include "laws/laws.hpp"
#include "ness/device/random.hpp"

namespace benchmarks {

using ness::sim::Law;
namespace kernels = ness::sim::kernels;

template <class Work>
double seconds(Work work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The smallest of two alternately measured durations each, and the median of their ratios.
class Turns {
 public:
  void see(double first, double second) {
    first_ = std::min(first_, first);
    second_ = std::min(second_, second);
    ratios_.push_back(first / second);
  }
  double first() const { return first_; }
  double second() const { return second_; }
  double ratio() const {
    std::vector<double> sorted = ratios_;
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2),
                     sorted.end());
    return sorted[sorted.size() / 2];
  }

 private:
  double first_ = 1e300, second_ = 1e300;
  std::vector<double> ratios_;
};

/// Powers of two of 1024 numbers, read from and written to the first-level cache.
template <class T>
class Exponentials {
 public:
  Exponentials() {
    ness::Random random(1, 1);
    for (std::size_t i = 0; i < n; ++i) y_[i] = static_cast<T>(3 * random.normal());
  }
  /// Seconds per exponential.
  double once() {
    return seconds([&] {
             for (int i = 0; i < passes; ++i) kernels::power_of_two(n, y_.get(), out_.get());
           }) /
           (passes * static_cast<double>(n));
  }

 private:
  static constexpr int passes = 24;
  static constexpr std::size_t n = 1024;
  ness::sim::Aligned<T> y_ = ness::sim::aligned<T>(n), out_ = ness::sim::aligned<T>(n);
};

enum class Use : std::uint8_t { value, sum, each, gradient };

/// The input edges of a 784-30-10 network: 30 fan-ins of 784 edges. Their parameters (280 kB in single
/// precision) stream from the second-level cache; potentials stay in the first.
template <class T>
class InputEdges {
 public:
  static constexpr std::size_t inputs = 784, nodes = 30, count = inputs * nodes;

  explicit InputEdges(Law law, bool unequal_T = false) : law_(law), unequal_(unequal_T) {
    ness::Random random(2, 2);
    const bool positive = law != Law::quantum_dot;
    for (auto& run : p_) {
      run = ness::sim::aligned<T>(count);
      for (std::size_t i = 0; i < count; ++i)
        run[i] = static_cast<T>(positive ? std::exp(random.normal()) : random.normal());
    }
    for (auto& run : gradient_) std::fill_n((run = ness::sim::aligned<T>(count)).get(), count, T(0));
    ends(inputs, mu_s_, node_s_, random);
    ends(nodes, mu_t_, node_t_, random);
    std::fill_n(ones_.get(), count, T(1));
    for (auto& values : out_) values = ness::sim::aligned<T>(inputs);
  }

  /// Seconds per edge.
  double once(Use use) {
    return seconds([&] {
             for (std::size_t j = 0; j < nodes; ++j) fan_in(use, j);
           }) /
           static_cast<double>(count);
  }

 private:
  using Run = ness::sim::Aligned<T>;
  void ends(std::size_t n, Run& mu, Run& node, ness::Random& random) {
    mu = ness::sim::aligned<T>(n);
    node = ness::sim::aligned<T>(n);
    for (std::size_t i = 0; i < n; ++i) {
      const double x = random.normal();
      mu[i] = static_cast<T>(x);
      node[i] = static_cast<T>(law_ == Law::enzyme ? std::exp(x) : std::exp(-x));
    }
  }

  void fan_in(Use use, std::size_t j) {
    kernels::Edges<T> e;
    e.n = inputs;
    const std::size_t parameters = law_ == Law::quantum_dot ? 3 : law_->parameters.size();
    for (std::size_t k = 0; k < parameters; ++k) e.p[k] = p_[k].get() + j * inputs;
    e.mu_s = mu_s_.get();
    e.mu_t = mu_t_.get() + j;
    e.one_target = true;
    if (!unequal_) {
      e.node_s = node_s_.get();
      e.node_t = node_t_.get() + j;
    }
    e.inverse_s = e.inverse_t = e.quotient = ones_.get() + j * inputs;
    switch (use) {
      case Use::value: sink_ += kernels::current_sum(law_, e); break;
      case Use::sum: {
        const kernels::Sum<T> sum = kernels::sum(law_, e);
        sink_ += sum.current + sum.by_target;
        break;
      }
      case Use::each: kernels::each(law_, e, out_[0].get(), out_[1].get(), out_[2].get()); break;
      case Use::gradient: {
        T* by[4];
        for (std::size_t k = 0; k < 4; ++k) by[k] = gradient_[k].get() + j * inputs;
        const T weight = static_cast<T>(1e-3);
        kernels::gradient(law_, e, &weight, true, by);
      }
    }
  }

  Law law_;
  bool unequal_;
  std::array<Run, 4> p_, gradient_;
  Run mu_s_, node_s_, mu_t_, node_t_, ones_ = ness::sim::aligned<T>(count);
  std::array<Run, 3> out_;
  T sink_ = 0;
};

/// Units of epochs: one evaluation (value and derivative) of an input edge in single precision, and one
/// exponential. Measured on all cores at once, as epochs use them; on a shared machine cores are not equally
/// fast.
class Units {
 public:
  Units() : cores_(std::max(1U, std::thread::hardware_concurrency())) {}
  /// The present units, seconds on one core: medians of a few turns over about 10 ms, from averaged rates of
  /// the cores.
  struct Moment {
    double edge, exponential;
  };
  Moment now() {
    std::vector<Moment> of(cores_.size());
    {
      std::vector<std::jthread> threads;
      for (std::size_t i = 0; i < cores_.size(); ++i)
        threads.emplace_back([&, i] { of[i] = cores_[i].now(); });
    }
    Moment rates{0, 0};
    for (const Moment& core : of) {
      rates.edge += 1 / core.edge;
      rates.exponential += 1 / core.exponential;
    }
    const auto count = static_cast<double>(of.size());
    return {count / rates.edge, count / rates.exponential};
  }

 private:
  struct Core {
    InputEdges<float> edges{Law::quantum_dot};
    Exponentials<float> exponentials;
    Moment now() {
      std::array<double, 21> edge{}, exponential{};
      for (std::size_t i = 0; i < edge.size(); ++i) {
        edge[i] = edges.once(Use::sum);
        exponential[i] = exponentials.once();
      }
      std::nth_element(edge.begin(), edge.begin() + 10, edge.end());
      std::nth_element(exponential.begin(), exponential.begin() + 10, exponential.end());
      return {edge[10], exponential[10]};
    }
  };
  std::vector<Core> cores_;
};

}  // namespace benchmarks
