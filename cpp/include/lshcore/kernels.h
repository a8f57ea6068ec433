#pragma once
// The inner loops, once per instruction set. Every set gives the same bits: float sums run in 16 lanes (element i goes
// to lane i % 16, multiply then add, never fused), and the lanes are added as a tree, i + 8, i + 4, i + 2, i + 1.

#include <cstdint>
#include <string>
#include <vector>

#include "lshcore/types.h"

namespace lshcore {

struct Kernels {
    const char* name;

    /// out[i * out_stride + j] = <a_i, b_j> (or squared L2 distance) for na x nb rows of d floats each.
    void (*dot_tile)(const float* a, std::int64_t na, const float* b, std::int64_t nb, std::int64_t d, float* out,
                     std::int64_t out_stride);
    void (*l2_tile)(const float* a, std::int64_t na, const float* b, std::int64_t nb, std::int64_t d, float* out,
                    std::int64_t out_stride);

    /// out[i] = the same for one vector and the rows named by `rows`.
    void (*dot_gather)(const float* a, const float* base, const Row* rows, std::int64_t n, std::int64_t d, float* out);
    void (*l2_gather)(const float* a, const float* base, const Row* rows, std::int64_t n, std::int64_t d, float* out);

    /// The same with the rows in half precision, each widened (exactly) as it is read.
    void (*dot_tile_half)(const float* a, std::int64_t na, const Half* b, std::int64_t nb, std::int64_t d, float* out,
                          std::int64_t out_stride);
    void (*l2_tile_half)(const float* a, std::int64_t na, const Half* b, std::int64_t nb, std::int64_t d, float* out,
                         std::int64_t out_stride);
    void (*dot_gather_half)(const float* a, const Half* base, const Row* rows, std::int64_t n, std::int64_t d,
                            float* out);
    void (*l2_gather_half)(const float* a, const Half* base, const Row* rows, std::int64_t n, std::int64_t d,
                           float* out);

    /// Rounds to half precision, to nearest, ties to even; values of magnitude up to 65504.
    void (*to_half)(const float* x, std::int64_t n, Half* out);

    /// out[i] = Hamming distance of one code and the code in row rows[i].
    void (*hamming_gather)(const Word* query, const Word* codes, const Row* rows, std::int64_t n, int words,
                           std::uint16_t* out);

    /// Bit j of out is margins[j] >= 0; padding bits are zero.
    void (*pack_signs)(const float* margins, std::int64_t n_bits, Word* out);

    // Grouped codes: eight after one another, word by word: word w of code 8 g + i stands at (g * words + w) * 8 + i.

    /// From rows to groups; the last group is filled up with zeros.
    void (*group_codes)(const Word* codes, std::int64_t n, int words, Word* groups);

    /// Writes distance << 32 | row of every code strictly nearer than the threshold, in row order, and returns how many;
    /// `hits` has room for n + 8.
    std::int64_t (*collect_below)(const Word* query, const Word* groups, std::int64_t n, int words, int threshold,
                                  std::uint64_t* hits);

    /// Adds the n distances of each query to its four histograms of `stride` counters, which stand after one another;
    /// only their sum means something, modulo 2^32.
    void (*count_distances)(const Word* queries, std::int64_t n_queries, const Word* groups, std::int64_t n, int words,
                            std::uint32_t* counts, std::int64_t stride);

    /// out[i] = distance of the i-th of n codes.
    void (*grouped_distances)(const Word* query, const Word* groups, std::int64_t n, int words, std::uint16_t* out);

    // Residual codes: residual.h.

    /// x = the Hadamard transform, unscaled, of x * signs; n is a power of two from 64 on.
    void (*hadamard)(float* x, const float* signs, std::int64_t n);

    /// Tables of 16 bytes for each four of x: entry p is inverse times 2 times what the signs p of the four add to the
    /// least of their sums, rounded to nearest, ties to even; at most 63, so that four of them fit a byte.
    void (*residual_tables)(const float* x, std::int64_t n, float inverse, std::uint8_t* out);

    /// For a multiple of 16 tables, at most 1024, out[i] = (base + offsets[i]) - scales[i] * (step * (sum of the entries that code i names) + low) for n codes.
    void (*residual_estimates)(const std::uint8_t* tables, std::int64_t n_tables, const std::uint8_t* codes,
                               std::int64_t n, float step, float low, float base, const float* offsets,
                               const float* scales, float* out);

    /// Writes the numbers of the values up to a limit, ascending, and returns how many; `hits` has room for n + 16.
    std::int64_t (*collect_up_to)(const float* values, std::int64_t n, float limit, std::uint32_t* hits);

    /// Writes the keys up to a pivot to `low`, which may be `keys`, and the others to `high`, both in their order and with
    /// room for n; returns how many are low.
    std::int64_t (*split_keys)(const std::uint64_t* keys, std::int64_t n, std::uint64_t pivot, std::uint64_t* low,
                               std::uint64_t* high);
};

/// The set in use: the best this CPU and this operating system support, or the one LSHCORE_KERNELS names.
/// Throws std::invalid_argument if that name is unknown or not supported here.
const Kernels& kernels();

/// Names of the sets that run here, best first.
std::vector<std::string> kernel_sets();

}  // namespace lshcore
