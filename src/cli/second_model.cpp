#include "cli/second_model.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/try.h"
#include "cli/drafter.h"
#include "cli/generation.h"

namespace kinglet {
namespace {

/// The checkpoint without what a tokenizer is made of: with large vocabularies that is more than the caches.
class WithoutVocabulary final : public Checkpoint {
 public:
  explicit WithoutVocabulary(std::unique_ptr<Checkpoint> whole) : whole_(std::move(whole)) {
    for (const auto& [key, value] : whole_->metadata().entries())
      if (!key.starts_with("tokenizer.")) metadata_.append(key, value);
  }
  const Metadata& metadata() const override { return metadata_; }
  std::span<const TensorInfo> tensors() const override { return whole_->tensors(); }
  Result<TensorData> data(const TensorInfo& tensor) const override { return whole_->data(tensor); }
  std::string_view format() const override { return whole_->format(); }
  std::string_view path() const override { return whole_->path(); }
  std::uint64_t file_bytes() const override { return whole_->file_bytes(); }
  void release(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t end) const override {
    whole_->release(tensor, begin, end);
  }

 private:
  std::unique_ptr<Checkpoint> whole_;
  Metadata metadata_;
};

/// False also where the checkpoint says it in another way than GGUF.
bool lists_tokens_of(const Checkpoint& checkpoint, const Tokenizer& tokenizer) {
  const auto tokens = checkpoint.metadata().strings("tokenizer.ggml.tokens");
  if (!tokens || *tokens == nullptr || (*tokens)->size() != static_cast<std::size_t>(tokenizer.size())) return false;
  TokenId id = 0;
  return std::ranges::all_of(**tokens, [&](const std::string& text) { return tokenizer.text(id++) == text; });
}

}  // namespace

Result<SecondModel> load_second_model(std::string_view name, const Arguments& arguments, const Model& first) {
  KINGLET_TRY(std::unique_ptr<Checkpoint> checkpoint, open_model(name));
  KINGLET_TRY(LoadOptions options, load_options(arguments));
  const bool lists = lists_tokens_of(*checkpoint, first.tokenizer());
  if (lists) {
    checkpoint = std::make_unique<WithoutVocabulary>(std::move(checkpoint));
    options.with_tokenizer = false;
  }
  SecondModel second;
  KINGLET_TRY(second.model, Model::load(std::move(checkpoint), options));
  second.shares_vocabulary =
      lists ? second.model->config().vocabulary == first.config().vocabulary : same_vocabulary(*second.model, first);
  if (!lists || second.shares_vocabulary) return second;
  // The same tokens, but another number of rows: then it drafts by way of text, and needs its own.
  KINGLET_TRY(second.model, load_model(name, arguments));
  return second;
}

}  // namespace kinglet
