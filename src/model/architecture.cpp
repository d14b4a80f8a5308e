#include "kinglet/architecture.h"

namespace kinglet {

const Architecture* find_architecture(std::string_view name) {
  for (const Architecture* architecture : architectures()) {
    if (architecture->name == name) return architecture;
  }
  return nullptr;
}

const Architecture* find_architecture_of_hf_class(std::string_view name) {
  for (const Architecture* architecture : architectures()) {
    for (std::string_view known : architecture->hf_classes) {
      if (known == name) return architecture;
    }
  }
  return nullptr;
}

}  // namespace kinglet
