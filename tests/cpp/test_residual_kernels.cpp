// The kernels of residual codes, against plain loops in the documented order.

#include <doctest/doctest.h>

#include <bit>
#include <limits>

#include "lshcore/kernels.h"
#include "lshcore/residual.h"
#include "naive.h"

using namespace lshcore;
using naive::Fenced;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<std::uint8_t> bytes(naive::Draw& draw, std::int64_t n, std::uint64_t most) {
    std::vector<std::uint8_t> values(static_cast<std::size_t>(n));
    for (auto& value : values) value = static_cast<std::uint8_t>(draw.below(most + 1));
    return values;
}

std::vector<float> scaled_signs(naive::Draw& draw, std::int64_t n, float scale) {
    std::vector<float> values;
    for (const auto sign : draw.signs(n)) values.push_back(scale * static_cast<float>(sign));
    return values;
}

/// Row i of the Hadamard matrix has a minus where i and j share an odd number of bits.
std::vector<double> transformed(const std::vector<float>& x, const std::vector<float>& signs) {
    std::vector<double> out(x.size());
    for (unsigned i = 0; i < out.size(); ++i)
        for (unsigned j = 0; j < out.size(); ++j) {
            const double term = double{x[j]} * double{signs[j]};
            out[i] += std::popcount(i & j) % 2 == 0 ? term : -term;
        }
    return out;
}

/// The same, pass by pass: sums and differences at distance 1, 2, 4 and so on.
std::vector<float> in_passes(std::vector<float> x, const std::vector<float>& signs) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] *= signs[i];
    for (std::size_t half = 1; half < x.size(); half *= 2)
        for (std::size_t i = 0; i < x.size(); ++i)
            if ((i & half) == 0) {
                const float a = x[i], b = x[i + half];
                x[i] = a + b;
                x[i + half] = a - b;
            }
    return x;
}

std::vector<std::uint8_t> tables(const std::vector<float>& x, float inverse) {
    const Fenced<float> in(x);
    const Fenced<std::uint8_t> out(static_cast<std::int64_t>(4 * x.size()));
    kernels().residual_tables(in.data(), static_cast<std::int64_t>(x.size()), inverse, out.data());
    return out.copy();
}

/// What the signs p of four add to the least of their sums.
double above_least(const float* x, unsigned p) {
    double sum = 0, least = 0;
    for (int b = 0; b < 4; ++b) {
        sum += (p >> b & 1) != 0 ? double{x[b]} : -double{x[b]};
        least -= std::abs(double{x[b]});
    }
    return sum - least;
}

std::vector<std::uint32_t> up_to(const std::vector<float>& values, float limit) {
    const auto n = static_cast<std::int64_t>(values.size());
    const Fenced<float> in(values);
    const Fenced<std::uint32_t> hits(n + 16);
    const auto n_hits = kernels().collect_up_to(in.data(), n, limit, hits.data());
    REQUIRE(n_hits >= 0);
    REQUIRE(n_hits <= n);
    return {hits.data(), hits.data() + n_hits};
}

}  // namespace

TEST_CASE("residual kernels: hadamard is the product with the Hadamard matrix") {
    naive::Draw draw(1);
    for (std::int64_t n = 64; n <= kMaxBits; n *= 2) {
        CAPTURE(n);
        for (const float scale : {1.0f, 0.37f}) {
            const auto x = draw.reals(n), signs = scaled_signs(draw, n, scale);
            const Fenced<float> out(x), given(signs);
            kernels().hadamard(out.data(), given.data(), n);
            CHECK(naive::same_bits(out.copy(), in_passes(x, signs)));
            CHECK(given.copy() == signs);
            const auto exact = transformed(x, signs);
            double length = 0, worst = 0;
            for (std::size_t i = 0; i < x.size(); ++i) {
                length += double{x[i]} * double{x[i]} * double{scale} * double{scale};
                worst = std::max(worst, std::abs(double{out.data()[i]} - exact[i]));
            }
            CHECK(worst <= 1e-6 * std::log2(n) * std::sqrt(length));
        }
        const auto whole = draw.steps(n, 9), ones = scaled_signs(draw, n, 1);  // exact in float
        const Fenced<float> out(whole);
        kernels().hadamard(out.data(), ones.data(), n);
        const auto exact = transformed(whole, ones);
        CHECK(out.copy() == std::vector<float>(exact.begin(), exact.end()));
    }
}

