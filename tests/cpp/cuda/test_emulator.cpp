// The emulator itself, by kernels whose results plain loops give.

#include <doctest/doctest.h>

#include <set>
#include <string>

#include "../naive.h"
#include "array.h"
#include "cuda_on_cpu.h"

using namespace cuda_on_cpu;

namespace {

constexpr unsigned kEvery = ~0u;
constexpr Order kOrders[] = {Order::ascending, Order::descending, Order::shuffled};

__global__ void count_visits(unsigned* visits) {
    const unsigned at = ((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x),
                   in = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    atomicAdd(&visits[at * blockDim.x * blockDim.y * blockDim.z + in], 1u);
}

__global__ void take_turns(unsigned* next, unsigned* turns) {
    turns[atomicAdd(next, 1u)] = blockIdx.x * 64 + threadIdx.x;
}

template <class T>
__global__ void sum_warps(const T* in, T* by_xor, T* by_down) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    T a = in[i], b = in[i];
    for (int step = 16; step > 0; step /= 2) {
        a += __shfl_xor_sync(kEvery, a, step);
        b += __shfl_down_sync(kEvery, b, static_cast<unsigned>(step));
    }
    by_xor[i] = a;
    if (threadIdx.x % 32 == 0) by_down[i / 32] = b;
}

/// Running sums of groups of eight lanes, and what the third of each group has.
__global__ void scan_groups(const int* in, int* sums, int* third) {
    const unsigned i = threadIdx.x;
    int sum = in[i];
    for (unsigned step = 1; step < 8; step *= 2) {
        const int other = __shfl_up_sync(kEvery, sum, step, 8);
        if (i % 8 >= step) sum += other;
    }
    sums[i] = sum;
    third[i] = __shfl_sync(kEvery, in[i], 2, 8);
}

/// The halves of a warp go different ways, and in one of them every third lane has left.
__global__ void vote(unsigned* ballots, unsigned* active) {
    const unsigned lane = threadIdx.x;
    if (lane < 16) {
        for (unsigned round = 0; round <= lane / 8; ++round) __syncwarp(0xffu << lane / 8 * 8);
        ballots[lane] = __ballot_sync(0xffffu, lane % 2 == 0);
    } else {
        if (lane % 3 == 0) return;
        ballots[lane] = __ballot_sync(0xffff0000u, lane % 2 == 0);
        active[lane] = __activemask() & 0xffff0000u;
        const bool any = __any_sync(0xffff0000u, lane == 17), none = __any_sync(0xffff0000u, lane == 18),
                   all = __all_sync(0xffff0000u, lane != 18), not_all = __all_sync(0xffff0000u, lane != 17);
        if (!any || none || !all || not_all) ballots[lane] = 0;
    }
}

constexpr unsigned kThreads = 200;  // no whole number of warps

/// Running sums of a block; of threads that do not leave at once.
__global__ void scan_block(const int* in, unsigned n, int* out, int* counts) {
    __shared__ int sums[2][kThreads];
    const unsigned i = threadIdx.x;
    if (i >= n) return;
    sums[0][i] = in[i];
    int from = 0;
    for (unsigned step = 1; step < n; step *= 2) {
        __syncthreads();
        sums[1 - from][i] = sums[from][i] + (i >= step ? sums[from][i - step] : 0);
        from = 1 - from;
    }
    out[i] = sums[from][i];
    const int n_odd = __syncthreads_count(in[i] % 2 != 0);
    const int any = __syncthreads_or(i == n - 1), all = __syncthreads_and(i != n - 1);
    if (i == 0) counts[0] = n_odd, counts[1] = any, counts[2] = all;
}

/// Threads leave while the others wait for them.
__global__ void leave_one_by_one(int* rounds) {
    for (unsigned round = 0; round <= threadIdx.x; ++round) {
        __syncthreads();
        ++rounds[threadIdx.x];
    }
}

__global__ void use_atomics(unsigned long long* sum, float* floats, int* least, int* most, unsigned* bits,
                            unsigned* last, unsigned* product) {
    const int i = static_cast<int>(threadIdx.x);
    atomicAdd(sum, 1ull << 40);
    atomicAdd(floats, 0.5f);
    atomicMin(least, -i);
    atomicMax(most, i);
    atomicOr(bits, 1u << (i % 32));
    atomicExch(last, threadIdx.x);
    for (unsigned seen = *product;;) {
        const unsigned before = atomicCAS(product, seen, seen * 3);
        if (before == seen) break;
        seen = before;
    }
}

}  // namespace

TEST_CASE("emulator: every thread of every block runs once, in any order") {
    const Settings settings;
    const dim3 grid(3, 2, 2), size(5, 4, 3);
    for (const Order each : kOrders) {
        order = each;
        Array<unsigned> visits(std::vector<unsigned>(12 * 60));
        launch(count_visits, grid, size, visits.data());
        CHECK(cudaGetLastError() == cudaSuccess);
        CHECK(visits.copy() == std::vector<unsigned>(12 * 60, 1));
    }
}

