#pragma once
// Exhaustive Hamming distances over packed codes. Ids are row numbers; results are ordered by (distance, id).

#include <vector>

#include "lshcore/types.h"

namespace lshcore {

/// out (m, n): every distance.
void hamming_distances(View<const Word> a, View<const Word> b, std::uint16_t* out, int n_jobs);

/// distances and ids (m, k): the k nearest; missing places are 65535 and -1.
void hamming_search(View<const Word> queries, View<const Word> gallery, std::int64_t k, std::uint16_t* distances,
                    Id* ids, int n_jobs);

struct RangeHits {
    std::vector<std::int64_t> offsets;  // (m + 1)
    std::vector<std::uint16_t> distances;
    std::vector<Id> ids;
};

/// All codes within the radius, inclusive.
RangeHits hamming_range(View<const Word> queries, View<const Word> gallery, int radius, int n_jobs);

}  // namespace lshcore
