#include "lshcore/segment.h"

#include <algorithm>
#include <string>

#include "lshcore/error.h"
#include "lshcore/kmeans.h"
#include "lshcore/parallel.h"
#include "lshcore/project.h"

namespace lshcore {

Ids::Ids(std::vector<Id> values) : n_(static_cast<std::int64_t>(values.size())), values_(std::move(values)) {
    sorted_ = values_;
    std::sort(sorted_.begin(), sorted_.end());
    if (!sorted_.empty() && sorted_.front() < 0)
        throw std::invalid_argument("ids: expected numbers from 0, got " + std::to_string(sorted_.front()));
    const auto twice = std::adjacent_find(sorted_.begin(), sorted_.end());
    if (twice != sorted_.end())
        throw std::invalid_argument("ids: expected each id once, got " + std::to_string(*twice) + " twice");
}

Id Ids::max() const {
    if (n_ == 0) return kNoId;
    return sorted_.empty() ? first_ + n_ - 1 : sorted_.back();
}

bool Ids::contains(Id id) const {
    if (values_.empty()) return id >= first_ && id < first_ + n_;
    return std::binary_search(sorted_.begin(), sorted_.end(), id);
}

Id Ids::common(const Ids& a, const Ids& b) {
    const Ids& fewer = a.n_ <= b.n_ ? a : b;
    const Ids& more = a.n_ <= b.n_ ? b : a;
    if (fewer.max() < 0 || more.max() < 0) return kNoId;
    if (fewer.values_.empty() && more.values_.empty()) {  // two ranges
        const Id first = std::max(fewer.first_, more.first_);
        return fewer.contains(first) && more.contains(first) ? first : kNoId;
    }
    for (std::int64_t i = 0; i < fewer.n_; ++i)
        if (more.contains(fewer[i])) return fewer[i];
    return kNoId;
}

std::shared_ptr<const Segment> build_segment(const Partitioner& partitioner, View<const Word> codes,
                                             View<const float> vectors, VectorType keep, Ids ids, int n_jobs) {
    const std::int64_t n = ids.size();
    auto segment = std::make_shared<Segment>(std::move(ids));
    if (codes.data != nullptr) {
        segment->words = static_cast<int>(codes.cols);
        segment->codes.assign(codes.data, codes.data + codes.rows * codes.cols);
    }
    if (keep != VectorType::none) {
        segment->dim = vectors.cols;
        segment->inverse_norms.resize(static_cast<std::size_t>(n));
    }
    if (keep == VectorType::float32) {
        segment->vectors.assign(vectors.data, vectors.data + vectors.rows * vectors.cols);
        inverse_norms(vectors, segment->inverse_norms.data(), n_jobs);
    } else if (keep == VectorType::float16) {
        segment->halves.resize(static_cast<std::size_t>(n * vectors.cols));
        to_half(vectors, segment->halves.data(), segment->inverse_norms.data(), n_jobs);
    }

    if (const auto* bits = bit_keys(partitioner)) {
        const Word universe = bits->key_bits() < 40 ? Word{1} << bits->key_bits() : 0;
        std::vector<std::unique_ptr<Table>> built(static_cast<std::size_t>(bits->n_tables()));
        parallel_for(bits->n_tables(), n_jobs, [&](std::int64_t t, int) {
            const int table = static_cast<int>(t);
            std::vector<Word> keys(static_cast<std::size_t>(n));
            for (std::int64_t i = 0; i < n; ++i)
                keys[static_cast<std::size_t>(i)] = bits->name(bits->key(table, codes.row(i)));
            Table::CompareRows compare;
            if (bits->wide())
                compare = [&, table](Row a, Row b) {
                    const auto order = bits->key(table, codes.row(a)) <=> bits->key(table, codes.row(b));
                    return order < 0 ? -1 : order > 0;
                };
            built[static_cast<std::size_t>(t)] = std::make_unique<Table>(std::move(keys), universe, compare);
        });
        for (auto& table : built) segment->tables.push_back(std::move(*table));
    } else if (const auto* clusters = std::get_if<ClusterKeys>(&partitioner)) {
        std::vector<std::int32_t> labels(static_cast<std::size_t>(n));
        assign_clusters(vectors, clusters->centroids(), labels.data(), nullptr, n_jobs);
        segment->tables.emplace_back(std::vector<Word>(labels.begin(), labels.end()),
                                     static_cast<Word>(clusters->n_clusters()));
    }
    return segment;
}

}  // namespace lshcore
