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
  // Few large tasks are distributed one by one, so that no thread gets two while another has none.
  auto loop = [&] {
    if (n <= 64) tbb::parallel_for(std::size_t{0}, n, body, tbb::simple_partitioner());
    else tbb::parallel_for(std::size_t{0}, n, body);
  };
  // True also inside a loop with the same number of threads: its threads are used.
  if (threads == 0 || tbb::this_task_arena::max_concurrency() == static_cast<int>(threads)) {
    loop();
  } else {
    // The arena is kept, since making one takes longer than a short loop; but it is not used again while in
    // use.
    thread_local std::optional<tbb::task_arena> arena;
    thread_local bool at_work = false;
    if (at_work) {
      tbb::task_arena(static_cast<int>(threads)).execute(loop);
      return;
    }
    if (!arena || arena->max_concurrency() != static_cast<int>(threads))
      arena.emplace(static_cast<int>(threads));
    struct Work {
      Work() { at_work = true; }
      ~Work() { at_work = false; }
    } work;
    arena->execute(loop);
  }
}

}  // namespace ness
