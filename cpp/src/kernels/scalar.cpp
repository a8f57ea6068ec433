// The reference: plain C++, the oracle of every other set.

#include <cstring>

#include "sets.h"

namespace lshcore {
namespace {

struct Lanes {
    float v[16];

    static Lanes zero() { return {}; }
    static Lanes load(const float* p) { return load_partial(p, 16); }
    static Lanes load_partial(const float* p, int n) {
        Lanes r{};
        for (int i = 0; i < n; ++i) r.v[i] = p[i];
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

void hamming_block(const Word* query, const Word* codes, std::int64_t n, int words, std::uint16_t* out) {
    hamming_block_by(distance, query, codes, n, words, out);
}

void hamming_gather(const Word* query, const Word* codes, const Row* rows, std::int64_t n, int words,
                    std::uint16_t* out) {
    hamming_gather_by(distance, query, codes, rows, n, words, out);
}

void pack_signs(const float* margins, std::int64_t n_bits, Word* out) {
    for (std::int64_t begin = 0; begin < n_bits; begin += 64) {
        Word word = 0;
        for (std::int64_t j = begin; j < n_bits && j < begin + 64; ++j)
            word |= static_cast<Word>(margins[j] >= 0.0f) << (j - begin);
        *out++ = word;
    }
}

}  // namespace

const Kernels kScalarKernels = {"scalar",          all_pairs<Dot>, all_pairs<SquaredL2>, gather<Dot>,
                                gather<SquaredL2>, hamming_block,  hamming_gather,       pack_signs};

}  // namespace lshcore
