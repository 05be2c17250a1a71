// What a CUDA graph is to a test: launches that are kept instead of run, with the values of their
// arguments as they were, and run later, as often as one likes.
#pragma once

#include <functional>
#include <utility>
#include <vector>

namespace simt {

class Graph {
 public:
  // Records everything that `calls` launches; nothing of it runs.
  template <class Calls>
  explicit Graph(Calls&& calls) {
    recording() = this;
    calls();
    recording() = nullptr;
  }
  Graph(const Graph&) = delete;

  void replay() const {
    for (const auto& launch : launches_) launch();
  }
  size_t size() const { return launches_.size(); }

  // Runs the launch, or keeps it where a graph is being recorded.
  static void take(std::function<void()> launch) {
    if (Graph* graph = recording())
      graph->launches_.push_back(std::move(launch));
    else
      launch();
  }

 private:
  static Graph*& recording() {
    static Graph* graph = nullptr;
    return graph;
  }

  std::vector<std::function<void()>> launches_;
};

}  // namespace simt
