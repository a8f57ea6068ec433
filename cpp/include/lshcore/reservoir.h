#pragma once
// The n least of a stream of numbered floats, the one that came first among equals.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "lshcore/kernels.h"

namespace lshcore {

class Reservoir {
   public:
    /// A value, in the upper half so that keys are ordered as values are, and a number.
    struct Key {
        std::uint64_t bits;

        explicit Key(std::uint64_t all) : bits(all) {}
        Key(float value, std::uint32_t number) {
            const auto v = std::bit_cast<std::uint32_t>(value);
            bits = std::uint64_t{v ^ ((v >> 31) != 0 ? ~0u : 0x80000000u)} << 32 | number;
        }
        float value() const {
            const auto v = static_cast<std::uint32_t>(bits >> 32);
            return std::bit_cast<float>(v ^ ((v >> 31) != 0 ? 0x80000000u : ~0u));
        }
        std::uint32_t number() const { return static_cast<std::uint32_t>(bits); }
        bool operator<(const Key& o) const { return bits < o.bits; }
    };

    void reset(std::int64_t n) {
        n_ = static_cast<std::size_t>(n);
        keys_.clear();
        limit_ = std::numeric_limits<float>::infinity();
    }

    /// Calls take(i) for each of n values that may be among the least, which says the number to keep it under, another one
    /// for each, or -1.
    template <class Take>
    void add(const float* values, std::int64_t n, Take take) {
        constexpr std::int64_t kPiece = 64;  // what it holds lowers the limit for the next
        std::uint32_t hits[kPiece + 16];
        for (std::int64_t first = 0; first < n; first += kPiece) {
            const std::int64_t n_hits =
                kernels().collect_up_to(values + first, std::min(kPiece, n - first), limit_, hits);
            for (std::int64_t h = 0; h < n_hits; ++h) {
                const std::int64_t i = first + hits[h];
                const std::int64_t number = take(i);
                if (number >= 0) keys_.push_back({values[i], static_cast<std::uint32_t>(number)});
            }
            if (keys_.size() >= 2 * n_ + kPiece) cut();
        }
    }

    /// The n least, in no order.
    std::span<const Key> least() {
        cut();
        return keys_;
    }

    /// The largest of them.
    float last() {
        cut();
        float most = -std::numeric_limits<float>::infinity();
        for (const Key key : keys_) most = std::max(most, key.value());
        return most;
    }

    /// The n least, ascending.
    std::span<const Key> sorted() {
        cut();
        std::sort(keys_.begin(), keys_.end());
        return keys_;
    }

   private:
    /// Keeps the n least: keys are split by one of them until the low ones are so many.
    void cut() {
        if (keys_.size() <= n_) return;
        spare_.resize(std::max(spare_.size(), keys_.size()));
        static_assert(sizeof(Key) == sizeof(std::uint64_t));
        std::size_t kept = 0, end = keys_.size();
        while (true) {
            // Keys differ, so that the middle one of three is not the last: each round leaves less to split.
            const std::uint64_t a = keys_[kept].bits, b = keys_[(kept + end) / 2].bits, c = keys_[end - 1].bits;
            const std::uint64_t pivot =
                end - kept < 3 ? std::min(a, c) : std::max(std::min(a, b), std::min(std::max(a, b), c));
            const auto n_low = static_cast<std::size_t>(kernels().split_keys(
                &keys_[kept].bits, static_cast<std::int64_t>(end - kept), pivot, &keys_[kept].bits, spare_.data()));
            if (kept + n_low > n_) {
                end = kept + n_low;
                continue;
            }
            std::memcpy(&keys_[kept + n_low].bits, spare_.data(), (end - kept - n_low) * sizeof(Key));
            kept += n_low;
            if (kept < n_) continue;
            limit_ = Key(pivot).value();
            keys_.erase(keys_.begin() + static_cast<std::ptrdiff_t>(n_), keys_.end());
            return;
        }
    }

    std::size_t n_ = 0;
    float limit_ = 0;
    std::vector<Key> keys_;
    std::vector<std::uint64_t> spare_;
};

}  // namespace lshcore
