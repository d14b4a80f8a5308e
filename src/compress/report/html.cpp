#include <algorithm>
#include <cmath>

#include "base/progress.h"
#include "compress/report/chart.h"
#include "compress/report/format.h"
#include "compress/report/style.h"
#include "kinglet/report.h"

namespace kinglet {
namespace {

const Divergence* divergence_of(const ModelFigures& model) {
  return model.quality && model.quality->divergence ? &*model.quality->divergence : nullptr;
}

struct Verdict {
  const char* kind;
  const char* words;
};
/// A rule of thumb in words, for readers to whom a divergence says nothing.
Verdict verdict_of(double kl) {
  if (kl < 0.01) return {"good", "practically the same as the source"};
  if (kl < 0.06) return {"good", "hard to tell from the source"};
  if (kl < 0.2) return {"warn", "small differences; long answers part from the source's"};
  if (kl < 0.6) return {"warn", "clear differences; look at the answers below"};
  return {"bad", "strongly changed; expect mistakes that the source does not make"};
}

std::string card(const std::string& value, const std::string& label, const char* kind = "") {
  return "<div class=\"card\"><b class=\"" + std::string(kind) + "\">" + html(value) + "</b><span>" + html(label) +
         "</span></div>\n";
}

std::string ratio_words(double ratio) { return number("%.2f", ratio) + "x of the source"; }

/// The figures that matter most of a result against its source.
std::string headline(const Report& report) {
  if (report.models.size() < 2) return "";
  const ModelFigures& source = report.models[0];
  const ModelFigures& result = report.models[1];
  const double share = 100.0 * static_cast<double>(result.bytes) / static_cast<double>(source.bytes);
  std::string out = "<p class=\"lead\">" + html(result.label) + " has " + format_bytes(result.bytes) + ", " +
                    number("%.0f", share) + " % of " + html(source.label) + " (" + format_bytes(source.bytes) + ")";
  const Divergence* kl = divergence_of(result);
  if (kl) {
    const Verdict verdict = verdict_of(kl->mean);
    out += ". Answers on the test text: <strong class=\"" + std::string(verdict.kind) + "\">" + verdict.words +
           "</strong>";
  }
  out += ".</p>\n<div class=\"cards\">\n";
  out += card(format_bytes(result.bytes), number("%.2f", result.bits.bits_per_weight) + " bits per weight (layers " +
                                              number("%.2f", result.bits.layer_bits_per_weight) + ")");
  if (kl) {
    out += card(short_number(kl->mean), "KL divergence from the source", verdict_of(kl->mean).kind);
    out += card(number("%.1f %%", 100 * kl->top1_agreement), "same best next token");
    out += card(number("%.2f", result.quality->perplexity),
                "perplexity (source " + number("%.2f", source.quality->perplexity) + ")");
  }
  if (result.embedding) out += card(short_number(result.embedding->mean), "1 - cosine to the source's embeddings");
  if (!result.decode.runs.empty() && source.decode.median() > 0)
    out += card(number("%.0f", result.decode.median()) + "/s",
                "tokens written, " + ratio_words(result.decode.median() / source.decode.median()));
  if (!result.prefill.runs.empty() && source.prefill.median() > 0)
    out += card(number("%.0f", result.prefill.median()) + "/s",
                "tokens read, " + ratio_words(result.prefill.median() / source.prefill.median()));
  out += card(format_bytes(result.peak_bytes), "memory while it answers");
  return out + "</div>\n";
}

std::string speed_cell(const Speed& speed) {
  if (speed.runs.empty()) return "<td>-</td>";
  return "<td title=\"" + number("%.1f", speed.low()) + " to " + number("%.1f", speed.high()) + " in " +
         std::to_string(speed.runs.size()) + " runs\">" + number("%.0f", speed.median()) +
         "<br><small class=\"soft\">" + number("%.0f", speed.low()) + "-" + number("%.0f", speed.high()) +
         "</small></td>";
}

std::string model_row(const ModelFigures& model, bool embeds) {
  const auto cell = [](const std::string& text) { return "<td>" + html(text) + "</td>"; };
  std::string out = "<tr><th class=\"text\">" + html(model.label) + "</th>" + cell(format_bytes(model.bytes)) +
                    cell(number("%.2f", model.bits.bits_per_weight)) +
                    cell(number("%.2f", model.bits.layer_bits_per_weight));
  if (embeds) {
    out += cell(model.embedding ? short_number(model.embedding->mean) : "-") +
           cell(model.embedding ? short_number(model.embedding->p99) : "-");
  } else {
    const Divergence* kl = divergence_of(model);
    out += cell(model.quality ? number("%.2f", model.quality->perplexity) : "-");
    if (kl && kl->mean > 0)
      out += "<td>" + short_number(kl->mean) + "<br><small class=\"soft\">± " + short_number(kl->standard_error) +
             "</small></td>";
    else
      out += cell(kl ? "0" : "-");
    out += cell(kl ? short_number(kl->p99) : "-") + cell(kl ? number("%.1f %%", 100 * kl->top1_agreement) : "-");
    out += speed_cell(model.decode);
  }
  return out + speed_cell(model.prefill) + cell(format_bytes(model.peak_bytes)) +
         cell(number("%.0f ms", model.load_ms)) + "</tr>\n";
}

std::string figures_section(const Report& report) {
  const bool embeds = report.models[0].embedding.has_value();
  std::string out = "<h2>Figures</h2>\n<div class=\"scroll\"><table>\n<thead><tr>";
  std::vector<const char*> heads = {"model", "file", "bits per<br>weight", "layers<br>alone"};
  const std::vector<const char*> more =
      embeds ? std::vector<const char*>{"1 - cosine<br>mean", "1 - cosine<br>p99", "read<br>tokens/s"}
             : std::vector<const char*>{"perplexity",         "KL<br>mean",        "KL<br>p99",
                                        "same<br>best token", "write<br>tokens/s", "read<br>tokens/s"};
  heads.insert(heads.end(), more.begin(), more.end());
  heads.insert(heads.end(), {"memory", "load"});
  for (const char* head : heads) out += "<th>" + std::string(head) + "</th>";
  out += "</tr></thead>\n<tbody>\n";
  for (const ModelFigures& model : report.models) out += model_row(model, embeds);
  out += "</tbody></table></div>\n<details><summary>What the figures mean</summary>\n<dl>\n";
  if (embeds) {
    out +=
        "<dt>1 - cosine</dt><dd>how far the embedding of a text has turned from the first model's: 0 is the same "
        "direction, 1 is unrelated.</dd>\n";
  } else {
    out +=
        "<dt>perplexity</dt><dd>how surprised the model is by the text; lower is better. It can only be compared "
        "between models that split text in the same way.</dd>\n"
        "<dt>KL</dt><dd>how far the model's probabilities of the next token are from the first model's, in nats; 0 "
        "is the same model. ± is the standard error of the mean. p99: one place in a hundred is worse.</dd>\n"
        "<dt>same best token</dt><dd>how often both would write the same next token.</dd>\n"
        "<dt>write, read</dt><dd>tokens a second while answering, and while reading a prompt; median of the runs, "
        "with the slowest and the fastest below.</dd>\n";
  }
  out +=
      "<dt>bits per weight</dt><dd>bits of all parameters, embedding and output matrix included; then of the "
      "layers alone.</dd>\n<dt>memory</dt><dd>the most that the program held while it "
      "answered.</dd>\n</dl></details>\n";
  return out;
}

/// A row for each text of each model.
std::string texts_section(const Report& report) {
  const bool embeds = report.models[0].embedding.has_value();
  std::string rows;
  for (const ModelFigures& model : report.models) {
    const int worst = worst_text(model);
    for (std::size_t i = 0; i < model.texts.size(); ++i) {
      const TextFigures& text = model.texts[i];
      const bool marked = static_cast<int>(i) == worst;
      rows += "<tr><th class=\"text\">" + html(i == 0 ? model.label : "") + "</th><td class=\"text\">" +
              html(text.name) + "</td><td>" + (marked ? "<strong class=\"bad\">" : "") +
              number("%.1f %%", 100 * text.retention) + (marked ? " (worst)</strong>" : "") + "</td><td>";
      if (embeds)
        rows += short_number(text.cosine_distance);
      else
        rows += number("%.2f", text.perplexity) + "</td><td>" + short_number(text.kl) + "</td><td>" +
                number("%.1f %%", 100 * text.top1_agreement);
      rows += "</td></tr>\n";
    }
  }
  if (rows.empty()) return "";
  return "<h2>Text by text</h2>\n<p class=\"soft\">What is kept of each: " +
         std::string(embeds ? "the cosine to the first model's embeddings."
                            : "the first model's perplexity as a share of this one's.") +
         " A mean over all texts hides one that has suffered.</p>\n<div class=\"scroll\"><table>\n<thead><tr>"
         "<th>model</th><th class=\"text\">text</th><th>kept</th>" +
         (embeds ? "<th>1 - cosine</th>" : "<th>perplexity</th><th>KL</th><th>same<br>best token</th>") +
         "</tr></thead>\n<tbody>\n" + rows + "</tbody></table></div>\n";
}

std::string chart_section(const Report& report) {
  const std::string chart = size_chart(report);
  if (chart.empty()) return "";
  std::string out = "<h2>Size against quality</h2>\n<figure>" + chart + "<figcaption>Further down is closer to " +
                    html(report.models[0].label) + ", further left is smaller.";
  if (!report.candidates.empty()) out += " Small points: candidates that were measured on the way.";
  return out + "</figcaption></figure>\n";
}

std::string layers_section(const Report& report) {
  std::string out;
  for (const ModelFigures& model : report.models) {
    const std::string chart = layer_chart(model);
    if (chart.empty()) continue;
    out += "<figure>" + chart + "<figcaption>" + html(model.label) +
           ": <span class=\"key\" style=\"background:var(--accent)\"></span>what leaves the layer (all layers so far "
           "together), <span class=\"key\" style=\"background:var(--second)\"></span>the layer's own weights; "
           "relative squared error against the first model</figcaption></figure>\n";
  }
  return out.empty() ? out : "<h2>Error of each layer</h2>\n" + out;
}

/// Where two answers part, in whole words.
std::size_t common_prefix(const std::string& a, const std::string& b) {
  std::size_t i = 0;
  while (i < a.size() && i < b.size() && a[i] == b[i]) ++i;
  if (i == a.size() && i == b.size()) return i;
  while (i > 0 && a[i - 1] != ' ' && a[i - 1] != '\n') --i;  // from the start of the word
  return i;
}

/// A token as it may stand alone in a cell: blanks made visible.
std::string shown_token(const std::string& token) {
  std::string out;
  for (const char letter : token)
    out += letter == '\n' ? "\xE2\x8F\x8E" : letter == '\t' ? "\xE2\x87\xA5" : std::string(1, letter);
  if (out.starts_with(' ')) out = "\xE2\x90\xA3" + out.substr(1);
  return out.empty() ? "(end)" : out;
}

std::string answers_section(const Report& report) {
  if (report.answers.empty() || report.models.size() < 2) return "";
  std::string out =
      "<h2>Answers side by side</h2>\n<p class=\"soft\">The same prompts, each model's most likely "
      "answer, the largest drift first. Coloured: from where it differs from the first model's.</p>\n";
  for (const AnswerDrift& drift : report.answers) {
    out += "<p><strong>" + html(drift.prompt) + "</strong></p>\n<div class=\"answers\">\n";
    for (std::size_t i = 0; i < drift.answers.size() && i < report.models.size(); ++i) {
      const std::string& answer = drift.answers[i];
      const std::size_t same = i == 0 ? answer.size() : common_prefix(answer, drift.answers[0]);
      std::string note = i == 0                                                     ? ""
                         : same == answer.size() && same == drift.answers[0].size() ? ", the same answer"
                                                                                    : "";
      if (i > 0) note += ", KL " + short_number(drift.kl[i]) + " along the first answer";
      out += "<div class=\"answer\"><small>" + html(report.models[i].label + note) + "</small><p>" +
             html(answer.substr(0, same));
      if (same < answer.size())
        out += "<mark>" + html(answer.substr(same)) + "</mark>";
      else if (i > 0 && same < drift.answers[0].size())
        out += "<mark> (ends here)</mark>";
      out += "</p></div>\n";
    }
    out += "</div>\n";
  }
  return out;
}

std::string worst_section(const Report& report) {
  std::string out;
  for (const ModelFigures& model : report.models) {
    const Divergence* kl = divergence_of(model);
    if (!kl || kl->worst.empty()) continue;
    out += "<details" + std::string(report.models.size() == 2 ? " open" : "") + "><summary>" + html(model.label) +
           "</summary>\n<div class=\"scroll\"><table><thead><tr><th class=\"text\">text so far</th><th>next</th>"
           "<th>" +
           html(report.models[0].label) + " says</th><th>" + html(model.label) +
           " says</th><th>chance of next<br>before</th><th>after</th><th>KL</th></tr></thead><tbody>\n";
    for (const Disagreement& place : kl->worst)
      out += "<tr><td class=\"text\">…" + html(place.before) + "</td><td>" + html(shown_token(place.token)) +
             "</td><td>" + html(shown_token(place.reference_best)) + "</td><td>" + html(shown_token(place.model_best)) +
             "</td><td>" + number("%.1f %%", 100 * place.reference_probability) + "</td><td>" +
             number("%.1f %%", 100 * place.model_probability) + "</td><td>" + short_number(place.kl) + "</td></tr>\n";
    out += "</tbody></table></div></details>\n";
  }
  return out.empty() ? out : "<h2>Places in the text where it drifts most</h2>\n" + out;
}

std::string types_section(const Report& report) {
  std::string out =
      "<h2>How the weights are stored</h2>\n<div class=\"scroll\"><table><thead><tr><th>model</th>"
      "<th>type</th><th>tensors</th><th>parameters</th><th>bytes</th><th>share</th></tr></thead><tbody>\n";
  for (const ModelFigures& model : report.models) {
    std::uint64_t all = 0;
    for (const TypeShare& share : model.types) all += share.bytes;
    for (const TypeShare& share : model.types)
      out += "<tr><th>" + html(&share == &model.types.front() ? model.label : "") + "</th><td>" + html(share.type) +
             "</td><td>" + std::to_string(share.tensors) + "</td><td>" +
             number("%.2f M", static_cast<double>(share.parameters) / 1e6) + "</td><td>" + format_bytes(share.bytes) +
             "</td><td>" + number("%.1f %%", 100.0 * static_cast<double>(share.bytes) / static_cast<double>(all)) +
             "</td></tr>\n";
  }
  out += "</tbody></table></div>\n";
  if (report.tensors.empty()) return out;
  out +=
      "<details><summary>Every tensor</summary><div class=\"scroll\"><table><thead><tr><th>tensor</th><th>shape</th>"
      "<th>from</th><th>to</th><th>bytes before</th><th>bytes</th></tr></thead><tbody>\n";
  for (const ShrunkTensor& tensor : report.tensors) {
    std::string shape;
    for (std::int64_t size : tensor.shape) shape += (shape.empty() ? "" : " x ") + std::to_string(size);
    out += "<tr><td>" + html(tensor.name) + "</td><td>" + shape + "</td><td>" + html(tensor.from) + "</td><td>" +
           html(tensor.to) + "</td><td>" + std::to_string(tensor.bytes_before) + "</td><td>" +
           std::to_string(tensor.bytes) + "</td></tr>\n";
  }
  return out + "</tbody></table></div></details>\n";
}

std::string method_section(const Report& report) {
  std::string out = "<h2>How it was measured</h2>\n";
  if (!report.commands.empty()) {
    out += "<pre>";
    for (const std::string& command : report.commands) out += html(command) + "\n";
    out += "</pre>\n";
  }
  out += "<dl>\n";
  const auto entry = [&](const std::string& name, const std::string& value) {
    if (!value.empty()) out += "<dt>" + html(name) + "</dt><dd>" + html(value) + "</dd>\n";
  };
  std::string text = report.text_name + ", SHA-256 " + report.text_digest;
  if (report.windows > 0)
    text += "; " + std::to_string(report.windows) + " windows of " + std::to_string(report.context) +
            " tokens, the second half of each scored";
  entry("text", text);
  entry("machine", report.machine.processor + ", " + std::to_string(report.machine.cores) + " cores, " +
                       format_bytes(report.machine.memory_bytes) + ", " + report.machine.system);
  entry("threads", std::to_string(report.threads));
  entry("other programs", number("%.0f %%", 100 * report.foreign_load) + " of the cores meanwhile; the models took " +
                              "turns in every round of the speeds");
  for (const ModelFigures& model : report.models)
    entry(model.label, model.path + ", " + std::to_string(model.bytes) + " bytes, SHA-256 " + model.digest);
  for (const std::string& note : report.notes) entry("note", note);
  out += "</dl>\n";
  if (!report.recipe.empty())
    out += "<details><summary>The recipe, with every choice made</summary><pre>" + html(report.recipe) +
           "</pre></details>\n";
  return out;
}

}  // namespace

std::string report_html(const Report& report) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
      html(report.title) + "</title>\n<style>" + std::string(kReportStyle) + "</style>\n</head>\n<body>\n<main>\n<h1>" +
      html(report.title) + "</h1>\n";
  if (report.models.empty()) return out + "</main>\n</body>\n</html>\n";
  out += headline(report) + figures_section(report) + texts_section(report) + chart_section(report) +
         answers_section(report) + worst_section(report) + layers_section(report) + types_section(report) +
         method_section(report);
  return out + "</main>\n</body>\n</html>\n";
}

}  // namespace kinglet
