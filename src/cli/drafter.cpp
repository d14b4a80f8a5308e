#include "cli/drafter.h"

#include <charconv>
#include <utility>

#include "base/file.h"
#include "base/memory_info.h"
#include "base/sha256.h"
#include "base/try.h"
#include "cli/file_pages.h"
#include "cli/generation.h"
#include "cli/second_model.h"
#include "decode/drafter_file.h"
#include "decode/prompt.h"
#include "kinglet/store.h"

namespace kinglet {

bool same_vocabulary(const Model& a, const Model& b) {
  if (a.config().vocabulary != b.config().vocabulary || a.tokenizer().size() != b.tokenizer().size()) return false;
  for (TokenId id = 0; id < a.tokenizer().size(); ++id)
    if (a.tokenizer().text(id) != b.tokenizer().text(id)) return false;
  return true;
}

namespace {

Result<std::shared_ptr<DraftModel>> load_draft_model(const std::string& name, const Arguments& arguments,
                                                     const Engine& target) {
  KINGLET_TRY(const SecondModel second, load_second_model(name, arguments, target.model()));
  KINGLET_CHECK(check_generates(*second.model));
  auto made = std::make_shared<DraftModel>();
  EngineOptions options = second_engine_options(target);
  options.context = 0;  // its own: beyond it the target goes on alone
  KINGLET_TRY(made->engine, Engine::create(second.model, options));
  made->same_vocabulary = second.shares_vocabulary;
  return made;
}

/// "layers:N": the number of layers that draft.
Result<std::shared_ptr<DraftModel>> layers_model(std::string_view number) {
  auto made = std::make_shared<DraftModel>();
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), made->exit_layer);
  if (error != std::errc() || end != number.data() + number.size() || made->exit_layer < 1)
    return fail(ErrorCode::kInvalidArgument,
                "--drafter layers:N expects a number of layers, found '" + std::string(number) + "'");
  return made;
}

Result<void> check_sum(const std::string& path, const std::string& expected, std::string_view whose) {
  KINGLET_TRY(const Digest digest, sha256_file(path));
  if (digest.hex() == expected) return {};
  return fail(ErrorCode::kCorrupt,
              "the drafter was made for another " + std::string(whose) + " (SHA-256 " + expected + ")",
              "Make one for this model with `kinglet drafter trim`.", path);
}

/// What a file of `kinglet drafter` says; `name` is none: null.
Result<std::shared_ptr<DraftModel>> from_file(const std::string& name, const Arguments& arguments,
                                              const Engine& target) {
  if (!file_exists(name)) return nullptr;
  const auto checkpoint = open_checkpoint(name);
  if (!checkpoint || !is_drafter_file(**checkpoint)) return nullptr;
  KINGLET_TRY(DrafterFile file, read_drafter_file(**checkpoint));
  KINGLET_CHECK(check_sum(target.model().path(), file.target_sha256, "model"));
  if (file.kept.back() >= target.model().config().vocabulary)
    return fail(ErrorCode::kCorrupt, "the drafter keeps tokens that the model does not have", "", name);
  auto made = std::make_shared<DraftModel>();
  if (!file.model.empty()) {
    KINGLET_TRY(made, load_draft_model(file.model, arguments, target));
    KINGLET_CHECK(check_sum(made->engine->model().path(), file.model_sha256, "second model"));
    if (!made->same_vocabulary)
      return fail(ErrorCode::kUnsupported, "the drafter's second model has another vocabulary", "", name);
  }
  made->exit_layer = file.exit_layer;
  made->kept = std::move(file.kept);
  return made;
}

tl::unexpected<Error> unknown(const std::string& spec, const Error& why) {
  std::string names = "none";
  for (const DrafterDescriptor* drafter : drafters()) names += ", " + std::string(drafter->name);
  return fail(why.code == ErrorCode::kNotFound ? ErrorCode::kInvalidArgument : why.code,
              "there is no drafter '" + spec + "', and as a model: " + why.message,
              "Drafters: " + names + ", auto,MODEL, tree,MODEL, the name of a model, or a file.");
}

Result<void> open_named(const std::string& spec, const Arguments& arguments, Engine& target, GenerateOptions& options) {
  options.draft_model = nullptr;
  options.drafter = spec;
  if (spec.empty() || spec == "none") return {};
  if (find_drafter(spec) != nullptr && spec != "model" && spec != "tree") return {};
  if (spec.starts_with("layers:")) {
    options.drafter = "layers";
    KINGLET_TRY(options.draft_model, layers_model(std::string_view(spec).substr(7)));
    return {};
  }
  if (spec.starts_with("tree,")) {
    KINGLET_TRY(options.draft_model, load_draft_model(spec.substr(5), arguments, target));
    options.drafter = "tree";
    options.draft_model->branch_probability = arguments.number("branch-prob");
    options.draft_model->tree_passes = static_cast<int>(arguments.integer("tree-passes"));
    return {};
  }
  const bool controlled = spec.starts_with("auto,");
  const std::string name = controlled ? spec.substr(5) : spec;
  KINGLET_TRY(options.draft_model, from_file(name, arguments, target));
  if (options.draft_model != nullptr) {
    options.drafter = controlled ? "auto" : options.draft_model->engine ? "model" : "layers";
    return {};
  }
  auto model = load_draft_model(name, arguments, target);
  if (!model) return unknown(spec, model.error());
  options.drafter = controlled ? "auto" : "model";
  options.draft_model = std::move(*model);
  return {};
}

}  // namespace

std::string drafter_spec(const Arguments& arguments) {
  if (arguments.given("with") && arguments.text("policy") == "llmcad") return "tree," + arguments.text("with");
  return arguments.text("drafter");
}

Result<void> open_drafter(const std::string& spec, const Arguments& arguments, Engine& target,
                          GenerateOptions& options) {
  KINGLET_CHECK(open_named(spec, arguments, target, options));
  options.after_pass = nullptr;
  if (target.model().stream() == nullptr) return {};
  // Memory is what counts here: what loading left goes back now, and rows of embeddings after each pass.
  release_free_memory();
  options.after_pass = [&target, second = options.draft_model] {
    drop_file_pages(target.model());
    if (second && second->engine) drop_file_pages(second->engine->model());
  };
  options.after_pass();
  return {};
}

}  // namespace kinglet
