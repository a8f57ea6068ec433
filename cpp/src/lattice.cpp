#include "lshcore/lattice.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>
#include <string>

#include "least.h"
#include "lshcore/codes.h"
#include "lshcore/error.h"
#include "lshcore/kernels.h"
#include "lshcore/parallel.h"

namespace lshcore {
namespace {

bool is_power_of_two(std::int64_t n) { return n > 0 && std::has_single_bit(static_cast<std::uint64_t>(n)); }

int log2_of(std::int64_t n) { return std::bit_width(static_cast<std::uint64_t>(n)) - 1; }

/// The Walsh-Hadamard transform in natural order, unscaled. Every pass is the same: it deals out the sums and differences
/// of the two halves in turn, so that after log2 n passes all are in place. Vector units like that better than strides.
void hadamard(std::vector<float>& x, std::vector<float>& scratch) {
    const std::size_t n = x.size(), half = n / 2;
    for (std::size_t pass = 1; pass < n; pass *= 2) {
        const float* __restrict from = x.data();
        float* __restrict to = scratch.data();
        for (std::size_t i = 0; i < half; ++i) {
            to[2 * i] = from[i] + from[i + half];
            to[2 * i + 1] = from[i] - from[i + half];
        }
        x.swap(scratch);
    }
}

}  // namespace

Lattice::Lattice(int n_hashes, int hash_bits, std::int64_t dim)
    : n_hashes_(n_hashes), hash_bits_(hash_bits), dim_(dim) {
    require(n_hashes >= 1 && dim >= 1, "Lattice: at least one hash and one dimension are needed");
    if (hash_bits < 1 || hash_bits > kMaxHashBits)
        throw std::invalid_argument("Lattice: a hash must have 1 to " + std::to_string(kMaxHashBits) + " bits, got " +
                                    std::to_string(hash_bits));
    check_n_bits(n_hashes * hash_bits);
}

void Lattice::encode(View<const float> x, Word* out, int n_jobs) const {
    require(x.cols == dim_, "Lattice.encode: the vectors have another dimension");
    constexpr std::int64_t kBlock = 16;
    parallel_for(ceil_div(x.rows, kBlock), n_jobs, [&](std::int64_t block, int) {
        const std::int64_t first = block * kBlock;
        locate({x.row(first), std::min(kBlock, x.rows - first), dim_}, out + first * words_for(n_bits()), 0, nullptr);
    });
}

CrossPolytope::CrossPolytope(View<const std::int8_t> signs, int rotations, std::int64_t vertices,
                             std::vector<float> shift)
    : Lattice(static_cast<int>(signs.rows), log2_of(vertices) + 1, static_cast<std::int64_t>(shift.size())),
      rotations_(rotations),
      width_(rotations >= 1 ? signs.cols / rotations : 0),
      vertices_(vertices),
      shift_(std::move(shift)) {
    require(rotations >= 1 && signs.cols == rotations * width_ && is_power_of_two(width_) && width_ >= dim(),
            "CrossPolytope: signs must be (n_hashes, rotations * a power of two of at least the dimension)");
    require(is_power_of_two(vertices) && vertices <= width_,
            "CrossPolytope: the vertices must be a power of two of at most the width");
    const float scale = std::ldexp(1.0f, -(log2_of(width_) / 2));
    for (std::int64_t i = 0; i < signs.rows * signs.cols; ++i) {
        require(signs.data[i] == 1 || signs.data[i] == -1, "CrossPolytope: signs must be 1 or -1");
        signs_.push_back(signs.data[i] * scale);
    }
}

void CrossPolytope::rotate(std::vector<float>& x, std::vector<float>& scratch, int hash) const {
    const float* signs = signs_.data() + std::int64_t{hash} * rotations_ * width_;
    for (int round = 0; round < rotations_; ++round, signs += width_) {
        for (std::size_t j = 0; j < x.size(); ++j) x[j] *= signs[j];
        hadamard(x, scratch);
    }
}

void CrossPolytope::locate(View<const float> x, Word* codes, std::int64_t n, Alternative* out) const {
    std::vector<float> shifted(static_cast<std::size_t>(width_), 0.0f), rotated(shifted.size()),
        scratch(shifted.size());
    std::vector<std::uint64_t> order(static_cast<std::size_t>(n > 0 ? vertices_ : 0));
    const auto value = [&](std::int32_t index, bool opposite) {
        const bool positive = rotated[static_cast<std::size_t>(index)] >= 0;
        return static_cast<Word>(index) | Word{positive != opposite} << (hash_bits() - 1);
    };
    const std::int64_t words = words_for(n_bits());
    std::fill_n(codes, x.rows * words, Word{0});
    for (std::int64_t i = 0; i < x.rows; ++i) {
        for (std::int64_t j = 0; j < dim(); ++j)
            shifted[static_cast<std::size_t>(j)] = x.row(i)[j] - shift_[static_cast<std::size_t>(j)];
        for (int h = 0; h < n_hashes(); ++h) {
            rotated = shifted;
            rotate(rotated, scratch, h);
            const float* r = rotated.data();
            const auto nearest = first_of_least(r, vertices_, [](float v) { return -std::fabs(v); });
            const Word own = value(nearest, false);
            flip_bits(codes + i * words, std::int64_t{h} * hash_bits(), own);
            if (n == 0) continue;
            // Largest coordinates first, then lowest: the bits of floats that are not negative order as the floats do.
            for (std::uint32_t v = 0; v < order.size(); ++v)
                order[v] = std::uint64_t{~std::bit_cast<std::uint32_t>(std::fabs(r[v]))} << 32 | v;
            const auto sorted = order.begin() + std::min(n + 1, vertices_);
            std::nth_element(order.begin(), sorted - 1, order.end());
            std::sort(order.begin(), sorted);
            const double largest = std::fabs(r[nearest]);
            for (std::int64_t a = 1; a <= n; ++a) {
                // First the vertices on the vector's side, then the opposite ones, of the smallest coordinate first.
                const bool opposite = a >= vertices_;
                const auto vertex =
                    static_cast<std::int32_t>(order[static_cast<std::size_t>(opposite ? 2 * vertices_ - 1 - a : a)]);
                const double size = std::fabs(r[vertex]), lacks = largest - (opposite ? -size : size);
                *out++ = {lacks * lacks, static_cast<std::uint16_t>(value(vertex, opposite) ^ own)};
            }
        }
    }
}

PStable::PStable(View<const float> weights, std::vector<float> bias, int hash_bits)
    : Lattice(static_cast<int>(weights.rows), hash_bits, weights.cols),
      weights_(weights.data, weights.data + weights.rows * weights.cols),
      bias_(std::move(bias)) {
    require(bias_.size() == static_cast<std::size_t>(n_hashes()), "PStable: bias must have a number for each hash");
}

void PStable::locate(View<const float> x, Word* codes, std::int64_t n, Alternative* out) const {
    std::vector<float> places(static_cast<std::size_t>(x.rows * n_hashes()));
    kernels().dot_tile(x.data, x.rows, weights_.data(), n_hashes(), dim(), places.data(), n_hashes());
    const std::int64_t words = words_for(n_bits());
    std::fill_n(codes, x.rows * words, Word{0});
    const std::int64_t first = -(std::int64_t{1} << (hash_bits() - 1)), last = -first - 1;
    for (std::int64_t i = 0; i < x.rows; ++i)
        for (int h = 0; h < n_hashes(); ++h) {
            const float place =
                places[static_cast<std::size_t>(i * n_hashes() + h)] + bias_[static_cast<std::size_t>(h)];
            const auto own = static_cast<std::int64_t>(
                std::clamp(std::floor(place), static_cast<float>(first), static_cast<float>(last)));
            flip_bits(codes + i * words, std::int64_t{h} * hash_bits(), static_cast<Word>(own - first));
            for (std::int64_t a = 0, below = own - 1, above = own + 1; a < n; ++a) {
                const double down = place - static_cast<double>(below + 1), up = static_cast<double>(above) - place;
                const bool descend = above > last || (below >= first && down <= up);
                const double distance = descend ? down : up;
                const std::int64_t cell = descend ? below-- : above++;
                *out++ = {distance * distance, static_cast<std::uint16_t>((cell - first) ^ (own - first))};
            }
        }
}

}  // namespace lshcore
