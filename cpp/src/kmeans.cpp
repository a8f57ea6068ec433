#include "lshcore/kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <string>

#include "lshcore/cuda.h"
#include "lshcore/error.h"
#include "lshcore/kernels.h"
#include "lshcore/parallel.h"
#include "lshcore/partition.h"
#include "lshcore/random.h"

namespace lshcore {
namespace {

constexpr std::int64_t kRowBlock = 256;           // one unit of parallel work
constexpr std::int64_t kSeedRowsPerCluster = 32;  // of the sample that is seeded on
constexpr std::int64_t kSeedRowsLeast = 8192;

/// Sums in the order of the rows, whatever the threads did.
double ordered_sum(const std::vector<float>& values) {
    double sum = 0;
    for (const float v : values) sum += v;
    return sum;
}

/// m distinct row numbers out of n, ascending (Floyd's algorithm would need a set; n is only ever a few times m or
/// fits one pass: selection sampling, Knuth 3.4.2 S).
std::vector<std::int64_t> sample_rows(std::int64_t n, std::int64_t m, Random& random) {
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < n && static_cast<std::int64_t>(rows.size()) < m; ++i)
        if (random.below(static_cast<std::uint64_t>(n - i)) < static_cast<std::uint64_t>(m) - rows.size())
            rows.push_back(i);
    return rows;
}

/// Some rows, or greedy k-means++ (Arthur & Vassilvitskii, 2007): each new centre is the best of a few rows drawn with probability
/// proportional to their squared distance from the centres so far.
std::vector<float> seed_centroids(View<const float> x, const KMeansOptions& options, Random& random) {
    const std::int64_t k = options.n_clusters, d = x.cols;
    if (options.random_seeds) {
        std::vector<float> seeds;
        for (const std::int64_t row : sample_rows(x.rows, k, random))
            seeds.insert(seeds.end(), x.row(row), x.row(row) + d);
        return seeds;
    }
    const auto rows = sample_rows(x.rows, std::min(x.rows, std::max(kSeedRowsLeast, kSeedRowsPerCluster * k)), random);
    const std::int64_t n = static_cast<std::int64_t>(rows.size());
    std::vector<float> sample(static_cast<std::size_t>(n * d));
    for (std::int64_t i = 0; i < n; ++i)
        std::copy_n(x.row(rows[static_cast<std::size_t>(i)]), d, sample.data() + i * d);

    const std::int64_t trials = 2 + static_cast<std::int64_t>(std::log(static_cast<double>(k)));
    const std::int64_t n_blocks = ceil_div(n, kRowBlock);
    std::vector<float> nearest(static_cast<std::size_t>(n), std::numeric_limits<float>::max());
    std::vector<float> trial_distances(static_cast<std::size_t>(n * trials));
    std::vector<float> trial_rows(static_cast<std::size_t>(trials * d));
    std::vector<double> block_sums(static_cast<std::size_t>(n_blocks * trials));
    std::vector<double> block_mass(static_cast<std::size_t>(n_blocks), 0.0);
    std::vector<float> centroids;
    centroids.reserve(static_cast<std::size_t>(k * d));

    for (std::int64_t c = 0; c < k; ++c) {
        const double mass = std::accumulate(block_mass.begin(), block_mass.end(), 0.0);
        const std::int64_t n_trials = c == 0 ? 1 : trials;
        for (std::int64_t t = 0; t < n_trials; ++t) {
            std::int64_t row = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(n)));
            if (c > 0 && mass > 0) {  // with no mass left every row is a centre already: any will do
                double target = random.uniform() * mass;
                std::int64_t block = 0;
                while (block + 1 < n_blocks && target >= block_mass[static_cast<std::size_t>(block)])
                    target -= block_mass[static_cast<std::size_t>(block++)];
                row = block * kRowBlock;
                const std::int64_t last = std::min(row + kRowBlock, n) - 1;
                while (row < last && target >= nearest[static_cast<std::size_t>(row)])
                    target -= nearest[static_cast<std::size_t>(row++)];
            }
            std::copy_n(sample.data() + row * d, d, trial_rows.data() + t * d);
        }
        parallel_for(n_blocks, options.n_jobs, [&](std::int64_t b, int) {
            const std::int64_t begin = b * kRowBlock, count = std::min(kRowBlock, n - begin);
            float* out = trial_distances.data() + begin * trials;
            kernels().l2_tile(sample.data() + begin * d, count, trial_rows.data(), n_trials, d, out, trials);
            for (std::int64_t t = 0; t < n_trials; ++t) {
                double sum = 0;
                for (std::int64_t i = 0; i < count; ++i)
                    sum += std::min(out[i * trials + t], nearest[static_cast<std::size_t>(begin + i)]);
                block_sums[static_cast<std::size_t>(b * trials + t)] = sum;
            }
        });
        std::int64_t best = 0;
        double best_sum = std::numeric_limits<double>::infinity();
        for (std::int64_t t = 0; t < n_trials; ++t) {
            double sum = 0;
            for (std::int64_t b = 0; b < n_blocks; ++b) sum += block_sums[static_cast<std::size_t>(b * trials + t)];
            if (sum < best_sum) {
                best = t;
                best_sum = sum;
            }
        }
        for (std::int64_t i = 0; i < n; ++i) {
            auto& at = nearest[static_cast<std::size_t>(i)];
            at = std::min(at, trial_distances[static_cast<std::size_t>(i * trials + best)]);
        }
        for (std::int64_t b = 0; b < n_blocks; ++b)
            block_mass[static_cast<std::size_t>(b)] = block_sums[static_cast<std::size_t>(b * trials + best)];
        centroids.insert(centroids.end(), trial_rows.begin() + best * d, trial_rows.begin() + (best + 1) * d);
    }
    return centroids;
}

