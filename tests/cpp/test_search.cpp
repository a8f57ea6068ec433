// Index::search, candidates and evaluate (cpp/src/search.cpp).

#include <doctest/doctest.h>

#include <stdexcept>

#include "naive_index.h"

using namespace lshcore;
using naive::Case;
using naive::Hit;
using naive::World;

namespace {

constexpr Rank kAllRanks[] = {Rank::hamming, Rank::cosine, Rank::l2};
constexpr auto kRows = World::kRows, kQueries = World::kQueries, kDim = World::kDim;

}  // namespace

TEST_CASE("search: brute force over the candidates, in one segment or several, with any number of threads") {
    const World world(1);
    for (const Case& one : world.cases()) {
        const auto whole = world.index(one.partitioner, {kRows}),
                   parts = world.index(one.partitioner, {1, 150, 64, 115});
        CHECK(parts->n_segments() == 4);
        for (const auto probes : one.probes)
            for (const Rank rank : kAllRanks)
                for (const std::int64_t k : {std::int64_t{1}, std::int64_t{7}, kRows + 3}) {
                    CAPTURE(one.name);
                    CAPTURE(probes);
                    CAPTURE(static_cast<int>(rank));
                    CAPTURE(k);
                    SearchOptions options{rank, probes, 1};
                    const auto expected = world.brute(one, options, k);
                    for (const int n_jobs : {1, 2, 8}) {
                        options.n_jobs = n_jobs;
                        CHECK(world.search(*whole, options, k) == expected);
                        CHECK(world.search(*parts, options, k) == expected);
                    }
                }
    }
}

TEST_CASE("search: candidates are the ids of the union, ascending") {
    const World world(2);
    for (const Case& one : world.cases()) {
        CAPTURE(one.name);
        const auto index = world.index(one.partitioner, {200, 130});
        std::vector<std::int64_t> offsets, expected_offsets = {0};
        std::vector<Id> ids, expected;
        for (std::int64_t q = 0; q < kQueries; ++q) {
            for (const auto row : world.candidates(one, one.probes[0], q))
                expected.push_back(world.ids[static_cast<std::size_t>(row)]);
            std::sort(expected.begin() + expected_offsets.back(), expected.end());
            expected_offsets.push_back(static_cast<std::int64_t>(expected.size()));
        }
        CHECK(expected.size() > static_cast<std::size_t>(kQueries));  // the queries do meet rows
        for (const int n_jobs : {1, 2, 8}) {
            index->candidates(world.queries(), {Rank::hamming, one.probes[0], n_jobs}, offsets, ids);
            CHECK(offsets == expected_offsets);
            CHECK(ids == expected);
        }
    }
}

TEST_CASE("search: the top k is a prefix of the top k'") {
    const World world(3);
    for (const Case& one : world.cases()) {
        const auto index = world.index(one.partitioner, {200, 130});
        for (const Rank rank : kAllRanks) {
            const SearchOptions options{rank, one.probes.back(), 1};
            const auto more = world.search(*index, options, 200);
            for (const std::int64_t k : {1, 2, 10, 64, 199}) {
                CAPTURE(one.name);
                CAPTURE(k);
                const auto some = world.search(*index, options, k);
                bool prefix = true;
                for (std::int64_t q = 0; q < kQueries; ++q)
                    prefix &= std::equal(some.hits.begin() + q * k, some.hits.begin() + (q + 1) * k,
                                         more.hits.begin() + q * 200);
                CHECK(prefix);
            }
        }
    }
}

