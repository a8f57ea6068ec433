#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <set>
#include <stdexcept>

#include "lshcore/lattice.h"
#include "naive.h"

using namespace lshcore;
using naive::view;

namespace {

/// Every hash of every row against its cells: the code is their own value, and the n alternatives are n different values,
/// no cheaper than those before and no dearer than those left out. Returns whether all of that holds.
template <class CellsOf>
bool located(const Lattice& lattice, View<const float> x, std::int64_t n, CellsOf cells_of) {
    const int words = words_for(lattice.n_bits()), unit = lattice.hash_bits();
    std::vector<Word> codes(static_cast<std::size_t>(x.rows * words), ~Word{0});
    std::vector<Alternative> found(static_cast<std::size_t>(x.rows * lattice.n_hashes() * n));
    lattice.locate(x, codes.data(), n, found.data());
    bool good = true;
    for (std::int64_t i = 0; i < x.rows; ++i)
        for (int h = 0; h < lattice.n_hashes(); ++h) {
            const naive::Cells cells = cells_of(x.row(i), h);
            good &= naive::hash_value(codes.data() + i * words, h, unit) == cells.own;
            std::set<Word> values = {cells.own};
            std::vector<double> costs;
            for (std::int64_t a = 0; a < n; ++a) {
                const Alternative& one = found[static_cast<std::size_t>((i * lattice.n_hashes() + h) * n + a)];
                values.insert(cells.own ^ one.pattern);
                costs.push_back(one.cost);
                good &=
                    (cells.own ^ one.pattern) < cells.costs.size() && one.cost == cells.costs[cells.own ^ one.pattern];
            }
            std::vector<double> all = cells.costs;
            all.erase(all.begin() + static_cast<std::ptrdiff_t>(cells.own));
            std::sort(all.begin(), all.end());
            all.resize(costs.size());
            good &= costs == all && values.size() == static_cast<std::size_t>(n) + 1;
        }
    for (std::int64_t i = 0; i < x.rows && lattice.n_bits() % 64 != 0; ++i)
        good &= codes[static_cast<std::size_t>((i + 1) * words - 1)] >> (lattice.n_bits() % 64) == 0;
    return good;
}

std::vector<std::int64_t> some_alternatives(const Lattice& lattice) {
    const std::int64_t most = lattice.most_alternatives();
    std::set<std::int64_t> numbers = {0, 1, most / 2, most / 2 + 1, most};
    if (most > 2) numbers.insert(2);
    return {numbers.begin(), numbers.end()};
}

}  // namespace

TEST_CASE("lattice: vertices of a cross-polytope are those of the whole Hadamard matrix, cheapest first") {
    naive::Draw draw(11);
    constexpr std::int64_t kRows = 9, kHashes = 11;
    for (const auto& [dim, width, vertices] :
         {std::array{1, 1, 1}, {1, 2, 1}, {2, 2, 2}, {3, 4, 2}, {5, 8, 8}, {13, 16, 4}, {40, 64, 64}})
        for (const int rotations : {1, 2, 3}) {
            CAPTURE(dim);
            CAPTURE(vertices);
            CAPTURE(rotations);
            auto x = draw.steps(kRows * dim, 2), shift = draw.steps(dim, 2);
            std::fill(x.begin(), x.begin() + dim, 0.0f);  // many ties
            std::copy(shift.begin(), shift.end(), x.begin() + dim);
            const auto signs = draw.signs(kHashes * rotations * width);
            const CrossPolytope lattice(view(signs, kHashes), rotations, vertices, shift);
            REQUIRE(lattice.most_alternatives() == 2 * vertices - 1);
            for (const auto n : some_alternatives(lattice)) {
                CAPTURE(n);
                CHECK(located(lattice, view(x, kRows), n, [&](const float* row, int h) {
                    std::vector<float> shifted(row, row + dim);
                    for (std::size_t j = 0; j < shifted.size(); ++j) shifted[j] -= shift[j];
                    return naive::vertex_cells(signs.data() + h * rotations * width, rotations, width, vertices,
                                               shifted);
                }));
            }
        }
}

