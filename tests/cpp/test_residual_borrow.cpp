// Residual codes in somebody else's memory.

#include <doctest/doctest.h>

#include <limits>
#include <stdexcept>

#include "lshcore/error.h"
#include "naive_file.h"
#include "naive_residual.h"

using namespace lshcore;
using naive::Answer;
using naive::Clustered;
using naive::File;

namespace {

constexpr auto kRows = Clustered::kRows, kDim = Clustered::kDim, kClusters = Clustered::kClusters;
const char* const kArrays[] = {"residual_codes", "residual_offsets", "residual_scales", "residual_squares"};

std::vector<Answer> answers(const Clustered& data, const Index& index, bool by_residuals = true) {
    std::vector<Answer> all;
    for (const Rank rank : {Rank::l2, Rank::cosine, Rank::ip}) {
        SearchOptions with;
        with.rank = rank;
        with.n_jobs = 2;
        for (const auto& [probes, shortlist] : {std::pair{3, 50}, {5, 600}, {1, 9}}) {
            with.probes = probes;
            with.shortlist = by_residuals ? shortlist : 0;
            all.push_back(naive::answer(index, data.queries(), with, 9));
        }
    }
    return all;
}

std::unique_ptr<Index> restored(const Partitioner& keys, VectorType keep, std::vector<LiveSegment> segments,
                                Id next_id) {
    auto index = std::make_unique<Index>(keys, 0, kDim, keep);
    index->restore(std::move(segments), next_id);
    return index;
}

}  // namespace

TEST_CASE("residual borrow: borrowed residuals answer as those they were made of, and change as they do") {
    const Clustered data(1);
    const auto keys = data.keys();
    for (const VectorType keep : {VectorType::float32, VectorType::float16})
        for (const std::size_t block : {0, 512}) {
            CAPTURE(block);
            const auto index = data.index(keys, {data.all.begin(), data.all.end() - 100}, {301, 150}, keep);
            const auto ids = index->ids();
            index->remove(ids.data() + 290, 30);
            const auto contents = index->contents();
            std::vector<std::unique_ptr<File>> files;
            std::vector<LiveSegment> segments;
            for (const auto& part : contents.segments) {
                files.push_back(std::make_unique<File>(*part.segment));
                for (const char* name : kArrays) CHECK(files.back()->find(name) != nullptr);
                segments.push_back({files.back()->borrow(files.back()->crcs(512), block), part.removed, 0});
            }
            const auto other = restored(keys, keep, segments, contents.next_id);
            CHECK(answers(data, *other) == answers(data, *index));
            for (Index* both : {index.get(), other.get()}) {
                data.add(*both, {data.all.end() - 100, data.all.end() - 50});
                both->remove(ids.data(), 20);
            }
            CHECK(answers(data, *other) == answers(data, *index));
            other->compact(2);
            CHECK(answers(data, *other) == answers(data, *index));
            index->compact(1);
            const Segment &mine = *index->contents().segments[0].segment,
                          &theirs = *other->contents().segments[0].segment;
            CHECK(naive::same_bits(mine.residuals.codes, theirs.residuals.codes));
            CHECK(naive::same_bits(mine.residuals.offsets, theirs.residuals.offsets));
            CHECK(naive::same_bits(mine.residuals.scales, theirs.residuals.scales));
            CHECK(naive::same_bits(mine.residuals.squares, theirs.residuals.squares));
        }
}

