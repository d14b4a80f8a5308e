#include <algorithm>
#include <queue>

#include "base/try.h"
#include "compress/plan/choices.h"

namespace kinglet {
namespace {

/// Indices of the lower convex hull of (bytes, loss), from the smallest on: losses fall, and fall ever slower.
std::vector<std::size_t> hull_of(const std::vector<Choice>& choices) {
  std::vector<std::size_t> hull;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const Choice& next = choices[i];
    if (!hull.empty() && next.loss >= choices[hull.back()].loss) continue;
    if (!hull.empty() && next.bytes == choices[hull.back()].bytes) hull.pop_back();
    while (hull.size() >= 2) {
      const Choice& a = choices[hull[hull.size() - 2]];
      const Choice& b = choices[hull.back()];
      const double first = (a.loss - b.loss) * static_cast<double>(next.bytes - b.bytes);
      const double second = (b.loss - next.loss) * static_cast<double>(b.bytes - a.bytes);
      if (first > second) break;
      hull.pop_back();
    }
    hull.push_back(i);
  }
  return hull;
}

/// A step of one tensor to the next point of its hull.
struct Step {
  double gain = 0;  ///< loss saved a byte
  std::size_t tensor = 0, to = 0;
  bool operator<(const Step& other) const {  // equal gains: the first tensor first, so that the result is one
    return gain != other.gain ? gain < other.gain : tensor > other.tensor;
  }
};

/// Fills what is left with any choice that still fits, the best gain a byte first.
void fill(std::span<const TensorChoices> tensors, std::vector<std::size_t>& chosen, std::uint64_t left) {
  for (;;) {
    Step best;
    for (std::size_t t = 0; t < tensors.size(); ++t) {
      const auto& choices = tensors[t].choices;
      const Choice& now = choices[chosen[t]];
      for (std::size_t i = 0; i < choices.size(); ++i) {
        if (choices[i].bytes <= now.bytes || choices[i].bytes - now.bytes > left || choices[i].loss >= now.loss)
          continue;
        const double gain = (now.loss - choices[i].loss) / static_cast<double>(choices[i].bytes - now.bytes);
        if (gain > best.gain) best = {gain, t, i};
      }
    }
    if (best.gain <= 0) return;
    const auto& choices = tensors[best.tensor].choices;
    left -= choices[best.to].bytes - choices[chosen[best.tensor]].bytes;
    chosen[best.tensor] = best.to;
  }
}

}  // namespace

Result<std::vector<std::size_t>> allocate(std::span<const TensorChoices> tensors, std::uint64_t budget) {
  std::vector<std::vector<std::size_t>> hulls;
  std::vector<std::size_t> place(tensors.size(), 0), chosen;
  std::uint64_t used = 0;
  for (const TensorChoices& tensor : tensors) {
    hulls.push_back(hull_of(tensor.choices));
    chosen.push_back(hulls.back().front());
    used += tensor.choices[chosen.back()].bytes;
  }
  if (used > budget)
    return fail(ErrorCode::kInvalidArgument, "the smallest types give " + std::to_string(used) +
                                                 " bytes of matrices, and the target leaves " + std::to_string(budget));
  std::priority_queue<Step> queue;
  const auto offer = [&](std::size_t t) {
    if (place[t] + 1 >= hulls[t].size()) return;
    const Choice& now = tensors[t].choices[hulls[t][place[t]]];
    const std::size_t to = hulls[t][place[t] + 1];
    const Choice& next = tensors[t].choices[to];
    queue.push({(now.loss - next.loss) / static_cast<double>(next.bytes - now.bytes), t, to});
  };
  for (std::size_t t = 0; t < tensors.size(); ++t) offer(t);
  while (!queue.empty()) {
    const Step step = queue.top();
    queue.pop();
    const auto& choices = tensors[step.tensor].choices;
    const std::uint64_t more = choices[step.to].bytes - choices[chosen[step.tensor]].bytes;
    if (used + more > budget) continue;  // a smaller step of another tensor may still fit
    used += more;
    chosen[step.tensor] = step.to;
    ++place[step.tensor];
    offer(step.tensor);
  }
  fill(tensors, chosen, budget - used);
  return chosen;
}

}  // namespace kinglet
