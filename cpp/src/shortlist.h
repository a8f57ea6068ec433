#pragma once
// A shortlist by Hamming distance, before exact re-ranking.

#include <algorithm>
#include <span>
#include <vector>

#include "lshcore/score.h"
#include "lshcore/segment.h"
#include "lshcore/types.h"

namespace lshcore {

/// The candidates of one query in all segments, cut down to the nearest few by (Hamming distance, id). Scratch of one
/// thread.
class Shortlist {
   public:
    void begin() { items_.clear(); }

    void add(std::size_t segment_number, const Segment& segment, const Queries& queries, std::int64_t q,
             std::span<const Row> rows) {
        distances_.resize(rows.size());
        score_rows(segment, Rank::hamming, queries, q, rows.data(), static_cast<std::int64_t>(rows.size()),
                   distances_.data());
        for (std::size_t i = 0; i < rows.size(); ++i)
            items_.push_back(
                {distances_[i], static_cast<std::uint32_t>(segment_number), rows[i], segment.ids[rows[i]]});
    }

    /// Calls take(segment number, rows) for each segment that has some.
    template <class Take>
    void cut(std::int64_t n, Take take) {
        if (static_cast<std::int64_t>(items_.size()) > n) {
            std::nth_element(items_.begin(), items_.begin() + n, items_.end(), [](const Item& a, const Item& b) {
                return a.distance < b.distance || (a.distance == b.distance && a.id < b.id);
            });
            items_.resize(static_cast<std::size_t>(n));
        }
        std::sort(items_.begin(), items_.end(), [](const Item& a, const Item& b) {
            return a.segment < b.segment || (a.segment == b.segment && a.row < b.row);
        });
        for (std::size_t begin = 0, end; begin < items_.size(); begin = end) {
            rows_.clear();
            for (end = begin; end < items_.size() && items_[end].segment == items_[begin].segment; ++end)
                rows_.push_back(items_[end].row);
            take(items_[begin].segment, std::span<const Row>(rows_));
        }
    }

    /// The same for row numbers counted through all segments; base: the first of each segment, and the end.
    template <class Take>
    void split(std::vector<Id> numbers, const std::vector<std::int64_t>& base, Take take) {
        std::sort(numbers.begin(), numbers.end());
        auto next = numbers.begin();
        for (std::size_t s = 0; s + 1 < base.size(); ++s) {
            rows_.clear();
            for (; next != numbers.end() && *next < base[s + 1]; ++next)
                rows_.push_back(static_cast<Row>(*next - base[s]));
            if (!rows_.empty()) take(s, std::span<const Row>(rows_));
        }
    }

   private:
    struct Item {
        std::uint16_t distance;
        std::uint32_t segment;
        Row row;
        Id id;
    };
    std::vector<Item> items_;
    std::vector<std::uint16_t> distances_;
    std::vector<Row> rows_;
};

}  // namespace lshcore