TEST_CASE("residual borrow: merged segments hold the codes that one made of their rows would") {
    const Clustered data(2);
    const auto keys = data.keys();
    const auto whole = data.index(keys, data.all), parts = data.index(keys, data.all, {1, 32, 200, 31, 64, 7});
    parts->compact(3);
    const auto a = whole->contents().segments[0].segment, b = parts->contents().segments[0].segment;
    CHECK(naive::same_bits(a->tables[0].rows(), b->tables[0].rows()));
    CHECK(naive::same_bits(a->residuals.codes, b->residuals.codes));
    CHECK(naive::same_bits(a->residuals.offsets, b->residuals.offsets));
    CHECK(naive::same_bits(a->residuals.scales, b->residuals.scales));
    CHECK(naive::same_bits(a->residuals.squares, b->residuals.squares));
    for (std::size_t p = 0; p < static_cast<std::size_t>(kRows); ++p)
        CHECK(a->residuals.squares[p] ==
              naive::dot(data.row(a->tables[0].rows()[p]), data.row(a->tables[0].rows()[p]), kDim));
}

TEST_CASE("residual borrow: rows of many tasks are coded as each alone") {
    naive::Draw draw(3);
    constexpr std::int64_t kMany = 5000, kFew = 7, kWide = 70;  // a task has 1024 rows
    const auto centroids = draw.reals(kFew * kWide), rows = draw.reals(kMany * kWide);
    const ClusterKeys keys(centroids, kFew, kWide, std::vector<float>(kFew, 1.0f), std::vector<float>(kFew, 1.0f));
    const auto one = build_segment(keys, {}, naive::view(rows, kMany), VectorType::none, Ids(0, kMany), 1),
               four = build_segment(keys, {}, naive::view(rows, kMany), VectorType::none, Ids(0, kMany), 4);
    CHECK(naive::same_bits(one->residuals.codes, four->residuals.codes));
    ResidualEncoder encoder(keys.residuals()->rotation, keys.mean().data());
    const std::int64_t width = keys.residuals()->rotation.width();
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(residual_bytes(kMany, width)));
    std::vector<float> offsets(kMany), scales(kMany);
    one->tables[0].for_each_bucket([&](Word c, std::span<const Row> bucket) {
        for (const Row& row : bucket) {
            encoder.begin(keys.centroids().row(static_cast<std::int64_t>(c)));
            encoder.encode(rows.data() + row * kWide, &row - one->tables[0].rows().data(), codes.data(), offsets.data(),
                           scales.data());
        }
    });
    CHECK(naive::same_bits(one->residuals.codes, codes));
    CHECK(naive::same_bits(four->residuals.offsets, offsets));
    CHECK(naive::same_bits(one->residuals.scales, scales));
}

TEST_CASE("residual borrow: arrays of the wrong size are refused at once") {
    const Clustered data(4);
    const auto index = data.index(data.keys(), data.all);
    File file(*index->contents().segments[0].segment);
    REQUIRE(file.shape.residual_width == 256);
    const auto refused = [&](auto spoil, const std::string& why) {
        auto arrays = file.arrays();
        auto shape = file.shape;
        spoil(arrays, shape);
        CHECK_THROWS_WITH_AS(borrow_segment(shape, kRows, 0, arrays, nullptr), doctest::Contains(why.c_str()),
                             std::invalid_argument);
    };
    using A = BorrowedArrays;
    const auto resized = [](auto& array, std::size_t n) { array = {array.data(), n, nullptr}; };
    const std::size_t n = kRows, bytes = 19 * 32 * 32;  // 19 blocks of 32 rows of 256 bits
    CHECK(file.find("residual_codes")->n == bytes);
    for (const std::size_t size : {bytes - 1, bytes + 1, bytes / 2, std::size_t{0}, n * 32})
        refused([&](A& a, RowShape&) { resized(a.residuals.codes, size); },
                "'residual_codes': expected 19456 elements, got " + std::to_string(size));
    for (const std::size_t size : {n - 1, n + 1, std::size_t{0}}) {
        const auto got = "': expected 600 elements, got " + std::to_string(size);
        refused([&](A& a, RowShape&) { resized(a.residuals.offsets, size); }, "'residual_offsets" + got);
        refused([&](A& a, RowShape&) { resized(a.residuals.scales, size); }, "'residual_scales" + got);
        refused([&](A& a, RowShape&) { resized(a.residuals.squares, size); }, "'residual_squares" + got);
    }
    refused([](A&, RowShape& shape) { shape.residual_width = 0; }, "'residual_codes': expected 0 elements");
    refused([](A&, RowShape& shape) { shape.residual_width = 128; }, "'residual_codes': expected 9728");
    refused([](A& a, RowShape&) { a.residuals = {}; }, "'residual_codes': expected 19456 elements, got 0");
    refused(
        [](A& a, RowShape&) {
            const auto* at = reinterpret_cast<const char*>(a.residuals.scales.data()) - 2;
            a.residuals.scales = {reinterpret_cast<const float*>(at), kRows, nullptr};
        },
        "'residual_scales': expected data at a multiple of 4 bytes");
    const auto segment = file.borrow({}, 0);
    Index plain(ClusterKeys(data.centroids, kClusters, kDim), 0, kDim, VectorType::float32);
    CHECK_THROWS_WITH_AS(plain.restore({{segment, nullptr, 0}}, 5000), doctest::Contains("another shape"),
                         std::invalid_argument);
}

