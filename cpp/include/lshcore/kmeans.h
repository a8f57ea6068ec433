#pragma once
// K-means (Lloyd): k-means++ seeding on a sample, centroids summed in double in row order, so that the result is the
// same for any number of threads and any instruction set.

#include <cstdint>
#include <functional>
#include <vector>

#include "lshcore/types.h"

namespace lshcore {

struct KMeansOptions {
    std::int64_t n_clusters = 0;
    std::uint64_t seed = 0;
    int max_iter = 25;
    double tol = 1e-4;  // stop once the centroids move less than this, squared, relative to the mean variance
    int n_jobs = 1;
    bool spherical = false;     // rows have length 1, and so are centroids given: the nearest is at the least angle
    bool random_seeds = false;  // start at rows drawn at random instead
    int warm_up = 0;            // rounds over every fourth row alone, before the others
    bool on_gpu = false;        // rows are compared with centroids there; the result is the same
    std::function<void(int round, double inertia)> on_round;
};

struct KMeansResult {
    std::vector<float> centroids;  // (n_clusters, d)
    std::vector<std::int32_t> labels;
    std::vector<float> spreads;  // (n_clusters,): the mean squared distance of a cluster's rows
    double inertia = 0;
    int rounds = 0;
};

KMeansResult kmeans(View<const float> x, const KMeansOptions& options);

/// labels (n,) of the nearest centroid (the lowest number among equals) and, unless null, squared distances (n,).
void assign_clusters(View<const float> x, View<const float> centroids, std::int32_t* labels, float* distances,
                     int n_jobs);

}  // namespace lshcore
