// The options that run, chat, eval and bench share, and what they make of them.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "cli/command.h"
#include "kinglet/engine.h"
#include "kinglet/generate.h"

namespace kinglet {

/// For Command::more_options. --raw --max-tokens --ignore-eos --seed --stop --prefill-chunk --cache --context --drafter
/// --draft-budget, and every option that a sampler declares.
std::span<const OptionSpec> generation_options();
/// --cache, --cache-policy, --context, --prefill-chunk and the like alone, for commands that only run text through a
/// model.
std::span<const OptionSpec> engine_option_specs();

Result<LoadOptions> load_options(const Arguments& arguments);
Result<EngineOptions> engine_options(const Arguments& arguments);
/// For a model that works beside the command line's MODEL: the same context, and no more workspace.
EngineOptions second_engine_options(const Engine& first);
Result<GenerateOptions> generate_options(const Arguments& arguments);

/// The model of a name, file or folder, loaded with --threads.
Result<std::shared_ptr<const Model>> load_model(std::string_view name, const Arguments& arguments);
/// Its checkpoint alone: metadata and tensors, nothing packed.
Result<std::unique_ptr<Checkpoint>> open_model(std::string_view name);

/// SHA-256 of the model's file in hexadecimal; empty for a folder.
Result<std::string> model_digest(std::string_view name);

/// {"ran","skipped","share"} so far: feed-forwards of tokens that might skip, those of answers after the warm-up.
nlohmann::ordered_json ffn_skip_json(const FeedForwardSkip& skip);

/// The text of --file (standard input for "-"), else positional `index`, else standard input where that is no terminal.
/// kInvalidArgument with `what` ("a prompt") where there is none or both are given.
Result<std::string> text_argument(const Arguments& arguments, std::size_t index, std::string_view what);

}  // namespace kinglet
