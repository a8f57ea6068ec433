#include <doctest/doctest.h>

#include <memory>
#include <numeric>
#include <set>
#include <stdexcept>

#include "lshcore/partition.h"
#include "lshcore/table.h"
#include "naive.h"

using namespace lshcore;
using naive::view;

namespace {

/// Positions of every kind: a run, the run backwards, and ones in no order.
std::vector<std::vector<std::int32_t>> position_kinds(naive::Draw& draw, int key_bits, int n_bits) {
    std::vector<std::int32_t> run(static_cast<std::size_t>(key_bits));
    const auto first = draw.below(static_cast<std::uint64_t>(n_bits - key_bits + 1));
    std::iota(run.begin(), run.end(), static_cast<std::int32_t>(first));
    return {run, {run.rbegin(), run.rend()}, draw.positions(key_bits, n_bits), draw.positions(key_bits, n_bits)};
}

bool same_bits_at(const std::int32_t* positions, int key_bits, const Word* a, const Word* b) {
    for (int j = 0; j < key_bits; ++j)
        if (naive::bit(a, positions[j]) != naive::bit(b, positions[j])) return false;
    return true;
}

}  // namespace

TEST_CASE("partition: BitKeys take the bits at their positions, first position first") {
    naive::Draw draw(1);
    constexpr std::int64_t kRows = 40;
    for (const int key_bits : {1, 7, 63, 64, 65, 128, 200, 256})
        for (const int n_bits : {64, 65, 256, 317, 4096}) {
            if (key_bits > n_bits) continue;
            const int words = words_for(n_bits);
            auto kinds = position_kinds(draw, key_bits, n_bits);
            std::vector<std::int32_t> all;
            for (const auto& positions : kinds) all.insert(all.end(), positions.begin(), positions.end());
            const auto n_tables = static_cast<int>(kinds.size());
            const BitKeys keys(all, n_tables, key_bits, n_bits);
            CHECK(keys.wide() == (key_bits > 64));
            CHECK(keys.positions() == all);
            for (int t = 0; t < n_tables; ++t) {
                CAPTURE(key_bits);
                CAPTURE(n_bits);
                CAPTURE(t);
                const std::int32_t* at = all.data() + t * key_bits;
                auto codes = draw.codes(kRows, n_bits);
                // Row 1 has row 0's key: all that is not in the key is turned over. Row 2 differs in one bit of it.
                const std::set<std::int32_t> used(at, at + key_bits);
                for (int j = 0; j < n_bits; ++j) {
                    const bool bit = naive::bit(codes.data(), j);
                    const auto set_bit = [&](std::int64_t row, bool value) {
                        Word& word = codes[static_cast<std::size_t>(row * words + j / 64)];
                        word = (word & ~(Word{1} << (j % 64))) | (Word{value} << (j % 64));
                    };
                    set_bit(1, used.contains(j) ? bit : !bit);
                    set_bit(2, j == at[key_bits - 1] ? !bit : bit);
                }
                CHECK((keys.key(t, codes.data()) == keys.key(t, codes.data() + words)));
                CHECK((keys.key(t, codes.data()) != keys.key(t, codes.data() + 2 * words)));
                for (std::int64_t i = 0; i < kRows; ++i) {
                    const Word* code = codes.data() + i * words;
                    Key expected;
                    for (int j = 0; j < key_bits; ++j)
                        expected.words[j / 64] |= Word{naive::bit(code, at[j])} << (j % 64);
                    CHECK((keys.key(t, code) == expected));
                    if (key_bits <= 64) CHECK(keys.name(expected) == expected.words[0]);
                    for (std::int64_t other = 0; other < 4; ++other) {
                        const Word* with = codes.data() + other * words;
                        CHECK((keys.name(keys.key(t, code)) == keys.name(keys.key(t, with))) ==
                              same_bits_at(at, key_bits, code, with));
                    }
                }
            }
        }
}

