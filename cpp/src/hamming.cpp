#include "lshcore/hamming.h"

#include <algorithm>

#include "grouped.h"
#include "lshcore/error.h"
#include "radix.h"

namespace lshcore {
namespace {

constexpr int kRowBits = 48;  // a hit is distance << 48 | row, so that numbers are ordered as (distance, row)
constexpr std::uint64_t kRowMask = (std::uint64_t{1} << kRowBits) - 1;

struct Hit {
    std::uint64_t key;

    int distance() const { return static_cast<int>(key >> kRowBits); }
    std::int64_t row() const { return static_cast<std::int64_t>(key & kRowMask); }
};

/// Appends what a kernel found (distance << 32 | row of the block).
void append(std::vector<Hit>& hits, std::int64_t first_row, const std::uint64_t* found, std::int64_t n) {
    const std::size_t before = hits.size();
    hits.resize(before + static_cast<std::size_t>(n));
    Hit* out = hits.data() + before;
    for (std::int64_t i = 0; i < n; ++i)
        out[i].key = (found[i] >> 32 << kRowBits) + (found[i] & 0xffffffffu) + static_cast<std::uint64_t>(first_row);
}

/// Drops what was found of removed rows; returns how many are left.
std::int64_t keep_live(const Word* removed, std::int64_t first_row, std::uint64_t* found, std::int64_t n) {
    return std::remove_if(found, found + n,
                          [&](std::uint64_t hit) {
                              const std::int64_t row = first_row + static_cast<std::int64_t>(hit & 0xffffffffu);
                              return (removed[row / 64] >> (row % 64) & 1) != 0;
                          }) -
           found;
}

/// Rows of all batches, one after another, and their ids.
class Rows {
   public:
    explicit Rows(CodeBatches batches) : batches_(batches) {
        Id last = kNoId;
        for (const CodeBatch& batch : batches) {
            first_.push_back(n_);
            n_ += batch.codes.rows;
            ids_ascend_ = ids_ascend_ && batch.ids == nullptr && batch.first_id > last;
            last = batch.first_id + batch.codes.rows - 1;
        }
        require(n_ <= static_cast<std::int64_t>(kRowMask), "hamming: at most 2^48 - 1 codes");
    }

    CodeBatches batches() const { return batches_; }
    std::int64_t first(std::size_t batch) const { return first_[batch]; }
    std::int64_t size() const { return n_; }

    /// Whether the order of the rows is the order of their ids.
    bool ids_ascend() const { return ids_ascend_; }

    Id id(std::int64_t row) const {
        const auto batch =
            static_cast<std::size_t>(std::upper_bound(first_.begin(), first_.end(), row) - first_.begin()) - 1;
        const CodeBatch& mine = batches_[batch];
        const std::int64_t i = row - first_[batch];
        return mine.ids ? mine.ids[i] : mine.first_id + i;
    }

   private:
    CodeBatches batches_;
    std::vector<std::int64_t> first_;
    std::int64_t n_ = 0;
    bool ids_ascend_ = true;
};

/// Sorts hits by (distance, id).
void sort_hits(std::vector<Hit>& hits, const Rows& rows) {
    if (!rows.ids_ascend()) {
        std::sort(hits.begin(), hits.end(), [&](Hit a, Hit b) {
            return a.distance() < b.distance() || (a.distance() == b.distance() && rows.id(a.row()) < rows.id(b.row()));
        });
    } else if (std::is_sorted(hits.begin(), hits.end(), [](Hit a, Hit b) { return a.row() < b.row(); })) {
        std::vector<Hit> spare;  // a stable pass by distance alone
        radix_sort(hits, spare, kMaxBits, [](Hit hit) { return static_cast<Word>(hit.distance()); });
    } else {
        std::sort(hits.begin(), hits.end(), [](Hit a, Hit b) { return a.key < b.key; });
    }
}

/// The k nearest of one query so far, selected by counting: there are only n_bits + 1 distances.
class Nearest {
   public:
    Nearest(std::int64_t k, int words, bool ids_ascend)
        : k_(k), ids_ascend_(ids_ascend), bound_(64 * words + 1), counts_(static_cast<std::size_t>(bound_), 0) {}

    /// Only what is strictly nearer than this can still enter: where rows come in the order of their ids, the first
    /// come of equal distances win.
    int threshold() const { return ids_ascend_ && n_ >= k_ ? bound_ - 1 : bound_; }

