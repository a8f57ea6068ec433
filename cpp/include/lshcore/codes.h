#pragma once
// Packing binary codes: n codes of n_bits bits, row-major in 64-bit words, padding bits zero.

#include <vector>

#include "lshcore/types.h"

namespace lshcore {

/// Throws unless 1 <= n_bits <= kMaxBits.
void check_n_bits(int n_bits);

void pack_bools(View<const bool> bits, Word* out);
void unpack_bools(View<const Word> words, int n_bits, bool* out);
void pack_signs(View<const float> margins, Word* out);

/// Throws if the words do not fit n_bits or a padding bit is set.
void check_padding(View<const Word> words, int n_bits);

}  // namespace lshcore