TEST_CASE("search: evaluate ranks each candidate list as the definitions say") {
    World world(4);
    std::vector<std::int64_t> mine, theirs;
    for (std::int64_t q = 0; q < kQueries; ++q) mine.push_back(static_cast<std::int64_t>(world.draw.below(5)));
    for (std::int64_t row = 0; row < kRows; ++row) theirs.push_back(static_cast<std::int64_t>(world.draw.below(4)));
    const auto query_labels = Labels::single(mine), labels = Labels::single(theirs);
    for (const Case& one : world.cases()) {
        const auto index = world.index(one.partitioner, {30, 300});
        for (const Rank rank : kAllRanks)
            for (const bool stable : {false, true}) {
                CAPTURE(one.name);
                CAPTURE(static_cast<int>(rank));
                CAPTURE(stable);
                const RankingAccumulator empty({1, 10, 50}, {5, 20}, rank == Rank::hamming ? World::kBits : 0, stable);
                auto expected = empty;
                for (std::int64_t q = 0; q < kQueries; ++q) {
                    const auto relevant = [&](std::int64_t row) {
                        return theirs[static_cast<std::size_t>(row)] == mine[static_cast<std::size_t>(q)];
                    };
                    std::vector<std::pair<Hit, std::int64_t>> order;  // by distance, then id
                    for (const auto row : world.candidates(one, one.probes[0], q))
                        order.push_back({world.hit(rank, q, row), row});
                    std::sort(order.begin(), order.end());
                    std::vector<TieGroup> groups;
                    for (const auto& [hit, row] : order) {
                        const auto distance = static_cast<float>(hit.first);
                        if (stable || groups.empty() || groups.back().distance != distance)
                            groups.push_back({distance, 0, 0});
                        ++groups.back().n;
                        groups.back().relevant += relevant(row);
                    }
                    std::int64_t R = 0;
                    for (std::int64_t row = 0; row < kRows; ++row) R += relevant(row);
                    expected.add(expected.evaluate(groups, R));
                }
                for (const int n_jobs : {1, 2, 8}) {
                    auto acc = empty;
                    index->evaluate(acc, world.queries(), {rank, one.probes[0], n_jobs}, query_labels, labels);
                    CHECK(acc.means() == expected.means());
                    CHECK(acc.candidates() == expected.candidates());
                }
            }
    }
    const auto index = world.index(OneBucket{}, {kRows});
    RankingAccumulator other({1}, {}, 8, false), right({1}, {}, 0, false);
    const auto refused = [&](RankingAccumulator& acc, const Labels& ours, const Labels& gallery) {
        CHECK_THROWS_AS(index->evaluate(acc, world.queries(), {Rank::l2, 1, 1}, ours, gallery), std::invalid_argument);
        CHECK(acc.n_queries() == 0);
    };
    refused(other, query_labels, labels);
    refused(right, labels, labels);
    refused(right, query_labels, query_labels);
}

TEST_CASE("search: what an index cannot answer is refused, and an empty one answers") {
    const World world(5);
    const auto codes = world.query_code_view();
    const auto vectors = world.query_vector_view();
    const auto cases = world.cases();
    const Index flat(OneBucket{}, World::kBits, kDim, VectorType::float32),
        bits(cases[1].partitioner, World::kBits, kDim, VectorType::float32),
        clusters(cases.back().partitioner, World::kBits, kDim, VectorType::float32),
        only_codes(OneBucket{}, World::kBits, 0, VectorType::none),
        only_vectors(OneBucket{}, 0, kDim, VectorType::float32);
    const auto refused = [&](const Index& index, View<const Word> c, View<const float> v, std::int64_t k,
                             SearchOptions options, const char* why) {
        std::vector<float> distances(kQueries);
        std::vector<Id> ids(kQueries);
        std::vector<std::int64_t> n(kQueries);
        std::vector<StageTimes> times(kQueries);
        CHECK_THROWS_WITH_AS(index.search({c, {}, v}, k, options, distances.data(), ids.data(), n.data(), times.data()),
                             doctest::Contains(why), std::invalid_argument);
    };
    refused(flat, codes, vectors, 0, {Rank::l2, 1, 1}, "k must be at least 1");
    refused(flat, codes, vectors, 1, {Rank::l2, 2, 1}, "probes from 1 to 1, got 2");
    refused(bits, codes, vectors, 1, {Rank::l2, 2, 1}, "probes from 3, got 2");
    refused(bits, {}, vectors, 1, {Rank::l2, 3, 1}, "query codes are needed");
    refused(bits, {codes.data, kQueries, 1}, vectors, 1, {Rank::l2, 3, 1}, "2 words");
    refused(clusters, codes, {}, 1, {Rank::hamming, 1, 1}, "query vectors are needed");
    refused(clusters, codes, vectors, 1, {Rank::l2, 0, 1}, "probes from 1 to 7, got 0");
    refused(clusters, codes, vectors, 1, {Rank::l2, World::kClusters + 1, 1}, "got 8");
    refused(flat, codes, {vectors.data, kQueries, kDim - 1}, 1, {Rank::cosine, 1, 1}, "5 columns, got 4");
    refused(flat, codes, {vectors.data, kQueries - 1, kDim}, 1, {Rank::cosine, 1, 1}, "as many");
    refused(only_codes, codes, vectors, 1, {Rank::cosine, 1, 1}, "keeps vectors");
    refused(only_vectors, codes, vectors, 1, {Rank::hamming, 1, 1}, "with codes");
    refused(flat, codes, vectors, 1, {Rank::hamming, 1, 1}, "Hamming distances are uint16");
    refused(flat, codes, vectors, 1, {Rank::l2, 1, 1, 2}, "only keys made of bits have a radius");
    refused(flat, codes, vectors, 1, {Rank::l2, 1, 1, -1, -1}, "shortlist must not be negative");
    refused(only_vectors, codes, vectors, 1, {Rank::l2, 1, 1, -1, 5}, "with codes");
    for (const Index* index : {&flat, &bits, &clusters}) {
        const SearchOptions options{Rank::l2, index == &bits ? 3 : 1, 2};
        CHECK(world.search(*index, options, 4) == world.brute(cases[0], options, 4, 0));
    }
}
