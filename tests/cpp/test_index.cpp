#include <doctest/doctest.h>

#include <atomic>
#include <limits>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "lshcore/index.h"
#include "naive.h"

using namespace lshcore;
using naive::Hit;
using naive::view;

namespace {

constexpr std::int64_t kRows = 330, kQueries = 70, kDim = 5, kClusters = 7;
constexpr int kBits = 70;

struct Answer {
    std::vector<Hit> hits;  // k a query
    std::vector<std::int64_t> n_candidates;
    bool operator==(const Answer&) const = default;
};

/// Rows and queries with many ties: few codes, small integers; ids in no order.
struct World {
    std::vector<Word> codes, query_codes;
    std::vector<float> vectors, query_vectors, centroids;
    std::vector<Id> ids;
    std::vector<std::int64_t> labels, query_labels;

    explicit World(std::uint64_t seed) {
        naive::Draw draw(seed);
        const auto pool = draw.codes(25, kBits);
        const auto pick = [&](std::int64_t n) {
            std::vector<Word> some;
            for (std::int64_t i = 0; i < n; ++i) {
                const auto at = pool.begin() + static_cast<std::ptrdiff_t>(draw.below(25) * 2);
                some.insert(some.end(), at, at + 2);
                some[some.size() - 2] ^= Word{1} << draw.below(10);  // near, not equal
            }
            return some;
        };
        codes = pick(kRows), query_codes = pick(kQueries);
        vectors = draw.steps(kRows * kDim, 2), query_vectors = draw.steps(kQueries * kDim, 2);
        centroids = draw.steps(kClusters * kDim, 2);
        ids.resize(kRows);
        std::iota(ids.begin(), ids.end(), 100);
        draw.shuffle(ids);
        for (std::int64_t i = 0; i < kRows; ++i) labels.push_back(static_cast<std::int64_t>(draw.below(4)));
        for (std::int64_t q = 0; q < kQueries; ++q) query_labels.push_back(static_cast<std::int64_t>(draw.below(5)));
    }

    View<const Word> code_rows(std::int64_t first, std::int64_t n) const { return {codes.data() + first * 2, n, 2}; }
    View<const float> vector_rows(std::int64_t first, std::int64_t n) const {
        return {vectors.data() + first * kDim, n, kDim};
    }

    void add(Index& index, std::int64_t first, std::int64_t n, int n_jobs = 1) const {
        index.add(code_rows(first, n), vector_rows(first, n), ids.data() + first, n_jobs);
    }

    std::unique_ptr<Index> index(const Partitioner& partitioner, const std::vector<std::int64_t>& batches) const {
        auto result = std::make_unique<Index>(partitioner, kBits, kDim, true);
        std::int64_t first = 0;
        for (const auto n : batches) {
            add(*result, first, n, static_cast<int>(1 + n % 3));
            first += n;
        }
        return result;
    }

    bool is_candidate(const Partitioner& partitioner, std::int64_t probes, std::int64_t q, std::int64_t row) const {
        if (const auto* keys = std::get_if<BitKeys>(&partitioner)) {
            for (int t = 0; t < keys->n_tables(); ++t) {
                bool equal = true;
                for (int j = 0; j < keys->key_bits(); ++j) {
                    const auto at = keys->positions()[static_cast<std::size_t>(t * keys->key_bits() + j)];
                    equal =
                        equal && naive::bit(query_codes.data() + q * 2, at) == naive::bit(codes.data() + row * 2, at);
                }
                if (equal) return true;
            }
            return false;
        }
        if (std::holds_alternative<OneBucket>(partitioner)) return true;
        const auto mine = naive::nearest_clusters(vectors.data() + row * kDim, view(centroids, kClusters))[0];
        const auto order = naive::nearest_clusters(query_vectors.data() + q * kDim, view(centroids, kClusters));
        return std::find(order.begin(), order.begin() + probes, mine) != order.begin() + probes;
    }

    double distance(Rank rank, std::int64_t q, std::int64_t row) const {
        const float *a = query_vectors.data() + q * kDim, *b = vectors.data() + row * kDim;
        if (rank == Rank::hamming) return naive::hamming(query_codes.data() + q * 2, codes.data() + row * 2, 2);
        return rank == Rank::l2 ? naive::squared_l2(a, b, kDim) : naive::cosine(a, b, kDim);
    }

