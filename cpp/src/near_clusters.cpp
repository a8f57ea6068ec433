#include "lshcore/near_clusters.h"

#include <algorithm>

#include "lshcore/kernels.h"

namespace lshcore {
namespace {

// Of a cluster's spread, what is added to its distance: its nearest rows are farther than the centroid when it is wide.
// Measured: half of the rows for the same recall where spreads differ, no more elsewhere.
constexpr float kSpread = 0.3f;

}  // namespace

std::span<const NearClusters::Cluster> NearClusters::find(const float* query) {
    const ResidualCentroids& centroids = *keys_.residuals();
    const std::int64_t n = keys_.n_clusters(), d = keys_.dim();
    const auto order_of = [&](float distance, std::size_t c) {
        return distance + kSpread * keys_.spreads()[c] - (by_product_ ? keys_.squares()[c] : 0);
    };
    query_.prepare(centroids.rotation, query, keys_.mean().data());

    // By their codes those that may be among them, and of those by distance.
    estimates_.resize(static_cast<std::size_t>(n));
    query_.estimate(centroids.rows(), 0, n, 0, 0, estimates_.data());
    for (std::size_t c = 0; c < estimates_.size(); ++c) estimates_[c] = order_of(estimates_[c], c);
    // More by the product: what their lengths add to it, codes do not tell.
    nearest_.reset(std::min(n, by_product_ ? 4 * probes_ + 32 : probes_ + probes_ / 2 + 8));
    nearest_.add(estimates_.data(), n, [](std::int64_t c) { return c; });
    numbers_.clear();
    for (const auto key : nearest_.least()) numbers_.push_back(key.number());
    std::sort(numbers_.begin(), numbers_.end());
    const auto kept = static_cast<std::int64_t>(numbers_.size());
    exact_.resize(2 * numbers_.size());
    float* const order = exact_.data() + kept;
    kernels().l2_gather(query, keys_.centroids().data, numbers_.data(), kept, d, exact_.data());
    for (std::size_t i = 0; i < numbers_.size(); ++i) order[i] = order_of(exact_[i], numbers_[i]);
    nearest_.reset(probes_);
    nearest_.add(order, kept, [](std::int64_t i) { return i; });
    clusters_.clear();
    for (const auto key : nearest_.sorted()) clusters_.push_back({exact_[key.number()], numbers_[key.number()]});
    return clusters_;
}

}  // namespace lshcore
