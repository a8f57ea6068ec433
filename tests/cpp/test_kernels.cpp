#include <doctest/doctest.h>
#include <sys/mman.h>

#include <cstdlib>
#include <limits>
#include <numeric>
#include <string>

#include "lshcore/kernels.h"
#include "naive.h"

using namespace lshcore;
using naive::Fenced;

namespace {

std::vector<std::int64_t> from_to(std::int64_t first, std::int64_t last) {
    std::vector<std::int64_t> values(static_cast<std::size_t>(last - first + 1));
    std::iota(values.begin(), values.end(), first);
    return values;
}

std::vector<std::int64_t> dims() {
    auto all = from_to(1, 70);
    all.push_back(784);
    return all;
}

struct FloatKernel {
    decltype(Kernels::dot_tile) tile;
    decltype(Kernels::dot_gather) gather;
    float (*oracle)(const float*, const float*, std::int64_t);
};

std::vector<FloatKernel> float_kernels() {
    return {{kernels().dot_tile, kernels().dot_gather, naive::dot},
            {kernels().l2_tile, kernels().l2_gather, naive::squared_l2}};
}

/// n rows in no order, some more than once, the first and the last of the base among them.
Fenced<Row> some_rows(naive::Draw& draw, std::int64_t n, std::int64_t n_base) {
    std::vector<Row> rows(static_cast<std::size_t>(n));
    for (Row& row : rows) row = static_cast<Row>(draw.below(static_cast<std::uint64_t>(n_base)));
    if (n >= 1) rows.back() = static_cast<Row>(n_base - 1);
    if (n >= 2) rows.front() = rows.back();
    if (n >= 3) rows[1] = 0;
    return Fenced<Row>(rows);
}

struct HalfKernel {
    decltype(Kernels::dot_tile_half) tile;
    decltype(Kernels::dot_gather_half) gather;
    float (*oracle)(const float*, const float*, std::int64_t);
};

std::vector<HalfKernel> half_kernels() {
    return {{kernels().dot_tile_half, kernels().dot_gather_half, naive::dot},
            {kernels().l2_tile_half, kernels().l2_gather_half, naive::squared_l2}};
}

/// What the bits of a half say: a sign, five bits of exponent, ten of fraction.
float widened(Half half) {
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const float sign = half >> 15 != 0 ? -1.0f : 1.0f;
    if (exponent == 31) return fraction == 0 ? sign * HUGE_VALF : std::numeric_limits<float>::quiet_NaN();
    if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
    return sign * std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
}

std::vector<float> widened(const std::vector<Half>& halves) {
    std::vector<float> floats;
    for (const Half half : halves) floats.push_back(widened(half));
    return floats;
}

/// Of either sign, below 2, subnormal ones among them.
std::vector<Half> some_halves(naive::Draw& draw, std::int64_t n) {
    std::vector<Half> halves(static_cast<std::size_t>(n));
    for (Half& half : halves) half = static_cast<Half>(draw.below(8) == 0 ? draw.below(1024) : draw.engine() & 0xbfff);
    return halves;
}

Half to_half(float x) {
    Half half;
    kernels().to_half(&x, 1, &half);
    return half;
}

const std::int64_t kBlockSizes[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                    12, 13, 14, 15, 16, 17, 18, 19, 20, 63, 64, 65};

}  // namespace

