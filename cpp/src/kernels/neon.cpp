// NEON (every 64-bit Arm). Limits: CNT counts sixteen bytes, the words of two codes; the sums widen once a group.

#include <arm_neon.h>

#include <bit>

#include "sets.h"

namespace lshcore {
namespace {

struct Lanes {
    float32x4_t v[4];

    static Lanes zero() { return {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)}; }
    static Lanes load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}; }
    static Lanes load_partial(const float* p, int n) {
        float whole[16] = {};
        for (int i = 0; i < n; ++i) whole[i] = p[i];
        return load(whole);
    }
    static Lanes load(const Half* p) {
        const auto four = [&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + i))); };
        return {four(0), four(4), four(8), four(12)};
    }
    static Lanes load_partial(const Half* p, int n) {
        Half whole[16] = {};
        for (int i = 0; i < n; ++i) whole[i] = p[i];
        return load(whole);
    }
    static Lanes add(const Lanes& a, const Lanes& b) {
        return {vaddq_f32(a.v[0], b.v[0]), vaddq_f32(a.v[1], b.v[1]), vaddq_f32(a.v[2], b.v[2]),
                vaddq_f32(a.v[3], b.v[3])};
    }
    static Lanes sub(const Lanes& a, const Lanes& b) {
        return {vsubq_f32(a.v[0], b.v[0]), vsubq_f32(a.v[1], b.v[1]), vsubq_f32(a.v[2], b.v[2]),
                vsubq_f32(a.v[3], b.v[3])};
    }
    static Lanes mul(const Lanes& a, const Lanes& b) {
        return {vmulq_f32(a.v[0], b.v[0]), vmulq_f32(a.v[1], b.v[1]), vmulq_f32(a.v[2], b.v[2]),
                vmulq_f32(a.v[3], b.v[3])};
    }
    void store(float* p) const {
        for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, v[i]);
    }
    template <int L>
    Lanes butterfly() const {
        if constexpr (L == 8)
            return {vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]), vsubq_f32(v[0], v[2]), vsubq_f32(v[1], v[3])};
        if constexpr (L == 4)
            return {vaddq_f32(v[0], v[1]), vsubq_f32(v[0], v[1]), vaddq_f32(v[2], v[3]), vsubq_f32(v[2], v[3])};
        const std::uint32_t later[] = {0, L == 1 ? ~0u : 0u, L == 2 ? ~0u : 0u, ~0u};
        const uint32x4_t mask = vld1q_u32(later);
        const auto four = [&](float32x4_t a) {
            const float32x4_t other = L == 2 ? vextq_f32(a, a, 2) : vrev64q_f32(a);
            return vbslq_f32(mask, vsubq_f32(other, a), vaddq_f32(a, other));
        };
        return {four(v[0]), four(v[1]), four(v[2]), four(v[3])};
    }
    float sum() const {
        const float32x4_t four = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
        const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
        return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
    }
};

constexpr int kTileA = 2;
constexpr int kTileB = 2;

#include "float_tile.h"

void to_half(const float* x, std::int64_t n, Half* out) {
    for (std::int64_t i = 0; i < n; ++i)
        out[i] = vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(x[i]))), 0);
}

constexpr auto distance = [](const Word* a, const Word* b, int words) {
    int sum = 0;
    for (int w = 0; w < words; ++w) sum += vaddv_u8(vcnt_u8(vreinterpret_u8_u64(vdup_n_u64(a[w] ^ b[w]))));
    return sum;
};

template <int W>
using PreparedQuery = PlainQuery<W>;

struct Eight {
    uint16x8_t v;

    template <int W>
    static Eight of(const PreparedQuery<W>& query, const Word* group) {
        uint16x8_t sum = vdupq_n_u16(0);
        for (int begin = 0; begin < query.n_words; begin += 31) {  // 31 words of 8 bits a byte still fit a byte
            uint8x16_t bytes[4] = {vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)};
            const int end = query.n_words < begin + 31 ? query.n_words : begin + 31;
            for (int w = begin; w < end; ++w) {
                const uint64x2_t word = vdupq_n_u64(query.words[w]);
                for (int j = 0; j < 4; ++j)
                    bytes[j] = vaddq_u8(
                        bytes[j], vcntq_u8(vreinterpretq_u8_u64(veorq_u64(word, vld1q_u64(group + 8 * w + 2 * j)))));
            }
            // Sixteen bytes of two codes each, added in pairs until a 16-bit lane holds a code.
            const uint16x8_t a = vpaddq_u16(vpaddlq_u8(bytes[0]), vpaddlq_u8(bytes[1]));
            const uint16x8_t b = vpaddq_u16(vpaddlq_u8(bytes[2]), vpaddlq_u8(bytes[3]));
            sum = vaddq_u16(sum, vpaddq_u16(a, b));
        }
        return {sum};
    }
    static Eight min(const Eight& a, const Eight& b) { return {vminq_u16(a.v, b.v)}; }
    unsigned below(int threshold) const {
        const std::uint16_t bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
        return vaddvq_u16(vandq_u16(vcltq_u16(v, vdupq_n_u16(static_cast<std::uint16_t>(threshold))), vld1q_u16(bits)));
    }
    void store(std::uint16_t* out) const { vst1q_u16(out, v); }
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

constexpr auto pack_signs = pack_signs_plainly;

#include "residual.h"

/// A table at a time.
constexpr auto block_sums = [](const std::uint8_t* tables, std::int64_t n_tables, const std::uint8_t* codes,
                               std::uint16_t* out) {
    uint16x8_t sums[4] = {vdupq_n_u16(0), vdupq_n_u16(0), vdupq_n_u16(0), vdupq_n_u16(0)};
    for (std::int64_t at = 0; at < 16 * n_tables; at += 16) {
        const uint8x16_t table = vld1q_u8(tables + at), code = vld1q_u8(codes + at);
        const uint8x16_t low = vqtbl1q_u8(table, vandq_u8(code, vdupq_n_u8(15)));
        const uint8x16_t high = vqtbl1q_u8(table, vshrq_n_u8(code, 4));
        sums[0] = vaddw_u8(sums[0], vget_low_u8(low));
        sums[1] = vaddw_u8(sums[1], vget_high_u8(low));
        sums[2] = vaddw_u8(sums[2], vget_low_u8(high));
        sums[3] = vaddw_u8(sums[3], vget_high_u8(high));
    }
    for (int part = 0; part < 4; ++part) vst1q_u16(out + 8 * part, sums[part]);
};

void residual_estimates(const std::uint8_t* tables, std::int64_t n_tables, const std::uint8_t* codes, std::int64_t n,
                        float step, float low, float base, const float* offsets, const float* scales, float* out) {
    residual_estimates_by(block_sums, tables, n_tables, codes, n, step, low, base, offsets, scales, out);
}

constexpr auto collect_up_to = collect_up_to_plainly;

constexpr auto split_keys = split_keys_plainly;

#include "table.h"

}  // namespace

constinit const Kernels kNeonKernels = table_named("neon");

}  // namespace lshcore
