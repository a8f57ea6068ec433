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
    double cost;  // sum over the hashes that it changes; a flipped sign costs its squared margin
};

/// Query-directed multi-probe (Lv et al., 2007; signs and cross-polytopes as in FALCONN, 2015): first the query's own key
/// of every table, then over all tables together the keys that change the hashes of one at the least sum of costs. Each
/// key comes once and costs never fall. Gives fewer than n_probes where there are fewer keys. Scratch of one thread.
class ProbeSequence {
   public:
    /// Keys of hashes of so many bits each: 1 for signs.
    explicit ProbeSequence(const BitKeys& keys, int hash_bits = 1)
        : keys_(keys), hash_bits_(hash_bits), n_changes_(keys.key_bits() / hash_bits) {}

    /// Signs: margins (n_bits), or null for 1 a bit. The result is valid until the next call.
    const std::vector<Probe>& find(const Word* code, const float* margins, std::int64_t n_probes);

    /// Other hashes: alternatives (hashes of the code, n_alternatives), the costs of each rising. None can be needed
    /// beyond the first n_probes less the number of tables.
    const std::vector<Probe>& find(const Word* code, const Alternative* alternatives, std::int64_t n_alternatives,
                                   std::int64_t n_probes);

   private:
    /// A hash of a key, and the first alternative to it.
    struct Change {
        double cost;
        int position;  // of its first bit in the key
        std::uint16_t pattern;
    };
    /// A set of changed hashes. They are taken in the order of what their first alternative costs; `last` is the latest of
    /// the set, at this alternative, and `before` the cost of the others.
    struct Node {
        double cost, before;
        std::uint64_t number;  // when it was made: equal costs come in this order
        int table;
        std::uint16_t last, alternative;
        Key key;
        bool operator<(const Node& o) const {  // the heap's top is the least
            return cost > o.cost || (cost == o.cost && number > o.number);
        }
    };

    std::int32_t code_position(int table, int position) const {
        return keys_.positions()[static_cast<std::size_t>(table * keys_.key_bits() + position)];
    }
    const Change& change(int table, int number) const {
        return changes_[static_cast<std::size_t>(table * n_changes_ + number)];
    }
    Alternative at(int table, int number, int alternative) const {
        const Change& mine = change(table, number);
        if (alternative == 0) return {mine.cost, mine.pattern};
        return alternatives_[code_position(table, mine.position) / hash_bits_ * n_alternatives_ + alternative];
    }
    void push(int table, int last, int alternative, double before, Key key);
    template <class First>
    const std::vector<Probe>& search(const Word* code, std::int64_t n_probes, First first);

    const BitKeys& keys_;
    int hash_bits_, n_changes_;
    const Alternative* alternatives_ = nullptr;
    std::int64_t n_alternatives_ = 1;
    std::vector<Probe> probes_;
    std::vector<Change> changes_;  // (n_tables, n_changes_), each table's by cost
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
