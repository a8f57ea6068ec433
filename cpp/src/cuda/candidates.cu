// The union of a query's buckets, distances of the rows in it, and the k nearest of them: a block of threads a query.

#include "lshcore/candidates.h"

#include <algorithm>
#include <bit>
#include <memory>

#include "codes.cuh"
#include "lshcore/cuda.h"
#include "lshcore/error.h"
#include "lshcore/score.h"
#include "lshcore/segment.h"
#include "sort.cuh"

namespace lshcore::cuda {
namespace {

constexpr int kLanesOfRow = 16;  // threads that share a vector: one for each lane of kernels.h

/// Memory that outlives the streams of the threads that use it.
template <class T>
class Kept {
   public:
    Kept(const T* values, std::int64_t n) {
        if (n == 0) return;
        void* data = nullptr;
        check(cudaMalloc(&data, static_cast<std::size_t>(n) * sizeof(T)));
        data_ = static_cast<T*>(data);
        copy(values, n, data_);
    }
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;
    ~Kept() {
        if (data_ != nullptr) cudaFree(data_);
    }
    const T* data() const { return data_; }

   private:
    T* data_ = nullptr;
};

template <class Values>
auto kept(const Values& values) {
    return Kept<typename Values::value_type>(values.data(), static_cast<std::int64_t>(values.size()));
}

std::vector<Row> all_table_rows(const Segment& segment) {
    std::vector<Row> rows;
    for (const Table& table : segment.tables) rows.insert(rows.end(), table.rows().begin(), table.rows().end());
    return rows;
}

/// The place of each row's id among all; nothing where ids ascend with the rows.
std::vector<Row> places_of_ids(const Segment& segment) {
    const auto& order = segment.ids.order();
    std::vector<Row> places(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) places[order[i]] = static_cast<Row>(i);
    return places;
}

struct Copy {
    Kept<Row> table_rows, id_places;
    Kept<Word> codes;
    Kept<float> vectors, inverse_norms;
    Kept<Half> halves;

