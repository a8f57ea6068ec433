#pragma once
// A small world of rows and queries with the answers that an index over any of them must give, by looking at everything.

#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lshcore/index.h"
#include "naive.h"

namespace naive {

using lshcore::BitKeys;
using lshcore::ClusterKeys;
using lshcore::CrossPolytope;
using lshcore::Index;
using lshcore::LatticeKeys;
using lshcore::OneBucket;
using lshcore::Partitioner;
using lshcore::PStable;
using lshcore::Rank;
using lshcore::SearchOptions;

struct Answer {
    std::vector<Hit> hits;  // k a query
    std::vector<std::int64_t> n_candidates;
    bool operator==(const Answer&) const = default;
};

struct Case {
    const char* name;
    Partitioner partitioner;
    std::vector<std::int64_t> probes;
};

/// Many ties: codes close to a few, vectors of small integers; ids in no order.
struct World {
    static constexpr std::int64_t kRows = 330, kQueries = 70, kDim = 5, kClusters = 7;
    static constexpr int kBits = 70;

    Draw draw;
    std::vector<Word> pool, codes, query_codes;
    std::vector<float> vectors, query_vectors, centroids, margins;
    std::vector<Id> ids;
    mutable std::map<std::pair<std::string, std::int64_t>, std::vector<bool>> known_;

    explicit World(std::uint64_t seed)
        : draw(seed),
          pool(draw.codes(25, kBits)),
          codes(near_codes(kRows)),
          query_codes(near_codes(kQueries)),
          vectors(draw.steps(kRows * kDim, 2)),
          query_vectors(draw.steps(kQueries * kDim, 2)),
          centroids(draw.steps(kClusters * kDim, 2)),
          margins(draw.steps(kQueries * kBits, 5)),
          ids(kRows) {
        std::iota(ids.begin(), ids.end(), 100);
        draw.shuffle(ids);
    }

    std::vector<Word> near_codes(std::int64_t n) {
        std::vector<Word> result;
        for (std::int64_t i = 0; i < n; ++i) {
            const std::size_t at = draw.below(25) * 2;
            result.insert(result.end(), {pool[at] ^ Word{1} << draw.below(10), pool[at + 1]});
        }
        return result;
    }

    BitKeys bit_keys(int n_tables, int key_bits) const {
        Draw own(77);
        std::vector<std::int32_t> positions;
        for (int t = 0; t < n_tables; ++t)
            for (const auto p : own.positions(key_bits, kBits)) positions.push_back(p);
        return BitKeys(positions, n_tables, key_bits, kBits);
    }

    // Lattices whose codes are as wide as the rows' codes, which are any codes: what is filed where is not theirs to say.
    static constexpr int kCells = 14, kCellBits = 5, kPolytopes = 10, kVertices = 64;
    std::vector<float> directions = Draw(5).steps(kCells * kDim, 3), places = Draw(6).steps(kCells, 3);
    std::vector<std::int8_t> signs = Draw(7).signs(kPolytopes * 2 * kVertices);

    /// Keys of whole hashes, in no order.
    template <class L>
    LatticeKeys lattice_keys(int n_tables, int hashes, std::shared_ptr<const L> lattice) const {
        Draw own(78);
        const int unit = lattice->hash_bits();
        std::vector<std::int32_t> positions;
        for (int t = 0; t < n_tables; ++t)
            for (const auto h : own.positions(hashes, lattice->n_hashes()))
                for (int j = 0; j < unit; ++j) positions.push_back(h * unit + j);
        return {BitKeys(positions, n_tables, hashes * unit, kBits), lattice};
    }
    LatticeKeys interval_keys(int n_tables, int hashes) const {
        return lattice_keys(n_tables, hashes,
                            std::make_shared<const PStable>(view(directions, kCells), places, kCellBits));
    }
    LatticeKeys vertex_keys(int n_tables, int hashes) const {
        return lattice_keys(n_tables, hashes,
                            std::make_shared<const CrossPolytope>(view(signs, kPolytopes), 2, kVertices,
                                                                  std::vector<float>(kDim, 1.0f)));
    }

