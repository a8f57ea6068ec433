#include <doctest/doctest.h>

#include <stdexcept>

#include "lshcore/hamming.h"
#include "naive.h"

using namespace lshcore;
using naive::Hit;

namespace {

/// All distances of one query, in row order.
std::vector<Hit> hits(const Word* query, const std::vector<Word>& gallery, std::int64_t n, int words) {
    std::vector<Hit> all;
    for (std::int64_t i = 0; i < n; ++i) all.push_back({naive::hamming(query, gallery.data() + i * words, words), i});
    return all;
}

struct Size {
    std::int64_t m, n;
    int n_bits;
};

/// Around the blocks of 16 queries and of 16384 words; narrow codes tie often.
std::vector<Size> sizes() {
    std::vector<Size> all = {{17, 16389, 64}, {5, 16384, 3}, {16, 300, 4096}, {15, 257, 4095}, {33, 513, 2048}};
    for (std::int64_t n = 0; n <= 20; ++n) all.push_back({3, n, static_cast<int>(4 + 9 * n)});
    for (const std::int64_t n : {63, 64, 65})
        for (const int n_bits : {1, 8, 64, 65, 256}) all.push_back({n - 48, n, n_bits});
    all.push_back({0, 10, 8});
    return all;
}

constexpr int kJobs[] = {1, 2, 8};
constexpr double kNone = 65535;

}  // namespace

TEST_CASE("hamming: distances, k nearest and ranges are those of the plain loop") {
    naive::Draw draw(1);
    for (const Size& size : sizes()) {
        const std::int64_t m = size.m, n = size.n;
        const int n_bits = size.n_bits;
        CAPTURE(m);
        CAPTURE(n);
        CAPTURE(n_bits);
        const int words = words_for(n_bits);
        const auto queries = draw.codes(m, n_bits), gallery = draw.codes(n, n_bits);
        const View<const Word> q{queries.data(), m, words}, g{gallery.data(), n, words};
        std::vector<std::vector<Hit>> expected;
        for (std::int64_t i = 0; i < m; ++i) expected.push_back(hits(q.row(i), gallery, n, words));

        for (const int n_jobs : kJobs) {
            CAPTURE(n_jobs);
            std::vector<std::uint16_t> all(static_cast<std::size_t>(m * n)), plain;
            for (const auto& row : expected)
                for (const auto& hit : row) plain.push_back(static_cast<std::uint16_t>(hit.first));
            hamming_distances(q, g, all.data(), n_jobs);
            CHECK(all == plain);

            for (const std::int64_t k : {std::int64_t{1}, std::int64_t{5}, n, n + 5}) {
                if (k == 0) continue;
                CAPTURE(k);
                std::vector<std::uint16_t> distances(static_cast<std::size_t>(m * k));
                std::vector<Id> ids(distances.size());
                hamming_search(q, g, k, distances.data(), ids.data(), n_jobs);
                std::vector<Hit> found, best;
                for (std::size_t i = 0; i < ids.size(); ++i) found.push_back({distances[i], ids[i]});
                for (const auto& row : expected) {
                    const auto top = naive::top(row, k, kNone);
                    best.insert(best.end(), top.begin(), top.end());
                }
                CHECK(found == best);
            }

            for (const int radius : {-1, 0, n_bits / 2 - 1, n_bits / 2, n_bits}) {
                CAPTURE(radius);
                const RangeHits range = hamming_range(q, g, radius, n_jobs);
                std::vector<std::int64_t> offsets = {0};
                std::vector<Hit> found, within;
                for (std::size_t i = 0; i < range.ids.size(); ++i) found.push_back({range.distances[i], range.ids[i]});
                for (auto row : expected) {
                    std::sort(row.begin(), row.end());
                    for (const auto& hit : row)
                        if (hit.first <= radius) within.push_back(hit);
                    offsets.push_back(static_cast<std::int64_t>(within.size()));
                }
                CHECK(found == within);
                CHECK(range.offsets == offsets);
            }
        }
    }
}

TEST_CASE("hamming: the top k is a prefix of the top k'") {
    naive::Draw draw(2);
    constexpr std::int64_t kRows = 1000;
    const auto gallery = draw.codes(kRows, 6), query = draw.codes(1, 6);
    std::vector<std::uint16_t> whole(kRows);
    std::vector<Id> whole_ids(kRows);
    hamming_search(naive::view(query, 1), naive::view(gallery, kRows), kRows, whole.data(), whole_ids.data(), 1);
    for (std::int64_t k = 1; k < kRows; k += 37) {
        std::vector<std::uint16_t> distances(static_cast<std::size_t>(k));
        std::vector<Id> ids(distances.size());
        hamming_search(naive::view(query, 1), naive::view(gallery, kRows), k, distances.data(), ids.data(), 1);
        CHECK(std::equal(ids.begin(), ids.end(), whole_ids.begin()));
        CHECK(std::equal(distances.begin(), distances.end(), whole.begin()));
    }
}

TEST_CASE("hamming: codes of another width are refused") {
    const std::vector<Word> codes(4, 0);
    std::vector<std::uint16_t> distances(8);
    std::vector<Id> ids(8);
    const View<const Word> one{codes.data(), 4, 1}, two{codes.data(), 2, 2};
    CHECK_THROWS_AS(hamming_distances(one, two, distances.data(), 1), std::invalid_argument);
    CHECK_THROWS_AS(hamming_search(one, two, 1, distances.data(), ids.data(), 1), std::invalid_argument);
    CHECK_THROWS_AS(hamming_range(one, two, 3, 1), std::invalid_argument);
}
