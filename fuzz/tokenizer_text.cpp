// Any text on a small vocabulary of each kind. Byte-level vocabularies give it back and agree with the plainest way to
// merge; words joined are the text; the others stay inside their ids.
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../tests/model/tokenizer/vocabularies.h"
#include "model/tokenizer/pretokenizer.h"

namespace {

using kinglet::PreTokenizer;
using kinglet::TokenId;

const std::vector<std::string>& merges() {
  // Ranks that go against the order of lengths, so that new pairs overtake old ones.
  static const std::vector<std::string> list = {"aaa a", "a b", "Ġ a",   "b c",  "aa a",  "a a", "Ġ Ġ", "ab c",
                                                "aa aa", "Ã ©", "ðŁ ĺ",  "ð Ł",  "ĠĠ ĠĠ", "Ċ Ċ", "' s", "1 2",
                                                "ab ab", "c c", "cc cc", "Ġa b", "e s",   "Ġ 1", "! !", "aaaa a"};
  return list;
}

struct Bpe {
  PreTokenizer kind;
  std::unique_ptr<kinglet::Tokenizer> tokenizer;
};

std::unique_ptr<kinglet::Tokenizer> load(const kinglet::Metadata& metadata) {
  auto tokenizer = kinglet::load_tokenizer(metadata);
  if (!tokenizer) std::abort();
  return std::move(*tokenizer);
}

/// Lowest rank, leftmost, over and over.
std::vector<std::string> merge_slowly(std::string_view word) {
  static const std::map<std::pair<std::string, std::string>, std::size_t> ranks = [] {
    std::map<std::pair<std::string, std::string>, std::size_t> out;
    for (std::size_t k = 0; k < merges().size(); ++k) {
      const std::size_t space = merges()[k].find(' ');
      out.insert({{merges()[k].substr(0, space), merges()[k].substr(space + 1)}, k});
    }
    return out;
  }();
  std::vector<std::string> symbols;
  for (char c : word)
    kinglet::unicode::append(symbols.emplace_back(), kinglet::byte_character(static_cast<std::uint8_t>(c)));
  while (true) {
    std::size_t best = ranks.size(), where = 0;
    for (std::size_t k = 0; k + 1 < symbols.size(); ++k) {
      const auto found = ranks.find({symbols[k], symbols[k + 1]});
      if (found != ranks.end() && found->second < best) best = found->second, where = k;
    }
    if (best == ranks.size()) return symbols;
    symbols[where] += symbols[where + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

void check_bpe(const Bpe& bpe, std::string_view text) {
  const auto ids = bpe.tokenizer->encode(text);
  if (bpe.tokenizer->decode(ids) != text) std::abort();
  if (text.find("<tool>") != std::string_view::npos) return;
  std::vector<TokenId> expected;
  while (!text.empty()) {
    const std::size_t size = kinglet::next_word(bpe.kind, text);
    if (size == 0 || size > text.size()) std::abort();
    for (const std::string& symbol : merge_slowly(text.substr(0, size)))
      expected.push_back(bpe.tokenizer->find(symbol));
    text.remove_prefix(size);
  }
  if (ids != expected) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kinglet;
  static const std::vector<Bpe>& all = *[] {
    auto* list = new std::vector<Bpe>;
    list->push_back({PreTokenizer::kGpt2, load(testing::bpe_metadata(merges(), "gpt-2"))});
    list->push_back({PreTokenizer::kSmollm, load(testing::bpe_metadata(merges(), "smollm"))});
    list->push_back({PreTokenizer::kQwen2, load(testing::bpe_metadata(merges(), "qwen2"))});
    list->push_back({PreTokenizer::kLlama3, load(testing::bpe_metadata(merges(), "dbrx"))});
    return list;
  }();
  static const std::vector<std::unique_ptr<Tokenizer>>& others = *[] {
    auto* list = new std::vector<std::unique_ptr<Tokenizer>>;
    list->push_back(load(testing::spm_metadata({"ab", "▁a", "aa", "a", "b", "c", "▁", "aaaa", "é", "▁▁"}, true)));
    list->push_back(load(testing::spm_metadata({"bc", "ab", "abc", "a", "b", "▁", "\n", "\n\n"}, false)));
    for (const char* model : {"t5", "bert"}) {
      Metadata metadata = testing::spm_metadata({"▁a", "b", "ab", "▁", "c", "▁.", "▁é", "cc"}, true);
      metadata.set_string("tokenizer.ggml.model", model);
      list->push_back(load(metadata));
    }
    return list;
  }();
  const std::string_view text(reinterpret_cast<const char*>(data), std::min<std::size_t>(size, 2000));
  for (const Bpe& bpe : all) check_bpe(bpe, text);
  for (const auto& tokenizer : others)
    for (const bool special : {false, true}) {
      const auto ids = tokenizer->encode(text, {.parse_special = special, .add_special = special});
      for (TokenId id : ids)
        if (id < 0 || id >= tokenizer->size()) std::abort();
      // SentencePiece without a prefix gives well-formed text back, U+2581 aside.
      if (tokenizer == others[1] && !special && unicode::is_well_formed(text) && text.find("▁") == text.npos &&
          tokenizer->decode(ids) != text)
        std::abort();
    }
  return 0;
}
