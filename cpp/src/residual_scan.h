#pragma once
// The rows of the clusters of some queries that may be among their nearest, by their residuals.

#include <span>
#include <vector>

#include "lshcore/filter.h"
#include "lshcore/index.h"
#include "lshcore/near_clusters.h"
#include "lshcore/partition.h"
#include "lshcore/reservoir.h"
#include "lshcore/segment.h"

namespace lshcore {

/// Scratch of one thread. A query finds the same rows alone as beside others.
class ResidualScan {
   public:
    ResidualScan(const ClusterKeys& keys, const SearchOptions& options);

    /// How many queries are to share what is read: of m, on so many threads.
    static std::int64_t queries_at_once(std::int64_t m, int n_jobs, std::int64_t dim);

    /// Finds the clusters of n queries.
    void locate(View<const float> vectors);

    /// Looks for the most promising rows in them: as many as the shortlist. Reads a cluster once for all queries that
    /// look into it. `first`: the number of the first query, for the filters.
    void find(LiveSegments segments, const Filters& filters, std::int64_t first);

    /// Those rows of the i-th query, best first. The value of a key: hardly more than the distance.
    std::span<const Reservoir::Key> found(std::int64_t i) const { return queries_[static_cast<std::size_t>(i)].found; }
    Place place(std::int64_t i, Reservoir::Key key) const;

    /// How many rows the filter let pass.
    std::int64_t n_met(std::int64_t i) const { return queries_[static_cast<std::size_t>(i)].n_met; }

   private:
    struct Query {
        ResidualQuery coded;
        float squares = 0;  // of its length
        float inverse_norm = 0;
        std::vector<NearClusters::Cluster> clusters;
        // Rows are numbered in the order of these clusters, through all segments: what comes first among equals does not
        // depend on the order in which they are met, and segments have no part in it.
        std::vector<std::uint32_t> starts;  // (clusters, segments)
        std::int64_t n_met = 0;
        Reservoir rows;
        std::span<const Reservoir::Key> found;
    };
    struct Look {
        std::uint32_t cluster, query, place;
    };
    void look(const Look& at, std::size_t segment_number, const RowFilter& filter);
    void to_rank(const Query& query, const float* squares, std::int64_t n);
    std::span<const Row> bucket(std::size_t segment, std::uint32_t cluster) const {
        return segments_[segment].segment->tables[0].bucket(cluster);
    }

    SearchOptions options_;
    NearClusters near_;
    std::int64_t dim_;
    float deviations_;  // below its estimate, that a distance is rarely
    LiveSegments segments_;
    std::vector<Query> queries_;
    std::size_t n_queries_ = 0;
    std::vector<Look> looks_;
    std::vector<float> estimates_;
};

}  // namespace lshcore
