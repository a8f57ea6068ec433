#include <doctest/doctest.h>

#include <array>
#include <set>
#include <tuple>

#include "lshcore/probe.h"
#include "lshcore/segment.h"
#include "naive.h"

using namespace lshcore;
using naive::view;

namespace {

struct Tables {
    int n_bits, n_tables, key_bits;
    std::vector<std::int32_t> positions;
    BitKeys keys;

    /// Each table its own bits, in no order; `apart`: no bit in two tables.
    Tables(naive::Draw& draw, int tables, int bits, bool apart = true)
        : n_bits(apart ? tables * bits + 3 : bits + 3),
          n_tables(tables),
          key_bits(bits),
          positions(draw_positions(draw, apart)),
          keys(positions, tables, bits, n_bits) {}

    std::vector<std::int32_t> draw_positions(naive::Draw& draw, bool apart) const {
        if (apart) return draw.positions(n_tables * key_bits, n_bits);
        std::vector<std::int32_t> all;
        for (int t = 0; t < n_tables; ++t)
            for (const auto p : draw.positions(key_bits, n_bits)) all.push_back(p);
        return all;
    }
    double cost(const std::vector<float>& margins, int t, int j) const {
        const double margin = margins[static_cast<std::size_t>(positions[static_cast<std::size_t>(t * key_bits + j)])];
        return margin * margin;
    }
};

/// Whole numbers, so that every sum of their squares is exact.
std::vector<float> whole_margins(naive::Draw& draw, int n, std::uint64_t most) {
    std::vector<float> margins(static_cast<std::size_t>(n));
    for (float& margin : margins) margin = static_cast<float>(draw.below(most)) * (draw.below(2) == 0 ? -1.0f : 1.0f);
    return margins;
}

int flips(const Key& a, const Key& b) { return naive::hamming(a.words, b.words, kMaxKeyBits / 64); }

using Entry = std::tuple<double, int, Key>;  // cost, table, key

/// Every way to flip some of `bits` of each table, the cheapest first, after the plain keys.
std::vector<Entry> brute(const Tables& tables, const Word* code, const std::vector<float>& margins,
                         const std::vector<int>& bits) {
    std::vector<Entry> plain, all;
    for (int t = 0; t < tables.n_tables; ++t)
        for (unsigned set = 0; set < 1u << bits.size(); ++set) {
            Key key = tables.keys.key(t, code);
            double cost = 0;
            for (std::size_t i = 0; i < bits.size(); ++i)
                if (set >> i & 1) {
                    key.flip(bits[i]);
                    cost += tables.cost(margins, t, bits[i]);
                }
            (set == 0 ? plain : all).push_back({cost, t, key});
        }
    std::sort(all.begin(), all.end());
    plain.insert(plain.end(), all.begin(), all.end());
    return plain;
}

std::vector<Entry> entries(const std::vector<Probe>& probes) {
    std::vector<Entry> all;
    for (const Probe& probe : probes) all.push_back({probe.cost, probe.table, probe.key});
    return all;
}

std::vector<int> all_bits(int n) {
    std::vector<int> bits(static_cast<std::size_t>(n));
    std::iota(bits.begin(), bits.end(), 0);
    return bits;
}

/// The plain keys of the first tables come first; costs never fall; no key comes twice.
void check_order(const Tables& tables, const Word* code, const std::vector<Probe>& probes) {
    bool plain = true, rising = true;
    std::set<std::pair<int, Key>> seen;
    for (std::size_t i = 0; i < probes.size(); ++i) {
        const Probe& probe = probes[i];
        if (static_cast<int>(i) < tables.n_tables)
            plain &= probe.table == static_cast<int>(i) && probe.key == tables.keys.key(probe.table, code) &&
                     probe.cost == 0;
        if (i > 0) rising &= probes[i - 1].cost <= probe.cost;
        seen.insert({probe.table, probe.key});
    }
    CHECK(plain);
    CHECK(rising);
    CHECK(seen.size() == probes.size());
}

}  // namespace

