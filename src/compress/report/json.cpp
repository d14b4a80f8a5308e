#include <nlohmann/json.hpp>

#include "base/json.h"
#include "kinglet/report.h"
#include "measure/places_json.h"

namespace kinglet {
namespace {

using Json = nlohmann::ordered_json;

Json speed_json(const Speed& speed) {
  if (speed.runs.empty()) return nullptr;
  return {{"median", speed.median()}, {"low", speed.low()}, {"high", speed.high()}, {"runs", speed.runs}};
}

void add_quality(const ModelFigures& model, Json& value) {
  if (model.quality) {
    value["perplexity"] = model.quality->perplexity;
    value["nll"] = model.quality->nll;
    value["tokens"] = model.quality->tokens;
  } else {
    value["perplexity"] = nullptr;
  }
  const bool compared = model.quality && model.quality->divergence;
  const Divergence none;
  const Divergence& kl = compared ? *model.quality->divergence : none;
  const auto put = [&](const char* key, double number) { value[key] = compared ? Json(number) : Json(nullptr); };
  put("kl_mean", kl.mean);
  put("kl_standard_error", kl.standard_error);
  put("kl_median", kl.median);
  put("kl_p99", kl.p99);
  put("kl_max", kl.max);
  put("top1_agreement", kl.top1_agreement);
  if (model.embedding)
    value["cosine_distance"] = {{"mean", model.embedding->mean},
                                {"p99", model.embedding->p99},
                                {"max", model.embedding->max},
                                {"texts", model.embedding->texts}};
}

Json texts_json(const ModelFigures& model) {
  const int worst = worst_text(model);
  Json texts = Json::array();
  for (std::size_t i = 0; i < model.texts.size(); ++i) {
    const TextFigures& text = model.texts[i];
    Json value = {{"name", text.name}, {"tokens", text.tokens}, {"retention", text.retention}};
    if (model.embedding) {
      value["cosine_distance"] = text.cosine_distance;
    } else {
      value["perplexity"] = text.perplexity;
      value["kl_mean"] = text.kl;
      value["top1_agreement"] = text.top1_agreement;
    }
    value["worst"] = static_cast<int>(i) == worst;
    texts.push_back(std::move(value));
  }
  return texts;
}

Json model_json(const ModelFigures& model) {
  Json value = {{"label", model.label},
                {"path", model.path},
                {"sha256", model.digest},
                {"architecture", model.architecture},
                {"bytes", model.bytes},
                {"parameters", model.bits.parameters},
                {"bits_per_weight", model.bits.bits_per_weight},
                {"layer_bits_per_weight", model.bits.layer_bits_per_weight}};
  add_quality(model, value);
  value["decode_tokens_per_second"] = model.decode.runs.empty() ? Json(nullptr) : Json(model.decode.median());
  value["prefill_tokens_per_second"] = model.prefill.runs.empty() ? Json(nullptr) : Json(model.prefill.median());
  value["decode"] = speed_json(model.decode);
  value["prefill"] = speed_json(model.prefill);
  value["peak_bytes"] = model.peak_bytes;
  value["load_ms"] = model.load_ms;
  if (!model.texts.empty()) value["texts"] = texts_json(model);
  Json types = Json::array();
  for (const TypeShare& share : model.types)
    types.push_back(
        {{"type", share.type}, {"tensors", share.tensors}, {"bytes", share.bytes}, {"parameters", share.parameters}});
  value["types"] = types;
  Json layers = Json::array();
  for (const LayerError& layer : model.layers)
    layers.push_back({{"hidden_error", layer.hidden}, {"weight_error", layer.weights}});
  value["layers"] = layers;
  if (model.quality && model.quality->divergence) value["worst"] = worst_places_json(*model.quality->divergence);
  return value;
}

Json tensors_json(const std::vector<ShrunkTensor>& tensors) {
  Json values = Json::array();
  for (const ShrunkTensor& tensor : tensors)
    values.push_back({{"name", tensor.name},
                      {"shape", tensor.shape},
                      {"from", tensor.from},
                      {"to", tensor.to},
                      {"bytes_before", tensor.bytes_before},
                      {"bytes", tensor.bytes}});
  return values;
}

}  // namespace

std::string report_json(const Report& report) {
  Json models = Json::array();
  for (const ModelFigures& model : report.models) models.push_back(model_json(model));
  Json answers = Json::array();
  for (const AnswerDrift& drift : report.answers)
    answers.push_back({{"prompt", drift.prompt}, {"answers", drift.answers}, {"kl", drift.kl}});
  Json candidates = Json::array();
  for (const ReportPoint& point : report.candidates)
    candidates.push_back({{"label", point.label}, {"bytes", point.bytes}, {"kl", point.kl}});
  Json value = {{"title", report.title},
                {"models", models},
                {"answers", answers},
                {"candidates", candidates},
                {"text",
                 {{"name", report.text_name},
                  {"sha256", report.text_digest},
                  {"context", report.context},
                  {"windows", report.windows}}},
                {"commands", report.commands},
                {"notes", report.notes},
                {"machine",
                 {{"processor", report.machine.processor},
                  {"system", report.machine.system},
                  {"cores", report.machine.cores},
                  {"memory_bytes", report.machine.memory_bytes},
                  {"threads", report.threads},
                  {"foreign_load", report.foreign_load}}}};
  if (!report.recipe.empty()) value["recipe"] = report.recipe;
  if (!report.tensors.empty()) value["tensors"] = tensors_json(report.tensors);
  return dump_json(value, 2) + "\n";
}

}  // namespace kinglet