    void add(std::int64_t first_row, const std::uint64_t* found, std::int64_t n) {
        append(hits_, first_row, found, n);
        for (std::int64_t i = 0; i < n; ++i) ++counts_[found[i] >> 32];
        n_ += n;
        tighten();
    }

    void merge(const Nearest& other) {  // of later rows
        for (const Hit hit : other.hits_) {
            if (hit.distance() >= bound_) continue;
            hits_.push_back(hit);
            ++counts_[static_cast<std::size_t>(hit.distance())];
            ++n_;
        }
        tighten();
    }

    /// The k nearest in order; missing places 65535 and kNoId.
    void write(const Rows& rows, std::uint16_t* distances, Id* ids, bool as_rows) {
        drop();
        sort_hits(hits_, rows);
        const std::int64_t n = std::min(k_, static_cast<std::int64_t>(hits_.size()));
        for (std::int64_t i = 0; i < n; ++i) {
            distances[i] = static_cast<std::uint16_t>(hits_[static_cast<std::size_t>(i)].distance());
            const std::int64_t row = hits_[static_cast<std::size_t>(i)].row();
            ids[i] = as_rows ? row : rows.id(row);
        }
        std::fill(distances + n, distances + k_, std::uint16_t{0xffff});
        std::fill(ids + n, ids + k_, kNoId);
    }

   private:
    /// Lowers the bound to the smallest that still leaves k hits under it.
    void tighten() {
        while (n_ - counts_[static_cast<std::size_t>(bound_) - 1] >= k_)
            n_ -= counts_[static_cast<std::size_t>(--bound_)];
        if (static_cast<std::int64_t>(hits_.size()) > 4 * k_ + 4096) drop();
    }

    void drop() {
        std::erase_if(hits_, [&](Hit hit) { return hit.distance() >= bound_; });
    }

    std::int64_t k_, n_ = 0;  // hits nearer than the bound
    bool ids_ascend_;
    int bound_;
    std::vector<std::int64_t> counts_;
    std::vector<Hit> hits_;
};

/// All hits of one query within a radius.
struct Within {
    int radius;
    std::vector<Hit> hits;

