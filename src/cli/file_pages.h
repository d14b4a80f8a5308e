// Pages of model files in memory: rows of an embedding that is no head are read from the file, and the system maps the
// pages around each, which count as the process's memory until they are given back.
#pragma once

#include "kinglet/model.h"

namespace kinglet {

/// Gives back the pages of `model`'s file that are mapped and may be read from it again. Linux; elsewhere nothing.
/// Cheap beside a pass that reads weights from a disk. Meanwhile nobody may close the file's mapping: `model` lives.
void drop_file_pages(const Model& model);

}  // namespace kinglet