TEST_CASE("emulator: the order is the one that was set") {
    const Settings settings;
    const auto turns = [](Order each, std::uint64_t number) {
        order = each;
        seed = number;
        Array<unsigned> next({0}), all(std::vector<unsigned>(3 * 64));
        launch(take_turns, dim3(3), dim3(64), next.data(), all.data());
        return all.copy();
    };
    const auto up = turns(Order::ascending, 0), some = turns(Order::shuffled, 1);
    CHECK(std::is_sorted(up.begin(), up.end()));
    CHECK(turns(Order::descending, 0) == std::vector<unsigned>(up.rbegin(), up.rend()));
    CHECK(std::set<unsigned>(some.begin(), some.end()).size() == up.size());
    CHECK(some == turns(Order::shuffled, 1));
    CHECK(some != turns(Order::shuffled, 2));
    CHECK(some != up);
}

TEST_CASE_TEMPLATE("emulator: shuffles move values of 32 and 64 bits", T, int, unsigned, float, double, std::int64_t,
                   unsigned long long) {
    const Settings settings;
    naive::Draw draw(1);
    std::vector<T> in(4 * 64), sums;
    for (T& value : in) value = static_cast<T>(draw.below(1000));
    if (sizeof(T) == 8)
        for (T& value : in) value += static_cast<T>(1ull << 40);
    for (std::size_t warp = 0; warp < 8; ++warp)
        sums.push_back(std::accumulate(in.begin() + 32 * warp, in.begin() + 32 * (warp + 1), T{0}));
    for (const Order each : kOrders) {
        order = each;
        Array<T> values(in), by_xor(std::vector<T>(in.size())), by_down(std::vector<T>(8));
        launch(sum_warps<T>, dim3(4), dim3(64), static_cast<const T*>(values.data()), by_xor.data(), by_down.data());
        CHECK(by_down.copy() == sums);
        const auto everywhere = by_xor.copy();
        for (std::size_t i = 0; i < everywhere.size(); ++i) CHECK(everywhere[i] == sums[i / 32]);
    }
}

TEST_CASE("emulator: shuffles stay in their groups of lanes") {
    const Settings settings;
    std::vector<int> in(32), sums(32), third(32);
    for (std::size_t i = 0; i < 32; ++i) {
        in[i] = static_cast<int>(i * i);
        sums[i] = in[i] + (i % 8 == 0 ? 0 : sums[i - 1]);
    }
    for (std::size_t i = 0; i < 32; ++i) third[i] = in[i / 8 * 8 + 2];
    for (const Order each : kOrders) {
        order = each;
        Array<int> values(in), found(std::vector<int>(32)), found_third(std::vector<int>(32));
        launch(scan_groups, dim3(1), dim3(32), static_cast<const int*>(values.data()), found.data(),
               found_third.data());
        CHECK(found.copy() == sums);
        CHECK(found_third.copy() == third);
    }
}

TEST_CASE("emulator: the lanes of a mask vote by themselves, and those that left are not asked") {
    const Settings settings;
    std::vector<unsigned> expected(32), left(32);
    unsigned upper = 0;
    for (unsigned lane = 16; lane < 32; ++lane) upper |= static_cast<unsigned>(lane % 3 != 0) << lane;
    for (unsigned lane = 0; lane < 32; ++lane) {
        expected[lane] = lane < 16 ? 0x5555u : lane % 3 == 0 ? 0 : upper & 0x55555555u;
        left[lane] = lane < 16 || lane % 3 == 0 ? 0 : upper;
    }
    for (const Order each : kOrders) {
        order = each;
        Array<unsigned> ballots(std::vector<unsigned>(32)), active(std::vector<unsigned>(32));
        launch(vote, dim3(1), dim3(32), ballots.data(), active.data());
        CHECK(ballots.copy() == expected);
        CHECK(active.copy() == left);
    }
}

TEST_CASE("emulator: threads of a block wait for each other, but not for those that left") {
    const Settings settings;
    naive::Draw draw(2);
    for (const unsigned n : {1u, 31u, 64u, 199u, kThreads})
        for (const Order each : kOrders) {
            CAPTURE(n);
            order = each;
            std::vector<int> in(n), sums(n), counts = {0, 1, 0}, zeros(n);
            for (int& value : in) {
                value = static_cast<int>(draw.below(100));
                counts[0] += value % 2;
            }
            std::partial_sum(in.begin(), in.end(), sums.begin());
            Array<int> values(in), found(zeros), found_counts(std::vector<int>(3));
            launch(scan_block, dim3(2), dim3(kThreads), static_cast<const int*>(values.data()), n, found.data(),
                   found_counts.data());
            CHECK(found.copy() == sums);
            CHECK(found_counts.copy() == counts);
        }
    for (const Order each : kOrders) {
        order = each;
        std::vector<int> expected(70);
        std::iota(expected.begin(), expected.end(), 1);
        Array<int> rounds(std::vector<int>(70));
        launch(leave_one_by_one, dim3(1), dim3(70), rounds.data());
        CHECK(rounds.copy() == expected);
    }
}

