#include "lshcore/residual.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "lshcore/error.h"
#include "lshcore/kernels.h"
#include "lshcore/random.h"

namespace lshcore {
namespace {

// Codes that were saved are of this rotation: another one is another format.
constexpr int kRounds = 3;
constexpr std::uint64_t kSeed = 0x7265736964756121u;
constexpr std::int64_t kLeastWidth = 256;  // of few dimensions more signs are needed

// The nearest rows of a wide cluster are farther off than its centroid, and those of a large one take longer to look
// through: such clusters wait. Shares of the spread, and of the mean spread for each factor of e in size; measured: a third
// of the rows for the same recall where clusters differ, no more where they do not.
constexpr double kBySpread = 0.2, kBySize = 0.05;

float dot(const float* a, const float* b, std::int64_t n) {
    float sum;
    kernels().dot_tile(a, 1, b, 1, n, &sum, 1);
    return sum;
}

}  // namespace

Rotation::Rotation(std::int64_t dim)
    : dim_(dim),
      width_(static_cast<std::int64_t>(
          std::bit_ceil(static_cast<std::uint64_t>(std::clamp<std::int64_t>(dim, kLeastWidth, kMaxBits))))) {
    require(dim >= 1 && dim <= kMaxBits, "Rotation: 1 to 4096 dimensions are needed");
    Random random(kSeed);
    const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(width_)));
    for (std::int64_t i = 0; i < kRounds * width_; ++i) signs_.push_back(random.next() >> 63 != 0 ? scale : -scale);
}

void Rotation::apply(const float* x, const float* origin, float* out) const {
    for (std::int64_t j = 0; j < dim_; ++j) out[j] = x[j] - origin[j];
    std::fill(out + dim_, out + width_, 0.0f);
    for (int round = 0; round < kRounds; ++round) kernels().hadamard(out, signs_.data() + round * width_, width_);
}

void copy_residual(const std::uint8_t* from, std::int64_t from_row, std::uint8_t* to, std::int64_t to_row,
                   std::int64_t width) {
    const auto place = [width](std::int64_t row) { return row / kResidualBlock * width * 4 + row % 16; };
    const int down = from_row % kResidualBlock < 16 ? 0 : 4, up = to_row % kResidualBlock < 16 ? 0 : 4;
    from += place(from_row);
    to += place(to_row);
    for (std::int64_t m = 0; m < width / 4; ++m)
        to[16 * m] |= static_cast<std::uint8_t>((from[16 * m] >> down & 15) << up);
}

ResidualEncoder::ResidualEncoder(const Rotation& rotation, const float* mean)
    : rotation_(rotation),
      mean_(mean),
      shift_(static_cast<std::size_t>(rotation.width())),
      rotated_(shift_),
      signs_(shift_) {}

void ResidualEncoder::begin(const float* centroid) {
    centroid_ = centroid;
    rotation_.apply(centroid, mean_, shift_.data());
}

void ResidualEncoder::encode(const float* x, std::int64_t row, std::uint8_t* codes, float* offsets, float* scales) {
    const std::int64_t width = rotation_.width();
    rotation_.apply(x, centroid_, rotated_.data());
    std::uint8_t* at = codes + row / kResidualBlock * width * 4 + row % 16;
    const int up = row % kResidualBlock < 16 ? 0 : 4;
    for (std::int64_t j = 0; j < width; ++j) {
        const bool positive = rotated_[static_cast<std::size_t>(j)] >= 0;
        signs_[static_cast<std::size_t>(j)] = positive ? 1.0f : -1.0f;
        at[j / 4 * 16] |= static_cast<std::uint8_t>(positive << (j % 4 + up));
    }
    const float squares = dot(rotated_.data(), rotated_.data(), width),
                sum = dot(signs_.data(), rotated_.data(), width);
    const float scale = sum > 0 ? squares / sum : 0;
    scales[row] = scale;
    offsets[row] = squares + 2 * scale * dot(signs_.data(), shift_.data(), width);
}

