#include "model/chat/objects.h"

#include <algorithm>

namespace kinglet::chat {
namespace {

// loop.cycle and loop.changed.
struct LoopFunction final : Object {
  LoopFunction(std::weak_ptr<Loop> of, bool is_cycle) : of_loop(std::move(of)), cycles(is_cycle) {}
  bool callable() const override { return true; }
  std::string repr() const override { return "<bound method>"; }
  std::optional<Value> call(Interpreter&, CallArguments& arguments) override {
    auto& values = arguments.positional;
    const auto loop = of_loop.lock();
    if (loop == nullptr) refuse("the loop has ended");
    if (cycles) {
      if (values.empty()) refuse("no items for cycling given");
      return values[loop->index % values.size()];
    }
    const bool same = loop->has_changed && values.size() == loop->last_changed.size() &&
                      std::equal(values.begin(), values.end(), loop->last_changed.begin(),
                                 [](const Value& a, const Value& b) { return equal(a, b); });
    loop->has_changed = true;
    loop->last_changed = values;
    return Value(!same);
  }
  std::weak_ptr<Loop> of_loop;  // the loop may remember this function (loop.changed(loop.changed))
  bool cycles;
};

}  // namespace

std::optional<Value> Namespace::attribute(Interpreter&, std::string_view name) {
  for (const auto& [key, value] : entries)
    if (key == name) return value;
  return std::nullopt;
}

void Namespace::set(std::string_view name, Value value) {
  charge(entries.size() * 8);
  for (auto& [key, old] : entries) {
    if (key != name) continue;
    old = std::move(value);
    return;
  }
  grow(name.size() + 64);
  entries.emplace_back(name, std::move(value));
}

std::string Namespace::repr() const {
  if (printing_) return "<Namespace ...>";
  printing_ = true;
  std::string out = "<Namespace {";
  for (std::size_t i = 0; i < entries.size(); ++i)
    out += (i > 0 ? ", " : "") + chat::repr(Value(entries[i].first)) + ": " + chat::repr(entries[i].second);
  printing_ = false;
  return out + "}>";
}

std::string Loop::repr() const {
  return "<LoopContext " + std::to_string(index + 1) + "/" + std::to_string(items.size()) + ">";
}

std::optional<Value> Loop::attribute(Interpreter&, std::string_view name) {
  const auto number = [](std::size_t value) { return Value(static_cast<std::int64_t>(value)); };
  const std::size_t count = items.size();
  if (name == "index") return number(index + 1);
  if (name == "index0") return number(index);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == count);
  if (name == "length") return number(count);
  if (name == "revindex") return number(count - index);
  if (name == "revindex0") return number(count - index - 1);
  if (name == "depth") return Value(1);  // only recursive loops go deeper
  if (name == "depth0") return Value(0);
  if (name == "previtem") return index > 0 ? items[index - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem") return index + 1 < count ? items[index + 1] : Value::undefined("there is no next item");
  if (name == "cycle" || name == "changed")
    return Value(std::shared_ptr<Object>(std::make_shared<LoopFunction>(self, name == "cycle")));
  return std::nullopt;
}

std::optional<Value> Macro::attribute(Interpreter&, std::string_view name) {
  if (name == "name") return Value(node.text);
  if (name != "arguments") return std::nullopt;
  std::vector<Value> names;
  for (const auto& [parameter, fallback] : node.pairs) names.emplace_back(parameter->name);
  return make_tuple(std::move(names));
}

}  // namespace kinglet::chat
