#include <doctest/doctest.h>

#include "lshcore/score.h"
#include "naive.h"

using namespace lshcore;
using naive::view;

namespace {

constexpr std::int64_t kRows = 90, kQueries = 11, kDim = 21;
constexpr int kBits = 130;

struct Data {
    std::vector<Word> codes, query_codes;
    std::vector<float> vectors, query_vectors, query_norms;
    std::shared_ptr<const Segment> segment;
    Queries queries;

    explicit Data(std::uint64_t seed) {
        naive::Draw draw(seed);
        codes = draw.codes(kRows, kBits);
        query_codes = draw.codes(kQueries, kBits);
        vectors = draw.reals(kRows * kDim);
        query_vectors = draw.reals(kQueries * kDim);
        std::fill_n(vectors.begin() + 3 * kDim, kDim, 0.0f);
        std::fill_n(query_vectors.begin() + 2 * kDim, kDim, 0.0f);
        std::copy_n(vectors.begin() + 7 * kDim, kDim, query_vectors.begin() + kDim);  // query 1 is row 7
        for (std::int64_t q = 0; q < kQueries; ++q)
            query_norms.push_back(naive::inverse_norm(query_vectors.data() + q * kDim, kDim));
        segment =
            build_segment(OneBucket{}, view(codes, kRows), view(vectors, kRows), VectorType::float32, Ids(0, kRows), 1);
        queries = {view(query_codes, kQueries), {}, view(query_vectors, kQueries), query_norms.data()};
    }

    template <class D>
    D plain(Rank rank, std::int64_t q, std::int64_t row) const {
        const float* query = query_vectors.data() + q * kDim;
        const float* vector = vectors.data() + row * kDim;
        if (rank == Rank::l2) return static_cast<D>(naive::squared_l2(query, vector, kDim));
        if (rank == Rank::cosine) return static_cast<D>(naive::cosine(query, vector, kDim));
        return static_cast<D>(naive::hamming(query_codes.data() + q * 3, codes.data() + row * 3, 3));
    }
};

template <class D>
void check_rank(const Data& data, Rank rank) {
    CAPTURE(static_cast<int>(rank));
    naive::Draw draw(9);
    for (const std::int64_t n : {0, 1, 7, 64, 100})
        for (const std::int64_t q : {std::int64_t{0}, kQueries - 1}) {
            std::vector<Row> rows(static_cast<std::size_t>(n));
            for (Row& row : rows) row = static_cast<Row>(draw.below(kRows));
            std::vector<D> out(rows.size()), expected;
            for (const Row row : rows) expected.push_back(data.plain<D>(rank, q, row));
            score_rows(*data.segment, rank, data.queries, q, rows.data(), n, out.data());
            CHECK(naive::same_bits(out, expected));
        }
    for (const std::int64_t first_query : {0, 4})
        for (const std::int64_t n_queries : {std::int64_t{1}, std::int64_t{5}, kQueries - first_query})
            for (const std::int64_t first : {0, 26})
                for (const std::int64_t n_rows : {std::int64_t{0}, std::int64_t{1}, std::int64_t{5}, kRows - first}) {
                    std::vector<D> out(static_cast<std::size_t>(n_queries * n_rows)), expected;
                    for (std::int64_t i = 0; i < n_queries; ++i)
                        for (std::int64_t j = 0; j < n_rows; ++j)
                            expected.push_back(data.plain<D>(rank, first_query + i, first + j));
                    score_tile(*data.segment, rank, data.queries, first_query, n_queries, first, n_rows, out.data());
                    CHECK(naive::same_bits(out, expected));
                }
}

}  // namespace

TEST_CASE("score: rows and tiles are the plain distances, bit for bit") {
    const Data data(1);
    check_rank<std::uint16_t>(data, Rank::hamming);
    check_rank<float>(data, Rank::cosine);
    check_rank<float>(data, Rank::l2);
}