void ResidualQuery::prepare(const Rotation& rotation, const float* q, const float* mean) {
    const auto width = static_cast<std::size_t>(rotation.width());
    rotated_.resize(width);
    tables_.resize(width * 4);
    rotation.apply(q, mean, rotated_.data());
    // Of four signs the least sum is -(|a| + |b| + |c| + |d|); entries count from there, in 63 steps for the widest.
    float widest = 0, low = 0;
    for (std::size_t j = 0; j < width; j += 4) {
        const float sum = (std::abs(rotated_[j]) + std::abs(rotated_[j + 1])) +
                          (std::abs(rotated_[j + 2]) + std::abs(rotated_[j + 3]));
        widest = std::max(widest, sum);
        low += sum;
    }
    inverse_ = widest > 0 ? 31.5f / widest : 0;
    kernels().residual_tables(rotated_.data(), rotation.width(), inverse_, tables_.data());
    step_ = widest / 31.5f * 2;
    low_ = -2 * low;
    length_ = std::sqrt(dot(rotated_.data(), rotated_.data(), rotation.width()));
    refined_ = false;
}

ResidualCentroids::ResidualCentroids(View<const float> centroids, const float* mean, const std::vector<float>& spreads,
                                     const std::vector<float>& sizes)
    : rotation(centroids.cols),
      codes(static_cast<std::size_t>(residual_bytes(centroids.rows, rotation.width()))),
      scales(static_cast<std::size_t>(centroids.rows)),
      offsets{scales, scales},
      added{scales, scales} {
    ResidualEncoder encoder(rotation, mean);
    encoder.begin(mean);
    double n = 0, sum = 0;
    for (std::size_t c = 0; c < sizes.size(); ++c) {
        n += double{sizes[c]};
        sum += double{sizes[c]} * double{spreads[c]};
    }
    const double mean_spread = n > 0 ? sum / n : 0;
    for (std::size_t c = 0; c < sizes.size(); ++c) {
        const float* const row = centroids.row(static_cast<std::int64_t>(c));
        encoder.encode(row, static_cast<std::int64_t>(c), codes.data(), offsets[0].data(), scales.data());
        added[0][c] = static_cast<float>(kBySpread * double{spreads[c]} +
                                         kBySize * mean_spread * std::log(std::max(1.0, double{sizes[c]})));
        added[1][c] = added[0][c] - (dot(row, row, centroids.cols) + spreads[c]);  // the mean square of a row's length
        offsets[1][c] = offsets[0][c] + added[1][c];
        offsets[0][c] += added[0][c];
    }
    scale = std::accumulate(scales.begin(), scales.end(), 0.0f) / static_cast<float>(scales.size());
}

void ResidualQuery::estimate(const ResidualRows& rows, std::int64_t first, std::int64_t n, float base, float surplus,
                             float* out) const {
    const auto n_tables = static_cast<std::int64_t>(tables_.size()) / 16;
    kernels().residual_estimates(tables_.data(), n_tables, rows.codes + first * n_tables / 2, n, step_, low_ + surplus,
                                 base, rows.offsets + first, rows.scales + first, out);
}

void ResidualQuery::refine() {
    fine_.resize(tables_.size());
    for (std::size_t t = 0; t < tables_.size(); ++t) {
        float value = 0;
        for (std::size_t b = 0; b < 4; ++b) {
            const float x = 2 * rotated_[t / 16 * 4 + b];
            value += (t >> b & 1) != 0 ? std::max(x, 0.0f) : std::max(-x, 0.0f);
        }
        const float left = value * inverse_ - static_cast<float>(tables_[t]);  // from -1/2 to 1/2, but for rounding
        fine_[t] = static_cast<std::uint8_t>(std::clamp(std::nearbyint((left + 0.5f) * 63), 0.0f, 63.0f));
    }
    refined_ = true;
}

void ResidualQuery::bound(const ResidualRows& rows, std::int64_t first, std::int64_t n, float distance,
                          float deviations, float* out) {
    // The error counts twice, and that of an entry is even within a step.
    const auto n_tables = static_cast<std::int64_t>(tables_.size()) / 16;
    const bool fine = 64 * distance < length_ * length_;
    const float step = fine ? step_ / 63 : step_;
    const float variance = 4 * kDeviation * kDeviation * distance + step * step / 12 * static_cast<float>(n_tables);
    estimate(rows, first, n, distance, deviations * std::sqrt(variance), out);
    if (!fine) return;
    if (!refined_) refine();
    kernels().residual_estimates(fine_.data(), n_tables, rows.codes + first * n_tables / 2, n, step,
                                 -step_ / 2 * static_cast<float>(n_tables), 0, out, rows.scales + first, out);
}

}  // namespace lshcore
