// Indexes that find candidates by residual codes (cpp/src/residual_scan.cpp, and its path through search.cpp).

#include <doctest/doctest.h>

#include <set>
#include <stdexcept>

#include "lshcore/error.h"
#include "lshcore/kmeans.h"
#include "naive_file.h"
#include "naive_residual.h"

using namespace lshcore;
using naive::Answer;
using naive::Clustered;
using naive::Entry;

namespace {

constexpr Rank kRanks[] = {Rank::l2, Rank::cosine, Rank::ip};
constexpr auto kRows = Clustered::kRows, kQueries = Clustered::kQueries, kDim = Clustered::kDim,
               kClusters = Clustered::kClusters;
const std::vector<std::size_t> kPieces = {300, 150, 64, 33, 20, 9, 8, 7, 3, 2, 1, 1, 1};  // and one more

struct Setting {
    std::int64_t k, probes, shortlist;
};
const Setting kSettings[] = {{1, kClusters, kRows}, {10, kClusters, kRows}, {5, 3, 40},           {10, 1, 10},
                             {20, 5, 21},           {3, kClusters, 1},      {kRows + 5, 4, 2000}, {7, 7, 100}};

SearchOptions options(Rank rank, const Setting& setting, int n_jobs = 1) {
    SearchOptions result;
    result.rank = rank;
    result.probes = setting.probes;
    result.shortlist = setting.shortlist;
    result.n_jobs = n_jobs;
    return result;
}

Answer answer(const Clustered& data, const Index& index, const SearchOptions& with, std::int64_t k) {
    return naive::answer(index, data.queries(), with, k);
}

/// Both give the same under any setting.
void check_same(const Clustered& data, const Index& a, const Index& b) {
    for (const Rank rank : kRanks)
        for (const Setting& setting : kSettings) {
            const auto expected = answer(data, a, options(rank, setting), setting.k);
            for (const int n_jobs : {1, 4}) {
                CAPTURE(static_cast<int>(rank));
                CAPTURE(setting.k);
                CAPTURE(setting.probes);
                CAPTURE(setting.shortlist);
                CAPTURE(n_jobs);
                CHECK(answer(data, b, options(rank, setting, n_jobs), setting.k) == expected);
            }
        }
}

}  // namespace

TEST_CASE("residual search: with room for every row it is the exhaustive search") {
    const Clustered data(1);
    for (const VectorType keep : {VectorType::float32, VectorType::float16})
        for (const auto& pieces : {std::vector<std::size_t>{}, kPieces}) {
            const auto index = data.index(data.keys(), data.all, pieces, keep),
                       flat = data.index(OneBucket{}, data.all, {}, keep);
            for (const Rank rank : kRanks)
                for (const std::int64_t k : {kRows, kRows + 7}) {
                    const auto expected = answer(data, *flat, options(rank, {k, 1, 0}), k);
                    if (keep == VectorType::float32) CHECK(expected == data.brute(data.all, rank, k));
                    for (const int n_jobs : {1, 4}) {
                        CAPTURE(static_cast<int>(rank));
                        CAPTURE(static_cast<int>(keep));
                        CAPTURE(pieces.size());
                        CAPTURE(k);
                        CHECK(answer(data, *index, options(rank, {k, kClusters, k}, n_jobs), k) == expected);
                    }
                }
        }
}

TEST_CASE("residual search: of all rows hardly one of the nearest is passed over, and distances are exact") {
    const Clustered data(2);
    for (const auto& pieces : {std::vector<std::size_t>{}, kPieces})
        for (const Rank rank : kRanks)
            for (const std::int64_t k : {1, 10, 50}) {
                CAPTURE(static_cast<int>(rank));
                CAPTURE(k);
                const auto index = data.index(data.keys(), data.all, pieces);
                const auto expected = data.brute(data.all, rank, k),
                           found = answer(data, *index, options(rank, {k, kClusters, kRows}), k);
                CHECK(found.n_candidates == expected.n_candidates);
                CHECK(naive::share_found(expected, found, k) > 0.95);  // a value is above its distance in 1 of 35 rows
                const auto everything = data.brute(data.all, rank, kRows);
                CHECK(naive::share_found(found, {everything.hits, {}}, k) <= 1);
                bool exact = true, ordered = true;
                for (std::size_t i = 0; i < found.hits.size(); ++i) {
                    const auto q = static_cast<std::int64_t>(i) / k;
                    const auto first = everything.hits.begin() + q * kRows;
                    exact &= std::binary_search(first, first + kRows, found.hits[i]);
                    ordered &= i % static_cast<std::size_t>(k) == 0 || found.hits[i - 1] < found.hits[i];
                }
                CHECK(exact);
                CHECK(ordered);
            }
}

