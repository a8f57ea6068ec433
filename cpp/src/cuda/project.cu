// Margins and codes, in the summation order of kernels.h: 16 lanes, multiplied and then added, the lanes as a tree.

#include "lshcore/project.h"

#include "device.h"
#include "lanes.cuh"
#include "lshcore/cuda.h"
#include "lshcore/error.h"

namespace lshcore::cuda {
namespace {

/// A warp has 32 bits of one row; either result may be null. `words`: of a code.
__global__ void __launch_bounds__(kTile* kTileRows)
    margins(const float* x, std::int64_t n, std::int64_t d, const float* weights, const float* bias,
            std::int64_t n_bits, std::int64_t words, float* out, std::uint32_t* codes) {
    __shared__ DotTile tile;
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kTileRows + threadIdx.y,
                       first = static_cast<std::int64_t>(blockIdx.y) * kTile, bit = first + threadIdx.x;
    float margin = tile.dot(x, n, row, nullptr, weights, n_bits, first, d);
    const bool real = row < n && bit < n_bits;
    if (real) margin = __fadd_rn(margin, bias[bit]);
    if (real && out != nullptr) out[row * n_bits + bit] = margin;
    const unsigned votes = __ballot_sync(~0u, real && margin >= 0);
    if (codes != nullptr && threadIdx.x == 0 && row < n) codes[row * 2 * words + blockIdx.y] = votes;
}

/// One of the results is null. Rows that are on the host come and go in pieces.
void run(View<const float> x, View<const float> weights, const float* bias, float* out, Word* codes) {
    require(x.cols == weights.cols, "cuda::project: x and weights must have the same number of columns");
    const std::int64_t n_bits = weights.rows, words = words_for(static_cast<int>(n_bits));
    const Input<float> w(weights), b(bias, n_bits);
    const auto a_row = static_cast<std::size_t>(x.cols + n_bits) * sizeof(float);
    const std::int64_t piece = std::max<std::int64_t>(1, static_cast<std::int64_t>(free_bytes() / 4 / a_row));
    for (std::int64_t first = 0; first < x.rows; first += piece) {
        const std::int64_t n = std::min(piece, x.rows - first);
        const Input<float> rows(x.row(first), n * x.cols);
        const Output<float> margins_out(out == nullptr ? nullptr : out + first * n_bits, n * n_bits);
        const Output<Word> codes_out(codes == nullptr ? nullptr : codes + first * words, n * words);
        launch(margins, dim3(blocks_for(n, kTileRows), static_cast<unsigned>(2 * words)), dim3(kTile, kTileRows),
               rows.data(), n, x.cols, w.data(), b.data(), n_bits, words, margins_out.data(),
               reinterpret_cast<std::uint32_t*>(codes_out.data()));
        margins_out.deliver();
        codes_out.deliver();
    }
    wait();
}

}  // namespace

void project(View<const float> x, View<const float> weights, const float* bias, float* out) {
    run(x, weights, bias, out, nullptr);
}

void encode(View<const float> x, View<const float> weights, const float* bias, Word* out) {
    run(x, weights, bias, nullptr, out);
}

}  // namespace lshcore::cuda
