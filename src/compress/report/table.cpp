#include <algorithm>

#include "base/progress.h"
#include "compress/report/format.h"
#include "kinglet/report.h"

namespace kinglet {
namespace {

std::string padded(std::string text, std::size_t width, bool left) {
  if (text.size() < width) text.insert(left ? text.size() : 0, width - text.size(), ' ');
  return text;
}

std::vector<std::string> row_of(const ModelFigures& model) {
  const std::string none = "-";
  const bool compared = model.quality && model.quality->divergence;
  std::vector<std::string> cells = {model.label, format_bytes(model.bytes), number("%.2f", model.bits.bits_per_weight)};
  if (model.embedding) {
    cells.push_back(short_number(model.embedding->mean));
    cells.push_back(short_number(model.embedding->p99));
  } else {
    cells.push_back(model.quality ? number("%.2f", model.quality->perplexity) : none);
    cells.push_back(compared ? short_number(model.quality->divergence->mean) : none);
    cells.push_back(compared ? short_number(model.quality->divergence->p99) : none);
    cells.push_back(compared ? number("%.1f %%", 100 * model.quality->divergence->top1_agreement) : none);
    cells.push_back(model.decode.runs.empty() ? none : number("%.0f", model.decode.median()));
  }
  cells.push_back(model.prefill.runs.empty() ? none : number("%.0f", model.prefill.median()));
  cells.push_back(format_bytes(model.peak_bytes));
  return cells;
}

/// A row for each text of each model, the one that suffered most marked.
void add_texts(const ModelFigures& model, std::vector<std::vector<std::string>>& rows) {
  const int worst = worst_text(model);
  for (std::size_t i = 0; i < model.texts.size(); ++i) {
    const TextFigures& text = model.texts[i];
    std::vector<std::string> cells = {model.label, text.name, number("%.1f %%", 100 * text.retention)};
    if (model.embedding) {
      cells.push_back(short_number(text.cosine_distance));
    } else {
      cells.push_back(number("%.2f", text.perplexity));
      cells.push_back(short_number(text.kl));
      cells.push_back(number("%.1f %%", 100 * text.top1_agreement));
    }
    cells.emplace_back(static_cast<int>(i) == worst ? "worst" : "");
    rows.push_back(std::move(cells));
  }
}

/// In columns; the first `left` of them begin at their left.
std::string aligned(const std::vector<std::vector<std::string>>& rows, std::size_t left) {
  std::vector<std::size_t> widths(rows[0].size());
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) line += (i ? "  " : "") + padded(row[i], widths[i], i < left);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace

std::string report_table(const Report& report) {
  const bool embeds = !report.models.empty() && report.models[0].embedding.has_value();
  std::vector<std::vector<std::string>> rows;
  if (embeds)
    rows.push_back({"model", "file", "bits/w", "1-cosine", "p99", "tok/s", "memory"});
  else
    rows.push_back(
        {"model", "file", "bits/w", "perplexity", "KL", "KL p99", "same best", "decode/s", "prefill/s", "memory"});
  for (const ModelFigures& model : report.models) rows.push_back(row_of(model));
  std::string text = aligned(rows, 1);
  std::vector<std::vector<std::string>> texts;
  if (embeds)
    texts.push_back({"model", "text", "kept", "1-cosine", ""});
  else
    texts.push_back({"model", "text", "kept", "perplexity", "KL", "same best", ""});
  for (const ModelFigures& model : report.models) add_texts(model, texts);
  return texts.size() > 1 ? text + "\n" + aligned(texts, 2) : text;
}

}  // namespace kinglet
