// The Pass seam: a checkpoint in, a checkpoint out. A pass says exactly what it will write before it works, and then
// makes the tensors block by block, so that a model larger than memory passes and a killed run goes on where it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kinglet/checkpoint.h"
#include "kinglet/recipe.h"
#include "kinglet/result.h"

namespace kinglet {

class ThreadPool;

enum class PassOptionKind { kText, kInteger, kNumber, kFlag, kChoice, kMap, kList };

/// An option of a recipe step. Recipes are checked against the declarations, and help is made from them.
struct PassOption {
  std::string_view name;
  PassOptionKind kind = PassOptionKind::kText;
  std::string_view value_name = {};
  std::string_view help = {};
  std::string_view fallback = {};  ///< the value where the recipe has none; "": none
  double min = -1e300, max = 1e300;
  std::span<const std::string_view> choices = {};
};

/// The options of one step, checked against the declaration: reading them cannot fail.
class PassOptions {
 public:
  PassOptions(std::span<const PassOption> declared, RecipeNode given, std::string place)
      : declared_(declared), given_(std::move(given)), place_(std::move(place)) {}
  bool given(std::string_view name) const { return given_.find(name) != nullptr; }
  std::string text(std::string_view name) const;  ///< the fallback where absent
  std::int64_t integer(std::string_view name) const;
  double number(std::string_view name) const;
  bool flag(std::string_view name) const;
  /// A type that can be written and read; null where the option is absent.
  Result<const BlockType*> type(std::string_view name) const;
  Result<std::uint64_t> bytes(std::string_view name) const;  ///< of a size such as 80MB; 0 where absent
  const RecipeNode* node(std::string_view name) const { return given_.find(name); }  ///< maps and lists; may be null
  /// "recipe.yaml:12", for errors about an option's value (of the step where the option is absent).
  std::string place(std::string_view name) const;

