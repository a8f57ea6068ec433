// How much of the nearest an index with residual codes finds, and k-means as it is trained for one.

#include <doctest/doctest.h>

#include <array>

#include "lshcore/kmeans.h"
#include "naive_residual.h"

using namespace lshcore;
using naive::Answer;
using naive::Hit;

namespace {

std::vector<float> normals(naive::Draw& draw, std::int64_t n, float scale) {
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& value : values) {
        for (int i = 0; i < 12; ++i) value += static_cast<float>(draw.below(1u << 20)) * 0x1p-20f;
        value = (value - 6) * scale;
    }
    return values;
}

/// n rows in the space that these few axes span, where some are much nearer than others.
std::vector<float> spanned(naive::Draw& draw, View<const float> axes, std::int64_t n) {
    std::vector<float> rows(static_cast<std::size_t>(n * axes.cols));
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t a = 0; a < axes.rows; ++a) {
            const float weight = normals(draw, 1, 1)[0];
            for (std::int64_t j = 0; j < axes.cols; ++j)
                rows[static_cast<std::size_t>(i * axes.cols + j)] += weight * axes.row(a)[j];
        }
    return rows;
}

Answer brute(View<const float> rows, View<const float> queries, Rank rank, std::int64_t k) {
    Answer answer;
    for (std::int64_t q = 0; q < queries.rows; ++q) {
        std::vector<Hit> hits;
        for (Id i = 0; i < rows.rows; ++i)
            hits.push_back({rank == Rank::l2   ? naive::squared_l2(queries.row(q), rows.row(i), rows.cols)
                            : rank == Rank::ip ? -naive::dot(queries.row(q), rows.row(i), rows.cols)
                                               : naive::cosine(queries.row(q), rows.row(i), rows.cols),
                            i});
        for (const auto& hit : naive::top(hits, k, HUGE_VAL)) answer.hits.push_back(hit);
    }
    return answer;
}

SearchOptions options(Rank rank, std::int64_t probes, std::int64_t shortlist) {
    SearchOptions result;
    result.rank = rank;
    result.probes = probes;
    result.shortlist = shortlist;
    result.n_jobs = 2;
    return result;
}

}  // namespace

TEST_CASE("residual recall: it rises with probes and with the shortlist, and most is found with many of both") {
    naive::Draw draw(1);
    constexpr std::int64_t kRows = 5000, kQueries = 80, kDim = 90, kClusters = 64, kNearest = 10;
    const auto axes = normals(draw, 10 * kDim, 1);
    const auto rows = spanned(draw, naive::view(axes, 10), kRows),
               query_rows = spanned(draw, naive::view(axes, 10), kQueries);
    const auto queries = naive::view(query_rows, kQueries);
    KMeansOptions training;
    training.n_clusters = kClusters;
    training.random_seeds = true;
    training.max_iter = 10;
    const auto trained = kmeans(naive::view(rows, kRows), training);
    Index index(ClusterKeys(trained.centroids, kClusters, kDim, trained.spreads, std::vector<float>(kClusters, 1.0f)),
                0, kDim, VectorType::float32);
    index.add({}, naive::view(rows, kRows), nullptr, 2);
    for (const Rank rank : {Rank::l2, Rank::cosine, Rank::ip}) {
        CAPTURE(static_cast<int>(rank));
        const auto right = brute(naive::view(rows, kRows), queries, rank, kNearest);
        const auto recall = [&](std::int64_t probes, std::int64_t shortlist) {
            return naive::share_found(
                right, naive::answer(index, {{}, {}, queries}, options(rank, probes, shortlist), kNearest), kNearest);
        };
        std::vector<double> by_probes, by_shortlist;
        for (const std::int64_t probes : {1, 2, 4, 8, 16, 32, 64}) by_probes.push_back(recall(probes, 10 * kNearest));
        for (const std::int64_t shortlist : {1, 5, 10, 20, 50, 100, 500})
            by_shortlist.push_back(recall(kClusters, shortlist));
        for (const auto& found : {by_probes, by_shortlist}) {
            for (std::size_t i = 1; i < found.size(); ++i) CHECK(found[i] >= found[i - 1] - 0.005);
            CHECK(found.front() < 0.5);
            CHECK(found[4] > 0.95);
            CHECK(found.back() > 0.985);
        }
    }
}

TEST_CASE("residual recall: of many clusters those looked into are nearly all the nearest") {
    naive::Draw draw(2);
    constexpr std::int64_t kClusters = 500, kQueries = 60, kDim = 64, kProbes = 8;
    const auto axes = normals(draw, 6 * kDim, 1);
    const auto centroids = spanned(draw, naive::view(axes, 6), kClusters),
               query_rows = spanned(draw, naive::view(axes, 6), kQueries);
    const auto queries = naive::view(query_rows, kQueries);
    Index index(ClusterKeys(centroids, kClusters, kDim, std::vector<float>(kClusters), std::vector<float>(kClusters)),
                0, kDim, VectorType::float32);
    index.add({}, naive::view(centroids, kClusters), nullptr, 1);  // a row a cluster: it shows what was looked into
    for (const Rank rank : {Rank::l2, Rank::ip}) {
        const auto right = brute(naive::view(centroids, kClusters), queries, rank, kProbes);
        const auto found = naive::answer(index, {{}, {}, queries}, options(rank, kProbes, kClusters), kProbes);
        CHECK(naive::share_found(right, found, kProbes) > 0.98);
        CHECK(found.n_candidates == std::vector<std::int64_t>(kQueries, kProbes));
    }
}

