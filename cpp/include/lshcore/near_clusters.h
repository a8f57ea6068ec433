#pragma once
// The clusters that a query looks into, where rows are coded by their residuals.

#include <span>
#include <vector>

#include "lshcore/partition.h"
#include "lshcore/reservoir.h"
#include "lshcore/residual.h"
#include "lshcore/types.h"

namespace lshcore {

/// Scratch of one thread.
class NearClusters {
   public:
    struct Cluster {
        float distance;  // squared
        std::uint32_t number;
    };

    /// `keys` have residuals. by_product: for ranking by the inner product.
    NearClusters(const ClusterKeys& keys, std::int64_t probes, bool by_product)
        : keys_(keys), probes_(probes), by_product_(by_product) {}

    /// The most promising clusters, best first; valid until the next call. Prepares `query` for estimates of their rows.
    std::span<const Cluster> find(const float* vector, ResidualQuery& query);

   private:
    const ClusterKeys& keys_;
    std::int64_t probes_;
    bool by_product_;
    Reservoir nearest_;
    std::vector<float> estimates_, exact_;
    std::vector<Row> numbers_;
    std::vector<Cluster> clusters_;
};

}  // namespace lshcore
