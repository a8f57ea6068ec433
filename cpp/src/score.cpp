#include "lshcore/score.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "lshcore/kernels.h"
#include "lshcore/parallel.h"

namespace lshcore {
namespace {

/// 1 - cos, kept within 0 and 2; a zero vector is at distance 1 from everything.
float cosine_distance(float dot, float query_norm, float row_norm) {
    return std::clamp(1.0f - dot * query_norm * row_norm, 0.0f, 2.0f);
}

/// Sums of |margins| over the bits that differ, looked up byte by byte: of each byte, one for each pattern of its bits.
void margin_gather(const Segment& s, const Queries& queries, std::int64_t q, const Row* rows, std::int64_t n,
                   float* out) {
    const std::int64_t n_bits = queries.margins.cols, n_bytes = ceil_div(n_bits, 8);
    const float* margins = queries.margins.row(q);
    std::vector<float> sums(static_cast<std::size_t>(256 * n_bytes));
    for (std::int64_t byte = 0; byte < n_bytes; ++byte) {
        float* of = sums.data() + 256 * byte;
        for (unsigned pattern = 1; pattern < 256; ++pattern) {
            const std::int64_t bit = 8 * byte + std::countr_zero(pattern);
            of[pattern] = of[pattern & (pattern - 1)] + (bit < n_bits ? std::abs(margins[bit]) : 0.0f);
        }
    }
    const Word* query = queries.codes.row(q);
    for (std::int64_t i = 0; i < n; ++i) {
        const Word* code = s.codes.data() + std::int64_t{rows[i]} * s.words;
        float sum = 0;
        for (std::int64_t byte = 0; byte < n_bytes; ++byte)
            sum += sums[static_cast<std::size_t>(256 * byte) +
                        ((code[byte / 8] ^ query[byte / 8]) >> byte % 8 * 8 & 0xff)];
        out[i] = sum;
    }
}

/// Vectors that somebody else wrote may hold what is no number: such a row is infinitely far.
void no_nan(const Segment& s, float* out, std::int64_t n) {
    if (!s.borrowed) return;
    for (std::int64_t i = 0; i < n; ++i)
        if (std::isnan(out[i])) out[i] = std::numeric_limits<float>::infinity();
}

}  // namespace

template <>
void score_rows(const Segment& s, Rank, const Queries& queries, std::int64_t q, const Row* rows, std::int64_t n,
                std::uint16_t* out) {
    kernels().hamming_gather(queries.codes.row(q), s.codes.data(), rows, n, s.words, out);
}

template <>
void score_rows(const Segment& s, Rank rank, const Queries& queries, std::int64_t q, const Row* rows, std::int64_t n,
                float* out) {
    if (rank == Rank::margin) return margin_gather(s, queries, q, rows, n, out);
    const float* query = queries.vectors.row(q);
    const Kernels& k = kernels();
    s.touch(rows, n);
    if (s.halves.empty())
        (rank == Rank::l2 ? k.l2_gather : k.dot_gather)(query, s.vectors.data(), rows, n, s.dim, out);
    else
        (rank == Rank::l2 ? k.l2_gather_half : k.dot_gather_half)(query, s.halves.data(), rows, n, s.dim, out);
    if (rank == Rank::cosine)
        for (std::int64_t i = 0; i < n; ++i)
            out[i] = cosine_distance(out[i], queries.inverse_norms[q], s.inverse_norms[rows[i]]);
    if (rank == Rank::ip)
        for (std::int64_t i = 0; i < n; ++i) out[i] = -out[i];
    no_nan(s, out, n);
}

template <>
void score_tile(const Segment& s, Rank, const Queries& queries, std::int64_t q, std::int64_t n_queries,
                std::int64_t first, std::int64_t n_rows, std::uint16_t* out) {
    std::vector<Word> groups(static_cast<std::size_t>((n_rows + 7) / 8 * 8 * s.words));
    kernels().group_codes(s.codes.data() + first * s.words, n_rows, s.words, groups.data());
    for (std::int64_t i = 0; i < n_queries; ++i)
        kernels().grouped_distances(queries.codes.row(q + i), groups.data(), n_rows, s.words, out + i * n_rows);
}

template <>
void score_tile(const Segment& s, Rank rank, const Queries& queries, std::int64_t q, std::int64_t n_queries,
                std::int64_t first, std::int64_t n_rows, float* out) {
    const Kernels& k = kernels();
    const float* query = queries.vectors.row(q);
    s.touch(first, n_rows);
    if (s.halves.empty())
        (rank == Rank::l2 ? k.l2_tile : k.dot_tile)(query, n_queries, s.vectors.data() + first * s.dim, n_rows, s.dim,
                                                    out, n_rows);
    else
        (rank == Rank::l2 ? k.l2_tile_half : k.dot_tile_half)(query, n_queries, s.halves.data() + first * s.dim, n_rows,
                                                              s.dim, out, n_rows);
    for (std::int64_t i = 0; rank == Rank::cosine && i < n_queries; ++i)
        for (std::int64_t j = 0; j < n_rows; ++j)
            out[i * n_rows + j] = cosine_distance(out[i * n_rows + j], queries.inverse_norms[q + i],
                                                  s.inverse_norms[static_cast<std::size_t>(first + j)]);
    for (std::int64_t i = 0; rank == Rank::ip && i < n_queries * n_rows; ++i) out[i] = -out[i];
    no_nan(s, out, n_queries * n_rows);
}

}  // namespace lshcore
