#pragma once
// Hashes that number cells of space: which cell holds a vector, and for a query what other cells would cost.

#include <vector>

#include "lshcore/types.h"

namespace lshcore {

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

}  // namespace lshcore
