#pragma once
// A table: key -> the rows of its bucket, in compressed sparse rows. Built once, then const and shared.

#include <functional>
#include <span>
#include <vector>

#include "lshcore/buffer.h"
#include "lshcore/types.h"

namespace lshcore {

class Table {
   public:
    /// Orders two rows whose keys are equal but may stand for different things (fingerprints of wide keys).
    using CompareRows = std::function<int(Row, Row)>;

    /// keys[i] is the key of row i. `universe` is the number of possible keys, 0 where it has no 64-bit number: with at
    /// least as many rows as keys the offsets are addressed by the key itself, otherwise found by binary search.
    Table(std::vector<Word> keys, Word universe, const CompareRows& compare = nullptr);

    /// Of arrays made by another table, unread until `flaw` has seen them. keys: empty where addressed directly.
    Table(Buffer<Word> keys, Buffer<std::uint32_t> offsets, Buffer<Row> rows, Word universe);

    /// Whether a table of n rows is addressed by the key itself.
    static bool direct(Word universe, std::int64_t n) { return universe != 0 && universe <= static_cast<Word>(n); }

    /// What in the arrays would lead out of bounds or to a row twice, or null. shared_keys: several buckets may have one.
    const char* flaw(Word universe, bool shared_keys) const;

    const Buffer<Word>& keys() const { return keys_; }
    const Buffer<std::uint32_t>& offsets() const { return offsets_; }
    const Buffer<Row>& rows() const { return rows_; }

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

    /// That hold something; of a borrowed table that is addressed directly, all.
    std::int64_t n_buckets() const { return n_buckets_; }

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

    Buffer<Word> keys_;  // ascending; empty where addressed directly
    Buffer<std::uint32_t> offsets_;
    Buffer<Row> rows_;
    std::int64_t n_buckets_ = 0;
    Word universe_ = 0;  // of a directly addressed table, else 0
};

}  // namespace lshcore
