#pragma once
// An immutable batch of rows: ids, codes, optional vectors, tables. Its arrays are its own or borrowed; borrowed ones
// are verified at their first use.

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "lshcore/blocks.h"
#include "lshcore/buffer.h"
#include "lshcore/hamming.h"
#include "lshcore/ids.h"
#include "lshcore/partition.h"
#include "lshcore/table.h"
#include "lshcore/types.h"

namespace lshcore {

/// How vectors are kept for exact re-ranking.
enum class VectorType { none, float32, float16 };

/// What the rows of an index are made of: what every segment of it must agree with.
struct RowShape {
    int n_bits = 0;        // 0: no codes
    std::int64_t dim = 0;  // of a kept vector
    VectorType keep = VectorType::none;
    int n_tables = 0;
    Word universe = 0;                // possible keys of a table; 0: no 64-bit number
    bool shared_keys = false;         // several buckets may have one key (fingerprints)
    std::int64_t residual_width = 0;  // signs of a row's residual; 0: none

    bool operator==(const RowShape&) const = default;
};

RowShape row_shape(const Partitioner& partitioner, int n_bits, std::int64_t dim, VectorType keep);

/// Parts of a segment, as far as they are verified whole.
enum Parts : unsigned { kTables = 1, kCodes = 2, kIds = 4, kNorms = 8, kVectors = 16, kResiduals = 32, kAllParts = 63 };

/// Coded residuals of n rows, and the squares of their lengths.
struct Residuals {
    Buffer<std::uint8_t> codes;
    Buffer<float> offsets, scales, squares;  // (n,)

    ResidualRows rows() const { return {codes.data(), offsets.data(), scales.data()}; }
    std::size_t nbytes() const { return codes.nbytes() + offsets.nbytes() + scales.nbytes() + squares.nbytes(); }
};

struct Segment {
    explicit Segment(Ids its_ids) : ids(std::move(its_ids)), serial(next_serial()) {}

    Ids ids;
    std::uint64_t serial;         // of no other segment in this process
    int words = 0;                // a code; 0 without codes
    std::int64_t dim = 0;         // of a vector; 0 without vectors
    Buffer<Word> codes;           // (n, words)
    Buffer<float> vectors;        // (n, dim), or
    Buffer<Half> halves;          // (n, dim)
    Buffer<float> inverse_norms;  // (n,), with vectors
    std::vector<Table> tables;    // none under OneBucket
    Residuals residuals;          // with ClusterKeys that have them, in the order of the table's rows
    RowShape shape;
    bool borrowed = false;
    std::shared_ptr<const Blocks> blocks;  // of borrowed arrays, if they have checksums

    std::int64_t size() const { return ids.size(); }
    const Word* code(std::int64_t row) const { return codes.data() + row * words; }
    CodeBatch code_batch() const { return {{codes.data(), size(), words}, ids.first(), ids.values()}; }
    std::size_t nbytes() const;

    /// Before borrowed parts are read: checksums, then what keeps every read in bounds, once. Throws DamagedError. Of
    /// kVectors nothing is left to `touch`.
    void prepare(unsigned parts, int n_jobs) const {
        if (borrowed && (verified_.load(std::memory_order_acquire) & parts) != parts) verify(parts, n_jobs);
    }

    /// Before some vectors are read: their checksums.
    void touch(const Row* rows, std::int64_t n) const;
    void touch(std::int64_t first, std::int64_t n) const;

    /// What make() gives, a shared_ptr to a copy on the GPU: made once, and kept as long as this.
    template <class Make>
    const void* on_gpu(Make make) const {
        std::call_once(on_gpu_once_, [&] { on_gpu_ = make(); });
        return on_gpu_.get();
    }

    /// The vector of a row as float32.
    void vector_of(std::int64_t row, float* out) const;

   private:
    static std::uint64_t next_serial() {
        static std::atomic<std::uint64_t> last{0};
        return ++last;
    }
    void verify(unsigned parts, int n_jobs) const;

    mutable std::atomic<unsigned> verified_{0};
    mutable std::once_flag on_gpu_once_;
    mutable std::shared_ptr<const void> on_gpu_;
};

/// A segment and which of its rows have been removed since.
struct LiveSegment {
    std::shared_ptr<const Segment> segment;
    std::shared_ptr<const std::vector<Word>> removed;  // bit row % 64 of word row / 64; null: none
    std::int64_t n_live = 0;

    bool lives(std::int64_t row) const {
        return removed == nullptr || ((*removed)[static_cast<std::size_t>(row / 64)] >> (row % 64) & 1) == 0;
    }
    const Word* removed_bits() const { return removed == nullptr ? nullptr : removed->data(); }

    /// How many rows of [first, last) live; first must be a multiple of 64, and last one or the end.
    std::int64_t count(std::int64_t first, std::int64_t last) const;

    /// Calls f(row) for every row that lives, ascending.
    template <class F>
    void for_each(F f) const {
        for (std::int64_t row = 0; row < segment->size(); ++row)
            if (lives(row)) f(row);
    }
};

using LiveSegments = std::span<const LiveSegment>;

/// Where a row stands.
struct Place {
    std::size_t segment;
    Row row;
};

/// The live row of an id. Ids must have been prepared.
std::optional<Place> find_row(LiveSegments segments, Id id);

/// Copies the rows and builds the tables. `vectors` are kept as `keep` says (ClusterKeys reads them in any case).
std::shared_ptr<const Segment> build_segment(const Partitioner& partitioner, View<const Word> codes,
                                             View<const float> vectors, VectorType keep, Ids ids, int n_jobs,
                                             int n_bits = 0);

/// One segment of all live rows, in their order; null where there are none. Their tables are made again from codes and
/// old tables alone.
std::shared_ptr<const Segment> merge_segments(const Partitioner& partitioner, const RowShape& shape,
                                              LiveSegments segments, int n_jobs);

/// Arrays of one segment in somebody else's memory. Their sizes are checked here, their contents at their first use.
struct BorrowedArrays {
    Buffer<Word> codes;
    Buffer<Id> ids;  // empty: a range
    Buffer<Row> ids_order;
    Buffer<float> vectors;
    Buffer<Half> halves;
    Buffer<float> inverse_norms;
    Residuals residuals;
    struct TableArrays {
        Buffer<Word> keys;
        Buffer<std::uint32_t> offsets;
        Buffer<Row> rows;
    };
    std::vector<TableArrays> tables;
};

/// Throws std::invalid_argument where an array has not the size that rows of this shape need, is misaligned, or lies
/// outside the blocks.
std::shared_ptr<const Segment> borrow_segment(const RowShape& shape, std::int64_t n_rows, Id first_id,
                                              BorrowedArrays arrays, std::shared_ptr<const Blocks> blocks);

}  // namespace lshcore
