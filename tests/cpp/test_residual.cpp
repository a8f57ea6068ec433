// Residual codes: the rotation, what is coded of a row, and distances estimated from it.

#include <doctest/doctest.h>

#include <limits>
#include <numbers>
#include <stdexcept>

#include "lshcore/partition.h"
#include "lshcore/residual.h"
#include "naive.h"

using namespace lshcore;

namespace {

const std::int64_t kDims[] = {1, 3, 64, 65, 784, 4096};

std::vector<float> zeros(std::int64_t n) { return std::vector<float>(static_cast<std::size_t>(n)); }

std::vector<float> rotated(const Rotation& rotation, const std::vector<float>& x, const std::vector<float>& origin) {
    auto out = zeros(rotation.width());
    rotation.apply(x.data(), origin.data(), out.data());
    return out;
}

double inner(const std::vector<float>& a, const std::vector<float>& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0, std::plus<>(),
                              [](float x, float y) { return double{x} * double{y}; });
}

double squared_distance(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t j = 0; j < a.size(); ++j) sum += (double{a[j]} - double{b[j]}) * (double{a[j]} - double{b[j]});
    return sum;
}

/// Close to a normal distribution.
std::vector<float> normals(naive::Draw& draw, std::int64_t n, float scale = 1) {
    auto values = zeros(n);
    for (float& value : values) {
        for (int i = 0; i < 12; ++i) value += static_cast<float>(draw.below(1u << 20)) * 0x1p-20f;
        value = (value - 6) * scale;
    }
    return values;
}

std::vector<float> sum(std::vector<float> a, const std::vector<float>& b) {
    for (std::size_t j = 0; j < a.size(); ++j) a[j] += b[j];
    return a;
}

/// Sign j of a row, from where the header says it stands.
bool sign_at(const std::vector<std::uint8_t>& codes, std::int64_t row, std::int64_t width, std::int64_t j) {
    const std::int64_t block = row / 32, in_block = row % 32, m = j / 4;
    const auto byte = codes[static_cast<std::size_t>(block * 4 * width + 16 * m + in_block % 16)];
    return ((in_block < 16 ? byte & 15 : byte >> 4) >> (j % 4) & 1) != 0;
}

/// Rows coded under one centroid.
struct Coded {
    Rotation rotation;
    std::vector<float> centroid, mean;
    std::vector<std::vector<float>> rows;
    std::vector<std::uint8_t> codes;
    std::vector<float> offsets, scales;

    Coded(std::vector<float> its_centroid, std::vector<float> its_mean, std::vector<std::vector<float>> its_rows)
        : rotation(static_cast<std::int64_t>(its_mean.size())),
          centroid(std::move(its_centroid)),
          mean(std::move(its_mean)),
          rows(std::move(its_rows)),
          codes(static_cast<std::size_t>(residual_bytes(size(), rotation.width()))),
          offsets(rows.size()),
          scales(rows.size()) {
        ResidualEncoder encoder(rotation, mean.data());
        encoder.begin(mean.data());  // another one first: it must not matter
        encoder.begin(centroid.data());
        for (std::int64_t i = size(); i-- > 0;)
            encoder.encode(rows[static_cast<std::size_t>(i)].data(), i, codes.data(), offsets.data(), scales.data());
    }
    std::int64_t size() const { return static_cast<std::int64_t>(rows.size()); }
    ResidualRows view() const { return {codes.data(), offsets.data(), scales.data()}; }
};

/// The largest sum of four absolute values, in fours from the first on: 31.5 steps of a table.
double widest(const std::vector<float>& x) {
    double most = 0;
    for (std::size_t j = 0; j < x.size(); j += 4)
        most = std::max(most, std::abs(double{x[j]}) + std::abs(double{x[j + 1]}) + std::abs(double{x[j + 2]}) +
                                  std::abs(double{x[j + 3]}));
    return most;
}

}  // namespace