TEST_CASE("residual search: no answer depends on segments or threads") {
    for (const std::uint64_t seed : {3, 4}) {
        const Clustered data(seed);
        const auto whole = data.index(data.keys(), data.all), parts = data.index(data.keys(), data.all, kPieces);
        CHECK(whole->n_segments() == 1);
        CHECK(parts->n_segments() > 3);
        check_same(data, *whole, *whole);
        check_same(data, *whole, *parts);
        parts->compact(3);
        CHECK(parts->n_segments() == 1);
        check_same(data, *whole, *parts);
    }
}

TEST_CASE("residual search: the first k of more are the same") {
    for (const std::uint64_t seed : {6, 7}) {
        const Clustered data(seed);
        const auto index = data.index(data.keys(), data.all);
        for (const Rank rank : kRanks)
            for (const std::int64_t shortlist : {std::int64_t{60}, kRows}) {
                CAPTURE(static_cast<int>(rank));
                CAPTURE(shortlist);
                const auto more = answer(data, *index, options(rank, {60, kClusters, shortlist}), 60);
                for (const std::int64_t k : {1, 3, 10, 30}) {
                    CAPTURE(k);
                    const auto some = answer(data, *index, options(rank, {k, kClusters, shortlist}), k);
                    int other = 0;
                    for (std::int64_t q = 0; q < kQueries; ++q)
                        other += !std::equal(some.hits.begin() + q * k, some.hits.begin() + (q + 1) * k,
                                             more.hits.begin() + q * 60);
                    CHECK(other == 0);
                }
            }
    }
}

TEST_CASE("residual search: after changes it answers as an index made of the rows that are left") {
    Clustered data(8);
    for (const VectorType keep : {VectorType::float32, VectorType::float16}) {
        const auto index = data.index(data.keys(), data.all, kPieces, keep);
        auto entries = data.all;
        Id next = 5000;
        for (int step = 0; step < (keep == VectorType::float32 ? 6 : 3); ++step) {
            std::vector<Entry> chosen, kept, added;
            std::vector<Id> gone;
            for (const Entry& e : entries) (data.draw.below(6) == 0 ? chosen : kept).push_back(e);
            if (step % 3 == 0) {
                for (const Entry& e : chosen) gone.push_back(e.id);
                index->remove(gone.data(), static_cast<std::int64_t>(gone.size()));
                entries = kept;
            } else if (step % 3 == 1) {  // other rows under their ids
                for (Entry& e : chosen) e.row = static_cast<std::int64_t>(data.draw.below(kRows));
                data.add(*index, chosen, true);
                kept.insert(kept.end(), chosen.begin(), chosen.end());
                entries = kept;
            } else {
                for (int i = 0; i < 45; ++i)
                    added.push_back({static_cast<std::int64_t>(data.draw.below(kRows)), next++});
                data.add(*index, added);
                entries.insert(entries.end(), added.begin(), added.end());
            }
            CAPTURE(step);
            const auto fresh = data.index(data.keys(), entries, {}, keep);
            CHECK(index->ids() == fresh->ids());
            check_same(data, *fresh, *index);
            if (keep == VectorType::float32)
                for (const Rank rank : kRanks)
                    CHECK(answer(data, *index, options(rank, {900, kClusters, 900}), 900) ==
                          data.brute(entries, rank, 900));
            if (step == 2 || step == 5) {
                index->compact(2);
                CHECK(index->n_segments() == 1);
                check_same(data, *fresh, *index);
            }
        }
        const auto ids = index->ids();
        index->remove(ids.data(), index->size());
        CHECK(answer(data, *index, options(Rank::l2, {4, 3, 10}), 4) == data.brute({}, Rank::l2, 4));
    }
}

