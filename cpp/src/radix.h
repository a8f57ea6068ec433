#pragma once
// Stable least-significant-digit radix sort.

#include <array>
#include <bit>
#include <utility>
#include <vector>

#include "lshcore/types.h"

namespace lshcore {

/// Sorts by key_of(item), an unsigned number not above max_key; equal keys keep their order. `spare` is scratch.
template <class T, class KeyOf>
void radix_sort(std::vector<T>& items, std::vector<T>& spare, Word max_key, KeyOf key_of) {
    constexpr int kDigit = 11;
    spare.resize(items.size());
    for (int shift = 0; shift < static_cast<int>(std::bit_width(max_key)); shift += kDigit) {
        std::array<std::size_t, 1u << kDigit> next{};
        const auto digit = [&](const T& item) { return (key_of(item) >> shift) & (next.size() - 1); };
        for (const T& item : items) ++next[digit(item)];
        std::size_t sum = 0;
        for (auto& count : next) sum += std::exchange(count, sum);
        for (const T& item : items) spare[next[digit(item)]++] = item;
        items.swap(spare);
    }
}

}  // namespace lshcore
