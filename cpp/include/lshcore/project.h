#pragma once
// Linear projections and their signs, and the other per-row float work, in the fixed summation order of kernels.h:
// no result depends on the batch, the threads or the instruction set.

#include <string>

#include "lshcore/types.h"

namespace lshcore {

/// Largest magnitude accepted anywhere: its products and sums stay finite in float32.
inline constexpr float kMaxMagnitude = 1e15f;

/// Throws "<what>: ... row r, column c" at the first value that is NaN, infinite or beyond kMaxMagnitude.
void check_finite(View<const float> x, const std::string& what, int n_jobs);

/// out = x W^T + bias, with x (n, d), W (n_bits, d), bias (n_bits,), out (n, n_bits).
void project(View<const float> x, View<const float> weights, const float* bias, float* out, int n_jobs);

/// The signs (>= 0) of project, packed; the margins are never held for more than a block.
void encode(View<const float> x, View<const float> weights, const float* bias, Word* out, int n_jobs);

/// Rows over their L2 norm; a zero row stays zero.
void normalize_rows(View<const float> x, float* out, int n_jobs);

/// Rounds to half precision; inverse_norms are those of the rounded rows. Throws where a magnitude is over 65504.
void to_half(View<const float> x, Half* out, float* inverse_norms, int n_jobs);

/// 1 / |x_i|, or 0 for a zero row.
void inverse_norms(View<const float> x, float* out, int n_jobs);

}  // namespace lshcore