TEST_CASE("residual search: with a filter it answers as an index of just the rows that pass") {
    Clustered data(9);
    const auto index = data.index(data.keys(), data.all, kPieces);
    std::vector<Entry> entries;
    std::vector<Id> gone;
    for (const Entry& e : data.all)
        if (data.draw.below(10) == 0)
            gone.push_back(e.id);
        else
            entries.push_back(e);
    index->remove(gone.data(), static_cast<std::int64_t>(gone.size()));
    for (const std::uint64_t share : {0, 1, 4, 10}) {  // of ten
        const std::unique_ptr<bool[]> mask(new bool[entries.size()]);
        std::vector<Entry> passing;
        std::vector<Id> ids;
        for (std::size_t i = 0; i < entries.size(); ++i) {
            mask[i] = data.draw.below(10) < share;
            if (!mask[i]) continue;
            passing.push_back(entries[i]);
            ids.push_back(entries[i].id);
        }
        data.draw.shuffle(ids);
        ids.reserve(1);  // an address, where it is empty
        const Allowed by_mask{mask.get(), index->size()},
            by_ids{nullptr, -1, ids.data(), static_cast<std::int64_t>(ids.size())};
        const auto only = data.index(data.keys(), passing);
        for (const Rank rank : kRanks)
            for (const Setting& setting : kSettings) {
                const auto expected = answer(data, *only, options(rank, setting), setting.k);
                for (const Allowed& allowed : {by_mask, by_ids}) {
                    CAPTURE(share);
                    CAPTURE(static_cast<int>(rank));
                    CAPTURE(setting.k);
                    CAPTURE(setting.shortlist);
                    auto with = options(rank, setting, 2);
                    with.allowed = allowed;
                    const auto found = answer(data, *index, with, setting.k);
                    CHECK(found == expected);
                }
            }
        for (const Rank rank : kRanks)
            for (const Allowed& allowed : {by_mask, by_ids}) {
                auto with = options(rank, {kRows, kClusters, kRows});
                with.allowed = allowed;
                CHECK(answer(data, *index, with, kRows) == data.brute(passing, rank, kRows));
            }
    }
}

TEST_CASE("residual search: a list of ids for each query") {
    Clustered data(10);
    const auto index = data.index(data.keys(), data.all, kPieces);
    std::vector<std::set<Id>> lists;
    std::vector<Id> ids;
    std::vector<std::int64_t> offsets{0};
    for (std::int64_t q = 0; q < kQueries; ++q) {
        lists.emplace_back();
        for (const Entry& e : data.all)
            if (data.draw.below(8) < static_cast<std::uint64_t>(q) % 6) lists.back().insert(e.id);
        ids.insert(ids.end(), lists.back().begin(), lists.back().end());
        offsets.push_back(static_cast<std::int64_t>(ids.size()));
    }
    for (const Rank rank : kRanks) {
        auto with = options(rank, {kRows, kClusters, kRows}, 3);
        with.allowed = {nullptr, -1, ids.data(), offsets.back(), offsets.data(), kQueries};
        CHECK(answer(data, *index, with, kRows) ==
              data.brute(data.all, rank, kRows, [&](std::int64_t q, const Entry& e) {
                  return lists[static_cast<std::size_t>(q)].contains(e.id);
              }));
        for (const Setting& setting : {Setting{5, 3, 40}, {10, kClusters, 25}, {3, 5, kRows}}) {
            with.probes = setting.probes;
            with.shortlist = setting.shortlist;
            const auto found = answer(data, *index, with, setting.k);
            for (std::int64_t q = 0; q < kQueries; ++q) {
                CAPTURE(q);
                auto alone = options(rank, setting);
                const auto n = offsets[static_cast<std::size_t>(q) + 1] - offsets[static_cast<std::size_t>(q)];
                alone.allowed = {nullptr, -1, ids.data() + offsets[static_cast<std::size_t>(q)], n};
                const Queries one{{}, {}, {data.query(q), 1, kDim}};
                const auto expected = naive::answer(*index, one, alone, setting.k);
                CHECK(std::equal(expected.hits.begin(), expected.hits.end(), found.hits.begin() + q * setting.k));
                CHECK(expected.n_candidates[0] == found.n_candidates[static_cast<std::size_t>(q)]);
            }
        }
    }
}

TEST_CASE("residual search: clusters without spread are looked into by distance, or by inner product") {
    const Clustered data(11);
    const auto centroids = naive::view(data.centroids, kClusters);
    std::vector<std::int32_t> labels;
    for (std::int64_t i = 0; i < kRows; ++i) labels.push_back(naive::nearest_clusters(data.row(i), centroids)[0]);
    for (const auto& pieces : {std::vector<std::size_t>{}, kPieces}) {
        const auto index = data.index(data.keys_without_spread(), data.all, pieces);
        for (const Rank rank : kRanks) {
            std::vector<std::vector<std::int32_t>> orders;
            for (std::int64_t q = 0; q < kQueries; ++q) {
                std::vector<std::pair<float, std::int32_t>> order;  // exact: the data are small multiples of 1/8
                for (std::int32_t c = 0; c < kClusters; ++c)
                    order.push_back({rank == Rank::ip ? -naive::dot(data.query(q), centroids.row(c), kDim)
                                                      : naive::squared_l2(data.query(q), centroids.row(c), kDim),
                                     c});
                std::sort(order.begin(), order.end());
                orders.emplace_back();
                for (const auto& [distance, c] : order) orders.back().push_back(c);
            }
            for (const std::int64_t probes : {std::int64_t{1}, std::int64_t{2}, std::int64_t{5}, kClusters}) {
                CAPTURE(static_cast<int>(rank));
                CAPTURE(probes);
                const auto expected = data.brute(data.all, rank, kRows, [&](std::int64_t q, const Entry& e) {
                    const auto& order = orders[static_cast<std::size_t>(q)];
                    return std::find(order.begin(), order.begin() + probes, labels[static_cast<std::size_t>(e.row)]) !=
                           order.begin() + probes;
                });
                CHECK(answer(data, *index, options(rank, {kRows, probes, kRows}), kRows) == expected);
            }
        }
    }
}

