#include "lshcore/table.h"

#include <algorithm>
#include <numeric>

#include "radix.h"

namespace lshcore {

Table::Table(std::vector<Word> keys, Word universe, const CompareRows& compare) {
    const std::size_t n = keys.size();
    rows_.resize(n);
    if (universe != 0 && universe <= n) {  // counting sort straight into place
        universe_ = universe;
        offsets_.assign(universe + 1, 0);
        for (const Word key : keys) ++offsets_[key + 1];
        std::partial_sum(offsets_.begin(), offsets_.end(), offsets_.begin());
        std::vector<std::uint32_t> next(offsets_.begin(), offsets_.end() - 1);
        for (std::size_t i = 0; i < n; ++i) rows_[next[keys[i]]++] = static_cast<Row>(i);
        for (std::size_t b = 0; b < universe; ++b) n_buckets_ += offsets_[b + 1] > offsets_[b];
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
    std::vector<Word>().swap(keys);
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
            keys_.push_back(entries[i].key);
            offsets_.push_back(static_cast<std::uint32_t>(i));
        }
        rows_[i] = entries[i].row;
    }
    offsets_.push_back(static_cast<std::uint32_t>(n));
    n_buckets_ = static_cast<std::int64_t>(keys_.size());
    keys_.shrink_to_fit();
    offsets_.shrink_to_fit();
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