TEST_CASE("kernels: the set in use is the one asked for, or the best") {
    const auto sets = kernel_sets();
    REQUIRE_FALSE(sets.empty());
    CHECK(sets.back() == "scalar");
    const char* forced = std::getenv("LSHCORE_KERNELS");
    CHECK(kernels().name == (forced != nullptr && *forced != '\0' ? std::string(forced) : sets.front()));
#if defined(__x86_64__)
    const auto has = [&](const char* name) { return std::find(sets.begin(), sets.end(), name) != sets.end(); };
    CHECK(has("avx2") == (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt")));
    if (has("avx512")) CHECK(sets.front() == "avx512");
#endif
}

TEST_CASE("kernels: float tiles are the plain loops, bit for bit") {
    naive::Draw draw(1);
    for (const FloatKernel& kernel : float_kernels())
        for (const std::int64_t d : dims())
            for (const std::int64_t na : from_to(0, 9)) {
                const Fenced<float> a(draw.reals(na * d));
                for (const std::int64_t nb : from_to(0, 9)) {
                    CAPTURE(d);
                    CAPTURE(na);
                    CAPTURE(nb);
                    const Fenced<float> b(draw.reals(nb * d));
                    const std::int64_t stride = nb + 3;
                    const std::int64_t size = na == 0 ? 0 : (na - 1) * stride + nb;
                    Fenced<float> out(size);
                    out.fill(-77.0f);
                    auto expected = out.copy();  // what lies between the rows stays
                    for (std::int64_t i = 0; i < na; ++i)
                        for (std::int64_t j = 0; j < nb; ++j)
                            expected[static_cast<std::size_t>(i * stride + j)] =
                                kernel.oracle(a.data() + i * d, b.data() + j * d, d);
                    kernel.tile(a.data(), na, b.data(), nb, d, out.data(), stride);
                    CHECK(naive::same_bits(out.copy(), expected));
                }
            }
}

TEST_CASE("kernels: float gathers are the plain loops, bit for bit") {
    naive::Draw draw(2);
    constexpr std::int64_t kBase = 23;
    for (const FloatKernel& kernel : float_kernels())
        for (const std::int64_t d : dims()) {
            const Fenced<float> a(draw.reals(d)), base(draw.reals(kBase * d));
            for (const std::int64_t n : kBlockSizes) {
                CAPTURE(d);
                CAPTURE(n);
                const auto rows = some_rows(draw, n, kBase);
                Fenced<float> out(n);
                std::vector<float> expected;
                for (std::int64_t i = 0; i < n; ++i)
                    expected.push_back(kernel.oracle(a.data(), base.data() + std::int64_t{rows.data()[i]} * d, d));
                kernel.gather(a.data(), base.data(), rows.data(), n, d, out.data());
                CHECK(naive::same_bits(out.copy(), expected));
            }
        }
}

TEST_CASE("kernels: half tiles and gathers are those of the widened rows, bit for bit") {
    naive::Draw draw(6);
    constexpr std::int64_t kBase = 23;
    for (const HalfKernel& kernel : half_kernels())
        for (const std::int64_t d : dims()) {
            const auto halves = some_halves(draw, kBase * d);
            const auto floats = widened(halves);
            const Fenced<Half> base(halves);
            for (const std::int64_t na : {0, 1, 2, 3, 4, 5, 9})
                for (const std::int64_t nb : {0, 1, 2, 3, 4, 5, 7, 9}) {
                    CAPTURE(d);
                    CAPTURE(na);
                    CAPTURE(nb);
                    const Fenced<float> a(draw.reals(na * d));
                    const Fenced<Half> b(std::vector<Half>(halves.end() - nb * d, halves.end()));
                    const std::int64_t stride = nb + 3;
                    Fenced<float> out(na == 0 ? 0 : (na - 1) * stride + nb);
                    out.fill(-77.0f);
                    auto expected = out.copy();
                    for (std::int64_t i = 0; i < na; ++i)
                        for (std::int64_t j = 0; j < nb; ++j)
                            expected[static_cast<std::size_t>(i * stride + j)] =
                                kernel.oracle(a.data() + i * d, floats.data() + (kBase - nb + j) * d, d);
                    kernel.tile(a.data(), na, b.data(), nb, d, out.data(), stride);
                    CHECK(naive::same_bits(out.copy(), expected));
                }
            const Fenced<float> a(draw.reals(d));
            for (const std::int64_t n : kBlockSizes) {
                CAPTURE(d);
                CAPTURE(n);
                const auto rows = some_rows(draw, n, kBase);
                Fenced<float> out(n);
                std::vector<float> expected;
                for (std::int64_t i = 0; i < n; ++i)
                    expected.push_back(kernel.oracle(a.data(), floats.data() + std::int64_t{rows.data()[i]} * d, d));
                kernel.gather(a.data(), base.data(), rows.data(), n, d, out.data());
                CHECK(naive::same_bits(out.copy(), expected));
            }
        }
}

TEST_CASE("kernels: every half is widened exactly, and a finite one rounds back to itself") {
    int wrong = 0;
    for (int bits = 0; bits < 65536; ++bits) {
        const auto half = static_cast<Half>(bits);
        const float one = 1, zero = 0, value = widened(half);
        float seen;
        kernels().dot_tile_half(&one, 1, &half, 1, 1, &seen, 1);
        wrong += std::isnan(value) ? !std::isnan(seen) : seen != value;
        kernels().l2_tile_half(&zero, 1, &half, 1, 1, &seen, 1);
        wrong += std::isnan(value) ? !std::isnan(seen) : seen != value * value;
        if (std::isfinite(value)) wrong += to_half(value) != half;
    }
    CHECK(wrong == 0);
}

TEST_CASE("kernels: to_half goes to the nearest half, halfway to the even one, of either sign") {
    int wrong = 0;
    for (int bits = 0; bits < 0x7bff; ++bits) {  // between each and the next, subnormal ones and 65504 included
        const auto below = static_cast<Half>(bits), above = static_cast<Half>(bits + 1);
        const float middle = (widened(below) + widened(above)) / 2;
        const Half even = bits % 2 == 0 ? below : above;
        for (const Half sign : {Half{0}, Half{0x8000}}) {
            const float s = sign == 0 ? 1.0f : -1.0f;
            wrong += to_half(s * middle) != (even | sign);
            wrong += to_half(s * std::nextafter(middle, 0.0f)) != (below | sign);
            wrong += to_half(s * std::nextafter(middle, HUGE_VALF)) != (above | sign);
            wrong += to_half(s * std::nextafter(widened(above), 0.0f)) != (above | sign);
        }
    }
    CHECK(wrong == 0);
    using Limits = std::numeric_limits<float>;
    for (const float tiny : {0.0f, Limits::denorm_min(), Limits::min(), 0x1p-26f}) {
        CHECK(to_half(tiny) == 0);
        CHECK(to_half(-tiny) == 0x8000);
    }
}

TEST_CASE("kernels: to_half writes what it is given, and no more, at every length") {
    naive::Draw draw(7);
    for (const std::int64_t n : from_to(0, 70)) {
        CAPTURE(n);
        const auto halves = some_halves(draw, n);
        const Fenced<float> in(widened(halves));
        Fenced<Half> out(n + 3);
        out.fill(0x5555);
        kernels().to_half(in.data(), n, out.data() + 3);  // up to the unreadable page
        auto expected = halves;
        expected.insert(expected.begin(), 3, Half{0x5555});
        CHECK(out.copy() == expected);
        out.fill(0x5555);
        kernels().to_half(in.data(), n, out.data());
        std::rotate(expected.begin(), expected.begin() + 3, expected.end());
        CHECK(out.copy() == expected);
    }
}

TEST_CASE("kernels: Hamming blocks and gathers count bits at every width") {
    naive::Draw draw(3);
    constexpr std::int64_t kBase = 65;
    auto widths = from_to(1, 520);
    widths.insert(widths.end(), {576, 640, 1000, 1024, 1025, 2048, 4095, 4096});
    for (const auto n_bits : widths) {
        const int words = words_for(static_cast<int>(n_bits));
        const Fenced<Word> query(draw.codes(1, static_cast<int>(n_bits)));
        auto codes = draw.codes(kBase, static_cast<int>(n_bits));
        for (int w = 0; w < words; ++w) codes[static_cast<std::size_t>(w)] = ~query.data()[w];  // the largest distance
        const Fenced<Word> base(codes);
        for (const std::int64_t n : kBlockSizes) {
            CAPTURE(n_bits);
            CAPTURE(n);
            const Fenced<Word> block(std::vector<Word>(codes.begin(), codes.begin() + n * words));
            const auto rows = some_rows(draw, n, kBase);
            Fenced<std::uint16_t> blocked(n), gathered(n);
            std::vector<std::uint16_t> of_block, of_rows;
            for (std::int64_t i = 0; i < n; ++i) {
                of_block.push_back(naive::hamming(query.data(), block.data() + i * words, words));
                of_rows.push_back(
                    naive::hamming(query.data(), base.data() + std::int64_t{rows.data()[i]} * words, words));
            }
            const Fenced<Word> groups(std::vector<Word>(static_cast<std::size_t>((n + 7) / 8 * 8 * words), ~Word{0}));
            kernels().group_codes(block.data(), n, words, groups.data());
            kernels().grouped_distances(query.data(), groups.data(), n, words, blocked.data());
            kernels().hamming_gather(query.data(), base.data(), rows.data(), n, words, gathered.data());
            CHECK(blocked.copy() == of_block);

            const std::int64_t bins = 64 * words + 1;  // the padding of these codes is not zero
            std::vector<std::uint32_t> counts(4 * static_cast<std::size_t>(bins)), histogram(counts.size() / 4);
            kernels().count_distances(query.data(), 1, groups.data(), n, words, counts.data(), bins);
            for (std::size_t d = 0; d < histogram.size(); ++d)
                for (std::size_t table = 0; table < 4; ++table) histogram[d] += counts[table * histogram.size() + d];
            std::vector<std::uint32_t> expected_counts(histogram.size());
            for (const auto d : of_block) ++expected_counts[d];
            CHECK(histogram == expected_counts);

            for (const int threshold : {0, 1, 32 * words, 64 * words + 1}) {
                std::vector<std::uint64_t> expected_hits;
                for (std::int64_t i = 0; i < n; ++i)
                    if (of_block[static_cast<std::size_t>(i)] < threshold)
                        expected_hits.push_back(std::uint64_t{of_block[static_cast<std::size_t>(i)]} << 32 |
                                                static_cast<std::uint64_t>(i));
                Fenced<std::uint64_t> hits(n + 8);
                const auto found =
                    kernels().collect_below(query.data(), groups.data(), n, words, threshold, hits.data());
                REQUIRE(found == static_cast<std::int64_t>(expected_hits.size()));
                CHECK(std::equal(expected_hits.begin(), expected_hits.end(), hits.data()));
            }
            CHECK(gathered.copy() == of_rows);
        }
    }
}

TEST_CASE("kernels: histograms of several queries at once") {
    naive::Draw draw(6);
    for (const int n_bits : {1, 37, 63, 64, 65, 192})
        for (const std::int64_t n_queries : {1, 2, 7, 8, 9, 130})
            for (const std::int64_t n : {0, 1, 511, 512, 513, 4096, 4103, 4608, 9000}) {
                CAPTURE(n_bits);
                CAPTURE(n_queries);
                CAPTURE(n);
                const int words = words_for(n_bits);
                const auto codes = draw.codes(n, n_bits);
                auto queries = draw.codes(n_queries, n_bits);
                // The least distance and the largest, and the same one to all.
                for (int w = 0; w < words && n > 0; ++w)
                    queries[static_cast<std::size_t>(w)] = codes[static_cast<std::size_t>(w)];
                for (int w = 0; w < words && n > 0 && n_queries > 1; ++w)
                    queries[static_cast<std::size_t>(words + w)] = ~codes[static_cast<std::size_t>(w)];
                const Fenced<Word> groups(
                    std::vector<Word>(static_cast<std::size_t>((n + 7) / 8 * 8 * words), ~Word{0}));
                kernels().group_codes(codes.data(), n, words, groups.data());
                const std::int64_t bins = 64 * words + 1;
                std::vector<std::uint32_t> counts(static_cast<std::size_t>(n_queries * 4 * bins), 0);
                counts[0] = ~std::uint32_t{0};  // it adds
                kernels().count_distances(queries.data(), n_queries, groups.data(), n, words, counts.data(), bins);
                ++counts[0];
                for (std::int64_t q = 0; q < n_queries; ++q) {
                    std::vector<std::uint32_t> histogram(static_cast<std::size_t>(bins)), expected(histogram.size());
                    for (std::int64_t i = 0; i < 4 * bins; ++i)
                        histogram[static_cast<std::size_t>(i % bins)] +=
                            counts[static_cast<std::size_t>(q * 4 * bins + i)];
                    for (std::int64_t i = 0; i < n; ++i)
                        ++expected[naive::hamming(queries.data() + q * words, codes.data() + i * words, words)];
                    REQUIRE(histogram == expected);
                }
            }
    // Every distance of one word, all codes the same.
    for (int distance = 0; distance <= 64; ++distance) {
        const std::vector<Word> queries(8, distance == 64 ? ~Word{0} : (Word{1} << distance) - 1), codes(1024, 0);
        std::vector<std::uint32_t> counts(8 * 4 * 65, 0);
        kernels().count_distances(queries.data(), 8, codes.data(), 1024, 1, counts.data(), 65);
        std::uint32_t there = 0, all = 0;
        for (int table = 0; table < 4; ++table) there += counts[static_cast<std::size_t>(table * 65 + distance)];
        for (const auto count : counts) all += count;
        CHECK(there == 1024);
        CHECK(all == 8 * 1024);
    }
}

TEST_CASE("kernels: row numbers from 2^31 on are not negative") {
    constexpr std::int64_t kFirst = (std::int64_t{1} << 31) - 4, kRows = 20;
    constexpr std::size_t kBytes = (kFirst + kRows) * 2 * sizeof(Word);
    void* at = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        MESSAGE("not tested: this machine does not lend 34 GB of addresses");
        return;
    }
    naive::Draw draw(4);
    std::vector<Row> rows(kRows);
    std::iota(rows.begin(), rows.end(), static_cast<Row>(kFirst));
    draw.shuffle(rows);
    for (const int words : {1, 2}) {  // the pages that are touched, and only those, come to be
        const auto codes = draw.codes(kRows, 64 * words), query = draw.codes(1, 64 * words);
        std::memcpy(static_cast<Word*>(at) + kFirst * words, codes.data(), codes.size() * sizeof(Word));
        std::vector<std::uint16_t> out(kRows), expected;
        for (const Row row : rows)
            expected.push_back(naive::hamming(query.data(), codes.data() + (row - kFirst) * words, words));
        kernels().hamming_gather(query.data(), static_cast<Word*>(at), rows.data(), kRows, words, out.data());
        CHECK(out == expected);
    }
    for (const FloatKernel& kernel : float_kernels()) {
        constexpr std::int64_t kDim = 3;
        const auto values = draw.reals(kRows * kDim), query = draw.reals(kDim);
        std::memcpy(static_cast<float*>(at) + kFirst * kDim, values.data(), values.size() * sizeof(float));
        std::vector<float> out(kRows), expected;
        for (const Row row : rows)
            expected.push_back(kernel.oracle(query.data(), values.data() + (row - kFirst) * kDim, kDim));
        kernel.gather(query.data(), static_cast<float*>(at), rows.data(), kRows, kDim, out.data());
        CHECK(naive::same_bits(out, expected));
    }
    munmap(at, kBytes);
}

TEST_CASE("kernels: signs pack to a bit each; zeros of both signs are positive, NaN is not, padding is zero") {
    using Limits = std::numeric_limits<float>;
    const float odd[] = {0.0f,
                         -0.0f,
                         Limits::denorm_min(),
                         -Limits::denorm_min(),
                         Limits::quiet_NaN(),
                         -Limits::quiet_NaN(),
                         Limits::infinity(),
                         -Limits::infinity()};
    naive::Draw draw(5);
    auto widths = from_to(1, 200);
    widths.insert(widths.end(), {784, 4095, 4096});
    for (const auto n_bits : widths) {
        CAPTURE(n_bits);
        auto margins = draw.reals(n_bits);
        for (float& margin : margins)
            if (draw.below(4) == 0) margin = odd[draw.below(std::size(odd))];
        const Fenced<float> in(margins);
        Fenced<Word> out(words_for(static_cast<int>(n_bits)));
        out.fill(~Word{0});
        std::vector<Word> expected(out.copy().size(), 0);
        for (std::size_t j = 0; j < margins.size(); ++j) expected[j / 64] |= Word{margins[j] >= 0} << (j % 64);
        kernels().pack_signs(in.data(), n_bits, out.data());
        CHECK(out.copy() == expected);
    }
}
