#include "compress/report/parts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/try.h"
#include "compress/calibration/calibration_text.h"
#include "decode/prompt.h"
#include "kinglet/generate.h"
#include "kinglet/layer_map.h"
#include "kinglet/pass.h"
#include "measure/embedding.h"

namespace kinglet {
namespace {

constexpr int kAnswerTokens = 48;             // enough to see where two answers part
constexpr std::size_t kEmbeddingTexts = 200;  // the standard error of a mean distance is then a few percent

/// sum (a - b)^2 and sum b^2 over the values that both tensors hold.
Result<void> add_difference(const Checkpoint& model, const TensorInfo& info, const Checkpoint& reference,
                            const TensorInfo& other, double& error, double& sum) {
  KINGLET_TRY(const TensorData data, model.data(info));
  KINGLET_TRY(const TensorData base, reference.data(other));
  const auto columns = static_cast<std::size_t>(info.columns());
  const std::int64_t rows = std::max<std::int64_t>(1, std::min<std::int64_t>(info.rows(), (1 << 20) / info.columns()));
  std::vector<float> a(static_cast<std::size_t>(rows) * columns), b(a.size());
  for (std::int64_t begin = 0; begin < info.rows(); begin += rows) {
    const auto count = static_cast<std::size_t>(std::min(rows, info.rows() - begin));
    const auto decode = [&](const TensorInfo& tensor, const TensorData& bytes, std::vector<float>& out) {
      tensor.type->decode(bytes.bytes.data() + static_cast<std::uint64_t>(begin) * tensor.type->row_bytes(columns),
                          count * columns / static_cast<std::size_t>(tensor.type->block_values), out.data());
    };
    decode(info, data, a);
    decode(other, base, b);
    for (std::size_t i = 0; i < count * columns; ++i) {
      const double difference = static_cast<double>(a[i]) - b[i];
      error += difference * difference;
      sum += static_cast<double>(b[i]) * b[i];
    }
  }
  model.release(info, 0, info.bytes);
  reference.release(other, 0, other.bytes);
  return {};
}

}  // namespace

Result<Subject> load_subject(const std::string& path, std::int64_t context, int threads) {
  Subject subject;
  KINGLET_TRY(subject.model, Model::load(path, {.threads = threads}));
  EngineOptions options;
  options.context = subject.model->config().causal ? context : 0;
  KINGLET_TRY(subject.engine, Engine::create(subject.model, options));
  return subject;
}

Result<std::vector<TextWindow>> report_windows(const Tokenizer& tokenizer, std::string_view text, std::int64_t context,
                                               std::size_t most) {
  std::vector<TokenId> ids = tokenizer.encode(text);
  if (tokenizer.adds_bos && tokenizer.bos >= 0) ids.insert(ids.begin(), tokenizer.bos);
  KINGLET_TRY(auto windows, make_windows(ids, tokenizer, {.context = context, .stride = 0}));
  if (most == 0 || windows.size() <= most) return windows;
  std::vector<TextWindow> kept;
  for (std::size_t i = 0; i < most; ++i) kept.push_back(windows[i * windows.size() / most]);
  return kept;
}

Result<ModelFigures> file_figures(const NamedModel& model) {
  KINGLET_TRY(const auto checkpoint, open_checkpoint(model.second));
  ModelFigures figures;
  figures.label = model.first;
  figures.path = model.second;
  figures.architecture = checkpoint->architecture();
  figures.bytes = checkpoint->file_bytes();
  figures.bits = count_bits(checkpoint->tensors());
  KINGLET_TRY(figures.digest, checkpoint_digest(*checkpoint));
  std::map<std::string, TypeShare> types;
  for (const TensorInfo& tensor : checkpoint->tensors()) {
    TypeShare& share = types[std::string(tensor.type->name)];
    share.type = tensor.type->name;
    ++share.tensors;
    share.bytes += tensor.bytes;
    share.parameters += static_cast<std::uint64_t>(tensor.elements());
  }
  for (auto& [name, share] : types) figures.types.push_back(std::move(share));
  std::sort(figures.types.begin(), figures.types.end(), [](const TypeShare& a, const TypeShare& b) {
    return a.bytes != b.bytes ? a.bytes > b.bytes : a.type < b.type;
  });
  return figures;
}

Result<std::vector<double>> weight_errors(const std::string& path, const std::string& reference_path) {
  KINGLET_TRY(const auto model, open_checkpoint(path));
  KINGLET_TRY(const auto reference, open_checkpoint(reference_path));
  const int layers = layer_count(*model);
  const std::vector<int> originals = original_layers(model->metadata(), layers);
  std::vector<double> errors(static_cast<std::size_t>(layers)), sums(errors.size());
  for (const TensorInfo& info : model->tensors()) {
    const int block = tensor_block(info.name, layers);
    std::string name = info.name;
    if (block >= 1 && block <= layers)
      name = "blk." + std::to_string(originals[static_cast<std::size_t>(block - 1)]) + name.substr(name.find('.', 4));
    const TensorInfo* other = reference->find(name);
    if (!other || block < 1 || block > layers || other->shape != info.shape || info.shape.size() < 2 ||
        !info.type->decode || !other->type->decode)
      continue;
    const auto at = static_cast<std::size_t>(block - 1);
    KINGLET_CHECK(add_difference(*model, info, *reference, *other, errors[at], sums[at]));
  }
  for (std::size_t i = 0; i < errors.size(); ++i) errors[i] = sums[i] > 0 ? errors[i] / sums[i] : 0;
  return errors;
}

Result<std::vector<double>> hidden_errors(Engine& model, Engine& reference, std::span<const TokenId> ids) {
  const auto& config = model.model().config();
  const std::size_t count = std::min<std::size_t>(ids.size(), static_cast<std::size_t>(model.options().max_rows));
  const auto layers = static_cast<std::size_t>(config.layers);
  std::vector<std::vector<float>> kept;
  const auto run = [&](Engine& engine, const ForwardHooks& hooks) -> Result<void> {
    KINGLET_TRY(const auto sequence, engine.new_sequence());
    std::vector<Row> rows(count);
    std::vector<std::int32_t> positions(count);
    std::iota(positions.begin(), positions.end(), 0);
    for (std::size_t i = 0; i < count; ++i) rows[i] = {.sequence = sequence.get(), .position = positions[i]};
    std::vector<float> hidden(count * static_cast<std::size_t>(config.width));
    KINGLET_CHECK(engine.embed(ids.first(count), positions, hidden.data()));
    return engine.forward({.rows = rows, .hidden = hidden.data(), .hooks = &hooks});
  };
  ForwardHooks keep;
  keep.after_layer = [&](int, std::span<float> hidden) { kept.emplace_back(hidden.begin(), hidden.end()); };
  KINGLET_CHECK(run(reference, keep));
  const std::vector<int> originals = original_layers(model.model().metadata(), config.layers);
  std::vector<double> errors(layers);
  ForwardHooks compare;
  compare.after_layer = [&](int layer, std::span<float> hidden) {
    const auto place = static_cast<std::size_t>(layer), at = static_cast<std::size_t>(originals[place]);
    if (at >= kept.size() || kept[at].size() != hidden.size()) return;
    double error = 0, sum = 0;
    for (std::size_t i = 0; i < hidden.size(); ++i) {
      const double difference = static_cast<double>(hidden[i]) - kept[at][i];
      error += difference * difference;
      sum += static_cast<double>(kept[at][i]) * kept[at][i];
    }
    errors[place] = sum > 0 ? error / sum : 0;
  };
  KINGLET_CHECK(run(model, compare));
  return errors;
}

std::vector<std::string> report_prompts() {
  return {"What is the capital of France, and what is it known for?",
          "Explain in two sentences why the sky is blue.",
          "Write a Python function that returns the sum of the even numbers in a list.",
          "A train leaves at 9:40 and arrives at 12:15. How long does the journey take?",
          "Continue the story: The old lighthouse keeper heard a knock at the door.",
          "Traduis en français : The weather is beautiful today."};
}

Result<std::vector<Answer>> answer_prompts(const Subject& subject) {
  KINGLET_TRY(const PromptMaker maker, PromptMaker::make(subject.model, false));
  std::vector<Answer> answers;
  for (const std::string& prompt : report_prompts()) {
    KINGLET_TRY(auto ids, maker.from_text(prompt));
    GenerateRequest request;
    request.prompt = ids;
    request.options.max_tokens = kAnswerTokens;
    std::vector<GenerateRequest> requests;
    requests.push_back(std::move(request));
    KINGLET_TRY(const auto results, generate(*subject.engine, std::move(requests)));
    if (results[0].error) return tl::unexpected<Error>(*results[0].error);
    if (results[0].finish_reason == "cancelled") return fail(ErrorCode::kCancelled, "interrupted");
    answers.push_back({std::move(ids), results[0].token_ids, results[0].text});
  }
  return answers;
}

Result<std::vector<double>> answer_drift(const Subject& subject, const Subject& reference,
                                         const std::vector<Answer>& answers) {
  std::vector<double> drift;
  for (const Answer& answer : answers) {
    TextWindow window;
    window.ids = answer.prompt;
    window.ids.insert(window.ids.end(), answer.ids.begin(), answer.ids.end());
    window.score_from = answer.prompt.size();
    if (answer.ids.empty() || answer.prompt.empty()) {
      drift.push_back(0);
      continue;
    }
    KINGLET_TRY(const Evaluation result,
                evaluate(*subject.engine, reference.engine.get(), std::span(&window, 1), {.worst = 0, .progress = {}}));
    drift.push_back(result.divergence ? result.divergence->mean : 0);
  }
  return drift;
}

std::vector<std::string> embedding_lines(std::string_view text) {
  const std::vector<std::string_view> found = lines_to_embed(text, RestOfLine::kLeftAway);
  std::vector<std::string> lines(found.begin(), found.end());
  if (lines.size() > kEmbeddingTexts) {  // spread over the whole text
    std::vector<std::string> kept;
    for (std::size_t i = 0; i < kEmbeddingTexts; ++i) kept.push_back(lines[i * lines.size() / kEmbeddingTexts]);
    lines = std::move(kept);
  }
  return lines;
}

Result<std::vector<std::vector<float>>> embed_lines(const Subject& subject, const std::vector<std::string>& lines) {
  std::vector<std::vector<float>> all;
  const auto most = static_cast<std::size_t>(subject.engine->options().max_rows);
  for (const std::string& line : lines) {
    std::vector<TokenId> ids = subject.model->tokenizer().encode(line, {.add_special = true});
    if (ids.size() > most) ids.resize(most);
    KINGLET_TRY(auto vector, embed_tokens(*subject.engine, ids));
    all.push_back(std::move(vector));
  }
  return all;
}

EmbeddingDistance embedding_distance(std::span<const std::vector<float>> model,
                                     std::span<const std::vector<float>> reference) {
  std::vector<double> distances;
  EmbeddingDistance result;
  for (std::size_t i = 0; i < model.size(); ++i) {
    double dot = 0;
    for (std::size_t j = 0; j < model[i].size(); ++j) dot += static_cast<double>(model[i][j]) * reference[i][j];
    distances.push_back(std::max(0.0, 1 - dot));
    result.mean += distances.back();
  }
  result.texts = static_cast<int>(distances.size());
  result.mean /= std::max<double>(1, static_cast<double>(distances.size()));
  result.p99 = percentile(distances, 0.99);
  result.max = distances.empty() ? 0 : distances.back();
  return result;
}

}  // namespace kinglet
