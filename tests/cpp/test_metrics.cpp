#include "lshcore/metrics.h"

#include <doctest/doctest.h>

#include <memory>
#include <stdexcept>

#include "naive.h"
#include "naive_metrics.h"

using namespace lshcore;
using Acc = RankingAccumulator;

namespace {

const std::vector<std::int64_t> kRanks = {1, 2, 3, 4, 5, 6, 7, 8, 11};
constexpr int kBits = 8;

Acc accumulator(bool stable = false) { return Acc(kRanks, kRanks, kBits, stable); }

struct Item {
    int distance;
    bool relevant;
};

std::vector<TieGroup> group(const std::vector<Item>& items) {
    std::vector<TieGroup> groups;
    for (int d = 0; d <= kBits; ++d) {
        TieGroup one{static_cast<float>(d), 0, 0};
        for (const auto& item : items)
            if (item.distance == d) ++one.n, one.relevant += item.relevant;
        if (one.n > 0) groups.push_back(one);
    }
    return groups;
}

std::vector<Item> some_items(naive::Draw& draw, std::uint64_t n) {
    std::vector<Item> items(n);
    for (auto& item : items) item = {static_cast<int>(draw.below(kBits + 1)), draw.below(3) == 0};
    return items;
}

void check_close(const std::vector<double>& a, const std::vector<double>& b) {
    REQUIRE(a.size() == b.size());
    std::size_t slot = 0;  // where they differ most
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!(std::abs(a[i] - b[i]) <= std::abs(a[slot] - b[slot]))) slot = i;
    CAPTURE(slot);
    CAPTURE(a[slot]);
    CAPTURE(b[slot]);
    CHECK(std::abs(a[slot] - b[slot]) <= 1e-12);
}

}  // namespace

TEST_CASE("metrics: the worked values of PROTOCOL") {
    const Acc acc = accumulator();
    const auto at = [&](const Acc::QueryValues& values, std::int64_t k, Acc::AtK what) {
        return values[acc.at_k(static_cast<std::size_t>(k - 1), what)];
    };
    const auto untied = acc.evaluate(group({{0, true}, {1, false}, {2, false}, {3, true}, {4, false}}), 10);
    CHECK(untied[Acc::kMapRetrieved] == doctest::Approx(0.75));
    CHECK(at(untied, 5, Acc::kMapAt) == doctest::Approx(0.30));
    CHECK(untied[Acc::kMap] == doctest::Approx(0.15));
    CHECK(untied[Acc::kRecall] == doctest::Approx(0.2));
    CHECK(at(untied, 8, Acc::kPrecisionAt) == doctest::Approx(0.25));  // padded with misses
    CHECK(at(untied, 8, Acc::kPrecisionReturnedAt) == doctest::Approx(0.4));

    const auto tied = acc.evaluate(group({{0, true}, {0, false}, {0, true}, {1, false}, {1, true}, {2, true}}), 4);
    CHECK(tied[Acc::kMap] == doctest::Approx(0.7381944).epsilon(1e-7));
    CHECK(at(tied, 4, Acc::kMapRetrievedAt) == doctest::Approx(0.7963).epsilon(1e-4));
    CHECK(at(tied, 4, Acc::kPrecisionAt) == doctest::Approx(2.5 / 4));  // (M + (k - N) m_d / n_d) / k
}

