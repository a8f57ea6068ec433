#pragma once
// What puts rows into buckets: a key a table for each row, and for a query the keys to look into, cheapest first.

#include <compare>
#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "lshcore/lattice.h"
#include "lshcore/residual.h"
#include "lshcore/types.h"

namespace lshcore {

/// Everything is one bucket: the exhaustive baseline.
struct OneBucket {};

/// The bits of a key; bit j of it is bit j % 64 of word j / 64.
struct Key {
    Word words[kMaxKeyBits / 64] = {};

    void flip(int bit, Word pattern = 1) { flip_bits(words, bit, pattern); }
    auto operator<=>(const Key&) const = default;
};

/// J of a code's bits for each of L tables. Tables find a bucket by name: keys of up to 64 bits are their own names, wider
/// ones have a 64-bit fingerprint, and whoever looks one up compares the keys themselves.
class BitKeys {
   public:
    /// positions (n_tables, key_bits), row-major: which bits of a code of n_bits make each key.
    BitKeys(std::vector<std::int32_t> positions, int n_tables, int key_bits, int n_bits);

    int n_tables() const { return n_tables_; }
    int key_bits() const { return key_bits_; }
    int n_bits() const { return n_bits_; }
    bool wide() const { return key_bits_ > 64; }
    const std::vector<std::int32_t>& positions() const { return positions_; }

    Key key(int table, const Word* code) const;
    Word name(const Key& key) const;

   private:
    struct Run {  // consecutive bits, cut at word boundaries on both sides
        std::int16_t source_word, target_word;
        std::int8_t source_bit, target_bit;
        Word mask;
    };
    std::vector<std::int32_t> positions_;
    int n_tables_, key_bits_, n_bits_;
    std::vector<Run> runs_;
    std::vector<std::size_t> first_run_;  // of each table, and the end
};

/// BitKeys made of whole hashes of a lattice. Rows are filed by their codes, queries are located by their vectors.
class LatticeKeys {
   public:
    LatticeKeys(BitKeys bits, std::shared_ptr<const Lattice> lattice);

    const BitKeys& bits() const { return bits_; }
    const Lattice& lattice() const { return *lattice_; }

   private:
    BitKeys bits_;
    std::shared_ptr<const Lattice> lattice_;
};

/// The nearest of k centroids; a query looks into its nearest few.
class ClusterKeys {
   public:
    /// With spreads (of each cluster the mean squared distance from its centroid) and sizes (in rows, of a sample) rows are
    /// coded by what is left of them when their centroid is taken off.
    ClusterKeys(std::vector<float> centroids, std::int64_t n_clusters, std::int64_t dim,
                const std::vector<float>& spreads = {}, const std::vector<float>& sizes = {});

    std::int64_t n_clusters() const { return n_clusters_; }
    std::int64_t dim() const { return dim_; }
    View<const float> centroids() const { return {centroids_.data(), n_clusters_, dim_}; }

    /// keys (n, probes): the nearest clusters of each of n vectors, nearest first, the lower number among equals.
    void nearest(View<const float> x, std::int64_t probes, std::int32_t* keys) const;

    const std::vector<float>& mean() const { return mean_; }
    const std::vector<float>& centred() const { return centred_; }
    const std::vector<float>& half_norms() const { return half_norms_; }
    const ResidualCentroids* residuals() const { return residuals_.get(); }

   private:
    void subtract_mean(View<const float> x, float* out) const;

    std::vector<float> centroids_;
    // Distances are compared as |c|^2 / 2 - <x, c>, which loses its digits far from the origin: both are taken from the
    // centroids' mean.
    std::vector<float> mean_;        // (dim,)
    std::vector<float> centred_;     // (n_clusters, dim)
    std::vector<float> half_norms_;  // of those
    std::int64_t n_clusters_, dim_;
    std::shared_ptr<const ResidualCentroids> residuals_;  // if rows are coded
};

using Partitioner = std::variant<OneBucket, BitKeys, ClusterKeys, LatticeKeys>;

/// The bits that rows are filed by, or null.
const BitKeys* bit_keys(const Partitioner& partitioner);

int n_tables(const Partitioner& partitioner);

}  // namespace lshcore
