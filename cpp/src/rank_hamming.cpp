// Full-gallery Hamming ranking: the metrics need only how many items, and how many relevant ones, lie at each distance.
// Rows of one label (or one set of labels) are brought together first, so that a whole run of them is relevant to a
// query or is not, and no item is ever asked.

#include <algorithm>
#include <bit>
#include <memory>
#include <utility>

#include "grouped.h"
#include "lshcore/codes.h"
#include "lshcore/error.h"
#include "lshcore/metrics.h"

namespace lshcore {
namespace {

constexpr std::int64_t kStretch = 4096;  // codes that are counted in one go
constexpr std::int64_t kTogether = 128;  // queries that share what is made of a stretch
constexpr std::int64_t kInOrder = 1024;  // queries whose values are held until they are added in order

/// The gallery's codes by class, in groups of eight; each class begins with a new group.
struct ByClass {
    std::vector<std::int64_t> begins;  // of each class in the grouped codes, counted in codes; and the end
    std::unique_ptr<Word[]> groups;
    std::int64_t n_filling;  // zeros that only fill groups

    ByClass(View<const Word> gallery, const Labels& labels, int n_jobs) {
        const std::int64_t words = gallery.cols, n_classes = labels.n_classes();
        begins.assign(1, 0);
        for (std::int64_t c = 0; c < n_classes; ++c)
            begins.push_back(begins.back() + ceil_div(labels.class_size(c), 8) * 8);
        n_filling = begins.back() - gallery.rows;
        groups.reset(new Word[static_cast<std::size_t>(begins.back() * words)]);
        const auto put = [&](std::int64_t at, const Word* code) {
            for (std::int64_t w = 0; w < words; ++w)
                groups[((at & ~7) * words) + 8 * w + (at & 7)] = code ? code[w] : 0;
        };
        // Each part of the gallery has its own places in every class.
        const std::int64_t a_part = std::max<std::int64_t>(1, ceil_div(gallery.rows, std::max(n_jobs, 1))),
                           n_parts = ceil_div(gallery.rows, a_part);
        std::vector<std::vector<std::int64_t>> next(static_cast<std::size_t>(n_parts));
        const auto for_rows = [&](auto visit) {
            parallel_for(n_parts, n_jobs, [&](std::int64_t part, int) {
                auto& mine = next[static_cast<std::size_t>(part)];
                mine.resize(static_cast<std::size_t>(n_classes));
                for (std::int64_t row = part * a_part; row < std::min((part + 1) * a_part, gallery.rows); ++row)
                    visit(row, mine[labels.class_of(row)]++);
            });
        };
        for_rows([](std::int64_t, std::int64_t) {});
        for (std::int64_t c = 0; c < n_classes; ++c) {
            std::int64_t at = begins[static_cast<std::size_t>(c)];
            for (auto& part : next) at += std::exchange(part[static_cast<std::size_t>(c)], at);
            for (; at < begins[static_cast<std::size_t>(c) + 1]; ++at) put(at, nullptr);
        }
        for_rows([&](std::int64_t row, std::int64_t at) { put(at, gallery.row(row)); });
    }
};

/// The metrics of queries [first, last): all codes are counted, and then the classes that are relevant.
void count_classes(const RankingAccumulator& accumulator, const ByClass& by_class, View<const Word> queries,
                   const Labels& query_labels, const Labels& gallery_labels, std::int64_t first, std::int64_t last,
                   RankingAccumulator::QueryValues* values) {
    const int words = static_cast<int>(queries.cols);
    const std::int64_t bins = accumulator.n_bits() + 1;
    std::vector<std::uint32_t> all(static_cast<std::size_t>((last - first) * 4 * bins), 0), relevant(all.size(), 0);
    const std::int64_t n_codes = by_class.begins.back();
    for (std::int64_t begin = 0; begin < n_codes; begin += kStretch) {
        kernels().count_distances(queries.row(first), last - first, by_class.groups.get() + begin * words,
                                  std::min(kStretch, n_codes - begin), words, all.data(), bins);
        interruption_point();
    }
    std::vector<TieGroup> ties;
    for (std::int64_t q = first; q < last; ++q) {
        const Word* query = queries.row(q);
        std::uint32_t *n_all = all.data() + (q - first) * 4 * bins,
                      *n_relevant = relevant.data() + (q - first) * 4 * bins;
        query_labels.for_relevant(q, gallery_labels, [&](std::int64_t c) {
            kernels().count_distances(query, 1,
                                      by_class.groups.get() + by_class.begins[static_cast<std::size_t>(c)] * words,
                                      gallery_labels.class_size(c), words, n_relevant, bins);
        });
        int to_zero = 0;
        for (int w = 0; w < words; ++w) to_zero += std::popcount(query[w]);
        n_all[to_zero] -= static_cast<std::uint32_t>(by_class.n_filling);
        const auto total = [bins](const std::uint32_t* at) {
            return std::int64_t{at[0] + at[bins] + at[2 * bins] + at[3 * bins]};  // under 2^32
        };
        ties.clear();
        std::int64_t sum = 0;
        for (std::int64_t d = 0; d < bins; ++d)
            if (const std::int64_t n = total(n_all + d); n > 0) {
                const std::int64_t hits = total(n_relevant + d);
                sum += hits;
                ties.push_back({static_cast<float>(d), n, hits});
            }
        values[q - first] = accumulator.evaluate(ties, sum);
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
        // Too many different sets of labels, and asking each item is cheaper than so many short counts.
        if (gallery_labels.n_classes() * 32 <= gallery.rows + 1024) {
            const ByClass by_class(gallery, gallery_labels, n_jobs);
            const std::int64_t a_thread = ceil_div(std::min(queries.rows, kInOrder), std::max(n_jobs, 1));
            in_order(accumulator, queries.rows, std::clamp<std::int64_t>(a_thread, 1, kTogether), n_jobs, progress,
                     [&](std::int64_t first, std::int64_t last, RankingAccumulator::QueryValues* values) {
                         count_classes(accumulator, by_class, queries, query_labels, gallery_labels, first, last,
                                       values);
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
