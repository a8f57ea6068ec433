// AVX-512 with VPOPCNTDQ. Limits: float tiles by multiply and add (4 x 4 pairs, half a load each); codes by one
// VPOPCNTQ, eight words, a cycle.

#include <immintrin.h>

#include "sets.h"

namespace lshcore {
namespace {

struct Lanes {
    __m512 v;

    static Lanes zero() { return {_mm512_setzero_ps()}; }
    static Lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
    static Lanes load_partial(const float* p, int n) {
        return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p)};
    }
    static Lanes add(const Lanes& a, const Lanes& b) { return {_mm512_add_ps(a.v, b.v)}; }
    static Lanes sub(const Lanes& a, const Lanes& b) { return {_mm512_sub_ps(a.v, b.v)}; }
    static Lanes mul(const Lanes& a, const Lanes& b) { return {_mm512_mul_ps(a.v, b.v)}; }
    float sum() const {
        const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
        const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
    }
};

constexpr int kTileA = 4;
constexpr int kTileB = 4;

#include "float_tile.h"

/// Of a code longer than one word: whole groups of eight words, then a masked one.
inline std::int64_t distance(const Word* a, const Word* b, int words) {
    __m512i sum = _mm512_setzero_si512();
    int w = 0;
    for (; w + 8 <= words; w += 8)
        sum = _mm512_add_epi64(
            sum, _mm512_popcnt_epi64(_mm512_xor_si512(_mm512_loadu_si512(a + w), _mm512_loadu_si512(b + w))));
    if (w < words) {
        const __mmask8 mask = static_cast<__mmask8>((1u << (words - w)) - 1);
        sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(_mm512_xor_si512(_mm512_maskz_loadu_epi64(mask, a + w),
                                                                         _mm512_maskz_loadu_epi64(mask, b + w))));
    }
    return _mm512_reduce_add_epi64(sum);
}

/// Codes of one word: eight at a time; `load(i)` gives the i-th eight.
template <class Load>
inline void one_word(const Word* query, std::int64_t n, std::uint16_t* out, Load load) {
    const __m512i q = _mm512_set1_epi64(static_cast<long long>(*query));
    for (std::int64_t i = 0; i < n; i += 8) {
        const __mmask8 mask = static_cast<__mmask8>(n - i >= 8 ? 0xff : (1u << (n - i)) - 1);
        const __m512i counts = _mm512_popcnt_epi64(_mm512_xor_si512(load(mask, i), q));
        _mm_mask_storeu_epi16(out + i, mask, _mm512_cvtepi64_epi16(counts));
    }
}

void hamming_block(const Word* query, const Word* codes, std::int64_t n, int words, std::uint16_t* out) {
    if (words == 1)
        one_word(query, n, out, [=](__mmask8 m, std::int64_t i) { return _mm512_maskz_loadu_epi64(m, codes + i); });
    else
        hamming_block_by(distance, query, codes, n, words, out);
}

void hamming_gather(const Word* query, const Word* codes, const Row* rows, std::int64_t n, int words,
                    std::uint16_t* out) {
    if (words == 1)
        one_word(query, n, out, [=](__mmask8 m, std::int64_t i) {
            // Row numbers are unsigned 32 bits: widened to 64 before they become offsets.
            const __m512i index = _mm512_cvtepu32_epi64(_mm256_maskz_loadu_epi32(m, rows + i));
            return _mm512_mask_i64gather_epi64(_mm512_setzero_si512(), m, index, codes, 8);
        });
    else
        hamming_gather_by(distance, query, codes, rows, n, words, out);
}

void pack_signs(const float* margins, std::int64_t n_bits, Word* out) {
    for (std::int64_t begin = 0; begin < n_bits; begin += 64) {
        Word word = 0;
        for (std::int64_t j = 0; j < 64 && begin + j < n_bits; j += 16) {
            const std::int64_t left = n_bits - begin - j;
            const __mmask16 mask = static_cast<__mmask16>(left >= 16 ? 0xffff : (1u << left) - 1);
            const __m512 v = _mm512_maskz_loadu_ps(mask, margins + begin + j);
            word |= static_cast<Word>(_mm512_mask_cmp_ps_mask(mask, v, _mm512_setzero_ps(), _CMP_GE_OQ)) << j;
        }
        *out++ = word;
    }
}

}  // namespace

const Kernels kAvx512Kernels = {"avx512",          all_pairs<Dot>, all_pairs<SquaredL2>, gather<Dot>,
                                gather<SquaredL2>, hamming_block,  hamming_gather,       pack_signs};

}  // namespace lshcore
