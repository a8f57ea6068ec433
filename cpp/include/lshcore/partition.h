#pragma once
// What puts rows into buckets: a key a table for each row, and for a query the keys to look into, cheapest first.

#include <span>
#include <variant>
#include <vector>

#include "lshcore/types.h"

namespace lshcore {

/// Everything is one bucket: the exhaustive baseline.
struct OneBucket {};

/// J of a code's bits for each of L tables. Keys of up to 64 bits are the bits themselves (the first position is bit 0);
/// wider ones are named by a 64-bit fingerprint, and whoever uses it compares the full keys with same().
class BitKeys {
   public:
    /// positions (n_tables, key_bits), row-major: which bits of a code of n_bits make each key.
    BitKeys(std::vector<std::int32_t> positions, int n_tables, int key_bits, int n_bits);

    int n_tables() const { return n_tables_; }
    int key_bits() const { return key_bits_; }
    int n_bits() const { return n_bits_; }
    bool wide() const { return key_bits_ > 64; }
    const std::vector<std::int32_t>& positions() const { return positions_; }

    Word key(int table, const Word* code) const;  ///< the key, or its fingerprint if wide()

    /// Orders the full keys of two codes: negative, zero, positive.
    int compare(int table, const Word* a, const Word* b) const;

   private:
    struct Run {  // consecutive bits, cut at word boundaries on both sides
        std::int16_t source_word, target_word;
        std::int8_t source_bit, target_bit;
        Word mask;
    };
    struct FullKey {
        Word words[kMaxKeyBits / 64] = {};
    };

    FullKey full_key(int table, const Word* code) const;

    std::vector<std::int32_t> positions_;
    int n_tables_, key_bits_, n_bits_;
    std::vector<Run> runs_;
    std::vector<std::size_t> first_run_;  // of each table, and the end
};

/// The nearest of k centroids; a query looks into its nearest few.
class ClusterKeys {
   public:
    ClusterKeys(std::vector<float> centroids, std::int64_t n_clusters, std::int64_t dim);

    std::int64_t n_clusters() const { return n_clusters_; }
    std::int64_t dim() const { return dim_; }
    View<const float> centroids() const { return {centroids_.data(), n_clusters_, dim_}; }

    /// keys (n, probes): the nearest clusters of each of n vectors, nearest first, the lower number among equals.
    void nearest(View<const float> x, std::int64_t probes, std::int32_t* keys) const;

   private:
    std::vector<float> centroids_;
    std::vector<float> half_norms_;  // |c|^2 / 2
    std::int64_t n_clusters_, dim_;
};

using Partitioner = std::variant<OneBucket, BitKeys, ClusterKeys>;

int n_tables(const Partitioner& partitioner);

}  // namespace lshcore
