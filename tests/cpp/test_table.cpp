#include <doctest/doctest.h>

#include <map>
#include <numeric>

#include "lshcore/table.h"
#include "naive.h"

using namespace lshcore;

namespace {

using Buckets = std::map<Word, std::vector<Row>>;

Buckets buckets_of(const std::vector<Word>& keys) {
    Buckets buckets;
    for (std::size_t i = 0; i < keys.size(); ++i) buckets[keys[i]].push_back(static_cast<Row>(i));
    return buckets;
}

std::vector<Row> list(std::span<const Row> rows) { return {rows.begin(), rows.end()}; }

std::vector<std::pair<Word, std::int64_t>> sizes_of(const Table& table) {
    std::vector<std::pair<Word, std::int64_t>> sizes;
    table.for_each_bucket(
        [&](Word key, std::span<const Row> rows) { sizes.push_back({key, static_cast<std::int64_t>(rows.size())}); });
    return sizes;
}

/// Every bucket, the keys next to those, and the sizes.
void check_table(const std::vector<Word>& keys, Word universe) {
    CAPTURE(keys.size());
    CAPTURE(universe);
    const Table table(keys, universe);
    const Buckets expected = buckets_of(keys);
    std::vector<std::pair<Word, std::int64_t>> sizes;
    bool equal = true;
    for (const auto& [key, rows] : expected) {
        sizes.push_back({key, static_cast<std::int64_t>(rows.size())});
        equal &= list(table.bucket(key)) == rows;
        for (const Word absent : {key - 1, key + 1, key ^ (Word{1} << 63)})
            if (!expected.contains(absent)) equal &= table.bucket(absent).empty();
    }
    CHECK(equal);
    CHECK(sizes_of(table) == sizes);
    if (!expected.contains(~Word{0})) CHECK(table.bucket(~Word{0}).empty());
    if (universe != 0) CHECK(table.bucket(universe).empty());
}

}  // namespace

TEST_CASE("table: buckets are those of a map, addressed directly or searched") {
    naive::Draw draw(1);
    for (const Word n : {0, 1, 2, 3, 17, 64, 1000})
        for (const Word universe : {1, 2, 16, 17, 64, 1000, 1001, 4096}) {  // more keys than rows: searched
            std::vector<Word> keys(n);
            for (Word& key : keys) key = draw.below(universe);
            check_table(keys, universe);
            check_table(keys, 0);
            for (Word& key : keys) key = universe - 1;  // one bucket, the last
            check_table(keys, universe);
        }
}

TEST_CASE("table: keys of any size, at the edges of the radix digits") {
    naive::Draw draw(2);
    std::vector<Word> pool = {0, 1, ~Word{0}, ~Word{0} - 1};
    for (const int shift : {11, 22, 33, 44, 55, 63})
        for (const Word step : {Word{0}, Word{1}, ~Word{0}}) pool.push_back((Word{1} << shift) + step);
    for (int i = 0; i < 50; ++i) pool.push_back(draw.engine());
    for (std::size_t limit = 1; limit <= pool.size(); ++limit) {
        std::vector<Word> keys(200);
        for (Word& key : keys) key = pool[draw.below(limit)];
        check_table(keys, 0);
    }
}

TEST_CASE("table: direct and searched tables hold the same") {
    naive::Draw draw(3);
    std::vector<Word> keys(500);
    for (Word& key : keys) key = draw.below(256);
    const Table direct(keys, 256), searched(keys, 0);
    for (Word key = 0; key < 300; ++key) CHECK(list(direct.bucket(key)) == list(searched.bucket(key)));
    CHECK(sizes_of(direct) == sizes_of(searched));
    CHECK(direct.nbytes() == 257 * sizeof(std::uint32_t) + 500 * sizeof(Row));
}

TEST_CASE("table: different things under one fingerprint stay in different buckets") {
    naive::Draw draw(4);
    for (const std::size_t n : {1u, 2u, 7u, 300u}) {
        CAPTURE(n);
        std::vector<Word> fingerprints(n);
        std::vector<int> things(n);  // what a row really stands for; three things a fingerprint, interleaved
        std::map<int, std::vector<Row>> expected;
        for (std::size_t i = 0; i < n; ++i) {
            things[i] = static_cast<int>(draw.below(12));
            fingerprints[i] = Word(things[i] / 3) << 40;
            expected[things[i]].push_back(static_cast<Row>(i));
        }
        const Table table(fingerprints, 0, [&](Row a, Row b) { return things[a] - things[b]; });
        std::vector<std::pair<Word, std::int64_t>> sizes;
        for (int thing = 0; thing < 12; ++thing) {
            const Word key = Word(thing / 3) << 40;
            const auto bucket = table.bucket(key, [&](Row row) { return things[row] == thing; });
            CHECK(list(bucket) == expected[thing]);
            if (!expected[thing].empty()) sizes.push_back({key, static_cast<std::int64_t>(expected[thing].size())});
        }
        CHECK(sizes_of(table) == sizes);
        CHECK(table.bucket(1, [](Row) { return true; }).empty());
        CHECK(table.bucket(0, [](Row) { return false; }).empty());
    }
}
