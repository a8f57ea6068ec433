#include <doctest/doctest.h>

#include <limits>
#include <map>
#include <set>
#include <stdexcept>

#include "lshcore/segment.h"
#include "naive.h"

using namespace lshcore;
using naive::view;

namespace {

std::vector<Id> values(const Ids& ids) {
    std::vector<Id> all;
    for (std::int64_t i = 0; i < ids.size(); ++i) all.push_back(ids[i]);
    return all;
}

/// All non-empty buckets of a table, by key.
std::map<Word, std::vector<Row>> buckets(const Table& table, const std::set<Word>& keys) {
    std::map<Word, std::vector<Row>> all;
    for (const Word key : keys) {
        const auto rows = table.bucket(key);
        all[key] = {rows.begin(), rows.end()};
    }
    return all;
}

}  // namespace

TEST_CASE("segment: ids are a range or any distinct numbers from 0") {
    CHECK(values(Ids(7, 3)) == std::vector<Id>{7, 8, 9});
    CHECK(Ids(7, 3).max() == 9);
    CHECK(Ids(7, 3).nbytes() == 0);
    const Id largest = std::numeric_limits<Id>::max();
    const Ids some(std::vector<Id>{5, largest, 0});
    CHECK(values(some) == std::vector<Id>{5, largest, 0});
    CHECK(some.max() == largest);
    CHECK(Ids(7, 0).max() == kNoId);
    CHECK(Ids(std::vector<Id>{}).max() == kNoId);
    CHECK_THROWS_WITH_AS(Ids(std::vector<Id>{3, 9, 4, 9}), doctest::Contains("9 twice"), std::invalid_argument);
    CHECK_THROWS_WITH_AS(Ids(std::vector<Id>{3, -2}), doctest::Contains("-2"), std::invalid_argument);
}

TEST_CASE("segment: ids are found, whatever kind they are of") {
    naive::Draw draw(1);
    for (int round = 0; round < 2000; ++round) {
        const auto n = static_cast<std::int64_t>(draw.below(round % 50 == 0 ? 600 : 6));
        std::vector<Id> list(static_cast<std::size_t>(n));
        const bool range = draw.below(2) == 0;
        std::iota(list.begin(), list.end(), static_cast<Id>(draw.below(12)));
        if (!range) {
            for (Id& id : list) id = id * 3 + static_cast<Id>(draw.below(3));
            draw.shuffle(list);
        }
        const Ids ids = Ids::packed(list);
        CHECK(values(ids) == list);
        CHECK((n == 0 || ids.is_range() ? ids.nbytes() == 0 : ids.nbytes() == list.size() * 12));
        CHECK((!range || n == 0 || ids.is_range()));
        CHECK(ids.flaw() == nullptr);
        for (const Id id : {Id{-1}, Id{0}, Id{5}, Id{9}, Id{300}, std::numeric_limits<Id>::max()}) {
            const auto at = std::find(list.begin(), list.end(), id);
            CHECK(ids.find(id) == (at == list.end() ? -1 : at - list.begin()));
        }
        for (std::size_t i = 0; i < list.size(); ++i) CHECK(ids.find(list[i]) == static_cast<std::int64_t>(i));
    }
}

TEST_CASE("segment: rows are copied, with a table for each set of positions") {
    naive::Draw draw(2);
    constexpr std::int64_t kRows = 200, kDim = 9;
    constexpr int kBits = 70, kTables = 3;
    for (const int key_bits : {4, 12, 64, 70}) {  // directly addressed, searched, without a universe, wide
        CAPTURE(key_bits);
        std::vector<std::int32_t> positions;
        for (int t = 0; t < kTables; ++t) {
            const auto mine = draw.positions(key_bits, kBits);
            positions.insert(positions.end(), mine.begin(), mine.end());
        }
        const BitKeys keys(positions, kTables, key_bits, kBits);
        auto codes = draw.codes(kRows, kBits);
        for (std::size_t i = 0; i < 60; ++i) codes[i + 100] = codes[i];  // some buckets of several rows
        const auto vectors = draw.reals(kRows * kDim);
        for (const int n_jobs : {1, 8}) {
            auto given = codes;
            const auto segment = build_segment(keys, view(given, kRows), view(vectors, kRows), VectorType::float32,
                                               Ids(5, kRows), n_jobs);
            std::fill(given.begin(), given.end(), Word{0});  // the caller may do as he likes with his
            CHECK(segment->size() == kRows);
            CHECK(segment->words == 2);
            CHECK(std::equal(codes.begin(), codes.end(), segment->codes.begin(), segment->codes.end()));
            CHECK(segment->dim == kDim);
            CHECK(naive::same_bits(segment->vectors, vectors));
            std::vector<float> norms;
            for (std::int64_t i = 0; i < kRows; ++i)
                norms.push_back(naive::inverse_norm(vectors.data() + i * kDim, kDim));
            CHECK(naive::same_bits(segment->inverse_norms, norms));
            REQUIRE(segment->tables.size() == kTables);
            for (int t = 0; t < kTables; ++t) {
                std::map<Word, std::vector<Row>> expected;
                std::set<Word> all_keys;
                for (Row i = 0; i < kRows; ++i) {
                    const Word key = keys.name(keys.key(t, codes.data() + std::int64_t{i} * 2));
                    expected[key].push_back(i);
                    all_keys.insert(key);
                }
                CHECK(buckets(segment->tables[static_cast<std::size_t>(t)], all_keys) == expected);
            }
        }
    }
}

TEST_CASE("segment: clusters make one table, vectors stay only if asked for, one bucket needs none") {
    naive::Draw draw(3);
    constexpr std::int64_t kRows = 300, kDim = 4, kClusters = 6;
    const auto vectors = draw.reals(kRows * kDim), centroids = draw.reals(kClusters * kDim);
    const auto codes = draw.codes(kRows, 64);
    const ClusterKeys clusters(centroids, kClusters, kDim);
    const auto segment =
        build_segment(clusters, view(codes, kRows), view(vectors, kRows), VectorType::none, Ids(0, kRows), 2);
    CHECK(segment->dim == 0);
    CHECK(segment->vectors.empty());
    CHECK(segment->inverse_norms.empty());
    REQUIRE(segment->tables.size() == 1);
    std::map<Word, std::vector<Row>> expected;
    std::set<Word> keys;
    for (Word c = 0; c < kClusters; ++c) keys.insert(c), expected[c] = {};
    for (Row i = 0; i < kRows; ++i)
        expected[static_cast<Word>(naive::nearest_clusters(vectors.data() + i * kDim, view(centroids, kClusters))[0])]
            .push_back(i);
    CHECK(buckets(segment->tables[0], keys) == expected);

    const auto flat = build_segment(OneBucket{}, {}, view(vectors, kRows), VectorType::float32, Ids(0, kRows), 1);
    CHECK(flat->tables.empty());
    CHECK(flat->words == 0);
    CHECK(flat->codes.empty());
    CHECK(naive::same_bits(flat->vectors, vectors));
}
