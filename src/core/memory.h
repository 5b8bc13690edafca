// Memory that is not a tensor: mapped files and the per-forward arena.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace krait {

/// A file mapped read-only. Errors: not_found, io_error. Empty files map to size 0.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  const std::string& path() const noexcept { return path_; }

 private:
  MappedFile() = default;
  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Tells the kernel that pages inside [data, data + bytes) will not be needed soon. Does nothing
/// for memory that is not a piece of a MappedFile: heap memory would lose its content.
void advise_not_needed(const void* data, std::size_t bytes) noexcept;

std::shared_ptr<void> allocate_aligned(std::size_t bytes);  ///< 64-byte aligned, zeroed

/// Where states and activations lie: the host's memory or a device's, of which the host must follow
/// no pointer.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual bool is_host() const noexcept = 0;
  /// 64-byte aligned, zeroed. Errors: out of memory.
  virtual std::shared_ptr<void> allocate(std::size_t bytes) = 0;
  /// From here to the host, from the host to here, from here to here (no overlap).
  virtual void read(void* to, const void* from, std::size_t bytes) = 0;
  virtual void write(void* to, const void* from, std::size_t bytes) = 0;
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;
  virtual void zero(void* to, std::size_t bytes) = 0;
};

Memory& host_memory();

/// Scratch memory for one forward pass: take() bumps a pointer, a Scope gives everything taken
/// since its construction back. Grows when needed and keeps its memory. Not thread-safe: take
/// before the parallel region.
class Arena {
 public:
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), block_(arena.block_), used_(arena.used_) {}
    ~Scope() {
      arena_.block_ = block_;
      arena_.used_ = used_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    std::size_t block_, used_;
  };

  explicit Arena(Memory& memory = host_memory()) : memory_(&memory) {}
  Memory& memory() const noexcept { return *memory_; }

  /// Uninitialised room for `count` elements of T, 64-byte aligned.
  template <typename T>
  T* take(std::int64_t count) {
    return static_cast<T*>(take_bytes(static_cast<std::size_t>(count) * sizeof(T)));
  }

 private:
  void* take_bytes(std::size_t bytes);
  Memory* memory_;
  struct Block {
    std::shared_ptr<void> memory;
    std::size_t size;
  };
  std::vector<Block> blocks_;
  std::size_t block_ = 0, used_ = 0;
};

/// From now on pages of today's mappings are not written out or dropped once they are in memory.
/// Errors: io_error with the limit and how to raise it.
void lock_memory();

std::size_t peak_rss_bytes() noexcept;     ///< VmHWM
std::size_t current_rss_bytes() noexcept;  ///< VmRSS

}  // namespace krait
