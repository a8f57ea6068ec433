#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "lshcore/random.h"

using lshcore::Random;

namespace {

struct Pinned {
    std::uint64_t seed;
    std::array<std::uint64_t, 6> words;
    std::array<double, 6> gaussians;
};

// From a separate program in Python (integers modulo 2^64, IEEE doubles); the words of seed 0 are also those of the
// Rust crate rand_xoshiro, Xoshiro256PlusPlus::seed_from_u64(0).
const Pinned kPinned[] = {
    {0,
     {0x53175d61490b23df, 0x61da6f3dc380d507, 0x5c0fdf91ec9a7bfc, 0x02eebf8c3bbe5e1a, 0x7eca04ebaf4a5eea,
      0x0543c37757f08d9a},
     {-0x1.8a8af17f2fe67p+0, -0x1.08da2bc24f66ep+0, -0x1.08d7cb6a3955dp-8, -0x1.a373ec4a72f01p-2, 0x1.c958a80b0b8e6p-4,
      0x1.ba5191ad1de9ap-4}},
    {1,
     {0xcfc5d07f6f03c29b, 0xbf424132963fe08d, 0x19a37d5757aaf520, 0xbf08119f05cd56d6, 0x2f47184b86186fa4,
      0x97299fcae7202345},
     {0x1.7fe2b6e80acbfp-1, 0x1.306aac6d7be1ep-1, -0x1.b4f02841c1196p-2, 0x1.0d0e2ada3c016p-2, -0x1.3f7ed083decfap+0,
      0x1.6eb4cce00ff41p-2}},
};

}  // namespace

TEST_CASE("random: the first words and Gaussians of a seed never change") {
    for (const Pinned& pinned : kPinned) {
        CAPTURE(pinned.seed);
        Random words(pinned.seed), gaussians(pinned.seed);
        for (const auto word : pinned.words) CHECK(words.next() == word);
        for (const auto value : pinned.gaussians) CHECK(gaussians.gaussian() == value);
    }
}

TEST_CASE("random: uniform is the upper 53 bits of a word") {
    Random words(7), uniforms(7);
    for (int i = 0; i < 1000; ++i) {
        const double u = uniforms.uniform();
        CHECK(u == std::ldexp(static_cast<double>(words.next() >> 11), -53));
        CHECK(u < 1.0);
    }
}

TEST_CASE("random: below covers its range without bias") {
    Random random(3);
    for (const std::uint64_t n : {1u, 2u, 3u, 10u, 97u}) {
        std::vector<double> counts(n, 0.0);
        const int draws = 20000;
        for (int i = 0; i < draws; ++i) ++counts.at(random.below(n));
        double chi2 = 0;
        const double expected = static_cast<double>(draws) / static_cast<double>(n);
        for (const double count : counts) chi2 += (count - expected) * (count - expected) / expected;
        const double dof = static_cast<double>(n - 1);
        CHECK(chi2 <= dof + 4 * std::sqrt(2 * dof));  // four standard deviations
    }
    // 2^64 modulo 3 * 2^62 is 2^62: a bare remainder would give the lowest third of the range half of the draws.
    const std::uint64_t third = std::uint64_t{1} << 62;
    int low = 0;
    for (int i = 0; i < 10000; ++i) {
        const auto value = random.below(3 * third);
        CHECK(value < 3 * third);
        low += value < third;
    }
    CHECK(std::abs(low / 10000.0 - 1.0 / 3) < 0.02);
}

TEST_CASE("random: the Gaussian is the polar method with a correct logarithm") {
    Random random(11), twin(11);
    for (int i = 0; i < 50000; ++i) {
        double u = 0, v = 0, s = 0;
        do {
            u = 2 * twin.uniform() - 1;
            v = 2 * twin.uniform() - 1;
            s = u * u + v * v;
        } while (s >= 1 || s == 0);
        const double factor = std::sqrt(-2 * std::log(s) / s);
        CHECK(std::abs(random.gaussian() - u * factor) <= 1e-14 * std::abs(u * factor));
        CHECK(std::abs(random.gaussian() - v * factor) <= 1e-14 * std::abs(v * factor));
    }
}

TEST_CASE("random: Gaussians have the moments and the distribution of N(0, 1)") {
    constexpr int n = 200000;
    for (const std::uint64_t seed : {0u, 1u, 2u}) {
        CAPTURE(seed);
        Random random(seed);
        std::vector<double> x(n);
        double lagged = 0, moments[5] = {};
        for (int i = 0; i < n; ++i) {
            x[static_cast<std::size_t>(i)] = random.gaussian();
            double power = 1;
            for (double& moment : moments) {
                moment += power / n;
                power *= x[static_cast<std::size_t>(i)];
            }
            if (i > 0) lagged += x[static_cast<std::size_t>(i)] * x[static_cast<std::size_t>(i - 1)] / n;
        }
        const double sigma = 1 / std::sqrt(static_cast<double>(n));  // times the deviation of each power: 4.5 of them
        CHECK(std::abs(moments[1]) < 4.5 * sigma);
        CHECK(std::abs(moments[2] - 1) < 4.5 * std::sqrt(2.0) * sigma);
        CHECK(std::abs(moments[3]) < 4.5 * std::sqrt(15.0) * sigma);
        CHECK(std::abs(moments[4] - 3) < 4.5 * std::sqrt(96.0) * sigma);
        CHECK(std::abs(lagged) < 4.5 * sigma);  // a pair shares its radius, not its direction

        std::sort(x.begin(), x.end());
        double gap = 0;  // Kolmogorov and Smirnov's
        for (int i = 0; i < n; ++i) {
            const double cdf = 0.5 * std::erfc(-x[static_cast<std::size_t>(i)] / std::sqrt(2.0));
            gap = std::max({gap, cdf - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - cdf});
        }
        CHECK(gap < 1.95 * sigma);  // exceeded once in a thousand
    }
}
