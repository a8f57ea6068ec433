// Full-gallery Hamming ranking: histograms on the device, the metrics of each from them on the host, as the CPU has it.

#include "lshcore/metrics.h"

#include "codes.cuh"
#include "lshcore/codes.h"
#include "lshcore/cuda.h"
#include "lshcore/error.h"
#include "lshcore/parallel.h"

namespace lshcore::cuda {
namespace {

constexpr int kCounters = 2 * (kMaxBits + 1);   // of a block: 32 KB
constexpr int kTileWords = 192;                 // of the queries that have room for them
constexpr std::int64_t kChunk = 32 * kThreads;  // rows of a block

template <int W>
__global__ void __launch_bounds__(kThreads)
    histograms(const Word* queries, std::int64_t m, int tile, const Word* codes, std::int64_t n, std::int64_t step,
               int words, int bins, Classes classes, std::uint32_t* out) {
    __shared__ std::uint32_t counters[kCounters];
    __shared__ Word shared_queries[kTileWords];
    const int sides = classes.of != nullptr ? 2 : 1;
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * tile;
    const int n_queries = static_cast<int>(m - first < tile ? m - first : tile), n_counters = n_queries * sides * bins;
    const int thread = static_cast<int>(threadIdx.x);
    for (int i = thread; i < n_counters; i += kThreads) counters[i] = 0;
    for (int i = thread; i < n_queries * words; i += kThreads) shared_queries[i] = queries[first * words + i];
    __syncthreads();
    const std::int64_t begin = blockIdx.x * kChunk, end = begin + kChunk < n ? begin + kChunk : n;
    for (std::int64_t i = begin + thread; i < end; i += kThreads) {
        const std::int64_t row = i * step;
        const Code<W> code(codes + row * words);
        const std::uint32_t c = sides == 2 ? classes.of[row] : 0;
        for (int q = 0; q < n_queries; ++q) {
            int at = q * sides * bins + hamming<W>(shared_queries + q * words, code.data(), words);
            if (sides == 2 && (classes.relevant[(first + q) * classes.words + c / 32] >> (c % 32) & 1) != 0) at += bins;
            atomicAdd(&counters[at], 1u);
        }
    }
    __syncthreads();
    for (int i = thread; i < n_counters; i += kThreads)
        if (counters[i] != 0) atomicAdd(&out[first * sides * bins + i], counters[i]);
}

}  // namespace

void add_histograms(const Word* queries, std::int64_t m, const Word* codes, std::int64_t n, std::int64_t step,
                    std::int64_t words, int bins, Classes classes, std::uint32_t* out) {
    const std::int64_t counters = (classes.of != nullptr ? 2 : 1) * std::int64_t{bins};
    const std::int64_t tile = std::min<std::int64_t>({kQueryTile, kCounters / counters, kTileWords / words});
    for_width(words, [&](auto width) {
        for (std::int64_t q = 0; q < m; q += 65535 * tile) {
            const std::int64_t some = std::min(m - q, 65535 * tile);
            Classes mine = classes;
            if (mine.of != nullptr) mine.relevant += q * mine.words;
            launch(histograms<decltype(width)::value>, dim3(blocks_for(n, kChunk), blocks_for(some, tile)),
                   dim3(kThreads), queries + q * words, some, static_cast<int>(tile), codes, n, step,
                   static_cast<int>(words), bins, mine, out + q * counters);
        }
    });
}

void rank_hamming(RankingAccumulator& accumulator, View<const Word> queries, View<const Word> gallery,
                  const Labels& query_labels, const Labels& gallery_labels, int n_jobs,
                  const std::function<void(std::int64_t)>& progress) {
    require(!accumulator.stable(), "cuda::rank_hamming: the order of the gallery among ties is kept on the CPU only");
    require(queries.cols == gallery.cols, "rank_hamming: queries and gallery must have codes of the same width");
    require(queries.cols == words_for(accumulator.n_bits()), "rank_hamming: the accumulator is for another width");
    require(query_labels.size() == queries.rows && gallery_labels.size() == gallery.rows,
            "rank_hamming: one label an item is needed");
    for (const View<const Word> codes : {queries, gallery})
        if (!on_device(codes.data)) check_padding(codes, accumulator.n_bits());
    Labels::check_comparable(query_labels, gallery_labels);
    require(gallery.rows < std::int64_t{1} << 32, "rank_hamming: at most 2^32 - 1 items are counted at once");

    const int bins = static_cast<int>(64 * queries.cols) + 1;  // with room for padding that was not checked
    const std::int64_t counters = 2 * std::int64_t{bins}, class_words = ceil_div(gallery_labels.n_classes(), 32);
    std::vector<std::uint32_t> class_of;
    for (std::int64_t row = 0; row < gallery.rows; ++row) class_of.push_back(gallery_labels.class_of(row));
    const Input<Word> all_queries(queries);
    const Memory<std::uint32_t> classes(class_of.data(), gallery.rows);
    const auto a_query = sizeof(std::uint32_t) * static_cast<std::size_t>(counters + class_words);
    const std::int64_t block = std::clamp<std::int64_t>(static_cast<std::int64_t>(free_bytes() / 4 / a_query), 1, 8192);
    std::vector<RankingAccumulator::QueryValues> values(static_cast<std::size_t>(std::min(block, queries.rows)));
    for (std::int64_t first = 0; first < queries.rows; first += block) {
        const std::int64_t n = std::min(block, queries.rows - first);
        std::vector<std::uint32_t> bits(static_cast<std::size_t>(n * class_words));
        parallel_for(ceil_div(n, 64), n_jobs, [&](std::int64_t b, int) {
            for (std::int64_t q = 64 * b; q < std::min(64 * b + 64, n); ++q)
                query_labels.for_relevant(first + q, gallery_labels, [&](std::int64_t c) {
                    bits[static_cast<std::size_t>(q * class_words + c / 32)] |= 1u << (c % 32);
                });
        });
        const Memory<std::uint32_t> relevant(bits.data(), n * class_words);
        Memory<std::uint32_t> counts(n * counters);
        counts.fill(0, n * counters);
        for_pieces(gallery, [&](const Word* codes, std::int64_t rows, std::int64_t first_row) {
            add_histograms(all_queries.data() + first * queries.cols, n, codes, rows, 1, queries.cols, bins,
                           {classes.data() + first_row, relevant.data(), class_words}, counts.data());
        });
        const auto found = to_host(counts.data(), n * counters);
        parallel_for(ceil_div(n, 64), n_jobs, [&](std::int64_t b, int) {
            std::vector<TieGroup> ties;
            for (std::int64_t q = 64 * b; q < std::min(64 * b + 64, n); ++q) {
                const std::uint32_t *others = found.data() + q * counters, *hits = others + bins;
                std::int64_t n_relevant = 0;
                ties.clear();
                for (int d = 0; d <= accumulator.n_bits(); ++d) {
                    const std::int64_t n_hits = hits[d], items = others[d] + n_hits;
                    n_relevant += n_hits;
                    if (items > 0) ties.push_back({static_cast<float>(d), items, n_hits});
                }
                values[static_cast<std::size_t>(q)] = accumulator.evaluate(ties, n_relevant);
            }
        });
        for (std::int64_t q = 0; q < n; ++q) accumulator.add(values[static_cast<std::size_t>(q)]);
        if (progress) progress(first + n);
    }
}

}  // namespace lshcore::cuda