TEST_CASE("partition: different wide keys under one fingerprint are told apart, and by a table too") {
    naive::Draw draw(4);
    for (const int key_bits : {65, 70, 128, 200, 256}) {
        CAPTURE(key_bits);
        const int words = words_for(key_bits);
        constexpr std::int64_t kKinds = 2, kRows = 9;  // 65 bits leave one bit to count with
        const auto kinds = naive::codes_of_one_fingerprint(draw, kKinds, key_bits);
        std::vector<std::int32_t> positions(static_cast<std::size_t>(key_bits));
        std::iota(positions.begin(), positions.end(), 0);
        const BitKeys keys(positions, 1, key_bits, key_bits);
        const Word fingerprint = keys.name(keys.key(0, kinds.data()));
        REQUIRE(keys.name(keys.key(0, kinds.data() + words)) == fingerprint);
        CHECK((keys.key(0, kinds.data()) != keys.key(0, kinds.data() + words)));

        const auto code = [&](Row row) { return kinds.data() + row % kKinds * words; };
        const Table table(std::vector<Word>(kRows, fingerprint), 0, [&](Row a, Row b) {
            const auto order = keys.key(0, code(a)) <=> keys.key(0, code(b));
            return order < 0 ? -1 : order > 0;
        });
        for (const Row kind : {0u, 1u}) {
            const auto bucket =
                table.bucket(fingerprint, [&](Row row) { return keys.key(0, code(kind)) == keys.key(0, code(row)); });
            CHECK(bucket.size() == (kind == 0 ? 5 : 4));
            for (const Row row : bucket) CHECK(row % kKinds == kind);
        }
    }
}

TEST_CASE("partition: BitKeys refuse what they cannot read") {
    const auto refused = [](std::vector<std::int32_t> positions, int n_tables, int key_bits, int n_bits,
                            const char* why) {
        CHECK_THROWS_WITH_AS(BitKeys(std::move(positions), n_tables, key_bits, n_bits), doctest::Contains(why),
                             std::invalid_argument);
    };
    refused({63, 64}, 1, 2, 64, "positions must be 0 to 63, got 64");
    refused({8, 9, 10}, 1, 3, 10, "positions must be 0 to 9, got 10");  // the end of a run
    refused({-1, 0}, 1, 2, 64, "got -1");
    refused({0, 1, -5, 3}, 2, 2, 64, "got -5");
    refused({5, 6, 5}, 1, 3, 64, "distinct");
    refused({0, 1, 2}, 1, 2, 64, "(n_tables, key_bits)");
    refused({}, 0, 2, 64, "n_tables");
    refused({}, 1, 0, 64, "key_bits must be 1 to 256, got 0");
    refused(naive::Draw(5).positions(257, 300), 1, 257, 300, "got 257");
    refused({0}, 1, 1, 0, "n_bits");
    refused({0}, 1, 1, 4097, "n_bits");
    CHECK_NOTHROW(BitKeys({63, 0, 0, 63}, 2, 2, 64));  // other tables may use the same bits
}

TEST_CASE("partition: ClusterKeys give the nearest clusters in order, the lower number among equals") {
    naive::Draw draw(2);
    for (const std::int64_t k : {1, 2, 15, 16, 17, 31, 33, 64, 65, 130})
        for (const std::int64_t d : {1, 2, 16, 20})
            for (const bool ties : {false, true}) {
                CAPTURE(k);
                CAPTURE(d);
                CAPTURE(ties);
                constexpr std::int64_t kRows = 130;
                const auto centroids = ties ? draw.steps(k * d, 1) : draw.reals(k * d);
                const auto x = ties ? draw.steps(kRows * d, 2) : draw.reals(kRows * d);
                const ClusterKeys clusters(centroids, k, d);
                for (const std::int64_t probes : {std::int64_t{1}, std::min<std::int64_t>(2, k), k})
                    for (const std::int64_t n : {std::int64_t{0}, std::int64_t{1}, std::int64_t{64}, kRows}) {
                        CAPTURE(probes);
                        std::vector<std::int32_t> keys(static_cast<std::size_t>(n * probes)), expected;
                        clusters.nearest({x.data(), n, d}, probes, keys.data());
                        for (std::int64_t i = 0; i < n; ++i) {
                            const auto order = naive::nearest_clusters(x.data() + i * d, view(centroids, k));
                            expected.insert(expected.end(), order.begin(), order.begin() + probes);
                        }
                        CHECK(keys == expected);
                    }
            }
}

