#include <doctest/doctest.h>

#include <limits>
#include <stdexcept>
#include <string>

#include "lshcore/project.h"
#include "naive.h"

using namespace lshcore;
using naive::view;

namespace {

struct Layer {
    std::vector<float> x, weights, bias;
};

Layer layer(naive::Draw& draw, std::int64_t n, std::int64_t d, std::int64_t n_bits) {
    return {draw.reals(n * d), draw.reals(n_bits * d), draw.reals(n_bits)};
}

constexpr int kJobs[] = {1, 2, 8};

}  // namespace

TEST_CASE("project: margins are the plain sums plus the bias, and codes are their signs") {
    naive::Draw draw(1);
    for (const std::int64_t n : {0, 1, 63, 64, 65, 200})
        for (const std::int64_t d : {1, 16, 17, 50})
            for (const std::int64_t n_bits : {1, 63, 64, 65, 130}) {
                CAPTURE(n);
                CAPTURE(d);
                CAPTURE(n_bits);
                const auto [x, weights, bias] = layer(draw, n, d, n_bits);
                const int words = words_for(static_cast<int>(n_bits));
                std::vector<float> expected;
                std::vector<Word> signs(static_cast<std::size_t>(n * words), 0);
                for (std::int64_t i = 0; i < n; ++i)
                    for (std::int64_t j = 0; j < n_bits; ++j) {
                        expected.push_back(naive::dot(x.data() + i * d, weights.data() + j * d, d) +
                                           bias[static_cast<std::size_t>(j)]);
                        signs[static_cast<std::size_t>(i * words + j / 64)] |= Word{expected.back() >= 0} << (j % 64);
                    }
                for (const int n_jobs : kJobs) {
                    std::vector<float> margins(expected.size());
                    std::vector<Word> codes(signs.size(), ~Word{0});
                    project({x.data(), n, d}, view(weights, n_bits), bias.data(), margins.data(), n_jobs);
                    encode({x.data(), n, d}, view(weights, n_bits), bias.data(), codes.data(), n_jobs);
                    CHECK(naive::same_bits(margins, expected));
                    CHECK(codes == signs);
                }
            }
}

TEST_CASE("project: other numbers of columns are refused") {
    naive::Draw draw(2);
    const auto [x, weights, bias] = layer(draw, 4, 6, 3);
    std::vector<float> margins(12);
    std::vector<Word> codes(4);
    CHECK_THROWS_AS(project({x.data(), 4, 5}, view(weights, 3), bias.data(), margins.data(), 1), std::invalid_argument);
    CHECK_THROWS_AS(encode({x.data(), 4, 5}, view(weights, 3), bias.data(), codes.data(), 1), std::invalid_argument);
}

TEST_CASE("project: norms are taken in double; zero rows stay zero") {
    naive::Draw draw(3);
    for (const std::int64_t n : {0, 1, 64, 150})
        for (const std::int64_t d : {1, 3, 40}) {
            CAPTURE(n);
            CAPTURE(d);
            auto x = draw.reals(n * d);
            if (n > 1) std::fill_n(x.begin() + d, d, 0.0f);
            std::vector<float> inverse, unit;
            for (std::int64_t i = 0; i < n; ++i) {
                inverse.push_back(naive::inverse_norm(x.data() + i * d, d));
                for (std::int64_t j = 0; j < d; ++j)
                    unit.push_back(x[static_cast<std::size_t>(i * d + j)] * inverse.back());
            }
            for (const int n_jobs : kJobs) {
                std::vector<float> norms(inverse.size()), rows(unit.size());
                inverse_norms({x.data(), n, d}, norms.data(), n_jobs);
                normalize_rows({x.data(), n, d}, rows.data(), n_jobs);
                CHECK(naive::same_bits(norms, inverse));
                CHECK(naive::same_bits(rows, unit));
            }
        }
    // Squares that overflow or vanish in float: 3-4-5 triangles at both ends, and the smallest number there is.
    const std::vector<float> extreme = {3e15f, 4e15f, 3e-30f, 4e-30f, 0.0f, std::numeric_limits<float>::denorm_min()};
    std::vector<float> norms(3), rows(6);
    inverse_norms(view(extreme, 3), norms.data(), 1);
    normalize_rows(view(extreme, 3), rows.data(), 1);
    CHECK(norms[0] == doctest::Approx(2e-16).epsilon(1e-6));
    for (const std::size_t at : {0u, 2u}) {
        CHECK(rows[at] == doctest::Approx(0.6).epsilon(1e-6));
        CHECK(rows[at + 1] == doctest::Approx(0.8).epsilon(1e-6));
    }
    CHECK(std::isfinite(norms[2]));
    CHECK(std::isfinite(rows[5]));
}

TEST_CASE("project: check_finite names the first bad value, whatever the number of threads") {
    constexpr std::int64_t kRows = 5000, kCols = 7;
    naive::Draw draw(4);
    auto x = draw.reals(kRows * kCols);
    x[10] = kMaxMagnitude;
    x[11] = -kMaxMagnitude;
    for (const int n_jobs : kJobs) CHECK_NOTHROW(check_finite(view(x, kRows), "x", n_jobs));
    const float above = std::nextafter(kMaxMagnitude, std::numeric_limits<float>::infinity());
    const std::pair<float, const char*> bad[] = {{std::numeric_limits<float>::quiet_NaN(), "nan"},
                                                 {std::numeric_limits<float>::infinity(), "inf"},
                                                 {-above, "-1e+15"}};
    for (const std::int64_t row : {4999, 4000, 1024, 1023, 0})  // each is before those that went before it
        for (const auto& [value, text] : bad)
            for (const int n_jobs : kJobs) {
                CAPTURE(row);
                CAPTURE(n_jobs);
                x[static_cast<std::size_t>(row * kCols + 6)] = above;
                x[static_cast<std::size_t>(row * kCols + 2)] = value;
                const std::string expected = "margins: expected finite values of magnitude up to 1e15, got " +
                                             std::string(text) + " at row " + std::to_string(row) + ", column 2";
                CHECK_THROWS_WITH_AS(check_finite(view(x, kRows), "margins", n_jobs), expected.c_str(),
                                     std::invalid_argument);
            }
    CHECK_NOTHROW(check_finite({nullptr, 0, 3}, "x", 2));

    // A later block finds its bad row after an earlier block has found the first.
    constexpr std::int64_t kWide = 2000;  // so that both are under way by then
    std::vector<float> wide(2048 * kWide);
    wide[1000 * kWide + 1] = wide[2040 * kWide + 1] = above;
    for (int round = 0; round < 10; ++round)
        CHECK_THROWS_WITH_AS(check_finite(view(wide, 2048), "x", 2), doctest::Contains("row 1000,"),
                             std::invalid_argument);
}
