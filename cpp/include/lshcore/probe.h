#pragma once
// Which keys of a query to look into, cheapest first.

#include <vector>

#include "lshcore/partition.h"
#include "lshcore/table.h"
#include "lshcore/types.h"

namespace lshcore {

struct Probe {
    int table;
    Key key;
    double cost;  // sum of the squared margins of the flipped bits
};

/// Query-directed multi-probe (Lv et al., 2007; sign bits as in FALCONN, 2015): first the query's own key of every table,
/// then over all tables together the sets of flipped bits with the least sum of squared margins. Each key comes once and
/// costs never fall. Without margins every bit costs 1. Gives fewer than n_probes where there are fewer keys. Scratch of
/// one thread.
class ProbeSequence {
   public:
    explicit ProbeSequence(const BitKeys& keys) : keys_(keys) {}

    /// margins (n_bits) or null. The result is valid until the next call.
    const std::vector<Probe>& find(const Word* code, const float* margins, std::int64_t n_probes);

   private:
    struct Bit {
        double cost;
        int position;  // in the key
    };
    /// Bits are taken in the order of their cost; `last` is the latest of the set, `before` the cost of the others.
    struct Node {
        double cost, before;
        std::uint64_t number;  // when it was made: equal costs come in this order
        int table, last;
        Key key;
        bool operator<(const Node& o) const {  // the heap's top is the least
            return cost > o.cost || (cost == o.cost && number > o.number);
        }
    };

    void push(int table, int last, double before, Key key);

    const BitKeys& keys_;
    std::vector<Probe> probes_;
    std::vector<Bit> bits_;  // (n_tables, key_bits), each table's by cost
    std::vector<Node> heap_;
    std::uint64_t n_nodes_ = 0;
};

/// Calls visit(rows) for every bucket of a table whose key lies within the radius of `key`: by enumerating keys while they
/// are fewer than the keys present, by looking at those otherwise. codes (n, words) are those of the table's rows.
template <class Visit>
void probe_radius(const BitKeys& keys, int t, const Table& table, const Word* codes, int words, const Key& key,
                  int radius, Visit visit);

/// How many keys of n_bits lie within a radius, at most `limit`.
std::int64_t keys_within(int n_bits, int radius, std::int64_t limit);

/// The rows of a key: of wide ones, the bucket whose key it really is.
inline std::span<const Row> bucket_of(const BitKeys& keys, int t, const Table& table, const Word* codes, int words,
                                      const Key& key) {
    if (!keys.wide()) return table.bucket(key.words[0]);
    return table.bucket(keys.name(key), [&](Row row) { return keys.key(t, codes + std::int64_t{row} * words) == key; });
}

namespace detail {

/// Calls visit(key) for every key made by flipping up to `left` bits from `first` on, the given one first.
template <class Visit>
void enumerate_keys(Key key, int first, int n_bits, int left, Visit& visit) {
    visit(key);
    if (left == 0) return;
    for (int bit = first; bit < n_bits; ++bit) {
        Key flipped = key;
        flipped.flip(bit);
        enumerate_keys(flipped, bit + 1, n_bits, left - 1, visit);
    }
}

int key_distance(const Key& a, const Key& b);

}  // namespace detail

template <class Visit>
void probe_radius(const BitKeys& keys, int t, const Table& table, const Word* codes, int words, const Key& key,
                  int radius, Visit visit) {
    if (keys_within(keys.key_bits(), radius, table.n_buckets()) < table.n_buckets()) {
        auto look = [&](const Key& near) {
            const auto rows = bucket_of(keys, t, table, codes, words, near);
            if (!rows.empty()) visit(rows);
        };
        detail::enumerate_keys(key, 0, keys.key_bits(), radius, look);
        return;
    }
    table.for_each_bucket([&](Word name, std::span<const Row> rows) {
        const Key present = keys.wide() ? keys.key(t, codes + std::int64_t{rows[0]} * words) : Key{{name}};
        if (detail::key_distance(present, key) <= radius) visit(rows);
    });
}

}  // namespace lshcore
