#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "base/try.h"
#include "cli/strategies.h"
#include "cli/text_lines.h"

namespace kinglet {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20;

constexpr std::string_view kRepeat =
    "Repeat this text exactly, word for word, and nothing else:\n\nThe lighthouse on the northern cape was built in "
    "1871, "
    "when ships bound for the timber harbours lost their way in the fog. Its keeper climbed one hundred and forty-two "
    "steps every evening, trimmed the wick, and wrote the state of the sea into a ledger that is still kept in the "
    "town "
    "hall. In winter the spray froze on the lantern room, and he scraped it from the panes with a wooden blade.";

constexpr std::string_view kRename =
    "Rename the variable `lo` to `low` and `hi` to `high` everywhere in this code. Print the whole code.\n\n```python\n"
    "def search(a, x, lo=0, hi=None):\n    if lo < 0:\n        raise ValueError('lo must be non-negative')\n    if hi "
    "is "
    "None:\n        hi = len(a)\n    while lo < hi:\n        mid = (lo + hi) // 2\n        if a[mid] < x:\n            "
    "lo = "
    "mid + 1\n        else:\n            hi = mid\n    return lo\n```";

constexpr std::string_view kConfiguration =
    "Change the port to 9090 in this JSON and print all of it:\n\n```json\n{\n  \"name\": \"service\",\n  \"server\": "
    "{\n   "
    " \"host\": \"127.0.0.1\",\n    \"port\": 8080,\n    \"workers\": 4,\n    \"timeout\": 30\n  },\n  \"log\": {\n    "
    "\"level\": \"info\",\n    \"file\": \"/var/log/service.log\",\n    \"rotate\": true\n  }\n}\n```";

constexpr std::string_view kQueue =
    "class Queue:\n    \"\"\"Items leave in the order in which they came.\"\"\"\n\n    def __init__(self):\n        "
    "self._front = []\n        self._back = []\n\n    def push(self, item):\n        self._back.append(item)\n\n    "
    "def "
    "pop(self):\n        if not self._front:\n            while self._back:\n";

constexpr std::string_view kParse =
    "def parse_headers(lines):\n    \"\"\"Reads 'Name: value' lines up to an empty one; continued lines begin with a "
    "space.\"\"\"\n    headers = {}\n    last = None\n    for number, line in enumerate(lines):\n        line = "
    "line.rstrip('\\r\\n')\n        if not line:\n            break\n        if line[0] in ' \\t':\n            if "
    "last is "
    "None:\n                raise ValueError(f'line {number}: nothing to continue')\n";

constexpr std::string_view kMatrix =
    "#include <vector>\n\n// Row-major matrix of doubles.\nclass Matrix {\n public:\n  Matrix(int rows, int columns) : "
    "rows_(rows), columns_(columns), values_(rows * columns) {}\n  double& at(int row, int column) { return "
    "values_[row * "
    "columns_ + column]; }\n  Matrix transposed() const {\n";

std::vector<TaskPrompt> own_tasks() {
  std::vector<TaskPrompt> tasks;
  for (const std::string_view text : {kRepeat, kRename, kConfiguration}) tasks.push_back({"copy", std::string(text)});
  for (const std::string_view text : {kQueue, kParse, kMatrix}) tasks.push_back({"code", std::string(text), true});
  for (const char* text :
       {"Why is the sky blue?", "How does a refrigerator keep food cold?", "What was the Silk Road?"})
    tasks.push_back({"prose", text});
  return tasks;
}

Result<TaskPrompt> parse_task(std::string_view line, const std::string& place) {
  KINGLET_TRY(const auto value, parse_json(line, place));
  TaskPrompt task;
  const auto wrong = [&] {
    return fail(ErrorCode::kInvalidArgument,
                "expected {\"task\": \"…\", \"prompt\": \"…\"} or {\"task\": \"…\", \"messages\": [one of the user]}",
                "", place);
  };
  if (!value.is_object() || !value.contains("task") || !value["task"].is_string()) return wrong();
  task.task = value["task"].get<std::string>();
  if (value.contains("prompt") && value["prompt"].is_string()) {
    task.raw = true;
    task.text = value["prompt"].get<std::string>();
    return task;
  }
  if (!value.contains("messages") || !value["messages"].is_array() || value["messages"].size() != 1) return wrong();
  const auto& message = value["messages"][0];
  if (!message.is_object() || !message.contains("content") || !message["content"].is_string()) return wrong();
  task.text = message["content"].get<std::string>();
  return task;
}

}  // namespace

Result<std::vector<TaskPrompt>> strategy_tasks(const std::string& path) {
  if (path.empty()) return own_tasks();
  KINGLET_TRY(const std::string text, read_file(path, kMostBytes));
  std::vector<TaskPrompt> tasks;
  std::size_t number = 0;
  for (const std::string_view line : text_lines(text)) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    KINGLET_TRY(TaskPrompt task, parse_task(line, path + ":" + std::to_string(number)));
    tasks.push_back(std::move(task));
  }
  if (tasks.empty()) return fail(ErrorCode::kInvalidArgument, "there is no task in the file", "", path);
  return tasks;
}

}  // namespace kinglet
