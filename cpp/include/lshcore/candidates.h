#pragma once
// The union of buckets: each row once, in the order in which it was first met.

#include <span>
#include <vector>

#include "lshcore/types.h"

namespace lshcore {

/// Scratch of one thread. Marks rows with the number of the current union, so that nothing is cleared between queries.
class CandidateUnion {
   public:
    void begin(std::int64_t n_rows);

    void add(std::span<const Row> bucket) {
        for (const Row row : bucket) {
            if (mark_[row] == current_) continue;
            mark_[row] = current_;
            rows_.push_back(row);
        }
    }

    /// For buckets known to share no row with any other of this union.
    void add_disjoint(std::span<const Row> bucket) { rows_.insert(rows_.end(), bucket.begin(), bucket.end()); }

    std::span<const Row> rows() const { return rows_; }

   private:
    std::vector<std::uint8_t> mark_;
    std::vector<Row> rows_;
    std::uint8_t current_ = 0;
};

}  // namespace lshcore
