#include "lshcore/index.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>

#include "lshcore/codes.h"
#include "lshcore/error.h"

namespace lshcore {
namespace {

std::string text(std::int64_t n) { return std::to_string(n); }

}  // namespace

Index::Index(Partitioner partitioner, int n_bits, std::int64_t dim, VectorType keep)
    : partitioner_(std::move(partitioner)),
      n_bits_(n_bits),
      dim_(dim),
      keep_(keep),
      state_(std::make_shared<const State>()) {
    if (n_bits != 0) check_n_bits(n_bits);
    require(dim >= 0, "Index: dim must not be negative");
    require(keep == VectorType::none || dim > 0, "Index: storing vectors needs their dimension");
    require(n_bits > 0 || keep != VectorType::none,
            "Index: either codes or vectors must be stored, there is nothing to rank by");
    if (const auto* bits = bit_keys(partitioner_))
        require(bits->n_bits() == n_bits, "Index: the keys are for codes of another width");
    if (const auto* clusters = std::get_if<ClusterKeys>(&partitioner_))
        require(clusters->dim() == dim, "Index: the centroids have another dimension");
    if (const auto* cells = std::get_if<LatticeKeys>(&partitioner_))
        require(dim == 0 || cells->lattice().dim() == dim, "Index: the lattice has another dimension");
}

std::shared_ptr<const Index::State> Index::state() const {
    std::lock_guard lock(state_mutex_);
    return state_;
}

std::int64_t Index::size() const { return state()->n_rows; }

std::int64_t Index::n_segments() const { return static_cast<std::int64_t>(state()->segments.size()); }

std::vector<Id> Index::ids() const {
    std::vector<Id> all;
    const auto now = state();
    all.reserve(static_cast<std::size_t>(now->n_rows));
    for (const LiveSegment& part : now->segments) {
        part.segment->prepare(kIds, 1);
        part.for_each([&](std::int64_t row) { all.push_back(part.segment->ids[row]); });
    }
    return all;
}

std::vector<std::int64_t> Index::bucket_sizes(int table) const {
    if (table < 0 || table >= n_tables(partitioner_))
        throw std::invalid_argument("Index.bucket_sizes: expected a table from 0 to " +
                                    text(n_tables(partitioner_) - 1) + ", got " + text(table));
    const auto* keys = bit_keys(partitioner_);
    const bool wide = keys != nullptr && keys->wide();
    std::map<Key, std::int64_t> sizes;  // one bucket may be spread over several segments
    const auto now = state();
    for (const LiveSegment& part : now->segments) {
        const Segment& segment = *part.segment;
        segment.prepare(kTables | (wide ? kCodes : 0u), 1);
        segment.tables[static_cast<std::size_t>(table)].for_each_bucket([&](Word name, std::span<const Row> rows) {
            const auto n = std::count_if(rows.begin(), rows.end(), [&](Row row) { return part.lives(row); });
            if (n > 0) sizes[wide ? keys->key(table, segment.code(rows[0])) : Key{{name}}] += n;
        });
    }
    std::vector<std::int64_t> all;
    for (const auto& [key, size] : sizes) all.push_back(size);
    return all;
}

Index::Bytes Index::nbytes() const {
    Bytes bytes{};
    const auto now = state();
    for (const LiveSegment& part : now->segments) {
        const Segment& segment = *part.segment;
        bytes.codes += segment.codes.nbytes() + segment.residuals.nbytes();
        bytes.vectors += segment.vectors.nbytes() + segment.inverse_norms.nbytes() + segment.halves.nbytes();
        bytes.ids += segment.ids.nbytes() + (part.removed == nullptr ? 0 : part.removed->size() * sizeof(Word));
        for (const Table& table : segment.tables) bytes.tables += table.nbytes();
    }
    return bytes;
}

}  // namespace lshcore