TEST_CASE("score: rows in half precision are the plain distances of their rounded values") {
    const Data data(3);
    std::vector<float> rounded = data.vectors;  // to the nearest multiple of 2^-10 of its power of two, ties to even
    for (float& v : rounded) {
        const float step = std::ldexp(1.0f, std::max(v == 0 ? -14 : std::ilogb(v), -14) - 10);
        v = std::nearbyint(v / step) * step;
    }
    const auto halves =
        build_segment(OneBucket{}, {}, view(data.vectors, kRows), VectorType::float16, Ids(0, kRows), 2);
    CHECK(halves->vectors.empty());
    naive::Draw draw(4);
    std::vector<Row> rows(50);
    for (Row& row : rows) row = static_cast<Row>(draw.below(kRows));
    for (const Rank rank : {Rank::l2, Rank::cosine}) {
        CAPTURE(static_cast<int>(rank));
        std::vector<float> tile(kQueries * kRows), some(rows.size());
        score_tile(*halves, rank, data.queries, 0, kQueries, 0, kRows, tile.data());
        bool same = true, close = true, gathered = true;
        for (std::int64_t q = 0; q < kQueries; ++q) {
            const float* query = data.query_vectors.data() + q * kDim;
            for (std::int64_t row = 0; row < kRows; ++row) {
                const float* vector = rounded.data() + row * kDim;
                const float distance = tile[static_cast<std::size_t>(q * kRows + row)];
                same &= rank == Rank::cosine || distance == naive::squared_l2(query, vector, kDim);
                close &= rank == Rank::l2 || std::abs(distance - naive::cosine(query, vector, kDim)) < 1e-6f;
            }
            score_rows(*halves, rank, data.queries, q, rows.data(), 50, some.data());
            for (std::size_t i = 0; i < rows.size(); ++i)
                gathered &= some[i] == tile[static_cast<std::size_t>(q * kRows + rows[i])];
        }
        CHECK(same);
        CHECK(close);
        CHECK(gathered);
    }
}

TEST_CASE("score: cosine is 1 - cos, never below 0 or above 2, and 1 from a zero vector") {
    naive::Draw draw(2);
    auto rows = draw.reals(kRows * kDim), queries = rows;  // query i is row i, turned round if i is odd
    for (std::int64_t i = 1; i < kRows; i += 2)
        for (std::int64_t j = 0; j < kDim; ++j) queries[static_cast<std::size_t>(i * kDim + j)] *= -2;
    std::fill_n(rows.begin(), kDim, 0.0f);
    std::fill_n(queries.begin() + 3 * kDim, kDim, 0.0f);
    std::vector<float> norms, out(kRows * kRows);
    for (std::int64_t i = 0; i < kRows; ++i) norms.push_back(naive::inverse_norm(queries.data() + i * kDim, kDim));
    const auto segment = build_segment(OneBucket{}, {}, view(rows, kRows), VectorType::float32, Ids(0, kRows), 1);
    score_tile(*segment, Rank::cosine, {{}, {}, view(queries, kRows), norms.data()}, 0, kRows, 0, kRows, out.data());
    bool close = true, within = true, one = true;
    for (std::int64_t q = 0; q < kRows; ++q)
        for (std::int64_t row = 0; row < kRows; ++row) {
            double dot = 0, a2 = 0, b2 = 0;
            for (std::int64_t j = 0; j < kDim; ++j) {
                const double a = queries[static_cast<std::size_t>(q * kDim + j)];
                const double b = rows[static_cast<std::size_t>(row * kDim + j)];
                dot += a * b;
                a2 += a * a;
                b2 += b * b;
            }
            const float distance = out[static_cast<std::size_t>(q * kRows + row)];
            const double expected = a2 == 0 || b2 == 0 ? 1 : 1 - dot / std::sqrt(a2 * b2);
            close &= std::abs(distance - expected) < 1e-6;
            within &= distance >= 0 && distance <= 2;
            one &= distance == 1 || (row != 0 && q != 3);
        }
    CHECK(close);
    CHECK(within);
    CHECK(one);
}
