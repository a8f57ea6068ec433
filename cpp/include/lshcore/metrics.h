#pragma once
// Ranking metrics (PROTOCOL): tie-aware by default, fed with one ranked list a query, as counts by distance.

#include <bit>
#include <functional>
#include <span>
#include <vector>

#include "lshcore/types.h"

namespace lshcore {

/// One label an item, or any number of them. Relevant means: the same label, or at least one in common.
class Labels {
   public:
    static Labels single(std::span<const std::int64_t> labels);
    static Labels multi(View<const bool> labels);

    std::int64_t size() const { return n_; }
    bool is_single() const { return words_ == 0; }

    /// Throws unless both are of the same kind and width.
    static void check_comparable(const Labels& a, const Labels& b);

    /// Calls f(is_relevant), is_relevant(row) saying whether an item of `gallery` is relevant to query q of these.
    template <class F>
    auto with_relevance(std::int64_t q, const Labels& gallery, F f) const {
        if (is_single())
            return f(
                [c = class_in(gallery, q), all = gallery.classes_.data()](std::int64_t row) { return all[row] == c; });
        return f([mine = multi_.data() + q * words_, all = gallery.multi_.data(), words = words_](std::int64_t row) {
            Word common = 0;
            for (std::int64_t w = 0; w < words; ++w) common |= mine[w] & all[row * words + w];
            return common != 0;
        });
    }

    /// Items with the same labels are of one class: a number below n_classes() each. There may be classes without items.
    std::uint32_t class_of(std::int64_t row) const { return classes_[static_cast<std::size_t>(row)]; }
    std::int64_t n_classes() const { return static_cast<std::int64_t>(members_.size()); }
    std::int64_t class_size(std::int64_t c) const { return members_[static_cast<std::size_t>(c)].n; }

    /// Calls f(class) for the classes of `gallery` that are relevant to query q of these.
    template <class F>
    void for_relevant(std::int64_t q, const Labels& gallery, F f) const {
        if (is_single()) {
            const std::int64_t c = class_in(gallery, q);
            if (c >= 0) f(c);
            return;
        }
        with_relevance(q, gallery, [&](auto is_relevant) {
            for (std::int64_t c = 0; c < gallery.n_classes(); ++c)
                if (is_relevant(gallery.members_[static_cast<std::size_t>(c)].first)) f(c);
        });
    }

    /// How many items of `gallery` are relevant to query q of these.
    std::int64_t count_relevant(std::int64_t q, const Labels& gallery) const {
        std::int64_t count = 0;
        for_relevant(q, gallery, [&](std::int64_t c) { count += gallery.class_size(c); });
        return count;
    }

   private:
    struct Members {
        std::int64_t n = 0, first = 0;  // how many items; the first of them, where classes are sets of labels
    };

    template <class Same>
    void make_classes(const std::vector<std::int64_t>& order, Same same);
    std::int64_t class_in(const Labels& gallery, std::int64_t q) const;

    std::int64_t n_ = 0;
    std::vector<Word> multi_;
    std::int64_t words_ = 0, n_labels_ = 0;
    std::vector<std::uint32_t> classes_;
    std::vector<Members> members_;      // of each class
    std::vector<std::int64_t> values_;  // the single label of each class, ascending
};

/// Items at the same distance, whose order is arbitrary.
struct TieGroup {
    float distance;
    std::int64_t n;         // items
    std::int64_t relevant;  // of them relevant
};

/// Sums of per-query metrics. Mergeable; the same whichever way the queries were cut into batches, because queries are
/// added in their order.
class RankingAccumulator {
   public:
    /// ks and curve_ranks ascending, from 1. n_bits > 0: distances are integers from 0 to n_bits, and the metrics by
    /// Hamming radius are kept too. stable: no ties, every item stands where it is given.
    RankingAccumulator(std::vector<std::int64_t> ks, std::vector<std::int64_t> curve_ranks, int n_bits, bool stable);

    using QueryValues = std::vector<double>;