TEST_CASE("probe: all keys once, cheapest first, as brute force orders them where no two cost the same") {
    naive::Draw draw(1);
    for (const int n_tables : {1, 2, 5})
        for (const int key_bits : {1, 2, 3, 6}) {
            CAPTURE(n_tables);
            CAPTURE(key_bits);
            const Tables tables(draw, n_tables, key_bits);
            ProbeSequence sequence(tables.keys);
            const std::int64_t n_keys = std::int64_t{n_tables} << key_bits;
            for (int round = 0; round < 5; ++round) {
                const auto code = draw.codes(1, tables.n_bits);
                const auto margins = whole_margins(draw, tables.n_bits, 1u << 20);
                const auto expected = brute(tables, code.data(), margins, all_bits(key_bits));
                for (std::size_t i = static_cast<std::size_t>(n_tables) + 1; i < expected.size(); ++i)
                    REQUIRE(std::get<0>(expected[i - 1]) < std::get<0>(expected[i]));
                for (const std::int64_t n : {std::int64_t{1}, std::int64_t{n_tables}, std::int64_t{n_tables + 1},
                                             n_keys / 2, n_keys - 1, n_keys, n_keys + 1, n_keys + 100}) {
                    CAPTURE(n);
                    const auto found = entries(sequence.find(code.data(), margins.data(), n));
                    REQUIRE(static_cast<std::int64_t>(found.size()) == std::min(n, n_keys));
                    CHECK(std::equal(found.begin(), found.end(), expected.begin()));
                }
            }
        }
}

TEST_CASE("probe: margins that are equal or zero, and tables that share bits, lose and repeat no key") {
    naive::Draw draw(2);
    for (const int n_tables : {1, 3})
        for (const int key_bits : {2, 5, 8}) {
            CAPTURE(n_tables);
            CAPTURE(key_bits);
            const Tables tables(draw, n_tables, key_bits, false);
            ProbeSequence sequence(tables.keys);
            for (const std::uint64_t most : {1u, 2u, 3u}) {  // all zero; zeros and ones; ...
                const auto code = draw.codes(1, tables.n_bits);
                const auto margins = whole_margins(draw, tables.n_bits, most);
                auto expected = brute(tables, code.data(), margins, all_bits(key_bits));
                const auto& probes = sequence.find(code.data(), margins.data(), 1 << 20);
                check_order(tables, code.data(), probes);
                auto found = entries(probes);
                std::sort(found.begin(), found.end());  // equal costs are in an order of their own
                std::sort(expected.begin(), expected.end());
                CHECK(found == expected);
            }
        }
}

TEST_CASE("probe: without margins keys come by the number of flipped bits, of any width") {
    naive::Draw draw(3);
    for (const int key_bits : {4, 64, 65, 200}) {
        CAPTURE(key_bits);
        const Tables tables(draw, 3, key_bits);
        const auto code = draw.codes(1, tables.n_bits);
        ProbeSequence sequence(tables.keys);
        const auto& probes = sequence.find(code.data(), nullptr, 3 + 3 * key_bits + 500);
        check_order(tables, code.data(), probes);
        std::int64_t single = 0;
        bool exact = true;
        for (const Probe& probe : probes) {
            const int flipped = flips(probe.key, tables.keys.key(probe.table, code.data()));
            exact &= probe.cost == flipped;
            single += flipped == 1;
        }
        CHECK(exact);
        CHECK(single == 3 * key_bits);
        CHECK(static_cast<std::int64_t>(probes.size()) == (key_bits == 4 ? 3 << 4 : 3 + 3 * key_bits + 500));
    }
}

TEST_CASE("probe: of wide keys the unsure bits are flipped, wherever they stand") {
    naive::Draw draw(4);
    for (const int key_bits : {65, 128, 200, 256}) {
        CAPTURE(key_bits);
        const Tables tables(draw, 2, key_bits);
        const std::vector<int> unsure = {0, 31, 63, 64, key_bits - 1};
        auto margins = whole_margins(draw, tables.n_bits, 1u << 10);
        for (float& margin : margins) margin = margin < 0 ? margin - 0x1p20f : margin + 0x1p20f;
        for (int t = 0; t < 2; ++t)
            for (const int j : std::set<int>(unsure.begin(), unsure.end()))
                margins[static_cast<std::size_t>(tables.positions[static_cast<std::size_t>(t * key_bits + j)])] =
                    static_cast<float>(1 + draw.below(1u << 16));
        const auto code = draw.codes(1, tables.n_bits);
        const std::set<int> distinct(unsure.begin(), unsure.end());
        const auto expected = brute(tables, code.data(), margins, {distinct.begin(), distinct.end()});
        ProbeSequence sequence(tables.keys);
        const auto& probes = sequence.find(code.data(), margins.data(), static_cast<std::int64_t>(expected.size()) + 9);
        check_order(tables, code.data(), probes);
        const auto found = entries(probes);
        REQUIRE(found.size() == expected.size() + 9);
        CHECK(std::equal(expected.begin(), expected.end(), found.begin()));
        CHECK(std::get<0>(found[expected.size()]) >= 0x1p40);
    }
}

