#include "lshcore/segment.h"

#include <algorithm>
#include <bit>

#include "lshcore/error.h"
#include "lshcore/kernels.h"
#include "lshcore/kmeans.h"
#include "lshcore/parallel.h"
#include "lshcore/project.h"

namespace lshcore {
namespace {

/// Files rows under their keys: those of their codes, or `clusters`.
std::vector<Table> build_tables(const Partitioner& partitioner, View<const Word> codes, std::vector<Word> clusters,
                                int n_jobs) {
    std::vector<Table> tables;
    const RowShape shape = row_shape(partitioner, 0, 0, VectorType::none);
    if (const auto* bits = bit_keys(partitioner)) {
        std::vector<std::unique_ptr<Table>> built(static_cast<std::size_t>(bits->n_tables()));
        parallel_for(bits->n_tables(), n_jobs, [&](std::int64_t t, int) {
            const int table = static_cast<int>(t);
            std::vector<Word> keys(static_cast<std::size_t>(codes.rows));
            for (std::int64_t i = 0; i < codes.rows; ++i)
                keys[static_cast<std::size_t>(i)] = bits->name(bits->key(table, codes.row(i)));
            Table::CompareRows compare;
            if (bits->wide())
                compare = [&, table](Row a, Row b) {
                    const auto order = bits->key(table, codes.row(a)) <=> bits->key(table, codes.row(b));
                    return order < 0 ? -1 : order > 0;
                };
            built[static_cast<std::size_t>(t)] = std::make_unique<Table>(std::move(keys), shape.universe, compare);
        });
        for (auto& table : built) tables.push_back(std::move(*table));
    } else if (std::holds_alternative<ClusterKeys>(partitioner)) {
        tables.emplace_back(std::move(clusters), shape.universe);
    }
    return tables;
}

/// Residuals under construction.
struct NewResiduals {
    std::vector<std::uint8_t> codes;
    std::vector<float> offsets, scales, squares;

    NewResiduals(std::size_t n, std::int64_t width)
        : codes(static_cast<std::size_t>(residual_bytes(static_cast<std::int64_t>(n), width))),
          offsets(n),
          scales(n),
          squares(n) {}

