#include <doctest/doctest.h>

#include <memory>
#include <numeric>
#include <stdexcept>

#include "lshcore/metrics.h"
#include "naive.h"

using namespace lshcore;
using Acc = RankingAccumulator;

namespace {

const std::vector<std::int64_t> kRanks = {1, 2, 3, 4, 5, 6, 7, 8, 11};
constexpr int kBits = 8;

Acc accumulator(bool stable = false) { return Acc(kRanks, kRanks, kBits, stable); }

double ratio(double a, double b) { return b == 0 ? 0 : a / b; }

/// Every metric of a list in its final order by the definitions of PROTOCOL, in the accumulator's slots.
std::vector<double> strict(const Acc& acc, const std::vector<bool>& relevance, double R) {
    const std::size_t n = relevance.size();
    std::vector<double> hits = {0}, precisions = {0};
    for (std::size_t t = 1; t <= n; ++t) {
        hits.push_back(hits.back() + relevance[t - 1]);
        precisions.push_back(precisions.back() + (relevance[t - 1] ? hits.back() / static_cast<double>(t) : 0));
    }
    std::vector<double> out(acc.n_slots(), 0.0);
    out[Acc::kCandidates] = static_cast<double>(n);
    out[Acc::kNoRelevant] = R == 0;
    out[Acc::kMap] = ratio(precisions[n], R);
    out[Acc::kMapRetrieved] = ratio(precisions[n], hits[n]);
    out[Acc::kRecall] = ratio(hits[n], R);
    out[Acc::kCovered] = n > 0;
    for (std::size_t i = 0; i < kRanks.size(); ++i) {
        const auto k = static_cast<double>(kRanks[i]);
        const auto top = static_cast<std::size_t>(std::min<std::int64_t>(kRanks[i], static_cast<std::int64_t>(n)));
        out[acc.at_k(i, Acc::kMapAt)] = ratio(precisions[top], std::min(k, R));
        out[acc.at_k(i, Acc::kMapRetrievedAt)] = ratio(precisions[top], hits[top]);
        out[acc.at_k(i, Acc::kPrecisionAt)] = hits[top] / k;
        out[acc.at_k(i, Acc::kPrecisionReturnedAt)] = ratio(hits[top], static_cast<double>(top));
        out[acc.curve(i)] = hits[top] / k;
        out[acc.curve(i) + 1] = ratio(hits[top], R);
    }
    return out;
}

/// The metrics by radius, which do not depend on any order.
void put_radii(const Acc& acc, std::span<const TieGroup> groups, double R, std::vector<double>& out) {
    for (int r = 0; r <= kBits; ++r) {
        double size = 0, relevant = 0;
        for (const auto& group : groups)
            if (group.distance <= static_cast<float>(r)) {
                size += static_cast<double>(group.n);
                relevant += static_cast<double>(group.relevant);
            }
        double* at = &out[acc.radius(static_cast<std::size_t>(r))];
        at[0] = ratio(relevant, size), at[1] = ratio(relevant, R), at[2] = size;
        if (r == 2) out[acc.empty_ball()] = size == 0;
    }
}

void check_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
    REQUIRE(a.size() == b.size());
    std::size_t worst = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!(std::abs(a[i] - b[i]) <= std::abs(a[worst] - b[worst]))) worst = i;
    CAPTURE(worst);
    CAPTURE(a[worst]);
    CAPTURE(b[worst]);
    CHECK(std::abs(a[worst] - b[worst]) <= tolerance);
}