TEST_CASE("probe: keys_within is the sum of the binomials, or the limit") {
    for (int n_bits = 1; n_bits <= kMaxKeyBits; ++n_bits) {
        constexpr std::int64_t kMost = std::int64_t{1} << 40;
        std::vector<std::int64_t> row = {1};  // of Pascal's triangle, each entry kMost at the most
        for (int i = 1; i <= n_bits; ++i) {
            row.push_back(0);
            for (std::size_t j = row.size() - 1; j > 0; --j) row[j] = std::min(kMost, row[j] + row[j - 1]);
        }
        std::int64_t sum = 0;
        bool exact = true;
        for (int radius = 0; radius <= n_bits + 2; ++radius) {
            if (radius <= n_bits) sum = std::min(kMost, sum + row[static_cast<std::size_t>(radius)]);
            for (const std::int64_t limit : {std::int64_t{1}, std::int64_t{2}, std::int64_t{100}, std::int64_t{65536},
                                             std::int64_t{1} << 32, kMost, sum, sum + 1, sum - 1})
                if (limit >= 1 && limit <= kMost) exact &= keys_within(n_bits, radius, limit) == std::min(sum, limit);
        }
        CAPTURE(n_bits);
        CHECK(exact);
    }
    CHECK(keys_within(8, -1, 10) == 0);
}

TEST_CASE("probe: a radius meets the buckets whose keys differ in so many bits, by keys or by buckets") {
    naive::Draw draw(5);
    constexpr std::int64_t kRows = 600;
    int by_keys = 0, by_buckets = 0;
    for (const int key_bits : {1, 7, 12, 63, 64, 65, 70, 128, 200, 256}) {
        const int n_bits = key_bits + 5, words = words_for(n_bits);
        std::vector<std::int32_t> positions = draw.positions(key_bits, n_bits);
        const auto second = draw.positions(key_bits, n_bits);
        positions.insert(positions.end(), second.begin(), second.end());
        const BitKeys keys(positions, 2, key_bits, n_bits);
        const auto centre = draw.codes(1, n_bits);
        std::vector<Word> codes;
        for (std::int64_t i = 0; i < kRows; ++i) {  // up to six bits from the centre
            auto code = centre;
            for (std::uint64_t flip = draw.below(7); flip > 0; --flip) {
                const auto at = draw.below(static_cast<std::uint64_t>(n_bits));
                code[at / 64] ^= Word{1} << (at % 64);
            }
            codes.insert(codes.end(), code.begin(), code.end());
        }
        const auto segment = build_segment(keys, view(codes, kRows), {}, VectorType::none, Ids(0, kRows), 1);
        for (int t = 0; t < 2; ++t)
            for (const int radius : {0, 1, 2, 3, 5, key_bits}) {
                CAPTURE(key_bits);
                CAPTURE(t);
                CAPTURE(radius);
                const Table& table = segment->tables[static_cast<std::size_t>(t)];
                const Key key = keys.key(t, draw.below(2) == 0 ? centre.data() : codes.data() + 7 * words);
                ++(keys_within(key_bits, radius, table.n_buckets()) < table.n_buckets() ? by_keys : by_buckets);
                std::vector<Row> found, expected;
                std::set<Key> visited;
                std::int64_t visits = 0;
                probe_radius(keys, t, table, segment->codes.data(), words, key, radius, [&](auto rows) {
                    ++visits;
                    for (const Row row : rows) {
                        found.push_back(row);
                        visited.insert(keys.key(t, codes.data() + std::int64_t{row} * words));
                    }
                });
                for (Row row = 0; row < kRows; ++row)
                    if (flips(keys.key(t, codes.data() + std::int64_t{row} * words), key) <= radius)
                        expected.push_back(row);
                std::sort(found.begin(), found.end());
                CHECK(found == expected);
                CHECK(visits == static_cast<std::int64_t>(visited.size()));
            }
    }
    CHECK(by_keys >= 20);
    CHECK(by_buckets >= 20);
}

