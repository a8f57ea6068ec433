#pragma once
// As much of CUDA as the .cu files need, on the CPU, so that their logic is tested where there is no GPU, under the
// sanitizers too. Not shown are races between threads that do not wait for each other (but see Order), and forgotten
// waits for a stream.

#include <bit>
#include <cmath>

#include "fibers.h"
#include "runtime.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __shared__ static  // blocks run one after another, so it is the block's; what the last one left is still there

inline constexpr int warpSize = 32;

namespace cuda_on_cpu {

template <class T>
T value_of(const Meeting& meeting, int lane) {
    T value;
    std::memcpy(&value, &meeting.values[lane], sizeof(T));
    return value;
}

inline unsigned votes(const Meeting& meeting) {
    unsigned bits = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        bits |= (meeting.lanes >> lane & (meeting.values[lane] != 0 ? 1u : 0u)) << lane;
    return bits;
}

inline int own_lane() { return static_cast<int>(block().running->lane()); }

template <class T>
concept Atomic = std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long> ||
                 std::is_same_v<T, float>;

}  // namespace cuda_on_cpu

// -- in kernels; the line is where threads wait, for check_same

inline void __syncthreads(int line = __builtin_LINE()) { cuda_on_cpu::meet_block("__syncthreads", line, 0); }
inline int __syncthreads_count(int predicate, int line = __builtin_LINE()) {
    return cuda_on_cpu::meet_block("__syncthreads_count", line, predicate != 0);
}
inline int __syncthreads_or(int predicate, int line = __builtin_LINE()) {
    return cuda_on_cpu::meet_block("__syncthreads_or", line, predicate != 0) > 0;
}
inline int __syncthreads_and(int predicate, int line = __builtin_LINE()) {
    return cuda_on_cpu::meet_block("__syncthreads_and", line, predicate == 0) == 0;
}
inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) {
    cuda_on_cpu::meet_warp("__syncwarp", line, mask, 0);
}
inline unsigned __activemask() { return cuda_on_cpu::block().warps[cuda_on_cpu::block().running->number / 32].alive; }
inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    return cuda_on_cpu::votes(cuda_on_cpu::meet_warp("__ballot_sync", line, mask, predicate));
}
inline int __any_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    return cuda_on_cpu::votes(cuda_on_cpu::meet_warp("__any_sync", line, mask, predicate)) != 0;
}
inline int __all_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    const auto& meeting = cuda_on_cpu::meet_warp("__all_sync", line, mask, predicate);
    return cuda_on_cpu::votes(meeting) == meeting.lanes;
}
template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize, int line = __builtin_LINE()) {
    const int own = cuda_on_cpu::own_lane();
    return cuda_on_cpu::value_of<T>(cuda_on_cpu::meet_warp("__shfl_sync", line, mask, value),
                                    (own & ~(width - 1)) | (lane & (width - 1)));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = warpSize, int line = __builtin_LINE()) {
    const int own = cuda_on_cpu::own_lane(), from = own - static_cast<int>(by);
    const auto& meeting = cuda_on_cpu::meet_warp("__shfl_up_sync", line, mask, value);
    return from < (own & ~(width - 1)) ? value : cuda_on_cpu::value_of<T>(meeting, from);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = warpSize, int line = __builtin_LINE()) {
    const int own = cuda_on_cpu::own_lane(), from = own + static_cast<int>(by);
    const auto& meeting = cuda_on_cpu::meet_warp("__shfl_down_sync", line, mask, value);
    return from > (own | (width - 1)) ? value : cuda_on_cpu::value_of<T>(meeting, from);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int flip, int width = warpSize, int line = __builtin_LINE()) {
    const int own = cuda_on_cpu::own_lane(), from = own ^ flip;
    const auto& meeting = cuda_on_cpu::meet_warp("__shfl_xor_sync", line, mask, value);
    return from > (own | (width - 1)) ? value : cuda_on_cpu::value_of<T>(meeting, from);
}

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline unsigned __brev(unsigned x) {
    unsigned reversed = 0;
    for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1) << (31 - i);
    return reversed;
}
template <class T>
T __ldg(const T* at) {
    return *at;
}
inline float __fmul_rn(float a, float b) { return a * b; }  // not contracted: lshcore_options says so
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }

// Plain operations: one OS thread runs everything. They return what was there before.
template <cuda_on_cpu::Atomic T>
T atomicAdd(T* at, std::type_identity_t<T> value) {
    return std::exchange(*at, *at + value);
}
template <cuda_on_cpu::Atomic T>
T atomicMin(T* at, std::type_identity_t<T> value) {
    return std::exchange(*at, std::min(*at, value));
}
template <cuda_on_cpu::Atomic T>
T atomicMax(T* at, std::type_identity_t<T> value) {
    return std::exchange(*at, std::max(*at, value));
}
template <cuda_on_cpu::Atomic T>
T atomicOr(T* at, std::type_identity_t<T> value) {
    return std::exchange(*at, *at | value);
}
template <cuda_on_cpu::Atomic T>
T atomicExch(T* at, std::type_identity_t<T> value) {
    return std::exchange(*at, value);
}
template <cuda_on_cpu::Atomic T>
T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
    return std::exchange(*at, *at == expected ? value : *at);
}