/// What some rounds over every fourth row make of the seeds, where that is enough rows.
std::vector<float> first_centroids(View<const float> x, const KMeansOptions& options, Random& random) {
    const std::int64_t n = ceil_div(x.rows, 4);
    if (options.warm_up == 0 || n < options.n_clusters) return seed_centroids(x, options, random);
    std::vector<float> rows(static_cast<std::size_t>(n * x.cols));
    for (std::int64_t i = 0; i < n; ++i) std::copy_n(x.row(4 * i), x.cols, rows.data() + i * x.cols);
    KMeansOptions fewer = options;
    fewer.max_iter = options.warm_up;
    fewer.warm_up = 0;
    fewer.on_round = nullptr;
    return kmeans({rows.data(), n, x.cols}, fewer).centroids;
}

/// An empty cluster takes the row that lies farthest from its own centroid (the lowest row among equals).
void fill_empty_clusters(std::vector<std::int32_t>& labels, std::vector<float>& distances, std::int64_t k) {
    std::vector<std::int64_t> sizes(static_cast<std::size_t>(k), 0);
    for (const auto label : labels) ++sizes[static_cast<std::size_t>(label)];
    for (std::int64_t c = 0; c < k; ++c) {
        if (sizes[static_cast<std::size_t>(c)] > 0) continue;
        std::size_t farthest = labels.size();
        for (std::size_t i = 0; i < labels.size(); ++i)
            if (sizes[static_cast<std::size_t>(labels[i])] > 1 &&
                (farthest == labels.size() || distances[i] > distances[farthest]))
                farthest = i;
        --sizes[static_cast<std::size_t>(labels[farthest])];
        labels[farthest] = static_cast<std::int32_t>(c);
        distances[farthest] = 0;
        sizes[static_cast<std::size_t>(c)] = 1;
    }
}

/// Means of the rows of each cluster, summed in double in row order. Returns how far the centroids moved, squared.
double update_centroids(View<const float> x, const std::vector<std::int32_t>& labels, std::vector<float>& centroids,
                        std::int64_t k, int n_jobs) {
    const std::int64_t d = x.cols;
    std::vector<std::int64_t> offsets(static_cast<std::size_t>(k) + 1, 0);
    for (const auto label : labels) ++offsets[static_cast<std::size_t>(label) + 1];
    std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
    std::vector<std::int64_t> next(offsets.begin(), offsets.end() - 1), members(labels.size());
    for (std::size_t i = 0; i < labels.size(); ++i)
        members[static_cast<std::size_t>(next[static_cast<std::size_t>(labels[i])]++)] = static_cast<std::int64_t>(i);

    constexpr std::int64_t kColumns = 256;
    const std::int64_t column_blocks = ceil_div(d, kColumns);
    std::vector<double> moved(static_cast<std::size_t>(k * column_blocks));
    parallel_for(k * column_blocks, n_jobs, [&](std::int64_t task, int) {
        const std::int64_t c = task / column_blocks, column = task % column_blocks * kColumns;
        const std::int64_t width = std::min(kColumns, d - column);
        const std::int64_t begin = offsets[static_cast<std::size_t>(c)], end = offsets[static_cast<std::size_t>(c) + 1];
        double sums[kColumns] = {};
        for (std::int64_t m = begin; m < end; ++m) {
            const float* row = x.row(members[static_cast<std::size_t>(m)]) + column;
            for (std::int64_t j = 0; j < width; ++j) sums[j] += row[j];
        }
        float* centroid = centroids.data() + c * d + column;
        double shift = 0;
        for (std::int64_t j = 0; j < width; ++j) {
            const float mean = static_cast<float>(sums[j] / static_cast<double>(end - begin));
            const double step = static_cast<double>(mean) - centroid[j];
            shift += step * step;
            centroid[j] = mean;
        }
        moved[static_cast<std::size_t>(task)] = shift;
    });
    return std::accumulate(moved.begin(), moved.end(), 0.0);
}

