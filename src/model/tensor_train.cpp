#include "model/tensor_train.h"

#include <algorithm>
#include <numeric>

namespace kinglet {

namespace {

constexpr std::int64_t kMostNumber = 1 << 24;  // keeps the search below short whatever a file says

/// The factors of `rest` from `least` on with the least sum behind those already chosen.
void most_even(std::int64_t rest, int sites, std::int64_t least, std::vector<std::int64_t>& chosen,
               std::vector<std::int64_t>& best) {
  const auto sum = [](const std::vector<std::int64_t>& list) {
    return std::accumulate(list.begin(), list.end(), std::int64_t{0});
  };
  if (sites == 1) {
    chosen.push_back(rest);
    if (best.empty() || sum(chosen) < sum(best)) best = chosen;
    chosen.pop_back();
    return;
  }
  const auto fits = [&](std::int64_t factor) {  // factor^sites <= rest
    std::int64_t power = 1;
    for (int s = 0; s < sites; ++s) power *= factor;
    return power <= rest;
  };
  for (std::int64_t factor = least; fits(factor); ++factor) {
    if (rest % factor != 0) continue;
    chosen.push_back(factor);
    most_even(rest / factor, sites - 1, factor, chosen, best);
    chosen.pop_back();
  }
}

}  // namespace

std::optional<std::vector<std::int64_t>> train_digits(std::int64_t number, int sites) {
  if (number < 1 || number > kMostNumber || sites < 2 || sites > kMostTrainSites) return std::nullopt;
  std::vector<std::int64_t> chosen, best;
  most_even(number, sites, 2, chosen, best);
  if (best.empty()) return std::nullopt;
  return best;
}

std::int64_t TrainShape::rows(int site) const {
  return bonds[static_cast<std::size_t>(site)] * bonds[static_cast<std::size_t>(site) + 1];
}

std::int64_t TrainShape::columns(int site) const {
  return outputs[static_cast<std::size_t>(site)] * inputs[static_cast<std::size_t>(site)];
}

std::int64_t TrainShape::parameters() const {
  std::int64_t sum = 0;
  for (int s = 0; s < sites(); ++s) sum += rows(s) * columns(s);
  return sum;
}

std::int64_t TrainShape::products() const {
  return bonds[1] * (inputs[0] * inputs[1] * outputs[1] + outputs[0] * inputs[0] * outputs[1]);
}

std::optional<TrainShape> train_shape(std::int64_t outputs, std::int64_t inputs, int sites) {
  const auto o = train_digits(outputs, sites), i = train_digits(inputs, sites);
  if (!o || !i) return std::nullopt;
  return TrainShape{*o, *i, std::vector<std::int64_t>(static_cast<std::size_t>(sites) + 1, 1)};
}

std::int64_t full_bond(const TrainShape& shape, int site) {
  std::int64_t left = 1, right = 1;
  for (int s = 0; s < shape.sites(); ++s) (s <= site ? left : right) *= shape.columns(s);
  return std::min(left, right);
}

void train_row(const TrainShape& shape, std::span<const std::vector<float>> sites, std::int64_t output, float* row) {
  std::vector<std::int64_t> digits(static_cast<std::size_t>(shape.sites()));
  for (int s = shape.sites() - 1; s >= 0; --s) {
    digits[static_cast<std::size_t>(s)] = output % shape.outputs[static_cast<std::size_t>(s)];
    output /= shape.outputs[static_cast<std::size_t>(s)];
  }
  // From the right: partial[c][the inputs' digits of the sites done].
  std::vector<float> partial{1.0f}, next;
  std::int64_t width = 1;
  for (int s = shape.sites() - 1; s >= 0; --s) {
    const auto at = static_cast<std::size_t>(s);
    const std::int64_t inputs = shape.inputs[at], left = shape.bonds[at], right = shape.bonds[at + 1];
    next.assign(static_cast<std::size_t>(left * inputs * width), 0.0f);
    for (std::int64_t c = 0; c < left; ++c) {
      for (std::int64_t d = 0; d < right; ++d) {
        const float* factors = sites[at].data() + (c * right + d) * shape.columns(s) + digits[at] * inputs;
        const float* from = partial.data() + d * width;
        for (std::int64_t q = 0; q < inputs; ++q) {
          float* to = next.data() + (c * inputs + q) * width;
          for (std::int64_t k = 0; k < width; ++k) to[k] += factors[q] * from[k];
        }
      }
    }
    partial.swap(next);
    width *= inputs;
  }
  std::copy(partial.begin(), partial.end(), row);
}

}  // namespace kinglet
