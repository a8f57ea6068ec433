#pragma once
// The rows of a query's clusters that may be among its nearest, by their residuals.

#include <span>
#include <vector>

#include "lshcore/filter.h"
#include "lshcore/index.h"
#include "lshcore/near_clusters.h"
#include "lshcore/partition.h"
#include "lshcore/reservoir.h"
#include "lshcore/segment.h"

namespace lshcore {

/// Scratch of one thread.
class ResidualScan {
   public:
    ResidualScan(const ClusterKeys& keys, const SearchOptions& options)
        : options_(options), near_(keys, options.probes, options.rank == Rank::ip), dim_(keys.dim()) {}

    /// Finds the clusters of a query.
    void locate(const float* query);

    /// Looks for the most promising rows in them: as many as the shortlist.
    void find(LiveSegments segments, const Filters& filters, std::int64_t q);

    /// Those rows, best first. The value of a key: hardly more than the distance.
    std::span<const Reservoir::Key> found() { return rows_.sorted(); }
    std::uint32_t segment_of(Reservoir::Key key) const { return places_[key.number()].segment; }
    Row row_of(Reservoir::Key key) const { return places_[key.number()].row; }

    std::int64_t n_met() const { return n_met_; }  ///< rows that the filter let pass

   private:
    struct Met {
        std::uint32_t segment;
        Row row;
    };
    void add(const NearClusters::Cluster& cluster, std::uint32_t segment_number, const Segment& segment,
             const RowFilter& filter);
    void to_rank(const float* squares, std::int64_t n);

    SearchOptions options_;
    NearClusters near_;
    std::int64_t dim_;
    float squares_ = 0;  // of the query's length
    float inverse_norm_ = 0;
    std::int64_t n_met_ = 0;
    Reservoir rows_;
    std::span<const NearClusters::Cluster> clusters_;
    std::vector<float> estimates_;
    std::vector<Met> places_;
};

}  // namespace lshcore
