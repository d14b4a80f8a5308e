#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "base/memory_info.h"
#include "base/sha256.h"
#include "base/try.h"
#include "compress/report/parts.h"

namespace kinglet {
namespace {

/// Measures one model after the other against the first, which stays loaded.
class Comparison {
 public:
  Comparison(const std::vector<NamedModel>& models, const CompareOptions& options)
      : models_(models), options_(options) {}

  Result<Report> run() {
    for (std::size_t i = 0; i < models_.size(); ++i) {
      say("reading files", i, models_.size());
      KINGLET_TRY(ModelFigures figures, file_figures(models_[i]));
      report_.models.push_back(std::move(figures));
    }
    for (std::size_t i = 0; i < models_.size(); ++i) KINGLET_CHECK(alone(i));
    KINGLET_TRY(reference_, load_subject(models_[0].second, options_.context + 64, options_.threads));
    KINGLET_CHECK(prepare_text());
    KINGLET_CHECK(answer_first());
    for (std::size_t i = 1; i < models_.size(); ++i) KINGLET_CHECK(against_first(i));
    if (models_.size() == 1) KINGLET_CHECK(first_only());
    finish();
    return std::move(report_);
  }

 private:
  void say(std::string_view activity, std::uint64_t done, std::uint64_t total) const {
    if (options_.progress) options_.progress(activity, done, total);
  }
  bool generates() const { return reference_.model->config().causal; }

  /// Load time and peak memory need a process that holds nothing else.
  Result<void> alone(std::size_t i) {
    say("loading", i, models_.size());
    release_free_memory();
    reset_peak_memory();
    const auto start = std::chrono::steady_clock::now();
    KINGLET_TRY(const Subject subject, load_subject(models_[i].second, options_.context + 64, options_.threads));
    ModelFigures& figures = report_.models[i];
    figures.load_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    SpeedMeter meter(*subject.engine);
    if (subject.model->config().causal) {
      KINGLET_CHECK(meter.run({SpeedTest::Kind::kPrefill, prefill_tokens(), "prefill"}));
      KINGLET_CHECK(meter.run({SpeedTest::Kind::kDecode, 0, "decode"}));
    }
    figures.peak_bytes = peak_memory();
    report_.threads = subject.model->threads();
    return {};
  }

  int prefill_tokens() const { return static_cast<int>(std::min<std::int64_t>(kBenchPrefillTokens, options_.context)); }

  Result<void> prepare_text() {
    std::string all;
    for (const ReportText& text : options_.texts) {
      report_.text_name += (report_.text_name.empty() ? "" : ", ") + text.name;
      all += text.text;
    }
    report_.text_digest = sha256(all).hex();
    report_.context = options_.context;
    if (!generates()) {
      for (const ReportText& text : options_.texts) {
        const auto lines = embedding_lines(text.text);
        if (lines.empty())
          return fail(ErrorCode::kInvalidArgument, "the text has no line of 20 bytes or more to embed", "", text.name);
        lines_.insert(lines_.end(), lines.begin(), lines.end());
        ends_.push_back(lines_.size());
      }
      KINGLET_TRY(vectors_, embed_lines(reference_, lines_));
      return {};
    }
    KINGLET_TRY(windows_, report_windows(reference_.model->tokenizer(), options_.texts, options_.context,
                                         options_.windows, text_of_));
    report_.windows = static_cast<std::int64_t>(windows_.size());
    return {};
  }

  Result<void> answer_first() {
    if (!generates() || !options_.answers) return {};
    say("answering", 0, 1);
    KINGLET_TRY(answers_, answer_prompts(reference_));
    const std::vector<std::string> prompts = report_prompts();
    for (std::size_t p = 0; p < prompts.size(); ++p) report_.answers.push_back({prompts[p], {answers_[p].text}, {0.0}});
    return {};
  }

  Result<Evaluation> evaluate_windows(Engine& model, Engine* reference, const std::string& activity) {
    EvaluateOptions how;
    how.worst = 12;
    how.progress = [&](std::uint64_t done, std::uint64_t total) { say(activity, done, total); };
    return evaluate(model, reference, windows_, how);
  }

  /// What the first model's own text figures are: they come with any comparison, and alone where there is none.
  void set_reference_quality(const Evaluation& compared) {
    Evaluation own;
    own.nll = compared.divergence->reference_nll;
    own.perplexity = std::exp(own.nll);
    own.tokens = compared.tokens;
    own.fed = compared.fed;
    own.divergence = Divergence{.top1_agreement = 1, .reference_nll = own.nll, .worst = {}};
    report_.models[0].quality = own;
  }

  Result<void> first_only() {
    if (generates()) {
      KINGLET_TRY(report_.models[0].quality, evaluate_windows(*reference_.engine, nullptr, "reading the text"));
    }
    return take_turns(reference_, report_.models[0]);
  }

  Result<void> against_first(std::size_t i) {
    ModelFigures& figures = report_.models[i];
    KINGLET_TRY(const Subject subject, load_subject(models_[i].second, options_.context + 64, options_.threads));
    if (subject.model->config().causal != generates())
      return fail(ErrorCode::kInvalidArgument, "one model gives text and the other embeddings", "", models_[i].second);
    if (generates()) {
      KINGLET_TRY(figures.quality,
                  evaluate_windows(*subject.engine, reference_.engine.get(), "comparing " + figures.label));
      set_reference_quality(*figures.quality);
      if (options_.texts.size() > 1) figures.texts = text_figures(options_.texts, text_of_, figures.quality->windows);
      if (options_.answers) KINGLET_CHECK(answer(i, subject));
    } else {
      KINGLET_TRY(const auto vectors, embed_lines(subject, lines_));
      if (vectors[0].size() != vectors_[0].size())
        return fail(ErrorCode::kInvalidArgument, "the embeddings have different lengths", "", models_[i].second);
      figures.embedding = embedding_distance(vectors, vectors_);
      report_.models[0].embedding = EmbeddingDistance{.texts = static_cast<int>(vectors_.size())};
      if (options_.texts.size() > 1) figures.texts = by_lines(vectors);
    }
    KINGLET_CHECK(layer_errors(i, subject));
    return take_turns(subject, figures);
  }

