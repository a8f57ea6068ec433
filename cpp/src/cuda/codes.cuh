#pragma once
// Hamming distances in kernels: blocks of threads that own gallery rows and walk over a tile of queries.

#include <algorithm>

#include "device.h"
#include "sort.cuh"

namespace lshcore::cuda {

constexpr int kThreads = 256;
constexpr int kQueryTile = 32;
constexpr std::int64_t kMostQueries = 65535 * kQueryTile;  // of one launch

__device__ inline int distance_of(Key key) { return static_cast<int>(key >> 32); }

/// W words, or any number of them for W = 0.
template <int W>
__device__ __forceinline__ int hamming(const Word* a, const Word* b, int words) {
    int sum = 0;
    const int n = W > 0 ? W : words;
#pragma unroll
    for (int w = 0; w < n; ++w) sum += __popcll(a[w] ^ b[w]);
    return sum;
}

/// The row of a thread: in registers, but for widths that are not known beforehand.
template <int W>
struct Code {
    Word words[W];

    __device__ Code(const Word* code) {
#pragma unroll
        for (int w = 0; w < W; ++w) words[w] = code[w];
    }
    __device__ const Word* data() const { return words; }
};

template <>
struct Code<0> {
    const Word* words;

    __device__ Code(const Word* code) : words(code) {}
    __device__ const Word* data() const { return words; }
};

/// Calls f(std::integral_constant<int, W>) for the number of words, or for 0.
template <class F>
void for_width(std::int64_t words, F f) {
    switch (words) {
        case 1: return f(std::integral_constant<int, 1>());
        case 2: return f(std::integral_constant<int, 2>());
        case 4: return f(std::integral_constant<int, 4>());
        case 8: return f(std::integral_constant<int, 8>());
        case 16: return f(std::integral_constant<int, 16>());
        default: return f(std::integral_constant<int, 0>());
    }
}

/// Calls f(codes on the device, rows, first row) for a gallery as a whole, or in pieces of a quarter of the free memory.
template <class F>
void for_pieces(View<const Word> gallery, F f) {
    const bool there = on_device(gallery.data);
    const auto fit =
        static_cast<std::int64_t>(free_bytes() / 4 / (sizeof(Word) * static_cast<std::size_t>(gallery.cols)));
    const std::int64_t piece = there ? gallery.rows : std::max<std::int64_t>(fit, 1);
    for (std::int64_t first = 0; first < gallery.rows; first += piece) {
        const std::int64_t n = std::min(piece, gallery.rows - first);
        const Input<Word> codes(gallery.row(first), n * gallery.cols);
        f(codes.data(), n, first);
    }
}

/// Which rows are relevant to a query. Without classes nothing is asked.
struct Classes {
    const std::uint32_t* of = nullptr;        // each row
    const std::uint32_t* relevant = nullptr;  // (queries, words): a bit a class
    std::int64_t words = 0;
};

/// Adds the distances of every step-th of n rows to the histograms (queries, sides, bins) of m queries. Side 1: rows of a
/// class that is relevant to the query; without classes there is one side.
void add_histograms(const Word* queries, std::int64_t m, const Word* codes, std::int64_t n, std::int64_t step,
                    std::int64_t words, int bins, Classes classes, std::uint32_t* out);

}  // namespace lshcore::cuda
