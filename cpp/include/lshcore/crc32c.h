#pragma once
// CRC-32C (Castagnoli), as in iSCSI, ext4 and Parquet: by the CPU's own instruction where it has one.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lshcore {

/// Of data that follows data whose checksum is `before`.
std::uint32_t crc32c(const void* data, std::size_t n, std::uint32_t before = 0);

/// The same by tables, on any CPU: the oracle of the fast one.
std::uint32_t crc32c_portable(const void* data, std::size_t n, std::uint32_t before = 0);

/// The checksum of a and b in a row, from those of each: n_b bytes are b's.
std::uint32_t crc32c_combine(std::uint32_t a, std::uint32_t b, std::uint64_t n_b);

/// The same as crc32c, with threads.
std::uint32_t crc32c_parallel(const std::uint8_t* data, std::size_t n, int n_jobs);

/// Of each block of block_bytes; the last may be shorter.
std::vector<std::uint32_t> block_crcs(const std::uint8_t* data, std::size_t n, std::size_t block_bytes, int n_jobs);

}  // namespace lshcore