struct Item {
    std::int64_t distance;
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

std::vector<double> long_sum(std::span<const TieGroup> groups, std::int64_t R, std::int64_t k);

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

TEST_CASE("metrics: the expectation over every order of tied items, for all lists of up to seven") {
    // All orders of the relevances inside each group are equally likely, so the mean over those is the mean over all
    // permutations of the items.
    const Acc acc = accumulator();
    for (std::size_t n = 0; n <= 7; ++n)
        for (const std::int64_t missed : {0, 3}) {  // relevant items that the list does not hold
            const unsigned n_masks = 1u << n, n_cuts = n < 2 ? 1 : 1u << (n - 1);
            const auto bits = [&](unsigned mask) {
                std::vector<bool> relevance;
                for (std::size_t t = 0; t < n; ++t) relevance.push_back((mask >> t) & 1);
                return relevance;
            };
            std::vector<std::vector<double>> of_mask;
            for (unsigned mask = 0; mask < n_masks; ++mask)
                of_mask.push_back(strict(acc, bits(mask), static_cast<double>(std::popcount(mask) + missed)));
            for (unsigned cuts = 0; cuts < n_cuts; ++cuts) {  // bit t: item t + 1 is farther than item t
                std::vector<std::int64_t> distances;
                for (std::size_t t = 0; t < n; ++t)
                    distances.push_back(t == 0 ? cuts % 2 : distances.back() + ((cuts >> (t - 1)) & 1));
                const auto grouped = [&](unsigned mask) {
                    std::vector<Item> items;
                    for (std::size_t t = 0; t < n; ++t) items.push_back({distances[t], bits(mask)[t]});
                    return group(items);
                };
                std::vector<std::vector<TieGroup>> groups;
                std::vector<unsigned> code;  // of the number of relevant items in each group
                for (unsigned mask = 0; mask < n_masks; ++mask) {
                    groups.push_back(grouped(mask));
                    code.push_back(0);
                    for (const auto& one : groups.back())
                        code.back() = code.back() * 8 + static_cast<unsigned>(one.relevant);
                }
                for (unsigned mask = 0; mask < n_masks; ++mask) {
                    if (std::find(code.begin(), code.begin() + mask, code[mask]) != code.begin() + mask) continue;
                    CAPTURE(n);
                    CAPTURE(cuts);
                    CAPTURE(mask);
                    std::vector<double> mean(acc.n_slots(), 0.0);
                    double orders = 0;
                    for (unsigned other = mask; other < n_masks; ++other) {
                        if (code[other] != code[mask]) continue;
                        ++orders;
                        for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += of_mask[other][i];
                    }
                    for (double& value : mean) value /= orders;
                    const std::int64_t R = std::popcount(mask) + missed;
                    put_radii(acc, groups[mask], static_cast<double>(R), mean);
                    check_close(acc.evaluate(groups[mask], R), mean, 1e-12);
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
        std::int64_t n = 0, relevant = 0;
        std::vector<std::int64_t> ks;
        for (const auto& one : groups) {  // a few places into each group, and its edges
            for (const std::int64_t s :
                 {std::int64_t{1}, std::int64_t{31}, std::int64_t{32}, one.n / 2, one.n - 1, one.n})
                if (s >= 1 && s <= one.n && (ks.empty() || n + s > ks.back())) ks.push_back(n + s);
            n += one.n;
            relevant += one.relevant;
        }
        const Acc acc(ks, {}, 0, false);
        const std::int64_t R = relevant + 100;
        const auto values = acc.evaluate(groups, R);
        for (std::size_t i = 0; i < ks.size(); ++i) {
            CAPTURE(groups.size());
            CAPTURE(ks[i]);
            const auto expected = long_sum(groups, R, ks[i]);
            CHECK(values[acc.at_k(i, Acc::kMapAt)] == doctest::Approx(expected[0]).epsilon(1e-10).scale(1e-3));
            CHECK(values[acc.at_k(i, Acc::kMapRetrievedAt)] == doctest::Approx(expected[1]).epsilon(1e-10).scale(1e-3));
            CHECK(values[acc.at_k(i, Acc::kPrecisionAt)] == doctest::Approx(expected[2]).epsilon(1e-12));
        }
        const auto whole = long_sum(groups, R, n);
        CHECK(values[Acc::kMap] ==
              doctest::Approx(whole[0] * static_cast<double>(std::min(n, R)) / static_cast<double>(R)).epsilon(1e-11));
        CHECK(values[Acc::kMapRetrieved] == doctest::Approx(whole[1]).epsilon(1e-11));
    }
}

TEST_CASE("metrics: a ranked list gives the groups, from integers and floats, or the order by (distance, id)") {
    naive::Draw draw(1);
    const Acc tied = accumulator(), stable = accumulator(true), floats(kRanks, kRanks, 0, false);
    RankedList by_count(tied), by_order(stable), by_key(floats);
    for (const std::int64_t n : {0, 1, 5, 40, 255, 256, 1000}) {  // from 256 on by radix
        CAPTURE(n);
        std::vector<Item> items;
        std::vector<std::pair<std::pair<std::int64_t, Id>, bool>> order;
        for (Id id = 0; id < n; ++id) {
            items.push_back({static_cast<std::int64_t>(draw.below(kBits + 1)), draw.below(3) == 0});
            order.push_back({{items.back().distance, id * 7919 % 1009}, items.back().relevant});
        }
        by_count.begin(), by_order.begin(), by_key.begin();
        std::vector<TieGroup> shifted = group(items);
        for (std::size_t i = 0; i < items.size(); ++i) {
            const auto d = static_cast<std::uint16_t>(items[i].distance);
            by_count.add(d, static_cast<Id>(i), items[i].relevant);
            by_order.add(d, order[i].first.second, items[i].relevant);
            float centred = static_cast<float>(d) / 4 - 1;  // both signs, and both zeros are one distance
            if (centred == 0 && i % 2 == 0) centred = -0.0f;
            by_key.add(centred, static_cast<Id>(i), items[i].relevant);
        }
        std::sort(order.begin(), order.end());
        std::vector<bool> relevance;
        for (const auto& [key, relevant] : order) relevance.push_back(relevant);
        CHECK(by_count.finish(9) == tied.evaluate(group(items), 9));
        CHECK(by_key.finish(9) == floats.evaluate(group(items), 9));
        auto expected = strict(stable, relevance, 9);
        put_radii(stable, group(items), 9, expected);
        check_close(by_order.finish(9), expected, 1e-12);
    }
}

TEST_CASE("metrics: a query without relevant items, and one without candidates, count 0 and are reported") {
    Acc acc = accumulator();
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
    CHECK(accumulator().means()[Acc::kMap] == 0);
}

TEST_CASE("metrics: merging equals one pass") {
    naive::Draw draw(2);
    Acc whole = accumulator(), first = accumulator(), second = accumulator();
    for (int q = 0; q < 101; ++q) {
        std::vector<Item> items(draw.below(20));
        for (auto& item : items) item = {static_cast<std::int64_t>(draw.below(kBits + 1)), draw.below(2) == 0};
        const auto values = whole.evaluate(group(items), 12);
        whole.add(values);
        (q < 40 ? first : second).add(values);
    }
    first.merge(second);
    CHECK(first.n_queries() == 101);
    CHECK(first.candidates() == whole.candidates());
    check_close(first.means(), whole.means(), 1e-14 * 20);
    const std::vector<Acc> others = {Acc({1}, kRanks, kBits, false), Acc(kRanks, {1}, kBits, false),
                                     Acc(kRanks, kRanks, 7, false), Acc(kRanks, kRanks, kBits, true)};
    for (const Acc& other : others) CHECK_THROWS_AS(first.merge(other), std::invalid_argument);
    CHECK_THROWS_AS(Acc({0, 1}, {}, 0, false), std::invalid_argument);
    CHECK_THROWS_AS(Acc({1, 1}, {}, 0, false), std::invalid_argument);
    CHECK_THROWS_AS(Acc({}, {3, 2}, 0, false), std::invalid_argument);
    CHECK_THROWS_AS(Acc({}, {}, 4097, false), std::invalid_argument);
    CHECK_THROWS_AS(Acc({}, {}, -1, false), std::invalid_argument);
}

TEST_CASE("metrics: rank_hamming is the plain double loop, for single and multiple labels and any threads") {
    naive::Draw draw(3);
    constexpr std::int64_t kQueries = 19, kRows = 20000, kLabels = 70;
    const auto queries = draw.codes(kQueries, kBits), gallery = draw.codes(kRows, kBits);
    std::vector<std::int64_t> classes[2];
    std::unique_ptr<bool[]> tags[2];
    const std::int64_t sizes[2] = {kQueries, kRows};
    for (int side = 0; side < 2; ++side) {
        tags[side].reset(new bool[static_cast<std::size_t>(sizes[side] * kLabels)]);
        for (std::int64_t i = 0; i < sizes[side]; ++i) {
            classes[side].push_back(static_cast<std::int64_t>(draw.below(6)) - 2);
            for (std::int64_t j = 0; j < kLabels; ++j)
                tags[side][static_cast<std::size_t>(i * kLabels + j)] = draw.below(40) == 0;
        }
    }
    classes[0][3] = 99;  // a class that nobody has
    for (const bool multi : {false, true})
        for (const bool stable : {false, true}) {
            CAPTURE(multi);
            CAPTURE(stable);
            const auto labels = [&](int side) {
                return multi ? Labels::multi({tags[side].get(), sizes[side], kLabels}) : Labels::single(classes[side]);
            };
            const auto relevant = [&](std::int64_t q, std::int64_t row) {
                if (!multi) return classes[0][static_cast<std::size_t>(q)] == classes[1][static_cast<std::size_t>(row)];
                bool any = false;
                for (std::int64_t j = 0; j < kLabels; ++j)
                    any = any || (tags[0][static_cast<std::size_t>(q * kLabels + j)] &&
                                  tags[1][static_cast<std::size_t>(row * kLabels + j)]);
                return any;
            };
            Acc expected = accumulator(stable);
            for (std::int64_t q = 0; q < kQueries; ++q) {
                std::vector<TieGroup> groups(kBits + 1), singles;
                std::int64_t R = 0;
                for (std::size_t d = 0; d <= kBits; ++d) groups[d].distance = static_cast<float>(d);
                std::vector<std::vector<TieGroup>> at(kBits + 1);
                for (std::int64_t row = 0; row < kRows; ++row) {
                    const auto d = naive::hamming(&queries[static_cast<std::size_t>(q)],
                                                  &gallery[static_cast<std::size_t>(row)], 1);
                    const bool is = relevant(q, row);
                    R += is, ++groups[d].n, groups[d].relevant += is;
                    at[d].push_back({static_cast<float>(d), 1, is});
                }
                std::erase_if(groups, [](const TieGroup& one) { return one.n == 0; });
                for (const auto& one : at) singles.insert(singles.end(), one.begin(), one.end());
                expected.add(expected.evaluate(stable ? singles : groups, R));
                CHECK(labels(0).count_relevant(q, labels(1)) == R);
            }
            for (const int n_jobs : {1, 2, 8}) {
                Acc acc = accumulator(stable);
                rank_hamming(acc, naive::view(queries, kQueries), naive::view(gallery, kRows), labels(0), labels(1),
                             n_jobs);
                CHECK(acc.means() == expected.means());
                CHECK(acc.candidates() == expected.candidates());
            }
        }
    Acc acc = accumulator();
    const auto q = naive::view(queries, kQueries), g = naive::view(gallery, kRows);
    const auto ours = Labels::single(classes[0]), theirs = Labels::single(classes[1]);
    const auto tagged = Labels::multi({tags[1].get(), kRows, kLabels}),
               fewer = Labels::multi({tags[0].get(), kQueries, 3});
    CHECK_THROWS_AS(rank_hamming(acc, q, g, theirs, theirs, 1), std::invalid_argument);
    CHECK_THROWS_AS(rank_hamming(acc, q, g, ours, tagged, 1), std::invalid_argument);
    CHECK_THROWS_AS(rank_hamming(acc, q, g, fewer, tagged, 1), std::invalid_argument);
    Acc wider(kRanks, kRanks, 65, false);
    CHECK_THROWS_AS(rank_hamming(wider, q, g, ours, theirs, 1), std::invalid_argument);
    CHECK(acc.n_queries() == 0);
}

namespace {

/// map@k, map_retrieved@k and p@k as sums over every place and every number of relevant items in the cut.
std::vector<double> long_sum(std::span<const TieGroup> groups, std::int64_t R, std::int64_t k) {
    long double N = 0, M = 0, precisions = 0, retrieved = 0, hits = 0;
    const auto inside = [&](long double size, long double relevant, std::int64_t places) {
        long double sum = 0;  // of P(t) rel_t over the first places of a group, in random order
        for (std::int64_t t = places; t >= 1; --t) {
            const long double others = size > 1 ? static_cast<long double>(t - 1) * (relevant - 1) / (size - 1) : 0;
            sum += relevant / size * (M + 1 + others) / (N + static_cast<long double>(t));
        }
        return sum;
    };
    for (const auto& one : groups) {
        const auto places = std::min<std::int64_t>(one.n, k - static_cast<std::int64_t>(N));
        if (places <= 0) break;
        const auto n = static_cast<long double>(one.n), m = static_cast<long double>(one.relevant);
        const auto s = static_cast<long double>(places);
        long double harmonic = 0, rest = 0;  // sums of 1 / (N + t) and (t - 1) / (N + t)
        for (std::int64_t t = places; t >= 1; --t) {
            harmonic += 1 / (N + static_cast<long double>(t));
            rest += static_cast<long double>(t - 1) / (N + static_cast<long double>(t));
        }
        const auto log_choose = [](long double a, long double b) {
            return lgammal(a + 1) - lgammal(b + 1) - lgammal(a - b + 1);
        };
        long double weights = 0;
        retrieved = 0;
        for (long double j = std::max(0.0L, s - (n - m)); j <= std::min(s, m); ++j) {
            const long double weight = expl(log_choose(m, j) + log_choose(n - m, s - j) - log_choose(n, s));
            const long double others = s > 1 ? (j - 1) / (s - 1) : 0;
            const long double sum = precisions + (j > 0 ? j / s * ((M + 1) * harmonic + others * rest) : 0);
            weights += weight;
            if (M + j > 0) retrieved += weight * sum / (M + j);
        }
        retrieved /= weights;
        hits = M + s * m / n;
        precisions += inside(n, m, places);
        N += n, M += m;
    }
    const auto cut = static_cast<long double>(k);
    return {static_cast<double>(precisions / std::min(cut, static_cast<long double>(R))),
            static_cast<double>(retrieved), static_cast<double>(hits / cut)};
}

}  // namespace
