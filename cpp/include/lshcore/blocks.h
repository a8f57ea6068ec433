#pragma once
// The checksums of a file, block by block, and which of its blocks have been verified.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lshcore/types.h"

namespace lshcore {

/// Any number of threads may check at once: a block that two of them meet is read twice.
class Blocks {
   public:
    /// crcs[i]: CRC-32C of the i-th block_bytes of the data; the last block may be shorter. `source`: whose bytes these
    /// are, for messages: the name of a file.
    Blocks(const std::uint8_t* data, std::size_t n, std::vector<std::uint32_t> crcs, std::size_t block_bytes,
           std::shared_ptr<const void> keeper, std::string source);

    const std::string& source() const { return source_; }
    bool holds(const void* data, std::size_t n) const;

    /// Throws DamagedError, naming the array, at the first block of these bytes whose checksum differs.
    void check(const char* array, const void* data, std::size_t n, int n_jobs) const;

    /// The same for a few bytes: no threads, and quick where their blocks are known already.
    void touch(const char* array, const void* data, std::size_t n) const {
        if (n_left_.load(std::memory_order_acquire) == 0 || n == 0) return;
        const std::size_t at = offset(data);
        for (std::size_t b = at / block_bytes_; b <= (at + n - 1) / block_bytes_; ++b)
            if (verified_[b].load(std::memory_order_acquire) == 0) verify(array, b);
    }

   private:
    std::size_t offset(const void* data) const {
        return static_cast<std::size_t>(static_cast<const std::uint8_t*>(data) - data_);
    }
    void verify(const char* array, std::size_t block) const;

    const std::uint8_t* data_;
    std::size_t n_;
    std::vector<std::uint32_t> crcs_;
    std::size_t block_bytes_;
    std::shared_ptr<const void> keeper_;
    std::string source_;
    std::unique_ptr<std::atomic<std::uint8_t>[]> verified_;
    mutable std::atomic<std::size_t> n_left_;
};

}  // namespace lshcore