TEST_CASE("residual recall: nearly all is found, too, where every row is on the far side") {
    naive::Draw draw(4);
    constexpr std::int64_t kRows = 1500, kQueries = 40, kDim = 60, kClusters = 10, kNearest = 10;
    auto rows = normals(draw, kRows * kDim, 1), query_rows = normals(draw, kQueries * kDim, 1);
    for (float& value : rows) value += 1.5f;
    for (float& value : query_rows) value -= 1.5f;  // all cosines are negative
    const std::vector<float> centroids(rows.begin(), rows.begin() + kClusters * kDim);
    const auto queries = naive::view(query_rows, kQueries);
    Index index(ClusterKeys(centroids, kClusters, kDim, std::vector<float>(kClusters, 60.0f),
                            std::vector<float>(kClusters, 1.0f)),
                0, kDim, VectorType::float32);
    index.add({}, naive::view(rows, kRows), nullptr, 2);
    for (const Rank rank : {Rank::l2, Rank::cosine, Rank::ip}) {
        CAPTURE(static_cast<int>(rank));
        const auto right = brute(naive::view(rows, kRows), queries, rank, kNearest);
        const auto found = naive::answer(index, {{}, {}, queries}, options(rank, kClusters, kRows), kNearest);
        CHECK(naive::share_found(right, found, kNearest) > 0.95);
    }
}

TEST_CASE("residual recall: k-means from random rows has the means of its clusters, and their spreads") {
    naive::Draw draw(3);
    const std::array<std::int64_t, 3> shapes[] = {{700, 3, 20}, {2000, 17, 5}, {300, 3, 150}, {40, 4, 40}, {50, 6, 1}};
    for (const auto& [n, d, k] : shapes)
        for (const bool spherical : {false, true}) {
            CAPTURE(n);
            CAPTURE(k);
            CAPTURE(spherical);
            auto x = draw.reals(n * d);
            for (std::int64_t i = 0; spherical && i < n; ++i) {
                const float scale = naive::inverse_norm(x.data() + i * d, d);
                for (std::int64_t j = 0; j < d; ++j) x[static_cast<std::size_t>(i * d + j)] *= scale;
            }
            const auto rows = naive::view(x, n);
            KMeansOptions with;
            with.n_clusters = k;
            with.seed = 11;
            with.random_seeds = true;
            with.spherical = spherical;
            with.max_iter = 0;
            const auto seeded = kmeans(rows, with);
            for (std::int64_t c = 0; c < k; ++c) {  // different rows, in their order
                const auto* seed = seeded.centroids.data() + c * d;
                std::int64_t row = 0;
                while (row < n && !std::equal(seed, seed + d, rows.row(row))) ++row;
                CHECK(row < n);
                for (std::int64_t other = 0; other < c; ++other)
                    CHECK_FALSE(std::equal(seed, seed + d, seeded.centroids.data() + other * d));
            }
            with.seed = 12;
            if (k > 1 && k < n) CHECK_FALSE(kmeans(rows, with).centroids == seeded.centroids);
            with.max_iter = 300;
            with.tol = 0;
            const auto result = kmeans(rows, with);
            for (const int n_jobs : {2, 8}) {
                with.n_jobs = n_jobs;
                const auto again = kmeans(rows, with);
                CHECK(naive::same_bits(again.centroids, result.centroids));
                CHECK(naive::same_bits(again.spreads, result.spreads));
                CHECK(again.labels == result.labels);
            }
            REQUIRE(result.rounds < 300);  // it converged
            REQUIRE(result.spreads.size() == static_cast<std::size_t>(k));
            double inertia = 0;
            for (std::int64_t c = 0; c < k; ++c) {
                std::vector<double> sums(static_cast<std::size_t>(d));
                double members = 0, squares = 0, length = 0;
                for (std::int64_t i = 0; i < n; ++i) {
                    if (result.labels[static_cast<std::size_t>(i)] != c) continue;
                    ++members;
                    for (std::int64_t j = 0; j < d; ++j) sums[static_cast<std::size_t>(j)] += double{rows.row(i)[j]};
                    squares += double{naive::squared_l2(rows.row(i), result.centroids.data() + c * d, d)};
                }
                REQUIRE(members > 0);
                for (double& sum : sums) sum /= members;
                for (const double sum : sums) length += sum * sum;
                for (std::int64_t j = 0; j < d; ++j) {
                    const double mean = sums[static_cast<std::size_t>(j)] / (spherical ? std::sqrt(length) : 1);
                    CHECK(double{result.centroids[static_cast<std::size_t>(c * d + j)]} ==
                          doctest::Approx(mean).epsilon(1e-6));
                }
                CHECK(double{result.spreads[static_cast<std::size_t>(c)]} ==
                      doctest::Approx(squares / members).epsilon(1e-6));
                inertia += squares;
            }
            CHECK(result.inertia == doctest::Approx(inertia));
        }
    // Stopped early, and with rows that are there more than once: spreads are those of the labels that are given.
    auto x = draw.steps(900 * 2, 4);
    for (const int rounds : {0, 1, 3, 50})
        for (const double tol : {0.0, 1e3}) {
            KMeansOptions with;
            with.n_clusters = 70;
            with.random_seeds = true;
            with.max_iter = rounds;
            with.tol = tol;
            const auto result = kmeans(naive::view(x, 900), with);
            std::vector<double> sums(70), counts(70);
            for (std::size_t i = 0; i < 900; ++i) {
                const auto c = static_cast<std::size_t>(result.labels[i]);
                sums[c] += double{naive::squared_l2(x.data() + 2 * i, result.centroids.data() + 2 * c, 2)};
                ++counts[c];
            }
            for (std::size_t c = 0; c < 70; ++c)
                CHECK(double{result.spreads[c]} == doctest::Approx(sums[c] / std::max(1.0, counts[c])).epsilon(1e-6));
        }
}
