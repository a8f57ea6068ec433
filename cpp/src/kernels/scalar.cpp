// The reference: plain C++, the oracle of every other set.

#include <algorithm>
#include <bit>
#include <cstring>

#include "sets.h"

namespace lshcore {
namespace {

/// Exact: every half is a float.
float widen(Half h) {
    const std::uint32_t sign = std::uint32_t{h} >> 15 << 31, exponent = h >> 10 & 31u, fraction = h & 1023u;
    if (exponent == 0) {  // zero and subnormal: fraction / 2^24
        const float magnitude = static_cast<float>(fraction) * 0x1.0p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    return std::bit_cast<float>(sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13);
}

struct Lanes {
    float v[16];

    static Lanes zero() { return {}; }
    static Lanes load(const float* p) { return load_partial(p, 16); }
    static Lanes load(const Half* p) { return load_partial(p, 16); }
    static Lanes load_partial(const float* p, int n) {
        Lanes r{};
        for (int i = 0; i < n; ++i) r.v[i] = p[i];
        return r;
    }
    static Lanes load_partial(const Half* p, int n) {
        Lanes r{};
        for (int i = 0; i < n; ++i) r.v[i] = widen(p[i]);
        return r;
    }
    static Lanes add(const Lanes& a, const Lanes& b) {
        Lanes r;
        for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] + b.v[i];
        return r;
    }
    static Lanes sub(const Lanes& a, const Lanes& b) {
        Lanes r;
        for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] - b.v[i];
        return r;
    }
    static Lanes mul(const Lanes& a, const Lanes& b) {
        Lanes r;
        for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] * b.v[i];
        return r;
    }
    void store(float* p) const { std::memcpy(p, v, sizeof(v)); }
    template <int L>
    Lanes butterfly() const {
        Lanes r;
        for (int i = 0; i < 16; ++i) r.v[i] = (i & L) == 0 ? v[i] + v[i + L] : v[i - L] - v[i];
        return r;
    }
    float sum() const {
        float t[16];
        std::memcpy(t, v, sizeof(t));
        for (int half = 8; half >= 1; half /= 2)
            for (int i = 0; i < half; ++i) t[i] += t[i + half];
        return t[0];
    }
};

constexpr int kTileA = 1;
constexpr int kTileB = 1;

#include "float_tile.h"

void to_half(const float* x, std::int64_t n, Half* out) {
    for (std::int64_t i = 0; i < n; ++i) {
        const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[i]), magnitude = bits & 0x7fffffffu;
        const auto sign = static_cast<Half>(bits >> 31 << 15);
        if (magnitude < 0x38800000u) {  // below the least normal half, 2^-14: a multiple of 2^-24, rounded by the adder
            const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
            out[i] = static_cast<Half>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
        } else {  // drop 13 bits, to nearest, ties to even; the exponent's bias falls by 112
            const std::uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
            out[i] = static_cast<Half>(sign | ((rounded - 0x38000000u) >> 13));
        }
    }
}

int popcount(Word x) {
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return static_cast<int>((x * 0x0101010101010101u) >> 56);
}

constexpr auto distance = [](const Word* a, const Word* b, int words) {
    int sum = 0;
    for (int w = 0; w < words; ++w) sum += popcount(a[w] ^ b[w]);
    return sum;
};

template <int W>
using PreparedQuery = PlainQuery<W>;

struct Eight {
    std::uint16_t v[8];

    template <int W>
    static Eight of(const PreparedQuery<W>& query, const Word* group) {
        Eight r{};
        for (int w = 0; w < query.n_words; ++w)
            for (int i = 0; i < 8; ++i)
                r.v[i] = static_cast<std::uint16_t>(r.v[i] + popcount(query.words[w] ^ group[8 * w + i]));
        return r;
    }
    static Eight min(const Eight& a, const Eight& b) {
        Eight r;
        for (int i = 0; i < 8; ++i) r.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
        return r;
    }
    unsigned below(int threshold) const {
        unsigned lanes = 0;
        for (int i = 0; i < 8; ++i) lanes |= static_cast<unsigned>(v[i] < threshold) << i;
        return lanes;
    }
    void store(std::uint16_t* out) const { std::memcpy(out, v, sizeof(v)); }
    int emit(std::int64_t first, unsigned lanes, std::uint64_t* hits) const {
        return emit_lanes(v, first, lanes, hits);
    }
};

#include "grouped.h"

void hamming_gather(const Word* query, const Word* codes, const Row* rows, std::int64_t n, int words,
                    std::uint16_t* out) {
    hamming_gather_by(distance, query, codes, rows, n, words, out);
}

constexpr auto pack_signs = pack_signs_plainly;

#include "residual.h"

constexpr auto block_sums = [](const std::uint8_t* tables, std::int64_t n_tables, const std::uint8_t* codes,
                               std::uint16_t* sums) {
    std::fill_n(sums, 32, std::uint16_t{0});
    for (std::int64_t m = 0; m < n_tables; ++m, tables += 16, codes += 16)
        for (int j = 0; j < 16; ++j) {
            sums[j] = static_cast<std::uint16_t>(sums[j] + tables[codes[j] & 15]);
            sums[j + 16] = static_cast<std::uint16_t>(sums[j + 16] + tables[codes[j] >> 4]);
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

constinit const Kernels kScalarKernels = table_named("scalar");

}  // namespace lshcore
