// AVX-512 with VPOPCNTDQ (Ice Lake, Zen 4 and later). Limits: float tiles by multiply and add (4 x 4 pairs, half a load
// each); grouped codes by one VPOPCNTQ for eight words, from the first-level cache.

#include <immintrin.h>

#include <bit>
#include <vector>

#include "sets.h"

namespace lshcore {
namespace {

inline __m512i popcount(__m512i v) { return _mm512_popcnt_epi64(v); }

#include "avx512_loops.h"

#include "bit_sliced.h"
#include "table.h"

}  // namespace

constinit const Kernels kAvx512Kernels = [] {
    Kernels table = table_named("avx512");
    table.group_codes = group_codes_fast;
    table.count_distances = count_distances_sliced;
    return table;
}();

}  // namespace lshcore
