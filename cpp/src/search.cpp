// Index::search, candidates and evaluate: one walk over queries, and what is done with the distances it meets.

#include <algorithm>
#include <chrono>
#include <string>

#include "lshcore/candidates.h"
#include "lshcore/codes.h"
#include "lshcore/error.h"
#include "lshcore/index.h"
#include "lshcore/parallel.h"
#include "lshcore/project.h"
#include "lshcore/topk.h"

namespace lshcore {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

std::string text(std::int64_t n) { return std::to_string(n); }

/// Keeps the k best of one query.
template <class D>
struct SearchSink {
    std::int64_t k;
    D* distances;
    Id* ids;
    std::int64_t* n_candidates;
    StageTimes* times;
    TopK<D> best;
    std::int64_t seen = 0;

    void begin(std::int64_t) {
        best.reset(k);
        seen = 0;
    }
    template <class RowAt>
    void take(std::int64_t, const Segment& segment, std::int64_t, RowAt row_at, std::int64_t n, const D* d) {
        seen += n;
        for (std::int64_t i = 0; i < n; ++i)
            if (d[i] <= best.bound()) best.push(d[i], segment.ids[row_at(i)]);
    }
    void end(std::int64_t q) {
        best.write(distances + q * k, ids + q * k);
        n_candidates[q] = seen;
    }
    void timed(std::int64_t q, const StageTimes& t) { times[q] = t; }
};

/// Ranks the whole list of one query and keeps its metrics.
template <class D>
struct MetricsSink {
    const Labels& query_labels;
    const Labels& gallery_labels;
    std::vector<RankingAccumulator::QueryValues>& values;
    RankedList list;

    void begin(std::int64_t) { list.begin(); }
    template <class RowAt>
    void take(std::int64_t q, const Segment& segment, std::int64_t base, RowAt row_at, std::int64_t n, const D* d) {
        query_labels.with_relevance(q, gallery_labels, [&](auto is_relevant) {
            for (std::int64_t i = 0; i < n; ++i) {
                const std::int64_t row = row_at(i);
                list.add(d[i], segment.ids[row], is_relevant(base + row));
            }
        });
    }
    void end(std::int64_t q) {
        values[static_cast<std::size_t>(q)] = list.finish(query_labels.count_relevant(q, gallery_labels));
    }
    void timed(std::int64_t, const StageTimes&) {}
};

constexpr std::int64_t kTileRows = 64;       // gallery rows a tile, exhaustive scans
constexpr std::int64_t kBucketQueries = 16;  // queries a block where tables choose the rows

}  // namespace

std::int64_t Index::check_queries(View<const Word> codes, View<const float> vectors, const SearchOptions& options,
                                  bool scored) const {
    const bool keys_by_code = std::holds_alternative<BitKeys>(partitioner_);
    const auto* clusters = std::get_if<ClusterKeys>(&partitioner_);
    const bool ranks_codes = scored && options.rank == Rank::hamming;
    const bool ranks_vectors = scored && options.rank != Rank::hamming;
    require(!ranks_codes || n_bits_ > 0, "Index.search: ranking by Hamming distance needs an index with codes");
    require(!ranks_vectors || keep_vectors_, "Index.search: ranking by cosine or L2 needs an index that keeps vectors");
    if (keys_by_code || ranks_codes) {
        require(codes.data != nullptr, "Index.search: query codes are needed");
        check_padding(codes, n_bits_);
    }
    if (clusters != nullptr || ranks_vectors) {
        require(vectors.data != nullptr, "Index.search: query vectors are needed");
        if (vectors.cols != dim_)
            throw std::invalid_argument("Index.search: expected vectors of " + text(dim_) + " columns, got " +
                                        text(vectors.cols));
    }
    const std::int64_t most = clusters != nullptr ? clusters->n_clusters() : std::max(1, n_tables(partitioner_));
    const std::int64_t least = clusters != nullptr ? 1 : most;
    if (options.probes < least || options.probes > most)
        throw std::invalid_argument("Index.search: expected probes from " + text(least) + " to " + text(most) +
                                    ", got " + text(options.probes));
    const std::int64_t m = codes.data != nullptr ? codes.rows : vectors.rows;
    require(codes.data == nullptr || vectors.data == nullptr || codes.rows == vectors.rows,
            "Index.search: as many query codes as query vectors are needed");
    return m;
}

