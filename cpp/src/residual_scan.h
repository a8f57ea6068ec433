#pragma once
// The rows of a query's clusters that may be among its nearest, by their residuals.

#include <span>
#include <vector>

#include "lshcore/filter.h"
#include "lshcore/index.h"
#include "lshcore/partition.h"
#include "lshcore/residual.h"
#include "lshcore/segment.h"

namespace lshcore {

/// Scratch of one thread.
class ResidualScan {
   public:
    struct Item {
        float bound;  // its distance is hardly less
        std::uint32_t segment;
        Row row;

        bool operator<(const Item& o) const {
            return bound != o.bound ? bound < o.bound : segment != o.segment ? segment < o.segment : row < o.row;
        }
    };

    ResidualScan(const ClusterKeys& keys, const SearchOptions& options) : keys_(keys), options_(options) {}

    /// Finds the clusters of a query.
    void locate(const float* query);

    /// Adds the rows of those clusters in a segment.
    void add(std::size_t segment_number, const Segment& segment, const RowFilter& filter);

    /// The most promising rows of all that were added since `locate`, best first: at most as many as the shortlist.
    std::span<const Item> found();

    std::int64_t n_met() const { return n_met_; }  ///< rows that the filter let pass

   private:
    struct Cluster {
        float order, distance;  // smaller first; squared
        std::uint32_t number;
    };
    void to_rank(const float* squares, std::int64_t n);
    void cut();

    const ClusterKeys& keys_;
    SearchOptions options_;
    ResidualQuery query_;
    const float* vector_ = nullptr;
    float squares_ = 0;  // of the query's length
    float inverse_norm_ = 0;
    float limit_ = 0;
    std::int64_t n_met_ = 0;
    std::vector<Cluster> clusters_;
    std::vector<float> estimates_, exact_;
    std::vector<std::uint32_t> hits_;
    std::vector<Row> numbers_;
    std::vector<Item> items_;
};

}  // namespace lshcore
