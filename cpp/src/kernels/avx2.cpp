// AVX2. Limits: float tiles by the two load ports (2 x 2 pairs fill the sixteen registers); grouped codes
// by two table look-ups for four words; single codes by the scalar POPCNT, one word a cycle.

#include <immintrin.h>

#include <bit>

#include "sets.h"

namespace lshcore {
namespace {

struct Lanes {
    __m256 lo, hi;

    static Lanes zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
    static Lanes load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
    static Lanes load_partial(const float* p, int n) {
        const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        const auto mask = [&](int count) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), index); };
        // A masked-off load touches no memory, but p + 8 must still be inside the row to be named.
        return {_mm256_maskload_ps(p, mask(n)), n > 8 ? _mm256_maskload_ps(p + 8, mask(n - 8)) : _mm256_setzero_ps()};
    }
    static Lanes load(const Half* p) {
        const auto* at = reinterpret_cast<const __m128i*>(p);
        return {_mm256_cvtph_ps(_mm_loadu_si128(at)), _mm256_cvtph_ps(_mm_loadu_si128(at + 1))};
    }
    static Lanes load_partial(const Half* p, int n) {
        Half whole[16] = {};
        for (int i = 0; i < n; ++i) whole[i] = p[i];
        return load(whole);
    }
    static Lanes add(const Lanes& a, const Lanes& b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
    static Lanes sub(const Lanes& a, const Lanes& b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
    static Lanes mul(const Lanes& a, const Lanes& b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
    void store(float* p) const {
        _mm256_storeu_ps(p, lo);
        _mm256_storeu_ps(p + 8, hi);
    }
    template <int L>
    Lanes butterfly() const {
        if constexpr (L == 8) return {_mm256_add_ps(lo, hi), _mm256_sub_ps(lo, hi)};
        const auto half = [](__m256 a) {
            const __m256 other = L == 4   ? _mm256_permute2f128_ps(a, a, 1)
                                 : L == 2 ? _mm256_permute_ps(a, 0x4e)
                                          : _mm256_permute_ps(a, 0xb1);
            return _mm256_blend_ps(_mm256_add_ps(a, other), _mm256_sub_ps(other, a),
                                   L == 4   ? 0xf0
                                   : L == 2 ? 0xcc
                                            : 0xaa);
        };
        return {half(lo), half(hi)};
    }
    float sum() const {
        const __m256 eight = _mm256_add_ps(lo, hi);
        const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
    }
};

constexpr int kTileA = 2;
constexpr int kTileB = 2;

#include "float_tile.h"

void to_half(const float* x, std::int64_t n, Half* out) {
    for (std::int64_t i = 0; i < n; i += 8) {
        float whole[8] = {};
        Half halves[8];
        const std::int64_t m = n - i < 8 ? n - i : 8;
        for (std::int64_t j = 0; j < m; ++j) whole[j] = x[i + j];
        _mm_storeu_si128(reinterpret_cast<__m128i*>(halves),
                         _mm256_cvtps_ph(_mm256_loadu_ps(whole), _MM_FROUND_TO_NEAREST_INT));
        for (std::int64_t j = 0; j < m; ++j) out[i + j] = halves[j];
    }
}

constexpr auto distance = [](const Word* a, const Word* b, int words) {
    std::int64_t sum = 0;
    for (int w = 0; w < words; ++w) sum += _mm_popcnt_u64(a[w] ^ b[w]);
    return sum;
};

/// Set bits of each byte, by table look-up of half bytes (Mula, 2016).
inline __m256i popcount_bytes(__m256i v) {
    const __m256i low = _mm256_set1_epi8(0x0f);
    const __m256i table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(v, low)),
                           _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)));
}

template <int W>
using PreparedQuery = PlainQuery<W>;

struct Eight {
    __m256i lo, hi;  // a distance a 64-bit lane

