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

#include "table.h"

}  // namespace

constinit const Kernels kAvx512bwKernels = [] {
    Kernels table = table_named("avx512bw");
    table.group_codes = group_codes_fast;
    return table;
}();

}  // namespace lshcore
