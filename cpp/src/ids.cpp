#include "lshcore/ids.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "radix.h"

namespace lshcore {

Ids::Ids(std::vector<Id> values) : n_(static_cast<std::int64_t>(values.size())) {
    struct Entry {
        Id id;
        Row row;
    };
    std::vector<Entry> entries(values.size()), spare;
    Id largest = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (values[i] < 0)
            throw std::invalid_argument("ids: expected numbers from 0, got " + std::to_string(values[i]));
        entries[i] = {values[i], static_cast<Row>(i)};
        largest = std::max(largest, values[i]);
    }
    if (values.size() < 256)
        std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.id < b.id; });
    else
        radix_sort(entries, spare, static_cast<Word>(largest), [](const Entry& e) { return static_cast<Word>(e.id); });
    std::vector<Row> order(values.size());
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (i > 0 && entries[i].id == entries[i - 1].id)
            throw std::invalid_argument("ids: expected each id once, got " + std::to_string(entries[i].id) + " twice");
        order[i] = entries[i].row;
    }
    values_ = std::move(values);
    order_ = std::move(order);
}

Ids Ids::packed(std::vector<Id> values) {
    bool range = !values.empty() && values[0] >= 0;
    for (std::size_t i = 1; range && i < values.size(); ++i) range = values[i] > 0 && values[i] - 1 == values[i - 1];
    return range ? Ids(values[0], static_cast<std::int64_t>(values.size())) : Ids(std::move(values));
}

std::int64_t Ids::lower_bound(Id id) const {
    return std::lower_bound(order_.begin(), order_.end(), id,
                            [&](Row row, Id wanted) { return values_[row] < wanted; }) -
           order_.begin();
}

Id Ids::max() const {
    if (n_ == 0) return kNoId;
    return values_.empty() ? first_ + n_ - 1 : values_[order_[order_.size() - 1]];
}

std::int64_t Ids::find(Id id) const {
    if (values_.empty()) return id >= first_ && id - first_ < n_ ? id - first_ : -1;
    const std::int64_t at = lower_bound(id);
    if (at == n_) return -1;
    const Row row = order_[static_cast<std::size_t>(at)];
    return values_[row] == id ? std::int64_t{row} : -1;
}

const char* Ids::flaw() const {
    const std::size_t n = values_.size();
    for (std::size_t i = 0; i < n; ++i)
        if (values_[i] < 0) return "ids must not be negative";
    for (std::size_t i = 0; i < n; ++i) {
        if (order_[i] >= n) return "ids_order must name rows";
        if (i > 0 && values_[order_[i]] <= values_[order_[i - 1]]) return "ids_order must sort distinct ids";
    }
    return nullptr;
}

}  // namespace lshcore
