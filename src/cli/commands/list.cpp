#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/progress.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/output.h"
#include "kinglet/architecture.h"
#include "kinglet/block_type.h"
#include "kinglet/cache_policy.h"
#include "kinglet/draft.h"
#include "kinglet/linear.h"
#include "kinglet/pair.h"
#include "kinglet/pass.h"
#include "kinglet/route.h"
#include "kinglet/sampling.h"
#include "kinglet/store.h"

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

// One line of the list, whether the catalogue knows the model, the store has it, or both.
struct Entry {
  std::string name;
  const CatalogueModel* known = nullptr;
  const StoredModel* stored = nullptr;
  std::uint64_t bytes() const { return stored ? stored->bytes : known->bytes(); }
};

std::vector<Entry> entries_of(const std::vector<StoredModel>& stored) {
  std::vector<Entry> entries;
  for (const CatalogueModel& model : catalogue()) {
    entries.push_back({.name = std::string(model.name), .known = &model, .stored = nullptr});
  }
  for (const StoredModel& model : stored) {
    const auto same =
        std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.name == model.name; });
    if (same == entries.end()) {
      entries.push_back({.name = model.name, .known = nullptr, .stored = &model});
    } else {
      same->stored = &model;
    }
  }
  return entries;
}

Json to_json(const Entry& entry) {
  Json value = {{"name", entry.name}, {"installed", entry.stored != nullptr}, {"bytes", entry.bytes()}};
  if (entry.stored) value["path"] = entry.stored->path;
  if (entry.stored && entry.stored->files.size() == 1) value["sha256"] = entry.stored->files[0].sha256;
  if (const CatalogueModel* const known = entry.known) {
    value["description"] = known->description;
    value["licence"] = known->licence;
    value["licence_url"] = known->licence_url;
    value["hub"] = known->hub;
    value["revision"] = known->revision;
    if (known->files.size() == 1) value["sha256"] = known->files[0].sha256;
    value["files"] = Json::array();
    for (const CatalogueFile& file : known->files) {
      value["files"].push_back({{"path", file.path}, {"bytes", file.bytes}, {"sha256", file.sha256}});
    }
    value["pypi"] = Json::array();
    for (const CataloguePackage& package : known->packages) {
      value["pypi"].push_back(std::string(package.name) + "==" + std::string(package.version));
    }
  }
  return value;
}

Result<void> list_models(bool json) {
  KINGLET_TRY(const auto stored, stored_models());
  const auto entries = entries_of(stored);
  if (json) {
    Json models = Json::array();
    for (const Entry& entry : entries) models.push_back(to_json(entry));
    return print_json({{"models", models}, {"store", store_folder()}});
  }
  std::size_t width = 0;
  for (const Entry& entry : entries) width = std::max(width, entry.name.size());
  std::string text;
  for (const Entry& entry : entries) {
    text += padded(entry.name, width + 2) + padded(format_bytes(entry.bytes()), 10) +
            padded(entry.stored ? "here" : "", 6) +
            (entry.known ? std::string(entry.known->description) + " (" + std::string(entry.known->licence) + ")"
                         : escape_for_terminal(entry.stored->path)) +
            "\n";
  }
  KINGLET_CHECK(print(text));
  note("kinglet pull NAME fetches one that is not here.");
  return {};
}

struct Method {
  std::string_view name, seam, paper, help;
  std::string applicability;
};