// Inside a group all orders of the relevances are equally likely, so the mean over those that leave each group its
// number of relevant items is the mean over all permutations of the items.
TEST_CASE("metrics: the expectation over every order of tied items, for all lists of up to seven") {
    const Acc acc = accumulator();
    for (unsigned n = 0; n <= 7; ++n)
        for (const int missed : {0, 3}) {  // relevant items that the list does not hold
            std::vector<std::vector<double>> strict;
            for (unsigned mask = 0; mask < 1u << n; ++mask) {  // bit t: item t is relevant
                std::vector<bool> relevance;
                for (unsigned t = 0; t < n; ++t) relevance.push_back((mask >> t) & 1);
                strict.push_back(naive::metrics(acc, relevance, std::popcount(mask) + missed));
            }
            for (unsigned steps = 0; steps < 1u << n;
                 ++steps) {  // bit t: item t is farther than the one before, the first by 2
                std::vector<std::vector<TieGroup>> groups;
                for (unsigned mask = 0; mask < 1u << n; ++mask) {
                    std::vector<Item> items;
                    for (unsigned t = 0; t < n; ++t)
                        items.push_back({std::popcount(steps & ((2u << t) - 1)) + static_cast<int>(steps & 1),
                                         ((mask >> t) & 1) == 1});
                    groups.push_back(group(items));
                }
                const auto same = [&](unsigned a, unsigned b) {
                    return std::equal(groups[a].begin(), groups[a].end(), groups[b].begin(), groups[b].end(),
                                      [](const auto& g, const auto& h) { return g.relevant == h.relevant; });
                };
                for (unsigned mask = 0; mask < 1u << n; ++mask) {
                    std::vector<double> mean(acc.n_slots(), 0.0);
                    double orders = 0;
                    bool first = true;  // of those with these groups: the others have been seen
                    for (unsigned other = 0; other < 1u << n && first; ++other) {
                        if (!same(mask, other)) continue;
                        first = other >= mask;
                        ++orders;
                        for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += strict[other][i];
                    }
                    if (!first) continue;
                    CAPTURE(n);
                    CAPTURE(steps);
                    CAPTURE(mask);
                    for (double& value : mean) value /= orders;
                    const int R = std::popcount(mask) + missed;
                    naive::put_radii(acc, groups[mask], R, mean);
                    check_close(acc.evaluate(groups[mask], R), mean);
                }
            }
        }
}

TEST_CASE("metrics: large groups against direct sums in long double") {
    const std::vector<std::vector<TieGroup>> lists = {
        {{0, 1000000, 1000}},
        {{0, 31, 3}, {1, 1000000, 10}, {2, 50, 50}},
        {{0, 63, 20}, {1, 33, 8}, {2, 4000, 1}, {3, 700, 699}},
        {{0, 64, 0}, {1, 31, 31}, {2, 32, 5}, {3, 64, 64}, {4, 65, 64}, {5, 300000, 150000}},
        {{0, 65, 65}, {1, 200000, 0}, {2, 128, 7}, {3, 96, 95}},
        {{0, 500000, 2}, {1, 20, 10}, {2, 500000, 499999}},
    };
    for (const auto& groups : lists) {
        std::int64_t n = 0, R = 100;
        std::vector<std::int64_t> ks;
        for (const auto& one : groups) {  // a few places into each group, and its edges
            for (const std::int64_t s :
                 {std::int64_t{1}, std::int64_t{31}, std::int64_t{32}, one.n / 2, one.n - 1, one.n})
                if (s >= 1 && s <= one.n && (ks.empty() || n + s > ks.back())) ks.push_back(n + s);
            n += one.n;
            R += one.relevant;
        }
        const Acc acc(ks, {}, 0, false);
        const auto values = acc.evaluate(groups, R);
        for (std::size_t i = 0; i < ks.size(); ++i) {
            CAPTURE(groups.size());
            CAPTURE(ks[i]);
            const auto expected = naive::long_sums(groups, R, ks[i]);
            CHECK(values[acc.at_k(i, Acc::kMapAt)] == doctest::Approx(expected.map).epsilon(1e-10).scale(1e-3));
            CHECK(values[acc.at_k(i, Acc::kMapRetrievedAt)] ==
                  doctest::Approx(expected.map_retrieved).epsilon(1e-10).scale(1e-3));
            CHECK(values[acc.at_k(i, Acc::kPrecisionAt)] == doctest::Approx(expected.precision).epsilon(1e-12));
        }
        const auto whole = naive::long_sums(groups, R, n);
        const double map = whole.map * static_cast<double>(std::min(n, R)) / static_cast<double>(R);
        CHECK(values[Acc::kMap] == doctest::Approx(map).epsilon(1e-11));
        CHECK(values[Acc::kMapRetrieved] == doctest::Approx(whole.map_retrieved).epsilon(1e-11));
    }
}