TEST_CASE("emulator: atomics") {
    const Settings settings;
    for (const Order each : kOrders) {
        order = each;
        Array<unsigned long long> sum({1});
        Array<float> floats({0});
        Array<int> least({5}), most({5});
        Array<unsigned> bits({0}), last({99}), product({1});
        launch(use_atomics, dim3(1), dim3(20), sum.data(), floats.data(), least.data(), most.data(), bits.data(),
               last.data(), product.data());
        CHECK(sum.copy()[0] == (20ull << 40) + 1);
        CHECK(floats.copy()[0] == 10);
        CHECK(least.copy()[0] == -19);
        CHECK(most.copy()[0] == 19);
        CHECK(bits.copy()[0] == (1u << 20) - 1);
        CHECK(last.copy()[0] < 20);
        CHECK(product.copy()[0] == 3486784401u);
    }
}

TEST_CASE("emulator: bits of numbers") {
    CHECK(__popc(0xf0f0u) == 8);
    CHECK(__popcll(~0ull) == 64);
    CHECK(__ffs(0) == 0);
    CHECK(__ffs(8) == 4);
    CHECK(__ffsll(1ll << 40) == 41);
    CHECK(__clz(0) == 32);
    CHECK(__clz(1) == 31);
    CHECK(__clzll(-1) == 0);
    CHECK(__brev(1) == 1u << 31);
    CHECK(__brev(0xff00ff00u) == 0x00ff00ffu);
    CHECK(__uint_as_float(__float_as_uint(-0.5f)) == -0.5f);
}

TEST_CASE("emulator: memory of the device is counted, known by its addresses, limited and not zero") {
    const Settings settings;
    const std::size_t before = allocated();
    const auto type_of = [](const void* pointer) {
        cudaPointerAttributes attributes{};
        CHECK(cudaPointerGetAttributes(&attributes, pointer) == cudaSuccess);
        return attributes.type;
    };
    unsigned char* data = nullptr;
    CHECK(cudaMalloc(&data, 1000) == cudaSuccess);
    CHECK(allocated() == before + 1000);
    for (const int offset : {0, 1, 999}) CHECK(type_of(data + offset) == cudaMemoryTypeDevice);
    for (const int offset : {-1, 1000}) CHECK(type_of(data + offset) == cudaMemoryTypeUnregistered);
    CHECK(type_of(&before) == cudaMemoryTypeUnregistered);
    CHECK(type_of(nullptr) == cudaMemoryTypeUnregistered);
    std::vector<unsigned char> bytes(1000);
    CHECK(cudaMemcpyAsync(bytes.data(), data, 1000, cudaMemcpyDefault, nullptr) == cudaSuccess);
    CHECK(bytes == std::vector<unsigned char>(1000, 0xcd));
    CHECK(cudaMemsetAsync(data, 7, 10, nullptr) == cudaSuccess);
    CHECK(cudaMemcpy(bytes.data(), data, 1000, cudaMemcpyDeviceToHost) == cudaSuccess);
    CHECK(bytes[9] == 7);
    CHECK(bytes[10] == 0xcd);

    void* pinned = nullptr;
    CHECK(cudaHostAlloc(&pinned, 100, cudaHostAllocDefault) == cudaSuccess);
    CHECK(type_of(pinned) == cudaMemoryTypeHost);
    std::memset(pinned, 0, 100);
    CHECK(allocated() == before + 1000);
    CHECK(cudaFreeHost(pinned) == cudaSuccess);

    memory_limit = before + 1500;
    std::size_t free = 0, total = 0;
    CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess);
    CHECK(free == 500);
    CHECK(total == memory_limit);
    void* more = nullptr;
    CHECK(cudaMallocAsync(&more, 501, nullptr) == cudaErrorMemoryAllocation);
    CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
    CHECK(cudaGetLastError() == cudaSuccess);
    CHECK(cudaMallocAsync(&more, 500, nullptr) == cudaSuccess);
    CHECK(cudaFreeAsync(more, nullptr) == cudaSuccess);
    CHECK(cudaFree(data) == cudaSuccess);
    CHECK(cudaFree(&free) == cudaErrorInvalidValue);
    CHECK(cudaGetLastError() == cudaErrorInvalidValue);
    CHECK(allocated() == before);
}

TEST_CASE("emulator: launches that no device takes, and no device") {
    const Settings settings;
    Array<unsigned> visits(std::vector<unsigned>(10));
    for (const auto& [grid, size] : {std::pair(dim3(0), dim3(32)), std::pair(dim3(1), dim3(1025)),
                                     std::pair(dim3(1, 65536), dim3(1)), std::pair(dim3(1), dim3(32, 0))}) {
        launch(count_visits, grid, size, visits.data());
        CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    }
    CHECK(visits.copy() == std::vector<unsigned>(10));
    devices = 0;
    int n = 1;
    void* data = nullptr;
    CHECK(cudaGetDeviceCount(&n) == cudaErrorNoDevice);
    CHECK(n == 0);
    CHECK(cudaMalloc(&data, 8) == cudaErrorNoDevice);
    launch(count_visits, dim3(1), dim3(1), visits.data());
    CHECK(std::string(cudaGetErrorString(cudaGetLastError())).find("no CUDA") == 0);
}
