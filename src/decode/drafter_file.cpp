#include "decode/drafter_file.h"

#include <utility>

#include "base/limits.h"
#include "base/try.h"

namespace kinglet {

bool is_drafter_file(const Checkpoint& checkpoint) {
  const auto type = checkpoint.metadata().string_or("general.type", "");
  return type && *type == "drafter";
}

Result<DrafterFile> read_drafter_file(const Checkpoint& checkpoint) {
  const Metadata& metadata = checkpoint.metadata();
  const std::string path(checkpoint.path());
  DrafterFile drafter;
  KINGLET_TRY(drafter.target_sha256, metadata.string("kinglet.drafter.target_sha256"));
  KINGLET_TRY(drafter.model, metadata.string_or("kinglet.drafter.model", ""));
  KINGLET_TRY(drafter.model_sha256, metadata.string_or("kinglet.drafter.model_sha256", ""));
  KINGLET_TRY(const std::int64_t exit, metadata.integer_or("kinglet.drafter.exit_layer", 0, 0, 1 << 16));
  drafter.exit_layer = static_cast<int>(exit);
  KINGLET_TRY(const auto* kept, metadata.integers("kinglet.drafter.kept"));
  KINGLET_TRY(const auto* occurrences, metadata.integers("kinglet.drafter.occurrences"));
  if (kept == nullptr || kept->empty() || (occurrences != nullptr && occurrences->size() != kept->size()))
    return fail(ErrorCode::kCorrupt, "the drafter keeps no tokens, or has not one count for each", "", path);
  std::int64_t last = -1;
  for (const std::int64_t id : *kept) {
    if (id <= last || id > INT32_MAX)
      return fail(ErrorCode::kCorrupt, "the drafter's tokens do not ascend at " + std::to_string(id), "", path);
    drafter.kept.push_back(static_cast<TokenId>(last = id));
  }
  if (occurrences != nullptr) drafter.occurrences = *occurrences;
  return drafter;
}

Result<void> write_drafter_file(const std::string& path, const DrafterFile& drafter) {
  Metadata metadata;
  metadata.set_string("general.architecture", "kinglet-drafter");
  metadata.set_string("general.type", "drafter");
  metadata.set_string("kinglet.drafter.target_sha256", drafter.target_sha256);
  if (!drafter.model.empty()) {
    metadata.set_string("kinglet.drafter.model", drafter.model);
    metadata.set_string("kinglet.drafter.model_sha256", drafter.model_sha256);
  }
  if (drafter.exit_layer > 0) metadata.set_integer("kinglet.drafter.exit_layer", drafter.exit_layer);
  if (!drafter.curve.empty()) metadata.set_string("kinglet.drafter.curve", drafter.curve);
  metadata.set_integers("kinglet.drafter.kept", {drafter.kept.begin(), drafter.kept.end()});
  metadata.set_integers("kinglet.drafter.occurrences", drafter.occurrences, MetadataType::kInt64);
  KINGLET_TRY(const auto writer, GgufWriter::create(path, metadata, {}));
  return writer->finish();
}

}  // namespace kinglet
