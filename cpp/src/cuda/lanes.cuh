#pragma once
// Float sums in the order of kernels.h: element i goes to lane i % 16, multiply then add, never fused; the lanes are added as
// a tree, i + 8, i + 4, i + 2, i + 1.

#include "device.h"

namespace lshcore::cuda {

constexpr int kLanes = 16;
constexpr int kTile = 32;     // columns that a block reads at once, and results of a row that it has: a warp
constexpr int kTileRows = 8;  // rows of a block

template <int Half = kLanes / 2>
__device__ __forceinline__ float sum_of(float* lanes) {
#pragma unroll
    for (int i = 0; i < Half; ++i) lanes[i] = __fadd_rn(lanes[i], lanes[i + Half]);
    if constexpr (Half > 1) return sum_of<Half / 2>(lanes);
    return lanes[0];
}

/// The shared memory of a block (kTile, kTileRows) in which every thread takes one dot product.
struct DotTile {
    float left[kTileRows][kTile];
    float right[kTile][kTile + 1];  // transposed; one more, so that a warp writes to all banks

    /// <x row - origin, b row first + threadIdx.x>, or 0 where there is none; origin may be null. For all threads at once.
    __device__ float dot(const float* x, std::int64_t n, std::int64_t row, const float* origin, const float* b,
                         std::int64_t n_b, std::int64_t first, std::int64_t d) {
        const int column = static_cast<int>(threadIdx.x), line = static_cast<int>(threadIdx.y);
        float lanes[kLanes] = {};
        for (std::int64_t begin = 0; begin < d; begin += kTile) {
            const std::int64_t j = begin + column;
            float value = 0;
            if (row < n && j < d) value = origin == nullptr ? x[row * d + j] : __fsub_rn(x[row * d + j], origin[j]);
            left[line][column] = value;
            for (int other = line; other < kTile; other += kTileRows)
                right[column][other] = first + other < n_b && j < d ? b[(first + other) * d + j] : 0;
            __syncthreads();
#pragma unroll
            for (int i = 0; i < kTile; ++i)
                lanes[i % kLanes] = __fadd_rn(lanes[i % kLanes], __fmul_rn(left[line][i], right[i][column]));
            __syncthreads();
        }
        return sum_of(lanes);
    }
};

}  // namespace lshcore::cuda