TEST_CASE("lattice: p-stable cells are intervals, the outermost without end, nearest first") {
    naive::Draw draw(12);
    constexpr std::int64_t kRows = 30;
    for (const int hash_bits : {1, 2, 5, 8})
        for (const std::int64_t dim : {1, 3, 20}) {
            CAPTURE(hash_bits);
            CAPTURE(dim);
            const std::int64_t n_hashes = 9;
            auto weights = draw.steps(n_hashes * dim, 3), bias = draw.steps(n_hashes, 3);
            for (float& value : weights) value /= 4;
            for (float& value : bias) value /= 8;
            auto x = draw.steps(kRows * dim, 6);
            for (std::int64_t j = 0; j < dim; ++j) x[static_cast<std::size_t>(j)] *= 1e6f;  // far beyond the outermost
            const PStable lattice(view(weights, n_hashes), bias, hash_bits);
            for (const auto n : some_alternatives(lattice)) {
                CAPTURE(n);
                CHECK(located(lattice, view(x, kRows), n, [&](const float* row, int h) {
                    const float place =
                        naive::dot(row, weights.data() + h * dim, dim) + bias[static_cast<std::size_t>(h)];
                    return naive::interval_cells(place, hash_bits);
                }));
            }
        }
}

TEST_CASE("lattice: a lattice gives the same codes for any batch and threads") {
    naive::Draw draw(13);
    constexpr std::int64_t kRows = 101, kDim = 23;
    std::vector<float> x(kRows * kDim), weights(17 * kDim);
    for (float& value : x) value = static_cast<float>(draw.below(1u << 20)) * 0x1p-20f - 0.3f;
    for (float& value : weights) value = static_cast<float>(draw.below(1u << 20)) * 0x1p-19f - 1;
    const CrossPolytope polytope(view(draw.signs(13 * 3 * 32), 13), 3, 32, std::vector<float>(kDim, 0.25f));
    const PStable stable(view(weights, 17), std::vector<float>(17, 0.5f), 6);
    for (const Lattice* lattice : {static_cast<const Lattice*>(&polytope), static_cast<const Lattice*>(&stable)}) {
        const int words = words_for(lattice->n_bits());
        std::vector<Word> whole(kRows * static_cast<std::size_t>(words)), single(whole.size());
        lattice->encode(view(x, kRows), whole.data(), 1);
        for (std::int64_t i = 0; i < kRows; ++i) {
            std::vector<Alternative> alternatives(static_cast<std::size_t>(lattice->n_hashes() * 3));
            lattice->locate({x.data() + i * kDim, 1, kDim}, single.data() + i * words, 3, alternatives.data());
        }
        CHECK(single == whole);
        for (const int n_jobs : {2, 5}) {
            std::vector<Word> again(whole.size());
            lattice->encode(view(x, kRows), again.data(), n_jobs);
            CHECK(again == whole);
        }
    }
}

TEST_CASE("lattice: lattices that make no sense are refused") {
    naive::Draw draw(14);
    const auto signs = draw.signs(4 * 2 * 8);
    const auto shift = std::vector<float>(5, 0.0f);
    CHECK_THROWS_AS(CrossPolytope(view(signs, 4), 3, 8, shift), std::invalid_argument);
    CHECK_THROWS_AS(CrossPolytope(view(signs, 4), 0, 8, shift), std::invalid_argument);
    CHECK_THROWS_AS(CrossPolytope(view(signs, 4), 4, 4, shift), std::invalid_argument);  // narrower than the vectors
    for (const int vertices : {-1, 0, 3, 16, 1 << 17})
        CHECK_THROWS_AS(CrossPolytope(view(signs, 4), 2, vertices, shift), std::invalid_argument);
    const std::vector<float> weights(12);
    CHECK_THROWS_AS(PStable(view(weights, 4), std::vector<float>(3), 8), std::invalid_argument);
    CHECK_THROWS_AS(PStable(view(weights, 4), std::vector<float>(4), 0), std::invalid_argument);
    CHECK_THROWS_AS(PStable(view(weights, 4), std::vector<float>(4), 17), std::invalid_argument);
}
