#include "lshcore/blocks.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>

#include "lshcore/crc32c.h"
#include "lshcore/error.h"
#include "lshcore/parallel.h"

namespace lshcore {
namespace {

std::string hexadecimal(std::uint32_t crc) {
    char text[16];
    std::snprintf(text, sizeof(text), "0x%08x", static_cast<unsigned>(crc));
    return text;
}

}  // namespace

Blocks::Blocks(const std::uint8_t* data, std::size_t n, std::vector<std::uint32_t> crcs, std::size_t block_bytes,
               std::shared_ptr<const void> keeper, std::string source)
    : data_(data),
      n_(n),
      crcs_(std::move(crcs)),
      block_bytes_(block_bytes),
      keeper_(std::move(keeper)),
      source_(std::move(source)),
      verified_(new std::atomic<std::uint8_t>[crcs_.size()]()),
      n_left_(crcs_.size()) {
    require(block_bytes >= 1, "Blocks: block_bytes must be at least 1");
    const std::size_t n_blocks = n / block_bytes + (n % block_bytes != 0);
    if (crcs_.size() != n_blocks)
        throw std::invalid_argument("Blocks: expected " + std::to_string(n_blocks) + " checksums for " +
                                    std::to_string(n) + " bytes, got " + std::to_string(crcs_.size()));
}

bool Blocks::holds(const void* data, std::size_t n) const {
    const auto* begin = static_cast<const std::uint8_t*>(data);
    const std::less_equal<> below;  // a total order, also of pointers into different arrays
    return below(data_, begin) && below(begin, data_ + n_) && n <= static_cast<std::size_t>(data_ + n_ - begin);
}

void Blocks::verify(const char* array, std::size_t block) const {
    const std::size_t begin = block * block_bytes_, end = std::min(n_, begin + block_bytes_);
    const std::uint32_t found = crc32c(data_ + begin, end - begin);
    if (found != crcs_[block])
        throw DamagedError(source_ + ": array '" + std::string(array) + "' is damaged: block " + std::to_string(block) +
                           " (bytes " + std::to_string(begin) + " to " + std::to_string(end) + "): expected CRC-32C " +
                           hexadecimal(crcs_[block]) + ", got " + hexadecimal(found) + "; restore it from a copy");
    if (verified_[block].exchange(1, std::memory_order_acq_rel) == 0) n_left_.fetch_sub(1, std::memory_order_acq_rel);
}

void Blocks::check(const char* array, const void* data, std::size_t n, int n_jobs) const {
    if (n == 0 || n_left_.load(std::memory_order_acquire) == 0) return;
    const std::size_t first = offset(data) / block_bytes_, last = (offset(data) + n - 1) / block_bytes_;
    const std::size_t at_once = std::max<std::size_t>(1, (std::size_t{1} << 20) / block_bytes_);
    parallel_for(ceil_div(static_cast<std::int64_t>(last + 1 - first), static_cast<std::int64_t>(at_once)), n_jobs,
                 [&](std::int64_t task, int) {
                     const std::size_t begin = first + static_cast<std::size_t>(task) * at_once;
                     for (std::size_t b = begin; b <= std::min(begin + at_once - 1, last); ++b)
                         if (verified_[b].load(std::memory_order_acquire) == 0) verify(array, b);
                 });
}

}  // namespace lshcore