TEST_CASE("residual kernels: entries of tables count from the least sum, rounded to nearest, ties to even") {
    naive::Draw draw(2);
    for (const std::int64_t n : {4, 8, 64, 260, 4096}) {
        CAPTURE(n);
        for (int round = 0; round < 20; ++round) {
            const auto x = draw.reals(n);
            double widest = 0;
            for (std::int64_t j = 0; j < n; j += 4) widest = std::max(widest, above_least(x.data() + j, 0) / 2);
            for (std::int64_t j = 0; j < n; j += 4) {  // the most of any signs: all as x is
                double sum = 0;
                for (std::int64_t b = j; b < j + 4; ++b) sum += std::abs(double{x[static_cast<std::size_t>(b)]});
                widest = std::max(widest, sum);
            }
            const auto inverse = static_cast<float>(31.5 / widest);
            const auto out = tables(x, inverse);
            bool near = true;
            int most = 0;
            for (std::size_t m = 0; 4 * m < x.size(); ++m)
                for (unsigned p = 0; p < 16; ++p) {
                    const int entry = out[16 * m + p];
                    near &= std::abs(above_least(x.data() + 4 * m, p) * double{inverse} - entry) < 0.5 + 1e-4;
                    most = std::max(most, entry);
                }
            CHECK(near);
            CHECK(most == 63);  // no entry is more than the widest four give, and they give just that
        }
        // Quarters times an eighth of a power of two: sums are exact, and many lie halfway.
        auto x = draw.steps(n, 7);
        for (std::size_t i = 0; i < x.size(); ++i)
            if (draw.below(5) == 0) x[i] = draw.below(2) == 0 ? 0.0f : -0.0f;
        int halfway = 0;
        for (const float inverse : {0.25f, 1.0f, 0.0f}) {
            std::vector<std::uint8_t> expected;
            for (std::size_t m = 0; 4 * m < x.size(); ++m)
                for (unsigned p = 0; p < 16; ++p) {
                    const double value = above_least(x.data() + 4 * m, p) * double{inverse};
                    halfway += value - std::floor(value) == 0.5;
                    expected.push_back(static_cast<std::uint8_t>(std::nearbyint(value)));
                }
            CHECK(tables(x, inverse) == expected);
        }
        CHECK(halfway > 0);
    }
    CHECK(tables(std::vector<float>(64, 0.0f), 0) == std::vector<std::uint8_t>(256, 0));
    CHECK(tables(std::vector<float>(64, -0.0f), 3) == std::vector<std::uint8_t>(256, 0));
}

TEST_CASE("residual kernels: tables in plain float loops, bit for bit") {
    naive::Draw draw(3);
    const auto x = draw.reals(40000);
    for (const float inverse : {0.11f, 0.41f, 0.77f}) {  // at most 63 with numbers below 16
        std::vector<std::uint8_t> expected;
        for (std::size_t m = 0; 4 * m < x.size(); ++m)
            for (unsigned p = 0; p < 16; ++p) {
                float adds[4];
                for (unsigned b = 0; b < 4; ++b) {
                    const float one = x[4 * m + b];
                    adds[b] = (p >> b & 1) != 0 ? std::max(2 * one, 0.0f) : std::max(-2 * one, 0.0f);
                }
                const float value = ((adds[0] + adds[1]) + (adds[2] + adds[3])) * inverse;
                expected.push_back(static_cast<std::uint8_t>(std::nearbyintf(value)));
            }
        CHECK(tables(x, inverse) == expected);
    }
}

