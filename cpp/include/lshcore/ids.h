#pragma once
// What the rows of a segment are called.

#include <vector>

#include "lshcore/buffer.h"
#include "lshcore/types.h"

namespace lshcore {

/// The ids of a segment's rows: either first, first + 1, ... (nothing stored), or any distinct ones and the order that
/// sorts them.
class Ids {
   public:
    Ids(Id first, std::int64_t n) : first_(first), n_(n) {}
    explicit Ids(std::vector<Id> values);  ///< throws if one is negative or repeats
    Ids(Buffer<Id> values, Buffer<Row> order)
        : n_(static_cast<std::int64_t>(values.size())), values_(std::move(values)), order_(std::move(order)) {}

    /// A range where the values are one.
    static Ids packed(std::vector<Id> values);

    std::int64_t size() const { return n_; }
    Id operator[](std::int64_t row) const {
        return values_.empty() ? first_ + row : values_[static_cast<std::size_t>(row)];
    }
    Id max() const;
    Id first() const { return first_; }
    bool is_range() const { return values_.empty(); }
    const Id* values() const { return values_.empty() ? nullptr : values_.data(); }  ///< null: first, first + 1, ...
    const Buffer<Id>& stored() const { return values_; }
    const Buffer<Row>& order() const { return order_; }  ///< values[order[0]] < values[order[1]] < ...
    std::size_t nbytes() const { return values_.nbytes() + order_.nbytes(); }

    /// The row of this id, or -1.
    std::int64_t find(Id id) const;

    /// What keeps the stored arrays from being distinct ids from 0 and their order, or null.
    const char* flaw() const;

   private:
    std::int64_t lower_bound(Id id) const;  // in the order

    Id first_ = 0;
    std::int64_t n_ = 0;
    Buffer<Id> values_;
    Buffer<Row> order_;
};

}  // namespace lshcore
