// AVX-512 without VPOPCNTDQ (Skylake-X, Cascade Lake): bits are counted by table look-up of half bytes (Mula, 2016).

#include <immintrin.h>

#include <bit>

#include "sets.h"

namespace lshcore {
namespace {

inline __m512i popcount(__m512i v) {
    const __m512i low = _mm512_set1_epi8(0x0f);
    const __m512i table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m512i bytes = _mm512_add_epi8(_mm512_shuffle_epi8(table, _mm512_and_si512(v, low)),
                                          _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(v, 4), low)));
    return _mm512_sad_epu8(bytes, _mm512_setzero_si512());
}

#include "avx512_loops.h"

}  // namespace

const Kernels kAvx512bwKernels = {
    "avx512bw",
    all_pairs<Dot, float>,
    all_pairs<SquaredL2, float>,
    gather<Dot, float>,
    gather<SquaredL2, float>,
    all_pairs<Dot, Half>,
    all_pairs<SquaredL2, Half>,
    gather<Dot, Half>,
    gather<SquaredL2, Half>,
    to_half,
    hamming_gather,
    pack_signs,
    group_codes_fast,
    collect_below,
    count_distances,
    grouped_distances,
};

}  // namespace lshcore
