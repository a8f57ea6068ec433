// The AVX-512 loops, included in an anonymous namespace by the two files that say how to count bits: `popcount(v)`, the
// set bits of each 64-bit lane.

struct Lanes {
    __m512 v;

    static Lanes zero() { return {_mm512_setzero_ps()}; }
    static Lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
    static Lanes load_partial(const float* p, int n) {
        return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p)};
    }
    static Lanes load(const Half* p) {
        return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
    }
    static Lanes load_partial(const Half* p, int n) {
        return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << n) - 1), p))};
    }
    static Lanes add(const Lanes& a, const Lanes& b) { return {_mm512_add_ps(a.v, b.v)}; }
    static Lanes sub(const Lanes& a, const Lanes& b) { return {_mm512_sub_ps(a.v, b.v)}; }
    static Lanes mul(const Lanes& a, const Lanes& b) { return {_mm512_mul_ps(a.v, b.v)}; }
    void store(float* p) const { _mm512_storeu_ps(p, v); }
    template <int L>
    Lanes butterfly() const {
        const __m512 other = L == 8   ? _mm512_shuffle_f32x4(v, v, 0x4e)
                             : L == 4 ? _mm512_shuffle_f32x4(v, v, 0xb1)
                             : L == 2 ? _mm512_permute_ps(v, 0x4e)
                                      : _mm512_permute_ps(v, 0xb1);
        constexpr __mmask16 kLater = L == 8 ? 0xff00 : L == 4 ? 0xf0f0 : L == 2 ? 0xcccc : 0xaaaa;
        return {_mm512_mask_sub_ps(_mm512_add_ps(v, other), kLater, other, v)};
    }
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

void to_half(const float* x, std::int64_t n, Half* out) {
    for (std::int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = static_cast<__mmask16>(n - i >= 16 ? 0xffff : (1u << (n - i)) - 1);
        _mm256_mask_storeu_epi16(out + i, mask,
                                 _mm512_cvtps_ph(_mm512_maskz_loadu_ps(mask, x + i), _MM_FROUND_TO_NEAREST_INT));
    }
}

template <int W>
struct PreparedQuery {
    __m512i words[W];

    PreparedQuery(const Word* query, int) {
        for (int w = 0; w < W; ++w) words[w] = _mm512_set1_epi64(static_cast<long long>(query[w]));
    }
};

template <>
struct PreparedQuery<0> {
    const Word* query;
    int n_words;

    PreparedQuery(const Word* words, int n) : query(words), n_words(n) {}
};

struct Eight {
    __m512i v;  // a distance a 64-bit lane

    template <int W>
    static Eight of(const PreparedQuery<W>& query, const Word* group) {
        __m512i sum = popcount(_mm512_xor_si512(query.words[0], _mm512_loadu_si512(group)));
        for (int w = 1; w < W; ++w)
            sum = _mm512_add_epi64(sum, popcount(_mm512_xor_si512(query.words[w], _mm512_loadu_si512(group + 8 * w))));
        return {sum};
    }
    static Eight of(const PreparedQuery<0>& query, const Word* group) {
        __m512i sum = _mm512_setzero_si512();
        for (int w = 0; w < query.n_words; ++w) {
            const __m512i word = _mm512_set1_epi64(static_cast<long long>(query.query[w]));
            sum = _mm512_add_epi64(sum, popcount(_mm512_xor_si512(word, _mm512_loadu_si512(group + 8 * w))));
        }
        return {sum};
    }
    static Eight min(const Eight& a, const Eight& b) { return {_mm512_min_epu32(a.v, b.v)}; }  // faster than by 64 bits
    unsigned below(int threshold) const { return _mm512_cmplt_epu64_mask(v, _mm512_set1_epi64(threshold)); }
    void store(std::uint16_t* out) const {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi64_epi16(v));
    }
    int emit(std::int64_t first, unsigned lanes, std::uint64_t* hits) const {
        const __m512i rows = _mm512_add_epi64(_mm512_set1_epi64(first), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
        const __m512i packed = _mm512_or_si512(_mm512_slli_epi64(v, 32), rows);
        // Compressed in a register and stored whole: a compressing store is many times slower on some CPUs.
        _mm512_storeu_si512(hits, _mm512_maskz_compress_epi64(static_cast<__mmask8>(lanes), packed));
        return std::popcount(lanes);
    }
};

#include "grouped.h"

/// Two words a code: one permutation a vector. Other widths go word by word.
void group_codes_fast(const Word* codes, std::int64_t n, int words, Word* groups) {
    std::int64_t i = 0;
    if (words == 2) {
        const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
        const __m512i odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
        for (; i + 8 <= n; i += 8) {
            const __m512i a = _mm512_loadu_si512(codes + 2 * i), b = _mm512_loadu_si512(codes + 2 * i + 8);
            _mm512_storeu_si512(groups + 2 * i, _mm512_permutex2var_epi64(a, even, b));
            _mm512_storeu_si512(groups + 2 * i + 8, _mm512_permutex2var_epi64(a, odd, b));
        }
    }
    group_codes(codes + i * words, n - i, words, groups + i * words);
}