template <class D, class MakeSink>
void Index::scan(const State& state, View<const Word> codes, View<const float> vectors, const SearchOptions& options,
                 std::int64_t queries_a_block, MakeSink make_sink) const {
    const std::int64_t m = codes.data != nullptr ? codes.rows : vectors.rows;
    std::vector<float> norms;
    if (options.rank == Rank::cosine) {
        norms.resize(static_cast<std::size_t>(m));
        inverse_norms(vectors, norms.data(), 1);
    }
    const Queries queries{codes, vectors, norms.data()};
    const bool exhaustive = std::holds_alternative<OneBucket>(partitioner_);
    using Sink = decltype(make_sink());
    struct Scratch {
        std::vector<Sink> sinks;
        std::vector<D> distances;
        std::unique_ptr<Prober> prober;
    };
    std::vector<Scratch> scratch(static_cast<std::size_t>(std::max(1, options.n_jobs)));

    parallel_for(ceil_div(m, queries_a_block), options.n_jobs, [&](std::int64_t block, int worker) {
        Scratch& mine = scratch[static_cast<std::size_t>(worker)];
        const std::int64_t first = block * queries_a_block, n = std::min(queries_a_block, m - first);
        const auto start = Clock::now();
        if (exhaustive) {
            while (static_cast<std::int64_t>(mine.sinks.size()) < n) mine.sinks.push_back(make_sink());
            mine.distances.resize(static_cast<std::size_t>(n * kTileRows));
            for (std::int64_t i = 0; i < n; ++i) mine.sinks[static_cast<std::size_t>(i)].begin(first + i);
            std::int64_t base = 0;
            for (const auto& segment : state.segments) {
                for (std::int64_t row = 0; row < segment->size(); row += kTileRows) {
                    const std::int64_t rows = std::min(kTileRows, segment->size() - row);
                    score_tile(*segment, options.rank, queries, first, n, row, rows, mine.distances.data());
                    for (std::int64_t i = 0; i < n; ++i)
                        mine.sinks[static_cast<std::size_t>(i)].take(
                            first + i, *segment, base, [row](std::int64_t j) { return row + j; }, rows,
                            mine.distances.data() + i * rows);
                }
                base += segment->size();
            }
            for (std::int64_t i = 0; i < n; ++i) mine.sinks[static_cast<std::size_t>(i)].end(first + i);
            const double each = seconds(start, Clock::now()) / static_cast<double>(n);
            for (std::int64_t i = 0; i < n; ++i) mine.sinks[static_cast<std::size_t>(i)].timed(first + i, {0, 0, each});
            return;
        }

        if (!mine.prober) {
            mine.prober = std::make_unique<Prober>(partitioner_, options.probes);
            mine.sinks.push_back(make_sink());
        }
        Sink& sink = mine.sinks[0];
        mine.prober->prepare(codes, vectors, first, n);
        const double probe = seconds(start, Clock::now()) / static_cast<double>(n);
        for (std::int64_t q = first; q < first + n; ++q) {
            StageTimes times{probe, 0, 0};
            sink.begin(q);
            std::int64_t base = 0;
            auto then = Clock::now();
            for (const auto& segment : state.segments) {
                const auto rows = mine.prober->candidates(*segment, q);
                const auto met = Clock::now();
                times.scan += seconds(then, met);
                const auto count = static_cast<std::int64_t>(rows.size());
                if (mine.distances.size() < rows.size()) mine.distances.resize(rows.size());
                score_rows(*segment, options.rank, queries, q, rows.data(), count, mine.distances.data());
                sink.take(
                    q, *segment, base, [rows](std::int64_t j) { return rows[static_cast<std::size_t>(j)]; }, count,
                    mine.distances.data());
                base += segment->size();
                then = Clock::now();
                times.rerank += seconds(met, then);
            }
            sink.end(q);
            times.rerank += seconds(then, Clock::now());
            sink.timed(q, times);
        }
    });
}