TEST_CASE("residual: a rotation keeps lengths and inner products, and is the same for equal dimensions") {
    naive::Draw draw(1);
    for (const std::int64_t dim : kDims) {
        CAPTURE(dim);
        const Rotation rotation(dim), again(dim);
        CHECK(rotation.dim() == dim);
        CHECK(rotation.width() == (dim <= 65 ? 256 : dim == 784 ? 1024 : 4096));
        const auto origin = draw.reals(dim), none = zeros(dim);
        std::vector<std::vector<float>> given = {draw.reals(dim), draw.reals(dim), none, zeros(dim)}, turned;
        given[3][static_cast<std::size_t>(dim - 1)] = -3;  // of one axis
        for (const auto& x : given) {
            turned.push_back(rotated(rotation, x, none));
            CHECK(naive::same_bits(rotated(again, x, none), turned.back()));
            auto shifted = x;
            for (std::size_t j = 0; j < x.size(); ++j) shifted[j] -= origin[j];
            CHECK(naive::same_bits(rotated(rotation, x, origin), rotated(rotation, shifted, none)));
        }
        CHECK(rotated(rotation, origin, origin) == zeros(rotation.width()));
        for (std::size_t a = 0; a < given.size(); ++a)
            for (std::size_t b = 0; b <= a; ++b) {
                const double size = std::sqrt(inner(given[a], given[a]) * inner(given[b], given[b]));
                CHECK(std::abs(inner(turned[a], turned[b]) - inner(given[a], given[b])) <= 1e-5 * size);
            }
        // Not only a copy.
        CHECK(std::abs(turned[3][static_cast<std::size_t>(dim - 1)]) < 2.5);
    }
    CHECK_THROWS_AS(Rotation(0), std::invalid_argument);
    CHECK_THROWS_AS(Rotation(-1), std::invalid_argument);
    CHECK_THROWS_AS(Rotation(4097), std::invalid_argument);
}

TEST_CASE("residual: coordinates of rotated vectors are spread as those of random ones") {
    for (const std::int64_t dim : {256, 1024, 4096}) {
        const Rotation rotation(dim);
        double fourth = 0, squares = 0, largest = 0;
        int n = 0;
        const auto take = [&](const std::vector<float>& x) {
            const double size = inner(x, x);
            for (const float value : rotated(rotation, x, zeros(dim))) {
                const double square = double{value} * double{value} / size * static_cast<double>(dim);
                squares += square;
                fourth += square * square;
                largest = std::max(largest, square);
                ++n;
            }
        };
        for (std::int64_t axis = 0; axis < dim; axis += dim / 64) {  // the vectors farthest from random ones
            auto x = zeros(dim);
            x[static_cast<std::size_t>(axis)] = 1;
            take(x);
            x[static_cast<std::size_t>(axis ^ 1)] = -1;
            take(x);
            std::fill(x.begin(), x.begin() + axis + 1, 2.0f);
            take(x);
        }
        CAPTURE(dim);
        CHECK(squares / n == doctest::Approx(1).epsilon(1e-4));
        CHECK(fourth / n == doctest::Approx(3).epsilon(0.05));  // of a normal distribution
        CHECK(largest < 40);
    }
}

TEST_CASE("residual: signs are those of the rotated residual, where the header says they stand") {
    naive::Draw draw(2);
    for (const std::int64_t dim : {3, 64, 100}) {
        const auto centroid = draw.reals(dim), mean = draw.reals(dim);
        std::vector<std::vector<float>> rows;
        for (int i = 0; i < 70; ++i) rows.push_back(i % 9 == 4 ? centroid : draw.reals(dim));
        const Coded coded(centroid, mean, rows);
        const std::int64_t width = coded.rotation.width();
        CHECK(coded.codes.size() == static_cast<std::size_t>(3 * 32 * width / 8));
        const auto shift = rotated(coded.rotation, centroid, mean);
        for (std::int64_t i = 0; i < coded.size(); ++i) {
            CAPTURE(i);
            const auto at = static_cast<std::size_t>(i);
            const auto residual = rotated(coded.rotation, rows[at], centroid);
            double size = 0, ones = 0, shifted = 0;
            bool right = true;
            for (std::int64_t j = 0; j < width; ++j) {
                const double value = double{residual[static_cast<std::size_t>(j)]};
                right &= sign_at(coded.codes, i, width, j) == (value >= 0);
                size += value * value;
                ones += std::abs(value);
                shifted += (value >= 0 ? 1 : -1) * double{shift[static_cast<std::size_t>(j)]};
            }
            CHECK(right);
            const double scale = ones > 0 ? size / ones : 0;
            CHECK(double{coded.scales[at]} == doctest::Approx(scale).epsilon(1e-5));
            CHECK(std::abs(double{coded.offsets[at]} - (size + 2 * scale * shifted)) <=
                  1e-5 * (size + 2 * scale * std::sqrt(static_cast<double>(width) * inner(shift, shift))));
        }
        bool unused = true;  // of the last block
        for (std::int64_t i = coded.size(); i < 96; ++i)
            for (std::int64_t j = 0; j < width; ++j) unused &= !sign_at(coded.codes, i, width, j);
        CHECK(unused);
    }
}

