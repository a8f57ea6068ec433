#pragma once
// The rows of a query's clusters that may be among its nearest, by their residuals.

#include <span>
#include <vector>

#include "lshcore/filter.h"
#include "lshcore/index.h"
#include "lshcore/partition.h"
#include "lshcore/residual.h"
#include "lshcore/segment.h"
#include "reservoir.h"

namespace lshcore {

/// Scratch of one thread.
class ResidualScan {
   public:
    ResidualScan(const ClusterKeys& keys, const SearchOptions& options) : keys_(keys), options_(options) {}

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
    struct Cluster {
        float distance;  // squared
        std::uint32_t number;
    };
    struct Met {
        std::uint32_t segment;
        Row row;
    };
    void add(const Cluster& cluster, std::uint32_t segment_number, const Segment& segment, const RowFilter& filter);
    void to_rank(const float* squares, std::int64_t n);

    const ClusterKeys& keys_;
    SearchOptions options_;
    ResidualQuery query_;
    float squares_ = 0;  // of the query's length
    float inverse_norm_ = 0;
    std::int64_t n_met_ = 0;
    Reservoir nearest_, rows_;
    std::vector<Cluster> clusters_;
    std::vector<float> estimates_, exact_;
    std::vector<Row> numbers_;
    std::vector<Met> places_;
};

}  // namespace lshcore