/// Of a code longer than one word: whole groups of eight words, then a masked one.
inline std::int64_t distance(const Word* a, const Word* b, int words) {
    __m512i sum = _mm512_setzero_si512();
    int w = 0;
    for (; w + 8 <= words; w += 8)
        sum = _mm512_add_epi64(sum, popcount(_mm512_xor_si512(_mm512_loadu_si512(a + w), _mm512_loadu_si512(b + w))));
    if (w < words) {
        const __mmask8 mask = static_cast<__mmask8>((1u << (words - w)) - 1);
        sum = _mm512_add_epi64(sum, popcount(_mm512_xor_si512(_mm512_maskz_loadu_epi64(mask, a + w),
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
        const __m512i counts = popcount(_mm512_xor_si512(load(mask, i), q));
        _mm_mask_storeu_epi16(out + i, mask, _mm512_cvtepi64_epi16(counts));
    }
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

#include "residual.h"

/// Four tables at once; the entries of four times four are added in 8 bits, then in 16: all, and those at odd places.
void residual_estimates(const std::uint8_t* tables, std::int64_t n_tables, const std::uint8_t* codes, std::int64_t n,
                        float step, float low, float base, const float* offsets, const float* scales, float* out) {
    const __m512i half = _mm512_set1_epi8(0x0f);
    for (std::int64_t i = 0; i < n; i += 32, codes += 16 * n_tables) {
        __m512i all[2] = {}, odd[2] = {};
        for (std::int64_t m = 0; m < 16 * n_tables; m += 256) {
            __m512i sums[2] = {};
            for (std::int64_t at = m; at < m + 256; at += 64) {
                const __m512i table = _mm512_loadu_si512(tables + at), code = _mm512_loadu_si512(codes + at);
                const __m512i upper = _mm512_and_si512(_mm512_srli_epi16(code, 4), half);
                sums[0] = _mm512_add_epi8(sums[0], _mm512_shuffle_epi8(table, _mm512_and_si512(code, half)));
                sums[1] = _mm512_add_epi8(sums[1], _mm512_shuffle_epi8(table, upper));
            }
            for (int h = 0; h < 2; ++h) {
                all[h] = _mm512_add_epi16(all[h], sums[h]);
                odd[h] = _mm512_add_epi16(odd[h], _mm512_srli_epi16(sums[h], 8));
            }
        }
        for (int h = 0; h < 2 && i + 16 * h < n; ++h) {
            const auto quarters = [](__m512i v) {
                const __m256i two = _mm256_add_epi16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
                return _mm_add_epi16(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
            };
            const __m128i later = quarters(odd[h]);
            const __m128i first = quarters(_mm512_sub_epi16(all[h], _mm512_slli_epi16(odd[h], 8)));
            const __m256i rows = _mm256_setr_m128i(_mm_unpacklo_epi16(first, later), _mm_unpackhi_epi16(first, later));
            const __m512 sums = _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(rows));
            const std::int64_t at = i + 16 * h;
            const __mmask16 mask = static_cast<__mmask16>(n - at >= 16 ? 0xffff : (1u << (n - at)) - 1);
            const __m512 inner = _mm512_add_ps(_mm512_mul_ps(_mm512_set1_ps(step), sums), _mm512_set1_ps(low));
            const __m512 product = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, scales + at), inner);
            const __m512 offset = _mm512_add_ps(_mm512_set1_ps(base), _mm512_maskz_loadu_ps(mask, offsets + at));
            _mm512_mask_storeu_ps(out + at, mask, _mm512_sub_ps(offset, product));
        }
    }
}

std::int64_t split_keys(const std::uint64_t* keys, std::int64_t n, std::uint64_t pivot, std::uint64_t* low,
                        std::uint64_t* high) {
    const auto first = [](int count) { return static_cast<__mmask8>((1u << count) - 1); };
    std::uint64_t* end = low;
    for (std::int64_t i = 0; i < n; i += 8) {
        const __mmask8 mask = n - i >= 8 ? 0xff : first(static_cast<int>(n - i));
        const __m512i some = _mm512_maskz_loadu_epi64(mask, keys + i);
        const __mmask8 is_low =
            _mm512_mask_cmple_epu64_mask(mask, some, _mm512_set1_epi64(static_cast<long long>(pivot)));
        const auto is_high = static_cast<__mmask8>(mask & ~is_low);
        const int n_low = std::popcount(static_cast<unsigned>(is_low)),
                  n_high = std::popcount(static_cast<unsigned>(is_high));
        _mm512_mask_storeu_epi64(end, first(n_low), _mm512_maskz_compress_epi64(is_low, some));
        _mm512_mask_storeu_epi64(high, first(n_high), _mm512_maskz_compress_epi64(is_high, some));
        end += n_low;
        high += n_high;
    }
    return end - low;
}

std::int64_t collect_up_to(const float* values, std::int64_t n, float limit, std::uint32_t* hits) {
    const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    std::uint32_t* end = hits;
    for (std::int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = static_cast<__mmask16>(n - i >= 16 ? 0xffff : (1u << (n - i)) - 1);
        const __mmask16 found =
            _mm512_mask_cmp_ps_mask(mask, _mm512_maskz_loadu_ps(mask, values + i), _mm512_set1_ps(limit), _CMP_LE_OQ);
        if (found == 0) continue;
        // To a register first: to memory it is slow on Zen 4.
        _mm512_storeu_si512(
            end, _mm512_maskz_compress_epi32(found, _mm512_add_epi32(count, _mm512_set1_epi32(static_cast<int>(i)))));
        end += std::popcount(static_cast<unsigned>(found));
    }
    return end - hits;
}