    explicit Copy(const Segment& s)
        : table_rows(kept(all_table_rows(s))),
          id_places(kept(places_of_ids(s))),
          codes(kept(s.codes)),
          vectors(kept(s.vectors)),
          inverse_norms(kept(s.inverse_norms)),
          halves(kept(s.halves)) {
        wait();
    }
};

/// Where the candidates of each query stand, and how many there are.
struct Lists {
    const std::int64_t* starts;
    Row* rows;
    Key* keys;
    std::uint32_t* counts;
};

/// Runs of bucket rows (or of rows, where there are no tables) to lists without repetition. `seen`: a bit a row and query, or
/// null where no row can be met twice.
__global__ void __launch_bounds__(kThreads)
    unite(const std::int64_t* offsets, const std::int64_t* begins, const std::int64_t* ends, const Row* table_rows,
          const Word* removed, std::uint32_t* seen, std::int64_t seen_words, Lists lists) {
    __shared__ std::uint32_t count;
    const std::int64_t q = blockIdx.x;
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    for (std::int64_t run = offsets[q]; run < offsets[q + 1]; ++run)
        for (std::int64_t i = begins[run] + threadIdx.x; i < ends[run]; i += kThreads) {
            const Row row = table_rows == nullptr ? static_cast<Row>(i) : table_rows[i];
            if (removed != nullptr && (removed[row / 64] >> (row % 64) & 1) != 0) continue;
            if (seen != nullptr) {
                const std::uint32_t bit = 1u << (row % 32);
                if ((atomicOr(&seen[q * seen_words + row / 32], bit) & bit) != 0) continue;
            }
            lists.rows[lists.starts[q] + atomicAdd(&count, 1u)] = row;
        }
    __syncthreads();
    if (threadIdx.x == 0) lists.counts[q] = count;
}

/// A distance and a row's place among the ids: the same order as (distance, id). -0 is +0.
__device__ Key key_of(float distance, Row row, const Row* id_places) {
    const std::uint32_t bits = __float_as_uint(distance != distance ? INFINITY : __fadd_rn(distance, 0.0f));
    const std::uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return static_cast<Key>(ordered) << 32 | (id_places == nullptr ? row : id_places[row]);
}

__global__ void __launch_bounds__(kThreads)
    score_codes(const Word* queries, const Word* codes, int words, const Row* id_places, Lists lists) {
    const std::int64_t q = blockIdx.x;
    for (std::uint32_t i = threadIdx.x; i < lists.counts[q]; i += kThreads) {
        const std::int64_t at = lists.starts[q] + i;
        const Row row = lists.rows[at];
        const int d = hamming<0>(queries + q * words, codes + static_cast<std::int64_t>(row) * words, words);
        lists.keys[at] = key_of(static_cast<float>(d), row, id_places);
    }
}

__device__ inline float widen(float x) { return x; }
__device__ inline float widen(Half x) {
    const std::uint32_t sign = static_cast<std::uint32_t>(x & 0x8000u) << 16, exponent = x >> 10 & 31u,
                        digits = x & 0x3ffu;
    if (exponent == 0) {  // digits * 2^-24, exactly
        const float value = __fmul_rn(static_cast<float>(digits), 5.9604644775390625e-8f);
        return __uint_as_float(__float_as_uint(value) | sign);
    }
    return __uint_as_float(sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | digits << 13);
}

/// `norms`, 1 / length of each query and row, are read for the cosine only.
template <class T>
__global__ void __launch_bounds__(kThreads)
    score_vectors(const float* queries, const float* query_norms, const T* vectors, const float* norms, std::int64_t d,
                  Rank rank, const Row* id_places, Lists lists) {
    const std::int64_t q = blockIdx.x;
    const std::uint32_t n = lists.counts[q];
    const int lane = static_cast<int>(threadIdx.x) % kLanesOfRow;
    const float* const a = queries + q * d;
    constexpr std::uint32_t kAtOnce = kThreads / kLanesOfRow;
    for (std::uint32_t first = 0; first < n; first += kAtOnce) {
        const std::uint32_t i = first + threadIdx.x / kLanesOfRow;
        const std::int64_t at = lists.starts[q] + (i < n ? i : n - 1);
        const Row row = lists.rows[at];
        const T* const b = vectors + static_cast<std::int64_t>(row) * d;
        float sum = 0;
        for (std::int64_t j = lane; j < d; j += kLanesOfRow) {
            const float gap = __fsub_rn(a[j], widen(b[j]));
            sum = __fadd_rn(sum, rank == Rank::l2 ? __fmul_rn(gap, gap) : __fmul_rn(a[j], widen(b[j])));
        }
        for (int step = kLanesOfRow / 2; step > 0; step /= 2)
            sum = __fadd_rn(sum, __shfl_down_sync(~0u, sum, step, kLanesOfRow));
        if (lane != 0 || i >= n) continue;
        if (rank == Rank::cosine) {
            const float far = __fsub_rn(1.0f, __fmul_rn(__fmul_rn(sum, query_norms[q]), norms[row]));
            sum = far < 0 ? 0.0f : far > 2 ? 2.0f : far;
        }
        lists.keys[at] = key_of(rank == Rank::ip ? -sum : sum, row, id_places);
    }
}

/// The k least keys of each list, ascending: the k-th is found byte by byte.
__global__ void __launch_bounds__(kThreads) take_least(Lists lists, std::int64_t k, Key* out) {
    __shared__ std::uint32_t histogram[256];
    __shared__ Key known;  // its upper bytes
    __shared__ std::int64_t rank;
    __shared__ std::uint32_t n_taken;
    const std::int64_t q = blockIdx.x;
    const std::uint32_t n = lists.counts[q];
    const Key* const keys = lists.keys + lists.starts[q];
    Key* const mine = out + q * k;
    if (threadIdx.x == 0) {
        known = n > k ? 0 : kNoKey;
        rank = k;  // of it among those with the same upper bytes
        n_taken = 0;
    }
    __syncthreads();
    for (int shift = 56; n > k && shift >= 0; shift -= 8) {
        for (int i = static_cast<int>(threadIdx.x); i < 256; i += kThreads) histogram[i] = 0;
        __syncthreads();
        for (std::uint32_t i = threadIdx.x; i < n; i += kThreads)
            if (shift == 56 || (keys[i] ^ known) >> (shift + 8) == 0) atomicAdd(&histogram[keys[i] >> shift & 255], 1u);
        __syncthreads();
        if (threadIdx.x == 0) {
            Key byte = 0;
            while (histogram[byte] < rank) rank -= histogram[byte++];
            known |= byte << shift;
        }
        __syncthreads();
    }
    for (std::uint32_t i = threadIdx.x; i < n; i += kThreads)
        if (keys[i] <= known) mine[atomicAdd(&n_taken, 1u)] = keys[i];
    __syncthreads();
    const std::int64_t taken = n_taken;
    sort_keys(mine, taken);
    for (std::int64_t i = taken + threadIdx.x; i < k; i += kThreads) mine[i] = kNoKey;
}

float distance_of_key(Key key, Rank rank) {
    const auto ordered = static_cast<std::uint32_t>(key >> 32);
    const float d = std::bit_cast<float>(ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered);
    return rank == Rank::ip && d == 0 ? -0.0f : d;  // products of nothing are +0, and turned round
}

}  // namespace

Nearest rank_candidates(const LiveSegment& live, const Queries& queries, std::int64_t first, const Buckets& buckets,
                        Rank rank, std::int64_t k) {
    require(rank != Rank::margin, "cuda::rank_candidates: margins are weighed on the CPU only");
    const Segment& segment = *live.segment;
    const auto& there =
        *static_cast<const Copy*>(segment.on_gpu([&] { return std::make_shared<const Copy>(segment); }));
    const auto m = static_cast<std::int64_t>(buckets.offsets.size()) - 1;
    const std::int64_t seen_words = segment.tables.size() > 1 ? (segment.size() + 31) / 32 : 0;
    const Memory<Word> removed(live.removed_bits(), live.removed == nullptr ? 0 : (segment.size() + 63) / 64);
    const Row* const id_places = there.id_places.data();
    Nearest found{std::vector<float>(static_cast<std::size_t>(m * k)), {}, {}};
    const auto size_of = [&](std::int64_t q) {
        std::int64_t size = 0;
        for (std::int64_t run = buckets.offsets[static_cast<std::size_t>(q)];
             run < buckets.offsets[static_cast<std::size_t>(q) + 1]; ++run)
            size += buckets.ends[static_cast<std::size_t>(run)] - buckets.begins[static_cast<std::size_t>(run)];
        return size;
    };
    // As many queries at once as a quarter of the memory has room for, and one at least.
    const auto room = static_cast<std::int64_t>(free_bytes() / 4);
    for (std::int64_t begin = 0, end = 0; begin < m; begin = end) {
        std::vector<std::int64_t> starts, offsets;
        std::int64_t total = 0, bytes = 0;
        for (; end < m && end - begin < 65535; ++end) {
            const std::int64_t size = size_of(end), its = size * 12 + seen_words * 4 + k * 8;
            if (end > begin && bytes + its > room) break;
            starts.push_back(total);
            offsets.push_back(buckets.offsets[static_cast<std::size_t>(end)] -
                              buckets.offsets[static_cast<std::size_t>(begin)]);
            total += size;
            bytes += its;
        }
        const std::int64_t n = end - begin, first_run = buckets.offsets[static_cast<std::size_t>(begin)],
                           n_runs = buckets.offsets[static_cast<std::size_t>(end)] - first_run;
        offsets.push_back(n_runs);
        const Memory<std::int64_t> device_starts(starts.data(), n), device_offsets(offsets.data(), n + 1),
            begins(buckets.begins.data() + first_run, n_runs), ends(buckets.ends.data() + first_run, n_runs);
        const Memory<Row> rows(total);
        const Memory<Key> keys(total), best(n * k);
        const Memory<std::uint32_t> counts(n);
        Memory<std::uint32_t> seen(n * seen_words);
        seen.fill(0, n * seen_words);
        const Lists lists{device_starts.data(), rows.data(), keys.data(), counts.data()};
        const dim3 grid(static_cast<unsigned>(n)), block(kThreads);
        launch(unite, grid, block, static_cast<const std::int64_t*>(device_offsets.data()),
               static_cast<const std::int64_t*>(begins.data()), static_cast<const std::int64_t*>(ends.data()),
               segment.tables.empty() ? nullptr : there.table_rows.data(),
               live.removed == nullptr ? nullptr : static_cast<const Word*>(removed.data()),
               seen_words == 0 ? nullptr : seen.data(), seen_words, lists);
        const std::int64_t q = first + begin;
        if (rank == Rank::hamming) {
            const Memory<Word> codes(queries.codes.row(q), n * segment.words);
            launch(score_codes, grid, block, static_cast<const Word*>(codes.data()), there.codes.data(), segment.words,
                   id_places, lists);
        } else {
            const Memory<float> vectors(queries.vectors.row(q), n * segment.dim),
                norms(queries.inverse_norms == nullptr ? nullptr : queries.inverse_norms + q,
                      queries.inverse_norms == nullptr ? 0 : n);
            const auto score = [&](auto kernel, const auto* stored) {
                launch(kernel, grid, block, static_cast<const float*>(vectors.data()),
                       static_cast<const float*>(norms.data()), stored, there.inverse_norms.data(), segment.dim, rank,
                       id_places, lists);
            };
            if (segment.halves.empty())
                score(score_vectors<float>, there.vectors.data());
            else
                score(score_vectors<Half>, there.halves.data());
        }
        launch(take_least, grid, block, lists, k, best.data());
        const auto nearest = to_host(best.data(), n * k);
        const auto n_met = to_host(counts.data(), n);
        found.n_met.insert(found.n_met.end(), n_met.begin(), n_met.end());
        for (std::size_t i = 0; i < nearest.size(); ++i) {
            const Key key = nearest[i];
            const auto place = static_cast<std::size_t>(key & 0xffffffffu);
            found.rows.push_back(key == kNoKey          ? -1
                                 : id_places == nullptr ? static_cast<std::int64_t>(place)
                                                        : segment.ids.order()[place]);
            found.distances[static_cast<std::size_t>(begin * k) + i] = key == kNoKey ? 0 : distance_of_key(key, rank);
        }
    }
    return found;
}

}  // namespace lshcore::cuda
