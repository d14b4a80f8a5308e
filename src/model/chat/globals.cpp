// Functions that every template knows.
#include <ctime>

#include "model/chat/interpreter.h"
#include "model/chat/objects.h"

namespace kinglet::chat {
namespace {

struct NativeFunction final : Object {
  NativeFunction(std::string_view of, Native what) : name(of), body(what) {}
  bool callable() const override { return true; }
  std::string repr() const override { return "<function " + std::string(name) + ">"; }
  std::optional<Value> call(Interpreter& interpreter, CallArguments& arguments) override {
    return body(interpreter, arguments);
  }
  std::string_view name;
  Native body;
};

Value range(Interpreter&, CallArguments& arguments) {
  const Bound bound("range", arguments, {"start", "stop", "step"}, 1);
  for (std::size_t i = 0; i < 3; ++i)
    if (bound.has(i) && !bound.value(i).integer())
      refuse("'" + type_name(bound.value(i)) + "' object cannot be interpreted as an integer");
  const std::int64_t start = bound.has(1) ? bound.integer(0, 0) : 0;
  const std::int64_t stop = bound.has(1) ? bound.integer(1, 0) : bound.integer(0, 0);
  const std::int64_t step = bound.integer(2, 1);
  if (step == 0) refuse("range() arg 3 must not be zero");
  const auto distance = static_cast<__int128>(stop) - start;
  const __int128 count = step > 0 ? (distance + step - 1) / step : (distance + step + 1) / step;
  if (count > kRange)
    throw TemplateError(ErrorCode::kExhausted,
                        "range() of more than " + std::to_string(kRange) + " elements in the chat template");
  std::vector<Value> items;
  for (__int128 i = 0; i < count; ++i) items.emplace_back(static_cast<std::int64_t>(start + i * step));
  std::string label = "range(" + std::to_string(start) + ", " + std::to_string(stop);
  if (step != 1) label += ", " + std::to_string(step);
  return make_sequence(Sequence::Kind::kRange, std::move(items), label + ")");
}

// dict(mapping or pairs, name=value...): the entries in order.
std::vector<std::pair<Value, Value>> entries_of(std::string_view function, CallArguments& arguments) {
  if (arguments.positional.size() > 1) refuse(std::string(function) + "() takes at most 1 positional argument");
  std::vector<std::pair<Value, Value>> out;
  for (const Value& source : arguments.positional) {
    if (const Dict* dict = source.dict()) {
      out = dict->entries;
      continue;
    }
    for (const Value& pair : elements(source)) {
      const std::vector<Value> parts = elements(pair);
      if (parts.size() != 2)
        refuse("a pair of key and value is expected, found " + std::to_string(parts.size()) + " values");
      out.emplace_back(parts[0], parts[1]);
    }
  }
  charge(out.size() * 2 * sizeof(Value));
  for (auto& [name, value] : arguments.named) out.emplace_back(Value(name), value);
  return out;
}

Value dict(Interpreter&, CallArguments& arguments) {
  auto made = std::make_shared<Dict>();
  for (auto& [key, value] : entries_of("dict", arguments)) made->set(std::move(key), std::move(value));
  return Value(std::shared_ptr<const Dict>(std::move(made)));
}

Value make_namespace(Interpreter& interpreter, CallArguments& arguments) {
  auto made = std::make_shared<Namespace>();
  for (auto& [key, value] : entries_of("namespace", arguments)) {
    if (key.text() == nullptr) refuse("names in a namespace must be strings");
    made->set(*key.text(), std::move(value));
  }
  interpreter.keep(made);
  return Value(std::shared_ptr<Object>(std::move(made)));
}

struct Cycler final : Object {
  std::optional<Value> attribute(Interpreter&, std::string_view name) override;
  std::string repr() const override { return "<Cycler>"; }
  std::vector<Value> items;
  std::size_t at = 0;
  std::weak_ptr<Cycler> self;
};

struct CyclerFunction final : Object {
  CyclerFunction(std::shared_ptr<Cycler> of, bool resets) : cycler(std::move(of)), reset(resets) {}
  bool callable() const override { return true; }
  std::string repr() const override { return "<bound method>"; }
  std::optional<Value> call(Interpreter&, CallArguments&) override {
    if (reset) return cycler->at = 0, Value(None{});
    Value item = cycler->items[cycler->at];
    cycler->at = (cycler->at + 1) % cycler->items.size();
    return item;
  }
  std::shared_ptr<Cycler> cycler;
  bool reset;
};

std::optional<Value> Cycler::attribute(Interpreter&, std::string_view name) {
  if (name == "current") return items[at];
  if (name != "next" && name != "reset") return std::nullopt;
  return Value(std::shared_ptr<Object>(std::make_shared<CyclerFunction>(self.lock(), name == "reset")));
}

Value cycler(Interpreter&, CallArguments& arguments) {
  if (arguments.positional.empty() || !arguments.named.empty()) refuse("at least one item has to be provided");
  auto made = std::make_shared<Cycler>();
  made->items = std::move(arguments.positional);
  made->self = made;
  return Value(std::shared_ptr<Object>(std::move(made)));
}

struct Joiner final : Object {
  explicit Joiner(std::string with) : separator(std::move(with)) {}
  bool callable() const override { return true; }
  std::string repr() const override { return "<Joiner>"; }
  std::optional<Value> call(Interpreter&, CallArguments&) override {
    if (used) return Value(separator);
    used = true;
    return Value("");
  }
  std::string separator;
  bool used = false;
};

Value joiner(Interpreter&, CallArguments& arguments) {
  const Bound bound("joiner", arguments, {"sep"});
  return Value(std::shared_ptr<Object>(std::make_shared<Joiner>(bound.text(0, ", "))));
}

Value raise_exception(Interpreter&, CallArguments& arguments) {
  const Bound bound("raise_exception", arguments, {"message"}, 1);
  throw TemplateError(ErrorCode::kInvalidArgument,
                      "the chat template refuses the messages: " + to_text(bound.value(0)));
}

Value strftime_now(Interpreter&, CallArguments& arguments) {
  const Bound bound("strftime_now", arguments, {"format"}, 1);
  const std::string format = bound.text(0, "");
  if (format.size() > 256) refuse("strftime_now() takes a format of at most 256 bytes");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[4096];
  return Value(std::string(text, std::strftime(text, sizeof text, format.c_str(), &local)));
}

constexpr std::pair<std::string_view, Native> kGlobals[] = {{"range", range},
                                                            {"dict", dict},
                                                            {"namespace", make_namespace},
                                                            {"cycler", cycler},
                                                            {"joiner", joiner},
                                                            {"raise_exception", raise_exception},
                                                            {"strftime_now", strftime_now}};

}  // namespace

Value native(std::string_view name, Native body) {
  return Value(std::shared_ptr<Object>(std::make_shared<NativeFunction>(name, body)));
}

std::optional<Value> global_function(std::string_view name) {
  for (const auto& [known, body] : kGlobals)
    if (known == name) return native(known, body);
  return std::nullopt;
}

}  // namespace kinglet::chat
