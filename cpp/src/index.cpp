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

void Index::add(View<const Word> codes, View<const float> vectors, const Id* ids, int n_jobs) {
    const std::int64_t n = n_bits_ > 0 ? codes.rows : vectors.rows;
    if (n_bits_ > 0) {
        require(codes.data != nullptr || codes.cols > 0, "Index.add: codes are needed");
        check_padding(codes, n_bits_);
    }
    if (dim_ > 0) {
        require(vectors.data != nullptr || vectors.cols > 0, "Index.add: vectors are needed");
        if (vectors.cols != dim_)
            throw std::invalid_argument("Index.add: expected vectors of " + text(dim_) + " columns, got " +
                                        text(vectors.cols));
        if (vectors.rows != n)
            throw std::invalid_argument("Index.add: expected as many vectors as codes, " + text(n) + ", got " +
                                        text(vectors.rows));
    }
    if (n == 0) return;
    require(n < std::numeric_limits<Row>::max(), "Index.add: at most 2^32 - 2 rows a call");

    std::lock_guard writing(add_mutex_);
    const auto before = state();
    require(ids != nullptr || before->next_id <= std::numeric_limits<Id>::max() - n,
            "Index.add: no numbers are left for default ids, give ids");
    Ids new_ids = ids == nullptr ? Ids(before->next_id, n) : Ids(std::vector<Id>(ids, ids + n));
    if (ids != nullptr)
        for (const auto& segment : before->segments) {
            const Id twice = Ids::common(segment->ids, new_ids);
            if (twice != kNoId)
                throw std::invalid_argument("Index.add: ids must be new, " + text(twice) + " is in the index already");
        }

    auto after = std::make_shared<State>(*before);
    const Id largest = new_ids.max();
    after->segments.push_back(build_segment(partitioner_, n_bits_ > 0 ? codes : View<const Word>{}, vectors, keep_,
                                            std::move(new_ids), n_jobs));
    after->n_rows += n;
    after->next_id = std::max(before->next_id, largest == std::numeric_limits<Id>::max() ? largest : largest + 1);
    std::lock_guard lock(state_mutex_);
    state_ = std::move(after);
}

std::int64_t Index::size() const { return state()->n_rows; }

std::int64_t Index::n_segments() const { return static_cast<std::int64_t>(state()->segments.size()); }

std::vector<Id> Index::ids() const {
    std::vector<Id> all;
    for (const auto& segment : state()->segments)
        for (std::int64_t i = 0; i < segment->size(); ++i) all.push_back(segment->ids[i]);
    return all;
}

std::vector<std::int64_t> Index::bucket_sizes(int table) const {
    if (table < 0 || table >= n_tables(partitioner_))
        throw std::invalid_argument("Index.bucket_sizes: expected a table from 0 to " +
                                    text(n_tables(partitioner_) - 1) + ", got " + text(table));
    const auto* keys = bit_keys(partitioner_);
    std::map<Key, std::int64_t> sizes;  // one bucket may be spread over several segments
    for (const auto& segment : state()->segments)
        segment->tables[static_cast<std::size_t>(table)].for_each_bucket([&](Word name, std::span<const Row> rows) {
            const bool wide = keys != nullptr && keys->wide();
            const Key key =
                wide ? keys->key(table, segment->codes.data() + std::int64_t{rows[0]} * segment->words) : Key{{name}};
            sizes[key] += static_cast<std::int64_t>(rows.size());
        });
    std::vector<std::int64_t> all;
    for (const auto& [key, size] : sizes) all.push_back(size);
    return all;
}

Index::Bytes Index::nbytes() const {
    Bytes bytes{};
    for (const auto& segment : state()->segments) {
        bytes.codes += segment->codes.size() * sizeof(Word);
        bytes.vectors += (segment->vectors.size() + segment->inverse_norms.size()) * sizeof(float) +
                         segment->halves.size() * sizeof(Half);
        bytes.ids += segment->ids.nbytes();
        for (const Table& table : segment->tables) bytes.tables += table.nbytes();
    }
    return bytes;
}

}  // namespace lshcore
