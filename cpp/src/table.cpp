#include "lshcore/table.h"

#include <algorithm>
#include <numeric>

#include "radix.h"

namespace lshcore {

Table::Table(std::vector<Word> keys, Word universe, const CompareRows& compare) {
    const std::size_t n = keys.size();
    std::vector<Row> rows(n);
    std::vector<std::uint32_t> offsets;
    if (direct(universe, static_cast<std::int64_t>(n))) {  // counting sort straight into place
        universe_ = universe;
        offsets.assign(universe + 1, 0);
        for (const Word key : keys) ++offsets[key + 1];
        std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
        std::vector<std::uint32_t> next(offsets.begin(), offsets.end() - 1);
        for (std::size_t i = 0; i < n; ++i) rows[next[keys[i]]++] = static_cast<Row>(i);
        for (std::size_t b = 0; b < universe; ++b) n_buckets_ += offsets[b + 1] > offsets[b];
        offsets_ = std::move(offsets);
        rows_ = std::move(rows);
        return;
    }

    struct Entry {
        Word key;
        Row row;
    };
    std::vector<Entry> entries(n), spare;
    Word max_key = 0;
    for (std::size_t i = 0; i < n; ++i) {
        entries[i] = {keys[i], static_cast<Row>(i)};
        max_key = std::max(max_key, keys[i]);
    }
    std::vector<Word>().swap(keys);  // from here on those of the buckets
    radix_sort(entries, spare, max_key, [](const Entry& e) { return e.key; });

    // Rows of one fingerprint but different keys become neighbouring buckets.
    if (compare) {
        for (std::size_t begin = 0, end; begin < n; begin = end) {
            end = begin + 1;
            bool mixed = false;
            for (; end < n && entries[end].key == entries[begin].key; ++end)
                mixed = mixed || compare(entries[begin].row, entries[end].row) != 0;
            if (mixed)
                std::stable_sort(entries.begin() + static_cast<std::ptrdiff_t>(begin),
                                 entries.begin() + static_cast<std::ptrdiff_t>(end),
                                 [&](const Entry& a, const Entry& b) { return compare(a.row, b.row) < 0; });
        }
    }
    for (std::size_t i = 0; i < n; ++i) {
        const bool first = i == 0 || entries[i].key != entries[i - 1].key ||
                           (compare && compare(entries[i - 1].row, entries[i].row) != 0);
        if (first) {
            keys.push_back(entries[i].key);
            offsets.push_back(static_cast<std::uint32_t>(i));
        }
        rows[i] = entries[i].row;
    }
    offsets.push_back(static_cast<std::uint32_t>(n));
    keys.shrink_to_fit();
    offsets.shrink_to_fit();
    n_buckets_ = static_cast<std::int64_t>(keys.size());
    keys_ = std::move(keys);
    offsets_ = std::move(offsets);
    rows_ = std::move(rows);
}

Table::Table(Buffer<Word> keys, Buffer<std::uint32_t> offsets, Buffer<Row> rows, Word universe)
    : keys_(std::move(keys)), offsets_(std::move(offsets)), rows_(std::move(rows)) {
    if (direct(universe, static_cast<std::int64_t>(rows_.size()))) universe_ = universe;
    n_buckets_ = static_cast<std::int64_t>(offsets_.size()) - 1;
}

const char* Table::flaw(Word universe, bool shared_keys) const {
    const std::size_t n = rows_.size(), n_offsets = offsets_.size();
    if (n_offsets != (universe_ != 0 ? universe_ : keys_.size()) + 1) return "one offset more than buckets is needed";
    if (offsets_[0] != 0) return "offsets must start at 0";
    if (offsets_[n_offsets - 1] != n) return "offsets must end at the number of rows";
    for (std::size_t b = 0; b + 1 < n_offsets; ++b) {
        if (offsets_[b + 1] < offsets_[b]) return "offsets must never fall";
        if (universe_ == 0 && offsets_[b + 1] == offsets_[b]) return "buckets that have a key must hold a row";
    }
    for (std::size_t b = 1; b < keys_.size(); ++b)
        if (keys_[b] < keys_[b - 1] || (keys_[b] == keys_[b - 1] && !shared_keys)) return "keys must ascend";
    if (universe != 0 && !keys_.empty() && keys_[keys_.size() - 1] >= universe) return "keys must be possible ones";
    std::vector<bool> met(n, false);
    for (std::size_t b = 0; b + 1 < n_offsets; ++b)
        for (std::size_t i = offsets_[b]; i < offsets_[b + 1]; ++i) {
            if (rows_[i] >= n) return "rows must be below the number of rows";
            if (i > offsets_[b] && rows_[i] <= rows_[i - 1]) return "rows must ascend within a bucket";
            if (met[rows_[i]]) return "each row must be in one bucket";
            met[rows_[i]] = true;
        }
    return nullptr;
}

std::size_t Table::find(Word key) const {
    return static_cast<std::size_t>(std::lower_bound(keys_.begin(), keys_.end(), key) - keys_.begin());
}

std::span<const Row> Table::bucket(Word key) const {
    if (universe_ != 0) return key < universe_ ? slice(key) : std::span<const Row>{};
    const std::size_t b = find(key);
    return b < keys_.size() && keys_[b] == key ? slice(b) : std::span<const Row>{};
}

std::size_t Table::nbytes() const {
    return keys_.size() * sizeof(Word) + offsets_.size() * sizeof(std::uint32_t) + rows_.size() * sizeof(Row);
}

}  // namespace lshcore
