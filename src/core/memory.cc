#include "core/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>

#include "core/check.h"

namespace krait {
namespace {

// Address -> size of every mapped file. MADV_DONTNEED on heap memory would erase it.
std::mutex mapped_mutex;
std::map<std::uintptr_t, std::size_t>& mapped_ranges() {
  static auto* ranges = new std::map<std::uintptr_t, std::size_t>;  // outlives static destructors
  return *ranges;
}

bool is_mapped_file(std::uintptr_t begin, std::uintptr_t end) {
  const std::lock_guard lock(mapped_mutex);
  const auto next = mapped_ranges().upper_bound(begin);
  if (next == mapped_ranges().begin()) return false;
  const auto [start, size] = *std::prev(next);
  return end <= start + size;
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  // O_NONBLOCK: opening a named pipe must fail below instead of waiting for a writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    fail(errno == ENOENT ? ErrorCode::not_found : ErrorCode::io_error, "cannot open {}: {}", path,
         std::strerror(errno));
  }
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd);
    fail(ErrorCode::io_error, "{} is not a regular file", path);
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  void* data = size > 0 ? ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0) : nullptr;
  const int error = errno;
  ::close(fd);
  check(data != MAP_FAILED, ErrorCode::io_error, "cannot map {}: {}", path, std::strerror(error));
  if (size == 0) return file;
  file->data_ = static_cast<const std::byte*>(data);
  file->size_ = size;
  const std::lock_guard lock(mapped_mutex);
  mapped_ranges()[reinterpret_cast<std::uintptr_t>(data)] = size;
  return file;
}

MappedFile::~MappedFile() {
  if (!data_) return;
  const std::lock_guard lock(mapped_mutex);
  mapped_ranges().erase(reinterpret_cast<std::uintptr_t>(data_));
  ::munmap(const_cast<std::byte*>(data_), size_);
}

void advise_not_needed(const void* data, std::size_t bytes) noexcept {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t begin = (start + page - 1) / page * page;
  const std::uintptr_t end = (start + bytes) / page * page;
  if (end > begin && is_mapped_file(begin, end)) {
    char* first_page = const_cast<char*>(static_cast<const char*>(data)) + (begin - start);
    ::madvise(first_page, end - begin, MADV_DONTNEED);
  }
}

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// Zeroed memory in pages of 2 MiB where the kernel has them: streaming through weights in pages of
/// 4 KiB spends a part of the time on translations. Pages exist once they are written.
std::shared_ptr<void> map_memory(std::size_t size) {
  const std::size_t length = size + kHugePage;  // one more, to begin at a multiple
  void* mapped =
      ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    fail(ErrorCode::out_of_memory, "cannot allocate {} bytes of memory", size);
  }
  const auto start = reinterpret_cast<std::uintptr_t>(mapped);
  const std::size_t skipped = (start + kHugePage - 1) / kHugePage * kHugePage - start;
  void* memory = static_cast<std::byte*>(mapped) + skipped;
  ::madvise(memory, size, MADV_HUGEPAGE);  // a wish: without it everything works as well
  return {memory, [mapped, length](void*) { ::munmap(mapped, length); }};
}

}  // namespace

std::shared_ptr<void> allocate_aligned(std::size_t bytes) {
  check(bytes <= PTRDIFF_MAX - kHugePage, ErrorCode::out_of_memory,
        "cannot allocate {} bytes of memory", bytes);
  const std::size_t size = std::max<std::size_t>((bytes + 63) / 64 * 64, 64);
  if (size >= 2 * kHugePage) return map_memory(size);
  void* memory = std::aligned_alloc(64, size);
  if (!memory) fail(ErrorCode::out_of_memory, "cannot allocate {} bytes of memory", size);
  std::memset(memory, 0, size);
  return {memory, std::free};
}

namespace {

class HostMemory final : public Memory {
 public:
  bool is_host() const noexcept override { return true; }
  std::shared_ptr<void> allocate(std::size_t bytes) override { return allocate_aligned(bytes); }
  void read(void* to, const void* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void write(void* to, const void* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void zero(void* to, std::size_t bytes) override { std::memset(to, 0, bytes); }
};

}  // namespace

Memory& host_memory() {
  static HostMemory memory;
  return memory;
}

void lock_memory() {
  // On fault: what was read only to be packed would be loaded again otherwise.
  if (::mlockall(MCL_CURRENT | MCL_ONFAULT) == 0) return;
  const int error = errno;
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  fail(ErrorCode::io_error,
       "cannot lock the weights in memory: {} (the limit is {} kB; `ulimit -l unlimited` or "
       "LimitMEMLOCK= raises it)",
       std::strerror(error), limit.rlim_cur / 1024);
}

void* Arena::take_bytes(std::size_t bytes) {
  check(bytes <= PTRDIFF_MAX, ErrorCode::out_of_memory, "cannot allocate {} bytes of memory",
        bytes);
  const std::size_t size = std::max<std::size_t>((bytes + 63) / 64 * 64, 64);
  while (block_ < blocks_.size() && used_ + size > blocks_[block_].size) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    const std::size_t block_size = std::max<std::size_t>(size, std::size_t{1} << 20);
    blocks_.push_back({memory_->allocate(block_size), block_size});
  }
  void* memory = static_cast<std::byte*>(blocks_[block_].memory.get()) + used_;
  used_ += size;
  return memory;
}

namespace {

std::size_t status_kb(const std::string& key) noexcept {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with(key)) return std::strtoull(line.c_str() + key.size(), nullptr, 10);
  }
  return 0;
}

}  // namespace

std::size_t peak_rss_bytes() noexcept { return status_kb("VmHWM:") * 1024; }
std::size_t current_rss_bytes() noexcept { return status_kb("VmRSS:") * 1024; }

}  // namespace krait
