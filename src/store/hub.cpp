#include "store/hub.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "base/environment.h"
#include "base/file.h"
#include "base/json.h"
#include "base/try.h"
#include "store/http.h"
#include "store/layout.h"

namespace kinglet {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMaxAnswer = 32 << 20;  // the longest file lists of real models have some MB
constexpr int kMaxPages = 100;                  // of 1,000 files each

// Quantizations in the order in which one is taken when none is named: good quality for its size first.
constexpr std::string_view kPreferred[] = {"Q4_K_M", "Q5_K_M", "Q8_0", "Q4_1", "Q4_0", "Q4_K_S", "Q6_K", "F16", "BF16"};

std::string upper(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return result;
}

bool is_word(char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

// Q4_K stands in MODEL-Q4_K.gguf, not in MODEL-Q4_K_M.gguf.
bool names_quant(std::string_view path, std::string_view quant) {
  const std::string name = upper(path), word = upper(quant);
  for (std::size_t at = name.find(word); at != std::string::npos; at = name.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    if ((at == 0 || !is_word(name[at - 1])) && (end == name.size() || !is_word(name[end]))) return true;
  }
  return false;
}

std::string text_in(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::optional<std::uint64_t> size_in(const Json& object) {
  if (!object.is_object() || !object.contains("size") || !object["size"].is_number_unsigned()) return std::nullopt;
  return object["size"].get<std::uint64_t>();
}

std::string licence_of(const Json& model) {
  if (model.contains("cardData")) {
    const Json& card = model["cardData"];
    if (const std::string name = text_in(card, "license"); !name.empty()) {
      const std::string other = text_in(card, "license_name"), link = text_in(card, "license_link");
      return (name == "other" && !other.empty() ? other : name) + (link.empty() ? "" : " (" + link + ")");
    }
  }
  if (model.contains("tags") && model["tags"].is_array()) {
    for (const Json& tag : model["tags"]) {
      if (tag.is_string() && tag.get<std::string>().starts_with("license:")) return tag.get<std::string>().substr(8);
    }
  }
  return "";
}

// A file of the tree listing; nothing for folders and for names that could leave their folder.
std::optional<HubFile> tree_file(const Json& entry) {
  HubFile file;
  file.path = text_in(entry, "path");
  if (text_in(entry, "type") != "file" || !is_relative_path(file.path)) return std::nullopt;
  file.bytes = size_in(entry);
  if (entry.contains("lfs") && entry["lfs"].is_object()) {
    std::string oid = text_in(entry["lfs"], "oid");
    if (oid.starts_with("sha256:")) oid.erase(0, 7);
    if (const auto digest = Digest::parse(oid)) file.digest = *digest;
    if (const auto size = size_in(entry["lfs"])) file.bytes = size;
  }
  return file;
}

// The address in: Link: <https://…&cursor=…>; rel="next"
std::string next_page(const HttpResponse& response) {
  const std::string link = response.header("link");
  const std::size_t begin = link.find('<'), end = link.find('>');
  if (begin == std::string::npos || end == std::string::npos || end < begin) return "";
  if (link.find("rel=\"next\"", end) == std::string::npos) return "";
  return link.substr(begin + 1, end - begin - 1);
}

Result<std::vector<HubFile>> file_tree(const std::string& repository, const std::string& commit) {
  std::vector<HubFile> files;
  std::string url =
      hub_endpoint() + "/api/models/" + repository + "/tree/" + url_path_escape(commit) + "?recursive=true";
  for (int page = 0; !url.empty() && page < kMaxPages; ++page) {
    if (url_origin(url) != url_origin(hub_endpoint())) break;  // credentials stay with the hub
    HttpRequest request;
    request.url = url;
    request.token = hub_token();
    KINGLET_TRY(const HttpText text, http_get(request, kMaxAnswer));
    KINGLET_TRY(const Json tree, parse_json(text.body, public_url(url)));
    if (!tree.is_array()) return fail(ErrorCode::kCorrupt, "expected a list of files", "", public_url(url));
    for (const Json& entry : tree) {
      if (auto file = tree_file(entry)) files.push_back(std::move(*file));
    }
    url = next_page(text.response);
  }
  return files;
}

bool is_gguf_model(std::string_view path) {
  const std::string name = upper(path);
  return name.ends_with(".GGUF") && name.find("MMPROJ") == std::string::npos &&
         name.find("IMATRIX") == std::string::npos;
}

// A model in shards is one choice: "x-00002-of-00003.gguf" belongs to "x".
std::string without_shard(std::string_view path) {
  const std::size_t at = path.rfind("-of-");
  if (at == std::string_view::npos || at < 6 || path[at - 6] != '-') return std::string(path);
  return std::string(path.substr(0, at - 6));
}

Result<std::vector<HubFile>> choose_gguf(const std::map<std::string, std::vector<HubFile>>& choices,
                                         std::string_view quant, const std::string& repository) {
  if (quant.empty() && choices.size() == 1) return choices.begin()->second;
  std::vector<std::string_view> wanted(std::begin(kPreferred), std::end(kPreferred));
  if (!quant.empty()) wanted = {quant};
  std::string names;
  for (const auto& [name, files] : choices) names += "\n  " + name;
  for (const std::string_view word : wanted) {
    std::vector<const std::vector<HubFile>*> found;
    for (const auto& [name, files] : choices) {
      if (names_quant(name, word)) found.push_back(&files);
    }
    if (found.size() == 1) return *found[0];
    if (found.size() > 1) break;
  }
  return fail(
      ErrorCode::kInvalidArgument,
      quant.empty() ? "this repository has several models" : "no single file is named by '" + std::string(quant) + "'",
      "Name one: kinglet pull hf:" + repository + ":QUANT. There are:" + names.substr(0, 4000), repository);
}

}  // namespace

Result<HubAddress> parse_hub_address(std::string_view text) {
  HubAddress address;
  std::string_view rest = text;
  if (rest.starts_with("hf:")) rest.remove_prefix(3);
  if (const std::size_t colon = rest.find(':'); colon != std::string_view::npos) {
    address.quant = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
  }
  address.repository = rest;
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  const std::size_t slash = rest.find('/');
  const bool parts = slash != std::string_view::npos && rest.find('/', slash + 1) == std::string_view::npos;
  if (!parts || rest.size() > 200 || !is_relative_path(rest) ||
      !std::all_of(rest.begin(), rest.end(), [&](char c) { return good(c) || c == '/'; }) ||
      !std::all_of(address.quant.begin(), address.quant.end(), good)) {
    return fail(ErrorCode::kInvalidArgument,
                "expected hf:OWNER/NAME or hf:OWNER/NAME:QUANT, found '" + std::string(text.substr(0, 200)) + "'",
                "For example: kinglet pull hf:bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M");
  }
  return address;
}

std::string hub_endpoint() {
  std::string endpoint = environment("HF_ENDPOINT");
  while (endpoint.ends_with('/')) endpoint.pop_back();
  return endpoint.empty() ? "https://huggingface.co" : endpoint;
}

std::string hub_token() {
  if (const std::string token = environment("HF_TOKEN"); !token.empty()) return token;
  std::string path = environment("HF_TOKEN_PATH");
  if (path.empty()) {
    const std::string home = environment("HF_HOME");
    path = (home.empty() ? cache_folder() + "/huggingface" : expand_home(home)) + "/token";
  }
  const auto text = read_file(path, 4096);
  if (!text) return "";
  const std::size_t end = text->find_first_of("\r\n \t");
  return text->substr(0, end);
}

std::string hub_file_url(std::string_view repository, std::string_view revision, std::string_view path) {
  return hub_endpoint() + "/" + url_path_escape(repository) + "/resolve/" + url_path_escape(revision) + "/" +
         url_path_escape(path);
}

Result<HubModel> hub_model(const std::string& repository, const std::string& revision) {
  const std::string url =
      hub_endpoint() + "/api/models/" + repository + (revision.empty() ? "" : "/revision/" + url_path_escape(revision));
  HttpRequest request;
  request.url = url;
  request.token = hub_token();
  KINGLET_TRY(const HttpText text, http_get(request, kMaxAnswer));
  KINGLET_TRY(const Json answer, parse_json(text.body, public_url(url)));
  if (!answer.is_object()) return fail(ErrorCode::kCorrupt, "expected an object about the model", "", public_url(url));
  HubModel model;
  model.commit = text_in(answer, "sha");
  if (model.commit.empty()) model.commit = revision.empty() ? "main" : revision;
  model.licence = licence_of(answer);
  auto tree = file_tree(repository, model.commit);
  if (tree) {
    model.files = std::move(*tree);
    return model;
  }
  if (tree.error().code == ErrorCode::kCancelled) return tl::unexpected(std::move(tree).error());
  // Mirrors may not list trees: then the names alone, and sizes and checksums come with each file.
  if (answer.contains("siblings") && answer["siblings"].is_array()) {
    for (const Json& entry : answer["siblings"]) {
      HubFile file;
      file.path = text_in(entry, "rfilename");
      if (is_relative_path(file.path)) model.files.push_back(std::move(file));
    }
  }
  if (model.files.empty()) return tl::unexpected(std::move(tree).error());
  return model;
}

bool belongs_to_model(std::string_view path) {
  constexpr std::string_view names[] = {"config.json",
                                        "generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer.model",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "vocab.txt",
                                        "merges.txt",
                                        "chat_template.jinja",
                                        "chat_template.json",
                                        "modules.json",
                                        "sentence_bert_config.json",
                                        "1_Pooling/config.json",
                                        "LICENSE",
                                        "model.safetensors.index.json"};
  if (std::find(std::begin(names), std::end(names), path) != std::end(names)) return true;
  return path.find('/') == std::string_view::npos && path.ends_with(".safetensors") &&
         !path.starts_with("consolidated");
}

Result<std::vector<HubFile>> choose_hub_files(const HubModel& model, std::string_view quant,
                                              const std::string& repository) {
  std::map<std::string, std::vector<HubFile>> gguf;
  std::vector<HubFile> folder;
  bool has_safetensors = false;
  for (const HubFile& file : model.files) {
    if (is_gguf_model(file.path)) gguf[without_shard(file.path)].push_back(file);
    if (belongs_to_model(file.path)) folder.push_back(file);
    has_safetensors = has_safetensors || (belongs_to_model(file.path) && file.path.ends_with(".safetensors"));
  }
  if (has_safetensors && quant.empty()) return folder;
  if (!gguf.empty()) return choose_gguf(gguf, quant, repository);
  if (has_safetensors) {
    return fail(ErrorCode::kInvalidArgument, "this repository has safetensors and no quantizations",
                "Leave ':" + std::string(quant) + "' out: kinglet pull hf:" + repository, repository);
  }
  return fail(ErrorCode::kUnsupported, "this repository has neither GGUF nor safetensors files",
              "Kinglet does not read pickled weights (.bin, .pt): look for a conversion of this model.", repository);
}

}  // namespace kinglet