    /// Every kind of partitioner and of table, with the numbers of probes to try.
    std::vector<Case> cases() const {
        return {{"one bucket", OneBucket{}, {1}},
                {"addressed directly", bit_keys(3, 4), {3}},
                {"one table", bit_keys(1, 12), {1}},
                {"without a universe", bit_keys(4, 45), {4}},
                {"wide", bit_keys(2, 66), {2}},
                {"intervals", interval_keys(3, 1), {3, 3 << kCellBits}},
                {"vertices", vertex_keys(1, 1), {1, 2 * kVertices}},
                {"clusters", ClusterKeys(centroids, kClusters, kDim), {1, 3, kClusters}}};
    }

    View<const Word> query_code_view() const { return {query_codes.data(), kQueries, 2}; }
    View<const float> query_vector_view() const { return {query_vectors.data(), kQueries, kDim}; }
    View<const Word> code_rows(std::int64_t first, std::int64_t n) const { return {codes.data() + first * 2, n, 2}; }
    View<const float> vector_rows(std::int64_t first, std::int64_t n) const {
        return {vectors.data() + first * kDim, n, kDim};
    }

    void add(Index& index, std::int64_t first, std::int64_t n) const {
        index.add(code_rows(first, n), vector_rows(first, n), ids.data() + first, static_cast<int>(1 + n % 3));
    }

    std::unique_ptr<Index> index(const Partitioner& partitioner, const std::vector<std::int64_t>& batches) const {
        auto result = std::make_unique<Index>(partitioner, kBits, kDim, lshcore::VectorType::float32);
        std::int64_t first = 0;
        for (const auto n : batches) {
            add(*result, first, n);
            first += n;
        }
        return result;
    }

    // -- oracles ---------------------------------------------------------------------------------------------------

    /// The value of a hash for a query.
    Word query_hash(const lshcore::Lattice& lattice, std::int64_t hash, std::int64_t q) const {
        std::vector<float> x(query_vectors.begin() + q * kDim, query_vectors.begin() + (q + 1) * kDim);
        if (lattice.hash_bits() == kCellBits)
            return interval_cells(
                       dot(x.data(), directions.data() + hash * kDim, kDim) + places[static_cast<std::size_t>(hash)],
                       kCellBits)
                .own;
        for (float& value : x) value -= 1;
        return vertex_cells(signs.data() + hash * 2 * kVertices, 2, kVertices, kVertices, x).own;
    }

    /// With the plain keys, or with all there are.
    bool is_candidate(const LatticeKeys& keys, std::int64_t probes, std::int64_t q, std::int64_t row) const {
        if (probes == std::int64_t{keys.bits().n_tables()} << keys.bits().key_bits()) return true;
        const int unit = keys.lattice().hash_bits();
        const auto same = [&](std::int32_t first) {
            return hash_value(codes.data() + row * 2, first / unit, unit) ==
                   query_hash(keys.lattice(), first / unit, q);
        };
        const auto& positions = keys.bits().positions();
        for (auto at = positions.begin(); at != positions.end(); at += keys.bits().key_bits()) {
            bool all = true;
            for (int j = 0; j < keys.bits().key_bits(); j += unit) all &= same(at[j]);
            if (all) return true;
        }
        return false;
    }

    /// The same, worked out once for each case and number of probes.
    bool is_candidate(const Case& one, std::int64_t probes, std::int64_t q, std::int64_t row) const {
        auto& known = known_[{one.name, probes}];
        if (known.empty())
            for (std::int64_t i = 0; i < kQueries * kRows; ++i)
                known.push_back(is_candidate(one.partitioner, probes, i / kRows, i % kRows));
        return known[static_cast<std::size_t>(q * kRows + row)];
    }

