#pragma once
// The k smallest of a stream in the total order (distance, id).

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "lshcore/types.h"

namespace lshcore {

template <class D>
inline constexpr D kNoDistance =
    std::numeric_limits<D>::has_infinity ? std::numeric_limits<D>::infinity() : std::numeric_limits<D>::max();

template <class D>
class TopK {
   public:
    struct Hit {
        D distance;
        Id id;
        bool operator<(const Hit& o) const { return distance < o.distance || (distance == o.distance && id < o.id); }
    };

    void reset(std::int64_t k) {
        k_ = static_cast<std::size_t>(k);
        hits_.clear();
        worst_ = {kNoDistance<D>, std::numeric_limits<Id>::max()};
    }

    /// Nothing farther than this can still enter.
    D bound() const { return worst_.distance; }

    void push(D distance, Id id) {
        const Hit hit{distance, id};
        if (!(hit < worst_)) return;
        hits_.push_back(hit);
        if (hits_.size() >= 2 * k_ + 64) shrink();
    }

    /// Makes `bound` the distance of the k-th best so far.
    void tighten() {
        if (hits_.size() >= k_) shrink();
    }

    /// Writes the k best in order; missing places get kNoDistance and kNoId.
    void write(D* distances, Id* ids) {
        const std::size_t n = std::min(k_, hits_.size());
        std::partial_sort(hits_.begin(), hits_.begin() + static_cast<std::ptrdiff_t>(n), hits_.end());
        for (std::size_t i = 0; i < k_; ++i) {
            distances[i] = i < n ? hits_[i].distance : kNoDistance<D>;
            ids[i] = i < n ? hits_[i].id : kNoId;
        }
    }

   private:
    void shrink() {
        const auto kth = hits_.begin() + static_cast<std::ptrdiff_t>(k_) - 1;
        std::nth_element(hits_.begin(), kth, hits_.end());
        worst_ = *kth;  // later hits must beat the k-th kept one
        hits_.resize(k_);
    }

    std::size_t k_ = 0;
    std::vector<Hit> hits_;
    Hit worst_{};
};

/// Hamming distances are few, so they are selected by counting.
template <>
class TopK<std::uint16_t> {
   public:
    void reset(std::int64_t k) {
        k_ = k;
        n_ = 0;
        hits_.clear();
        std::fill(counts_.begin(), counts_.end(), 0);
        bound_ = kNoDistance<std::uint16_t>;
    }

    std::uint16_t bound() const { return bound_; }
    void tighten() {}  // it always is

    void push(std::uint16_t distance, Id id) {
        if (distance > bound_) return;
        if (counts_.size() <= distance) counts_.resize(distance + std::size_t{1}, 0);
        hits_.push_back({distance, id});
        ++counts_[distance];
        if (++n_ < k_) return;
        // Lower the bound to the smallest distance that still has k hits up to it; all ties at it are kept.
        if (bound_ >= counts_.size()) bound_ = static_cast<std::uint16_t>(counts_.size() - 1);
        while (n_ - counts_[bound_] >= k_) n_ -= counts_[bound_--];
        if (static_cast<std::int64_t>(hits_.size()) > 4 * k_ + 1024) drop();
    }

    /// Writes the k best in order; missing places get kNoDistance and kNoId.
    void write(std::uint16_t* distances, Id* ids) {
        drop();
        // By distance in one pass, then by id among equals.
        std::vector<std::size_t> next(counts_.size() + 1, 0);
        for (const Hit& hit : hits_) ++next[hit.distance + std::size_t{1}];
        for (std::size_t d = 1; d < next.size(); ++d) next[d] += next[d - 1];
        sorted_.resize(hits_.size());
        for (const Hit& hit : hits_) sorted_[next[hit.distance]++] = hit;
        for (std::size_t begin = 0, end; begin < sorted_.size(); begin = end) {
            for (end = begin; end < sorted_.size() && sorted_[end].distance == sorted_[begin].distance;) ++end;
            std::sort(sorted_.begin() + static_cast<std::ptrdiff_t>(begin),
                      sorted_.begin() + static_cast<std::ptrdiff_t>(end),
                      [](const Hit& a, const Hit& b) { return a.id < b.id; });
        }
        for (std::int64_t i = 0; i < k_; ++i) {
            const bool there = i < static_cast<std::int64_t>(sorted_.size());
            distances[i] = there ? sorted_[static_cast<std::size_t>(i)].distance : kNoDistance<std::uint16_t>;
            ids[i] = there ? sorted_[static_cast<std::size_t>(i)].id : kNoId;
        }
    }

   private:
    struct Hit {
        std::uint16_t distance;
        Id id;
    };

    void drop() {
        std::erase_if(hits_, [&](const Hit& hit) { return hit.distance > bound_; });
    }

    std::int64_t k_ = 0, n_ = 0;  // n_: hits up to the bound
    std::uint16_t bound_ = 0;
    std::vector<std::int64_t> counts_;
    std::vector<Hit> hits_, sorted_;
};

}  // namespace lshcore
