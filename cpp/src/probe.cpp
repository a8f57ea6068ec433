#include "lshcore/probe.h"

#include <algorithm>
#include <bit>

#include "lshcore/parallel.h"

namespace lshcore {

void ProbeSequence::push(int table, int last, int alternative, double before, Key key) {
    const Alternative made = at(table, last, alternative);
    key.flip(change(table, last).position, made.pattern);
    heap_.push_back({before + made.cost, before, n_nodes_++, table, static_cast<std::uint16_t>(last),
                     static_cast<std::uint16_t>(alternative), key});
    std::push_heap(heap_.begin(), heap_.end());
}

template <class First>
const std::vector<Probe>& ProbeSequence::search(const Word* code, std::int64_t n_probes, First first) {
    const int n_tables = keys_.n_tables();
    probes_.clear();
    heap_.clear();
    n_nodes_ = 0;
    for (int t = 0; t < n_tables && static_cast<std::int64_t>(probes_.size()) < n_probes; ++t)
        probes_.push_back({t, keys_.key(t, code), 0});
    if (n_probes <= n_tables) return probes_;

    changes_.resize(static_cast<std::size_t>(n_tables * n_changes_));
    for (int t = 0; t < n_tables; ++t) {
        const auto mine = changes_.begin() + t * n_changes_;
        for (int j = 0; j < n_changes_; ++j) {
            const int position = j * hash_bits_;
            const Alternative least = first(code_position(t, position));
            mine[j] = {least.cost, position, least.pattern};
        }
        std::sort(mine, mine + n_changes_, [](const Change& a, const Change& b) {
            return a.cost < b.cost || (a.cost == b.cost && a.position < b.position);
        });
        push(t, 0, 0, 0, probes_[static_cast<std::size_t>(t)].key);
    }
    while (static_cast<std::int64_t>(probes_.size()) < n_probes && !heap_.empty()) {
        if (probes_.size() % 4096 == 0) interruption_point();
        std::pop_heap(heap_.begin(), heap_.end());
        const Node node = heap_.back();
        heap_.pop_back();
        probes_.push_back({node.table, node.key, node.cost});
        const int next = node.last + 1;
        const bool more = node.alternative + 1 < n_alternatives_;
        if (next == n_changes_ && !more) continue;
        Key without = node.key;
        without.flip(change(node.table, node.last).position, at(node.table, node.last, node.alternative).pattern);
        if (more)
            push(node.table, node.last, node.alternative + 1, node.before, without);  // the last hash changed further
        if (next == n_changes_) continue;
        if (node.alternative == 0) push(node.table, next, 0, node.before, without);  // the next in place of the last
        push(node.table, next, 0, node.cost, node.key);                              // and besides it
    }
    return probes_;
}

const std::vector<Probe>& ProbeSequence::find(const Word* code, const float* margins, std::int64_t n_probes) {
    alternatives_ = nullptr;
    n_alternatives_ = 1;
    return search(code, n_probes, [&](std::int32_t bit) {
        const double margin = margins ? margins[bit] : 1.0;
        return Alternative{margin * margin, 1};
    });
}

const std::vector<Probe>& ProbeSequence::find(const Word* code, const Alternative* alternatives,
                                              std::int64_t n_alternatives, std::int64_t n_probes) {
    alternatives_ = alternatives;
    n_alternatives_ = n_alternatives;
    return search(code, n_probes, [&](std::int32_t bit) { return alternatives[bit / hash_bits_ * n_alternatives]; });
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