TEST_CASE("residual: signs are copied from any place to any other, and nothing else is touched") {
    naive::Draw draw(3);
    constexpr std::int64_t kRows = 80, kWidth = 64;
    std::vector<std::uint8_t> from(static_cast<std::size_t>(residual_bytes(kRows, kWidth)));
    for (auto& byte : from) byte = static_cast<std::uint8_t>(draw.below(256));
    const auto kept = from;
    for (std::int64_t a = 0; a < kRows; ++a)
        for (std::int64_t b = 0; b < kRows; ++b) {
            std::vector<std::uint8_t> to(from.size()), expected(from.size());
            for (std::size_t i = 0; i < to.size(); ++i) to[i] = static_cast<std::uint8_t>(draw.below(256));
            const auto at = static_cast<std::size_t>(b / 32 * kWidth * 4 + b % 16);
            for (std::size_t m = 0; m < kWidth / 4; ++m) to[at + 16 * m] &= b % 32 < 16 ? 0xf0 : 0x0f;  // all zero
            expected = to;
            copy_residual(from.data(), a, to.data(), b, kWidth);
            bool same = true;
            for (std::int64_t j = 0; j < kWidth; ++j) same &= sign_at(to, b, kWidth, j) == sign_at(from, a, kWidth, j);
            for (std::size_t m = 0; m < kWidth / 4; ++m) to[at + 16 * m] &= b % 32 < 16 ? 0xf0 : 0x0f;
            same &= to == expected;
            if (!same) {
                CAPTURE(a);
                CAPTURE(b);
                CHECK(same);
            }
        }
    CHECK(from == kept);
}

TEST_CASE("residual: an estimate is what the header says, but for the rounding of the tables") {
    naive::Draw draw(4);
    ResidualQuery query;  // one for all: it is used again
    for (const std::int64_t dim : {100, 3, 64, 784}) {
        CAPTURE(dim);
        const auto mean = draw.reals(dim), centroid = sum(mean, draw.reals(dim));
        std::vector<std::vector<float>> rows;
        for (int i = 0; i < 107; ++i) rows.push_back(sum(centroid, i % 3 == 0 ? zeros(dim) : draw.reals(dim)));
        const Coded coded(centroid, mean, rows);
        const std::int64_t width = coded.rotation.width();
        for (const int kind : {0, 1, 2, 3}) {  // any, the mean itself, nearly an axis of the rotated space, far away
            auto q = kind == 1 ? mean : draw.reals(dim);
            if (kind == 2)
                for (std::size_t j = 1; j < q.size(); ++j) q[j] = mean[j];
            if (kind == 3)
                for (float& value : q) value *= 1e6f;
            query.prepare(coded.rotation, q.data(), mean.data());
            const auto turned = rotated(coded.rotation, q, mean);
            const double step = 4 * widest(turned) / 63;  // of <signs, turned> times 2; an entry is half a step off
            const float base = 3.5f, surplus = kind % 2 == 0 ? 0.0f : 1.25f;
            for (const std::int64_t first : {0, 32, 64, 96})
                for (const std::int64_t n : {std::int64_t{1}, std::int64_t{11}, 107 - first}) {
                    auto out = zeros(n);
                    query.estimate(coded.view(), first, n, base, surplus, out.data());
                    bool near = true;
                    for (std::int64_t i = 0; i < n; ++i) {
                        const auto row = static_cast<std::size_t>(first + i);
                        double product = 0;
                        for (std::int64_t j = 0; j < width; ++j)
                            product += (sign_at(coded.codes, first + i, width, j) ? 1 : -1) *
                                       double{turned[static_cast<std::size_t>(j)]};
                        const double scale = double{coded.scales[row]}, inside = 2 * product + double{surplus};
                        const double exact = double{base} + double{coded.offsets[row]} - scale * inside;
                        const double most = static_cast<double>(width) / 4 * step;  // that the sums come to
                        const double off = std::abs(double{out[static_cast<std::size_t>(i)]} - exact);
                        near &= off <= scale * most / 2 + 1e-5 * (std::abs(exact) + scale * most + double{base});
                    }
                    CHECK(near);
                }
        }
    }
}

