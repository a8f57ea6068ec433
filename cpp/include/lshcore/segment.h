#pragma once
// An immutable batch of rows: ids, codes, optional vectors, tables.

#include <memory>
#include <utility>
#include <vector>

#include "lshcore/hamming.h"
#include "lshcore/partition.h"
#include "lshcore/table.h"
#include "lshcore/types.h"

namespace lshcore {

/// The ids of a segment's rows: either first, first + 1, ... (nothing stored), or any distinct ones.
class Ids {
   public:
    Ids(Id first, std::int64_t n) : first_(first), n_(n) {}
    explicit Ids(std::vector<Id> values);  ///< throws if one is negative or repeats

    std::int64_t size() const { return n_; }
    Id operator[](std::int64_t row) const {
        return values_.empty() ? first_ + row : values_[static_cast<std::size_t>(row)];
    }
    Id max() const;
    Id first() const { return first_; }
    const Id* values() const { return values_.empty() ? nullptr : values_.data(); }  ///< null: first, first + 1, ...
    std::size_t nbytes() const { return (values_.size() + sorted_.size()) * sizeof(Id); }

    /// An id that both have, or kNoId.
    static Id common(const Ids& a, const Ids& b);

   private:
    bool contains(Id id) const;

    Id first_ = 0;
    std::int64_t n_ = 0;
    std::vector<Id> values_;
    std::vector<Id> sorted_;
};

/// How vectors are kept for exact re-ranking.
enum class VectorType { none, float32, float16 };

struct Segment {
    explicit Segment(Ids its_ids) : ids(std::move(its_ids)) {}

    Ids ids;
    int words = 0;                     // a code; 0 without codes
    std::int64_t dim = 0;              // of a vector; 0 without vectors
    std::vector<Word> codes;           // (n, words)
    std::vector<float> vectors;        // (n, dim), or
    std::vector<Half> halves;          // (n, dim)
    std::vector<float> inverse_norms;  // (n,), with vectors
    std::vector<Table> tables;         // none under OneBucket

    std::int64_t size() const { return ids.size(); }
    CodeBatch code_batch() const { return {{codes.data(), size(), words}, ids.first(), ids.values()}; }
};

/// Copies the rows and builds the tables. `vectors` are kept as `keep` says (ClusterKeys reads them in any case).
std::shared_ptr<const Segment> build_segment(const Partitioner& partitioner, View<const Word> codes,
                                             View<const float> vectors, VectorType keep, Ids ids, int n_jobs);

}  // namespace lshcore