  /// An embedding model's distance on the lines of each text.
  std::vector<TextFigures> by_lines(std::span<const std::vector<float>> vectors) const {
    std::vector<TextFigures> figures;
    for (std::size_t i = 0, begin = 0; i < ends_.size(); begin = ends_[i++]) {
      const std::size_t count = ends_[i] - begin;
      const double distance =
          embedding_distance(vectors.subspan(begin, count), std::span(vectors_).subspan(begin, count)).mean;
      figures.push_back({.name = options_.texts[i].name,
                         .tokens = static_cast<std::int64_t>(count),
                         .cosine_distance = distance,
                         .retention = 1 - distance});
    }
    return figures;
  }

  Result<void> answer(std::size_t i, const Subject& subject) {
    say("answering", i, models_.size());
    KINGLET_TRY(const auto own, answer_prompts(subject));
    KINGLET_TRY(const auto drift, answer_drift(subject, reference_, answers_));
    for (std::size_t p = 0; p < own.size(); ++p) {
      report_.answers[p].answers.push_back(own[p].text);
      report_.answers[p].kl.push_back(drift[p]);
    }
    return {};
  }

  Result<void> layer_errors(std::size_t i, const Subject& subject) {
    const ModelConfig& config = subject.model->config();
    const ModelConfig& first = reference_.model->config();
    if (config.layers != first.layers || config.width != first.width) return {};
    std::vector<TokenId> ids;
    if (generates())
      ids = windows_[0].ids;
    else
      ids = subject.model->tokenizer().encode(lines_[0], {.add_special = true});
    KINGLET_TRY(const auto hidden, hidden_errors(*subject.engine, *reference_.engine, ids));
    KINGLET_TRY(const auto weights, weight_errors(models_[i].second, models_[0].second));
    for (std::size_t layer = 0; layer < hidden.size(); ++layer)
      report_.models[i].layers.push_back({hidden[layer], layer < weights.size() ? weights[layer] : 0});
    return {};
  }

  /// Speeds of the first model and another in turns, so that both see the same neighbours.
  Result<void> take_turns(const Subject& subject, ModelFigures& figures) {
    const bool alone = subject.engine == reference_.engine;
    const int rounds = options_.rounds;
    for (int round = 0; round < rounds; ++round) {
      say("speed of " + figures.label, static_cast<std::uint64_t>(round), static_cast<std::uint64_t>(rounds));
      KINGLET_CHECK(time_once(reference_, report_.models[0]));
      if (!alone) KINGLET_CHECK(time_once(subject, figures));
    }
    return {};
  }

  Result<void> time_once(const Subject& subject, ModelFigures& figures) {
    if (!generates()) {
      const auto start = std::chrono::steady_clock::now();
      std::size_t tokens = 0;
      for (std::size_t i = 0; i < std::min<std::size_t>(lines_.size(), 20); ++i)
        tokens += subject.model->tokenizer().encode(lines_[i], {.add_special = true}).size();
      KINGLET_CHECK(
          embed_lines(subject, {lines_.begin(), lines_.begin() + std::min<std::ptrdiff_t>(std::ssize(lines_), 20)}));
      figures.prefill.runs.push_back(static_cast<double>(tokens) /
                                     std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      return {};
    }
    SpeedMeter meter(*subject.engine);
    KINGLET_TRY(const double decode, meter.run({SpeedTest::Kind::kDecode, 0, "decode"}));
    KINGLET_TRY(const double prefill, meter.run({SpeedTest::Kind::kPrefill, prefill_tokens(), "prefill"}));
    figures.decode.runs.push_back(decode);
    figures.prefill.runs.push_back(prefill);
    return {};
  }

  void finish() {
    report_.machine = describe_machine();
    report_.foreign_load = load_.share();
    const auto total = [](const AnswerDrift& drift) { return std::accumulate(drift.kl.begin(), drift.kl.end(), 0.0); };
    std::sort(report_.answers.begin(), report_.answers.end(), [&](const AnswerDrift& a, const AnswerDrift& b) {
      return total(a) != total(b) ? total(a) > total(b) : a.prompt < b.prompt;
    });
  }

  const std::vector<NamedModel>& models_;
  const CompareOptions& options_;
  Report report_;
  ForeignLoad load_;
  Subject reference_;
  std::vector<TextWindow> windows_;
  std::vector<std::size_t> text_of_;  ///< each window's text
  std::vector<Answer> answers_;
  std::vector<std::string> lines_;
  std::vector<std::size_t> ends_;  ///< of each text's lines
  std::vector<std::vector<float>> vectors_;
};

}  // namespace

double Speed::median() const {
  std::vector<double> sorted = runs;
  return percentile(sorted, 0.5);
}
double Speed::low() const { return runs.empty() ? 0 : *std::min_element(runs.begin(), runs.end()); }
double Speed::high() const { return runs.empty() ? 0 : *std::max_element(runs.begin(), runs.end()); }

Result<Report> compare_models(const std::vector<NamedModel>& models, const CompareOptions& options) {
  if (models.empty()) return fail(ErrorCode::kInvalidArgument, "no model is named");
  if (options.texts.empty()) return fail(ErrorCode::kInvalidArgument, "no text is named");
  return Comparison(models, options).run();
}

}  // namespace kinglet
