#include "residual_scan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lshcore/kernels.h"

namespace lshcore {
namespace {

// Of |q - c| * scale: how far below its estimate a distance may be. The error of <signs, q - c> has the standard deviation
// |q - c| sqrt(1 - 2 / pi), and it counts twice.
constexpr float kSurplus = 1.9f * 2 * 0.6028f;

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
    vector_ = query;
    const ResidualCentroids& centroids = *keys_.residuals();
    const std::int64_t n = keys_.n_clusters(), d = keys_.dim();
    query_.prepare(centroids.rotation, query, keys_.mean().data());
    kernels().dot_tile(query, 1, query, 1, d, &squares_, 1);
    inverse_norm_ = squares_ > 0 ? 1 / std::sqrt(squares_) : 0;

    // By their codes the few that may be nearest, and of those by distance.
    estimates_.resize(static_cast<std::size_t>(n + kResidualBlock));
    query_.estimate(centroids.rows(), 0, n, 0, 0, estimates_.data());
    const bool by_product = options_.rank == Rank::ip;
    clusters_.resize(static_cast<std::size_t>(n));
    for (std::int64_t c = 0; c < n; ++c) {
        const auto at = static_cast<std::size_t>(c);
        clusters_[at] = {estimates_[at], 0, static_cast<std::uint32_t>(c)};
        if (by_product) clusters_[at].order -= keys_.squares()[at];
    }
    const auto nearer = [](const Cluster& a, const Cluster& b) {
        return a.order < b.order || (a.order == b.order && a.number < b.number);
    };
    const std::int64_t kept = std::min(n, 2 * options_.probes + 16);
    if (kept < n) std::nth_element(clusters_.begin(), clusters_.begin() + kept, clusters_.end(), nearer);
    clusters_.resize(static_cast<std::size_t>(kept));
    numbers_.clear();
    for (const Cluster& cluster : clusters_) numbers_.push_back(cluster.number);
    exact_.resize(static_cast<std::size_t>(kept));
    kernels().l2_gather(query, keys_.centroids().data, numbers_.data(), kept, d, exact_.data());
    for (std::size_t i = 0; i < clusters_.size(); ++i) {
        clusters_[i].distance = clusters_[i].order = exact_[i];
        if (by_product) clusters_[i].order -= keys_.squares()[clusters_[i].number];
    }
    std::partial_sort(clusters_.begin(), clusters_.begin() + options_.probes, clusters_.end(), nearer);
    clusters_.resize(static_cast<std::size_t>(options_.probes));

    items_.clear();
    limit_ = std::numeric_limits<float>::infinity();
    n_met_ = 0;
}

void ResidualScan::add(std::size_t segment_number, const Segment& segment, const RowFilter& filter) {
    const Table& table = segment.tables[0];
    const Row* const rows = table.rows().data();
    const bool every = filter.allowed == nullptr && filter.removed == nullptr && !filter.listed;
    const auto passes = [&](Row row) {
        if (filter.listed) return std::binary_search(filter.rows.begin(), filter.rows.end(), row);
        if (filter.allowed != nullptr) return filter.allowed[row];
        return (filter.removed[row / 64] >> (row % 64) & 1) == 0;
    };
    const std::size_t most = static_cast<std::size_t>(options_.shortlist) + 512;
    for (const Cluster& cluster : clusters_) {
        const auto bucket = table.bucket(cluster.number);
        if (bucket.empty()) continue;
        const std::int64_t begin = bucket.data() - rows, first = begin / kResidualBlock * kResidualBlock;
        const auto n = static_cast<std::int64_t>(bucket.size()), skip = begin - first;
        if (static_cast<std::int64_t>(estimates_.size()) < n + skip) {
            estimates_.resize(static_cast<std::size_t>(n + skip));
            hits_.resize(estimates_.size() + 16);
        }
        if (hits_.size() < estimates_.size() + 16) hits_.resize(estimates_.size() + 16);
        query_.estimate(segment.residuals.rows(), first, n + skip, cluster.distance,
                        kSurplus * std::sqrt(cluster.distance), estimates_.data());
        to_rank(segment.residuals.squares.data() + first, n + skip);
        n_met_ += every ? n : std::count_if(bucket.begin(), bucket.end(), passes);
        // A piece at a time, so that what it holds lowers the limit for the next.
        for (std::int64_t from = skip; from < skip + n; from += 256) {
            const std::int64_t n_hits = kernels().collect_up_to(
                estimates_.data() + from, std::min<std::int64_t>(256, skip + n - from), limit_, hits_.data());
            for (std::int64_t h = 0; h < n_hits; ++h) {
                const std::int64_t i = from + hits_[static_cast<std::size_t>(h)];
                const Row row = bucket[static_cast<std::size_t>(i - skip)];
                if (every || passes(row))
                    items_.push_back({estimates_[static_cast<std::size_t>(i)], static_cast<std::uint32_t>(segment_number), row});
            }
            if (items_.size() >= most) cut();
        }
    }
}

void ResidualScan::cut() {
    const auto n = static_cast<std::size_t>(options_.shortlist);
    if (items_.size() <= n) return;
    std::nth_element(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(n) - 1, items_.end());
    limit_ = items_[n - 1].bound;
    items_.resize(n);
}

std::span<const ResidualScan::Item> ResidualScan::found() {
    cut();
    std::sort(items_.begin(), items_.end());
    return items_;
}

}  // namespace lshcore
