// AVX-512 with VPOPCNTDQ (Ice Lake, Zen 4 and later). Limits: float tiles by multiply and add (4 x 4 pairs, half a load
// each); grouped codes by one VPOPCNTQ for eight words, from the first-level cache.

#include <immintrin.h>

#include <bit>

#include "sets.h"

namespace lshcore {
namespace {

inline __m512i popcount(__m512i v) { return _mm512_popcnt_epi64(v); }

#include "avx512_loops.h"

}  // namespace

const Kernels kAvx512Kernels = {
    "avx512",
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
