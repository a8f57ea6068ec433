#pragma once
// The k smallest of a stream in the total order (distance, id).

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "lshcore/types.h"

namespace lshcore {

template <class D>
inline constexpr D kNoDistance = std::numeric_limits<D>::has_infinity ? std::numeric_limits<D>::infinity()
                                                                      : std::numeric_limits<D>::max();

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

}  // namespace lshcore
