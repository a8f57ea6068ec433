#pragma once
// A batch of queries: what of them the partitioner and the scorer read. Parts that neither needs are empty.

#include "lshcore/types.h"

namespace lshcore {

struct Queries {
    View<const Word> codes;                // (m, words)
    View<const float> margins;             // (m, n_bits), the real values behind the codes; empty: all bits are as sure
    View<const float> vectors;             // (m, dim)
    const float* inverse_norms = nullptr;  // (m,), with cosine

    std::int64_t size() const { return codes.cols > 0 ? codes.rows : vectors.rows; }
};

}  // namespace lshcore