TEST_CASE("residual kernels: estimates are the plain loop, bit for bit, and read no row too many") {
    naive::Draw draw(4);
    for (const std::int64_t n_tables : {16, 32, 48, 64, 112, 256, 1008, 1024})
        for (const std::int64_t n : {0, 1, 2, 7, 15, 16, 17, 30, 31, 32, 33, 40, 47, 48, 49, 63, 64, 65, 95, 100})
            for (const bool full : {false, true}) {  // all entries at their most: the sums must not wrap around
                CAPTURE(n_tables);
                CAPTURE(n);
                CAPTURE(full);
                const auto entries = full ? std::vector<std::uint8_t>(static_cast<std::size_t>(16 * n_tables), 63)
                                          : bytes(draw, 16 * n_tables, 63);
                const Fenced<std::uint8_t> given(entries), codes(bytes(draw, residual_bytes(n, 4 * n_tables), 255));
                const auto of_rows = draw.reals(2 * n);
                const Fenced<float> offsets(std::vector<float>(of_rows.begin(), of_rows.begin() + n)),
                    scales(std::vector<float>(of_rows.begin() + n, of_rows.end()));
                const Fenced<float> out(n);
                const float step = draw.real(), low = draw.real(), base = draw.real();
                std::vector<float> expected;
                for (std::int64_t i = 0; i < n; ++i) {
                    int sum = 0;
                    for (std::int64_t m = 0; m < n_tables; ++m) {
                        const int pair = codes.data()[i / 32 * n_tables * 16 + 16 * m + i % 16];
                        sum += entries[static_cast<std::size_t>(16 * m + (i % 32 < 16 ? pair % 16 : pair / 16))];
                    }
                    expected.push_back((base + offsets.data()[i]) -
                                       scales.data()[i] * (step * static_cast<float>(sum) + low));
                }
                kernels().residual_estimates(given.data(), n_tables, codes.data(), n, step, low, base, offsets.data(),
                                             scales.data(), out.data());
                CHECK(naive::same_bits(out.copy(), expected));
            }
}

TEST_CASE("residual kernels: collect_up_to names the values up to a limit, ascending, and no NaN") {
    naive::Draw draw(5);
    const float special[] = {kInfinity, -kInfinity, kNan, -kNan, 0.0f, -0.0f, 2.0f};
    for (std::int64_t n = 0; n <= 100; ++n)
        for (const int kind : {0, 1, 2}) {  // ties, numbers of any size, what is hardly a number
            CAPTURE(n);
            CAPTURE(kind);
            auto values = kind == 1 ? draw.reals(n) : draw.steps(n, 3);
            for (float& value : values)
                if (kind == 2 && draw.below(2) == 0) value = special[draw.below(std::size(special))];
            std::vector<float> limits = {kInfinity, -kInfinity, kNan, 0.0f, -0.0f, 2.0f, 1e-40f};
            if (n > 0) limits.push_back(values[draw.below(values.size())]);
            for (const float limit : limits) {
                CAPTURE(limit);
                std::vector<std::uint32_t> expected;
                for (std::size_t i = 0; i < values.size(); ++i)
                    if (values[i] <= limit) expected.push_back(static_cast<std::uint32_t>(i));
                CHECK(up_to(values, limit) == expected);
            }
        }
}

TEST_CASE("residual kernels: split_keys keeps the order on both sides of the pivot, in place too") {
    naive::Draw draw(6);
    for (std::int64_t n = 0; n <= 70; ++n)
        for (const std::uint64_t most : {std::uint64_t{3}, ~std::uint64_t{0}}) {
            CAPTURE(n);
            std::vector<std::uint64_t> keys;
            for (std::int64_t i = 0; i < n; ++i) keys.push_back(most == 3 ? draw.below(4) << 62 : draw.engine());
            std::vector<std::uint64_t> pivots = {0, 1, std::uint64_t{1} << 63, ~std::uint64_t{0}};
            if (n > 0) pivots.push_back(keys[draw.below(keys.size())]);
            for (const std::uint64_t pivot : pivots) {
                std::vector<std::uint64_t> low, high;
                for (const auto key : keys) (key <= pivot ? low : high).push_back(key);
                const auto n_low = static_cast<std::int64_t>(low.size());
                const Fenced<std::uint64_t> given(keys), first(n), second(n);
                for (const bool in_place : {false, true}) {  // last: it changes what was given
                    const auto& lower = in_place ? given : first;
                    REQUIRE(kernels().split_keys(given.data(), n, pivot, lower.data(), second.data()) == n_low);
                    CHECK(std::equal(low.begin(), low.end(), lower.data()));
                    CHECK(std::equal(high.begin(), high.end(), second.data()));
                }
            }
        }
}
