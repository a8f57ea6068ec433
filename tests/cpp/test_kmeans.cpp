#include <doctest/doctest.h>

#include <array>
#include <set>
#include <stdexcept>

#include "lshcore/kmeans.h"
#include "naive.h"

using namespace lshcore;
using naive::view;

namespace {

KMeansOptions options(std::int64_t k, std::uint64_t seed, int max_iter = 25, double tol = 0) {
    KMeansOptions result;
    result.n_clusters = k;
    result.seed = seed;
    result.max_iter = max_iter;
    result.tol = tol;
    return result;
}

struct Assignment {
    std::vector<std::int32_t> labels;
    std::vector<float> distances;
    double inertia = 0;
};

Assignment assign(View<const float> x, View<const float> centroids) {
    Assignment result;
    for (std::int64_t i = 0; i < x.rows; ++i) {
        result.labels.push_back(naive::nearest_clusters(x.row(i), centroids)[0]);
        result.distances.push_back(naive::squared_l2(x.row(i), centroids.row(result.labels.back()), x.cols));
        result.inertia += result.distances.back();
    }
    return result;
}

/// One round of Lloyd's: means in double, in row order. No cluster may be empty.
std::vector<float> means(View<const float> x, const std::vector<std::int32_t>& labels, std::int64_t k) {
    std::vector<float> centroids;
    for (std::int64_t c = 0; c < k; ++c) {
        std::vector<double> sums(static_cast<std::size_t>(x.cols), 0.0);
        double n = 0;
        for (std::int64_t i = 0; i < x.rows; ++i) {
            if (labels[static_cast<std::size_t>(i)] != c) continue;
            ++n;
            for (std::int64_t j = 0; j < x.cols; ++j) sums[static_cast<std::size_t>(j)] += x.row(i)[j];
        }
        REQUIRE(n > 0);
        for (const double sum : sums) centroids.push_back(static_cast<float>(sum / n));
    }
    return centroids;
}

bool same(const KMeansResult& a, const KMeansResult& b) {
    return naive::same_bits(a.centroids, b.centroids) && a.labels == b.labels && a.inertia == b.inertia &&
           a.rounds == b.rounds;
}

/// n rows around k centres that lie far apart; row i belongs to centre i % k.
std::vector<float> blobs(naive::Draw& draw, std::int64_t n, std::int64_t k, std::int64_t d) {
    auto x = draw.reals(n * d);
    for (std::int64_t i = 0; i < n; ++i) x[static_cast<std::size_t>(i * d)] += static_cast<float>(500 * (i % k));
    return x;
}

}  // namespace

TEST_CASE("kmeans: assign_clusters gives the nearest centroid and its squared distance") {
    naive::Draw draw(1);
    for (const std::int64_t n : {0, 1, 255, 256, 600})
        for (const std::int64_t k : {1, 17, 70})
            for (const int n_jobs : {1, 2, 8}) {
                const std::int64_t d = 19;
                const auto x = draw.reals(n * d), centroids = draw.reals(k * d);
                const auto expected = assign({x.data(), n, d}, view(centroids, k));
                std::vector<std::int32_t> labels(static_cast<std::size_t>(n)), only_labels(labels.size());
                std::vector<float> distances(labels.size());
                assign_clusters({x.data(), n, d}, view(centroids, k), labels.data(), distances.data(), n_jobs);
                assign_clusters({x.data(), n, d}, view(centroids, k), only_labels.data(), nullptr, n_jobs);
                CHECK(labels == expected.labels);
                CHECK(only_labels == expected.labels);
                CHECK(naive::same_bits(distances, expected.distances));
            }
    const std::vector<float> four(4);
    CHECK_THROWS_AS(assign_clusters(view(four, 2), view(four, 1), nullptr, nullptr, 1), std::invalid_argument);
}

TEST_CASE("kmeans: from its seeds on it is Lloyd's algorithm in plain loops, bit for bit") {
    naive::Draw draw(2);
    const std::array<std::int64_t, 3> shapes[] = {{400, 5, 8}, {300, 300, 3}, {700, 2, 30}, {9000, 3, 5}};
    for (const auto& shape : shapes) {
        const std::int64_t n = shape[0], d = shape[1], k = shape[2];
        CAPTURE(n);
        CAPTURE(d);
        const auto x = draw.reals(n * d);
        const auto seeded = kmeans(view(x, n), options(k, 7, 0));
        CHECK(seeded.rounds == 0);
        auto centroids = seeded.centroids;
        for (std::int64_t c = 0; c < k; ++c) {  // each seed is a row
            bool is_row = false;
            for (std::int64_t i = 0; i < n && !is_row; ++i)
                is_row = std::equal(x.data() + i * d, x.data() + (i + 1) * d, centroids.data() + c * d);
            CHECK(is_row);
        }
        for (int rounds = 0; rounds <= 4; ++rounds) {
            CAPTURE(rounds);
            const auto expected = assign(view(x, n), view(centroids, k));
            const auto result = kmeans(view(x, n), options(k, 7, rounds));
            CHECK(naive::same_bits(result.centroids, centroids));
            CHECK(result.labels == expected.labels);
            CHECK(result.inertia == expected.inertia);
            centroids = means(view(x, n), expected.labels, k);
        }
    }
}

