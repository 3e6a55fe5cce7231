#include "parallel.hpp"

#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

namespace ness::sim {

void for_each_index(std::size_t n, unsigned threads, const std::function<void(std::size_t)>& body) {
  if (threads == 1 || n <= 1) {
    for (std::size_t i = 0; i < n; ++i) body(i);
    return;
  }
  auto loop = [&] { tbb::parallel_for(std::size_t{0}, n, body); };
  if (threads == 0) {
    loop();
  } else {
    tbb::task_arena(static_cast<int>(threads)).execute(loop);
  }
}

}  // namespace ness::sim
