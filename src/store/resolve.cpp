#include <algorithm>

#include "base/file.h"
#include "base/try.h"
#include "kinglet/store.h"
#include "store/layout.h"

namespace kinglet {

namespace {

// Edits (insert, delete, replace) between two names, at most `limit` + 1.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

// Names that a person may have meant: one contains the other, or few letters differ. Nearest first, at most three.
std::vector<std::string> nearest_names(std::string_view word, const std::vector<std::string>& names) {
  std::vector<std::pair<std::size_t, std::string>> near;
  std::string lower(word.substr(0, 128));
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const std::string& name : names) {
    const bool part =
        lower.size() >= 3 && (name.find(lower) != std::string::npos || lower.find(name) != std::string::npos);
    // "smolm2-135m" means smollm2-135m-instruct: what was typed may be its beginning.
    const std::size_t begun = distance(lower, std::string_view(name).substr(0, lower.size() + 1));
    const std::size_t edits = part ? 1 : std::min(distance(lower, name), begun + 1);
    if (edits <= std::max<std::size_t>(2, lower.size() / 3)) near.emplace_back(edits, name);
  }
  std::sort(near.begin(), near.end(), [](const auto& a, const auto& b) { return a < b; });
  std::vector<std::string> result;
  for (std::size_t i = 0; i < near.size() && i < 3; ++i) result.push_back(near[i].second);
  return result;
}

// What to do about a model that is not there.
std::string hint_for(std::string_view word) {
  if (word.starts_with("hf:") || word.starts_with("http://") || word.starts_with("https://")) {
    return "Fetch it first: kinglet pull " + std::string(word);
  }
  if (const auto name = ModelName::parse(word); name && find_catalogue_model(name->text())) {
    return "Fetch it first: kinglet pull " + name->text();
  }
  std::vector<std::string> names;
  for (const CatalogueModel& model : catalogue()) names.emplace_back(model.name);
  if (const auto stored = stored_models()) {
    for (const StoredModel& model : *stored) {
      if (std::find(names.begin(), names.end(), model.name) == names.end()) names.push_back(model.name);
    }
  }
  const auto near = nearest_names(word, names);
  if (near.empty()) return "kinglet list models shows the models that have a name; a path to a file works too.";
  std::string hint = "Did you mean ";
  for (std::size_t i = 0; i < near.size(); ++i) hint += (i ? (i + 1 == near.size() ? " or " : ", ") : "") + near[i];
  hint += "?";
  if (const auto name = ModelName::parse(near[0]); name && !read_stored_model(*name)) {
    hint += " Fetch it with: kinglet pull " + near[0];
  }
  return hint;
}

bool is_later_shard(std::string_view name) {
  return name.find("-of-") != std::string_view::npos && name.find("-00001-of-") == std::string_view::npos;
}

// A folder whose model is one GGUF file (or the shards of one) means that file.
std::string file_in_folder(const std::string& folder) {
  const auto names = list_folder(folder);
  if (!names) return folder;
  std::vector<std::string> gguf;
  for (const std::string& name : *names) {
    if (name == "config.json" || name.ends_with(".safetensors")) return folder;
    if (name.ends_with(".gguf") && !is_later_shard(name)) gguf.push_back(name);
  }
  return gguf.size() == 1 ? folder + (folder.ends_with('/') ? "" : "/") + gguf[0] : folder;
}

}  // namespace

Result<StoredModel> find_stored_model(std::string_view text) {
  const auto name = ModelName::parse(text);
  if (name) {
    if (auto model = read_stored_model(*name)) return model;
  }
  return fail(ErrorCode::kNotFound, "there is no model '" + std::string(text.substr(0, 200)) + "' in the store",
              hint_for(text));
}

Result<std::string> resolve_model(std::string_view text) {
  if (text.empty()) {
    return fail(ErrorCode::kInvalidArgument, "expected a model's name, file or folder, found nothing",
                "kinglet list models shows the names.");
  }
  const std::string path(text);
  const auto name = ModelName::parse(text);
  if (name) {
    if (const auto model = read_stored_model(*name)) {
      return model->is_folder ? file_in_folder(model->path) : model->path;
    }
  }
  if (folder_exists(path)) return file_in_folder(path);
  if (path_exists(path)) return path;
  const bool looks_like_path =
      path.find('/') != std::string::npos || path.ends_with(".gguf") || path.ends_with(".safetensors");
  return fail(ErrorCode::kNotFound,
              looks_like_path ? "there is no such file or folder" : "there is no model and no file of this name",
              hint_for(text), path.substr(0, 300));
}

}  // namespace kinglet
