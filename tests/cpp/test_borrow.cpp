// Segments in somebody else's memory: they answer as owned ones do, and damage never leads out of bounds.

#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <thread>

#include "lshcore/crc32c.h"
#include "lshcore/error.h"
#include "naive_file.h"
#include "naive_index.h"

using namespace lshcore;
using naive::Answer;
using naive::Case;
using naive::File;
using naive::World;

namespace {

constexpr auto kDim = World::kDim;
constexpr int kBits = World::kBits;

std::unique_ptr<Index> restored(const Case& one, VectorType keep, std::vector<LiveSegment> segments, Id next_id) {
    auto index = std::make_unique<Index>(one.partitioner, kBits, kDim, keep);
    index->restore(std::move(segments), next_id);
    return index;
}

/// Everything that reads an index.
std::vector<Answer> answers(const World& world, const Index& index, const Case& one) {
    std::vector<Answer> all;
    for (const Rank rank : {Rank::hamming, Rank::margin, Rank::cosine, Rank::l2})
        for (const std::int64_t shortlist : {0, 11})
            if (rank != Rank::hamming || shortlist == 0)
                all.push_back(world.search(index, {rank, one.probes.back(), 2, -1, shortlist}, 9));
    return all;
}

}  // namespace

TEST_CASE("borrow: borrowed segments answer as those they were made of, and change as they do") {
    const World world(1);
    for (const Case& one : world.cases())
        for (const VectorType keep : {VectorType::float32, VectorType::float16})
            for (const bool range : {false, true}) {
                CAPTURE(one.name);
                CAPTURE(range);
                Index index(one.partitioner, kBits, kDim, keep);
                const auto add = [&](Index& to, std::int64_t first, std::int64_t n) {
                    to.add(world.code_rows(first, n), world.vector_rows(first, n),
                           range ? nullptr : world.ids.data() + first, 1);
                };
                add(index, 0, 200);
                add(index, 200, 70);
                const auto some = index.ids();
                index.remove(some.data() + 190, 30);  // of both segments
                const auto contents = index.contents();
                std::vector<std::unique_ptr<File>> files;
                std::vector<LiveSegment> segments;
                for (const auto& part : contents.segments) {
                    files.push_back(std::make_unique<File>(*part.segment));
                    CHECK(files.back()->range == range);
                    const auto sums = files.back()->crcs(512);
                    segments.push_back({files.back()->borrow(sums, range ? 0 : 512), part.removed, 0});
                }
                const auto other = restored(one, keep, segments, contents.next_id);
                CHECK(other->size() == 240);
                CHECK(other->ids() == index.ids());
                CHECK(answers(world, *other, one) == answers(world, index, one));
                for (const auto& part : segments) part.segment->prepare(kAllParts, 2);
                for (Index* both : {&index, other.get()}) {
                    add(*both, 280, 40);
                    both->remove(some.data(), 20);
                    both->update(world.code_rows(3, 2), world.vector_rows(3, 2), some.data() + 60, 1);
                }
                CHECK(other->ids() == index.ids());
                CHECK(answers(world, *other, one) == answers(world, index, one));
                other->compact(2);
                CHECK(answers(world, *other, one) == answers(world, index, one));
            }
}

