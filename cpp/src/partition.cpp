#include "lshcore/partition.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "least.h"
#include "lshcore/codes.h"
#include "lshcore/error.h"
#include "lshcore/kernels.h"

namespace lshcore {
namespace {

/// Invertible, and every input bit moves every output bit (the finaliser of MurmurHash3).
Word mix(Word x) {
    x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdu;
    x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53u;
    return x ^ (x >> 33);
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

ClusterKeys::ClusterKeys(std::vector<float> centroids, std::int64_t n_clusters, std::int64_t dim,
                         const std::vector<float>& spreads, const std::vector<float>& sizes)
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
    if (spreads.empty()) return;
    require(spreads.size() == half_norms_.size() && sizes.size() == half_norms_.size(),
            "ClusterKeys: a spread and a size for each cluster are needed");
    residuals_ = std::make_shared<const ResidualCentroids>(this->centroids(), mean_.data(), spreads, sizes);
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
