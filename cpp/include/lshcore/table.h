#pragma once
// A table: key -> the rows of its bucket, in compressed sparse rows. Built once, then const and shared.

#include <functional>
#include <span>
#include <vector>

#include "lshcore/types.h"

namespace lshcore {

class Table {
   public:
    /// Orders two rows whose keys are equal but may stand for different things (fingerprints of wide keys).
    using CompareRows = std::function<int(Row, Row)>;

    /// keys[i] is the key of row i. `universe` is the number of possible keys, 0 where it has no 64-bit number: with at
    /// least as many rows as keys the offsets are addressed by the key itself, otherwise found by binary search.
    Table(std::vector<Word> keys, Word universe, const CompareRows& compare = nullptr);

    /// The rows with this key, ascending.
    std::span<const Row> bucket(Word key) const;

    /// The same where several buckets may share a key: the first for which is_it(row of the bucket) holds.
    template <class Predicate>
    std::span<const Row> bucket(Word key, Predicate is_it) const {
        for (std::size_t b = find(key); b < keys_.size() && keys_[b] == key; ++b)
            if (is_it(rows_[offsets_[b]])) return slice(b);
        return {};
    }

    /// Calls f(key, rows) for every bucket that holds something.
    template <class F>
    void for_each_bucket(F f) const {
        for (std::size_t b = 0; b + 1 < offsets_.size(); ++b)
            if (offsets_[b + 1] > offsets_[b]) f(keys_.empty() ? Word{b} : keys_[b], slice(b));
    }

    std::int64_t n_buckets() const { return n_buckets_; }  ///< that hold something

    /// Brings what bucket(key) will read towards the cache: where the rows stand, if that is one place.
    void prefetch(Word key) const {
        if (universe_ != 0 && key < universe_) __builtin_prefetch(offsets_.data() + key);
    }

    std::size_t nbytes() const;

   private:
    std::size_t find(Word key) const;
    std::span<const Row> slice(std::size_t b) const {
        return {rows_.data() + offsets_[b], rows_.data() + offsets_[b + 1]};
    }

    std::vector<Word> keys_;  // ascending; empty where addressed directly
    std::vector<std::uint32_t> offsets_;
    std::vector<Row> rows_;
    std::int64_t n_buckets_ = 0;
    Word universe_ = 0;  // of a directly addressed table, else 0
};

}  // namespace lshcore