template <class D>
void Index::search(View<const Word> codes, View<const float> vectors, std::int64_t k, const SearchOptions& options,
                   D* distances, Id* ids, std::int64_t* n_candidates, StageTimes* times) const {
    require(k >= 1, "Index.search: k must be at least 1");
    check_queries(codes, vectors, options, true);
    const bool exhaustive = std::holds_alternative<OneBucket>(partitioner_);
    scan<D>(*state(), codes, vectors, options, exhaustive ? 64 : kBucketQueries,
            [&] { return SearchSink<D>{k, distances, ids, n_candidates, times, {}}; });
}

template void Index::search(View<const Word>, View<const float>, std::int64_t, const SearchOptions&, std::uint16_t*,
                            Id*, std::int64_t*, StageTimes*) const;
template void Index::search(View<const Word>, View<const float>, std::int64_t, const SearchOptions&, float*, Id*,
                            std::int64_t*, StageTimes*) const;

void Index::candidates(View<const Word> codes, View<const float> vectors, const SearchOptions& options,
                       std::vector<std::int64_t>& offsets, std::vector<Id>& ids) const {
    const std::int64_t m = check_queries(codes, vectors, options, false);
    const auto now = state();
    std::vector<std::vector<Id>> found(static_cast<std::size_t>(m));
    const bool exhaustive = std::holds_alternative<OneBucket>(partitioner_);
    parallel_for(ceil_div(m, kBucketQueries), options.n_jobs, [&](std::int64_t block, int) {
        const std::int64_t first = block * kBucketQueries, n = std::min(kBucketQueries, m - first);
        Prober prober(partitioner_, options.probes);
        if (!exhaustive) prober.prepare(codes, vectors, first, n);
        for (std::int64_t q = first; q < first + n; ++q) {
            auto& mine = found[static_cast<std::size_t>(q)];
            for (const auto& segment : now->segments) {
                if (exhaustive)
                    for (std::int64_t row = 0; row < segment->size(); ++row) mine.push_back(segment->ids[row]);
                else
                    for (const Row row : prober.candidates(*segment, q)) mine.push_back(segment->ids[row]);
            }
            std::sort(mine.begin(), mine.end());
        }
    });
    offsets.assign(1, 0);
    ids.clear();
    for (const auto& mine : found) {
        ids.insert(ids.end(), mine.begin(), mine.end());
        offsets.push_back(static_cast<std::int64_t>(ids.size()));
    }
}

void Index::evaluate(RankingAccumulator& accumulator, View<const Word> codes, View<const float> vectors,
                     const SearchOptions& options, const Labels& query_labels, const Labels& gallery_labels) const {
    const std::int64_t m = check_queries(codes, vectors, options, true);
    const auto now = state();
    if (query_labels.size() != m || gallery_labels.size() != now->n_rows)
        throw std::invalid_argument("Index.evaluate: expected " + text(m) + " query labels and " + text(now->n_rows) +
                                    " gallery labels, got " + text(query_labels.size()) + " and " +
                                    text(gallery_labels.size()));
    Labels::check_comparable(query_labels, gallery_labels);
    const bool hamming = options.rank == Rank::hamming;
    require(accumulator.n_bits() == (hamming ? n_bits_ : 0), "Index.evaluate: the accumulator is for another ranking");

    std::vector<RankingAccumulator::QueryValues> values(static_cast<std::size_t>(m));
    // Exhaustive float rankings hold the whole list of each query of a block: keep it to some 16 million entries.
    const std::int64_t block =
        std::clamp<std::int64_t>((std::int64_t{1} << 24) / std::max<std::int64_t>(1, now->n_rows), 4, 64);
    const bool exhaustive = std::holds_alternative<OneBucket>(partitioner_);
    const auto run = [&]<class D>(D) {
        scan<D>(*now, codes, vectors, options, exhaustive ? block : kBucketQueries, [&] {
            return MetricsSink<D>{query_labels, gallery_labels, values, RankedList(accumulator)};
        });
    };
    if (hamming)
        run(std::uint16_t{});
    else
        run(float{});
    for (const auto& query : values) accumulator.add(query);
}

}  // namespace lshcore
