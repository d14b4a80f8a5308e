#include "kinglet/model.h"

#include <algorithm>
#include <future>

#include "base/thread_pool.h"
#include "base/try.h"
#include "model/arena.h"
#include "model/loader.h"

namespace kinglet {
namespace {

/// What the tokenizer holds in its own form: with a large vocabulary a second copy would be more than the caches.
bool is_vocabulary(std::string_view key) {
  return key == "tokenizer.ggml.tokens" || key == "tokenizer.ggml.merges" || key == "tokenizer.ggml.scores" ||
         key == "tokenizer.ggml.token_type" || key == "tokenizer.huggingface.json";
}

}  // namespace

std::shared_ptr<Linear>& LayerWeights::matrix(std::string_view kind) {
  if (kind == "attn_q") return query;
  if (kind == "attn_k") return key;
  if (kind == "attn_v") return value;
  if (kind == "attn_output") return output;
  if (kind == "ffn_gate") return gate;
  if (kind == "ffn_up") return up;
  return down;
}

std::string layer_matrix_name(int layer, std::string_view kind) {
  return "blk." + std::to_string(layer) + "." + std::string(kind) + ".weight";
}

namespace {

Result<void> keep_coded(Checkpoint& checkpoint, const LoadOptions& options) {
  if (options.weight_memory > 0)
    return fail(ErrorCode::kInvalidArgument, "weights that stay coded are not read from disk layer by layer",
                "Give either --keep-coded or --weight-memory.");
  const auto is_coded = [](const TensorInfo& tensor) { return !tensor.codec.empty(); };
  if (std::ranges::none_of(checkpoint.tensors(), is_coded))
    return fail(ErrorCode::kUnsupported, "no matrix of the model is entropy-coded, so none can stay so",
                "Code it first: kinglet convert MODEL --type bf16 --lossless -o OUT", std::string(checkpoint.path()));
  checkpoint.keep_coded(true);
  return {};
}

}  // namespace

Model::Model() = default;
Model::~Model() = default;

int Model::threads() const { return pool_->size(); }

Result<std::vector<AlignedMemory>> Model::Arena::allocate(const std::vector<std::size_t>& sizes) {
  std::vector<AlignedMemory> memory;
  for (std::size_t size : sizes) {
    KINGLET_TRY(AlignedMemory region, AlignedMemory::allocate(std::max<std::size_t>(size, 64)));
    memory.push_back(std::move(region));
  }
  return memory;
}

Result<std::shared_ptr<const Model>> Model::load(const std::string& path, LoadOptions options) {
  KINGLET_TRY(std::unique_ptr<Checkpoint> checkpoint, open_checkpoint(path));
  return load(std::move(checkpoint), options);
}

Result<std::shared_ptr<const Model>> Model::load(std::unique_ptr<Checkpoint> checkpoint, LoadOptions options) {
  if (options.keep_coded) KINGLET_CHECK(keep_coded(*checkpoint, options));
  std::shared_ptr<Model> model(new Model());
  model->path_ = checkpoint->path();
  model->file_bytes_ = checkpoint->file_bytes();
  for (const auto& [key, value] : checkpoint->metadata().entries())
    if (!is_vocabulary(key)) model->metadata_.append(key, value);
  model->arena_ = std::make_unique<Arena>();
  ModelLoader loader(*checkpoint, *model, options.weight_memory);
  KINGLET_CHECK(loader.configure());
  KINGLET_CHECK(loader.find_weights());
  if (options.pack) KINGLET_CHECK(loader.check_memory());
  model->pool_ = std::make_unique<ThreadPool>(options.threads);
  // The vocabulary is read beside the packing: together they would be half of a small model's load time.
  // A future, and not a thread: where memory ends in there, that is thrown here.
  std::future<Result<std::unique_ptr<Tokenizer>>> reader;
  if (options.with_tokenizer)
    reader = std::async(std::launch::async, [&] { return load_tokenizer(checkpoint->metadata()); });
  Result<void> packed = options.pack ? loader.pack() : Result<void>();
  Result<std::unique_ptr<Tokenizer>> tokenizer = nullptr;
  if (reader.valid()) tokenizer = reader.get();
  KINGLET_CHECK(std::move(packed));
  KINGLET_TRY(model->tokenizer_, std::move(tokenizer));
  if (model->tokenizer_ != nullptr && model->tokenizer_->size() > model->config_.vocabulary) {
    return fail(ErrorCode::kCorrupt, "the tokenizer has " + std::to_string(model->tokenizer_->size()) +
                                         " tokens, the embedding " + std::to_string(model->config_.vocabulary) +
                                         " rows");
  }
  return model;
}

}  // namespace kinglet
