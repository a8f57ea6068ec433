#include "residual_scan.h"

#include <algorithm>
#include <cmath>

#include "lshcore/kernels.h"

namespace lshcore {
namespace {

// How far below its estimate a squared distance may be, of scale * |q - c|: the error of <signs, q - c> / |q - c| has the
// standard deviation sqrt(1 - 2 / pi), and it counts twice.
constexpr float kSurplus = 1.9f * 2 * 0.6028f;

// Of a cluster's spread, what is added to its distance: its nearest rows are farther than the centroid when it is wide.
// Measured: a third of the rows less at the same recall where sizes differ, no more elsewhere.
constexpr float kSpread = 0.3f;

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
    const ResidualCentroids& centroids = *keys_.residuals();
    const std::int64_t n = keys_.n_clusters(), d = keys_.dim();
    const bool by_product = options_.rank == Rank::ip;
    const auto order_of = [&](float distance, std::size_t c) {
        return distance + kSpread * keys_.spreads()[c] - (by_product ? keys_.squares()[c] : 0);
    };
    query_.prepare(centroids.rotation, query, keys_.mean().data());
    kernels().dot_tile(query, 1, query, 1, d, &squares_, 1);
    inverse_norm_ = squares_ > 0 ? 1 / std::sqrt(squares_) : 0;

    // By their codes the few that may be nearest, and of those by distance.
    estimates_.resize(std::max(estimates_.size(), static_cast<std::size_t>(n)));
    query_.estimate(centroids.rows(), 0, n, 0, 0, estimates_.data());
    for (std::size_t c = 0; c < static_cast<std::size_t>(n); ++c) estimates_[c] = order_of(estimates_[c], c);
    nearest_.reset(std::min(n, 2 * options_.probes + 16));
    nearest_.add(estimates_.data(), n, [](std::int64_t c) { return c; });
    numbers_.clear();
    for (const auto key : nearest_.least()) numbers_.push_back(key.number());
    std::sort(numbers_.begin(), numbers_.end());
    const auto kept = static_cast<std::int64_t>(numbers_.size());
    exact_.resize(2 * numbers_.size());
    float* const order = exact_.data() + kept;
    kernels().l2_gather(query, keys_.centroids().data, numbers_.data(), kept, d, exact_.data());
    for (std::size_t i = 0; i < numbers_.size(); ++i) order[i] = order_of(exact_[i], numbers_[i]);
    nearest_.reset(options_.probes);
    nearest_.add(order, kept, [](std::int64_t i) { return i; });
    clusters_.clear();
    for (const auto key : nearest_.sorted()) clusters_.push_back({exact_[key.number()], numbers_[key.number()]});
}

void ResidualScan::find(LiveSegments segments, const Filters& filters, std::int64_t q) {
    rows_.reset(options_.shortlist);
    places_.clear();
    n_met_ = 0;
    // Cluster by cluster through all segments: rows are met in an order that their segments have no part in.
    for (const Cluster& cluster : clusters_)
        for (std::size_t s = 0; s < segments.size(); ++s)
            add(cluster, static_cast<std::uint32_t>(s), *segments[s].segment, filters.at(s, q));
}

void ResidualScan::add(const Cluster& cluster, std::uint32_t segment_number, const Segment& segment,
                       const RowFilter& filter) {
    const Table& table = segment.tables[0];
    const auto bucket = table.bucket(cluster.number);
    if (bucket.empty()) return;
    const std::int64_t begin = bucket.data() - table.rows().data(), first = begin / kResidualBlock * kResidualBlock;
    const auto n = static_cast<std::int64_t>(bucket.size()), skip = begin - first;
    estimates_.resize(std::max(estimates_.size(), static_cast<std::size_t>(n + skip)));
    query_.estimate(segment.residuals.rows(), first, n + skip, cluster.distance, kSurplus * std::sqrt(cluster.distance),
                    estimates_.data());
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
