#pragma once
// Exhaustive Hamming distances over packed codes; results are ordered by (distance, id).

#include <span>
#include <vector>

#include "lshcore/types.h"

namespace lshcore {

/// Codes and what their rows are called: first_id, first_id + 1, ..., or ids[row] unless that is null.
struct CodeBatch {
    View<const Word> codes;
    Id first_id = 0;
    const Id* ids = nullptr;
    const Word* removed = nullptr;  // bit row % 64 of word row / 64: this row is not there; null: all are
};

using CodeBatches = std::span<const CodeBatch>;

/// out (m, n): every distance.
void hamming_distances(View<const Word> a, View<const Word> b, std::uint16_t* out, int n_jobs);

/// distances and ids (m, k): the k nearest over all batches; missing places are 65535 and -1. A batch of queries is
/// spread over the threads by query, a few queries by parts of the gallery. as_rows: instead of ids, the numbers of the
/// rows, counted through all batches, in the same order.
void hamming_search(View<const Word> queries, CodeBatches gallery, std::int64_t k, std::uint16_t* distances, Id* ids,
                    int n_jobs, bool as_rows = false);

struct RangeHits {
    std::vector<std::int64_t> offsets;  // (m + 1)
    std::vector<std::uint16_t> distances;
    std::vector<Id> ids;
};

/// All codes within the radius, inclusive.
RangeHits hamming_range(View<const Word> queries, CodeBatches gallery, int radius, int n_jobs);

/// The same over one gallery whose ids are its row numbers.
inline void hamming_search(View<const Word> queries, View<const Word> gallery, std::int64_t k, std::uint16_t* distances,
                           Id* ids, int n_jobs) {
    const CodeBatch batch{gallery};
    hamming_search(queries, CodeBatches(&batch, 1), k, distances, ids, n_jobs);
}

inline RangeHits hamming_range(View<const Word> queries, View<const Word> gallery, int radius, int n_jobs) {
    const CodeBatch batch{gallery};
    return hamming_range(queries, CodeBatches(&batch, 1), radius, n_jobs);
}

}  // namespace lshcore