    bool is_candidate(const Partitioner& partitioner, std::int64_t probes, std::int64_t q, std::int64_t row) const {
        if (const auto* keys = std::get_if<LatticeKeys>(&partitioner)) return is_candidate(*keys, probes, q, row);
        if (const auto* keys = std::get_if<BitKeys>(&partitioner)) {
            const auto differ = [&](std::int32_t p) {
                return bit(query_codes.data() + q * 2, p) != bit(codes.data() + row * 2, p);
            };
            for (auto at = keys->positions().begin(); at != keys->positions().end(); at += keys->key_bits())
                if (std::none_of(at, at + keys->key_bits(), differ)) return true;
            return false;
        }
        if (std::holds_alternative<OneBucket>(partitioner)) return true;
        const auto mine = nearest_clusters(vectors.data() + row * kDim, view(centroids, kClusters))[0];
        const auto order = nearest_clusters(query_vectors.data() + q * kDim, view(centroids, kClusters));
        return std::find(order.begin(), order.begin() + probes, mine) != order.begin() + probes;
    }

    /// What the first n rows offer query q.
    std::vector<std::int64_t> candidates(const Case& one, std::int64_t probes, std::int64_t q,
                                         std::int64_t n = kRows) const {
        std::vector<std::int64_t> rows;
        for (std::int64_t row = 0; row < n; ++row)
            if (is_candidate(one, probes, q, row)) rows.push_back(row);
        return rows;
    }

    Hit hit(Rank rank, std::int64_t q, std::int64_t row) const {
        const float *a = query_vectors.data() + q * kDim, *b = vectors.data() + row * kDim;
        const Id id = ids[static_cast<std::size_t>(row)];
        if (rank == Rank::hamming) return {hamming(query_codes.data() + q * 2, codes.data() + row * 2, 2), id};
        if (rank == Rank::margin) {
            float sum = 0;  // of small whole numbers: exact in any order
            for (int j = 0; j < kBits; ++j)
                if (bit(query_codes.data() + q * 2, j) != bit(codes.data() + row * 2, j))
                    sum += std::abs(margins[static_cast<std::size_t>(q * kBits + j)]);
            return {sum, id};
        }
        return {rank == Rank::l2 ? squared_l2(a, b, kDim) : cosine(a, b, kDim), id};
    }

    Answer brute(const Case& one, const SearchOptions& options, std::int64_t k, std::int64_t n = kRows) const {
        Answer answer;
        for (std::int64_t q = 0; q < kQueries; ++q) {
            std::vector<Hit> hits;
            for (const auto row : candidates(one, options.probes, q, n)) hits.push_back(hit(options.rank, q, row));
            answer.n_candidates.push_back(static_cast<std::int64_t>(hits.size()));
            for (const auto& best : top(hits, k, options.rank == Rank::hamming ? 65535 : HUGE_VAL))
                answer.hits.push_back(best);
        }
        return answer;
    }

    // -- what the index says ---------------------------------------------------------------------------------------

    lshcore::Queries queries() const {
        return {query_code_view(), {margins.data(), kQueries, kBits}, query_vector_view()};
    }

    Answer search(const Index& index, const SearchOptions& options, std::int64_t k) const {
        return options.rank == Rank::hamming ? search_as<std::uint16_t>(index, options, k)
                                             : search_as<float>(index, options, k);
    }

    template <class D>
    Answer search_as(const Index& index, const SearchOptions& options, std::int64_t k) const {
        Answer answer;
        std::vector<D> distances(static_cast<std::size_t>(kQueries * k));
        std::vector<Id> found(distances.size());
        std::vector<lshcore::StageTimes> times(kQueries);
        answer.n_candidates.resize(kQueries);
        index.search(queries(), k, options, distances.data(), found.data(), answer.n_candidates.data(), times.data());
        for (std::size_t i = 0; i < found.size(); ++i) answer.hits.push_back({distances[i], found[i]});
        return answer;
    }
};

}  // namespace naive
