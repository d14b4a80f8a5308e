// What a change of a model cost: any number of models measured side by side, as one HTML page, JSON and a short table.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kinglet/measure.h"
#include "kinglet/result.h"
#include "kinglet/shrink.h"

namespace kinglet {

/// Repeated measurements of one speed, in tokens a second.
struct Speed {
  std::vector<double> runs;  ///< in the order in which they were taken
  double median() const;
  double low() const;
  double high() const;
};

/// The tensors that a model stores in one type.
struct TypeShare {
  std::string type;
  int tensors = 0;
  std::uint64_t bytes = 0, parameters = 0;
};

/// An embedding model's distance to the first model on lines of the text: 1 - cosine.
struct EmbeddingDistance {
  double mean = 0, p99 = 0, max = 0;
  int texts = 0;
};

/// One block of the model: how far its hidden rows are from the first model's after it (what all layers so far did),
/// and how far its own weights are; both as relative squared errors.
struct LayerError {
  double hidden = 0, weights = 0;
};

/// What one of several texts says of a model: averages over all of them hide that one has suffered.
struct TextFigures {
  std::string name;
  std::int64_t tokens = 0;  ///< scored; of embedding models lines
  double perplexity = 0;
  double kl = 0, top1_agreement = 0;  ///< from and with the first model
  double cosine_distance = 0;         ///< of embedding models, in place of those
  double retention =
      1;  ///< the first model's perplexity by this one's; of embedding models the cosine to its embeddings
};

struct ModelFigures {
  std::string label;  ///< "source", a file's name
  std::string path, digest, architecture;
  std::uint64_t bytes = 0;
  BitCounts bits;
  std::vector<TypeShare> types;
  std::optional<Evaluation> quality;  ///< of models that generate; the divergence is from the first model
  std::optional<EmbeddingDistance> embedding;
  std::vector<TextFigures> texts;  ///< one for each where there are several
  Speed decode, prefill;           ///< an embedding model has no decode
  std::uint64_t peak_bytes = 0;
  double load_ms = 0;
  std::vector<LayerError> layers;  ///< empty for the first model, or where the shapes differ
};

/// The text of which a model has kept least; -1 where there are not several, or where it has kept all of each.
int worst_text(const ModelFigures& model);

/// One prompt, and what each model went on with (greedy).
struct AnswerDrift {
  std::string prompt;
  std::vector<std::string> answers;  ///< one a model
  std::vector<double> kl;            ///< mean divergence from the first model along the first model's answer
};

/// A point of the chart of size against quality.
struct ReportPoint {
  std::string label;
  std::uint64_t bytes = 0;
  double kl = 0;
};

struct Report {
  std::string title;
  std::vector<ModelFigures> models;
  std::vector<AnswerDrift> answers;     ///< where the models drift most first
  std::vector<ReportPoint> candidates;  ///< further points of the chart, measured while a recipe was searched
  std::vector<ShrunkTensor> tensors;    ///< of a shrink
  std::string recipe;                   ///< of a shrink
  std::string text_name, text_digest;   ///< of all texts together
  std::int64_t context = 0, windows = 0;
  std::vector<std::string> commands;
  std::vector<std::string> notes;
  Machine machine;
  int threads = 0;
  double foreign_load = 0;  ///< share of the cores that other programs took meanwhile
};

struct ReportText {
  std::string name, text;
};

struct CompareOptions {
  std::vector<ReportText> texts;  ///< the texts themselves, one or more; embedding models read their lines
  std::int64_t context = 512;
  std::size_t windows = 0;  ///< most windows of the texts together; 0: all
  int rounds = 5;           ///< of each speed, the models taking turns; 0: no speeds
  bool answers = true;
  int threads = 0;
  std::function<void(std::string_view activity, std::uint64_t done, std::uint64_t total)> progress;
};

/// Label and path of a model.
using NamedModel = std::pair<std::string, std::string>;

/// Measures them; quality against the first. kInvalidArgument where vocabularies differ or the text is too short,
/// kExhausted where two of them do not fit into memory together, kCancelled.
Result<Report> compare_models(const std::vector<NamedModel>& models, const CompareOptions& options);

/// As JSON (the form that docs/commands/compare.md describes), as one HTML file that needs no other, as lines for a
/// terminal (control characters of names escaped by the caller's terminal rules are not: names are plain here).
std::string report_json(const Report& report);
std::string report_html(const Report& report);
std::string report_table(const Report& report);

}  // namespace kinglet
