#include <algorithm>
#include <cmath>
#include <limits>

#include "decode/softmax.h"
#include "kinglet/sampling.h"

namespace kinglet {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

using Entry = std::pair<float, TokenId>;
bool before(const Entry& a, const Entry& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; }

void make_comparable(std::span<float> row) {
  for (float& x : row) x = x >= kNone ? (x > kLargest ? kLargest : x) : kNone;
}

}  // namespace

void Candidates::reset(std::span<float> row) {
  logits_ = row;
  ids_.clear();
  dense_ = true;
  sorted_ = false;
  make_comparable(logits_);
}

void Candidates::reset(std::span<const float> logits, std::span<const TokenId> ids) {
  const std::size_t count = std::min(logits.size(), ids.size());
  storage_.assign(logits.begin(), logits.begin() + static_cast<std::ptrdiff_t>(count));
  ids_.assign(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
  own(count);
  dense_ = sorted_ = false;
  make_comparable(logits_);
}

void Candidates::own(std::size_t count) { logits_ = std::span<float>(storage_.data(), count); }

std::span<float> Candidates::change_logits(bool keeps_order) {
  if (!keeps_order) sorted_ = false;
  return logits_;
}

float* Candidates::find(TokenId id) {
  if (dense_)
    return id >= 0 && static_cast<std::size_t>(id) < logits_.size() ? &logits_[static_cast<std::size_t>(id)] : nullptr;
  const auto at = std::find(ids_.begin(), ids_.end(), id);
  return at == ids_.end() ? nullptr : &logits_[static_cast<std::size_t>(at - ids_.begin())];
}

float Candidates::max() const { return sorted_ && size() > 0 ? logits_[0] : maximum(logits_); }

std::size_t Candidates::best() const {
  const std::size_t first = argmax(logits_);
  if (dense_ || sorted_ || first == size()) return first;
  std::size_t best = first;  // a list in no order: the lowest id among equals
  for (std::size_t i = first + 1; i < size(); ++i)
    if (logits_[i] == logits_[first] && ids_[i] < ids_[best]) best = i;
  return best;
}

double Candidates::weight_sum() const { return exp_sum(logits_, max()); }

void Candidates::sort_list() {
  std::sort(list_.begin(), list_.end(), before);
  storage_.resize(list_.size());
  ids_.resize(list_.size());
  for (std::size_t i = 0; i < list_.size(); ++i) {
    storage_[i] = list_[i].first;
    ids_[i] = list_[i].second;
  }
  own(list_.size());
  dense_ = false;
  sorted_ = true;
}

void Candidates::keep_top(std::size_t count) {
  count = std::max<std::size_t>(count, 1);
  if (sorted_) {
    if (count < size()) ids_.resize(count), own(count);
    return;
  }
  list_.clear();
  // A heap whose top is the worst of the kept: nearly every logit of a large vocabulary fails the first comparison.
  constexpr std::size_t kHeap = 512;
  if (count <= kHeap) {
    for (std::size_t i = 0; i < size(); ++i) {
      if (list_.size() == count && logits_[i] < list_.front().first) continue;
      const Entry entry{logits_[i], id(i)};
      if (list_.size() < count) {
        list_.push_back(entry);
        std::push_heap(list_.begin(), list_.end(), before);
      } else if (before(entry, list_.front())) {
        std::pop_heap(list_.begin(), list_.end(), before);
        list_.back() = entry;
        std::push_heap(list_.begin(), list_.end(), before);
      }
    }
  } else {
    for (std::size_t i = 0; i < size(); ++i) list_.emplace_back(logits_[i], id(i));
    if (count < list_.size()) {
      std::nth_element(list_.begin(), list_.begin() + static_cast<std::ptrdiff_t>(count), list_.end(), before);
      list_.resize(count);
    }
  }
  sort_list();
}

void Candidates::keep_above(float bound) {
  bound = std::min(bound, max());
  if (sorted_) {
    std::size_t count = 0;
    while (count < size() && logits_[count] >= bound) ++count;
    keep_top(count);
    return;
  }
  list_.clear();
  for (std::size_t i = 0; i < size(); ++i)
    if (logits_[i] >= bound) list_.emplace_back(logits_[i], id(i));
  storage_.resize(list_.size());
  ids_.resize(list_.size());
  for (std::size_t i = 0; i < list_.size(); ++i) {
    storage_[i] = list_[i].first;
    ids_[i] = list_[i].second;
  }
  own(list_.size());
  dense_ = false;
}

void Candidates::keep_mass(double mass) {
  if (size() == 0) return;
  const float top = max();
  const double wanted = mass * weight_sum();
  // Most of the mass lies within a few nats of the best: look there first, and only then at the whole vocabulary.
  for (const float depth : {8.0f, 16.0f, std::numeric_limits<float>::infinity()}) {
    list_.clear();
    double near = 0;
    for (std::size_t i = 0; i < size(); ++i) {
      if (!(logits_[i] >= top - depth)) continue;
      list_.emplace_back(logits_[i], id(i));
      near += exp_nonpositive(logits_[i] - top);
    }
    if (near >= wanted || std::isinf(depth)) break;
  }
  for (std::size_t first = std::min<std::size_t>(128, list_.size());; first = std::min(first * 8, list_.size())) {
    const auto end = list_.begin() + static_cast<std::ptrdiff_t>(first);
    if (first < list_.size()) std::nth_element(list_.begin(), end, list_.end(), before);
    std::sort(list_.begin(), end, before);
    double sum = 0;
    std::size_t kept = 0;
    while (kept < first && (kept == 0 || sum < wanted)) sum += exp_nonpositive(list_[kept++].first - top);
    if (sum >= wanted || first == list_.size()) {
      list_.resize(kept);
      break;
    }
  }
  sort_list();
}

void Candidates::keep(std::span<const std::uint32_t> indices) {
  list_.clear();
  for (std::uint32_t i : indices) list_.emplace_back(logits_[i], id(i));
  storage_.resize(list_.size());
  ids_.resize(list_.size());
  for (std::size_t i = 0; i < list_.size(); ++i) {
    storage_[i] = list_[i].first;
    ids_[i] = list_[i].second;
  }
  own(list_.size());
  dense_ = false;
}

}  // namespace kinglet