TEST_CASE("residual: estimates are unbiased, and off by what kSurplus reckons with") {
    naive::Draw draw(5);
    for (const std::int64_t dim : {40, 128, 784}) {
        CAPTURE(dim);
        const auto mean = normals(draw, dim, 4), centroid = sum(mean, normals(draw, dim, 2));
        std::vector<std::vector<float>> rows;
        for (int i = 0; i < 320; ++i) rows.push_back(sum(centroid, normals(draw, dim, i % 2 == 0 ? 1 : 0.3f)));
        const Coded coded(centroid, mean, rows);
        double errors = 0, squares = 0, above = 0, n = 0;
        for (int round = 0; round < 40; ++round) {
            const auto q = sum(centroid, normals(draw, dim, round % 4 == 0 ? 0.5f : 1.5f));
            const double distance = squared_distance(q, centroid);
            ResidualQuery query;
            query.prepare(coded.rotation, q.data(), mean.data());
            auto plain = zeros(coded.size()), bound = plain;
            const auto base = static_cast<float>(distance);
            const float surplus = 1.9f * 2 * 0.6028f * std::sqrt(base);
            query.estimate(coded.view(), 0, coded.size(), base, 0, plain.data());
            query.estimate(coded.view(), 0, coded.size(), base, surplus, bound.data());
            for (std::size_t i = 0; i < rows.size(); ++i) {
                const double exact = squared_distance(rows[i], q);
                const double unit = 2 * double{coded.scales[i]} * std::sqrt(distance * (1 - 2 / std::acos(-1.0)));
                const double error = (double{plain[i]} - exact) / unit;
                errors += error;
                squares += error * error;
                above += double{bound[i]} > exact;
                ++n;
            }
        }
        CHECK(std::abs(errors / n) < 0.06);
        CHECK(std::sqrt(squares / n) == doctest::Approx(1).epsilon(0.08));
        CHECK(above / n == doctest::Approx(0.0287).epsilon(0.35));  // a normal variable above 1.9
    }
}

TEST_CASE("residual: bounds are above the distance as seldom as their deviations say, near the cluster and far") {
    naive::Draw draw(9);
    for (const std::int64_t dim : {128, 784})
        for (const float from_centroid : {0.02f, 0.3f, 2.0f}) {  // the nearest with tables of twice the digits
            CAPTURE(dim);
            CAPTURE(from_centroid);
            const auto mean = normals(draw, dim, 4), centroid = sum(mean, normals(draw, dim, 2));
            std::vector<std::vector<float>> rows;
            for (int i = 0; i < 320; ++i) rows.push_back(sum(centroid, normals(draw, dim, i % 2 == 0 ? 1 : 0.3f)));
            const Coded coded(centroid, mean, rows);
            ResidualQuery query;
            double above[3] = {}, n = 0;
            for (int round = 0; round < 40; ++round) {
                const auto q = sum(centroid, normals(draw, dim, from_centroid));
                query.prepare(coded.rotation, q.data(), mean.data());
                const auto distance = static_cast<float>(squared_distance(q, centroid));
                for (int d = 0; d < 3; ++d) {  // 0, 1 and 2 standard deviations
                    auto out = zeros(coded.size()), later = zeros(coded.size() - 64);
                    query.bound(coded.view(), 0, coded.size(), distance, static_cast<float>(d), out.data());
                    query.bound(coded.view(), 64, coded.size() - 64, distance, static_cast<float>(d), later.data());
                    CHECK(std::equal(later.begin(), later.end(), out.begin() + 64));
                    for (std::size_t i = 0; i < rows.size(); ++i)
                        above[d] += double{out[i]} > squared_distance(rows[i], q);
                }
                n += static_cast<double>(rows.size());
            }
            CHECK(std::abs(above[0] / n - 0.5) < 0.15);
            CHECK(std::abs(above[1] / n - 0.1587) < 0.07);
            CHECK(std::abs(above[2] / n - 0.0228) < 0.02);
        }
}

TEST_CASE("residual: rows that are their centroid are estimated exactly") {
    naive::Draw draw(6);
    for (const std::int64_t dim : kDims) {
        CAPTURE(dim);
        const auto mean = draw.reals(dim), centroid = draw.reals(dim);
        std::vector<std::vector<float>> rows(40, centroid);
        const Coded coded(centroid, mean, rows);
        CHECK(coded.scales == zeros(40));
        CHECK(coded.offsets == zeros(40));
        ResidualQuery query;
        const auto q = draw.reals(dim);
        query.prepare(coded.rotation, q.data(), mean.data());
        auto out = zeros(40);
        const float distance = naive::squared_l2(q.data(), centroid.data(), dim);
        query.estimate(coded.view(), 0, 40, distance, 2.5f, out.data());
        CHECK(out == std::vector<float>(40, distance));
    }
}

