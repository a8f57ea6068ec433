#pragma once
// Which rows may be candidates: those that live and that the caller allows.

#include <memory>
#include <span>
#include <vector>

#include "lshcore/segment.h"
#include "lshcore/types.h"

namespace lshcore {

/// What a caller allows; by default everything. Unknown ids are an error.
struct Allowed {
    const bool* mask = nullptr;  // of every query: one for each row, in row order, or
    std::int64_t n_mask = -1;    // (how many; -1: not told)
    const Id* ids = nullptr;     // ids: of every query, or
    std::int64_t n_ids = 0;
    const std::int64_t* offsets = nullptr;  // of query q those from offsets[q] to offsets[q + 1]: (n_queries + 1,)
    std::int64_t n_queries = 0;

    bool everything() const { return mask == nullptr && ids == nullptr && offsets == nullptr; }
};

/// Which rows of one segment may be candidates of one query.
struct RowFilter {
    const bool* allowed = nullptr;  // one for each row; null: all that is not removed
    const Word* removed = nullptr;  // a bit for each row; null: nothing
    bool listed = false;            // only these rows, ascending, which all live
    std::span<const Row> rows;

    RowFilter() = default;
    RowFilter(const bool* mask) : allowed(mask) {}  // NOLINT: a mask is a filter
};

/// What is allowed, resolved to the rows of each segment once a call.
class Filters {
   public:
    /// `where` begins the messages of errors.
    Filters(LiveSegments segments, const Allowed& allowed, std::int64_t n_queries, int n_jobs, const char* where);

    /// Whether only removed rows are held back.
    bool everything() const { return masks_.empty() && offsets_.empty(); }

    RowFilter at(std::size_t segment, std::int64_t query) const;

   private:
    void list(LiveSegments segments, const Allowed& allowed, std::int64_t n_queries, int n_jobs, const char* where);

    LiveSegments segments_;
    std::vector<std::unique_ptr<bool[]>> masks_;  // of each segment
    std::vector<const bool*> seen_;               // the same, or into the caller's
    std::vector<std::size_t> offsets_;            // (n_queries, n_segments), and the end
    std::vector<Row> rows_;
};

}  // namespace lshcore