 private:
  std::span<const PassOption> declared_;
  RecipeNode given_;
  std::string place_;  ///< "recipe.yaml"
};

/// What a pass works with. Outlives the pass; all of it is the framework's.
struct PassContext {
  const Checkpoint* source = nullptr;
  const Recipe* recipe = nullptr;  ///< the whole of it, with the targets
  std::string source_digest;       ///< SHA-256 over the source's tensors and metadata (checkpoint_digest), hexadecimal
  std::string text;  ///< the calibration text itself (UTF-8), without what is held out to judge results by
  std::uint64_t seed = 1;
  ThreadPool* pool = nullptr;
  std::uint64_t memory_bytes = 0;  ///< what the pass may allocate at once, beside the mapped source
  std::string work_folder;         ///< exists; for files that a resumed run needs; removed when the output stands
  std::string
      cache_folder;  ///< for results worth keeping between runs (calibration), named by checksums; may not exist
  /// `share` (0..1) of the block at hand; may be called as often as one likes, from the calling thread.
  std::function<void(double share)> progress;
  std::function<bool()> cancelled;             ///< asked between tensors at least; then the pass returns kCancelled
  std::function<void(std::string_view)> note;  ///< a sentence for the user
};

/// What a pass will write.
struct PassPlan {
  struct Tensor {
    std::string name;
    const BlockType* type = nullptr;
    std::vector<std::int64_t> shape;  ///< outermost first
    int block = 0;                    ///< the call of run() that makes it
    std::string codec = {};           ///< as TensorInfo::codec: the file holds the numbers coded, in stored_bytes
    std::uint64_t stored_bytes = 0;
    std::uint64_t bytes() const;  ///< in the file
    std::int64_t elements() const;
  };
  Metadata metadata;            ///< of the output: the source's with what the pass changes
  std::vector<Tensor> tensors;  ///< in the order of the output file
  int blocks = 0;
  double seconds = 0;              ///< predicted work on this machine; 0: not known
  std::uint64_t memory_bytes = 0;  ///< predicted most memory, pages of the source in use included
  std::vector<std::string> notes;  ///< what differs from what was asked
};

/// Takes finished tensors. Each tensor of the plan's block is given exactly once unless finished() already has it.
class TensorSink {
 public:
  virtual ~TensorSink() = default;
  /// Written by this run or an earlier one that was killed: need not be made again.
  virtual bool finished(std::string_view name) const = 0;
  /// The bytes of a finished tensor.
  virtual Result<std::vector<std::byte>> read(std::string_view name) const = 0;
  /// Begins a tensor of the block at hand, takes its bytes in consecutive pieces, and makes it durable.
  virtual Result<void> begin(std::string_view name) = 0;
  virtual Result<void> write(std::span<const std::byte> bytes) = 0;
  virtual Result<void> end() = 0;
  Result<void> put(std::string_view name, std::span<const std::byte> bytes);
};

/// One step at work. Called from one thread; the results must not depend on the number of threads of the pool.
class Pass {
 public:
  virtual ~Pass() = default;
  /// Called once, first. Exact: what run() writes has these names, types and shapes.
  virtual Result<PassPlan> plan(PassContext& context) = 0;
  /// Makes the tensors of `block`; called for 0 .. blocks-1 in ascending order. A block of which every tensor was
  /// finished by an earlier run gets skip() instead, so that a pass with state from block to block can catch up.
  virtual Result<void> run(PassContext& context, int block, TensorSink& sink) = 0;
  virtual Result<void> skip(PassContext&, int /*block*/, const TensorSink&) { return {}; }
  /// The bytes of a tensor of the plan that is no copy of the source's, where they are as quickly made: then the step
  /// after this one can be planned without running it. kUnsupported otherwise.
  virtual Result<TensorData> preview(PassContext&, std::string_view /*name*/) {
    return fail(ErrorCode::kUnsupported, "this step needs what the step before it writes, and cannot be planned alone");
  }
};

/// What a pass does to the weights, in the order in which a recipe loses least: first what changes their number, then
/// what rounds them, then what codes the rounded ones.
enum class PassStage { kStructure, kRounding, kCoding };

/// Registered by its file in src/compress/passes: `extern const PassDescriptor pass_NAME`.
struct PassDescriptor {
  std::string_view name;
  std::string_view paper;  ///< number of the paper's card, "" for the field's standard ways
  std::string_view help;
  std::string_view applicability;  ///< which models and tensors
  std::span<const PassOption> options;
  /// kUnsupported with the reason where the pass cannot work on this checkpoint; asked before any work. May be null.
  Result<void> (*accepts)(const Checkpoint& checkpoint, const PassOptions& options) = nullptr;
  /// kInvalidArgument, with the option's place, for values that contradict each other or name what does not exist.
  Result<std::unique_ptr<Pass>> (*make)(const PassOptions& options) = nullptr;
  PassStage stage = PassStage::kRounding;
  /// Run before the rounding by a target without a recipe, where it accepts the source.
  bool prepares = false;
  /// What rounding loses in one value is made up for in others: the planner expects less loss of the same type.
  bool compensates = false;
};
std::span<const PassDescriptor* const> passes();
const PassDescriptor* find_pass(std::string_view name);

/// Checks a step against its pass's declaration.
Result<PassOptions> pass_options(const RecipeStep& step, std::string_view place);

/// The usual blocks: 0 is what stands before the layers, 1 + i is layer i, the last is what stands after them (output
/// norm and head). `layers`: number of layers (0 where there are no "blk." tensors).
int tensor_block(std::string_view name, int layers);
int layer_count(const Checkpoint& checkpoint);

/// A plan that copies the source: same tensors and metadata (vectors as f32, which is how every reader wants them, and
/// with GGUF's tokenizer keys), the usual blocks. Passes change it.
Result<PassPlan> copying_plan(const PassContext& context);

/// Copies a tensor of the source as its plan says, through its values where the type differs (plain rounding, in
/// pieces; kCorrupt where values are not finite).
Result<void> copy_tensor(PassContext& context, const PassPlan::Tensor& tensor, TensorSink& sink);

/// The most memory that copying and plain rounding take, with the program itself.
std::uint64_t streaming_memory(const ThreadPool& pool);

/// SHA-256, hexadecimal: of the file where the checkpoint is one GGUF file (so the same as the store's), otherwise over
/// the metadata and all tensors. kCancelled where `go_on` (bytes done) answers false.
Result<std::string> checkpoint_digest(const Checkpoint& checkpoint,
                                      const std::function<bool(std::uint64_t)>& go_on = {});

/// True where `name` matches a pattern of literal text and `*` (any text, also none).
bool matches_pattern(std::string_view pattern, std::string_view name);

}  // namespace kinglet