TEST_CASE(
    "residual search: of two clusters at one distance the narrower or the smaller comes first, then the lower number") {
    for (const float left : {0.0f, 1.0f, 5.0f})
        for (const float right : {0.0f, 1.0f, 5.0f}) {
            const std::vector<float> same(2, 2.0f), given = {left, right};
            for (const bool by_size : {false, true}) {
                const ClusterKeys keys({-1, 0, 1, 0}, 2, 2, by_size ? same : given, by_size ? given : same);
                Index index(keys, 0, 2, VectorType::float32);
                const std::vector<float> rows = {-1, 0, 1, 0}, query = {0, 3};
                index.add({}, naive::view(rows, 2), nullptr, 1);
                const auto found =
                    naive::answer(index, {{}, {}, naive::view(query, 1)}, options(Rank::l2, {2, 1, 9}), 2);
                const bool later = by_size ? std::max(right, 1.0f) < std::max(left, 1.0f) : right < left;
                CHECK(found.hits == std::vector<naive::Hit>{{10, later ? 1 : 0}, {HUGE_VAL, kNoId}});
                CHECK(found.n_candidates == std::vector<std::int64_t>{1});
            }
        }
}

TEST_CASE("residual search: evaluate with room for every row is that of all candidates") {
    Clustered data(12);
    const auto index = data.index(data.keys(), data.all, kPieces);
    std::vector<std::int64_t> mine, theirs;
    for (std::int64_t q = 0; q < kQueries; ++q) mine.push_back(static_cast<std::int64_t>(data.draw.below(5)));
    for (std::int64_t i = 0; i < kRows; ++i) theirs.push_back(static_cast<std::int64_t>(data.draw.below(5)));
    for (const Rank rank : kRanks) {
        std::vector<RankingAccumulator> both(2, RankingAccumulator({1, 10}, {5, 100}, 0, false));
        for (const std::int64_t shortlist : {std::int64_t{0}, kRows})
            index->evaluate(both[shortlist > 0], data.queries(), options(rank, {1, kClusters, shortlist}, 2),
                            Labels::single(mine), Labels::single(theirs));
        CHECK(both[0].means() == both[1].means());
        CHECK(both[0].candidates() == both[1].candidates());
    }
}

TEST_CASE("residual search: a ranking by margin, too, is cut by its own distances only") {
    Clustered data(13);
    Index index(data.keys(), 64, kDim, VectorType::float32);
    const auto codes = data.draw.codes(kRows, 64), query_codes = data.draw.codes(kQueries, 64);
    const auto margins = data.draw.steps(kQueries * 64, 1);
    index.add(naive::view(codes, kRows), {data.vectors.data(), kRows, kDim}, nullptr, 1);
    const Queries queries{naive::view(query_codes, kQueries), naive::view(margins, kQueries), data.queries().vectors};
    SearchOptions with = options(Rank::margin, {5, kClusters, 0});
    const auto expected = naive::answer(index, queries, with, 5);
    with.shortlist = kRows;
    CHECK(naive::answer(index, queries, with, 5) == expected);
}

TEST_CASE("residual search: the bytes of an index are those of its segments, residuals included") {
    const Clustered data(14);
    const auto index = data.index(data.keys(), data.all),
               plain = data.index(ClusterKeys(data.centroids, kClusters, kDim), data.all);
    const auto all = [](const Index& of) {
        const auto bytes = of.nbytes();
        return bytes.codes + bytes.vectors + bytes.ids + bytes.tables;
    };
    const auto residuals =
        static_cast<std::size_t>(residual_bytes(kRows, index->shape().residual_width) + 3 * 4 * kRows);
    CHECK(index->contents().segments[0].segment->nbytes() ==
          plain->contents().segments[0].segment->nbytes() + residuals);
    CHECK(all(*index) == all(*plain) + residuals);
}
