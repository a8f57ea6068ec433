// Index::search, candidates and evaluate (cpp/src/search.cpp).

#include <doctest/doctest.h>
#include <sys/mman.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "naive_index.h"

using namespace lshcore;
using naive::Case;
using naive::Hit;
using naive::World;

namespace {

constexpr Rank kAllRanks[] = {Rank::hamming, Rank::margin, Rank::cosine, Rank::l2};
constexpr auto kRows = World::kRows, kQueries = World::kQueries, kDim = World::kDim;

/// What search must give with a shortlist, a filter or a radius: candidates as `placed` has them, distances as `scored`.
naive::Answer brute(const World& placed, const World& scored, const Case& one, const SearchOptions& options,
                    std::int64_t k) {
    naive::Answer answer;
    for (std::int64_t q = 0; q < kQueries; ++q) {
        std::vector<std::int64_t> rows;
        for (std::int64_t row = 0; row < kRows; ++row) {
            bool candidate = options.allowed.mask == nullptr || options.allowed.mask[row];
            if (options.radius >= 0) {
                const auto& keys = std::get<BitKeys>(one.partitioner);
                bool near = false;
                for (int t = 0; t < keys.n_tables(); ++t) {
                    int differ = 0;
                    for (int j = 0; j < keys.key_bits(); ++j) {
                        const auto p = keys.positions()[static_cast<std::size_t>(t * keys.key_bits() + j)];
                        differ += naive::bit(placed.query_codes.data() + q * 2, p) !=
                                  naive::bit(placed.codes.data() + row * 2, p);
                    }
                    near |= differ <= options.radius;
                }
                candidate &= near;
            } else {
                candidate = candidate && placed.is_candidate(one, options.probes, q, row);
            }
            if (candidate) rows.push_back(row);
        }
        answer.n_candidates.push_back(static_cast<std::int64_t>(rows.size()));
        if (options.shortlist > 0) {
            std::sort(rows.begin(), rows.end(), [&](std::int64_t a, std::int64_t b) {
                return scored.hit(Rank::hamming, q, a) < scored.hit(Rank::hamming, q, b);
            });
            rows.resize(std::min(rows.size(), static_cast<std::size_t>(options.shortlist)));
        }
        std::vector<Hit> hits;
        for (const auto row : rows) hits.push_back(scored.hit(options.rank, q, row));
        for (const auto& best : naive::top(hits, k, options.rank == Rank::hamming ? 65535 : HUGE_VAL))
            answer.hits.push_back(best);
    }
    return answer;
}

/// Batches of codes, their ids given or counted from somewhere.
struct Gallery {
    int words;
    std::vector<std::vector<Word>> codes;
    std::vector<std::vector<Id>> ids;
    std::vector<CodeBatch> batches;
    std::vector<Id> id_of_row;

    Gallery(naive::Draw& draw, int n_bits, const std::vector<std::int64_t>& sizes, bool given, bool alike = false)
        : words(words_for(n_bits)) {
        std::int64_t total = 0, first = 0;
        for (const auto n : sizes) total += n;
        std::vector<Id> all(static_cast<std::size_t>(total));
        std::iota(all.begin(), all.end(), 1000);
        if (given) draw.shuffle(all);
        const auto same = draw.codes(1, n_bits);
        for (const auto n : sizes) {
            codes.push_back(draw.codes(n, n_bits));
            for (std::size_t i = 0; alike && i < codes.back().size(); ++i)
                codes.back()[i] = same[i % static_cast<std::size_t>(words)];
            ids.push_back({all.begin() + first, all.begin() + first + n});
            first += n;
        }
        for (std::size_t b = 0; b < sizes.size(); ++b)
            batches.push_back({{codes[b].data(), sizes[b], words},
                               given || ids[b].empty() ? 0 : ids[b][0],
                               given ? ids[b].data() : nullptr});
        id_of_row = all;
    }