    /// The rows that the first n rows of the index offer query q.
    std::vector<std::int64_t> candidates(const Partitioner& partitioner, std::int64_t probes, std::int64_t q,
                                         std::int64_t n) const {
        std::vector<std::int64_t> rows;
        for (std::int64_t row = 0; row < n; ++row)
            if (is_candidate(partitioner, probes, q, row)) rows.push_back(row);
        return rows;
    }

    Answer brute(const Partitioner& partitioner, const SearchOptions& options, std::int64_t k,
                 std::int64_t n = kRows) const {
        Answer answer;
        for (std::int64_t q = 0; q < kQueries; ++q) {
            std::vector<Hit> hits;
            for (const auto row : candidates(partitioner, options.probes, q, n))
                hits.push_back({distance(options.rank, q, row), ids[static_cast<std::size_t>(row)]});
            answer.n_candidates.push_back(static_cast<std::int64_t>(hits.size()));
            const auto best = naive::top(hits, k, options.rank == Rank::hamming ? 65535 : HUGE_VAL);
            answer.hits.insert(answer.hits.end(), best.begin(), best.end());
        }
        return answer;
    }

    Answer search(const Index& index, const SearchOptions& options, std::int64_t k) const {
        return options.rank == Rank::hamming ? search_as<std::uint16_t>(index, options, k)
                                             : search_as<float>(index, options, k);
    }

    template <class D>
    Answer search_as(const Index& index, const SearchOptions& options, std::int64_t k) const {
        Answer answer;
        std::vector<D> distances(static_cast<std::size_t>(kQueries * k));
        std::vector<Id> found(distances.size());
        answer.n_candidates.resize(kQueries);
        std::vector<StageTimes> times(kQueries, {-1, -1, -1});
        index.search(view(query_codes, kQueries), view(query_vectors, kQueries), k, options, distances.data(),
                     found.data(), answer.n_candidates.data(), times.data());
        for (std::size_t i = 0; i < found.size(); ++i)
            answer.hits.push_back({static_cast<double>(distances[i]), found[i]});
        bool timed = true;
        for (const auto& t : times) timed = timed && t.probe >= 0 && t.scan >= 0 && t.rerank >= 0;
        CHECK(timed);
        return answer;
    }
};

BitKeys bit_keys(int n_tables, int key_bits) {
    std::vector<std::int32_t> positions;
    naive::Draw draw(77);
    for (int i = 0; i < n_tables * key_bits; ++i) positions.push_back(static_cast<std::int32_t>(draw.below(kBits)));
    return BitKeys(positions, n_tables, key_bits, kBits);
}

struct Case {
    const char* name;
    Partitioner partitioner;
    std::vector<std::int64_t> probes;
};

std::vector<Case> cases(const World& world) {
    return {{"one bucket", OneBucket{}, {1}},
            {"direct", bit_keys(3, 4), {3}},
            {"one table", bit_keys(1, 12), {1}},
            {"no universe", bit_keys(4, 45), {4}},
            {"wide", bit_keys(2, 66), {2}},
            {"clusters", ClusterKeys(world.centroids, kClusters, kDim), {1, 3, kClusters}}};
}

constexpr Rank kAllRanks[] = {Rank::hamming, Rank::cosine, Rank::l2};

/// What a caller can see of an index.
struct Seen {
    std::int64_t size, n_segments;
    std::vector<Id> ids;
    Answer answer;
    bool operator==(const Seen&) const = default;
};

Seen look(const World& world, const Index& index) {
    return {index.size(), index.n_segments(), index.ids(), world.search(index, {}, 5)};
}

}  // namespace