    Residuals done() && { return {std::move(codes), std::move(offsets), std::move(scales), std::move(squares)}; }
};

constexpr std::int64_t kResidualRows = 32 * kResidualBlock;  // a task: rows of one block share bytes

Residuals encode_residuals(const ClusterKeys& keys, const Table& table, View<const float> vectors, int n_jobs) {
    const Rotation& rotation = keys.residuals()->rotation;
    const std::int64_t n = vectors.rows;
    NewResiduals out(static_cast<std::size_t>(n), rotation.width());
    std::vector<std::pair<std::int64_t, Word>> buckets;  // where each begins
    table.for_each_bucket(
        [&](Word key, std::span<const Row> rows) { buckets.push_back({rows.data() - table.rows().data(), key}); });
    parallel_for(ceil_div(n, kResidualRows), n_jobs, [&](std::int64_t task, int) {
        ResidualEncoder encoder(rotation, keys.mean().data());
        const std::int64_t first = task * kResidualRows;
        auto next = std::upper_bound(buckets.begin(), buckets.end(), std::pair(first, ~Word{0}));
        encoder.begin(keys.centroids().row(static_cast<std::int64_t>((next - 1)->second)));
        for (std::int64_t p = first; p < std::min(n, first + kResidualRows); ++p) {
            for (; next != buckets.end() && next->first == p; ++next)
                encoder.begin(keys.centroids().row(static_cast<std::int64_t>(next->second)));
            const float* x = vectors.row(table.rows()[static_cast<std::size_t>(p)]);
            encoder.encode(x, p, out.codes.data(), out.offsets.data(), out.scales.data());
            kernels().dot_tile(x, 1, x, 1, vectors.cols, &out.squares[static_cast<std::size_t>(p)], 1);
        }
    });
    return std::move(out).done();
}

/// Where a row was coded.
struct Origin {
    const Residuals* residuals;
    Row position;
};

/// The same codes in the order of another table; origins: of each of its rows.
Residuals gather_residuals(const Table& table, const std::vector<Origin>& origins, std::int64_t width, int n_jobs) {
    const auto n = static_cast<std::int64_t>(origins.size());
    NewResiduals out(origins.size(), width);
    parallel_for(ceil_div(n, kResidualRows), n_jobs, [&](std::int64_t task, int) {
        for (std::int64_t p = task * kResidualRows; p < std::min(n, (task + 1) * kResidualRows); ++p) {
            const auto at = static_cast<std::size_t>(p);
            const auto [from, position] = origins[table.rows()[at]];
            copy_residual(from->codes.data(), position, out.codes.data(), p, width);
            out.offsets[at] = from->offsets[position];
            out.scales[at] = from->scales[position];
            out.squares[at] = from->squares[position];
        }
    });
    return std::move(out).done();
}

float widened(Half half) {
    const std::uint32_t sign = std::uint32_t{half} >> 15 << 31, exponent = half >> 10 & 31u, fraction = half & 1023u;
    if (exponent == 0) {  // zero, and what is too small for a leading one: multiples of 2^-24
        const float value = static_cast<float>(fraction) * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
    return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

}  // namespace

RowShape row_shape(const Partitioner& partitioner, int n_bits, std::int64_t dim, VectorType keep) {
    RowShape shape{n_bits, keep == VectorType::none ? 0 : dim, keep, n_tables(partitioner), 0, false};
    if (const auto* bits = bit_keys(partitioner)) {
        shape.universe = bits->key_bits() < 40 ? Word{1} << bits->key_bits() : 0;
        shape.shared_keys = bits->wide();
    } else if (const auto* clusters = std::get_if<ClusterKeys>(&partitioner)) {
        shape.universe = static_cast<Word>(clusters->n_clusters());
        if (clusters->residuals() != nullptr) shape.residual_width = clusters->residuals()->rotation.width();
    }
    return shape;
}

std::size_t Segment::nbytes() const {
    std::size_t n = codes.nbytes() + vectors.nbytes() + halves.nbytes() + inverse_norms.nbytes() + ids.nbytes() +
                    residuals.nbytes();
    for (const Table& table : tables) n += table.nbytes();
    return n;
}

void Segment::vector_of(std::int64_t row, float* out) const {
    touch(row, 1);
    if (halves.empty())
        std::copy_n(vectors.data() + row * dim, dim, out);
    else
        std::transform(halves.data() + row * dim, halves.data() + (row + 1) * dim, out, widened);
}

std::int64_t LiveSegment::count(std::int64_t first, std::int64_t last) const {
    std::int64_t n = last - first;
    if (removed == nullptr) return n;
    for (std::int64_t row = first; row < last; row += 64)
        n -= std::popcount((*removed)[static_cast<std::size_t>(row / 64)]);
    return n;
}

std::optional<Place> find_row(LiveSegments segments, Id id) {
    for (std::size_t s = segments.size(); s-- > 0;) {  // what is asked for is often new
        const std::int64_t row = segments[s].segment->ids.find(id);
        if (row >= 0 && segments[s].lives(row)) return Place{s, static_cast<Row>(row)};
    }
    return std::nullopt;
}

std::shared_ptr<const Segment> build_segment(const Partitioner& partitioner, View<const Word> codes,
                                             View<const float> vectors, VectorType keep, Ids ids, int n_jobs,
                                             int n_bits) {
    const auto n = static_cast<std::size_t>(ids.size());
    auto segment = std::make_shared<Segment>(std::move(ids));
    segment->shape = row_shape(partitioner, n_bits, vectors.cols, keep);
    segment->dim = segment->shape.dim;
    if (codes.data != nullptr) {
        segment->words = static_cast<int>(codes.cols);
        segment->codes = std::vector<Word>(codes.data, codes.data + codes.rows * codes.cols);
    }
    if (keep != VectorType::none) {
        std::vector<float> norms(n);
        if (keep == VectorType::float32) {
            segment->vectors = std::vector<float>(vectors.data, vectors.data + vectors.rows * vectors.cols);
            inverse_norms(vectors, norms.data(), n_jobs);
        } else {
            std::vector<Half> halves(n * static_cast<std::size_t>(vectors.cols));
            to_half(vectors, halves.data(), norms.data(), n_jobs);
            segment->halves = std::move(halves);
        }
        segment->inverse_norms = std::move(norms);
    }
    std::vector<Word> clusters;
    const auto* keys = std::get_if<ClusterKeys>(&partitioner);
    if (keys != nullptr) {
        std::vector<std::int32_t> labels(n);
        assign_clusters(vectors, keys->centroids(), labels.data(), nullptr, n_jobs);
        clusters.assign(labels.begin(), labels.end());
    }
    segment->tables = build_tables(partitioner, codes, std::move(clusters), n_jobs);
    if (keys != nullptr && keys->residuals() != nullptr)
        segment->residuals = encode_residuals(*keys, segment->tables[0], vectors, n_jobs);
    return segment;
}

std::shared_ptr<const Segment> merge_segments(const Partitioner& partitioner, const RowShape& shape,
                                              LiveSegments segments, int n_jobs) {
    std::int64_t n = 0;
    for (const LiveSegment& part : segments) n += part.n_live;
    if (n == 0) return nullptr;
    const int words = words_for(shape.n_bits);
    const auto rows = static_cast<std::size_t>(n), dim = static_cast<std::size_t>(shape.dim);
    const bool half = shape.keep == VectorType::float16, single = shape.keep == VectorType::float32;
    const bool clustered = std::holds_alternative<ClusterKeys>(partitioner);
    std::vector<Id> ids(rows);
    std::vector<Word> codes(rows * static_cast<std::size_t>(words)), clusters(clustered ? rows : 0);
    std::vector<float> vectors(single ? rows * dim : 0), norms(single || half ? rows : 0);
    std::vector<Half> halves(half ? rows * dim : 0);
    std::vector<Origin> origins(shape.residual_width > 0 ? rows : 0);

    constexpr std::int64_t kRows = 65536;  // a task
    std::int64_t base = 0;
    for (const LiveSegment& part : segments) {
        const Segment& from = *part.segment;
        from.prepare(kAllParts, n_jobs);
        std::vector<Word> keys(clustered ? static_cast<std::size_t>(from.size()) : 0);
        if (clustered)
            from.tables[0].for_each_bucket([&](Word key, std::span<const Row> bucket) {
                for (const Row row : bucket) keys[row] = key;
            });
        std::vector<Row> positions(shape.residual_width > 0 ? keys.size() : 0);
        for (std::size_t p = 0; p < positions.size(); ++p) positions[from.tables[0].rows()[p]] = static_cast<Row>(p);
        std::vector<std::int64_t> first{base};  // new row of the first that lives, of each task
        for (std::int64_t row = 0; row < from.size(); row += kRows)
            first.push_back(first.back() + part.count(row, std::min(row + kRows, from.size())));
        base = first.back();
        parallel_for(static_cast<std::int64_t>(first.size()) - 1, n_jobs, [&](std::int64_t task, int) {
            std::int64_t to = first[static_cast<std::size_t>(task)];
            for (std::int64_t row = task * kRows; row < std::min((task + 1) * kRows, from.size()); ++row) {
                if (!part.lives(row)) continue;
                const auto at = static_cast<std::size_t>(to), was = static_cast<std::size_t>(row);
                ids[at] = from.ids[row];
                std::copy_n(from.code(row), words, codes.data() + to * words);
                if (single) std::copy_n(from.vectors.data() + row * from.dim, from.dim, vectors.data() + to * from.dim);
                if (half) std::copy_n(from.halves.data() + row * from.dim, from.dim, halves.data() + to * from.dim);
                if (single || half) norms[at] = from.inverse_norms[was];
                if (clustered) clusters[at] = keys[was];
                if (!origins.empty()) origins[at] = {&from.residuals, positions[was]};
                ++to;
            }
        });
    }
    auto segment = std::make_shared<Segment>(Ids::packed(std::move(ids)));
    segment->shape = shape;
    segment->words = words;
    segment->dim = shape.dim;
    segment->tables = build_tables(partitioner, {codes.data(), n, words}, std::move(clusters), n_jobs);
    if (!origins.empty())
        segment->residuals = gather_residuals(segment->tables[0], origins, shape.residual_width, n_jobs);
    segment->codes = std::move(codes);
    segment->vectors = std::move(vectors);
    segment->halves = std::move(halves);
    segment->inverse_norms = std::move(norms);
    return segment;
}

}  // namespace lshcore
