#pragma once
// What is done with the distances that a walk over queries meets: one object a thread, or a query.

#include <algorithm>
#include <utility>
#include <vector>

#include "lshcore/index.h"
#include "lshcore/metrics.h"
#include "lshcore/segment.h"
#include "lshcore/topk.h"
#include "lshcore/types.h"

namespace lshcore {

/// The places of a segment's rows among all that live.
struct RowOrder {
    std::int64_t base;
    const std::uint32_t* ranks;  // null: nothing was removed

    std::int64_t operator()(std::int64_t row) const { return base + (ranks == nullptr ? row : ranks[row]); }
};

/// Keeps the k best of one query.
template <class D>
struct SearchSink {
    static constexpr bool kReadsOrder = false;

    std::int64_t k;
    D* distances;
    Id* ids;
    std::int64_t* n_candidates;
    StageTimes* times;
    TopK<D> best;

    void begin(std::int64_t) { best.reset(k); }
    template <class RowAt>
    void take(std::int64_t, const Segment& segment, RowOrder, RowAt row_at, std::int64_t n, const D* d) {
        for (std::int64_t i = 0; i < n; ++i)
            if (d[i] <= best.bound()) best.push(d[i], segment.ids[row_at(i)]);
    }
    void end(std::int64_t q, std::int64_t n_found) {
        best.write(distances + q * k, ids + q * k);
        n_candidates[q] = n_found;
    }
    void timed(std::int64_t q, const StageTimes& t) { times[q] = t; }

    /// The distance that a row must not exceed to count.
    D limit() {
        best.tighten();
        return best.bound();
    }
};

/// Ranks the whole list of one query and keeps its metrics.
template <class D>
struct MetricsSink {
    static constexpr bool kReadsOrder = true;

    const Labels& query_labels;
    const Labels& gallery_labels;
    std::vector<RankingAccumulator::QueryValues>& values;
    RankedList list;

    void begin(std::int64_t) { list.begin(); }
    template <class RowAt>
    void take(std::int64_t q, const Segment& segment, RowOrder order, RowAt row_at, std::int64_t n, const D* d) {
        query_labels.with_relevance(q, gallery_labels, [&](auto is_relevant) {
            for (std::int64_t i = 0; i < n; ++i) {
                const std::int64_t row = row_at(i);
                list.add(d[i], segment.ids[row], is_relevant(order(row)));
            }
        });
    }
    void end(std::int64_t q, std::int64_t) {
        values[static_cast<std::size_t>(q)] = list.finish(query_labels.count_relevant(q, gallery_labels));
    }
    void timed(std::int64_t, const StageTimes&) {}
    D limit() const { return kNoDistance<D>; }
};

/// Keeps all of one query within a radius.
template <class D>
struct RangeSink {
    static constexpr bool kReadsOrder = false;
    using Hit = std::pair<D, Id>;

    D radius;
    std::vector<std::vector<Hit>>& found;
    std::int64_t* n_candidates;
    std::vector<Hit> hits;

    void begin(std::int64_t) { hits.clear(); }
    template <class RowAt>
    void take(std::int64_t, const Segment& segment, RowOrder, RowAt row_at, std::int64_t n, const D* d) {
        for (std::int64_t i = 0; i < n; ++i)
            if (d[i] <= radius) hits.push_back({d[i], segment.ids[row_at(i)]});
    }
    void end(std::int64_t q, std::int64_t n_found) {
        std::sort(hits.begin(), hits.end());
        found[static_cast<std::size_t>(q)].assign(hits.begin(), hits.end());
        n_candidates[q] = n_found;
    }
    void timed(std::int64_t, const StageTimes&) {}
    D limit() const { return radius; }
};

}  // namespace lshcore