TEST_CASE("index: search is brute force over the candidates, in one segment or several, with any number of threads") {
    const World world(1);
    for (const auto& [name, partitioner, all_probes] : cases(world)) {
        const auto one = world.index(partitioner, {kRows}), several = world.index(partitioner, {1, 150, 64, 115});
        CHECK(several->n_segments() == 4);
        CHECK(several->size() == kRows);
        CHECK(several->ids() == world.ids);
        for (const auto probes : all_probes)
            for (const Rank rank : kAllRanks)
                for (const std::int64_t k : {std::int64_t{1}, std::int64_t{7}, kRows + 3}) {
                    CAPTURE(name);
                    CAPTURE(probes);
                    CAPTURE(static_cast<int>(rank));
                    CAPTURE(k);
                    SearchOptions options{rank, probes, 1};
                    const auto expected = world.brute(partitioner, options, k);
                    for (const int n_jobs : {1, 2, 8}) {
                        options.n_jobs = n_jobs;
                        CHECK(world.search(*one, options, k) == expected);
                        CHECK(world.search(*several, options, k) == expected);
                    }
                }
        const SearchOptions options{Rank::hamming, all_probes[0], 2};
        std::vector<std::int64_t> offsets, expected_offsets = {0};
        std::vector<Id> found, expected;
        several->candidates(view(world.query_codes, kQueries), view(world.query_vectors, kQueries), options, offsets,
                            found);
        for (std::int64_t q = 0; q < kQueries; ++q) {
            for (const auto row : world.candidates(partitioner, all_probes[0], q, kRows))
                expected.push_back(world.ids[static_cast<std::size_t>(row)]);
            std::sort(expected.begin() + expected_offsets.back(), expected.end());
            expected_offsets.push_back(static_cast<std::int64_t>(expected.size()));
        }
        CHECK(offsets == expected_offsets);
        CHECK(found == expected);
        CHECK(expected.size() > static_cast<std::size_t>(kQueries));  // the queries do meet candidates
    }
}

TEST_CASE("index: the top k is a prefix of the top k'") {
    const World world(2);
    for (const auto& [name, partitioner, all_probes] : cases(world)) {
        const auto index = world.index(partitioner, {200, 130});
        for (const Rank rank : kAllRanks) {
            const SearchOptions options{rank, all_probes.back(), 1};
            const auto whole = world.search(*index, options, 200);
            for (const std::int64_t k : {1, 2, 10, 64, 199}) {
                CAPTURE(name);
                CAPTURE(k);
                const auto some = world.search(*index, options, k);
                bool prefix = true;
                for (std::int64_t q = 0; q < kQueries; ++q)
                    prefix = prefix && std::equal(some.hits.begin() + q * k, some.hits.begin() + (q + 1) * k,
                                                  whole.hits.begin() + q * 200);
                CHECK(prefix);
            }
        }
    }
}

TEST_CASE("index: evaluate ranks each candidate list as the definitions say") {
    const World world(3);
    const auto query_labels = Labels::single(world.query_labels), labels = Labels::single(world.labels);
    for (const auto& [name, partitioner, all_probes] : cases(world)) {
        const auto index = world.index(partitioner, {30, 300});
        for (const Rank rank : kAllRanks)
            for (const bool stable : {false, true}) {
                CAPTURE(name);
                CAPTURE(static_cast<int>(rank));
                CAPTURE(stable);
                RankingAccumulator expected({1, 10, 50}, {5, 20}, rank == Rank::hamming ? kBits : 0, stable);
                const auto empty = expected;
                for (std::int64_t q = 0; q < kQueries; ++q) {
                    std::vector<std::pair<Hit, std::int64_t>> order;
                    for (const auto row : world.candidates(partitioner, all_probes[0], q, kRows))
                        order.push_back(
                            {{world.distance(rank, q, row), world.ids[static_cast<std::size_t>(row)]}, row});
                    std::sort(order.begin(), order.end());
                    const auto relevant = [&](std::int64_t row) {
                        return world.labels[static_cast<std::size_t>(row)] ==
                               world.query_labels[static_cast<std::size_t>(q)];
                    };
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
                    index->evaluate(acc, view(world.query_codes, kQueries), view(world.query_vectors, kQueries),
                                    {rank, all_probes[0], n_jobs}, query_labels, labels);
                    CHECK(acc.means() == expected.means());
                    CHECK(acc.candidates() == expected.candidates());
                }
            }
    }
}

