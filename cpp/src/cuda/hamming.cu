// Exhaustive Hamming distances. A search looks at a sample of the gallery first: where the k-th of the sample is, the k-th of
// all is no farther, so that one pass over the gallery need keep no more than what is within that distance.

#include "lshcore/hamming.h"

#include "codes.cuh"
#include "lshcore/cuda.h"
#include "lshcore/error.h"
#include "lshcore/parallel.h"
#include "sort.cuh"

namespace lshcore::cuda {
namespace {

constexpr int kSorted = 3072;          // keys that a block sorts in its shared memory
constexpr std::int64_t kSample = 16;   // one of so many codes is looked at first
constexpr std::int64_t kColumns = 64;  // rows of b whose distances a thread has
constexpr int kMostBins = kMaxBits + 1;

/// Where the hits of a query go: so many from a start on; what is beyond is counted only.
struct Hits {
    Key* keys;
    std::uint32_t* counts;
    const std::int64_t* starts;
    std::uint32_t capacity;
};

/// Registers suffice for a few rows of short codes: each query is read once for all of them.
template <int W>
constexpr int kRowsOf = W == 1   ? 4
                        : W == 2 ? 2
                                 : 1;

/// The rows of a piece of the gallery within the limit of each query, in no order.
template <int W>
__global__ void __launch_bounds__(kThreads)
    collect(const Word* queries, std::int64_t m, const Word* codes, std::int64_t n, std::int64_t first_row, int words,
            const int* limits, Hits hits) {
    constexpr int R = kRowsOf<W>;
    __shared__ Word tile[kQueryTile * (W > 0 ? W : kMaxBits / 64)];
    __shared__ int limit[kQueryTile];
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * kQueryTile;
    const int n_queries = static_cast<int>(m - first < kQueryTile ? m - first : kQueryTile),
              thread = static_cast<int>(threadIdx.x);
    for (int i = thread; i < n_queries * words; i += kThreads) tile[i] = queries[first * words + i];
    for (int i = thread; i < n_queries; i += kThreads) limit[i] = limits[first + i];
    __syncthreads();
    // Rows that there are not are the last one again, and are not kept.
    const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kThreads * R + thread;
    const auto code_at = [&](int r) {
        const std::int64_t row = begin + r * kThreads;
        return codes + (row < n ? row : n - 1) * words;
    };
    const auto look = [&](int q, int r, const Word* code) {
        const int d = hamming<W>(tile + q * words, code, words);
        const std::int64_t row = begin + r * kThreads;
        if (d > limit[q] || row >= n) return;
        const std::uint32_t at = atomicAdd(&hits.counts[first + q], 1u);
        if (at < hits.capacity)
            hits.keys[hits.starts[first + q] + at] = static_cast<Key>(d) << 32 | static_cast<Key>(first_row + row);
    };
    if constexpr (R == 4) {
        const Code<W> a(code_at(0)), b(code_at(1)), c(code_at(2)), e(code_at(3));
        for (int q = 0; q < n_queries; ++q) {
            look(q, 0, a.data());
            look(q, 1, b.data());
            look(q, 2, c.data());
            look(q, 3, e.data());
        }
    } else if constexpr (R == 2) {
        const Code<W> a(code_at(0)), b(code_at(1));
        for (int q = 0; q < n_queries; ++q) {
            look(q, 0, a.data());
            look(q, 1, b.data());
        }
    } else {
        const Code<W> a(code_at(0));
        for (int q = 0; q < n_queries; ++q) look(q, 0, a.data());
    }
}

void launch_collect(const Word* queries, std::int64_t m, const Word* codes, std::int64_t n, std::int64_t first_row,
                    std::int64_t words, const int* limits, Hits hits) {
    for_width(words, [&](auto width) {
        constexpr int W = decltype(width)::value;
        launch(collect<W>, dim3(blocks_for(n, kThreads * kRowsOf<W>), blocks_for(m, kQueryTile)), dim3(kThreads),
               queries, m, codes, n, first_row, static_cast<int>(words), limits, hits);
    });
}

/// What a hit must not exceed: the k-th distance of the sample, or of the best so far.
__global__ void find_limits(const std::uint32_t* histograms, std::int64_t m, int bins, std::int64_t k, const Key* best,
                            int* limits) {
    const std::int64_t q = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (q >= m) return;
    std::int64_t seen = 0;
    int d = 0;
    for (; d < bins - 1; ++d) {
        seen += histograms[q * bins + d];
        if (seen >= k) break;
    }
    const Key last = best[q * k + k - 1];
    limits[q] = last != kNoKey && distance_of(last) < d ? distance_of(last) : d;
}

/// The best so far are the first hits.
__global__ void begin_hits(const Key* best, std::int64_t k, Hits hits) {
    const std::int64_t q = blockIdx.x;
    for (std::int64_t i = threadIdx.x; i < k; i += blockDim.x) {
        const Key key = best[q * k + i];
        if (key == kNoKey) continue;
        if (i < hits.capacity) hits.keys[hits.starts[q] + i] = key;
        if (i + 1 == k || best[q * k + i + 1] == kNoKey) hits.counts[q] = static_cast<std::uint32_t>(i + 1);
    }
}

/// The distance of the k-th, and how many are up to it and nearer; everything, where there are fewer.
struct Cut {
    int distance;
    std::int64_t up_to, nearer;
};
__device__ Cut cut_of(const std::uint32_t* histogram, int bins, std::int64_t k) {
    Cut cut{bins - 1, 0, 0};
    for (int d = 0; d < bins; ++d) {
        cut.nearer = cut.up_to;
        cut.up_to += histogram[d];
        if (cut.up_to < k) continue;
        cut.distance = d;
        break;
    }
    return cut;
}

/// The k best of the hits of each query; those whose hits did not fit or are too many to be sorted are marked instead.
__global__ void __launch_bounds__(kThreads)
    select_best(Hits hits, std::int64_t k, int bins, Key* best, unsigned char* marked) {
    __shared__ std::uint32_t histogram[kMostBins];
    __shared__ Key kept[kSorted];
    __shared__ Cut cut;
    __shared__ int n_kept;
    const std::int64_t q = blockIdx.x;
    const std::uint32_t n = hits.counts[q];
    const Key* const mine = hits.keys + hits.starts[q];
    if (n > hits.capacity) {
        if (threadIdx.x == 0) marked[q] = 1;
        return;
    }
    for (int d = static_cast<int>(threadIdx.x); d < bins; d += kThreads) histogram[d] = 0;
    if (threadIdx.x == 0) n_kept = 0;
    __syncthreads();
    for (std::uint32_t i = threadIdx.x; i < n; i += kThreads) atomicAdd(&histogram[distance_of(mine[i])], 1u);
    __syncthreads();
    if (threadIdx.x == 0) cut = cut_of(histogram, bins, k);
    __syncthreads();
    if (cut.up_to > kSorted) {
        if (threadIdx.x == 0) marked[q] = 1;
        return;
    }
    for (std::uint32_t i = threadIdx.x; i < n; i += kThreads)
        if (distance_of(mine[i]) <= cut.distance) kept[atomicAdd(&n_kept, 1)] = mine[i];
    __syncthreads();
    sort_keys(kept, n_kept);
    for (std::int64_t i = threadIdx.x; i < k; i += kThreads) best[q * k + i] = i < n_kept ? kept[i] : kNoKey;
}

/// How many threads before this one have it, and of all: for all threads of a block at once.
__device__ int count_before(bool has, int* of_warps, int* all) {
    const unsigned votes = __ballot_sync(~0u, has);
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    if (lane == 0) of_warps[warp] = __popc(votes);
    __syncthreads();
    int before = __popc(votes & ((1u << lane) - 1));
    *all = 0;
    for (int w = 0; w < kThreads / 32; ++w) {
        if (w < warp) before += of_warps[w];
        *all += of_warps[w];
    }
    __syncthreads();
    return before;
}

/// The k best for queries that the fast way was not for: a block counts all distances of one, then takes what is nearer than
/// the k-th and the first of those that are as near. `taken`: (queries, k).
__global__ void __launch_bounds__(kThreads)
    search_in_order(const Word* queries, const std::uint32_t* which, const Word* codes, std::int64_t n,
                    std::int64_t first_row, int words, std::int64_t k, int bins, Key* best, Key* taken) {
    __shared__ std::uint32_t histogram[kMostBins];
    __shared__ Cut cut;
    __shared__ int of_warps[kThreads / 32];
    const Word* const query = queries + static_cast<std::int64_t>(which[blockIdx.x]) * words;
    Key* const mine = best + which[blockIdx.x] * k;
    Key* const out = taken + blockIdx.x * k;
    // The best so far come first: their rows have the lower numbers.
    const auto key_at = [&](std::int64_t i) {
        if (i < k) return mine[i];
        const std::int64_t row = i - k;
        return static_cast<Key>(hamming<0>(query, codes + row * words, words)) << 32 |
               static_cast<Key>(first_row + row);
    };
    for (int d = static_cast<int>(threadIdx.x); d < bins; d += kThreads) histogram[d] = 0;
    __syncthreads();
    for (std::int64_t i = threadIdx.x; i < k + n; i += kThreads)
        if (const Key key = key_at(i); key != kNoKey) atomicAdd(&histogram[distance_of(key)], 1u);
    __syncthreads();
    if (threadIdx.x == 0) cut = cut_of(histogram, bins, k);
    __syncthreads();
    const std::int64_t room = k - cut.nearer;  // for those at the distance of the k-th
    std::int64_t n_taken = 0, n_ties = 0;
    for (std::int64_t begin = 0; begin < k + n; begin += kThreads) {
        const std::int64_t i = begin + threadIdx.x;
        const Key key = i < k + n ? key_at(i) : kNoKey;
        const bool tie = key != kNoKey && distance_of(key) == cut.distance;
        int all = 0;
        const std::int64_t rank = n_ties + count_before(tie, of_warps, &all);
        n_ties += all;
        const bool take = key != kNoKey && (distance_of(key) < cut.distance || (tie && rank < room));
        const std::int64_t at = n_taken + count_before(take, of_warps, &all);
        n_taken += all;
        if (take) out[at] = key;
    }
    sort_keys(out, n_taken);
    for (std::int64_t i = threadIdx.x; i < k; i += kThreads) mine[i] = i < n_taken ? out[i] : kNoKey;
}

__global__ void write_hits(const Key* best, std::int64_t n, std::uint16_t* distances, Id* ids) {
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const bool none = best[i] == kNoKey;
    distances[i] = none ? 65535 : static_cast<std::uint16_t>(best[i] >> 32);
    ids[i] = none ? kNoId : static_cast<Id>(best[i] & 0xffffffffu);
}

/// Brings the rows of a piece into the best of m queries.
void search_piece(const Word* queries, std::int64_t m, const Word* codes, std::int64_t n, std::int64_t first_row,
                  std::int64_t words, std::int64_t k, Key* best) {
    const int bins = static_cast<int>(64 * words) + 1;
    const std::int64_t n_sample = std::min(n, std::max(n / kSample, 4 * k + 4096)), step = n / n_sample,
                       looked_at = n / step;
    // Four times what a sample promises: few distances are possible, so that many codes may share the last of them.
    const std::int64_t capacity = std::min(k + n, k + 1024 + 4 * k * step);
    const auto a_query = static_cast<std::size_t>(capacity) * sizeof(Key) + static_cast<std::size_t>(bins) * 4 + 32;
    const std::int64_t block =
        std::clamp<std::int64_t>(static_cast<std::int64_t>(free_bytes() / 4 / a_query), 1, std::min(m, kMostQueries));
    const Memory<Key> keys(block * capacity);
    Memory<std::uint32_t> histograms(block * bins), counts(block);
    const Memory<int> limits(block);
    Memory<unsigned char> marked(block);
    std::vector<std::int64_t> starts;
    for (std::int64_t q = 0; q < block; ++q) starts.push_back(q * capacity);
    const Memory<std::int64_t> device_starts(starts.data(), block);
    const Hits hits{keys.data(), counts.data(), device_starts.data(), static_cast<std::uint32_t>(capacity)};
    for (std::int64_t first = 0; first < m; first += block) {
        const std::int64_t some = std::min(block, m - first);
        const Word* const mine = queries + first * words;
        Key* const its_best = best + first * k;
        histograms.fill(0, some * bins);
        counts.fill(0, some);
        marked.fill(0, some);
        add_histograms(mine, some, codes, looked_at, step, words, bins, {}, histograms.data());
        launch(find_limits, dim3(blocks_for(some, kThreads)), dim3(kThreads),
               static_cast<const std::uint32_t*>(histograms.data()), some, bins, k, static_cast<const Key*>(its_best),
               limits.data());
        launch(begin_hits, dim3(static_cast<unsigned>(some)), dim3(32), static_cast<const Key*>(its_best), k, hits);
        launch_collect(mine, some, codes, n, first_row, words, limits.data(), hits);
        launch(select_best, dim3(static_cast<unsigned>(some)), dim3(kThreads), hits, k, bins, its_best, marked.data());

        std::vector<std::uint32_t> which;
        const auto is_marked = to_host(marked.data(), some);
        for (std::int64_t q = 0; q < some; ++q)
            if (is_marked[static_cast<std::size_t>(q)] != 0) which.push_back(static_cast<std::uint32_t>(q));
        if (which.empty()) continue;
        const auto n_which = static_cast<std::int64_t>(which.size());
        const Memory<std::uint32_t> device_which(which.data(), n_which);
        const Memory<Key> taken(n_which * k);
        launch(search_in_order, dim3(static_cast<unsigned>(n_which)), dim3(kThreads), mine,
               static_cast<const std::uint32_t*>(device_which.data()), codes, n, first_row, static_cast<int>(words), k,
               bins, its_best, taken.data());
    }
}

/// A thread has kColumns distances of one code of a; rows of `out` are `stride` apart.
__global__ void all_distances(const Word* a, const Word* b, std::int64_t n, int words, std::int64_t stride,
                              std::uint16_t* out) {
    const std::int64_t row = blockIdx.y, begin = static_cast<std::int64_t>(blockIdx.x) * kThreads * kColumns;
    const std::int64_t end = begin + kThreads * kColumns < n ? begin + kThreads * kColumns : n;
    for (std::int64_t j = begin + threadIdx.x; j < end; j += kThreads)
        out[row * stride + j] = static_cast<std::uint16_t>(hamming<0>(a + row * words, b + j * words, words));
}

void check_sizes(View<const Word> queries, View<const Word> gallery) {
    require(queries.cols == gallery.cols && queries.cols >= 1 && queries.cols <= kMaxBits / 64,
            "cuda: queries and gallery must have codes of the same width, up to 4096 bits");
    require(gallery.rows < std::int64_t{1} << 32, "cuda: at most 2^32 - 1 codes are searched at once");
    this_stream();  // throws where there is no device, even if nothing is asked
}

}  // namespace

void hamming_distances(View<const Word> a, View<const Word> b, std::uint16_t* out) {
    check_sizes(a, b);
    if (a.rows == 0 || b.rows == 0) return;
    constexpr std::int64_t kMostRows = 65535;
    const bool there = on_device(out);
    for_pieces(b, [&](const Word* codes, std::int64_t n, std::int64_t first) {
        // Rows of the result come back by themselves where only a part of each is there.
        const auto a_row = static_cast<std::size_t>(n) * sizeof(std::uint16_t) + static_cast<std::size_t>(a.cols) * 8;
        const auto fit = static_cast<std::int64_t>(free_bytes() / 2 / a_row);
        const std::int64_t block = there ? kMostRows : std::clamp<std::int64_t>(fit, 1, kMostRows);
        for (std::int64_t row = 0; row < a.rows; row += block) {
            const std::int64_t rows = std::min(block, a.rows - row), stride = there ? b.rows : n;
            const Input<Word> left(a.row(row), rows * a.cols);
            std::uint16_t* const wanted = out + row * b.rows + first;
            Memory<std::uint16_t> beside;
            if (!there) beside = Memory<std::uint16_t>(rows * n);
            launch(all_distances, dim3(blocks_for(n, kThreads * kColumns), static_cast<unsigned>(rows)), dim3(kThreads),
                   left.data(), codes, n, static_cast<int>(a.cols), stride, there ? wanted : beside.data());
            for (std::int64_t i = 0; !there && i < rows; i += n == b.rows ? rows : 1)
                copy(static_cast<const std::uint16_t*>(beside.data() + i * n), n == b.rows ? rows * n : n,
                     wanted + i * b.rows);
        }
    });
    wait();
}

void hamming_search(View<const Word> queries, View<const Word> gallery, std::int64_t k, std::uint16_t* distances,
                    Id* ids) {
    require(k >= 1, "hamming_search: k must be at least 1");
    check_sizes(queries, gallery);
    const std::int64_t m = queries.rows;
    if (m == 0) return;
    const Input<Word> asked(queries);
    Memory<Key> best(m * k);
    best.fill(0xff, m * k);  // kNoKey
    for_pieces(gallery, [&](const Word* codes, std::int64_t n, std::int64_t first) {
        search_piece(asked.data(), m, codes, n, first, gallery.cols, k, best.data());
    });
    const Output<std::uint16_t> found_distances(distances, m * k);
    const Output<Id> found_ids(ids, m * k);
    launch(write_hits, dim3(blocks_for(m * k, kThreads)), dim3(kThreads), static_cast<const Key*>(best.data()), m * k,
           found_distances.data(), found_ids.data());
    found_distances.deliver();
    found_ids.deliver();
    wait();
}

RangeHits hamming_range(View<const Word> queries, View<const Word> gallery, int radius, int n_jobs) {
    check_sizes(queries, gallery);
    const std::int64_t m = queries.rows, words = queries.cols;
    std::vector<std::vector<Key>> found(static_cast<std::size_t>(m));
    if (m > 0) {
        const Input<Word> asked(queries);
        const std::vector<int> same(static_cast<std::size_t>(m), std::min(radius, kMaxBits));
        const Memory<int> limits(same.data(), m);
        Memory<std::uint32_t> counts(m);
        const auto for_queries = [&](std::int64_t first, std::int64_t last, const auto& f) {
            for (std::int64_t q = first; q < last; q += kMostQueries) f(q, std::min(kMostQueries, last - q));
        };
        for_pieces(gallery, [&](const Word* codes, std::int64_t n, std::int64_t first_row) {
            counts.fill(0, m);
            for_queries(0, m, [&](std::int64_t q, std::int64_t some) {
                launch_collect(asked.data() + q * words, some, codes, n, first_row, words, limits.data() + q,
                               {nullptr, counts.data() + q, nullptr, 0});
            });
            const auto n_hits = to_host(counts.data(), m);
            counts.fill(0, m);
            // As many queries at once as a quarter of the memory has room for, and one at least.
            const auto room = static_cast<std::int64_t>(free_bytes() / 4 / sizeof(Key));
            for (std::int64_t begin = 0, end = 0; begin < m; begin = end) {
                std::vector<std::int64_t> starts;
                std::int64_t total = 0;
                for (; end < m && (end == begin || total + n_hits[static_cast<std::size_t>(end)] <= room); ++end) {
                    starts.push_back(total);
                    total += n_hits[static_cast<std::size_t>(end)];
                }
                if (total == 0) continue;
                const Memory<std::int64_t> device_starts(starts.data(), end - begin);
                const Memory<Key> keys(total);
                for_queries(begin, end, [&](std::int64_t q, std::int64_t some) {
                    launch_collect(
                        asked.data() + q * words, some, codes, n, first_row, words, limits.data() + q,
                        {keys.data(), counts.data() + q, device_starts.data() + (q - begin), ~std::uint32_t{0}});
                });
                const auto hits = to_host(keys.data(), total);
                for (std::int64_t q = begin; q < end; ++q) {
                    const auto from = hits.begin() + starts[static_cast<std::size_t>(q - begin)];
                    auto& mine = found[static_cast<std::size_t>(q)];
                    mine.insert(mine.end(), from, from + n_hits[static_cast<std::size_t>(q)]);
                }
            }
        });
    }
    parallel_for(ceil_div(m, 16), n_jobs, [&](std::int64_t b, int) {
        for (std::int64_t q = 16 * b; q < std::min(16 * b + 16, m); ++q)
            std::sort(found[static_cast<std::size_t>(q)].begin(), found[static_cast<std::size_t>(q)].end());
    });
    RangeHits result;
    result.offsets.push_back(0);
    for (auto& mine : found) {
        for (const Key key : mine) {
            result.distances.push_back(static_cast<std::uint16_t>(key >> 32));
            result.ids.push_back(static_cast<Id>(key & 0xffffffffu));
        }
        result.offsets.push_back(static_cast<std::int64_t>(result.ids.size()));
        mine = {};
    }
    return result;
}

}  // namespace lshcore::cuda
