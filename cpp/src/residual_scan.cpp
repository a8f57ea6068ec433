#include "residual_scan.h"

#include <algorithm>
#include <cmath>

#include "lshcore/kernels.h"

namespace lshcore {
namespace {

// A distance is rarely this many standard deviations below its estimate.
constexpr float kDeviations = 1.9f;

}  // namespace

void ResidualScan::to_rank(const float* squares, std::int64_t n) {
    float* const d = estimates_.data();
    if (options_.rank == Rank::ip)
        for (std::int64_t i = 0; i < n; ++i) d[i] = (d[i] - squares[i] - squares_) * 0.5f;
    if (options_.rank == Rank::cosine)
        for (std::int64_t i = 0; i < n; ++i) {
            const float inverse = squares[i] > 0 ? 1 / std::sqrt(squares[i]) : 0;
            d[i] = 1 + (d[i] - squares[i] - squares_) * 0.5f * inverse * inverse_norm_;
        }
}

void ResidualScan::locate(const float* query) {
    clusters_ = near_.find(query);
    kernels().dot_tile(query, 1, query, 1, dim_, &squares_, 1);
    inverse_norm_ = squares_ > 0 ? 1 / std::sqrt(squares_) : 0;
}

void ResidualScan::find(LiveSegments segments, const Filters& filters, std::int64_t q) {
    rows_.reset(options_.shortlist);
    places_.clear();
    n_met_ = 0;
    // Cluster by cluster through all segments: rows are met in an order that their segments have no part in.
    for (const NearClusters::Cluster& cluster : clusters_)
        for (std::size_t s = 0; s < segments.size(); ++s)
            add(cluster, static_cast<std::uint32_t>(s), *segments[s].segment, filters.at(s, q));
}

void ResidualScan::add(const NearClusters::Cluster& cluster, std::uint32_t segment_number, const Segment& segment,
                       const RowFilter& filter) {
    const Table& table = segment.tables[0];
    const auto bucket = table.bucket(cluster.number);
    if (bucket.empty()) return;
    const std::int64_t begin = bucket.data() - table.rows().data(), first = begin / kResidualBlock * kResidualBlock;
    const auto n = static_cast<std::int64_t>(bucket.size()), skip = begin - first;
    estimates_.resize(std::max(estimates_.size(), static_cast<std::size_t>(n + skip)));
    near_.query().bound(segment.residuals.rows(), first, n + skip, cluster.distance, kDeviations, estimates_.data());
    to_rank(segment.residuals.squares.data() + first, n + skip);
    const auto keep = [&](std::int64_t i) {
        places_.push_back({segment_number, bucket[static_cast<std::size_t>(i)]});
        return static_cast<std::int64_t>(places_.size()) - 1;
    };
    if (filter.allowed == nullptr && filter.removed == nullptr && !filter.listed) {
        n_met_ += n;
        return rows_.add(estimates_.data() + skip, n, keep);
    }
    const auto passes = [&](Row row) {
        if (filter.listed) return std::binary_search(filter.rows.begin(), filter.rows.end(), row);
        if (filter.allowed != nullptr) return filter.allowed[row];
        return (filter.removed[row / 64] >> (row % 64) & 1) == 0;
    };
    n_met_ += std::count_if(bucket.begin(), bucket.end(), passes);
    rows_.add(estimates_.data() + skip, n,
              [&](std::int64_t i) { return passes(bucket[static_cast<std::size_t>(i)]) ? keep(i) : std::int64_t{-1}; });
}

}  // namespace lshcore