TEST_CASE("index: a failed add changes nothing") {
    const World world(4);
    const Id largest = std::numeric_limits<Id>::max();
    const auto fails = [&](Index& index, View<const Word> codes, View<const float> vectors, std::vector<Id> ids) {
        const Seen before = look(world, index);
        CHECK_THROWS_AS(index.add(codes, vectors, ids.empty() ? nullptr : ids.data(), 2), std::invalid_argument);
        CHECK(look(world, index) == before);
    };
    const auto index = world.index(OneBucket{}, {20, 10});
    const auto codes = world.code_rows(40, 3);
    const auto vectors = world.vector_rows(40, 3);
    fails(*index, codes, vectors, {1, 2, 1});
    fails(*index, codes, vectors, {1, -1, 2});
    fails(*index, codes, vectors, {1, 2, world.ids[3]});   // in the first segment
    fails(*index, codes, vectors, {world.ids[29], 2, 3});  // in the second
    fails(*index, codes, world.vector_rows(40, 2), {1, 2, 3});
    fails(*index, codes, {world.vectors.data(), 3, kDim - 1}, {1, 2, 3});
    fails(*index, codes, {}, {1, 2, 3});
    fails(*index, {}, vectors, {1, 2, 3});
    fails(*index, {world.codes.data(), 3, 1}, vectors, {1, 2, 3});
    std::vector<Word> padded(world.codes.begin(), world.codes.begin() + 6);
    padded[5] |= Word{1} << 63;
    fails(*index, view(padded, 3), vectors, {1, 2, 3});

    index->add(codes, vectors, nullptr, 1);  // numbered on from the largest, which no failure has moved
    const Id next = *std::max_element(world.ids.begin(), world.ids.begin() + 30) + 1;
    const auto ids = index->ids();
    CHECK(std::vector<Id>(ids.end() - 3, ids.end()) == std::vector<Id>{next, next + 1, next + 2});
    fails(*index, codes, vectors, {5, next + 1, 6});  // in a segment that stores no ids
    index->add(codes, vectors, std::vector<Id>{7, largest, 3}.data(), 1);
    fails(*index, codes, vectors, {});  // no numbers are left
    index->add({world.codes.data(), 0, 2}, {world.vectors.data(), 0, kDim}, nullptr, 1);
    CHECK(index->n_segments() == 4);
}

TEST_CASE("index: an add that runs out of memory, wherever it does, changes nothing") {
    const World world(5);
    for (const auto& [name, partitioner, all_probes] : cases(world)) {
        CAPTURE(name);
        const auto index = world.index(partitioner, {50});
        const auto ids = index->ids();
        std::int64_t failures = 0;
        for (bool done = false; !done; ++failures) {
            naive::allocations_left = failures;
            try {
                world.add(*index, 50, 40);
                done = true;
            } catch (const std::bad_alloc&) {
            }
            naive::allocations_left = -1;
            if (!done) REQUIRE((index->ids() == ids && index->size() == 50 && index->n_segments() == 1));
        }
        CHECK(failures > 5);
        CHECK(index->size() == 90);
        const SearchOptions options{Rank::l2, all_probes[0], 1};
        CHECK(world.search(*index, options, 5) == world.brute(partitioner, options, 5, 90));
    }
}

TEST_CASE("index: wide keys that share a fingerprint do not share a bucket") {
    naive::Draw draw(6);
    for (const int key_bits : {65, 128, 256}) {
        CAPTURE(key_bits);
        const int words = words_for(key_bits);
        const auto kinds = naive::codes_of_one_fingerprint(draw, 2, key_bits);
        std::vector<std::int32_t> positions(static_cast<std::size_t>(key_bits));
        std::iota(positions.begin(), positions.end(), 0);
        const BitKeys keys(positions, 1, key_bits, key_bits);
        REQUIRE(keys.key(0, kinds.data()) == keys.key(0, kinds.data() + words));
        Index index(keys, key_bits, 0, false);
        std::vector<Word> rows = kinds, stranger = draw.codes(1, key_bits);
        rows.insert(rows.end(), kinds.begin(), kinds.end());
        for (int batch = 0; batch < 2; ++batch) index.add(view(rows, 4), {}, nullptr, 1);
        auto queries = kinds;
        queries.insert(queries.end(), stranger.begin(), stranger.end());
        std::vector<std::int64_t> offsets;
        std::vector<Id> ids;
        index.candidates(view(queries, 3), {}, {}, offsets, ids);
        CHECK(ids == std::vector<Id>{0, 2, 4, 6, 1, 3, 5, 7});
        CHECK(offsets == std::vector<std::int64_t>{0, 4, 8, 8});
        CHECK(index.bucket_sizes(0) == std::vector<std::int64_t>{2, 2, 2, 2});
    }
}

