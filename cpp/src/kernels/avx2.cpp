// AVX2. Limits: float tiles by the two load ports (2 x 2 pairs fill the sixteen registers); codes by the scalar POPCNT,
// one word a cycle.

#include <immintrin.h>

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
    static Lanes add(const Lanes& a, const Lanes& b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
    static Lanes sub(const Lanes& a, const Lanes& b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
    static Lanes mul(const Lanes& a, const Lanes& b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
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

constexpr auto distance = [](const Word* a, const Word* b, int words) {
    std::int64_t sum = 0;
    for (int w = 0; w < words; ++w) sum += _mm_popcnt_u64(a[w] ^ b[w]);
    return sum;
};

void hamming_block(const Word* query, const Word* codes, std::int64_t n, int words, std::uint16_t* out) {
    hamming_block_by(distance, query, codes, n, words, out);
}

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

}  // namespace

const Kernels kAvx2Kernels = {"avx2",         all_pairs<Dot>,    all_pairs<SquaredL2>,
                              gather<Dot>,    gather<SquaredL2>, hamming_block,
                              hamming_gather, pack_signs};

}  // namespace lshcore