TEST_CASE("kmeans: the same bits for 1, 2 and 8 threads; other seeds give other clusters") {
    naive::Draw draw(3);
    constexpr std::int64_t kRows = 3000, kDim = 20;
    const auto x = draw.reals(kRows * kDim);
    auto with = options(25, 5, 25, 1e-4);
    const auto first = kmeans(view(x, kRows), with);
    CHECK(first.rounds >= 1);
    for (const int n_jobs : {1, 2, 8}) {
        with.n_jobs = n_jobs;
        CHECK(same(kmeans(view(x, kRows), with), first));
    }
    with.seed = 6;
    CHECK_FALSE(kmeans(view(x, kRows), with).centroids == first.centroids);
}

TEST_CASE("kmeans: clusters that lie apart are found, and its labels are those of its centroids") {
    naive::Draw draw(4);
    for (const std::int64_t k : {1, 2, 10}) {
        constexpr std::int64_t kRows = 500, kDim = 6;
        const auto x = blobs(draw, kRows, k, kDim);
        const auto result = kmeans(view(x, kRows), options(k, 1, 50));
        for (std::int64_t i = 0; i < kRows; ++i)
            CHECK(result.labels[static_cast<std::size_t>(i)] == result.labels[static_cast<std::size_t>(i % k)]);
        CHECK(std::set<std::int32_t>(result.labels.begin(), result.labels.end()).size() == static_cast<std::size_t>(k));
        CHECK(naive::same_bits(result.centroids, means(view(x, kRows), result.labels, k)));
    }
    const auto x = draw.reals(1000);
    const auto stopped = kmeans(view(x, 200), options(12, 1, 25, 1e3));  // by tol, long before it converged
    CHECK(stopped.rounds == 1);
    const auto expected = assign(view(x, 200), view(stopped.centroids, 12));
    CHECK(stopped.labels == expected.labels);
    CHECK(stopped.inertia == expected.inertia);
}

TEST_CASE("kmeans: inertia never rises from round to round, and the last one is reported") {
    naive::Draw draw(5);
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
        CAPTURE(seed);
        const std::int64_t k = 2 + static_cast<std::int64_t>(seed) * 6;
        auto x = seed % 2 == 0 ? draw.reals(600 * 4) : draw.steps(600 * 4, 3);
        if (seed % 4 >= 2)
            for (float& v : x) v += 1000;  // far from the origin, where |c|^2 - 2 <x, c> would lose its digits
        std::vector<double> inertias;
        auto with = options(k, seed, 40);
        with.on_round = [&](int round, double inertia) {
            CHECK(round == static_cast<int>(inertias.size()));
            inertias.push_back(inertia);
        };
        const auto result = kmeans(view(x, 600), with);
        CHECK(inertias.size() >= 2);
        for (std::size_t i = 1; i < inertias.size(); ++i)
            CHECK(inertias[i] <= inertias[i - 1] * (1 + 1e-6));  // centroids are rounded to float
        CHECK(result.inertia <= inertias.back());
        CHECK(result.rounds <= 40);
    }
}

TEST_CASE("kmeans: as many clusters as rows, and more clusters than different rows") {
    naive::Draw draw(6);
    const auto distinct = draw.reals(50 * 3);
    const auto each = kmeans(view(distinct, 50), options(50, 2));
    CHECK(each.inertia == 0);
    CHECK(std::set<std::int32_t>(each.labels.begin(), each.labels.end()).size() == 50);

    std::vector<float> repeated;  // four different rows, each fifteen times
    for (int i = 0; i < 60; ++i)
        for (int j = 0; j < 3; ++j) repeated.push_back(distinct[static_cast<std::size_t>(i % 4 * 3 + j)]);
    for (const std::int64_t k : {4, 5, 7, 60}) {
        CAPTURE(k);
        const auto first = kmeans(view(repeated, 60), options(k, 3));
        CHECK(first.inertia == 0);
        CHECK(std::set<std::int32_t>(first.labels.begin(), first.labels.end()).size() == 4);
        for (int i = 0; i < 60; ++i) {
            const auto label = first.labels[static_cast<std::size_t>(i)];
            CHECK(std::equal(repeated.begin() + i * 3, repeated.begin() + i * 3 + 3,
                             first.centroids.begin() + label * 3));
        }
        for (auto c = first.centroids.begin(); c != first.centroids.end(); c += 3)  // the spare ones are rows too
            CHECK(std::search(repeated.begin(), repeated.begin() + 12, c, c + 3) != repeated.begin() + 12);
        auto with = options(k, 3);
        with.n_jobs = 8;
        CHECK(same(kmeans(view(repeated, 60), with), first));
    }
}

TEST_CASE("kmeans: an empty cluster takes the row farthest from its own centroid") {
    std::vector<float> x(9000, 1.0f);  // more than the seeding looks at: now and then it sees no row but these
    x[4321] = 5.0f;
    int unseen = 0;
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        unseen += kmeans(view(x, 9000), options(2, seed, 0)).inertia > 0;
        CHECK(kmeans(view(x, 9000), options(2, seed, 1)).inertia == 0);
    }
    CHECK(unseen > 0);
}

TEST_CASE("kmeans: n_clusters is 1 to the number of rows") {
    const std::vector<float> x(12, 1.0f);
    for (const std::int64_t k : {-1, 0, 5}) CHECK_THROWS_AS(kmeans(view(x, 4), options(k, 0)), std::invalid_argument);
    CHECK_THROWS_AS(kmeans({x.data(), 4, 0}, options(2, 0)), std::invalid_argument);
    CHECK(kmeans(view(x, 4), options(1, 0)).centroids == std::vector<float>(3, 1.0f));
}
