#pragma once
// The union over a query's probes: each row once, in the order in which it was first met.

#include <span>
#include <vector>

#include "lshcore/partition.h"
#include "lshcore/segment.h"
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

/// Finds the keys of queries and unions their buckets. Scratch of one thread; the index itself is const.
class Prober {
   public:
    Prober(const Partitioner& partitioner, std::int64_t probes) : partitioner_(partitioner), probes_(probes) {}

    /// Finds the keys of queries [first, first + n). (BitKeys are read off the code as they are needed.)
    void prepare(View<const Word> codes, View<const float> vectors, std::int64_t first, std::int64_t n);

    /// The candidates of one of them in a segment; valid until the next call.
    std::span<const Row> candidates(const Segment& segment, std::int64_t q);

   private:
    const Partitioner& partitioner_;
    std::int64_t probes_, first_ = 0;
    View<const Word> codes_;
    std::vector<std::int32_t> clusters_;  // (n, probes)
    CandidateUnion union_;
};

}  // namespace lshcore
