#include "lshcore/partition.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <string>

#include "lshcore/codes.h"
#include "lshcore/error.h"
#include "lshcore/kernels.h"
#include "lshcore/parallel.h"

namespace lshcore {
namespace {

/// Invertible, and every input bit moves every output bit (the finaliser of MurmurHash3).
Word mix(Word x) {
    x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdu;
    x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53u;
    return x ^ (x >> 33);
}

/// Index of the first value of the least cost.
template <class Cost>
std::int32_t first_of_least(const float* values, std::int64_t n, Cost cost) {
    float lanes[16];  // sixteen running minima, which the compiler keeps in registers
    std::fill(lanes, lanes + 16, cost(values[0]));
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; ++j) lanes[j] = cost(values[i + j]) < lanes[j] ? cost(values[i + j]) : lanes[j];
    float least = *std::min_element(lanes, lanes + 16);
    for (; i < n; ++i) least = std::min(least, cost(values[i]));
    return static_cast<std::int32_t>(std::find_if(values, values + n, [&](float v) { return cost(v) == least; }) -
                                     values);
}

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

BitKeys::BitKeys(std::vector<std::int32_t> positions, int n_tables, int key_bits, int n_bits)
    : positions_(std::move(positions)), n_tables_(n_tables), key_bits_(key_bits), n_bits_(n_bits) {
    check_n_bits(n_bits);
    require(n_tables >= 1, "BitKeys: n_tables must be at least 1");
    if (key_bits < 1 || key_bits > kMaxKeyBits)
        throw std::invalid_argument("BitKeys: key_bits must be 1 to " + std::to_string(kMaxKeyBits) + ", got " +
                                    std::to_string(key_bits));
    require(positions_.size() == static_cast<std::size_t>(n_tables) * static_cast<std::size_t>(key_bits),
            "BitKeys: positions must be (n_tables, key_bits)");
    for (int t = 0; t < n_tables; ++t) {
        std::vector<std::int32_t> mine(positions_.begin() + std::int64_t{t} * key_bits,
                                       positions_.begin() + std::int64_t{t + 1} * key_bits);
        std::sort(mine.begin(), mine.end());
        require(std::adjacent_find(mine.begin(), mine.end()) == mine.end(),
                "BitKeys: the positions of a table must be distinct");
        first_run_.push_back(runs_.size());
        for (int j = 0; j < key_bits;) {
            const std::int32_t* at = positions_.data() + std::int64_t{t} * key_bits + j;
            if (*at < 0 || *at >= n_bits)
                throw std::invalid_argument("BitKeys: positions must be 0 to " + std::to_string(n_bits - 1) + ", got " +
                                            std::to_string(*at));
            int length = 1;
            while (j + length < key_bits && at[length] == *at + length && at[length] % 64 != 0 &&
                   (j + length) % 64 != 0)
                ++length;
            if (*at + length > n_bits) length = n_bits - *at;
            const Word mask = length == 64 ? ~Word{0} : (Word{1} << length) - 1;
            runs_.push_back({static_cast<std::int16_t>(*at / 64), static_cast<std::int16_t>(j / 64),
                             static_cast<std::int8_t>(*at % 64), static_cast<std::int8_t>(j % 64), mask});
            j += length;
        }
    }
    first_run_.push_back(runs_.size());
}

Key BitKeys::key(int table, const Word* code) const {
    Key key;
    const auto t = static_cast<std::size_t>(table);
    for (std::size_t r = first_run_[t]; r < first_run_[t + 1]; ++r) {
        const Run& run = runs_[r];
        key.words[run.target_word] |= ((code[run.source_word] >> run.source_bit) & run.mask) << run.target_bit;
    }
    return key;
}

Word BitKeys::name(const Key& key) const {
    if (!wide()) return key.words[0];
    Word fingerprint = 0;
    for (int w = 0; w < words_for(key_bits_); ++w) fingerprint = mix(fingerprint ^ key.words[w]);
    return fingerprint;
}

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

LatticeKeys::LatticeKeys(BitKeys bits, std::shared_ptr<const Lattice> lattice)
    : bits_(std::move(bits)), lattice_(std::move(lattice)) {
    require(lattice_ != nullptr && bits_.n_bits() == lattice_->n_bits(),
            "LatticeKeys: the keys are for codes of another width than the lattice's");
    const int unit = lattice_->hash_bits();
    bool whole = bits_.key_bits() % unit == 0;
    for (std::size_t i = 0; whole && i < bits_.positions().size(); ++i) {
        const auto place = static_cast<std::int32_t>(i % static_cast<std::size_t>(unit));
        const std::int32_t at = bits_.positions()[i];
        whole = at % unit == place && (place == 0 || at == bits_.positions()[i - 1] + 1);
    }
    if (!whole)
        throw std::invalid_argument("LatticeKeys: a key must be made of whole hashes, of " + std::to_string(unit) +
                                    " bits each");
}

const BitKeys* bit_keys(const Partitioner& partitioner) {
    if (const auto* cells = std::get_if<LatticeKeys>(&partitioner)) return &cells->bits();
    return std::get_if<BitKeys>(&partitioner);
}

ClusterKeys::ClusterKeys(std::vector<float> centroids, std::int64_t n_clusters, std::int64_t dim)
    : centroids_(std::move(centroids)), n_clusters_(n_clusters), dim_(dim) {
    require(n_clusters >= 1 && dim >= 1, "ClusterKeys: centroids must have at least one row and one column");
    require(centroids_.size() == static_cast<std::size_t>(n_clusters * dim),
            "ClusterKeys: centroids must be (n_clusters, dim)");
    mean_.resize(static_cast<std::size_t>(dim));
    for (std::int64_t j = 0; j < dim; ++j) {
        double sum = 0;
        for (std::int64_t c = 0; c < n_clusters; ++c) sum += centroids_[static_cast<std::size_t>(c * dim + j)];
        mean_[static_cast<std::size_t>(j)] = static_cast<float>(sum / static_cast<double>(n_clusters));
    }
    centred_.resize(centroids_.size());
    subtract_mean(this->centroids(), centred_.data());
    half_norms_.resize(static_cast<std::size_t>(n_clusters));
    for (std::int64_t c = 0; c < n_clusters; ++c) {
        const float* row = centred_.data() + c * dim;
        float& norm = half_norms_[static_cast<std::size_t>(c)];
        kernels().dot_tile(row, 1, row, 1, dim, &norm, 1);
        norm *= 0.5f;
    }
}

void ClusterKeys::subtract_mean(View<const float> x, float* out) const {
    for (std::int64_t i = 0; i < x.rows; ++i)
        for (std::int64_t j = 0; j < dim_; ++j) out[i * dim_ + j] = x.row(i)[j] - mean_[static_cast<std::size_t>(j)];
}

void ClusterKeys::nearest(View<const float> x, std::int64_t probes, std::int32_t* keys) const {
    constexpr std::int64_t kBlock = 64;
    std::vector<float> scores(static_cast<std::size_t>(kBlock * n_clusters_));
    std::vector<std::int32_t> order(static_cast<std::size_t>(n_clusters_));
    std::vector<float> centred(static_cast<std::size_t>(kBlock * dim_));
    for (std::int64_t begin = 0; begin < x.rows; begin += kBlock) {
        const std::int64_t n = std::min(kBlock, x.rows - begin);
        subtract_mean({x.row(begin), n, dim_}, centred.data());
        for (std::int64_t c = 0; c < n_clusters_; c += kBlock)
            kernels().dot_tile(centred.data(), n, centred_.data() + c * dim_, std::min(kBlock, n_clusters_ - c), dim_,
                               scores.data() + c, n_clusters_);
        for (std::int64_t i = 0; i < n; ++i) {
            // |c|^2 / 2 - <x, c>: half the squared distance, less what is the same for every cluster.
            float* score = scores.data() + i * n_clusters_;
            for (std::int64_t c = 0; c < n_clusters_; ++c)
                score[c] = half_norms_[static_cast<std::size_t>(c)] - score[c];
            std::int32_t* out = keys + (begin + i) * probes;
            if (probes == 1) {
                *out = first_of_least(score, n_clusters_, [](float s) { return s; });
                continue;
            }
            std::iota(order.begin(), order.end(), 0);
            std::partial_sort_copy(order.begin(), order.end(), out, out + probes, [&](std::int32_t a, std::int32_t b) {
                return score[a] < score[b] || (score[a] == score[b] && a < b);
            });
        }
    }
}

int n_tables(const Partitioner& partitioner) {
    if (const auto* bits = bit_keys(partitioner)) return bits->n_tables();
    return std::holds_alternative<ClusterKeys>(partitioner) ? 1 : 0;
}

}  // namespace lshcore
