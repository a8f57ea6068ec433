#include "lshcore/project.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <vector>

#include "lshcore/error.h"
#include "lshcore/kernels.h"
#include "lshcore/parallel.h"

namespace lshcore {
namespace {

constexpr std::int64_t kRowBlock = 64;     // rows of x that stay in cache while the weights stream by
constexpr std::int64_t kWeightBlock = 64;  // and the other way round

/// Calls body(first row, number of rows, worker) for every block of rows.
template <class Body>
void for_row_blocks(std::int64_t rows, std::int64_t block, int n_jobs, Body body) {
    parallel_for(ceil_div(rows, block), n_jobs,
                 [&](std::int64_t b, int worker) { body(b * block, std::min(block, rows - b * block), worker); });
}

/// The margins of n rows, written with the given stride.
void project_block(const float* x, std::int64_t n, View<const float> weights, const float* bias, float* out) {
    const std::int64_t n_bits = weights.rows;
    for (std::int64_t w = 0; w < n_bits; w += kWeightBlock)
        kernels().dot_tile(x, n, weights.row(w), std::min(kWeightBlock, n_bits - w), weights.cols, out + w, n_bits);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n_bits; ++j) out[i * n_bits + j] += bias[j];
}

}  // namespace

void check_finite(View<const float> x, const std::string& what, int n_jobs) {
    std::atomic<std::int64_t> first_bad{x.rows};
    for_row_blocks(x.rows, 1024, n_jobs, [&](std::int64_t begin, std::int64_t n, int) {
        if (first_bad.load() < begin) return;
        for (std::int64_t i = begin; i < begin + n; ++i) {
            const float* row = x.row(i);
            int bad = 0;  // a counter, not an exit: this loop vectorises
            for (std::int64_t j = 0; j < x.cols; ++j) bad += !(std::fabs(row[j]) <= kMaxMagnitude);
            if (bad == 0) continue;
            std::int64_t known = first_bad.load();
            while (i < known && !first_bad.compare_exchange_weak(known, i)) {
            }
            return;
        }
    });
    const std::int64_t i = first_bad.load();
    if (i == x.rows) return;
    const float* row = x.row(i);
    const float* bad = std::find_if(row, row + x.cols, [](float v) { return !(std::fabs(v) <= kMaxMagnitude); });
    char value[32];
    std::snprintf(value, sizeof(value), "%g", static_cast<double>(*bad));
    throw std::invalid_argument(what + ": expected finite values of magnitude up to 1e15, got " + value + " at row " +
                                std::to_string(i) + ", column " + std::to_string(bad - row));
}

void project(View<const float> x, View<const float> weights, const float* bias, float* out, int n_jobs) {
    require(x.cols == weights.cols, "project: x and weights must have the same number of columns");
    for_row_blocks(x.rows, kRowBlock, n_jobs, [&](std::int64_t begin, std::int64_t n, int) {
        project_block(x.row(begin), n, weights, bias, out + begin * weights.rows);
    });
}

void encode(View<const float> x, View<const float> weights, const float* bias, Word* out, int n_jobs) {
    require(x.cols == weights.cols, "encode: x and weights must have the same number of columns");
    const int words = words_for(static_cast<int>(weights.rows));
    std::vector<std::vector<float>> margins(static_cast<std::size_t>(std::max(n_jobs, 1)));
    for_row_blocks(x.rows, kRowBlock, n_jobs, [&](std::int64_t begin, std::int64_t n, int worker) {
        auto& block = margins[static_cast<std::size_t>(worker)];
        block.resize(static_cast<std::size_t>(kRowBlock * weights.rows));
        project_block(x.row(begin), n, weights, bias, block.data());
        for (std::int64_t i = 0; i < n; ++i)
            kernels().pack_signs(block.data() + i * weights.rows, weights.rows, out + (begin + i) * words);
    });
}

void inverse_norms(View<const float> x, float* out, int n_jobs) {
    for_row_blocks(x.rows, kRowBlock, n_jobs, [&](std::int64_t begin, std::int64_t n, int) {
        for (std::int64_t i = begin; i < begin + n; ++i) {
            // In double from the start: a norm must not depend on overflow or underflow of the squares.
            double sum = 0;
            const float* row = x.row(i);
            for (std::int64_t j = 0; j < x.cols; ++j) sum += static_cast<double>(row[j]) * row[j];
            out[i] = sum > 0 ? static_cast<float>(std::min(1.0 / std::sqrt(sum), 3e38)) : 0.0f;
        }
    });
}

void to_half(View<const float> x, Half* out, float* norms, int n_jobs) {
    constexpr float kMost = 65504;
    for_row_blocks(x.rows, kRowBlock, n_jobs, [&](std::int64_t begin, std::int64_t n, int) {
        const float* first = x.row(begin);
        for (std::int64_t i = 0; i < n * x.cols; ++i)
            if (!(std::fabs(first[i]) <= kMost))
                throw std::invalid_argument("float16 vectors: expected magnitudes up to 65504, got " +
                                            std::to_string(first[i]) + " at row " + std::to_string(begin + i / x.cols) +
                                            ", column " + std::to_string(i % x.cols));
        Half* halves = out + begin * x.cols;
        kernels().to_half(first, n * x.cols, halves);
        std::vector<float> zeros(static_cast<std::size_t>(x.cols), 0.0f);
        kernels().l2_tile_half(zeros.data(), 1, halves, n, x.cols, norms + begin, n);
        for (std::int64_t i = begin; i < begin + n; ++i) norms[i] = norms[i] > 0 ? 1.0f / std::sqrt(norms[i]) : 0.0f;
    });
}

void normalize_rows(View<const float> x, float* out, int n_jobs) {
    std::vector<float> inverse(static_cast<std::size_t>(x.rows));
    inverse_norms(x, inverse.data(), n_jobs);
    for_row_blocks(x.rows, kRowBlock, n_jobs, [&](std::int64_t begin, std::int64_t n, int) {
        for (std::int64_t i = begin; i < begin + n; ++i)
            for (std::int64_t j = 0; j < x.cols; ++j)
                out[i * x.cols + j] = x.row(i)[j] * inverse[static_cast<std::size_t>(i)];
    });
}

}  // namespace lshcore
