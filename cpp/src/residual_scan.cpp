#include "residual_scan.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "lshcore/blocks.h"
#include "lshcore/kernels.h"
#include "lshcore/parallel.h"

namespace lshcore {
namespace {

/// A distance is rarely this many standard deviations below its estimate: more seldom for those who ask for a longer
/// shortlist. Measured: as good as a constant where clusters are, and what reaches the last few percent where none are.
float deviations(std::int64_t shortlist) { return 1.9f + 0.2f * std::log2(static_cast<float>(shortlist) / 30); }

// Queries of a block share what they read of the codes; what is known of each should stay in the cache.
constexpr std::int64_t kQueries = 256, kNumbers = std::int64_t{1} << 18;

}  // namespace

ResidualScan::ResidualScan(const ClusterKeys& keys, const SearchOptions& options)
    : options_(options),
      near_(keys, options.probes, options.rank == Rank::ip),
      dim_(keys.dim()),
      deviations_(deviations(options.shortlist)) {}

std::int64_t ResidualScan::queries_at_once(std::int64_t m, int n_jobs, std::int64_t dim) {
    return std::clamp<std::int64_t>(ceil_div(m, n_jobs), 1, std::min(kQueries, kNumbers / dim));
}

void ResidualScan::to_rank(const Query& query, const float* squares, std::int64_t n) {
    float* const d = estimates_.data();
    if (options_.rank == Rank::ip)
        for (std::int64_t i = 0; i < n; ++i) d[i] = (d[i] - squares[i] - query.squares) * 0.5f;
    if (options_.rank == Rank::cosine)
        for (std::int64_t i = 0; i < n; ++i) {
            const float inverse = squares[i] > 0 ? 1 / std::sqrt(squares[i]) : 0;
            d[i] = 1 + (d[i] - squares[i] - query.squares) * 0.5f * inverse * query.inverse_norm;
        }
}

void ResidualScan::locate(View<const float> vectors) {
    n_queries_ = static_cast<std::size_t>(vectors.rows);
    queries_.resize(std::max(queries_.size(), n_queries_));
    looks_.clear();
    for (std::int64_t i = 0; i < vectors.rows; ++i) {
        Query& query = queries_[static_cast<std::size_t>(i)];
        const float* const vector = vectors.row(i);
        kernels().dot_tile(vector, 1, vector, 1, dim_, &query.squares, 1);
        query.inverse_norm = query.squares > 0 ? 1 / std::sqrt(query.squares) : 0;
        const auto clusters = near_.find(vector, query.coded);
        query.clusters.assign(clusters.begin(), clusters.end());
        for (std::uint32_t place = 0; place < clusters.size(); ++place)
            looks_.push_back({clusters[place].number, static_cast<std::uint32_t>(i), place});
    }
    // The nearest cluster of each query first, so that little of the others is near enough; then cluster by cluster.
    if (vectors.rows > 1)
        std::sort(looks_.begin(), looks_.end(), [](const Look& a, const Look& b) {
            return std::tuple(a.place > 0, a.cluster, a.query) < std::tuple(b.place > 0, b.cluster, b.query);
        });
}

void ResidualScan::find(LiveSegments segments, const Filters& filters, std::int64_t first) {
    segments_ = segments;
    for (Query& query : std::span(queries_).first(n_queries_)) {
        query.rows.reset(options_.shortlist);
        query.n_met = 0;
        query.starts.clear();
        std::uint32_t n = 0;
        for (const NearClusters::Cluster& cluster : query.clusters)
            for (std::size_t s = 0; s < segments.size(); ++s) {
                query.starts.push_back(n);
                n += static_cast<std::uint32_t>(bucket(s, cluster.number).size());
            }
    }
    for (const Look& at : looks_) {
        for (std::size_t s = 0; s < segments.size(); ++s) look(at, s, filters.at(s, first + at.query));
        interruption_point();
    }
    for (Query& query : std::span(queries_).first(n_queries_)) query.found = query.rows.sorted();
}

void ResidualScan::look(const Look& at, std::size_t segment_number, const RowFilter& filter) {
    const auto rows = bucket(segment_number, at.cluster);
    if (rows.empty()) return;
    const Segment& segment = *segments_[segment_number].segment;
    Query& query = queries_[at.query];
    const std::int64_t begin = rows.data() - segment.tables[0].rows().data(),
                       first = begin / kResidualBlock * kResidualBlock;
    const auto n = static_cast<std::int64_t>(rows.size()), skip = begin - first;
    estimates_.resize(std::max(estimates_.size(), static_cast<std::size_t>(n + skip)));
    query.coded.bound(segment.residuals.rows(), first, n + skip, query.clusters[at.place].distance, deviations_,
                      estimates_.data());
    to_rank(query, segment.residuals.squares.data() + first, n + skip);
    const std::int64_t start = query.starts[at.place * segments_.size() + segment_number];
    if (filter.allowed == nullptr && filter.removed == nullptr && !filter.listed) {
        query.n_met += n;
        return query.rows.add(estimates_.data() + skip, n, [start](std::int64_t i) { return start + i; });
    }
    const auto passes = [&](Row row) {
        if (filter.listed) return std::binary_search(filter.rows.begin(), filter.rows.end(), row);
        if (filter.allowed != nullptr) return filter.allowed[row];
        return (filter.removed[row / 64] >> (row % 64) & 1) == 0;
    };
    query.n_met += std::count_if(rows.begin(), rows.end(), passes);
    query.rows.add(estimates_.data() + skip, n, [&](std::int64_t i) {
        return passes(rows[static_cast<std::size_t>(i)]) ? start + i : std::int64_t{-1};
    });
}

Place ResidualScan::place(std::int64_t i, Reservoir::Key key) const {
    const Query& query = queries_[static_cast<std::size_t>(i)];
    const auto after = std::upper_bound(query.starts.begin(), query.starts.end(), key.number());
    const auto at = static_cast<std::size_t>(after - query.starts.begin()) - 1, segment = at % segments_.size();
    const auto rows = bucket(segment, query.clusters[at / segments_.size()].number);
    return {segment, rows[key.number() - query.starts[at]]};
}

}  // namespace lshcore
