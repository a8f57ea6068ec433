#pragma once
// Distances of candidates: Hamming on whole codes (uint16); margin, cosine (1 - cos), squared L2 or ip (the inner product, negated; float32). Margin is
// asymmetric: the sum of the query's |margins| over the bits in which a code differs from the query's.

#include "lshcore/queries.h"
#include "lshcore/segment.h"
#include "lshcore/types.h"

namespace lshcore {

enum class Rank { hamming, margin, cosine, l2, ip };

inline bool reads_codes(Rank rank) { return rank == Rank::hamming || rank == Rank::margin; }
inline bool reads_vectors(Rank rank) { return !reads_codes(rank); }

/// out[i] = distance of query q and row rows[i] of the segment. D is uint16 for Hamming, float otherwise.
template <class D>
void score_rows(const Segment& segment, Rank rank, const Queries& queries, std::int64_t q, const Row* rows,
                std::int64_t n, D* out);

/// out[i * n_rows + j] = distance of query q + i and row first + j. Not for margin.
template <class D>
void score_tile(const Segment& segment, Rank rank, const Queries& queries, std::int64_t q, std::int64_t n_queries,
                std::int64_t first, std::int64_t n_rows, D* out);

}  // namespace lshcore