TEST_CASE("probe: keys under one fingerprint are still told apart by their distance") {
    naive::Draw draw(6);
    constexpr std::int64_t kRows = 64;
    for (const int key_bits : {70, 128, 256}) {
        CAPTURE(key_bits);
        const int words = words_for(key_bits);
        const auto codes = naive::codes_of_one_fingerprint(draw, kRows, key_bits);
        const BitKeys keys(all_bits(key_bits), 1, key_bits, key_bits);
        const auto segment = build_segment(keys, view(codes, kRows), {}, VectorType::none, Ids(0, kRows), 1);
        REQUIRE(segment->tables[0].n_buckets() == kRows);
        for (const int radius : {0, 1, key_bits / 2, key_bits}) {
            CAPTURE(radius);
            for (Row query = 0; query < kRows; query += 9) {
                const Word* code = codes.data() + std::int64_t{query} * words;
                std::vector<Row> found, expected;
                probe_radius(keys, 0, segment->tables[0], segment->codes.data(), words, keys.key(0, code), radius,
                             [&](auto rows) { found.insert(found.end(), rows.begin(), rows.end()); });
                for (Row row = 0; row < kRows; ++row)
                    if (naive::hamming(codes.data() + std::int64_t{row} * words, code, words) <= radius)
                        expected.push_back(row);
                std::sort(found.begin(), found.end());
                CHECK(found == expected);
            }
        }
    }
}

namespace {

/// Keys of whole hashes in no order, and for every hash all its other values, the costs rising.
struct HashTables {
    int hash_bits, n_hashes, n_tables, hashes;
    std::int64_t most;
    std::vector<Alternative> alternatives;  // (n_hashes, most)
    BitKeys keys;

    HashTables(naive::Draw& draw, int tables, int per_table, int bits, std::uint64_t most_cost)
        : hash_bits(bits),
          n_hashes(tables * per_table + 2),
          n_tables(tables),
          hashes(per_table),
          most((1 << bits) - 1),
          alternatives(draw_alternatives(draw, most_cost)),
          keys(draw_positions(draw), tables, per_table * bits, n_hashes * bits) {}

    std::vector<Alternative> draw_alternatives(naive::Draw& draw, std::uint64_t most_cost) const {
        std::vector<Alternative> all;
        for (int h = 0; h < n_hashes; ++h) {
            std::vector<double> costs;
            for (const auto pattern : draw.positions(static_cast<int>(most), static_cast<int>(most))) {
                all.push_back({0, static_cast<std::uint16_t>(pattern + 1)});
                costs.push_back(static_cast<double>(draw.below(most_cost)));
            }
            std::sort(costs.begin(), costs.end());
            for (std::size_t a = 0; a < costs.size(); ++a) all[all.size() - costs.size() + a].cost = costs[a];
        }
        return all;
    }
    std::vector<std::int32_t> draw_positions(naive::Draw& draw) const {
        std::vector<std::int32_t> positions;
        for (const auto h : draw.positions(n_tables * hashes, n_hashes))
            for (int j = 0; j < hash_bits; ++j) positions.push_back(h * hash_bits + j);
        return positions;
    }
    int hash(int t, int j) const {
        return keys.positions()[static_cast<std::size_t>((t * hashes + j) * hash_bits)] / hash_bits;
    }
    /// What it costs that a hash has a value with this pattern.
    double cost(int h, Word pattern) const {
        for (std::int64_t a = 0; a < most; ++a)
            if (alternatives[static_cast<std::size_t>(h * most + a)].pattern == pattern)
                return alternatives[static_cast<std::size_t>(h * most + a)].cost;
        return 0;
    }
    double cost(int t, const Key& key, const Key& own) const {
        double sum = 0;
        for (int j = 0; j < hashes; ++j)
            sum += cost(hash(t, j),
                        naive::hash_value(key.words, j, hash_bits) ^ naive::hash_value(own.words, j, hash_bits));
        return sum;
    }
    /// Every key of every table, the cheapest first, after the plain ones.
    std::vector<Entry> brute(const Word* code) const {
        std::vector<Entry> plain, all;
        for (int t = 0; t < n_tables; ++t)
            for (Word flips = 0; flips < Word{1} << (hashes * hash_bits); ++flips) {
                const Key own = keys.key(t, code);
                Key key = own;
                key.words[0] ^= flips;
                (flips == 0 ? plain : all).push_back({cost(t, key, own), t, key});
            }
        std::sort(all.begin(), all.end());
        plain.insert(plain.end(), all.begin(), all.end());
        return plain;
    }
    /// As a prober calls it: with no more alternatives than can be needed.
    std::vector<Entry> find(ProbeSequence& sequence, const Word* code, std::int64_t n_probes) const {
        const std::int64_t n = std::clamp<std::int64_t>(n_probes - n_tables, 0, most);
        std::vector<Alternative> cut;
        for (int h = 0; h < n_hashes; ++h)
            cut.insert(cut.end(), alternatives.begin() + h * most, alternatives.begin() + h * most + n);
        return entries(sequence.find(code, cut.data(), n, n_probes));
    }
};

}  // namespace

