#pragma once
// What puts rows into buckets: a key a table for each row, and for a query the keys to look into, cheapest first.

#include <compare>
#include <memory>
#include <span>
#include <variant>
#include <vector>

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

/// A value that a hash of the query might have had: the bits in which it differs from the query's own, and what looking
/// there costs.
struct Alternative {
    double cost;
    std::uint16_t pattern;
};

/// Hashes that number cells of space in hash_bits bits each, one after the other in a code; every number is a cell.
class Lattice {
   public:
    static constexpr int kMaxHashBits = 16;

    virtual ~Lattice() = default;

    int n_hashes() const { return n_hashes_; }
    int hash_bits() const { return hash_bits_; }
    int n_bits() const { return n_hashes_ * hash_bits_; }
    std::int64_t dim() const { return dim_; }
    std::int64_t most_alternatives() const { return (std::int64_t{1} << hash_bits_) - 1; }

    /// Codes (n, words) of vectors (n, dim), the same for any threads and instruction set.
    void encode(View<const float> x, Word* out, int n_jobs) const;

    /// Codes (m, words) of m vectors and, of each of their hashes, the n cheapest alternatives, (m, n_hashes, n), costs
    /// rising; n is most_alternatives() at the most.
    virtual void locate(View<const float> x, Word* codes, std::int64_t n, Alternative* out) const = 0;

   protected:
    Lattice(int n_hashes, int hash_bits, std::int64_t dim);

   private:
    int n_hashes_, hash_bits_;
    std::int64_t dim_;
};

/// Cross-polytope hashing (Andoni et al., 2015): the vertex +-e_i nearest to the rotated vector. The rotation is made of
/// rounds of random signs and a Walsh-Hadamard transform, which only adds, in a fixed order. A hash is i, and above it a
/// bit that is 1 where coordinate i is not negative. Another vertex costs the square of what it lacks to the nearest.
class CrossPolytope : public Lattice {
   public:
    /// signs (n_hashes, rotations, width) of +-1, the width a power of two of at least dim; vertices are of the first
    /// `vertices` coordinates, a power of two again; shift (dim) is subtracted from every vector.
    CrossPolytope(View<const std::int8_t> signs, int rotations, std::int64_t vertices, std::vector<float> shift);

    void locate(View<const float> x, Word* codes, std::int64_t n, Alternative* out) const override;

   private:
    void rotate(std::vector<float>& x, std::vector<float>& scratch, int hash) const;

    int rotations_;
    std::int64_t width_, vertices_;
    std::vector<float> signs_;  // with a power of two in them that keeps the coordinates about as large
    std::vector<float> shift_;
};

/// p-stable hashing (Datar et al., 2004): which cell of width 1 holds <w, x> + bias. Cells -2^(b-1) to 2^(b-1) - 1 are
/// numbered from 0 on, and the outermost two take what lies beyond. Another cell costs the square of the distance to its
/// nearer boundary (Lv et al., 2007, who look no further than the neighbours).
class PStable : public Lattice {
   public:
    /// weights (n_hashes, dim) and bias (n_hashes) in units of a cell.
    PStable(View<const float> weights, std::vector<float> bias, int hash_bits);

    void locate(View<const float> x, Word* codes, std::int64_t n, Alternative* out) const override;

   private:
    std::vector<float> weights_, bias_;
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
    ClusterKeys(std::vector<float> centroids, std::int64_t n_clusters, std::int64_t dim);

    std::int64_t n_clusters() const { return n_clusters_; }
    std::int64_t dim() const { return dim_; }
    View<const float> centroids() const { return {centroids_.data(), n_clusters_, dim_}; }

    /// keys (n, probes): the nearest clusters of each of n vectors, nearest first, the lower number among equals.
    void nearest(View<const float> x, std::int64_t probes, std::int32_t* keys) const;

   private:
    void subtract_mean(View<const float> x, float* out) const;

    std::vector<float> centroids_;
    // Distances are compared as |c|^2 / 2 - <x, c>, which loses its digits far from the origin: both are taken from the
    // centroids' mean.
    std::vector<float> mean_;        // (dim,)
    std::vector<float> centred_;     // (n_clusters, dim)
    std::vector<float> half_norms_;  // of those
    std::int64_t n_clusters_, dim_;
};

using Partitioner = std::variant<OneBucket, BitKeys, ClusterKeys, LatticeKeys>;

/// The bits that rows are filed by, or null.
const BitKeys* bit_keys(const Partitioner& partitioner);

int n_tables(const Partitioner& partitioner);

}  // namespace lshcore
