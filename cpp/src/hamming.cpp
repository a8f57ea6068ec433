#include "lshcore/hamming.h"

#include <algorithm>

#include "lshcore/error.h"
#include "lshcore/kernels.h"
#include "lshcore/parallel.h"
#include "lshcore/topk.h"

namespace lshcore {
namespace {

constexpr std::int64_t kQueryBlock = 16;     // queries that share one pass over the gallery
constexpr std::int64_t kBlockWords = 16384;  // words of the gallery that stay in cache meanwhile

/// Calls take(q, first row, n, distances) for every query and every block of the gallery, in row order, then done(q).
template <class MakeConsumer>
void scan(View<const Word> queries, View<const Word> gallery, int n_jobs, MakeConsumer make_consumer) {
    require(queries.cols == gallery.cols, "hamming: queries and gallery must have codes of the same width");
    const int words = static_cast<int>(gallery.cols);
    const std::int64_t block = std::max<std::int64_t>(64, kBlockWords / words);
    parallel_for(ceil_div(queries.rows, kQueryBlock), n_jobs, [&](std::int64_t b, int) {
        const std::int64_t first = b * kQueryBlock, last = std::min(first + kQueryBlock, queries.rows);
        auto consumer = make_consumer(first, last);
        std::vector<std::uint16_t> distances(static_cast<std::size_t>(block));
        for (std::int64_t row = 0; row < gallery.rows; row += block) {
            const std::int64_t n = std::min(block, gallery.rows - row);
            for (std::int64_t q = first; q < last; ++q) {
                kernels().hamming_block(queries.row(q), gallery.row(row), n, words, distances.data());
                consumer.take(q, row, n, distances.data());
            }
        }
        for (std::int64_t q = first; q < last; ++q) consumer.done(q);
    });
}

struct Nearest {
    std::int64_t first, k;
    std::uint16_t* distances;
    Id* ids;
    std::vector<TopK<std::uint16_t>> best;

    void take(std::int64_t q, std::int64_t row, std::int64_t n, const std::uint16_t* d) {
        auto& top = best[static_cast<std::size_t>(q - first)];
        for (std::int64_t i = 0; i < n; ++i)
            if (d[i] <= top.bound()) top.push(d[i], row + i);
    }
    void done(std::int64_t q) { best[static_cast<std::size_t>(q - first)].write(distances + q * k, ids + q * k); }
};

struct InRange {
    using Hit = TopK<std::uint16_t>::Hit;
    std::vector<std::vector<Hit>>* hits;
    int radius;

    void take(std::int64_t q, std::int64_t row, std::int64_t n, const std::uint16_t* d) {
        auto& mine = (*hits)[static_cast<std::size_t>(q)];
        for (std::int64_t i = 0; i < n; ++i)
            if (d[i] <= radius) mine.push_back({d[i], row + i});
    }
    void done(std::int64_t q) {
        auto& mine = (*hits)[static_cast<std::size_t>(q)];
        std::sort(mine.begin(), mine.end());
    }
};

}  // namespace

void hamming_distances(View<const Word> a, View<const Word> b, std::uint16_t* out, int n_jobs) {
    require(a.cols == b.cols, "hamming: both must have codes of the same width");
    parallel_for(a.rows, n_jobs, [&](std::int64_t i, int) {
        kernels().hamming_block(a.row(i), b.data, b.rows, static_cast<int>(b.cols), out + i * b.rows);
    });
}

void hamming_search(View<const Word> queries, View<const Word> gallery, std::int64_t k, std::uint16_t* distances,
                    Id* ids, int n_jobs) {
    scan(queries, gallery, n_jobs, [&](std::int64_t first, std::int64_t last) {
        Nearest nearest{first, k, distances, ids, {}};
        nearest.best.resize(static_cast<std::size_t>(last - first));
        for (auto& top : nearest.best) top.reset(k);
        return nearest;
    });
}

RangeHits hamming_range(View<const Word> queries, View<const Word> gallery, int radius, int n_jobs) {
    std::vector<std::vector<InRange::Hit>> hits(static_cast<std::size_t>(queries.rows));
    scan(queries, gallery, n_jobs, [&](std::int64_t, std::int64_t) { return InRange{&hits, radius}; });
    RangeHits result;
    result.offsets.push_back(0);
    for (const auto& mine : hits) {
        for (const auto& hit : mine) {
            result.distances.push_back(hit.distance);
            result.ids.push_back(hit.id);
        }
        result.offsets.push_back(static_cast<std::int64_t>(result.ids.size()));
    }
    return result;
}

}  // namespace lshcore