TEST_CASE("partition: the nearest cluster is nearest by the distance itself") {
    naive::Draw draw(3);
    constexpr std::int64_t kRows = 500, kClusters = 40, kDim = 30;
    const auto centroids = draw.reals(kClusters * kDim), x = draw.reals(kRows * kDim);
    std::vector<std::int32_t> keys(kRows);
    ClusterKeys(centroids, kClusters, kDim).nearest(view(x, kRows), 1, keys.data());
    for (std::int64_t i = 0; i < kRows; ++i) {
        std::vector<double> distances(kClusters, 0.0);
        for (std::size_t c = 0; c < kClusters; ++c)
            for (std::size_t j = 0; j < kDim; ++j)
                distances[c] +=
                    std::pow(double{x[static_cast<std::size_t>(i * kDim) + j]} - centroids[c * kDim + j], 2);
        const double least = *std::min_element(distances.begin(), distances.end());
        CHECK(distances[static_cast<std::size_t>(keys[static_cast<std::size_t>(i)])] <= least * (1 + 1e-5));
    }
}

TEST_CASE("partition: ClusterKeys need centroids of the shape they are said to have") {
    CHECK_THROWS_AS(ClusterKeys({}, 0, 2), std::invalid_argument);
    CHECK_THROWS_AS(ClusterKeys({}, 1, 0), std::invalid_argument);
    CHECK_THROWS_AS(ClusterKeys({1, 2, 3}, 2, 2), std::invalid_argument);
}

TEST_CASE("partition: the number of tables") {
    CHECK(n_tables(OneBucket{}) == 0);
    CHECK(n_tables(BitKeys({0, 1, 2}, 3, 1, 8)) == 3);
    CHECK(n_tables(ClusterKeys({1, 2}, 2, 1)) == 1);
}

TEST_CASE("partition: keys that cut a hash of a lattice in two are refused") {
    naive::Draw draw(14);
    const auto signs = draw.signs(4 * 2 * 8);
    const auto shift = std::vector<float>(5, 0.0f);
    const auto lattice = std::make_shared<const CrossPolytope>(view(signs, 4), 2, 8, shift);  // 4 hashes of 4 bits
    const auto refused = [&](std::vector<std::int32_t> positions, int n_tables, int n_bits, const char* why) {
        const int key_bits = static_cast<int>(positions.size()) / n_tables;
        const BitKeys bits(positions, n_tables, key_bits, n_bits);
        CHECK_THROWS_WITH_AS(LatticeKeys(bits, lattice), doctest::Contains(why), std::invalid_argument);
    };
    refused({0, 1, 2}, 1, 16, "whole hashes, of 4 bits each");
    refused({1, 2, 3, 4}, 1, 16, "whole hashes");
    refused({0, 1, 3, 2}, 1, 16, "whole hashes");
    refused({0, 1, 2, 7}, 1, 16, "whole hashes");
    refused({0, 1, 2, 3, 8, 9}, 1, 16, "whole hashes");
    refused({0, 1, 2, 3}, 1, 17, "another width");
    CHECK(LatticeKeys(BitKeys({8, 9, 10, 11, 0, 1, 2, 3}, 1, 8, 16), lattice).bits().key_bits() == 8);
    CHECK(LatticeKeys(BitKeys({8, 9, 10, 11, 0, 1, 2, 3}, 2, 4, 16), lattice).bits().n_tables() == 2);
}
