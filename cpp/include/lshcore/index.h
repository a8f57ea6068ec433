#pragma once
// The one container: partitioner + optional codes and vectors + segments.

#include <memory>
#include <mutex>
#include <vector>

#include "lshcore/candidates.h"
#include "lshcore/filter.h"
#include "lshcore/metrics.h"
#include "lshcore/partition.h"
#include "lshcore/queries.h"
#include "lshcore/score.h"
#include "lshcore/segment.h"
#include "lshcore/types.h"

namespace lshcore {

struct SearchOptions {
    Rank rank = Rank::hamming;
    std::int64_t probes = 1;  // keys looked into, over all tables
    int n_jobs = 1;
    int radius = -1;             // from 0: instead of probes, every key within this Hamming radius in every table
    std::int64_t shortlist = 0;  // before an exact rank: only this many nearest by Hamming distance; 0: all candidates
    Allowed allowed{};           // a filter
    bool on_gpu = false;  // candidates are united and ranked there: without a shortlist or a filter, not by margin
};

/// All hits of queries within some distance, each query's in the order (distance, id).
template <class D>
struct RangeResult {
    std::vector<std::int64_t> offsets;  // (m + 1)
    std::vector<D> distances;
    std::vector<Id> ids;
    std::vector<std::int64_t> n_candidates;  // (m)
};

/// Seconds a query took in each stage.
struct StageTimes {
    double probe, scan, rerank;  // find the keys; walk the buckets (union); distances and ranking
};

/// Any number of searches may run while one thread changes the index: a search sees the changes that were complete when
/// it began. Rows are in the order in which they were added, without those removed. A change that fails, or is
/// interrupted, changes nothing.
class Index {
   public:
    /// n_bits 0: no codes. dim 0: no vectors at all; `keep` says how they are stored for exact re-ranking.
    Index(Partitioner partitioner, int n_bits, std::int64_t dim, VectorType keep);

    const Partitioner& partitioner() const { return partitioner_; }
    int n_bits() const { return n_bits_; }
    std::int64_t dim() const { return dim_; }

    /// One new segment, put together with those before it when many are small. ids null: numbered on from the largest
    /// that there ever was.
    void add(View<const Word> codes, View<const float> vectors, const Id* ids, int n_jobs);

    /// Takes rows out: all must be there, and none twice.
    void remove(const Id* ids, std::int64_t n);

    /// Puts new rows in the place of those with these ids, at the end of the row order.
    void update(View<const Word> codes, View<const float> vectors, const Id* ids, int n_jobs);

    /// Makes one segment of all rows; no answer changes.
    void compact(int n_jobs);

    /// Fills an empty index with segments of its shape.
    void restore(std::vector<LiveSegment> segments, Id next_id);

    struct Contents {
        std::vector<LiveSegment> segments;
        Id next_id;
    };
    Contents contents() const;

    RowShape shape() const { return row_shape(partitioner_, n_bits_, dim_, keep_); }

    void contains(const Id* ids, std::int64_t n, bool* out) const;
    void codes_of(const Id* ids, std::int64_t n, Word* out) const;     ///< (n, words); ids must be there
    void vectors_of(const Id* ids, std::int64_t n, float* out) const;  ///< (n, dim); the same

    std::int64_t size() const;
    std::int64_t n_segments() const;
    std::vector<Id> ids() const;                              ///< in row order
    std::vector<std::int64_t> bucket_sizes(int table) const;  ///< of the buckets that hold something, by key

    struct Bytes {
        std::size_t codes, vectors, ids, tables;
    };
    Bytes nbytes() const;

    /// distances, ids (m, k) in the order (distance, id), n_candidates and times (m,). D is uint16 for Hamming, else float.
    template <class D>
    void search(const Queries& queries, std::int64_t k, const SearchOptions& options, D* distances, Id* ids,
                std::int64_t* n_candidates, StageTimes* times) const;

    /// All candidates within the radius, inclusive. D as in search; no shortlist.
    template <class D>
    RangeResult<D> range_search(const Queries& queries, const SearchOptions& options, D radius) const;

    /// The ids in the union of each query's buckets, ascending; offsets (m + 1).
    void candidates(const Queries& queries, const SearchOptions& options, std::vector<std::int64_t>& offsets,
                    std::vector<Id>& ids) const;

    /// Ranks each query's whole candidate list and adds its metrics. Gallery labels are in row order.
    void evaluate(RankingAccumulator& accumulator, const Queries& queries, const SearchOptions& options,
                  const Labels& query_labels, const Labels& gallery_labels) const;

   private:
    struct State {
        std::vector<LiveSegment> segments;
        std::int64_t n_rows = 0;  // that live
        Id next_id = 0;
    };

    std::shared_ptr<const State> state() const;
    template <class Change>
    void change(Change change);
    std::int64_t check_rows(View<const Word> codes, View<const float> vectors, const char* where) const;
    void check_new(const State& state, const Ids& ids) const;
    void remove_from(State& state, const Id* ids, std::int64_t n, const char* where) const;
    void append(State& state, View<const Word> codes, View<const float> vectors, Ids ids, int n_jobs) const;
    std::vector<Place> places(const State& state, const Id* ids, std::int64_t n, const char* where) const;

    void check_queries(const Queries& queries, const SearchOptions& options, bool scored) const;
    void prepare(const State& state, const SearchOptions& options, bool scored) const;
    template <class D>
    void search_on_gpu(const State& state, const Queries& queries, std::int64_t k, const SearchOptions& options,
                       D* distances, Id* ids, std::int64_t* n_candidates) const;
    template <class D, class MakeSink>
    void scan(const State& state, const Queries& queries, const SearchOptions& options, MakeSink make_sink) const;

    Partitioner partitioner_;
    int n_bits_;
    std::int64_t dim_;
    VectorType keep_;
    mutable std::mutex state_mutex_;  // held to read or swap the pointer
    std::mutex change_mutex_;         // held by the one who changes it
    std::shared_ptr<const State> state_;
};

}  // namespace lshcore