TEST_CASE("metrics: a ranked list gives the groups, from integers and floats, or the order by (distance, id)") {
    naive::Draw draw(1);
    const Acc tied = accumulator(), stable = accumulator(true), floats(kRanks, kRanks, 0, false);
    RankedList by_count(tied), by_order(stable), by_key(floats);
    for (const std::uint64_t n : {0, 1, 5, 40, 255, 256, 1000}) {  // from 256 on by radix
        CAPTURE(n);
        const auto items = some_items(draw, n);
        std::vector<std::pair<naive::Hit, bool>> order;
        by_count.begin();
        by_order.begin();
        by_key.begin();
        for (std::size_t i = 0; i < n; ++i) {
            const auto d = static_cast<std::uint16_t>(items[i].distance);
            const Id id = static_cast<Id>(i) * 7919 % 1009;
            by_count.add(d, id, items[i].relevant);
            by_order.add(d, id, items[i].relevant);
            const float centred = static_cast<float>(d) / 4 - 1;  // both signs, and both zeros are one distance
            by_key.add(centred == 0 && i % 2 == 0 ? -0.0f : centred, id, items[i].relevant);
            order.push_back({{d, id}, items[i].relevant});
        }
        std::sort(order.begin(), order.end());
        std::vector<bool> relevance;
        for (const auto& [hit, relevant] : order) relevance.push_back(relevant);
        CHECK(by_count.finish(9) == tied.evaluate(group(items), 9));
        CHECK(by_key.finish(9) == floats.evaluate(group(items), 9));
        auto expected = naive::metrics(stable, relevance, 9);
        naive::put_radii(stable, group(items), 9, expected);
        check_close(by_order.finish(9), expected);
    }
}

TEST_CASE("metrics: a query without relevant items, and one without candidates, count 0 and are reported") {
    Acc acc = accumulator();
    CHECK(acc.means()[Acc::kMap] == 0);
    acc.add(acc.evaluate(group({{0, false}, {5, false}}), 0));
    acc.add(acc.evaluate({}, 4));
    acc.add(acc.evaluate(group({{1, true}}), 1));
    const auto means = acc.means();
    CHECK(acc.n_queries() == 3);
    CHECK(acc.candidates() == std::vector<std::int64_t>{2, 0, 1});
    CHECK(means[Acc::kNoRelevant] == doctest::Approx(1.0 / 3));
    CHECK(means[Acc::kCovered] == doctest::Approx(2.0 / 3));
    CHECK(means[Acc::kMap] == doctest::Approx(1.0 / 3));
    CHECK(means[acc.empty_ball()] == doctest::Approx(1.0 / 3));
    const Acc narrow({}, {}, 1, false);  // codes of one bit: the ball of radius 2 is everything
    CHECK(narrow.evaluate(group({{1, true}}), 1)[narrow.empty_ball()] == 0);
    CHECK(narrow.evaluate({}, 1)[narrow.empty_ball()] == 1);
}

TEST_CASE("metrics: merging equals one pass") {
    naive::Draw draw(2);
    Acc whole = accumulator(), first = accumulator(), second = accumulator();
    for (int q = 0; q < 101; ++q) {
        const auto values = whole.evaluate(group(some_items(draw, draw.below(20))), 12);
        whole.add(values);
        (q < 40 ? first : second).add(values);
    }
    first.merge(second);
    CHECK(first.candidates() == whole.candidates());
    check_close(first.means(), whole.means());
    const std::vector<Acc> others = {Acc({1}, kRanks, kBits, false), Acc(kRanks, {1}, kBits, false),
                                     Acc(kRanks, kRanks, 7, false), accumulator(true)};
    for (const Acc& other : others) CHECK_THROWS_AS(first.merge(other), std::invalid_argument);
    for (const auto& ranks : std::vector<std::vector<std::int64_t>>{{0, 1}, {1, 1}, {3, 2}}) {
        CHECK_THROWS_AS(Acc(ranks, {}, 0, false), std::invalid_argument);
        CHECK_THROWS_AS(Acc({}, ranks, 0, false), std::invalid_argument);
    }
    for (const int n_bits : {-1, 4097}) CHECK_THROWS_AS(Acc({}, {}, n_bits, false), std::invalid_argument);
}

