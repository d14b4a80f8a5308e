// The measurements behind compare_models.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "decode/prompt.h"
#include "kinglet/checkpoint.h"
#include "kinglet/engine.h"
#include "kinglet/report.h"

namespace kinglet {

/// A model that is ready to be measured.
struct Subject {
  std::shared_ptr<const Model> model;
  std::unique_ptr<Engine> engine;
};
Result<Subject> load_subject(const std::string& path, std::int64_t context, int threads);

constexpr std::size_t kReportWindows = 24;  ///< the standard error of a mean divergence is then a few percent

/// Windows of the text, at most `most` (0: all), spread over it.
Result<std::vector<TextWindow>> report_windows(const Tokenizer& tokenizer, std::string_view text, std::int64_t context,
                                               std::size_t most);

/// The same of several texts, spread over all of them, one or more of each; `text_of` gets the text of each window.
Result<std::vector<TextWindow>> report_windows(const Tokenizer& tokenizer, std::span<const ReportText> texts,
                                               std::int64_t context, std::size_t most,
                                               std::vector<std::size_t>& text_of);

/// Bytes, bits, types and digest: what the file says.
Result<ModelFigures> file_figures(const NamedModel& model);

/// Weight errors by block (vector of layers): relative squared difference of all matrices that both have.
Result<std::vector<double>> weight_errors(const std::string& path, const std::string& reference);

/// Relative squared difference of the hidden rows after each layer, over one window.
Result<std::vector<double>> hidden_errors(Engine& model, Engine& reference, std::span<const TokenId> ids);

/// Short prompts for models that generate, answered greedily.
std::vector<std::string> report_prompts();
struct Answer {
  std::vector<TokenId> prompt, ids;
  std::string text;
};
Result<std::vector<Answer>> answer_prompts(const Subject& subject);
/// Mean divergence along given answers of the reference.
Result<std::vector<double>> answer_drift(const Subject& subject, const Subject& reference,
                                         const std::vector<Answer>& answers);

/// The lines of the text that an embedding model reads.
std::vector<std::string> embedding_lines(std::string_view text);
Result<std::vector<std::vector<float>>> embed_lines(const Subject& subject, const std::vector<std::string>& lines);
EmbeddingDistance embedding_distance(std::span<const std::vector<float>> model,
                                     std::span<const std::vector<float>> reference);

/// One for each text, from the windows of each: `text_of` says which.
std::vector<TextFigures> text_figures(std::span<const ReportText> texts, std::span<const std::size_t> text_of,
                                      std::span<const WindowScore> windows);

}  // namespace kinglet
