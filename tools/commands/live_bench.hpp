// While outputs may be on.
#pragma once

#include "command.hpp"

namespace ness {

/// As long as it lives, signals do not end the process, and Ctrl-Z does not suspend it.
class LiveBench {
 public:
  explicit LiveBench(const Command& command, bool is_live = true) : command_(command), is_live_(is_live) {
    if (is_live_ && command_.live) command_.live(true);
  }
  ~LiveBench() {
    if (is_live_ && command_.live) command_.live(false);
  }
  LiveBench(const LiveBench&) = delete;
  LiveBench& operator=(const LiveBench&) = delete;

 private:
  const Command& command_;
  bool is_live_;
};

}  // namespace ness