TEST_CASE("residual borrow: every damaged byte is found before it is used, and named") {
    const Clustered data(5);
    naive::Draw draw(6);
    const auto keys = data.keys();
    const auto index = data.index(keys, data.all);
    const auto contents = index->contents();
    File file(*contents.segments[0].segment);
    const auto sums = file.crcs(8);  // no block is of two arrays
    const auto right = answers(data, *index), without = answers(data, *index, false);
    for (const char* name : kArrays)
        for (int round = 0; round < 5; ++round) {
            CAPTURE(name);
            const auto* span = file.find(name);
            auto& byte = file.data()[span->at + draw.below(span->n)];
            const auto was = byte;
            byte = static_cast<std::uint8_t>(byte ^ 1u << draw.below(8));
            const auto segment = file.borrow(sums, 8);
            const auto named = std::string("array '") + name + "'";
            CHECK_THROWS_WITH_AS(segment->prepare(kResiduals, 2), doctest::Contains(named.c_str()), DamagedError);
            const auto other = restored(keys, VectorType::float32, {{segment, nullptr, 0}}, contents.next_id);
            CHECK(answers(data, *other, false) == without);  // nothing of it is looked at
            CHECK_THROWS_WITH_AS(answers(data, *other), doctest::Contains(named.c_str()), DamagedError);
            const auto rebuild = [&] {
                other->remove(&data.all[0].id, 1);
                other->compact(1);
            };
            CHECK_THROWS_AS(rebuild(), DamagedError);
            byte = was;
        }
    CHECK(answers(data, *restored(keys, VectorType::float32, {{file.borrow(sums, 8), nullptr, 0}}, 5000)) == right);
}

TEST_CASE("residual borrow: residuals that are no numbers never lead out of bounds") {
    const Clustered data(7);
    naive::Draw draw(8);
    const auto keys = data.keys();
    const auto index = data.index(keys, data.all);
    const auto contents = index->contents();
    const float values[] = {std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(),
                            3e38f,
                            -3e38f,
                            0.0f};
    for (int round = 0; round < 12; ++round) {
        File file(*contents.segments[0].segment);
        for (int change = 0; change < 300; ++change) {
            const auto* span = file.find(kArrays[draw.below(std::size(kArrays))]);
            const float value = values[draw.below(round < 8 ? 6 : 1)];
            std::memcpy(file.data() + span->at + draw.below(span->n / 4) * 4, &value, 4);
        }
        const auto other = restored(keys, VectorType::float32, {{file.borrow({}, 0), nullptr, 0}}, contents.next_id);
        for (const Answer& found : answers(data, *other)) {
            bool real = true;  // what is found is a row, and its distance is right
            for (std::size_t i = 0; i < found.hits.size(); ++i)
                real &= found.hits[i].second == kNoId || std::isfinite(found.hits[i].first);
            CHECK(real);
        }
        other->remove(&data.all[0].id, 1);
        other->compact(2);
        answers(data, *other);
    }
}
