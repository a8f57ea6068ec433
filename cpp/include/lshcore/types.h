#pragma once
// The small types every header shares.

#include <cstdint>

namespace lshcore {

using Word = std::uint64_t;  // 64 bits of a code: bit j of a code is bit j % 64 of word j / 64
using Row = std::uint32_t;   // position of an item inside one segment
using Id = std::int64_t;     // what the caller calls an item
using Half = std::uint16_t;  // the bits of an IEEE 754 half-precision number

inline constexpr int kMaxBits = 4096;
inline constexpr int kMaxKeyBits = 256;
inline constexpr Id kNoId = -1;

/// A row-major matrix somebody else owns.
template <class T>
struct View {
    T* data = nullptr;
    std::int64_t rows = 0;
    std::int64_t cols = 0;

    T* row(std::int64_t i) const { return data + i * cols; }
    operator View<const T>() const { return {data, rows, cols}; }
};

inline constexpr int words_for(int n_bits) { return (n_bits + 63) / 64; }

/// Flips the bits of `pattern`, which stand from bit `first` on, perhaps in two words.
inline void flip_bits(Word* words, std::int64_t first, Word pattern) {
    words[first / 64] ^= pattern << (first % 64);
    const Word rest = first % 64 == 0 ? 0 : pattern >> (64 - first % 64);
    if (rest != 0) words[first / 64 + 1] ^= rest;
}

}  // namespace lshcore
