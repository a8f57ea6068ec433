#include "lshcore/candidates.h"

#include <algorithm>

namespace lshcore {

void CandidateUnion::begin(std::int64_t n_rows) {
    rows_.clear();
    if (static_cast<std::int64_t>(mark_.size()) < n_rows) mark_.resize(static_cast<std::size_t>(n_rows), 0);
    if (++current_ == 0) {  // 255 unions later: the one time the marks are cleared
        std::fill(mark_.begin(), mark_.end(), std::uint8_t{0});
        current_ = 1;
    }
}

void Prober::prepare(View<const Word> codes, View<const float> vectors, std::int64_t first, std::int64_t n) {
    codes_ = codes;
    first_ = first;
    if (const auto* clusters = std::get_if<ClusterKeys>(&partitioner_)) {
        clusters_.resize(static_cast<std::size_t>(n * probes_));
        clusters->nearest({vectors.row(first), n, vectors.cols}, probes_, clusters_.data());
    }
}

std::span<const Row> Prober::candidates(const Segment& segment, std::int64_t q) {
    union_.begin(segment.size());
    if (const auto* bits = std::get_if<BitKeys>(&partitioner_)) {
        const Word* code = codes_.row(q);
        for (int t = 0; t < bits->n_tables(); ++t) {
            const Table& table = segment.tables[static_cast<std::size_t>(t)];
            const Word key = bits->key(t, code);
            const auto bucket = !bits->wide() ? table.bucket(key) : table.bucket(key, [&](Row row) {
                return bits->compare(t, code, segment.codes.data() + std::int64_t{row} * segment.words) == 0;
            });
            if (bits->n_tables() == 1)
                union_.add_disjoint(bucket);
            else
                union_.add(bucket);
        }
    } else {
        const std::int32_t* clusters = clusters_.data() + (q - first_) * probes_;
        for (std::int64_t p = 0; p < probes_; ++p)
            union_.add_disjoint(segment.tables[0].bucket(static_cast<Word>(clusters[p])));
    }
    return union_.rows();
}

}  // namespace lshcore
