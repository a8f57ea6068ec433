#include "lshcore/codes.h"

#include <algorithm>
#include <string>

#include "lshcore/error.h"
#include "lshcore/kernels.h"

namespace lshcore {

void check_n_bits(int n_bits) {
    if (n_bits < 1 || n_bits > kMaxBits)
        throw std::invalid_argument("n_bits: expected 1 to " + std::to_string(kMaxBits) + ", got " +
                                    std::to_string(n_bits));
}

void pack_bools(View<const bool> bits, Word* out) {
    const int words = words_for(static_cast<int>(bits.cols));
    for (std::int64_t i = 0; i < bits.rows; ++i) {
        const bool* row = bits.row(i);
        for (int w = 0; w < words; ++w) {
            const std::int64_t begin = std::int64_t{64} * w;
            const int n = static_cast<int>(std::min<std::int64_t>(64, bits.cols - begin));
            Word word = 0;
            for (int j = 0; j < n; ++j) word |= static_cast<Word>(row[begin + j]) << j;
            out[i * words + w] = word;
        }
    }
}

void unpack_bools(View<const Word> words, int n_bits, bool* out) {
    for (std::int64_t i = 0; i < words.rows; ++i)
        for (int j = 0; j < n_bits; ++j) out[i * n_bits + j] = (words.row(i)[j / 64] >> (j % 64)) & 1;
}

void pack_signs(View<const float> margins, Word* out) {
    const int words = words_for(static_cast<int>(margins.cols));
    for (std::int64_t i = 0; i < margins.rows; ++i) kernels().pack_signs(margins.row(i), margins.cols, out + i * words);
}

void check_padding(View<const Word> words, int n_bits) {
    check_n_bits(n_bits);
    if (words.cols != words_for(n_bits))
        throw std::invalid_argument("codes of " + std::to_string(n_bits) + " bits: expected " +
                                    std::to_string(words_for(n_bits)) + " words a code, got " +
                                    std::to_string(words.cols));
    if (n_bits % 64 == 0) return;
    const Word padding = ~Word{0} << (n_bits % 64);
    for (std::int64_t i = 0; i < words.rows; ++i)
        if (words.row(i)[words.cols - 1] & padding)
            throw std::invalid_argument("codes of " + std::to_string(n_bits) + " bits: row " + std::to_string(i) +
                                        " has bits set beyond the last");
}

}  // namespace lshcore