    /// The metrics of one ranked list (groups by ascending distance) of a query with n_relevant in the gallery.
    QueryValues evaluate(std::span<const TieGroup> groups, std::int64_t n_relevant) const;
    void add(const QueryValues& values);
    void merge(const RankingAccumulator& other);

    const std::vector<std::int64_t>& ks() const { return ks_; }
    const std::vector<std::int64_t>& curve_ranks() const { return curve_ranks_; }
    int n_bits() const { return n_bits_; }
    bool stable() const { return stable_; }

    std::int64_t n_queries() const { return static_cast<std::int64_t>(candidates_.size()); }
    const std::vector<std::int64_t>& candidates() const { return candidates_; }  ///< list length of each query

    /// Where each metric stands in the values of a query, and in means().
    enum Slot : std::size_t { kCandidates, kNoRelevant, kMap, kMapRetrieved, kRecall, kCovered, kFirstAtK };
    enum AtK : std::size_t { kMapAt, kMapRetrievedAt, kPrecisionAt, kPrecisionReturnedAt, kNumAtK };
    std::size_t at_k(std::size_t i, AtK what) const { return kFirstAtK + i * kNumAtK + what; }
    std::size_t curve(std::size_t i) const { return at_k(ks_.size(), kMapAt) + 2 * i; }     // precision, recall
    std::size_t radius(std::size_t r) const { return curve(curve_ranks_.size()) + 3 * r; }  // precision, recall, size
    std::size_t n_slots() const { return radius(n_bits_ > 0 ? static_cast<std::size_t>(n_bits_) + 2 : 0); }
    std::size_t empty_ball() const { return radius(static_cast<std::size_t>(n_bits_) + 1); }  // of radius 2

    std::vector<double> means() const;

   private:
    std::vector<std::int64_t> ks_, curve_ranks_;
    int n_bits_;
    bool stable_;
    std::vector<double> sums_;
    std::vector<std::int64_t> candidates_;
};

/// Collects the list of one query while its distances stream by, as cheaply as the metrics allow: counts by distance
/// for tie-aware Hamming, a number an item otherwise. Scratch of one thread.
class RankedList {
   public:
    explicit RankedList(const RankingAccumulator& accumulator) : accumulator_(&accumulator) {}

    void begin();

    void add(std::uint16_t distance, Id id, bool relevant) {
        if (by_count())
            ++counts_[std::size_t{2} * distance + relevant];
        else
            add(static_cast<float>(distance), id, relevant);
    }
    void add(float distance, Id id, bool relevant) {
        if (accumulator_->stable())
            entries_.push_back({distance, relevant, id});
        else
            keys_.push_back(Word{ordered(distance)} << 1 | relevant);
    }

    RankingAccumulator::QueryValues finish(std::int64_t n_relevant);

   private:
    struct Entry {
        float distance;
        bool relevant;
        Id id;
    };
    /// Order-preserving: a < b for floats if and only if ordered(a) < ordered(b).
    static std::uint32_t ordered(float f) {
        const auto bits = std::bit_cast<std::uint32_t>(f + 0.0f);  // -0 becomes +0
        return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    }
    static float unordered(std::uint32_t bits) {
        return std::bit_cast<float>(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
    }

    bool by_count() const { return accumulator_->n_bits() > 0 && !accumulator_->stable(); }
    std::vector<TieGroup> groups_from_counts() const;
    std::vector<TieGroup> groups_from_keys();
    std::vector<TieGroup> groups_from_entries();

    const RankingAccumulator* accumulator_;
    std::vector<std::uint32_t> counts_;  // by distance and relevance: tie-aware Hamming
    std::vector<Word> keys_;             // ordered(distance) and relevance in one number: tie-aware floats
    std::vector<Entry> entries_;         // without ties
};

/// Ranks the whole gallery by Hamming distance for every query and adds the metrics; tie-aware without a list or a sort.
/// progress(queries done) is called from this thread.
void rank_hamming(RankingAccumulator& accumulator, View<const Word> queries, View<const Word> gallery,
                  const Labels& query_labels, const Labels& gallery_labels, int n_jobs,
                  const std::function<void(std::int64_t)>& progress = nullptr);

}  // namespace lshcore