TEST_CASE("metrics: rank_hamming is the plain double loop, for single and multiple labels and any threads") {
    naive::Draw draw(3);
    constexpr std::int64_t kQueries = 19, kRows = 20000, kTags = 70;  // of items with several labels
    const auto codes = draw.codes(kQueries, kBits), gallery = draw.codes(kRows, kBits);
    const auto q = naive::view(codes, kQueries), g = naive::view(gallery, kRows);
    std::vector<std::int64_t> classes(kQueries + kRows);  // the queries' first
    for (auto& c : classes) c = static_cast<std::int64_t>(draw.below(6)) - 2;
    classes[3] = 99;  // nobody else's
    const std::unique_ptr<bool[]> tags(new bool[(kQueries + kRows) * kTags]);
    for (std::size_t i = 0; i < (kQueries + kRows) * kTags; ++i) tags[i] = draw.below(40) == 0;
    const Labels mine[] = {Labels::single({classes.data(), kQueries}), Labels::multi({tags.get(), kQueries, kTags})};
    const Labels theirs[] = {Labels::single({classes.data() + kQueries, kRows}),
                             Labels::multi({tags.get() + kQueries * kTags, kRows, kTags})};
    for (const bool multi : {false, true})
        for (const bool stable : {false, true}) {
            CAPTURE(multi);
            CAPTURE(stable);
            Acc expected = accumulator(stable);
            for (std::int64_t i = 0; i < kQueries; ++i) {
                std::vector<std::vector<TieGroup>> at(kBits + 1);  // one group a row, in row order
                for (std::int64_t j = kQueries; j < kQueries + kRows; ++j) {
                    bool relevant =
                        !multi && classes[static_cast<std::size_t>(i)] == classes[static_cast<std::size_t>(j)];
                    for (std::int64_t t = 0; multi && t < kTags; ++t)
                        relevant |= tags[static_cast<std::size_t>(i * kTags + t)] &&
                                    tags[static_cast<std::size_t>(j * kTags + t)];
                    const auto d = naive::hamming(q.row(i), g.row(j - kQueries), 1);
                    at[d].push_back({static_cast<float>(d), 1, relevant});
                }
                std::vector<TieGroup> groups;
                std::int64_t R = 0;
                for (const auto& rows : at)
                    for (const auto& row : rows) {
                        R += row.relevant;
                        if (stable || &row == &rows.front())
                            groups.push_back(row);
                        else
                            ++groups.back().n, groups.back().relevant += row.relevant;
                    }
                expected.add(expected.evaluate(groups, R));
                CHECK(mine[multi].count_relevant(i, theirs[multi]) == R);
            }
            for (const int n_jobs : {1, 2, 8}) {
                Acc acc = accumulator(stable);
                rank_hamming(acc, q, g, mine[multi], theirs[multi], n_jobs);
                CHECK(acc.means() == expected.means());
                CHECK(acc.candidates() == expected.candidates());
            }
        }
    Acc acc = accumulator(), wider(kRanks, kRanks, 65, false);
    const auto fewer = Labels::multi({tags.get(), kQueries, 3});
    CHECK_THROWS_AS(rank_hamming(acc, q, g, theirs[0], theirs[0], 1), std::invalid_argument);
    CHECK_THROWS_AS(rank_hamming(acc, q, g, mine[0], theirs[1], 1), std::invalid_argument);
    CHECK_THROWS_AS(rank_hamming(acc, q, g, fewer, theirs[1], 1), std::invalid_argument);
    CHECK_THROWS_AS(rank_hamming(wider, q, g, mine[0], theirs[0], 1), std::invalid_argument);
    CHECK(acc.n_queries() == 0);
}
