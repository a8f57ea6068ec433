#include "lshcore/candidates.h"

#include <algorithm>
#include <numeric>

namespace lshcore {

void CandidateUnion::begin(std::int64_t n_rows, const RowFilter& filter) {
    n_ = 0;
    if (static_cast<std::int64_t>(mark_.size()) < n_rows) mark_.resize(static_cast<std::size_t>(n_rows), 0);
    if (current_ == 254) {  // 127 unions later: the one time the marks are cleared
        std::fill(mark_.begin(), mark_.end(), std::uint8_t{0});
        current_ = 0;
    }
    current_ = static_cast<std::uint8_t>(current_ + 2);
    for (const Row row : filter.rows) mark_[row] = static_cast<std::uint8_t>(current_ - 1);
}

Row* CandidateUnion::grow(std::size_t n) {
    if (rows_.size() < n_ + n) rows_.resize(2 * (n_ + n));
    return rows_.data() + n_;
}

template <class Passes>
void CandidateUnion::add_new(std::span<const Row> bucket, Passes passes) {
    Row* const begin = grow(bucket.size());
    Row* end = begin;
    // Kept at hand: a store to a byte might be one to any member.
    std::uint8_t* const mark = mark_.data();
    const std::uint8_t current = current_;
    // Without a branch: whether a row was met before is anybody's guess.
    for (const Row row : bucket) {
        *end = row;
        end += (mark[row] != current) & passes(row);
        mark[row] = current;
    }
    n_ += static_cast<std::size_t>(end - begin);
}

template <class Passes>
void CandidateUnion::add_any(std::span<const Row> bucket, Passes passes) {
    Row* const begin = grow(bucket.size());
    n_ += static_cast<std::size_t>(std::copy_if(bucket.begin(), bucket.end(), begin, passes) - begin);
}

namespace {

/// Calls run with the cheapest test that says what a filter says of a row, unless it has a list.
template <class Run>
void with_test(const RowFilter& filter, Run run) {
    if (filter.allowed != nullptr)
        run([mask = filter.allowed](Row row) { return mask[row]; });
    else if (filter.removed != nullptr)
        run([bits = filter.removed](Row row) { return (bits[row / 64] >> (row % 64) & 1) == 0; });
    else
        run([](Row) { return true; });
}

}  // namespace

void CandidateUnion::add(std::span<const Row> bucket, const RowFilter& filter) {
    if (filter.listed)
        add_new(bucket, [mark = mark_.data(), listed = current_ - 1](Row row) { return mark[row] == listed; });
    else
        with_test(filter, [&](auto passes) { add_new(bucket, passes); });
}

void CandidateUnion::add_disjoint(std::span<const Row> bucket, const RowFilter& filter) {
    if (filter.listed) return add(bucket, filter);
    if (filter.allowed == nullptr && filter.removed == nullptr) {
        Row* const begin = grow(bucket.size());
        std::copy(bucket.begin(), bucket.end(), begin);
        n_ += bucket.size();
        return;
    }
    with_test(filter, [&](auto passes) { add_any(bucket, passes); });
}

Prober::Prober(const Partitioner& partitioner, const Queries& queries, const ProbeOptions& options)
    : partitioner_(partitioner), queries_(queries), options_(options) {
    if (const auto* keys = std::get_if<BitKeys>(&partitioner)) sequence_.emplace_back(*keys);
    if (const auto* clusters = std::get_if<ClusterKeys>(&partitioner); clusters != nullptr && clusters->residuals())
        near_.emplace(*clusters, options.probes, options.by_product);
    if (const auto* cells = std::get_if<LatticeKeys>(&partitioner))
        sequence_.emplace_back(cells->bits(), cells->lattice().hash_bits());
}

void Prober::prepare(std::int64_t first, std::int64_t n) {
    first_ = first;
    if (const auto* clusters = std::get_if<ClusterKeys>(&partitioner_)) {
        const View<const float> x = queries_.vectors;
        clusters_.resize(static_cast<std::size_t>(n * options_.probes));
        if (near_) {
            auto out = clusters_.begin();
            for (std::int64_t q = first; q < first + n; ++q)
                for (const auto& cluster : near_->find(x.row(q), residual_query_))
                    *out++ = static_cast<std::int32_t>(cluster.number);
            return;
        }
        clusters->nearest({x.row(first), n, x.cols}, options_.probes, clusters_.data());
    }
}

void Prober::find(std::int64_t q) {
    if (probed_ == q || sequence_.empty() || options_.radius >= 0) return;
    probed_ = q;
    if (const auto* cells = std::get_if<LatticeKeys>(&partitioner_)) {
        const Lattice& lattice = cells->lattice();
        const std::int64_t n =
            std::clamp<std::int64_t>(options_.probes - cells->bits().n_tables(), 0, lattice.most_alternatives());
        code_.resize(static_cast<std::size_t>(words_for(lattice.n_bits())));
        alternatives_.resize(static_cast<std::size_t>(lattice.n_hashes() * n));
        lattice.locate({queries_.vectors.row(q), 1, lattice.dim()}, code_.data(), n, alternatives_.data());
        probes_ = &sequence_[0].find(code_.data(), alternatives_.data(), n, options_.probes);
    } else {
        const float* margins = queries_.margins.data ? queries_.margins.row(q) : nullptr;
        probes_ = &sequence_[0].find(queries_.codes.row(q), margins, options_.probes);
    }
}

void Prober::find_buckets(const BitKeys& keys, const Segment& segment, std::int64_t q) {
    if (options_.radius >= 0) {
        for (int t = 0; t < keys.n_tables(); ++t)
            probe_radius(keys, t, segment.tables[static_cast<std::size_t>(t)], segment.codes.data(), segment.words,
                         keys.key(t, queries_.codes.row(q)), options_.radius,
                         [&](std::span<const Row> bucket) { buckets_.push_back(bucket); });
        return;
    }
    find(q);  // the same for every segment
    // In passes, so that what one waits for in memory is on its way for all.
    if (!keys.wide())
        for (const Probe& probe : *probes_)
            segment.tables[static_cast<std::size_t>(probe.table)].prefetch(probe.key.words[0]);
    for (const Probe& probe : *probes_) {
        const auto bucket = bucket_of(keys, probe.table, segment.tables[static_cast<std::size_t>(probe.table)],
                                      segment.codes.data(), segment.words, probe.key);
        if (bucket.empty()) continue;
        __builtin_prefetch(bucket.data());
        buckets_.push_back(bucket);
    }
}

std::span<const std::span<const Row>> Prober::buckets(const Segment& segment, std::int64_t q) {
    buckets_.clear();
    if (const auto* keys = bit_keys(partitioner_)) {
        find_buckets(*keys, segment, q);
    } else {
        const std::int32_t* clusters = clusters_.data() + (q - first_) * options_.probes;
        for (std::int64_t p = 0; p < options_.probes; ++p)
            buckets_.push_back(segment.tables[0].bucket(static_cast<Word>(clusters[p])));
    }
    return buckets_;
}

std::span<const Row> Prober::candidates(const Segment& segment, std::int64_t q, const RowFilter& filter) {
    union_.begin(segment.size(), filter);
    if (!std::holds_alternative<OneBucket>(partitioner_)) {
        const auto* keys = bit_keys(partitioner_);
        const bool disjoint = keys == nullptr || keys->n_tables() == 1;
        for (const auto bucket : buckets(segment, q)) {
            if (disjoint)
                union_.add_disjoint(bucket, filter);
            else
                union_.add(bucket, filter);
        }
    } else if (filter.listed) {
        return filter.rows;
    } else {
        std::vector<Row> all(static_cast<std::size_t>(segment.size()));
        std::iota(all.begin(), all.end(), Row{0});
        union_.add_disjoint(all, filter);
    }
    return union_.rows();
}

}  // namespace lshcore