TEST_CASE("borrow: arrays of the wrong size, place or index are refused at once") {
    const World world(2);
    const auto cases = world.cases();
    const Case& one = cases[1];
    const auto index = world.index(one.partitioner, {100});
    const auto segment = index->contents().segments[0].segment;
    File file(*segment);
    const auto refused = [&](auto spoil, const char* why, bool with_blocks = false) {
        auto arrays = file.arrays();
        RowShape shape = file.shape;
        std::int64_t n = file.n_rows;
        Id first = 0;
        spoil(arrays, shape, n, first);
        auto blocks = with_blocks ? std::make_shared<const Blocks>(file.data(), 64, block_crcs(file.data(), 64, 64, 1),
                                                                   64, nullptr, "Segment")
                                  : nullptr;
        CHECK_THROWS_WITH_AS(borrow_segment(shape, n, first, arrays, blocks), doctest::Contains(why),
                             std::invalid_argument);
    };
    using A = BorrowedArrays;
    refused([](A&, RowShape&, auto& n, Id&) { n = 99; }, "array 'codes': expected 198 elements, got 200");
    refused([](A&, RowShape&, auto& n, Id&) { n = 0; }, "1 to 2^32 - 2 rows, got 0");
    refused([](A&, RowShape&, auto& n, Id&) { n = std::int64_t{1} << 40; }, "rows, got");
    refused([](A& a, RowShape&, auto&, Id& first) { a.ids = {}, a.ids_order = {}, first = -1; }, "got -1");
    refused([](A& a, RowShape&, auto&, Id& first) { a.ids = {}, a.ids_order = {}, first = ~(Id{1} << 63) - 50; },
            "first_id");
    refused([](A& a, RowShape&, auto&, Id&) { a.ids = {}; }, "'ids_order': expected 0");
    refused([](A& a, RowShape&, auto&, Id&) { a.tables.pop_back(); }, "expected 3 tables, got 2");
    refused([](A& a, RowShape&, auto&, Id&) { a.tables[1].rows = {}; }, "'rows.1': expected 100 elements, got 0");
    refused([](A& a, RowShape&, auto&, Id&) { a.tables[2].offsets = a.tables[2].rows; }, "'offsets.2': expected 17");
    refused([](A& a, RowShape&, auto&, Id&) { a.tables[2].keys = a.codes; }, "'keys.2': expected at most 100");
    refused([](A& a, RowShape&, auto&, Id&) { a.vectors = {}; }, "'vectors': expected 500");
    refused([](A&, RowShape& shape, auto&, Id&) { shape.keep = VectorType::float16; }, "'vectors': expected 0");
    refused(
        [](A& a, RowShape&, auto&, Id&) {
            a.codes = {reinterpret_cast<const Word*>(reinterpret_cast<const char*>(a.codes.data()) + 4), 200, nullptr};
        },
        "multiple of 8 bytes");
    refused([](A&, RowShape&, auto&, Id&) {}, "within that of the blocks", true);

    Index other(world.bit_keys(3, 5), kBits, kDim, VectorType::float32);
    CHECK_THROWS_WITH_AS(other.restore({{segment, nullptr, 0}}, 500), doctest::Contains("another shape"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(index->restore({{segment, nullptr, 0}}, 500), doctest::Contains("must be empty"),
                         std::invalid_argument);
    Index same(one.partitioner, kBits, kDim, VectorType::float32);
    const auto bits = [](std::vector<Word> words) { return std::make_shared<const std::vector<Word>>(words); };
    CHECK_THROWS_AS(same.restore({{segment, bits({1}), 0}}, 500), std::invalid_argument);
    CHECK_THROWS_AS(same.restore({{segment, bits({1, Word{1} << 36}), 0}}, 500), std::invalid_argument);
    CHECK_THROWS_AS(same.restore({{segment, nullptr, 0}}, -1), std::invalid_argument);
    CHECK(same.size() == 0);
    same.restore({{segment, bits({1, Word{1} << 35}), 0}}, 500);
    CHECK(same.size() == 98);
}

TEST_CASE("borrow: every damaged byte is found before it is used, and named") {
    const World world(3);
    naive::Draw draw(4);
    for (const Case& one : world.cases()) {
        CAPTURE(one.name);
        const auto index = world.index(one.partitioner, {150});
        const auto contents = index->contents();
        File file(*contents.segments[0].segment);
        const auto sums = file.crcs(256);
        const auto right = answers(world, *index, one);
        for (const auto& span : file.spans)
            for (int round = 0; round < 4; ++round) {
                CAPTURE(span.name);
                const std::size_t at = span.at + draw.below(span.n);
                const auto was = file.data()[at];
                file.data()[at] = static_cast<std::uint8_t>(was ^ (1u << draw.below(8)));
                const auto segment = file.borrow(sums, 256);
                CHECK_THROWS_WITH_AS(segment->prepare(kAllParts, 2), doctest::Contains("is damaged: block"),
                                     DamagedError);
                const auto other = restored(one, VectorType::float32, {{segment, nullptr, 0}}, contents.next_id);
                try {
                    const auto found = answers(world, *other, one);
                    CHECK(found == right);  // or nothing of it was looked at
                } catch (const DamagedError&) {
                }
                const auto rebuild = [&] {
                    other->remove(world.ids.data(), 1);
                    other->compact(1);
                };
                CHECK_THROWS_AS(rebuild(), DamagedError);
                file.data()[at] = was;
                if (segment != nullptr) segment->prepare(kAllParts, 1);  // whole again, and nothing was held against it
            }
    }
}

TEST_CASE("borrow: hostile arrays whose checksums are right never lead out of bounds") {
    const World world(5);
    naive::Draw draw(6);
    int refused = 0, answered = 0;
    for (const Case& one : world.cases()) {
        CAPTURE(one.name);
        const auto index = world.index(one.partitioner, {120});
        const auto contents = index->contents();
        for (int round = 0; round < 250; ++round) {
            File file(*contents.segments[0].segment);
            for (std::uint64_t change = 0; change <= draw.below(2); ++change) {
                const auto& span = file.spans[draw.below(file.spans.size())];
                const bool wide = span.n % 8 == 0 && draw.below(2) == 0;
                const std::size_t size = wide ? 8 : span.n % 4 == 0 ? 4 : 2;
                const std::size_t at = span.at + size * draw.below(span.n / size);
                const std::uint64_t values[] = {0,
                                                1,
                                                119,
                                                120,
                                                121,
                                                0x7fc00000u,
                                                0x7f800000u,
                                                ~std::uint64_t{0},
                                                std::uint64_t{1} << 63,
                                                std::uint64_t{1} << 31,
                                                draw.below(1u << 20)};
                std::uint64_t value = values[draw.below(std::size(values))];
                if (draw.below(4) == 0)
                    std::memcpy(&value, file.data() + span.at + size * draw.below(span.n / size), size);
                std::memcpy(file.data() + at, &value, size);
            }
            const auto sums = file.crcs(256);
            const auto segment = file.borrow(sums, round % 2 == 0 ? 256 : 0);
            const auto other = restored(one, VectorType::float32, {{segment, nullptr, 0}}, contents.next_id);
            try {
                answers(world, *other, one);
                ++answered;
                other->ids();
                if (one.partitioner.index() != 0) other->bucket_sizes(0);
                RankingAccumulator accumulator({5}, {1, 10}, kBits, round % 3 == 0);
                const std::vector<std::int64_t> labels(World::kRows, 1);
                other->evaluate(accumulator, world.queries(), {Rank::hamming, one.probes[0], 1},
                                Labels::single({labels.begin(), labels.begin() + World::kQueries}),
                                Labels::single({labels.begin(), labels.begin() + other->size()}));
                for (const Rank rank : {Rank::cosine, Rank::l2}) {
                    RankingAccumulator floats({5}, {1, 10}, 0, round % 3 == 0);
                    other->evaluate(floats, world.queries(), {rank, one.probes[0], 1},
                                    Labels::single({labels.begin(), labels.begin() + World::kQueries}),
                                    Labels::single({labels.begin(), labels.begin() + other->size()}));
                }
                other->remove(other->ids().data(), 7);
                world.add(*other, 200, 20);
                other->compact(1);
                answers(world, *other, one);
            } catch (const DamagedError& error) {
                CHECK(std::string(error.what()).starts_with("Segment: array '"));
                ++refused;
            } catch (const std::invalid_argument&) {  // an id that is there twice
            }
        }
    }
    CHECK(refused > 500);
    CHECK(answered > 50);
}

TEST_CASE("borrow: several threads may be the first to use a segment") {
    const World world(7);
    for (const Case& one : world.cases()) {
        const auto index = world.index(one.partitioner, {300});
        const auto contents = index->contents();
        File file(*contents.segments[0].segment);
        const auto sums = file.crcs(512);
        const auto other = restored(one, VectorType::float32, {{file.borrow(sums, 512), nullptr, 0}}, contents.next_id);
        const auto right = answers(world, *index, one);
        std::atomic<int> wrong{0};
        std::vector<std::thread> threads;
        for (int t = 0; t < 6; ++t) threads.emplace_back([&] { wrong += answers(world, *other, one) != right; });
        for (auto& thread : threads) thread.join();
        CHECK(wrong == 0);
    }
}
