#pragma once
// What is left of a row when its centroid is taken off, one sign a dimension in a random rotation, and distances estimated
// from it (RaBitQ: Gao and Long, 2024). Four signs are one table look-up (André, Kermarrec and Le Scouarnec, 2015).

#include <cstdint>
#include <vector>

#include "lshcore/types.h"

namespace lshcore {

/// Rounds of random signs and a Hadamard transform, of vectors filled up with zeros to a power of two.
class Rotation {
   public:
    explicit Rotation(std::int64_t dim);

    std::int64_t dim() const { return dim_; }
    std::int64_t width() const { return width_; }

    /// out (width) = rotated x - origin, both (dim).
    void apply(const float* x, const float* origin, float* out) const;

   private:
    std::int64_t dim_, width_;
    std::vector<float> signs_;  // (rounds, width), scaled
};

/// Coded rows. Signs stand in blocks of 32 rows: those from 4 m on of row j are a half byte, the low one of byte 16 m + j
/// for j < 16, the high one of byte 16 m + j - 16 for the others.
struct ResidualRows {
    const std::uint8_t* codes = nullptr;
    const float* offsets = nullptr;  // |x - q|^2 is about |q - c|^2 + offset - 2 scale <signs, rotated q - mean>
    const float* scales = nullptr;
};

constexpr std::int64_t kResidualBlock = 32;

/// Bytes of the codes of n rows.
constexpr std::int64_t residual_bytes(std::int64_t n, std::int64_t width) {
    return (n + kResidualBlock - 1) / kResidualBlock * width * 4;
}

/// Copies the signs of a row to where all are zero.
void copy_residual(const std::uint8_t* from, std::int64_t from_row, std::uint8_t* to, std::int64_t to_row,
                   std::int64_t width);

/// Codes the rows of one cluster after another.
class ResidualEncoder {
   public:
    /// `mean` (dim): what queries are centred by.
    ResidualEncoder(const Rotation& rotation, const float* mean);

    void begin(const float* centroid);

    /// Writes code, offset and scale of x as row `row`, where the code is zero.
    void encode(const float* x, std::int64_t row, std::uint8_t* codes, float* offsets, float* scales);

   private:
    const Rotation& rotation_;
    const float* mean_;
    const float* centroid_ = nullptr;
    std::vector<float> shift_, rotated_, signs_;
};

/// The centroids of an index that codes its rows, themselves coded as residuals of their mean. What is estimated of them is
/// how soon they are looked into: their squared distance and what is added to that, [0] for distances and [1] for products.
struct ResidualCentroids {
    /// Spreads: the mean squared distance of a cluster's rows from its centroid; sizes: their number.
    ResidualCentroids(View<const float> centroids, const float* mean, const std::vector<float>& spreads,
                      const std::vector<float>& sizes);

    ResidualRows rows(bool by_product) const { return {codes.data(), offsets[by_product].data(), scales.data()}; }

    Rotation rotation;
    std::vector<std::uint8_t> codes;
    std::vector<float> scales, offsets[2], added[2];
    float scale = 0;  // the mean
};

/// A query, rotated and tabulated.
class ResidualQuery {
    static constexpr float kDeviation = 0.6028f;  // of <signs, x> for |x| = 1: sqrt(1 - 2 / pi)

   public:
    void prepare(const Rotation& rotation, const float* q, const float* mean);

    /// out[i] = base + offset - scale * (2 <signs, query> + surplus) of row first + i, for n rows; first % 32 == 0.
    void estimate(const ResidualRows& rows, std::int64_t first, std::int64_t n, float base, float surplus,
                  float* out) const;

    /// The same for rows of a cluster at a squared distance, each less so many standard deviations of its error. Uses
    /// tables of twice the digits where the cluster is near for how far it is from the mean.
    void bound(const ResidualRows& rows, std::int64_t first, std::int64_t n, float distance, float deviations,
               float* out);

    /// The standard deviation of an estimate, of rows whose scale is 1 and where their centroid is the mean.
    float deviation() const { return 2 * kDeviation * length_; }

   private:
    void refine();

    std::vector<float> rotated_;
    std::vector<std::uint8_t> tables_, fine_;  // (width / 4, 16); what the first leave, once it was asked for
    float step_ = 0, low_ = 0;                 // a sum s of entries stands for step * s + low
    float inverse_ = 0, length_ = 0;
    bool refined_ = false;
};

}  // namespace lshcore
