// Index::search, range_search, candidates and evaluate: one walk over queries, and what is done with the distances it meets.

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#include "lshcore/candidates.h"
#include "lshcore/codes.h"
#include "lshcore/error.h"
#include "lshcore/hamming.h"
#include "lshcore/index.h"
#include "lshcore/parallel.h"
#include "lshcore/project.h"
#include "rank_residuals.h"
#include "shortlist.h"
#include "sinks.h"

namespace lshcore {
namespace {

/// What each of m queries took of the time of all threads since `start`: they share the work evenly.
double thread_seconds(Clock::time_point start, int n_jobs, std::int64_t m) {
    return seconds(start, Clock::now()) * static_cast<double>(std::min<std::int64_t>(n_jobs, m)) /
           static_cast<double>(std::max<std::int64_t>(1, m));
}

std::string text(std::int64_t n) { return std::to_string(n); }

constexpr std::int64_t kTileRows = 64;       // gallery rows a tile, exhaustive scans
constexpr std::int64_t kTileQueries = 64;    // queries that share it
constexpr std::int64_t kBucketQueries = 16;  // queries a block where tables choose the rows

std::vector<CodeBatch> code_batches(LiveSegments segments) {
    std::vector<CodeBatch> batches;
    for (const LiveSegment& part : segments) {
        batches.push_back(part.segment->code_batch());
        batches.back().removed = part.removed_bits();
    }
    return batches;
}

}  // namespace

void Index::check_queries(const Queries& queries, const SearchOptions& options, bool scored) const {
    const auto* keys = bit_keys(partitioner_);
    const auto* cells = std::get_if<LatticeKeys>(&partitioner_);
    const auto* clusters = std::get_if<ClusterKeys>(&partitioner_);
    const bool ranks_vectors = scored && reads_vectors(options.rank);
    const bool residuals = clusters != nullptr && clusters->residuals() != nullptr && reads_vectors(options.rank);
    const bool ranks_codes = scored && (reads_codes(options.rank) || (options.shortlist > 0 && !residuals));
    require(!ranks_codes || n_bits_ > 0,
            "Index.search: ranking by Hamming distance or margin needs an index with codes");
    require(!scored || options.rank != Rank::margin || queries.margins.data != nullptr || queries.size() == 0,
            "Index.search: ranking by margin needs the margins of the queries");
    require(!ranks_vectors || keep_ != VectorType::none,
            "Index.search: ranking by cosine or L2 needs an index that keeps vectors");
    require(options.shortlist >= 0, "Index.search: shortlist must not be negative");
    require(options.shortlist == 0 || options.rank != Rank::hamming || !scored,
            "Index.search: a shortlist by Hamming distance is for another ranking");
    if ((keys != nullptr && cells == nullptr) || ranks_codes) {
        require(queries.codes.cols > 0, "Index.search: query codes are needed");
        check_padding(queries.codes, n_bits_);
    }
    if (queries.margins.data != nullptr)
        require(queries.margins.cols == n_bits_ && queries.margins.rows == queries.size(),
                "Index.search: margins must be (queries, n_bits)");
    if (clusters != nullptr || cells != nullptr || ranks_vectors) {
        const std::int64_t dim = cells != nullptr ? cells->lattice().dim() : dim_;
        require(queries.vectors.cols > 0, "Index.search: query vectors are needed");
        if (queries.vectors.cols != dim)
            throw std::invalid_argument("Index.search: expected vectors of " + text(dim) + " columns, got " +
                                        text(queries.vectors.cols));
    }
    require(queries.codes.cols == 0 || queries.vectors.cols == 0 || queries.codes.rows == queries.vectors.rows,
            "Index.search: as many query codes as query vectors are needed");

    const std::int64_t least = keys != nullptr ? keys->n_tables() : 1;
    const std::int64_t most = keys != nullptr       ? std::numeric_limits<std::int64_t>::max()
                              : clusters != nullptr ? clusters->n_clusters()
                                                    : 1;
    require(options.radius < 0 || (keys != nullptr && cells == nullptr),
            "Index.search: only keys made of signs have a radius");
    if (options.radius < 0 && (options.probes < least || options.probes > most))
        throw std::invalid_argument("Index.search: expected probes from " + text(least) +
                                    (keys != nullptr ? "" : " to " + text(most)) + ", got " + text(options.probes));
}

void Index::prepare(const State& state, const SearchOptions& options, bool scored) const {
    const bool wide = bit_keys(partitioner_) != nullptr && bit_keys(partitioner_)->wide();
    unsigned parts = kTables | kIds;
    if (wide || (scored && (reads_codes(options.rank) || options.shortlist > 0))) parts |= kCodes;
    if (scored && options.shortlist > 0) parts |= kResiduals;
    if (scored && options.rank == Rank::cosine) parts |= kNorms;
    if (options.on_gpu) parts |= kAllParts & ~kResiduals;  // they are copied there
    for (const LiveSegment& part : state.segments) part.segment->prepare(parts, options.n_jobs);
}

template <class D, class MakeSink>
void Index::scan(const State& state, const Queries& given, const SearchOptions& options, MakeSink make_sink) const {
    using Sink = decltype(make_sink());
    const std::int64_t m = given.size();
    const auto* clusters = std::get_if<ClusterKeys>(&partitioner_);
    const bool exhaustive = std::holds_alternative<OneBucket>(partitioner_) ||
                            (clusters != nullptr && options.probes == clusters->n_clusters());
    Queries queries = given;
    std::vector<float> norms;
    if (options.rank == Rank::cosine) {
        norms.resize(static_cast<std::size_t>(m));
        inverse_norms(queries.vectors, norms.data(), options.n_jobs);
        queries.inverse_norms = norms.data();
    }
    const Filters filters(state.segments, options.allowed, m, options.n_jobs, "Index.search");
    std::vector<std::int64_t> base{0};  // first row of each segment
    std::vector<RowOrder> order;        // the same among those that live
    std::vector<std::vector<std::uint32_t>> ranks;
    std::int64_t n_before = 0;
    for (const LiveSegment& part : state.segments) {
        base.push_back(base.back() + part.segment->size());
        ranks.emplace_back();
        if (Sink::kReadsOrder && part.removed != nullptr) {
            ranks.back().resize(static_cast<std::size_t>(part.segment->size()));
            std::uint32_t rank = 0;
            part.for_each([&](std::int64_t row) { ranks.back()[static_cast<std::size_t>(row)] = rank++; });
        }
        order.push_back({n_before, ranks.back().empty() ? nullptr : ranks.back().data()});
        n_before += part.n_live;
    }

    if (exhaustive && options.shortlist == 0 && filters.everything() && options.rank != Rank::margin) {
        // Float metrics hold the list of each query of a block: keep them to some 4 million entries.
        const std::int64_t block = std::clamp<std::int64_t>(
            (std::int64_t{1} << 22) / std::max<std::int64_t>(1, state.n_rows), 4, kTileQueries);
        parallel_for(ceil_div(m, block), options.n_jobs, [&](std::int64_t b, int) {
            const std::int64_t first = b * block, n = std::min(block, m - first);
            const auto start = Clock::now();
            std::vector<Sink> sinks;
            for (std::int64_t i = 0; i < n; ++i) {
                sinks.push_back(make_sink());
                sinks.back().begin(first + i);
            }
            std::vector<D> distances(static_cast<std::size_t>(n * kTileRows));
            std::int64_t live[kTileRows];
            for (std::size_t s = 0; s < state.segments.size(); ++s) {
                const LiveSegment& part = state.segments[s];
                const Segment& segment = *part.segment;
                for (std::int64_t row = 0; row < segment.size(); row += kTileRows) {
                    const std::int64_t rows = std::min(kTileRows, segment.size() - row);
                    std::int64_t n_live = part.removed == nullptr ? rows : 0;
                    for (std::int64_t j = 0; part.removed != nullptr && j < rows; ++j)
                        if (part.lives(row + j)) live[n_live++] = j;
                    if (n_live == 0) continue;
                    score_tile(segment, options.rank, queries, first, n, row, rows, distances.data());
                    for (std::int64_t i = 0; i < n; ++i) {
                        D* const mine = distances.data() + i * rows;
                        Sink& sink = sinks[static_cast<std::size_t>(i)];
                        if (n_live == rows) {
                            sink.take(
                                first + i, segment, order[s], [row](std::int64_t j) { return row + j; }, rows, mine);
                            continue;
                        }
                        for (std::int64_t j = 0; j < n_live; ++j) mine[j] = mine[live[j]];
                        sink.take(
                            first + i, segment, order[s], [row, &live](std::int64_t j) { return row + live[j]; },
                            n_live, mine);
                    }
                    interruption_point();
                }
            }
            for (std::int64_t i = 0; i < n; ++i) sinks[static_cast<std::size_t>(i)].end(first + i, state.n_rows);
            const double each = seconds(start, Clock::now()) / static_cast<double>(n);
            for (std::int64_t i = 0; i < n; ++i) sinks[static_cast<std::size_t>(i)].timed(first + i, {0, 0, each});
        });
        return;
    }

    const bool by_residuals =
        options.shortlist > 0 && reads_vectors(options.rank) && clusters != nullptr && clusters->residuals() != nullptr;
    const auto make_scorer = [&] {
        return Scorer<D, Sink>{state.segments, options.rank, queries, order, make_sink(), {}};
    };
    if (by_residuals) {
        rank_residuals<D>(state.segments, *clusters, queries, options, filters, make_scorer);
        return;
    }

    // A shortlist of everything comes from an exhaustive scan of the codes: row numbers, through all segments.
    const bool shortlist_all = exhaustive && options.shortlist > 0 && filters.everything();
    std::vector<Id> shortlists;  // of the queries from first_listed on
    std::int64_t first_listed = 0;
    double scan_seconds = 0;
    const auto list_nearest = [&](std::int64_t first, std::int64_t n) {
        const auto start = Clock::now();
        std::vector<std::uint16_t> distances(static_cast<std::size_t>(n * options.shortlist));
        shortlists.resize(distances.size());
        first_listed = first;
        hamming_search({queries.codes.row(first), n, queries.codes.cols}, code_batches(state.segments),
                       options.shortlist, distances.data(), shortlists.data(), options.n_jobs, true);
        scan_seconds = thread_seconds(start, options.n_jobs, n);
    };

    struct Scratch {
        Scorer<D, Sink> scorer;
        Prober prober;
        Shortlist shortlist;
    };
    const ProbeOptions probing{options.probes, options.radius, options.rank == Rank::ip};
    std::vector<std::unique_ptr<Scratch>> scratch(static_cast<std::size_t>(std::max(1, options.n_jobs)));
    const auto answer_block = [&](std::int64_t first, std::int64_t n, int worker) {
        auto& mine = scratch[static_cast<std::size_t>(worker)];
        if (!mine) mine.reset(new Scratch{make_scorer(), {partitioner_, queries, probing}, {}});
        Sink& sink = mine->scorer.sink;
        const auto start = Clock::now();
        mine->prober.prepare(first, n);
        const double probe = seconds(start, Clock::now()) / static_cast<double>(n);
        for (std::int64_t q = first; q < first + n; ++q) {
            StageTimes times{probe, 0, 0};
            const auto score = [&](std::size_t s, std::span<const Row> rows) { mine->scorer(q, s, rows); };
            sink.begin(q);
            auto then = Clock::now();
            if (shortlist_all) {
                const auto begin = shortlists.begin() + (q - first_listed) * options.shortlist;
                mine->shortlist.split({begin, std::find(begin, begin + options.shortlist, kNoId)}, base, score);
                sink.end(q, state.n_rows);
                sink.timed(q, {0, scan_seconds, seconds(then, Clock::now())});
                continue;
            }
            mine->shortlist.begin();
            mine->prober.find(q);
            const auto known = Clock::now();
            times.probe += seconds(then, known);
            then = known;
            std::int64_t n_found = 0;
            for (std::size_t s = 0; s < state.segments.size(); ++s) {
                const Segment& segment = *state.segments[s].segment;
                const auto rows = mine->prober.candidates(segment, q, filters.at(s, q));
                const auto met = Clock::now();
                times.scan += seconds(then, met);
                n_found += static_cast<std::int64_t>(rows.size());
                if (options.shortlist > 0)
                    mine->shortlist.add(s, segment, queries, q, rows);
                else
                    score(s, rows);
                then = Clock::now();
                times.rerank += seconds(met, then);
            }
            if (options.shortlist > 0) mine->shortlist.cut(options.shortlist, score);
            sink.end(q, n_found);
            times.rerank += seconds(then, Clock::now());
            sink.timed(q, times);
        }
    };

    // All queries at once, or as many as keep the shortlists of a scan to some 4 million rows.
    const std::int64_t at_once = shortlist_all ? std::max<std::int64_t>(1, (std::int64_t{1} << 22) / options.shortlist)
                                               : std::max<std::int64_t>(1, m);
    for (std::int64_t begin = 0; begin < m; begin += at_once) {
        const std::int64_t end = std::min(begin + at_once, m);
        if (shortlist_all) list_nearest(begin, end - begin);
        parallel_for(ceil_div(end - begin, kBucketQueries), options.n_jobs, [&](std::int64_t block, int worker) {
            const std::int64_t first = begin + block * kBucketQueries;
            answer_block(first, std::min(kBucketQueries, end - first), worker);
        });
    }
}

template <class D>
void Index::search(const Queries& queries, std::int64_t k, const SearchOptions& options, D* distances, Id* ids,
                   std::int64_t* n_candidates, StageTimes* times) const {
    require(k >= 1, "Index.search: k must be at least 1");
    check_queries(queries, options, true);
    require((options.rank == Rank::hamming) == std::is_same_v<D, std::uint16_t>,
            "Index.search: Hamming distances are uint16, all others float");
    const auto now = state();
    prepare(*now, options, true);
    if (options.on_gpu) {
        const auto start = Clock::now();
        search_on_gpu(*now, queries, k, options, distances, ids, n_candidates);
        std::fill_n(times, queries.size(), StageTimes{0, 0, thread_seconds(start, 1, queries.size())});
        return;
    }
    if constexpr (std::is_same_v<D, std::uint16_t>) {
        if (std::holds_alternative<OneBucket>(partitioner_) && options.allowed.everything()) {
            const auto start = Clock::now();
            hamming_search(queries.codes, code_batches(now->segments), k, distances, ids, options.n_jobs);
            std::fill_n(n_candidates, queries.size(), now->n_rows);
            std::fill_n(times, queries.size(), StageTimes{0, 0, thread_seconds(start, options.n_jobs, queries.size())});
            return;
        }
    }
    scan<D>(*now, queries, options, [&] { return SearchSink<D>{k, distances, ids, n_candidates, times, {}}; });
}

template void Index::search(const Queries&, std::int64_t, const SearchOptions&, std::uint16_t*, Id*, std::int64_t*,
                            StageTimes*) const;
template void Index::search(const Queries&, std::int64_t, const SearchOptions&, float*, Id*, std::int64_t*,
                            StageTimes*) const;

template <class D>
RangeResult<D> Index::range_search(const Queries& queries, const SearchOptions& options, D radius) const {
    check_queries(queries, options, true);
    require((options.rank == Rank::hamming) == std::is_same_v<D, std::uint16_t>,
            "Index.range_search: Hamming distances are uint16, all others float");
    require(options.shortlist == 0, "Index.range_search: a shortlist is for the k nearest");
    const auto now = state();
    prepare(*now, options, true);
    const auto m = static_cast<std::size_t>(queries.size());
    RangeResult<D> result;
    result.n_candidates.assign(m, now->n_rows);
    if constexpr (std::is_same_v<D, std::uint16_t>) {
        if (std::holds_alternative<OneBucket>(partitioner_) && options.allowed.everything()) {
            auto hits = hamming_range(queries.codes, code_batches(now->segments), radius, options.n_jobs);
            result.offsets = std::move(hits.offsets);
            result.distances = std::move(hits.distances);
            result.ids = std::move(hits.ids);
            return result;
        }
    }
    std::vector<std::vector<typename RangeSink<D>::Hit>> found(m);
    scan<D>(*now, queries, options, [&] { return RangeSink<D>{radius, found, result.n_candidates.data(), {}}; });
    result.offsets.push_back(0);
    for (auto& mine : found) {
        for (const auto& [distance, id] : mine) {
            result.distances.push_back(distance);
            result.ids.push_back(id);
        }
        result.offsets.push_back(static_cast<std::int64_t>(result.ids.size()));
        mine = {};
    }
    return result;
}

template RangeResult<std::uint16_t> Index::range_search(const Queries&, const SearchOptions&, std::uint16_t) const;
template RangeResult<float> Index::range_search(const Queries&, const SearchOptions&, float) const;

void Index::candidates(const Queries& queries, const SearchOptions& options, std::vector<std::int64_t>& offsets,
                       std::vector<Id>& ids) const {
    check_queries(queries, options, false);
    const auto now = state();
    prepare(*now, options, false);
    const std::int64_t m = queries.size();
    const Filters filters(now->segments, options.allowed, m, options.n_jobs, "Index.candidates");
    std::vector<std::vector<Id>> found(static_cast<std::size_t>(m));
    parallel_for(ceil_div(m, kBucketQueries), options.n_jobs, [&](std::int64_t block, int) {
        const std::int64_t first = block * kBucketQueries, n = std::min(kBucketQueries, m - first);
        Prober prober(partitioner_, queries, {options.probes, options.radius, options.rank == Rank::ip});
        prober.prepare(first, n);
        for (std::int64_t q = first; q < first + n; ++q) {
            auto& mine = found[static_cast<std::size_t>(q)];
            for (std::size_t s = 0; s < now->segments.size(); ++s) {
                const Segment& segment = *now->segments[s].segment;
                for (const Row row : prober.candidates(segment, q, filters.at(s, q))) mine.push_back(segment.ids[row]);
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

void Index::evaluate(RankingAccumulator& accumulator, const Queries& queries, const SearchOptions& options,
                     const Labels& query_labels, const Labels& gallery_labels) const {
    check_queries(queries, options, true);
    const auto now = state();
    const std::int64_t m = queries.size();
    if (query_labels.size() != m || gallery_labels.size() != now->n_rows)
        throw std::invalid_argument("Index.evaluate: expected " + text(m) + " query labels and " + text(now->n_rows) +
                                    " gallery labels, got " + text(query_labels.size()) + " and " +
                                    text(gallery_labels.size()));
    Labels::check_comparable(query_labels, gallery_labels);
    prepare(*now, options, true);
    const bool hamming = options.rank == Rank::hamming;
    require(accumulator.n_bits() == (hamming ? n_bits_ : 0), "Index.evaluate: the accumulator is for another ranking");

    std::vector<RankingAccumulator::QueryValues> values(static_cast<std::size_t>(m));
    const auto run = [&]<class D>(D) {
        scan<D>(*now, queries, options,
                [&] { return MetricsSink<D>{query_labels, gallery_labels, values, RankedList(accumulator)}; });
    };
    if (hamming)
        run(std::uint16_t{});
    else
        run(float{});
    for (const auto& query : values) accumulator.add(query);
}

}  // namespace lshcore
