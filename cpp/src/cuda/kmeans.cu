// The nearest of k centroids, with the CPU's sums and so with its ties.

#include "lshcore/kmeans.h"

#include <limits>

#include "device.h"
#include "lanes.cuh"
#include "lshcore/cuda.h"
#include "lshcore/error.h"
#include "lshcore/partition.h"

namespace lshcore::cuda {
namespace {

/// A warp has a row and takes kTile clusters at a time: |c|^2 / 2 - <x, c>, both from the centroids' mean.
__global__ void __launch_bounds__(kTile* kTileRows)
    nearest(const float* x, std::int64_t n, std::int64_t d, const float* mean, const float* centred,
            const float* half_norms, std::int64_t k, std::int32_t* labels) {
    __shared__ DotTile tile;
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kTileRows + threadIdx.y;
    float least = INFINITY;
    int label = 0;
    for (std::int64_t first = 0; first < k; first += kTile) {
        const float product = tile.dot(x, n, row, mean, centred, k, first, d);
        const std::int64_t c = first + threadIdx.x;
        if (c >= k) continue;
        const float score = __fsub_rn(half_norms[c], product);
        if (first == 0 || score < least) {
            least = score;
            label = static_cast<int>(c);
        }
    }
    for (int step = kTile / 2; step > 0; step /= 2) {
        const float other = __shfl_xor_sync(~0u, least, step);
        const int its = __shfl_xor_sync(~0u, label, step);
        if (other < least || (other == least && its < label)) {
            least = other;
            label = its;
        }
    }
    if (threadIdx.x == 0 && row < n) labels[row] = label;
}

__global__ void distances_to(const float* x, std::int64_t n, std::int64_t d, const float* centroids,
                             const std::int32_t* labels, float* out) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (row >= n) return;
    const float *a = x + row * d, *b = centroids + labels[row] * d;
    float lanes[kLanes] = {};
    for (std::int64_t begin = 0; begin < d; begin += kLanes)
#pragma unroll
        for (int i = 0; i < kLanes; ++i) {
            if (begin + i >= d) continue;
            const float gap = __fsub_rn(a[begin + i], b[begin + i]);
            lanes[i] = __fadd_rn(lanes[i], __fmul_rn(gap, gap));
        }
    out[row] = sum_of(lanes);
}

}  // namespace

void assign_clusters(View<const float> x, const ClusterKeys& clusters, std::int32_t* labels, float* distances) {
    const std::int64_t k = clusters.n_clusters(), d = clusters.dim();
    require(x.cols == d, "cuda::assign_clusters: x and centroids must have the same number of columns");
    const Memory<float> mean(clusters.mean().data(), d), centred(clusters.centred().data(), k * d),
        half_norms(clusters.half_norms().data(), k);
    Memory<float> centroids;
    if (distances != nullptr) centroids = Memory<float>(clusters.centroids().data, k * d);
    const auto a_row = static_cast<std::size_t>(d + 2) * sizeof(float);
    const std::int64_t piece = std::max<std::int64_t>(1, static_cast<std::int64_t>(free_bytes() / 4 / a_row));
    for (std::int64_t first = 0; first < x.rows; first += piece) {
        const std::int64_t n = std::min(piece, x.rows - first);
        const Input<float> rows(x.row(first), n * d);
        const Output<std::int32_t> out(labels + first, n);
        launch(nearest, dim3(blocks_for(n, kTileRows)), dim3(kTile, kTileRows), rows.data(), n, d, mean.data(),
               centred.data(), half_norms.data(), k, out.data());
        out.deliver();
        if (distances == nullptr) continue;
        const Output<float> gaps(distances + first, n);
        launch(distances_to, dim3(blocks_for(n, 256)), dim3(256), rows.data(), n, d, centroids.data(),
               static_cast<const std::int32_t*>(out.data()), gaps.data());
        gaps.deliver();
    }
    wait();
}

}  // namespace lshcore::cuda
