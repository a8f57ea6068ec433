#pragma once
// How chosen rows are ranked, and those that residual codes choose.

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "lshcore/parallel.h"
#include "lshcore/score.h"
#include "residual_scan.h"
#include "sinks.h"

namespace lshcore {

using Clock = std::chrono::steady_clock;

inline double seconds(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

/// Ranks rows that were chosen for a query. Scratch of one thread.
template <class D, class Sink>
struct Scorer {
    LiveSegments segments;
    Rank rank;
    const Queries& queries;
    const std::vector<RowOrder>& order;
    Sink sink;
    std::vector<D> distances;

    void operator()(std::int64_t q, std::size_t s, std::span<const Row> rows) {
        const auto count = static_cast<std::int64_t>(rows.size());
        if (distances.size() < rows.size()) distances.resize(rows.size());
        const Segment& segment = *segments[s].segment;
        score_rows(segment, rank, queries, q, rows.data(), count, distances.data());
        sink.take(
            q, segment, order[s], [rows](std::int64_t j) { return rows[static_cast<std::size_t>(j)]; }, count,
            distances.data());
    }
};

/// Looks for promising rows by their residuals, a block of queries at once, and ranks them by their vectors.
template <class D, class MakeScorer>
void rank_residuals(LiveSegments segments, const ClusterKeys& clusters, const Queries& queries,
                    const SearchOptions& options, const Filters& filters, MakeScorer make_scorer) {
    using Score = decltype(make_scorer());
    constexpr std::size_t kRerank = 16;  // rows that are ranked before the next look at what is still to be had
    const std::int64_t m = queries.size(), dim = clusters.dim();
    struct Scratch {
        Score score;
        ResidualScan scan;
    };
    std::vector<std::unique_ptr<Scratch>> scratch(static_cast<std::size_t>(std::max(1, options.n_jobs)));
    const std::int64_t together = ResidualScan::queries_at_once(m, options.n_jobs, dim);
    parallel_for(ceil_div(m, together), options.n_jobs, [&](std::int64_t block, int worker) {
        auto& mine = scratch[static_cast<std::size_t>(worker)];
        if (!mine) mine.reset(new Scratch{make_scorer(), {clusters, options}});
        auto& [score, scan] = *mine;
        const std::int64_t first = block * together, n = std::min(together, m - first);
        const auto start = Clock::now();
        scan.locate({queries.vectors.row(first), n, dim});
        const auto located = Clock::now();
        scan.find(segments, filters, first);
        auto then = Clock::now();
        const double probe = seconds(start, located) / static_cast<double>(n),
                     look = seconds(located, then) / static_cast<double>(n);
        for (std::int64_t i = 0; i < n; ++i) {
            score.sink.begin(first + i);
            // The most promising first, until not even its bound is near enough.
            Place places[kRerank];
            Row rows[kRerank];
            auto keys = scan.found(i);
            while (!keys.empty() && !(static_cast<D>(keys[0].value()) > score.sink.limit())) {
                const auto some = keys.first(std::min(kRerank, keys.size()));
                for (std::size_t j = 0; j < some.size(); ++j) places[j] = scan.place(i, some[j]);
                for (std::size_t s = 0; s < segments.size(); ++s) {
                    std::size_t count = 0;
                    for (std::size_t j = 0; j < some.size(); ++j)
                        if (places[j].segment == s) rows[count++] = places[j].row;
                    if (count > 0) score(first + i, s, {rows, count});
                }
                keys = keys.subspan(some.size());
            }
            score.sink.end(first + i, scan.n_met(i));
            interruption_point();
            const auto now = Clock::now();
            score.sink.timed(first + i, {probe, look, seconds(then, now)});
            then = now;
        }
    });
}

}  // namespace lshcore