    int threshold() const { return radius + 1; }
    void add(std::int64_t first_row, const std::uint64_t* found, std::int64_t n) { append(hits, first_row, found, n); }
    void merge(const Within& other) { hits.insert(hits.end(), other.hits.begin(), other.hits.end()); }
};

/// Lets a collector per query see every code nearer than its threshold, and calls done(q, collector). Work is cut into
/// blocks of queries and, where those are fewer than the threads, parts of the gallery, whose collectors are merged in
/// the order of the gallery.
template <class MakeCollector, class Done>
void collect(View<const Word> queries, const Rows& gallery, int n_jobs, MakeCollector make, Done done) {
    using Collector = decltype(make());
    require(queries.cols >= 1 && queries.cols <= words_for(kMaxBits), "hamming: expected codes of 1 to 64 words");
    std::int64_t longest = 0;
    for (const CodeBatch& batch : gallery.batches()) {
        require(batch.codes.cols == queries.cols, "hamming: queries and gallery must have codes of the same width");
        longest = std::max(longest, batch.codes.rows);
    }
    constexpr std::int64_t kLeastPart = 16384;
    const int words = static_cast<int>(queries.cols);
    const std::int64_t blocks = ceil_div(queries.rows, kQueryBlock);
    const std::int64_t parts = blocks == 0 || blocks >= n_jobs
                                   ? 1
                                   : std::clamp<std::int64_t>(ceil_div(2 * n_jobs, blocks), 1,
                                                              std::max<std::int64_t>(1, longest / kLeastPart));

    const auto run = [&](std::int64_t block, std::int64_t part, std::vector<Collector>& collectors) {
        const std::int64_t first = block * kQueryBlock, n = std::min(kQueryBlock, queries.rows - first);
        for (std::int64_t i = 0; i < n; ++i) collectors.push_back(make());
        std::vector<Word> scratch;
        std::vector<std::uint64_t> hits(static_cast<std::size_t>(codes_a_block(words)) + 8);
        for (std::size_t b = 0; b < gallery.batches().size(); ++b) {
            const View<const Word> codes = gallery.batches()[b].codes;
            const Word* const removed = gallery.batches()[b].removed;
            const std::int64_t rows = codes.rows;
            for_grouped_blocks(codes, rows * part / parts / 8 * 8,
                               part + 1 == parts ? rows : rows * (part + 1) / parts / 8 * 8, scratch,
                               [&](std::int64_t row, std::int64_t count, const Word* groups) {
                                   for (std::int64_t i = 0; i < n; ++i) {
                                       auto& mine = collectors[static_cast<std::size_t>(i)];
                                       auto found = kernels().collect_below(queries.row(first + i), groups, count,
                                                                            words, mine.threshold(), hits.data());
                                       if (removed != nullptr) found = keep_live(removed, row, hits.data(), found);
                                       if (found > 0) mine.add(gallery.first(b) + row, hits.data(), found);
                                   }
                               });
        }
    };

    if (parts == 1) {
        parallel_for(blocks, n_jobs, [&](std::int64_t block, int) {
            std::vector<Collector> collectors;
            run(block, 0, collectors);
            for (std::size_t i = 0; i < collectors.size(); ++i)
                done(block * kQueryBlock + static_cast<std::int64_t>(i), collectors[i]);
        });
        return;
    }
    std::vector<std::vector<Collector>> pieces(static_cast<std::size_t>(blocks * parts));
    parallel_for(blocks * parts, n_jobs, [&](std::int64_t task, int) {
        run(task / parts, task % parts, pieces[static_cast<std::size_t>(task)]);
    });
    for (std::int64_t block = 0; block < blocks; ++block) {
        auto& whole = pieces[static_cast<std::size_t>(block * parts)];
        for (std::size_t i = 0; i < whole.size(); ++i) {
            for (std::int64_t part = 1; part < parts; ++part)
                whole[i].merge(pieces[static_cast<std::size_t>(block * parts + part)][i]);
            done(block * kQueryBlock + static_cast<std::int64_t>(i), whole[i]);
        }
    }
}

}  // namespace

void hamming_distances(View<const Word> a, View<const Word> b, std::uint16_t* out, int n_jobs) {
    require(a.cols == b.cols, "hamming: both must have codes of the same width");
    const int words = static_cast<int>(a.cols);
    constexpr std::int64_t kRows = 65536;  // of b, a unit of work
    const std::int64_t parts = std::max<std::int64_t>(1, ceil_div(b.rows, kRows));
    parallel_for(ceil_div(a.rows, kQueryBlock) * parts, n_jobs, [&](std::int64_t task, int) {
        const std::int64_t first = task / parts * kQueryBlock, last = std::min(first + kQueryBlock, a.rows);
        const std::int64_t begin = task % parts * kRows;
        std::vector<Word> scratch;
        for_grouped_blocks(b, begin, std::min(begin + kRows, b.rows), scratch,
                           [&](std::int64_t row, std::int64_t n, const Word* groups) {
                               for (std::int64_t i = first; i < last; ++i)
                                   kernels().grouped_distances(a.row(i), groups, n, words, out + i * b.rows + row);
                           });
    });
}

void hamming_search(View<const Word> queries, CodeBatches gallery, std::int64_t k, std::uint16_t* distances, Id* ids,
                    int n_jobs, bool as_rows) {
    require(k >= 1, "hamming_search: k must be at least 1");
    const Rows rows(gallery);
    const int words = static_cast<int>(queries.cols);
    collect(
        queries, rows, n_jobs, [&] { return Nearest(k, words, rows.ids_ascend()); },
        [&](std::int64_t q, Nearest& nearest) { nearest.write(rows, distances + q * k, ids + q * k, as_rows); });
}

RangeHits hamming_range(View<const Word> queries, CodeBatches gallery, int radius, int n_jobs) {
    const Rows rows(gallery);
    std::vector<std::vector<Hit>> hits(static_cast<std::size_t>(queries.rows));
    radius = std::min(radius, kMaxBits);
    collect(
        queries, rows, n_jobs, [&] { return Within{radius, {}}; },
        [&](std::int64_t q, Within& within) {
            sort_hits(within.hits, rows);
            hits[static_cast<std::size_t>(q)] = std::move(within.hits);
        });
    RangeHits result;
    result.offsets.push_back(0);
    for (const auto& mine : hits) {
        for (const Hit hit : mine) {
            result.distances.push_back(static_cast<std::uint16_t>(hit.distance()));
            result.ids.push_back(rows.id(hit.row()));
        }
        result.offsets.push_back(static_cast<std::int64_t>(result.ids.size()));
    }
    return result;
}

}  // namespace lshcore