    /// (distance, id) of every row, in row order.
    std::vector<Hit> hits(const Word* query) const {
        std::vector<Hit> all;
        for (const auto& batch : batches)
            for (std::int64_t i = 0; i < batch.codes.rows; ++i)
                all.push_back({naive::hamming(query, batch.codes.row(i), words), id_of_row[all.size()]});
        return all;
    }
};

void check_hamming_search(const Gallery& gallery, View<const Word> queries, const std::vector<std::int64_t>& ks) {
    std::vector<std::vector<Hit>> sorted;
    std::vector<std::int64_t> row_of(gallery.id_of_row.size());  // ids count from 1000
    for (std::size_t row = 0; row < row_of.size(); ++row)
        row_of[static_cast<std::size_t>(gallery.id_of_row[row] - 1000)] = static_cast<std::int64_t>(row);
    for (std::int64_t q = 0; q < queries.rows; ++q) {
        sorted.push_back(gallery.hits(queries.row(q)));
        std::sort(sorted.back().begin(), sorted.back().end());
    }
    for (const std::int64_t k : ks)
        for (const int n_jobs : {1, 2, 8})
            for (const bool as_rows : {false, true}) {
                CAPTURE(k);
                CAPTURE(n_jobs);
                CAPTURE(as_rows);
                std::vector<std::uint16_t> distances(static_cast<std::size_t>(queries.rows * k));
                std::vector<Id> ids(distances.size());
                hamming_search(queries, gallery.batches, k, distances.data(), ids.data(), n_jobs, as_rows);
                std::vector<Hit> found, expected;
                for (std::size_t i = 0; i < ids.size(); ++i) found.push_back({distances[i], ids[i]});
                for (auto best : sorted) {
                    best.resize(static_cast<std::size_t>(k), Hit{65535, kNoId});
                    for (auto& [distance, id] : best)
                        if (as_rows && id != kNoId) id = row_of[static_cast<std::size_t>(id - 1000)];
                    expected.insert(expected.end(), best.begin(), best.end());
                }
                CHECK(found == expected);
            }
}

}  // namespace