TEST_CASE("probe: hashes of several bits: all keys once, cheapest first, as brute force orders them") {
    naive::Draw draw(21);
    for (const auto& [n_tables, hashes, hash_bits] :
         {std::array{1, 1, 1}, {1, 1, 5}, {3, 1, 3}, {1, 4, 2}, {2, 3, 3}, {4, 2, 4}, {2, 9, 1}}) {
        CAPTURE(n_tables);
        CAPTURE(hashes);
        CAPTURE(hash_bits);
        for (int round = 0; round < 4; ++round) {
            const HashTables tables(draw, n_tables, hashes, hash_bits, std::uint64_t{1} << 40);
            ProbeSequence sequence(tables.keys, hash_bits);
            const auto code = draw.codes(1, tables.n_hashes * hash_bits);
            const auto expected = tables.brute(code.data());
            const auto n_keys = static_cast<std::int64_t>(expected.size());
            for (const std::int64_t n : {std::int64_t{1}, std::int64_t{n_tables}, std::int64_t{n_tables + 1},
                                         std::int64_t{n_tables + 3}, n_keys / 2, n_keys - 1, n_keys, n_keys + 100}) {
                CAPTURE(n);
                const auto found = tables.find(sequence, code.data(), n);
                REQUIRE(static_cast<std::int64_t>(found.size()) == std::min(n, n_keys));
                CHECK(std::equal(found.begin(), found.end(), expected.begin()));
            }
        }
    }
}

TEST_CASE("probe: hashes of several bits whose values cost the same, or nothing, lose and repeat no key") {
    naive::Draw draw(22);
    for (const auto& [n_tables, hashes, hash_bits] : {std::array{1, 5, 2}, {3, 2, 3}, {2, 1, 6}})
        for (const std::uint64_t most_cost : {1u, 2u, 4u}) {
            CAPTURE(n_tables);
            CAPTURE(hash_bits);
            CAPTURE(most_cost);
            const HashTables tables(draw, n_tables, hashes, hash_bits, most_cost);
            ProbeSequence sequence(tables.keys, hash_bits);
            const auto code = draw.codes(1, tables.n_hashes * hash_bits);
            auto found = tables.find(sequence, code.data(), 1 << 20), expected = tables.brute(code.data());
            for (std::size_t i = 1; i < found.size(); ++i) REQUIRE(std::get<0>(found[i - 1]) <= std::get<0>(found[i]));
            std::sort(found.begin(), found.end());
            std::sort(expected.begin(), expected.end());
            CHECK(found == expected);
        }
}

TEST_CASE("probe: wide keys whose hashes lie across words") {
    naive::Draw draw(23);
    for (const auto& [hashes, hash_bits] : {std::array{20, 7}, {16, 16}, {10, 13}, {85, 3}}) {
        CAPTURE(hash_bits);
        const HashTables tables(draw, 2, hashes, hash_bits, 1000);
        ProbeSequence sequence(tables.keys, hash_bits);
        const auto code = draw.codes(1, tables.n_hashes * hash_bits);
        const auto found = tables.find(sequence, code.data(), 3000);
        REQUIRE(found.size() == 3000);
        double last = 0;
        std::set<std::pair<int, Key>> seen;
        bool good = true;
        for (const auto& [cost, t, key] : found) {
            good &= cost >= last && cost == tables.cost(t, key, tables.keys.key(t, code.data()));
            last = cost;
            seen.insert({t, key});
        }
        CHECK(good);
        CHECK(seen.size() == 3000);
    }
}
