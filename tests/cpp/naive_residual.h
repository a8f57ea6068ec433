#pragma once
// Rows in clusters and queries near them, for indexes with residual codes, and the answers of looking at every row.

#include <map>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "lshcore/index.h"
#include "naive.h"
#include "naive_index.h"

namespace naive {

using lshcore::VectorType;

/// Rows of an index: rows of the data under ids of their own.
struct Entry {
    std::int64_t row;
    Id id;
};

/// Multiples of 1/8: half precision holds them, and distances tie. Some rows are their centroid, some are there twice, and
/// one is zero.
struct Clustered {
    static constexpr std::int64_t kRows = 600, kQueries = 40, kDim = 20, kClusters = 12;

    Draw draw;
    std::vector<float> centroids, vectors, query_vectors;
    std::vector<Entry> all;

    explicit Clustered(std::uint64_t seed) : draw(seed), centroids(draw.steps(kClusters * kDim, 3)) {
        for (std::int64_t i = 0; i < kRows; ++i) {
            auto from = centroids.begin() + static_cast<std::int64_t>(draw.below(kClusters)) * kDim;
            const bool twice = i % 23 == 22;
            if (twice)
                from = vectors.begin() + static_cast<std::int64_t>(draw.below(static_cast<std::uint64_t>(i))) * kDim;
            const auto noise = draw.steps(kDim, i % 17 == 0 || twice ? 0 : 8);
            const std::vector<float> row(from, from + kDim);
            for (std::size_t j = 0; j < kDim; ++j) vectors.push_back(i == 100 ? 0 : row[j] + noise[j] / 8);
        }
        for (std::int64_t q = 0; q < kQueries; ++q) {
            const auto* row = vectors.data() + draw.below(kRows) * kDim;
            const auto noise = draw.steps(kDim, q % 5 == 0 ? 0 : 6);
            for (std::size_t j = 0; j < kDim; ++j) query_vectors.push_back(q == 33 ? 0 : row[j] + noise[j] / 8);
        }
        std::vector<Id> ids(kRows);
        std::iota(ids.begin(), ids.end(), 1000);
        draw.shuffle(ids);
        for (std::int64_t i = 0; i < kRows; ++i) all.push_back({i, ids[static_cast<std::size_t>(i)]});
    }

    ClusterKeys keys() const {
        std::vector<float> sums(kClusters), counts(kClusters);
        for (std::int64_t i = 0; i < kRows; ++i) {
            const auto c = static_cast<std::size_t>(nearest_clusters(row(i), naive::view(centroids, kClusters))[0]);
            sums[c] += squared_l2(row(i), centroids.data() + c * kDim, kDim);
            ++counts[c];
        }
        for (std::size_t c = 0; c < kClusters; ++c) sums[c] /= std::max(1.0f, counts[c]);
        return {centroids, kClusters, kDim, sums, counts};
    }
    ClusterKeys keys_without_spread() const {
        const std::vector<float> none(kClusters);
        return {centroids, kClusters, kDim, none, none};
    }

    const float* row(std::int64_t i) const { return vectors.data() + i * kDim; }
    const float* query(std::int64_t q) const { return query_vectors.data() + q * kDim; }
    lshcore::Queries queries() const { return {{}, {}, {query_vectors.data(), kQueries, kDim}}; }

    void add(Index& index, const std::vector<Entry>& entries, bool update = false) const {
        std::vector<float> rows;
        std::vector<Id> ids;
        for (const Entry& e : entries) {
            rows.insert(rows.end(), row(e.row), row(e.row) + kDim);
            ids.push_back(e.id);
        }
        const lshcore::View<const float> given{rows.data(), static_cast<std::int64_t>(ids.size()), kDim};
        if (update)
            index.update({}, given, ids.data(), 2);
        else
            index.add({}, given, ids.data(), 2);
    }

    /// The entries in batches of so many, and the last of the rest.
    std::unique_ptr<Index> index(const Partitioner& keys, const std::vector<Entry>& entries,
                                 const std::vector<std::size_t>& batches = {},
                                 VectorType keep = VectorType::float32) const {
        auto result = std::make_unique<Index>(keys, 0, kDim, keep);
        auto at = entries.begin();
        for (const auto n : batches) {
            add(*result, {at, at + static_cast<std::ptrdiff_t>(n)});
            at += static_cast<std::ptrdiff_t>(n);
        }
        add(*result, {at, entries.end()});
        return result;
    }

    Hit hit(Rank rank, std::int64_t q, const Entry& e) const {
        const float *a = query(q), *b = row(e.row);
        return {rank == Rank::l2   ? squared_l2(a, b, kDim)
                : rank == Rank::ip ? -dot(a, b, kDim)
                                   : cosine(a, b, kDim),
                e.id};
    }

    /// The k nearest of the entries for which passes(q, entry).
    template <class Passes>
    Answer brute(const std::vector<Entry>& entries, Rank rank, std::int64_t k, Passes passes) const {
        Answer answer;
        for (std::int64_t q = 0; q < kQueries; ++q) {
            std::vector<Hit> hits;
            for (const Entry& e : entries)
                if (passes(q, e)) hits.push_back(hit(rank, q, e));
            answer.n_candidates.push_back(static_cast<std::int64_t>(hits.size()));
            for (const auto& best : top(hits, k, HUGE_VAL)) answer.hits.push_back(best);
        }
        return answer;
    }
    Answer brute(const std::vector<Entry>& entries, Rank rank, std::int64_t k) const {
        return brute(entries, rank, k, [](std::int64_t, const Entry&) { return true; });
    }
};

/// What an index says.
inline Answer answer(const Index& index, const lshcore::Queries& queries, const SearchOptions& options,
                     std::int64_t k) {
    Answer result;
    std::vector<float> distances(static_cast<std::size_t>(queries.size() * k));
    std::vector<Id> found(distances.size());
    std::vector<lshcore::StageTimes> times(static_cast<std::size_t>(queries.size()));
    result.n_candidates.resize(times.size());
    index.search(queries, k, options, distances.data(), found.data(), result.n_candidates.data(), times.data());
    for (std::size_t i = 0; i < found.size(); ++i) result.hits.push_back({double{distances[i]}, found[i]});
    return result;
}

/// The share of the hits of one answer that another has, of k a query.
inline double share_found(const Answer& right, const Answer& found, std::int64_t k) {
    double n = 0, all = 0;
    for (std::size_t i = 0; i < right.hits.size(); ++i) {
        const auto first = found.hits.begin() + static_cast<std::ptrdiff_t>(i) / k * k;
        if (right.hits[i].second == lshcore::kNoId) continue;
        ++all;
        n += std::find(first, first + k, right.hits[i]) != first + k;
    }
    return n / all;
}

}  // namespace naive
