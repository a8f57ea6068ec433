// AVX-512 with VPOPCNTDQ (Ice Lake, Zen 4 and later). Limits: float tiles by multiply and add (4 x 4 pairs, half a load
// each); grouped codes by one VPOPCNTQ for eight words, from the first-level cache.

#include <immintrin.h>

#include <bit>

#include "sets.h"

namespace lshcore {
namespace {

inline __m512i popcount(__m512i v) { return _mm512_popcnt_epi64(v); }

#include "avx512_loops.h"

/// Adds to counts[d] how many of 512 one-word codes a block lie at each distance d < 64, and to counts[64] the rest.
/// Bit-sliced: the 512 distances become seven vectors of bits, one a binary digit; the codes at a distance are the AND of
/// its digits, and are counted by VPOPCNTQ, where a histogram would wait for the memory of its counters.
void count_blocks(Word query, const Word* groups, std::int64_t n_blocks, std::uint32_t* counts) {
    const __m512i q = _mm512_set1_epi64(static_cast<long long>(query));
    __m512i sums[64];
    for (auto& sum : sums) sum = _mm512_setzero_si512();
    for (std::int64_t block = 0; block < n_blocks; ++block, groups += 512) {
        alignas(64) std::uint64_t digits[7][8];
        for (int part = 0; part < 8; ++part) {
            __m512i bytes = _mm512_setzero_si512();  // 64 distances
            for (int byte = 0; byte < 8; ++byte) {
                const __m512i codes = _mm512_loadu_si512(groups + 64 * part + 8 * byte);
                const __m512i distances = popcount(_mm512_xor_si512(q, codes));
                bytes = _mm512_or_si512(bytes, _mm512_slli_epi64(distances, static_cast<unsigned>(8 * byte)));
            }
            for (int digit = 0; digit < 7; ++digit)
                digits[digit][part] = _mm512_movepi8_mask(_mm512_slli_epi64(bytes, static_cast<unsigned>(7 - digit)));
        }
        __m512i low[8], high[8];
        const __m512i all = _mm512_set1_epi64(-1), below_64 = _mm512_andnot_si512(_mm512_load_si512(digits[6]), all);
        for (int value = 0; value < 8; ++value) {
            low[value] = all;
            high[value] = below_64;
            for (int digit = 0; digit < 3; ++digit) {
                const __m512i flip = (value >> digit & 1) != 0 ? _mm512_setzero_si512() : all;
                low[value] = _mm512_and_si512(low[value], _mm512_xor_si512(_mm512_load_si512(digits[digit]), flip));
                high[value] =
                    _mm512_and_si512(high[value], _mm512_xor_si512(_mm512_load_si512(digits[digit + 3]), flip));
            }
        }
        for (int h = 0; h < 8; ++h)
            for (int l = 0; l < 8; ++l)
                sums[8 * h + l] = _mm512_add_epi64(sums[8 * h + l], popcount(_mm512_and_si512(high[h], low[l])));
    }
    std::uint32_t below = 0;
    for (int d = 0; d < 64; ++d) {
        const auto n = static_cast<std::uint32_t>(_mm512_reduce_add_epi64(sums[d]));
        counts[d] += n;
        below += n;
    }
    counts[64] += static_cast<std::uint32_t>(n_blocks * 512) - below;
}

void count_distances_sliced(const Word* query, const Word* groups, std::int64_t n, int words, std::uint32_t* counts,
                            std::int64_t stride) {
    std::int64_t sliced = 0;
    if (words == 1 && stride > 64 && n >= 2048) {
        sliced = n / 512 * 512;
        count_blocks(*query, groups, sliced / 512, counts);
    }
    count_distances(query, groups + sliced * words, n - sliced, words, counts, stride);
}

#include "table.h"

}  // namespace

constinit const Kernels kAvx512Kernels = [] {
    Kernels table = table_named("avx512");
    table.group_codes = group_codes_fast;
    table.count_distances = count_distances_sliced;
    return table;
}();

}  // namespace lshcore