TEST_CASE("index: searches beside an add see a whole number of batches") {
    const World world(7);
    constexpr std::int64_t kBatch = 11, kBatches = kRows / kBatch;
    for (const auto& [name, partitioner, all_probes] : cases(world)) {
        CAPTURE(name);
        SearchOptions options{Rank::hamming, all_probes[0], 1};
        std::vector<Answer> prefixes;
        for (std::int64_t b = 0; b <= kBatches; ++b)
            prefixes.push_back(world.brute(partitioner, options, 20, b * kBatch));
        Index index(partitioner, kBits, kDim, true);
        std::atomic<bool> done{false};
        std::atomic<int> foreign{0};
        constexpr int kReaders = 3;
        std::atomic<std::int64_t> searches[kReaders] = {};
        std::vector<std::thread> readers;
        for (int r = 0; r < kReaders; ++r)
            readers.emplace_back([&, r] {
                auto seen = prefixes.begin();  // no reader ever goes back
                SearchOptions mine = options;
                mine.n_jobs = 1 + r % 2;
                for (bool last = false; !last;) {
                    last = done;
                    const auto at = std::find(seen, prefixes.end(), world.search(index, mine, 20));
                    if (at == prefixes.end() || (last && *at != prefixes.back())) ++foreign;
                    if (at != prefixes.end()) seen = at;
                    ++searches[r];
                }
            });
        for (std::int64_t b = 0; b < kBatches; ++b) {
            world.add(index, b * kBatch, kBatch, 2);
            for (auto& count : searches)  // each reader searches between any two adds, and beside them
                for (const auto before = count.load(); count == before;) std::this_thread::yield();
        }
        done = true;
        for (auto& reader : readers) reader.join();
        CHECK(foreign == 0);
    }
}

TEST_CASE("index: what cannot be searched is refused, and an empty index answers") {
    const World world(8);
    const auto codes = view(world.query_codes, kQueries);
    const auto vectors = view(world.query_vectors, kQueries);
    std::vector<float> distances(kQueries);
    std::vector<Id> ids(kQueries);
    std::vector<std::int64_t> n(kQueries);
    std::vector<StageTimes> times(kQueries);
    const auto refused = [&](const Index& index, View<const Word> c, View<const float> v, std::int64_t k,
                             SearchOptions options) {
        CHECK_THROWS_AS(index.search(c, v, k, options, distances.data(), ids.data(), n.data(), times.data()),
                        std::invalid_argument);
    };
    const auto flat = world.index(OneBucket{}, {}), bits = world.index(bit_keys(3, 4), {}),
               clusters = world.index(cases(world).back().partitioner, {});
    const Index only_codes(OneBucket{}, kBits, 0, false), only_vectors(OneBucket{}, 0, kDim, true);
    refused(*flat, codes, vectors, 0, {Rank::l2, 1, 1});
    refused(*flat, codes, vectors, 1, {Rank::l2, 2, 1});
    refused(*bits, codes, vectors, 1, {Rank::l2, 2, 1});
    refused(*bits, {}, vectors, 1, {Rank::l2, 3, 1});
    refused(*bits, {codes.data, kQueries, 1}, vectors, 1, {Rank::l2, 3, 1});
    refused(*clusters, codes, {}, 1, {Rank::hamming, 1, 1});
    refused(*clusters, codes, vectors, 1, {Rank::l2, 0, 1});
    refused(*clusters, codes, vectors, 1, {Rank::l2, kClusters + 1, 1});
    refused(*flat, codes, {vectors.data, kQueries, kDim - 1}, 1, {Rank::cosine, 1, 1});
    refused(*flat, codes, {vectors.data, kQueries - 1, kDim}, 1, {Rank::cosine, 1, 1});
    refused(only_codes, codes, vectors, 1, {Rank::cosine, 1, 1});
    refused(only_vectors, codes, vectors, 1, {Rank::hamming, 1, 1});
    for (const Index* index : {flat.get(), bits.get(), clusters.get()}) {
        const SearchOptions options{Rank::l2, index == bits.get() ? 3 : 1, 2};
        CHECK(world.search(*index, options, 4) == world.brute(OneBucket{}, options, 4, 0));
    }
    CHECK_THROWS_AS(flat->bucket_sizes(0), std::invalid_argument);
    CHECK_THROWS_AS(bits->bucket_sizes(3), std::invalid_argument);
    CHECK_THROWS_AS(Index(OneBucket{}, 0, kDim, false), std::invalid_argument);
    CHECK_THROWS_AS(Index(OneBucket{}, kBits, 0, true), std::invalid_argument);
    CHECK_THROWS_AS(Index(OneBucket{}, 4097, 0, false), std::invalid_argument);
    CHECK_THROWS_AS(Index(OneBucket{}, kBits, -1, false), std::invalid_argument);
    CHECK_THROWS_AS(Index(bit_keys(1, 4), kBits - 1, 0, false), std::invalid_argument);
    CHECK_THROWS_AS(Index(cases(world).back().partitioner, kBits, kDim + 1, false), std::invalid_argument);
}
