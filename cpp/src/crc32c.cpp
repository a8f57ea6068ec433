#include "lshcore/crc32c.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "lshcore/error.h"
#include "lshcore/parallel.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>
#define LSHCORE_CRC_TARGET __attribute__((target("sse4.2")))
#elif defined(__aarch64__) && defined(__linux__) && defined(__GNUC__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#if defined(__clang__)
#define LSHCORE_CRC_TARGET __attribute__((target("crc")))
#else
#define LSHCORE_CRC_TARGET __attribute__((target("+crc")))
#endif
#endif

namespace lshcore {
namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78;  // reversed

// Slicing by eight: kTables[j][b] is what byte b does when j more bytes follow it.
constexpr auto kTables = [] {
    std::array<std::array<std::uint32_t, 256>, 8> tables{};
    for (std::uint32_t b = 0; b < 256; ++b) {
        std::uint32_t crc = b;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? kPolynomial : 0);
        tables[0][b] = crc;
    }
    for (std::size_t j = 1; j < 8; ++j)
        for (std::size_t b = 0; b < 256; ++b)
            tables[j][b] = (tables[j - 1][b] >> 8) ^ tables[0][tables[j - 1][b] & 0xff];
    return tables;
}();

/// Polynomials over GF(2) modulo the checksum's; bit 31 is x^0.
constexpr std::uint32_t multiply(std::uint32_t a, std::uint32_t b) {
    std::uint32_t product = 0;
    for (; a != 0; a <<= 1) {
        if (a & 0x80000000u) product ^= b;
        b = (b >> 1) ^ (b & 1 ? kPolynomial : 0);
    }
    return product;
}

/// x^(8 n): what n zero bytes multiply a checksum by.
constexpr std::uint32_t zeros(std::uint64_t n) {
    std::uint32_t result = 0x80000000u, power = 0x00800000u;  // 1 and x^8
    for (; n != 0; n >>= 1) {
        if (n & 1) result = multiply(result, power);
        power = multiply(power, power);
    }
    return result;
}

#ifdef LSHCORE_CRC_TARGET

#ifdef __x86_64__
bool has_instruction() { return __builtin_cpu_supports("sse4.2"); }
LSHCORE_CRC_TARGET inline std::uint64_t step(std::uint64_t crc, std::uint64_t word) { return _mm_crc32_u64(crc, word); }
LSHCORE_CRC_TARGET inline std::uint64_t step_byte(std::uint64_t crc, std::uint8_t byte) {
    return _mm_crc32_u8(static_cast<std::uint32_t>(crc), byte);
}
#else
bool has_instruction() { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
LSHCORE_CRC_TARGET inline std::uint64_t step(std::uint64_t crc, std::uint64_t word) {
    return __crc32cd(static_cast<std::uint32_t>(crc), word);
}
LSHCORE_CRC_TARGET inline std::uint64_t step_byte(std::uint64_t crc, std::uint8_t byte) {
    return __crc32cb(static_cast<std::uint32_t>(crc), byte);
}
#endif

/// The instruction takes three cycles and can start one a cycle: three streams, put together at the end of each run.
LSHCORE_CRC_TARGET std::uint32_t by_instruction(const std::uint8_t* p, std::size_t n, std::uint32_t before) {
    constexpr std::size_t kStream = 4096;
    constexpr std::uint32_t kOne = zeros(kStream), kTwo = zeros(2 * kStream);
    const auto load = [](const std::uint8_t* at) {
        std::uint64_t word;
        std::memcpy(&word, at, sizeof(word));
        return word;
    };
    std::uint64_t crc = ~before;
    for (; n >= 3 * kStream; p += 3 * kStream, n -= 3 * kStream) {
        std::uint64_t b = 0, c = 0;
        for (std::size_t i = 0; i < kStream; i += 8) {
            crc = step(crc, load(p + i));
            b = step(b, load(p + kStream + i));
            c = step(c, load(p + 2 * kStream + i));
        }
        crc = multiply(static_cast<std::uint32_t>(crc), kTwo) ^ multiply(static_cast<std::uint32_t>(b), kOne) ^ c;
    }
    for (; n >= 8; p += 8, n -= 8) crc = step(crc, load(p));
    for (; n > 0; ++p, --n) crc = step_byte(crc, *p);
    return ~static_cast<std::uint32_t>(crc);
}

#endif

}  // namespace

std::uint32_t crc32c_portable(const void* data, std::size_t n, std::uint32_t before) {
    const auto* p = static_cast<const std::uint8_t*>(data);
    std::uint32_t crc = ~before;
    for (; n >= 8; p += 8, n -= 8) {
        std::uint32_t next = 0;
        for (std::size_t j = 0; j < 8; ++j) next ^= kTables[7 - j][p[j] ^ (j < 4 ? (crc >> (8 * j)) & 0xff : 0)];
        crc = next;
    }
    for (; n > 0; ++p, --n) crc = (crc >> 8) ^ kTables[0][(crc ^ *p) & 0xff];
    return ~crc;
}

std::uint32_t crc32c(const void* data, std::size_t n, std::uint32_t before) {
#ifdef LSHCORE_CRC_TARGET
    static const bool fast = has_instruction();
    if (fast) return by_instruction(static_cast<const std::uint8_t*>(data), n, before);
#endif
    return crc32c_portable(data, n, before);
}

std::uint32_t crc32c_combine(std::uint32_t a, std::uint32_t b, std::uint64_t n_b) {
    return multiply(a, zeros(n_b)) ^ b;
}

std::vector<std::uint32_t> block_crcs(const std::uint8_t* data, std::size_t n, std::size_t block_bytes, int n_jobs) {
    require(block_bytes >= 1, "block_crcs: block_bytes must be at least 1");
    std::vector<std::uint32_t> crcs(n / block_bytes + (n % block_bytes != 0));
    // Small blocks are taken many at a time.
    const std::size_t at_once = std::max<std::size_t>(1, (std::size_t{1} << 20) / block_bytes);
    const auto tasks = ceil_div(static_cast<std::int64_t>(crcs.size()), static_cast<std::int64_t>(at_once));
    parallel_for(tasks, n_jobs, [&](std::int64_t task, int) {
        const std::size_t first = static_cast<std::size_t>(task) * at_once;
        for (std::size_t b = first; b < std::min(first + at_once, crcs.size()); ++b)
            crcs[b] = crc32c(data + b * block_bytes, std::min(block_bytes, n - b * block_bytes));
    });
    return crcs;
}

std::uint32_t crc32c_parallel(const std::uint8_t* data, std::size_t n, int n_jobs) {
    constexpr std::size_t kBlock = std::size_t{1} << 20;
    const auto crcs = block_crcs(data, n, kBlock, n_jobs);
    std::uint32_t crc = 0;
    for (std::size_t b = 0; b < crcs.size(); ++b) crc = crc32c_combine(crc, crcs[b], std::min(kBlock, n - b * kBlock));
    return crc;
}

}  // namespace lshcore
