// The container: what goes in, under which ids, and what stays as it was.

#include "lshcore/index.h"

#include <doctest/doctest.h>

#include <atomic>
#include <limits>
#include <new>
#include <stdexcept>
#include <thread>

#include "naive_index.h"

using namespace lshcore;
using naive::Answer;
using naive::Case;
using naive::view;
using naive::World;

namespace {

constexpr auto kRows = World::kRows, kDim = World::kDim;
constexpr int kBits = World::kBits;

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

TEST_CASE("index: rows keep their order and ids, and buckets are counted over the segments") {
    const World world(1);
    const auto index = world.index(world.bit_keys(2, 4), {150, 64, 115, 1});
    CHECK(index->n_segments() == 4);
    CHECK(index->size() == kRows);
    CHECK(index->ids() == world.ids);
    CHECK(index->bucket_sizes(1) == world.index(world.bit_keys(2, 4), {kRows})->bucket_sizes(1));
    for (const int table : {-1, 2}) CHECK_THROWS_AS(index->bucket_sizes(table), std::invalid_argument);
    const auto bytes = index->nbytes();
    CHECK(bytes.codes == kRows * 2 * sizeof(Word));
    CHECK(bytes.vectors == kRows * (kDim + 1) * sizeof(float));
    CHECK(bytes.tables >= 2 * kRows * sizeof(Row));
    CHECK(Index(OneBucket{}, kBits, 0, VectorType::none).nbytes().codes == 0);
}

TEST_CASE("index: a failed add changes nothing") {
    const World world(2);
    const Id largest = std::numeric_limits<Id>::max();
    const auto index = world.index(OneBucket{}, {20, 10});
    const auto fails = [&](View<const Word> codes, View<const float> vectors, std::vector<Id> ids, const char* why) {
        const Seen before = look(world, *index);
        CHECK_THROWS_WITH_AS(index->add(codes, vectors, ids.empty() ? nullptr : ids.data(), 2), doctest::Contains(why),
                             std::invalid_argument);
        CHECK(look(world, *index) == before);
    };
    const auto codes = world.code_rows(40, 3);
    const auto vectors = world.vector_rows(40, 3);
    fails(codes, vectors, {1, 2, 1}, "1 twice");
    fails(codes, vectors, {1, -1, 2}, "got -1");
    fails(codes, vectors, {1, 2, world.ids[3]}, "in the index already");   // in the first segment
    fails(codes, vectors, {world.ids[29], 2, 3}, "in the index already");  // in the second
    fails(codes, world.vector_rows(40, 2), {1, 2, 3}, "as many vectors as codes");
    fails(codes, {world.vectors.data(), 3, kDim - 1}, {1, 2, 3}, "5 columns, got 4");
    fails(codes, {}, {1, 2, 3}, "vectors are needed");
    fails({}, vectors, {1, 2, 3}, "codes are needed");
    fails({world.codes.data(), 3, 1}, vectors, {1, 2, 3}, "2 words");
    std::vector<Word> padded(world.codes.begin(), world.codes.begin() + 6);
    padded[5] |= Word{1} << 63;
    fails(view(padded, 3), vectors, {1, 2, 3}, "row 2");

    index->add(codes, vectors, nullptr, 1);  // numbered on from the largest, which no failure has moved
    const Id next = *std::max_element(world.ids.begin(), world.ids.begin() + 30) + 1;
    const auto ids = index->ids();
    CHECK(std::vector<Id>(ids.end() - 3, ids.end()) == std::vector<Id>{next, next + 1, next + 2});
    fails(codes, vectors, {5, next + 1, 6}, "in the index already");  // in a segment that stores no ids
    index->add(codes, vectors, std::vector<Id>{8, 7, 9}.data(), 1);   // small ones do not set the count back
    index->add(codes, vectors, nullptr, 1);
    CHECK(index->ids().back() == next + 5);
    index->add(codes, vectors, std::vector<Id>{17, largest, 13}.data(), 1);
    fails(codes, vectors, {}, "no numbers are left");
    index->add(world.code_rows(0, 0), world.vector_rows(0, 0), nullptr, 1);  // no rows: no segment
    CHECK(index->n_segments() == 6);
}

TEST_CASE("index: an add that runs out of memory, wherever it does, changes nothing") {
    const World world(3);
    for (const Case& one : world.cases()) {
        CAPTURE(one.name);
        const auto index = world.index(one.partitioner, {50});
        const Seen before = {index->size(), index->n_segments(), index->ids(), {}};
        std::int64_t allocations = 0;
        for (bool done = false; !done; ++allocations) {
            naive::allocations_left = allocations;
            try {
                index->add(world.code_rows(50, 40), world.vector_rows(50, 40), world.ids.data() + 50, 1);
                done = true;
            } catch (const std::bad_alloc&) {
            }
            naive::allocations_left = -1;
            if (!done) REQUIRE(Seen{index->size(), index->n_segments(), index->ids(), {}} == before);
        }
        CHECK(allocations > 5);
        CHECK(index->size() == 90);
        const SearchOptions options{Rank::l2, one.probes[0], 1};
        CHECK(world.search(*index, options, 5) == world.brute(one, options, 5, 90));
    }
}

TEST_CASE("index: wide keys that share a fingerprint do not share a bucket") {
    naive::Draw draw(4);
    for (const int key_bits : {65, 128, 256}) {
        CAPTURE(key_bits);
        const int words = words_for(key_bits);
        auto queries = naive::codes_of_one_fingerprint(draw, 2, key_bits);
        std::vector<std::int32_t> positions(static_cast<std::size_t>(key_bits));
        std::iota(positions.begin(), positions.end(), 0);
        const BitKeys keys(positions, 1, key_bits, key_bits);
        REQUIRE(keys.name(keys.key(0, queries.data())) == keys.name(keys.key(0, queries.data() + words)));
        Index index(keys, key_bits, 0, VectorType::none);
        auto rows = queries;
        rows.insert(rows.end(), queries.begin(), queries.end());
        for (int batch = 0; batch < 2; ++batch) index.add(view(rows, 4), {}, nullptr, 1);
        CHECK(index.bucket_sizes(0) == std::vector<std::int64_t>{4, 4});

        const auto stranger = draw.codes(1, key_bits);
        queries.insert(queries.end(), stranger.begin(), stranger.end());
        std::vector<std::int64_t> offsets, n(3);
        std::vector<Id> ids, nearest(3 * 8);
        std::vector<std::uint16_t> distances(nearest.size());
        std::vector<StageTimes> times(3);
        index.candidates({view(queries, 3), {}, {}}, {}, offsets, ids);
        CHECK(ids == std::vector<Id>{0, 2, 4, 6, 1, 3, 5, 7});
        CHECK(offsets == std::vector<std::int64_t>{0, 4, 8, 8});
        index.search({view(queries, 3), {}, {}}, 8, {}, distances.data(), nearest.data(), n.data(), times.data());
        CHECK(n == std::vector<std::int64_t>{4, 4, 0});
        CHECK(std::vector<Id>(nearest.begin() + 8, nearest.begin() + 16) ==
              std::vector<Id>{1, 3, 5, 7, -1, -1, -1, -1});
        CHECK(std::all_of(distances.begin(), distances.begin() + 4, [](auto d) { return d == 0; }));
    }
}

TEST_CASE("index: searches beside an add see a whole number of batches") {
    const World world(5);
    constexpr std::int64_t kBatch = 11, kReaders = 3;
    for (const Case& one : world.cases()) {
        CAPTURE(one.name);
        std::vector<Answer> prefixes;
        for (std::int64_t n = 0; n <= kRows; n += kBatch)
            prefixes.push_back(world.brute(one, {Rank::hamming, one.probes[0], 1}, 20, n));
        Index index(one.partitioner, kBits, kDim, VectorType::float32);
        std::atomic<bool> done{false};
        std::atomic<int> wrong{0};
        std::atomic<std::int64_t> searches[kReaders] = {};
        std::vector<std::thread> readers;
        for (int r = 0; r < kReaders; ++r)
            readers.emplace_back([&, r] {
                auto seen = prefixes.begin();  // no reader ever goes back
                for (bool last = false; !last; ++searches[r]) {
                    last = done;
                    const auto answer = world.search(index, {Rank::hamming, one.probes[0], 1 + r % 2}, 20);
                    const auto at = std::find(seen, prefixes.end(), answer);
                    wrong += at == prefixes.end() || (last && answer != prefixes.back());
                    if (at != prefixes.end()) seen = at;
                }
            });
        for (std::int64_t first = 0; first < kRows; first += kBatch) {
            world.add(index, first, kBatch);
            for (auto& count : searches)  // each reader searches between any two adds, and beside them
                for (const auto before = count.load(); count == before;) std::this_thread::yield();
        }
        done = true;
        for (auto& reader : readers) reader.join();
        CHECK(wrong == 0);
    }
}

TEST_CASE("index: parts that do not fit each other are refused") {
    const World world(6);
    const ClusterKeys clusters(world.centroids, World::kClusters, kDim);
    CHECK_THROWS_AS(Index(OneBucket{}, 0, kDim, VectorType::none), std::invalid_argument);
    CHECK_THROWS_AS(Index(OneBucket{}, kBits, 0, VectorType::float32), std::invalid_argument);
    CHECK_THROWS_AS(Index(OneBucket{}, 4097, 0, VectorType::none), std::invalid_argument);
    CHECK_THROWS_AS(Index(OneBucket{}, kBits, -1, VectorType::none), std::invalid_argument);
    CHECK_THROWS_AS(Index(world.bit_keys(1, 4), kBits - 1, 0, VectorType::none), std::invalid_argument);
    CHECK_THROWS_AS(Index(clusters, kBits, kDim + 1, VectorType::none), std::invalid_argument);
    CHECK_NOTHROW(Index(clusters, kBits, kDim, VectorType::none));
}