    template <int W>
    static Eight of(const PreparedQuery<W>& query, const Word* group) {
        const __m256i zero = _mm256_setzero_si256();
        Eight sum{zero, zero};
        for (int begin = 0; begin < query.n_words; begin += 31) {  // 31 words of 8 bits a byte still fit a byte
            __m256i lo = zero, hi = zero;
            const int end = query.n_words < begin + 31 ? query.n_words : begin + 31;
            for (int w = begin; w < end; ++w) {
                const __m256i word = _mm256_set1_epi64x(static_cast<long long>(query.words[w]));
                const auto* at = reinterpret_cast<const __m256i*>(group + 8 * w);
                lo = _mm256_add_epi8(lo, popcount_bytes(_mm256_xor_si256(word, _mm256_loadu_si256(at))));
                hi = _mm256_add_epi8(hi, popcount_bytes(_mm256_xor_si256(word, _mm256_loadu_si256(at + 1))));
            }
            sum.lo = _mm256_add_epi64(sum.lo, _mm256_sad_epu8(lo, zero));
            sum.hi = _mm256_add_epi64(sum.hi, _mm256_sad_epu8(hi, zero));
        }
        return sum;
    }
    static Eight min(const Eight& a, const Eight& b) {  // the values fit the low 32 bits, the high ones are zero
        return {_mm256_min_epi32(a.lo, b.lo), _mm256_min_epi32(a.hi, b.hi)};
    }
    unsigned below(int threshold) const {
        const __m256i t = _mm256_set1_epi64x(threshold);
        const auto mask = [&](__m256i x) {
            return static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(t, x))));
        };
        return mask(lo) | mask(hi) << 4;
    }
    void store(std::uint16_t* out) const {
        const __m256i pairs = _mm256_packus_epi32(lo, hi);  // 0 . 1 . 4 . 5 . | 2 . 3 . 6 . 7 . in 16-bit lanes
        const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, -1, -1, -1, -1, 8, 9, 12, 13, -1, -1, -1, -1,  //
                                               -1, -1, -1, -1, 0, 1, 4, 5, -1, -1, -1, -1, 8, 9, 12, 13);
        const __m256i placed = _mm256_shuffle_epi8(pairs, order);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                         _mm_or_si128(_mm256_castsi256_si128(placed), _mm256_extracti128_si256(placed, 1)));
    }
    int emit(std::int64_t first, unsigned lanes, std::uint64_t* hits) const {
        std::uint16_t distances[8];
        store(distances);
        return emit_lanes(distances, first, lanes, hits);
    }
};

#include "grouped.h"

void hamming_gather(const Word* query, const Word* codes, const Row* rows, std::int64_t n, int words,
                    std::uint16_t* out) {
    hamming_gather_by(distance, query, codes, rows, n, words, out);
}

void pack_signs(const float* margins, std::int64_t n_bits, Word* out) {
    const __m256 zero = _mm256_setzero_ps();
    for (std::int64_t begin = 0; begin < n_bits; begin += 64) {
        Word word = 0;
        const std::int64_t n = n_bits - begin < 64 ? n_bits - begin : 64;
        std::int64_t j = 0;
        for (; j + 8 <= n; j += 8) {
            const __m256 ge = _mm256_cmp_ps(_mm256_loadu_ps(margins + begin + j), zero, _CMP_GE_OQ);
            word |= static_cast<Word>(static_cast<unsigned>(_mm256_movemask_ps(ge))) << j;
        }
        for (; j < n; ++j) word |= static_cast<Word>(margins[begin + j] >= 0.0f) << j;
        *out++ = word;
    }
}

#include "residual.h"

/// Two tables at once; the entries of four times two are added in 8 bits, then in 16: all, and those at odd places.
constexpr auto block_sums = [](const std::uint8_t* tables, std::int64_t n_tables, const std::uint8_t* codes,
                               std::uint16_t* out) {
    const __m256i half = _mm256_set1_epi8(0x0f), zero = _mm256_setzero_si256();
    __m256i all[2] = {zero, zero}, odd[2] = {zero, zero};
    for (std::int64_t m = 0; m < 16 * n_tables; m += 128) {
        __m256i sums[2] = {zero, zero};
        for (std::int64_t at = m; at < m + 128; at += 32) {
            const __m256i table = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tables + at));
            const __m256i code = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + at));
            const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(code, 4), half);
            sums[0] = _mm256_add_epi8(sums[0], _mm256_shuffle_epi8(table, _mm256_and_si256(code, half)));
            sums[1] = _mm256_add_epi8(sums[1], _mm256_shuffle_epi8(table, upper));
        }
        for (int h = 0; h < 2; ++h) {
            all[h] = _mm256_add_epi16(all[h], sums[h]);
            odd[h] = _mm256_add_epi16(odd[h], _mm256_srli_epi16(sums[h], 8));
        }
    }
    for (int h = 0; h < 2; ++h) {
        const auto halves = [](__m256i v) {
            return _mm_add_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        };
        const __m128i later = halves(odd[h]), first = halves(_mm256_sub_epi16(all[h], _mm256_slli_epi16(odd[h], 8)));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16 * h), _mm_unpacklo_epi16(first, later));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16 * h + 8), _mm_unpackhi_epi16(first, later));
    }
};

void residual_estimates(const std::uint8_t* tables, std::int64_t n_tables, const std::uint8_t* codes, std::int64_t n,
                        float step, float low, float base, const float* offsets, const float* scales, float* out) {
    residual_estimates_by(block_sums, tables, n_tables, codes, n, step, low, base, offsets, scales, out);
}

constexpr auto collect_up_to = collect_up_to_plainly;

constexpr auto split_keys = split_keys_plainly;

#include "table.h"

}  // namespace

constinit const Kernels kAvx2Kernels = table_named("avx2");

}  // namespace lshcore