TEST_CASE("residual: centroids are coded as residuals of their mean") {
    naive::Draw draw(7);
    constexpr std::int64_t kDim = 300, kClusters = 90;
    const auto mean = normals(draw, kDim, 3);
    std::vector<float> centroids;
    for (std::int64_t c = 0; c < kClusters; ++c)
        for (const float value : sum(mean, normals(draw, kDim))) centroids.push_back(value);
    std::vector<float> spreads, sizes;
    double rows = 0, spread = 0;  // of all
    for (std::int64_t c = 0; c < kClusters; ++c) {
        spreads.push_back(static_cast<float>(draw.below(100)));
        sizes.push_back(static_cast<float>(draw.below(40)));
        rows += double{sizes.back()};
        spread += double{sizes.back()} * double{spreads.back()};
    }
    const ResidualCentroids coded(naive::view(centroids, kClusters), mean.data(), spreads, sizes);
    CHECK(coded.rotation.dim() == kDim);
    const auto q = sum(mean, normals(draw, kDim));
    ResidualQuery query;
    query.prepare(coded.rotation, q.data(), mean.data());
    auto out = zeros(kClusters);
    const double base = squared_distance(q, mean);
    for (const bool by_product : {false, true}) {
        query.estimate(coded.rows(by_product), 0, kClusters, static_cast<float>(base), 0, out.data());
        for (std::int64_t c = 0; c < kClusters; ++c) {
            const auto at = static_cast<std::size_t>(c);
            const std::vector<float> row(centroids.begin() + c * kDim, centroids.begin() + (c + 1) * kDim);
            // Wide and large clusters wait, and for products so do those whose rows are short.
            double added =
                0.2 * double{spreads[at]} + 0.05 * spread / rows * std::log(std::max(1.0, double{sizes[at]}));
            if (by_product) added -= double{naive::dot(row.data(), row.data(), kDim)} + double{spreads[at]};
            CHECK(double{coded.added[by_product][at]} == doctest::Approx(added).epsilon(1e-5));
            const double off = double{out[at]} - squared_distance(row, q) - added;
            CHECK(std::abs(off) < 5 * double{coded.scales[at]} * double{query.deviation()});
        }
    }
    CHECK(double{query.deviation()} ==
          doctest::Approx(2 * std::sqrt(1 - 2 / std::numbers::pi) * std::sqrt(base)).epsilon(1e-3));
    double scales = 0;
    for (const float scale : coded.scales) scales += double{scale};
    CHECK(double{coded.scale} == doctest::Approx(scales / kClusters).epsilon(1e-4));
}

TEST_CASE("residual: ClusterKeys take a spread and a size for each cluster, or none") {
    naive::Draw draw(8);
    const auto centroids = draw.reals(12);
    const ClusterKeys plain(centroids, 4, 3), coded(centroids, 4, 3, {1, 0, 2, 3}, {5, 6, 0, 1});
    CHECK(plain.residuals() == nullptr);
    REQUIRE(coded.residuals() != nullptr);
    CHECK(coded.residuals()->rotation.dim() == 3);
    const ClusterKeys empty(centroids, 4, 3, {1, 0, 2, 3}, {0, 0, 0, 0});  // of clusters that nothing is known of
    CHECK(naive::same_bits(empty.residuals()->added[0], std::vector<float>{0.2f, 0, 0.4f, 0.6f}));
    for (const std::size_t n : {0, 1, 3, 5, 12}) {
        const std::vector<float> some(n, 1.0f), four(4, 1.0f);
        if (n > 0)
            CHECK_THROWS_WITH_AS(ClusterKeys(centroids, 4, 3, some, four), doctest::Contains("a spread"),
                                 std::invalid_argument);
        CHECK_THROWS_WITH_AS(ClusterKeys(centroids, 4, 3, four, some), doctest::Contains("a size"),
                             std::invalid_argument);
    }
    const std::vector<float> wide(4097);
    CHECK(ClusterKeys(wide, 1, 4097).dim() == 4097);
    CHECK_THROWS_AS(ClusterKeys(wide, 1, 4097, {0}, {1}), std::invalid_argument);
}
