#include "lshcore/probe.h"

#include <algorithm>
#include <bit>

#include "lshcore/parallel.h"

namespace lshcore {

void ProbeSequence::push(int table, int last, double before, Key key) {
    const Bit& bit = bits_[static_cast<std::size_t>(table * keys_.key_bits() + last)];
    key.flip(bit.position);
    heap_.push_back({before + bit.cost, before, n_nodes_++, table, last, key});
    std::push_heap(heap_.begin(), heap_.end());
}

const std::vector<Probe>& ProbeSequence::find(const Word* code, const float* margins, std::int64_t n_probes) {
    const int n_tables = keys_.n_tables(), key_bits = keys_.key_bits();
    probes_.clear();
    heap_.clear();
    n_nodes_ = 0;
    for (int t = 0; t < n_tables && static_cast<std::int64_t>(probes_.size()) < n_probes; ++t)
        probes_.push_back({t, keys_.key(t, code), 0});
    if (n_probes <= n_tables) return probes_;

    bits_.resize(static_cast<std::size_t>(n_tables * key_bits));
    for (int t = 0; t < n_tables; ++t) {
        const auto mine = bits_.begin() + t * key_bits;
        for (int j = 0; j < key_bits; ++j) {
            const double margin =
                margins ? margins[keys_.positions()[static_cast<std::size_t>(t * key_bits + j)]] : 1.0;
            mine[j] = {margin * margin, j};
        }
        std::sort(mine, mine + key_bits, [](const Bit& a, const Bit& b) {
            return a.cost < b.cost || (a.cost == b.cost && a.position < b.position);
        });
        push(t, 0, 0, probes_[static_cast<std::size_t>(t)].key);
    }
    while (static_cast<std::int64_t>(probes_.size()) < n_probes && !heap_.empty()) {
        if (probes_.size() % 4096 == 0) interruption_point();
        std::pop_heap(heap_.begin(), heap_.end());
        const Node node = heap_.back();
        heap_.pop_back();
        probes_.push_back({node.table, node.key, node.cost});
        if (node.last + 1 == key_bits) continue;
        Key without = node.key;
        without.flip(bits_[static_cast<std::size_t>(node.table * key_bits + node.last)].position);
        push(node.table, node.last + 1, node.before, without);  // the next bit in place of the last
        push(node.table, node.last + 1, node.cost, node.key);   // and besides it
    }
    return probes_;
}

std::int64_t keys_within(int n_bits, int radius, std::int64_t limit) {
    double total = 0, choose = 1;  // n_bits over r; doubles do: only the comparison with the limit matters
    for (int r = 0; r <= std::min(radius, n_bits); ++r) {
        total += choose;
        if (total >= static_cast<double>(limit)) return limit;
        choose = choose * (n_bits - r) / (r + 1);
    }
    return static_cast<std::int64_t>(total);
}

namespace detail {

int key_distance(const Key& a, const Key& b) {
    int distance = 0;
    for (std::size_t w = 0; w < std::size(a.words); ++w) distance += std::popcount(a.words[w] ^ b.words[w]);
    return distance;
}

}  // namespace detail
}  // namespace lshcore
