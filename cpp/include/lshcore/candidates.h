#pragma once
// The union over a query's probes: each row once, filtered, in the order in which it was first met.

#include <optional>
#include <span>
#include <vector>

#include "lshcore/filter.h"
#include "lshcore/near_clusters.h"
#include "lshcore/partition.h"
#include "lshcore/probe.h"
#include "lshcore/queries.h"
#include "lshcore/segment.h"
#include "lshcore/types.h"

namespace lshcore {

/// Scratch of one thread. Marks rows with the number of the current union, so that nothing is cleared between queries.
class CandidateUnion {
   public:
    /// A list of rows in the filter must be that of every bucket of this union.
    void begin(std::int64_t n_rows, const RowFilter& filter = {});

    /// Adds the rows that are new and that the filter lets pass.
    void add(std::span<const Row> bucket, const RowFilter& filter = {});

    /// The same for buckets known to share no row with any other of this union.
    void add_disjoint(std::span<const Row> bucket, const RowFilter& filter = {});

    std::span<const Row> rows() const { return {rows_.data(), n_}; }

   private:
    Row* grow(std::size_t n);
    template <class Passes>
    void add_new(std::span<const Row> bucket, Passes passes);
    template <class Passes>
    void add_any(std::span<const Row> bucket, Passes passes);

    std::vector<std::uint8_t> mark_;  // current_: taken; one less: on the list of a filter
    std::vector<Row> rows_;
    std::size_t n_ = 0;
    std::uint8_t current_ = 0;
};

/// Which keys to look into.
struct ProbeOptions {
    std::int64_t probes = 1;  // how many, over all tables: query-directed
    int radius = -1;          // or, from 0, every key within this Hamming radius in every table
    bool by_product = false;  // clusters for ranking by the inner product
};

/// Finds the keys of queries and unions their buckets. Scratch of one thread; the index itself is const.
class Prober {
   public:
    Prober(const Partitioner& partitioner, const Queries& queries, const ProbeOptions& options);

    /// Finds the keys of queries [first, first + n) as far as that is done for several at once.
    void prepare(std::int64_t first, std::int64_t n);

    /// Finds the keys of one of them, if `candidates` has not yet.
    void find(std::int64_t q);

    /// The buckets that one of them looks into in a segment with tables; valid until the next call.
    std::span<const std::span<const Row>> buckets(const Segment& segment, std::int64_t q);

    /// The candidates of one of them in a segment, as far as the filter lets them pass; valid until the next call.
    std::span<const Row> candidates(const Segment& segment, std::int64_t q, const RowFilter& filter = {});

   private:
    void find_buckets(const BitKeys& keys, const Segment& segment, std::int64_t q);

    const Partitioner& partitioner_;
    Queries queries_;
    ProbeOptions options_;
    std::int64_t first_ = 0;
    std::int64_t probed_ = -1;  // the query that probes_ are for
    const std::vector<Probe>* probes_ = nullptr;
    std::vector<std::int32_t> clusters_;  // (n, probes)
    std::optional<NearClusters> near_;    // finds them where rows have residuals
    ResidualQuery residual_query_;
    std::vector<ProbeSequence> sequence_;    // one with keys made of bits, else none
    std::vector<Word> code_;                 // with LatticeKeys: of the query that probes_ are for
    std::vector<Alternative> alternatives_;  // and of its hashes
    std::vector<std::span<const Row>> buckets_;
    CandidateUnion union_;
};

}  // namespace lshcore
