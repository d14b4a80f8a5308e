#include "kinglet/generate.h"

#include <utility>

#include "base/interrupt.h"
#include "base/try.h"
#include "decode/draft_shared.h"
#include "decode/loop.h"

namespace kinglet {

std::shared_ptr<PassCosts> DraftContext::costs() const {
  return shared ? std::shared_ptr<PassCosts>(shared, &shared->costs) : std::make_shared<PassCosts>();
}

const DrafterDescriptor* find_drafter(std::string_view name) {
  for (const DrafterDescriptor* drafter : drafters())
    if (drafter->name == name) return drafter;
  return nullptr;
}

Result<std::unique_ptr<Drafter>> make_drafter(std::string_view name, const DraftContext& context) {
  if (name.empty() || name == "none") return nullptr;
  if (const DrafterDescriptor* drafter = find_drafter(name)) return drafter->make(context);
  std::string names = "none";
  for (const DrafterDescriptor* drafter : drafters()) names += ", " + std::string(drafter->name);
  return fail(ErrorCode::kInvalidArgument, "there is no drafter '" + std::string(name) + "'",
              "Drafters: " + names + ".");
}

Result<std::vector<Generation>> generate(Engine& engine, std::vector<GenerateRequest> requests, int batch,
                                         std::function<void(std::size_t, const Generation&)> on_done) {
  std::vector<Generation> results(requests.size());
  GenerationLoop loop(loop_target(engine), batch);
  loop.on_done = [&](std::size_t index, Generation result) {
    results[index] = std::move(result);
    if (on_done) on_done(index, results[index]);
  };
  for (std::size_t i = 0; i < requests.size(); ++i) loop.add(i, std::move(requests[i]));
  while (!loop.idle()) {
    if (interrupted()) {
      loop.cancel();
      break;
    }
    KINGLET_CHECK(loop.step());
  }
  return results;
}

}  // namespace kinglet
