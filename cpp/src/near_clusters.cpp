#include "lshcore/near_clusters.h"

#include <algorithm>

#include "lshcore/kernels.h"

namespace lshcore {
namespace {

// Compared by distance are some more than will be taken, and those whose estimates are within so many standard deviations.
constexpr float kDeviations = 0.7f;

}  // namespace

std::span<const NearClusters::Cluster> NearClusters::find(const float* vector, ResidualQuery& query) {
    const ResidualCentroids& centroids = *keys_.residuals();
    const std::int64_t n = keys_.n_clusters();
    query.prepare(centroids.rotation, vector, keys_.mean().data());

    // By their codes those that may be among them, and of those by distance.
    estimates_.resize(static_cast<std::size_t>(n));
    query.estimate(centroids.rows(by_product_), 0, n, 0, 0, estimates_.data());
    nearest_.reset(std::min(n, 4 * probes_ + 32));
    nearest_.add(estimates_.data(), n, [](std::int64_t c) { return c; });
    numbers_.clear();
    exact_.clear();
    for (const auto key : nearest_.least()) {
        numbers_.push_back(key.number());
        exact_.push_back(key.value());
    }
    if (!by_product_) {  // what lengths add to products, codes do not tell
        nearest_.reset(probes_ + probes_ / 2 + 8);
        nearest_.add(exact_.data(), static_cast<std::int64_t>(exact_.size()), [](std::int64_t i) { return i; });
        const float enough = nearest_.last() + kDeviations * centroids.scale * query.deviation();
        std::erase_if(numbers_, [&](Row c) { return estimates_[c] > enough; });
    }
    const auto kept = static_cast<std::int64_t>(numbers_.size());
    exact_.resize(2 * numbers_.size());
    float *const distances = exact_.data(), *const order = distances + kept;
    kernels().l2_gather(vector, keys_.centroids().data, numbers_.data(), kept, keys_.dim(), distances);
    nearest_.reset(probes_);
    for (std::size_t i = 0; i < numbers_.size(); ++i) {
        const Row c = numbers_[i];
        order[i] = distances[i] + centroids.added[by_product_][c];
        estimates_[c] = distances[i];
    }
    nearest_.add(order, kept, [&](std::int64_t i) { return numbers_[static_cast<std::size_t>(i)]; });
    clusters_.clear();
    for (const auto key : nearest_.sorted()) clusters_.push_back({estimates_[key.number()], key.number()});
    return clusters_;
}

}  // namespace lshcore
