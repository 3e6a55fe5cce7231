#include "ness/device/parallel.hpp"

#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include <optional>

namespace ness {

void for_each_index(std::size_t n, unsigned threads, const std::function<void(std::size_t)>& body) {
  if (threads == 1 || n <= 1) {
    for (std::size_t i = 0; i < n; ++i) body(i);
    return;
  }
  // A few large pieces are taken one by one, so that no thread is left with two while another has none.
  auto loop = [&] {
    if (n <= 64) tbb::parallel_for(std::size_t{0}, n, body, tbb::simple_partitioner());
    else tbb::parallel_for(std::size_t{0}, n, body);
  };
  // Also within a loop of as many: its threads do.
  if (threads == 0 || tbb::this_task_arena::max_concurrency() == static_cast<int>(threads)) {
    loop();
  } else {
    // Kept, since making one costs more than a short loop; not while one is at work in it.
    thread_local std::optional<tbb::task_arena> arena;
    thread_local bool at_work = false;
    if (at_work) {
      tbb::task_arena(static_cast<int>(threads)).execute(loop);
      return;
    }
    if (!arena || arena->max_concurrency() != static_cast<int>(threads)) arena.emplace(static_cast<int>(threads));
    struct Work {
      Work() { at_work = true; }
      ~Work() { at_work = false; }
    } work;
    arena->execute(loop);
  }
}

}  // namespace ness
