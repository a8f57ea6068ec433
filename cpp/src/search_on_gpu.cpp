// Index::search where candidates are united and ranked on the GPU: the keys are found here, and the answers of the segments
// brought together.

#include <algorithm>
#include <memory>
#include <type_traits>

#include "lshcore/candidates.h"
#include "lshcore/cuda.h"
#include "lshcore/error.h"
#include "lshcore/index.h"
#include "lshcore/parallel.h"
#include "lshcore/project.h"
#include "lshcore/topk.h"

namespace lshcore {
namespace {

constexpr std::int64_t kTogether = 4096;  // queries a launch

/// The buckets that queries [first, first + n) look into.
cuda::Buckets buckets_of(const Partitioner& partitioner, const Queries& queries, const SearchOptions& options,
                         const Segment& segment, std::int64_t first, std::int64_t n) {
    constexpr std::int64_t kBlock = 64;
    std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>> runs(static_cast<std::size_t>(n));
    std::vector<std::int64_t> before{0};  // rows of the tables before
    for (const Table& table : segment.tables)
        before.push_back(before.back() + static_cast<std::int64_t>(table.rows().size()));
    parallel_for(ceil_div(n, kBlock), options.n_jobs, [&](std::int64_t block, int) {
        const std::int64_t begin = block * kBlock, end = std::min(begin + kBlock, n);
        Prober prober(partitioner, queries, {options.probes, options.radius, options.rank == Rank::ip});
        prober.prepare(first + begin, end - begin);
        for (std::int64_t q = begin; q < end; ++q) {
            auto& mine = runs[static_cast<std::size_t>(q)];
            if (segment.tables.empty()) {
                mine.emplace_back(0, segment.size());
                continue;
            }
            for (const auto bucket : prober.buckets(segment, first + q)) {
                if (bucket.empty()) continue;
                std::size_t t = 0;
                while (std::less<>()(bucket.data(), segment.tables[t].rows().data()) ||
                       !std::less<>()(bucket.data(), segment.tables[t].rows().end()))
                    ++t;
                const std::int64_t at = before[t] + (bucket.data() - segment.tables[t].rows().data());
                mine.emplace_back(at, at + static_cast<std::int64_t>(bucket.size()));
            }
        }
    });
    cuda::Buckets buckets;
    for (const auto& mine : runs) {
        for (const auto& [begin, end] : mine) {
            buckets.begins.push_back(begin);
            buckets.ends.push_back(end);
        }
        buckets.offsets.push_back(static_cast<std::int64_t>(buckets.begins.size()));
    }
    return buckets;
}

}  // namespace

template <class D>
void Index::search_on_gpu(const State& state, const Queries& given, std::int64_t k, const SearchOptions& options,
                          D* distances, Id* ids, std::int64_t* n_candidates) const {
    require(options.shortlist == 0 && options.allowed.everything() && options.rank != Rank::margin,
            "Index.search: on the GPU there is no shortlist, no filter and no ranking by margin");
    Queries queries = given;
    std::vector<float> norms(static_cast<std::size_t>(given.size()));
    if (options.rank == Rank::cosine) {
        inverse_norms(queries.vectors, norms.data(), options.n_jobs);
        queries.inverse_norms = norms.data();
    }
    for (std::int64_t first = 0; first < queries.size(); first += kTogether) {
        const std::int64_t n = std::min(kTogether, queries.size() - first);
        std::vector<TopK<D>> best(static_cast<std::size_t>(n));
        for (auto& each : best) each.reset(k);
        std::fill_n(n_candidates + first, n, std::int64_t{0});
        for (const LiveSegment& part : state.segments) {
            const Segment& segment = *part.segment;
            const auto found = cuda::rank_candidates(
                part, queries, first, buckets_of(partitioner_, queries, options, segment, first, n), options.rank, k);
            for (std::int64_t q = 0; q < n; ++q) {
                n_candidates[first + q] += found.n_met[static_cast<std::size_t>(q)];
                for (auto i = static_cast<std::size_t>(q * k); i < static_cast<std::size_t>((q + 1) * k); ++i)
                    if (found.rows[i] >= 0)
                        best[static_cast<std::size_t>(q)].push(static_cast<D>(found.distances[i]),
                                                               segment.ids[found.rows[i]]);
            }
        }
        for (std::int64_t q = 0; q < n; ++q)
            best[static_cast<std::size_t>(q)].write(distances + (first + q) * k, ids + (first + q) * k);
    }
}

template void Index::search_on_gpu(const State&, const Queries&, std::int64_t, const SearchOptions&, std::uint16_t*,
                                   Id*, std::int64_t*) const;
template void Index::search_on_gpu(const State&, const Queries&, std::int64_t, const SearchOptions&, float*, Id*,
                                   std::int64_t*) const;

}  // namespace lshcore
