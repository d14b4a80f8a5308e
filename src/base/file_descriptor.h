// Opening and closing descriptors: shared by the sources of src/base and of no use above them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "kinglet/result.h"

namespace kinglet {

/// Closes when it goes.
class Descriptor {
 public:
  explicit Descriptor(int file = -1) : file_(file) {}
  Descriptor(Descriptor&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }
  ~Descriptor();
  int get() const { return file_; }
  int release() { return std::exchange(file_, -1); }

 private:
  int file_;
};

struct OpenedFile {
  Descriptor file;
  std::uint64_t size = 0;
};

/// Opens a regular file for reading; never blocks on a FIFO. Folders, FIFOs, sockets and devices are kInvalidArgument.
Result<OpenedFile> open_regular(const std::string& path);

/// Makes the entries of the folder that holds `path` durable.
Result<void> sync_folder_of(const std::string& path);

/// Writes all of it or says why not; a full disk is kExhausted. `offset` is only for the message.
Result<void> write_all(int file, const void* bytes, std::size_t size, std::uint64_t offset, const std::string& path);

}  // namespace kinglet
