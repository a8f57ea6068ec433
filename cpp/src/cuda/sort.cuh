#pragma once
// Keys of hits, and their order.

#include "device.h"

namespace lshcore::cuda {

/// A distance, in the upper half, and a row: ordered as hits are.
using Key = unsigned long long;
constexpr Key kNoKey = ~Key{0};

/// Ascending, by the threads of a block: Batcher's bitonic network, in the form in which all exchanges point one way, so that
/// n need not be a power of two.
__device__ inline void sort_keys(Key* keys, std::int64_t n) {
    const auto exchange = [&](std::int64_t i, std::int64_t j) {
        if (j <= i || j >= n || keys[i] <= keys[j]) return;
        const Key key = keys[i];
        keys[i] = keys[j];
        keys[j] = key;
    };
    __syncthreads();
    for (std::int64_t size = 2; size / 2 < n; size *= 2) {
        for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) exchange(i, i ^ (size - 1));
        __syncthreads();
        for (std::int64_t step = size / 4; step > 0; step /= 2) {
            for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) exchange(i, i ^ step);
            __syncthreads();
        }
    }
}

}  // namespace lshcore::cuda