// Every registry, in the order of the seams that an answer passes.
std::vector<Method> methods() {
  std::vector<Method> all;
  for (const BlockType* type : block_types()) {
    all.push_back({type->name, "block type", type->paper, type->help,
                   "tensors whose rows are multiples of " + std::to_string(type->block_values) + "; " +
                       (type->encode ? "read and written" : "read")});
  }
  for (const LinearDescriptor* linear : linears()) {
    all.push_back({linear->name, "linear", linear->paper, linear->help, "weight matrices that it accepts"});
  }
  for (const Architecture* architecture : architectures()) {
    std::string classes = "general.architecture = " + std::string(architecture->name);
    for (const std::string_view name : architecture->hf_classes) classes += ", " + std::string(name);
    all.push_back({architecture->name, "architecture", "", architecture->help, classes});
  }
  for (const SamplerDescriptor* sampler : samplers()) {
    std::string options = "every model that generates";
    for (const SamplerOption& option : sampler->options) options += ", --" + std::string(option.name);
    all.push_back({sampler->name, "sampler", sampler->paper, sampler->help, options});
  }
  for (const CachePolicyDescriptor* policy : cache_policies()) {
    std::string options = "every model that generates, --cache-policy " + std::string(policy->name);
    for (const CachePolicyOption& option : policy->options)
      options += (&option == policy->options.data() ? ":" : ",") + std::string(option.name) + "=N";
    all.push_back({policy->name, "cache policy", policy->paper, policy->help, options});
  }
  all.push_back({"lazy-prefill", "token pruning", "076", "Leaves tokens of a prompt out of later layers",
                 "models without sliding windows, --lazy-prefill RATE,…[@LAYER,…]"});
  all.push_back({"ffn-skip", "skipping", "075", "Decodes without feed-forwards that hardly change a token",
                 "every model that generates, --ffn-skip FILE of kinglet calibrate ffn-skip"});
  all.push_back({"early-exit", "early exit", "056", "Draws a token before the last layer where the model is sure",
                 "every model that generates, --early-exit LAYER:P,…"});
  all.push_back({"weight-stream", "weights", "032", "Reads layers that do not fit in memory from disk for every pass",
                 "every model that generates, --weight-memory SIZE"});
  for (const DrafterDescriptor* drafter : drafters()) {
    all.push_back({drafter->name, "drafter", drafter->paper, drafter->help,
                   "every model that generates, --drafter " + std::string(drafter->name)});
  }
  for (const PairPolicyDescriptor* policy : pair_policies()) {
    all.push_back({policy->name, "pair", policy->paper, policy->help,
                   "two models of one vocabulary, " + std::string(policy->options)});
  }
  for (const RouteScore* score : route_scores()) {
    all.push_back({score->name, "route score", score->paper, score->help,
                   "answers of any two models, kinglet route calibrate --score " + std::string(score->name)});
  }
  for (const PassDescriptor* pass : passes()) {
    all.push_back({pass->name, "pass", pass->paper, pass->help,
                   std::string(pass->applicability) + "; recipe step '" + std::string(pass->name) + "'"});
  }
  return all;
}

Result<void> list_methods(bool json) {
  const auto all = methods();
  if (json) {
    Json values = Json::array();
    for (const Method& method : all) {
      values.push_back({{"name", method.name},
                        {"seam", method.seam},
                        {"paper", method.paper.empty() ? Json(nullptr) : Json(method.paper)},
                        {"help", method.help},
                        {"applicability", method.applicability}});
    }
    return print_json({{"methods", values}});
  }
  std::string text;
  for (const Method& method : all) {
    text += padded(std::string(method.seam), 14) + padded(std::string(method.name), 14) +
            padded(std::string(method.paper), 5) + std::string(method.help) + "\n";
  }
  return print(text);
}

Result<void> run(const Arguments& arguments) {
  const auto& words = arguments.positional();
  const bool json = arguments.flag("json");
  if (words.empty() || words[0] == "models") return list_models(json);
  if (words[0] == "methods") return list_methods(json);
  return fail(ErrorCode::kInvalidArgument, "expected models or methods, found '" + words[0] + "'",
              "kinglet list models, or kinglet list methods");
}

constexpr std::string_view kExamples[] = {
    "kinglet list  # the catalogue and the store",
    "kinglet list models --json",
    "kinglet list methods  # what is behind each seam, with the paper's number",
};

}  // namespace

extern const Command command_list = {
    .name = "list",
    .group = CommandGroup::kModels,
    .summary = "Show the models, or the methods, that there are",
    .usage = "[models | methods] [options]",
    .description =
        "Shows the models of the catalogue and those in the store, or every method that this program has: tensor "
        "types, "
        "matrix storages, architectures, samplers, drafters, passes.",
    .options = {},
    .examples = kExamples,
    .min_positional = 0,
    .max_positional = 1,
    .run = run,
};

}  // namespace kinglet