TEST_CASE("search: brute force over the candidates, in one segment or several, with any number of threads") {
    const World world(1);
    for (const Case& one : world.cases()) {
        const auto whole = world.index(one.partitioner, {kRows}),
                   parts = world.index(one.partitioner, {150, 64, 115, 1});
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
        cells(world.interval_keys(3, 1), World::kBits, kDim, VectorType::float32),
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
    refused(cells, codes, {}, 1, {Rank::hamming, 3, 1}, "query vectors are needed");
    refused(cells, codes, {vectors.data, kQueries, kDim - 1}, 1, {Rank::l2, 3, 1}, "5 columns, got 4");
    refused(cells, codes, vectors, 1, {Rank::l2, 2, 1}, "probes from 3, got 2");
    refused(cells, codes, vectors, 1, {Rank::l2, 3, 1, 0}, "only keys made of signs have a radius");
    refused(clusters, codes, {}, 1, {Rank::hamming, 1, 1}, "query vectors are needed");
    refused(clusters, codes, vectors, 1, {Rank::l2, 0, 1}, "probes from 1 to 7, got 0");
    refused(clusters, codes, vectors, 1, {Rank::l2, World::kClusters + 1, 1}, "got 8");
    refused(flat, codes, {vectors.data, kQueries, kDim - 1}, 1, {Rank::cosine, 1, 1}, "5 columns, got 4");
    refused(flat, codes, {vectors.data, kQueries - 1, kDim}, 1, {Rank::cosine, 1, 1}, "as many");
    refused(only_codes, codes, vectors, 1, {Rank::cosine, 1, 1}, "keeps vectors");
    refused(only_vectors, codes, vectors, 1, {Rank::hamming, 1, 1}, "with codes");
    refused(flat, codes, vectors, 1, {Rank::hamming, 1, 1}, "Hamming distances are uint16");
    refused(flat, codes, vectors, 1, {Rank::margin, 1, 1}, "needs the margins of the queries");
    refused(flat, codes, vectors, 1, {Rank::l2, 1, 1, 2}, "only keys made of signs have a radius");
    refused(flat, codes, vectors, 1, {Rank::l2, 1, 1, -1, -1}, "shortlist must not be negative");
    refused(only_vectors, codes, vectors, 1, {Rank::l2, 1, 1, -1, 5}, "with codes");
    for (const Index* index : {&flat, &bits, &clusters}) {
        const SearchOptions options{Rank::l2, index == &bits ? 3 : 1, 2};
        CHECK(world.search(*index, options, 4) == world.brute(cases[0], options, 4, 0));
    }
}

TEST_CASE("search: a shortlist, a filter and a radius, over segments whose ids are in no order") {
    World world(6);
    for (const Case& one : world.cases()) {
        const auto whole = world.index(one.partitioner, {kRows}),
                   parts = world.index(one.partitioner, {150, 64, 115, 1});
        const bool bits = std::holds_alternative<BitKeys>(one.partitioner);
        for (const std::uint64_t share : {0, 1, 3, 4}) {  // of four that the filter lets through; 4: no filter
            const std::unique_ptr<bool[]> allowed(new bool[kRows]);
            for (std::int64_t row = 0; row < kRows; ++row)
                allowed[static_cast<std::size_t>(row)] = world.draw.below(4) < share;
            for (const int radius : bits ? std::vector<int>{-1, 0, 2} : std::vector<int>{-1})
                for (const Rank rank : kAllRanks)
                    for (const std::int64_t shortlist : {0, 1, 20, 1000}) {
                        if (rank == Rank::hamming && shortlist > 0) continue;
                        SearchOptions options{rank,   one.probes.back(), 1,
                                              radius, shortlist,         {share == 4 ? nullptr : allowed.get()}};
                        CAPTURE(one.name);
                        CAPTURE(share);
                        CAPTURE(radius);
                        CAPTURE(static_cast<int>(rank));
                        CAPTURE(shortlist);
                        const auto expected = brute(world, world, one, options, 9);
                        for (const int n_jobs : {1, 3}) {
                            options.n_jobs = n_jobs;
                            CHECK(world.search(*whole, options, 9) == expected);
                            CHECK(world.search(*parts, options, 9) == expected);
                        }
                    }
        }
    }
}

TEST_CASE("search: vectors kept in half precision are ranked as their rounded values") {
    const World world(7);
    World placed(7);  // the same but for what half precision rounds away
    for (std::size_t i = 0; i < placed.vectors.size(); ++i)
        placed.vectors[i] *= i % 2 == 0 ? 1 + 0x1p-12f : 1 - 0x1p-13f;
    for (const Case& one : world.cases()) {
        Index index(one.partitioner, World::kBits, kDim, VectorType::float16),
            full(one.partitioner, World::kBits, kDim, VectorType::float32);
        for (const auto& [first, n] : {std::pair{0, 200}, {200, 1}, {201, 129}}) {
            placed.add(index, first, n);
            placed.add(full, first, n);
        }
        CHECK(index.nbytes().vectors < full.nbytes().vectors);
        for (const Rank rank : {Rank::cosine, Rank::l2})
            for (const std::int64_t shortlist : {0, 30}) {
                CAPTURE(one.name);
                CAPTURE(static_cast<int>(rank));
                CAPTURE(shortlist);
                SearchOptions options{rank, one.probes.back(), 2, -1, shortlist};
                const auto expected = brute(placed, world, one, options, 12), found = world.search(index, options, 12);
                CHECK_FALSE(world.search(full, options, 12) == expected);
                if (rank == Rank::l2) {
                    CHECK(found == expected);
                    continue;
                }
                CHECK(found.n_candidates == expected.n_candidates);
                bool close = true,
                     ordered = true;  // the norms of halves are float sums: cosines differ in the last bits
                for (std::size_t i = 0; i < found.hits.size(); ++i) {
                    const auto q = static_cast<std::int64_t>(i) / 12;
                    const auto& [distance, id] = found.hits[i];
                    const auto row = std::find(world.ids.begin(), world.ids.end(), id) - world.ids.begin();
                    const double mine = id == kNoId ? HUGE_VAL : world.hit(rank, q, row).first;
                    close &= distance == mine || std::abs(distance - mine) < 1e-6;
                    close &= distance == expected.hits[i].first || std::abs(distance - expected.hits[i].first) < 1e-6;
                    ordered &= i % 12 == 0 || id == kNoId || found.hits[i - 1] < found.hits[i];
                }
                CHECK(close);
                CHECK(ordered);
            }
    }
}

TEST_CASE("search: hamming_search over batches, ties by id, one query cut into parts or not") {
    naive::Draw draw(8);
    for (const bool given : {false, true})
        for (const int n_bits : {3, 70}) {
            CAPTURE(given);
            CAPTURE(n_bits);
            const Gallery large(draw, n_bits, {0, 7, 40001, 1, 33000, 0}, given),
                small(draw, n_bits, {300, 65, 1000}, given);
            for (const std::int64_t m : {1, 3}) {
                const auto queries = draw.codes(m, n_bits);
                check_hamming_search(large, naive::view(queries, m), {1, 7, 1000, 73009 + 5});
            }
            const auto queries = draw.codes(130, n_bits);
            check_hamming_search(small, naive::view(queries, 130), {1, 64, 1365, 1400});
        }
}

TEST_CASE("search: where all codes are equal the lowest ids win, and fewer codes than k leave places empty") {
    naive::Draw draw(9);
    for (const bool given : {false, true})
        for (const int n_bits : {64, 200}) {
            const Gallery gallery(draw, n_bits, {20000, 30000, 13}, given, true), none(draw, n_bits, {0, 0}, given),
                few(draw, n_bits, {2, 0, 3}, given, true);
            const auto queries = draw.codes(2, n_bits);
            check_hamming_search(gallery, naive::view(queries, 2), {1, 100, 30001});
            check_hamming_search(few, naive::view(queries, 2), {5, 6, 100});
            check_hamming_search(none, naive::view(queries, 2), {1, 3});
        }
}

TEST_CASE("search: batches numbered downwards still tie by id") {
    naive::Draw draw(10);
    Gallery gallery(draw, 4, {20000, 20000}, false);
    gallery.batches[0].first_id = 21000;
    gallery.batches[1].first_id = 1000;
    std::rotate(gallery.id_of_row.begin(), gallery.id_of_row.begin() + 20000, gallery.id_of_row.end());
    const auto query = draw.codes(1, 4);
    check_hamming_search(gallery, naive::view(query, 1), {1, 500, 40000});
}

TEST_CASE("search: more than 2^32 codes, of which nearly all are zero pages (LSHCORE_LONG_TESTS)" *
          doctest::skip(std::getenv("LSHCORE_LONG_TESTS") == nullptr)) {
    for (const int words : {1, 3}) {
        CAPTURE(words);
        // One word: row numbers pass 2^32. Three: bits pass 2^32 and bytes 2^31, over grouped copies of the codes.
        const std::int64_t n = words == 1 ? (std::int64_t{1} << 32) + 1000 : (std::int64_t{1} << 27) + 13;
        const std::size_t bytes = static_cast<std::size_t>(n * words) * sizeof(Word);
        void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        REQUIRE(at != MAP_FAILED);
        auto* codes = static_cast<Word*>(at);
        const std::vector<Word> query(static_cast<std::size_t>(words), ~Word{0});
        std::vector<Hit> expected;  // some planted codes, all nearer to the query than zeros
        int ones = 20;
        for (const std::int64_t row : {n - 1, n - 9, std::int64_t{1} << 32, n / 2 + 3, std::int64_t{1} << 31,
                                       (std::int64_t{1} << 31) - 1, std::int64_t{17}, std::int64_t{0}}) {
            if (row >= n) continue;
            codes[row * words + words - 1] = (Word{1} << ones) - 1;
            expected.push_back({64 * words - ones, row});
            ones = ones == 23 ? 20 : ones + 1;  // some tie
        }
        std::sort(expected.begin(), expected.end());
        const View<const Word> gallery{codes, n, words}, queries{query.data(), 1, words};
        for (const int n_jobs : {1, 2}) {
            const auto k = static_cast<std::int64_t>(expected.size());
            std::vector<std::uint16_t> distances(expected.size());
            std::vector<Id> ids(expected.size());
            hamming_search(queries, gallery, k, distances.data(), ids.data(), n_jobs);
            std::vector<Hit> found, within;
            for (std::size_t i = 0; i < ids.size(); ++i) found.push_back({distances[i], ids[i]});
            CHECK(found == expected);
            const RangeHits range = hamming_range(queries, gallery, 64 * words - 1, n_jobs);
            for (std::size_t i = 0; i < range.ids.size(); ++i) within.push_back({range.distances[i], range.ids[i]});
            CHECK(within == expected);
        }
        munmap(at, bytes);
    }
}
