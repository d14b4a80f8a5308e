// Several texts in one report: a model may keep one kind of text and lose another.
#include <algorithm>
#include <cmath>

#include "base/try.h"
#include "compress/report/parts.h"

namespace kinglet {

int worst_text(const ModelFigures& model) {
  constexpr double kKept = 1 - 1e-9;
  int worst = -1;
  for (std::size_t i = 0; i < model.texts.size(); ++i) {
    const double least = worst < 0 ? kKept : model.texts[static_cast<std::size_t>(worst)].retention;
    if (model.texts.size() > 1 && model.texts[i].retention < least) worst = static_cast<int>(i);
  }
  return worst;
}

Result<std::vector<TextWindow>> report_windows(const Tokenizer& tokenizer, std::span<const ReportText> texts,
                                               std::int64_t context, std::size_t most,
                                               std::vector<std::size_t>& text_of) {
  std::vector<TextWindow> all, kept;
  std::vector<std::size_t> origins;
  for (std::size_t text = 0; text < texts.size(); ++text) {
    auto windows = report_windows(tokenizer, texts[text].text, context, 0);
    if (!windows) {
      Error error = std::move(windows).error();
      error.place = texts[text].name;
      return tl::unexpected(std::move(error));
    }
    for (TextWindow& window : *windows) all.push_back(std::move(window));
    origins.resize(all.size(), text);
  }
  std::vector<bool> taken(all.size(), most == 0 || all.size() <= most), read(texts.size(), false);
  for (std::size_t i = 0; i < std::min(most, all.size()); ++i) taken[i * all.size() / most] = true;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (taken[i]) read[origins[i]] = true;
  text_of.clear();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!taken[i] && read[origins[i]]) continue;
    read[origins[i]] = true;  // of a short text its first window
    text_of.push_back(origins[i]);
    kept.push_back(std::move(all[i]));
  }
  return kept;
}

std::vector<TextFigures> text_figures(std::span<const ReportText> texts, std::span<const std::size_t> text_of,
                                      std::span<const WindowScore> windows) {
  std::vector<TextFigures> figures(texts.size());
  std::vector<double> nll(texts.size()), reference_nll(texts.size());
  for (std::size_t i = 0; i < windows.size(); ++i) {
    TextFigures& text = figures[text_of[i]];
    const auto tokens = static_cast<double>(windows[i].tokens);
    text.tokens += windows[i].tokens;
    text.kl += tokens * windows[i].kl;
    text.top1_agreement += tokens * windows[i].top1_agreement;
    nll[text_of[i]] += tokens * windows[i].nll;
    reference_nll[text_of[i]] += tokens * windows[i].reference_nll;
  }
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto tokens = static_cast<double>(std::max<std::int64_t>(figures[i].tokens, 1));
    figures[i].name = texts[i].name;
    figures[i].kl /= tokens;
    figures[i].top1_agreement /= tokens;
    figures[i].perplexity = std::exp(nll[i] / tokens);
    figures[i].retention = std::exp((reference_nll[i] - nll[i]) / tokens);
  }
  return figures;
}

}  // namespace kinglet
