// Full-gallery Hamming ranking: the metrics need only how many items, and how many relevant ones, lie at each distance.
// Rows of one label (or one set of labels) are brought together first, so that a whole run of them is relevant to a
// query or is not, and no item is ever asked.

#include <algorithm>
#include <bit>

#include "grouped.h"
#include "lshcore/codes.h"
#include "lshcore/error.h"
#include "lshcore/metrics.h"

namespace lshcore {
namespace {

constexpr std::int64_t kStretch = 8192;  // codes that are counted in one go, at the most
constexpr std::int64_t kInOrder = 1024;  // queries whose values are held until they are added in order

/// The gallery's codes by label, in groups of eight; each run begins with a new group.
struct Runs {
    struct Run {
        std::int64_t row;       // one row of the gallery that has the label
        std::int64_t first, n;  // of the rows in the order of their labels
        std::int64_t begin;     // in the grouped codes, counted in codes
        std::int64_t end() const { return begin + n; }
    };
    std::vector<Run> runs;
    std::vector<Word> groups;

    Runs(View<const Word> gallery, const Labels& labels, int n_jobs) {
        const int words = static_cast<int>(gallery.cols);
        const std::int64_t longest = codes_a_block(words);
        const std::vector<std::int64_t> order = labels.ordered();
        std::int64_t codes = 0;
        for (std::size_t i = 0; i < order.size(); ++i) {
            const bool starts = i == 0 || runs.back().n == longest || !labels.same(order[i - 1], order[i]);
            if (starts) {
                codes = ceil_div(codes, 8) * 8;
                runs.push_back({order[i], static_cast<std::int64_t>(i), 0, codes});
            }
            ++runs.back().n;
            ++codes;
        }
        groups.resize(static_cast<std::size_t>(ceil_div(codes, 8) * 8 * words));
        parallel_for(static_cast<std::int64_t>(runs.size()), n_jobs, [&](std::int64_t r, int) {
            const Run& run = runs[static_cast<std::size_t>(r)];
            std::vector<Word> rows;
            for (std::int64_t i = 0; i < run.n; ++i) {
                const Word* code = gallery.row(order[static_cast<std::size_t>(run.first + i)]);
                rows.insert(rows.end(), code, code + words);
            }
            kernels().group_codes(rows.data(), run.n, words, groups.data() + run.begin * words);
        });
    }
};

/// The metrics of queries [first, last): each run is counted whole, as relevant or not.
void count_runs(const RankingAccumulator& accumulator, const Runs& by_label, View<const Word> queries,
                const Labels& query_labels, const Labels& gallery_labels, std::int64_t first, std::int64_t last,
                RankingAccumulator::QueryValues* values) {
    const int words = static_cast<int>(queries.cols);
    const std::int64_t bins = accumulator.n_bits() + 1;
    // Of each query, for the others and for the relevant: four interleaved histograms, and how many filling zeros of
    // groups went into them.
    std::vector<std::uint32_t> counts(static_cast<std::size_t>((last - first) * 8 * bins), 0);
    std::vector<std::int64_t> fillings(static_cast<std::size_t>((last - first) * 2), 0);
    const auto& runs = by_label.runs;
    for (std::size_t begin = 0, end; begin < runs.size(); begin = end) {
        for (end = begin + 1; end < runs.size() && runs[end].end() - runs[begin].begin <= kStretch;) ++end;
        for (std::int64_t q = first; q < last; ++q) {
            // Neighbouring runs that are all relevant, or all not, are counted in one go.
            for (std::size_t r = begin, next; r < end; r = next) {
                const bool relevant = query_labels.relevant(q, gallery_labels, runs[r].row);
                std::int64_t items = runs[r].n;
                for (next = r + 1; next < end; ++next) {
                    if (query_labels.relevant(q, gallery_labels, runs[next].row) != relevant) break;
                    items += runs[next].n;
                }
                const std::int64_t codes = runs[next - 1].end() - runs[r].begin, kind = (q - first) * 2 + relevant;
                kernels().count_distances(queries.row(q), by_label.groups.data() + runs[r].begin * words, codes, words,
                                          counts.data() + kind * 4 * bins, bins);
                fillings[static_cast<std::size_t>(kind)] += codes - items;
            }
        }
        interruption_point();
    }
    for (std::int64_t q = first; q < last; ++q) {
        int to_zero = 0;
        for (int w = 0; w < words; ++w) to_zero += std::popcount(queries.row(q)[w]);
        for (std::int64_t kind = (q - first) * 2; kind < (q - first) * 2 + 2; ++kind)
            // Which of the four it is taken from does not matter: their sum is what is read, modulo 2^32.
            counts[static_cast<std::size_t>(kind * 4 * bins + to_zero)] -=
                static_cast<std::uint32_t>(fillings[static_cast<std::size_t>(kind)]);
    }
    std::vector<TieGroup> ties;
    for (std::int64_t q = first; q < last; ++q) {
        const std::uint32_t* others = counts.data() + (q - first) * 8 * bins;
        const std::uint32_t* relevant = others + 4 * bins;
        const auto total = [bins](const std::uint32_t* at) {
            return std::int64_t{at[0] + at[bins] + at[2 * bins] + at[3 * bins]};  // under 2^32
        };
        ties.clear();
        std::int64_t n_relevant = 0;
        for (std::int64_t d = 0; d < bins; ++d) {
            const std::int64_t hits = total(relevant + d), n = hits + total(others + d);
            n_relevant += hits;
            if (n > 0) ties.push_back({static_cast<float>(d), n, hits});
        }
        values[q - first] = accumulator.evaluate(ties, n_relevant);
    }
}

/// Calls evaluate(first, last, values) for all queries, a thousand at a time, and adds the values in their order.
template <class Evaluate>
void in_order(RankingAccumulator& accumulator, std::int64_t n_queries, std::int64_t block_size, int n_jobs,
              const std::function<void(std::int64_t)>& progress, Evaluate evaluate) {
    std::vector<RankingAccumulator::QueryValues> values(static_cast<std::size_t>(std::min(kInOrder, n_queries)));
    for (std::int64_t start = 0; start < n_queries; start += kInOrder) {
        const std::int64_t m = std::min(kInOrder, n_queries - start);
        parallel_for(ceil_div(m, block_size), n_jobs, [&](std::int64_t block, int) {
            const std::int64_t first = start + block * block_size, last = std::min(first + block_size, start + m);
            evaluate(first, last, values.data() + (first - start));
        });
        for (std::int64_t q = 0; q < m; ++q) accumulator.add(values[static_cast<std::size_t>(q)]);
        if (progress) progress(start + m);
    }
}

}  // namespace

void rank_hamming(RankingAccumulator& accumulator, View<const Word> queries, View<const Word> gallery,
                  const Labels& query_labels, const Labels& gallery_labels, int n_jobs,
                  const std::function<void(std::int64_t)>& progress) {
    require(queries.cols == gallery.cols, "rank_hamming: queries and gallery must have codes of the same width");
    check_padding(queries, accumulator.n_bits());
    check_padding(gallery, accumulator.n_bits());
    require(query_labels.size() == queries.rows && gallery_labels.size() == gallery.rows,
            "rank_hamming: one label an item is needed");
    Labels::check_comparable(query_labels, gallery_labels);
    require(gallery.rows < std::int64_t{1} << 32, "rank_hamming: at most 2^32 - 1 items are counted at once");

    const int words = static_cast<int>(gallery.cols);
    if (!accumulator.stable()) {
        const Runs by_label(gallery, gallery_labels, n_jobs);
        // Too many different sets of labels, and asking each item is cheaper than so many short runs.
        if (static_cast<std::int64_t>(by_label.runs.size()) * 32 <= gallery.rows + 1024) {
            in_order(accumulator, queries.rows, kQueryBlock, n_jobs, progress,
                     [&](std::int64_t first, std::int64_t last, RankingAccumulator::QueryValues* values) {
                         count_runs(accumulator, by_label, queries, query_labels, gallery_labels, first, last, values);
                     });
            return;
        }
    }
    // Without ties a list has an entry an item: keep the open ones to some 4 million.
    const std::int64_t block_size =
        accumulator.stable() ? std::clamp<std::int64_t>((std::int64_t{1} << 22) / (gallery.rows + 1), 1, kQueryBlock)
                             : kQueryBlock;
    in_order(accumulator, queries.rows, block_size, n_jobs, progress,
             [&](std::int64_t first, std::int64_t last, RankingAccumulator::QueryValues* values) {
                 std::vector<RankedList> lists(static_cast<std::size_t>(last - first), RankedList(accumulator));
                 for (auto& list : lists) list.begin();
                 std::vector<Word> scratch;
                 std::vector<std::uint16_t> distances(static_cast<std::size_t>(codes_a_block(words)));
                 for_grouped_blocks(
                     gallery, 0, gallery.rows, scratch, [&](std::int64_t row, std::int64_t n, const Word* groups) {
                         for (std::int64_t q = first; q < last; ++q) {
                             kernels().grouped_distances(queries.row(q), groups, n, words, distances.data());
                             query_labels.with_relevance(q, gallery_labels, [&](auto is_relevant) {
                                 auto& list = lists[static_cast<std::size_t>(q - first)];
                                 for (std::int64_t i = 0; i < n; ++i)
                                     list.add(distances[static_cast<std::size_t>(i)], row + i, is_relevant(row + i));
                             });
                         }
                     });
                 for (std::int64_t q = first; q < last; ++q)
                     values[q - first] = lists[static_cast<std::size_t>(q - first)].finish(
                         query_labels.count_relevant(q, gallery_labels));
             });
}

}  // namespace lshcore