/// Scales centroids to length 1 (one at the origin stays). Returns how far they are from where they were, squared.
double normalize_centroids(std::vector<float>& centroids, const std::vector<float>& before, std::int64_t d) {
    double moved = 0;
    for (auto at = centroids.begin(); at != centroids.end(); at += d) {
        double squares = 0;
        for (auto value = at; value != at + d; ++value) squares += double{*value} * *value;
        const double scale = squares > 0 ? 1 / std::sqrt(squares) : 1;
        for (auto value = at; value != at + d; ++value) {
            *value = static_cast<float>(*value * scale);
            const double step = double{*value} - before[static_cast<std::size_t>(value - centroids.begin())];
            moved += step * step;
        }
    }
    return moved;
}

/// The mean over the columns of their variances.
double mean_variance(View<const float> x, int n_jobs) {
    std::vector<double> sums(static_cast<std::size_t>(x.cols), 0.0), squares(sums);
    parallel_for(ceil_div(x.cols, 16), n_jobs, [&](std::int64_t b, int) {
        const std::int64_t end = std::min((b + 1) * 16, x.cols);
        for (std::int64_t i = 0; i < x.rows; ++i)
            for (std::int64_t j = b * 16; j < end; ++j) {
                const double v = x.row(i)[j];
                sums[static_cast<std::size_t>(j)] += v;
                squares[static_cast<std::size_t>(j)] += v * v;
            }
    });
    const double n = static_cast<double>(x.rows);
    double total = 0;
    for (std::size_t j = 0; j < sums.size(); ++j) total += squares[j] / n - (sums[j] / n) * (sums[j] / n);
    return std::max(0.0, total / static_cast<double>(x.cols));
}

}  // namespace

void assign_clusters(View<const float> x, View<const float> centroids, std::int32_t* labels, float* distances,
                     int n_jobs) {
    require(x.cols == centroids.cols, "assign_clusters: x and centroids must have the same number of columns");
    const ClusterKeys clusters({centroids.data, centroids.data + centroids.rows * centroids.cols}, centroids.rows,
                               centroids.cols);
    parallel_for(ceil_div(x.rows, kRowBlock), n_jobs, [&](std::int64_t b, int) {
        const std::int64_t begin = b * kRowBlock, end = std::min(begin + kRowBlock, x.rows);
        clusters.nearest({x.row(begin), end - begin, x.cols}, 1, labels + begin);
        if (distances == nullptr) return;
        for (std::int64_t i = begin; i < end; ++i)
            kernels().l2_tile(x.row(i), 1, centroids.row(labels[i]), 1, x.cols, distances + i, 1);
    });
}

KMeansResult kmeans(View<const float> x, const KMeansOptions& options) {
    const std::int64_t k = options.n_clusters;
    if (k < 1 || k > x.rows)
        throw std::invalid_argument("kmeans: n_clusters must be 1 to the number of rows, " + std::to_string(x.rows) +
                                    ", got " + std::to_string(k));
    require(x.cols >= 1, "kmeans: expected at least one column");
    Random random(options.seed);
    KMeansResult result;
    result.centroids = first_centroids(x, options, random);
    result.labels.resize(static_cast<std::size_t>(x.rows));
    std::vector<float> distances(static_cast<std::size_t>(x.rows));
    const View<const float> centroids{result.centroids.data(), k, x.cols};
    const double enough = options.tol * mean_variance(x, options.n_jobs);
    std::vector<std::int32_t> previous;
    std::optional<cuda::Resident> on_gpu;
    if (options.on_gpu) on_gpu.emplace(x);
    const auto assign = [&] {
        if (!on_gpu) return assign_clusters(x, centroids, result.labels.data(), distances.data(), options.n_jobs);
        cuda::assign_clusters(on_gpu->view(), ClusterKeys(result.centroids, k, x.cols), result.labels.data(),
                              distances.data());
    };
    for (;;) {
        assign();
        result.inertia = ordered_sum(distances);
        if (options.on_round) options.on_round(result.rounds, result.inertia);
        if (result.rounds == options.max_iter || result.labels == previous) break;
        previous = result.labels;
        fill_empty_clusters(result.labels, distances, k);
        ++result.rounds;
        const std::vector<float> before = result.centroids;
        double moved = update_centroids(x, result.labels, result.centroids, k, options.n_jobs);
        if (options.spherical) moved = normalize_centroids(result.centroids, before, x.cols);
        if (moved <= enough) {
            assign();
            result.inertia = ordered_sum(distances);
            break;
        }
    }
    std::vector<double> sums(static_cast<std::size_t>(k)), counts(sums);
    for (std::size_t i = 0; i < distances.size(); ++i) {
        sums[static_cast<std::size_t>(result.labels[i])] += distances[i];
        ++counts[static_cast<std::size_t>(result.labels[i])];
    }
    for (std::size_t c = 0; c < sums.size(); ++c)
        result.spreads.push_back(static_cast<float>(sums[c] / std::max(1.0, counts[c])));
    return result;
}

}  // namespace lshcore
