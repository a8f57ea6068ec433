#include "lshcore/metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "lshcore/error.h"
#include "lshcore/parallel.h"
#include "radix.h"

namespace lshcore {
namespace {

/// 1/(N+1) + ... + 1/(N+s). Long sums by the midpoint Euler-Maclaurin formula, whose first left-out term is below
/// 1e-17 of the result from N = 64 on.
double reciprocal_sum(double N, std::int64_t s) {
    if (s < 32 || N < 64) {
        double sum = 0;
        const std::int64_t direct = N < 64 ? std::min<std::int64_t>(s, 64) : s;
        for (std::int64_t t = direct; t >= 1; --t) sum += 1.0 / (N + static_cast<double>(t));
        return direct == s ? sum : sum + reciprocal_sum(N + static_cast<double>(direct), s - direct);
    }
    const double a = N + 0.5, b = N + static_cast<double>(s) + 0.5;
    const double a2 = 1 / (a * a), b2 = 1 / (b * b);
    return std::log1p(static_cast<double>(s) / a) - (a2 - b2) / 24 + 7 * (a2 * a2 - b2 * b2) / 960 -
           31 * (a2 * a2 * a2 - b2 * b2 * b2) / 8064;
}

/// What precedes a group in the ranking: items, relevant ones, and the expected sum of P(t) rel_t over them.
struct Before {
    double n = 0, relevant = 0, precisions = 0;
};

/// Expected sum of P(t) rel_t over the first s places of a group of n items, of which m are relevant, in random order.
double expected_precisions(const Before& before, double n, double m, std::int64_t s) {
    if (m == 0 || s == 0) return 0;
    const double h1 = reciprocal_sum(before.n, s);
    const double h2 = static_cast<double>(s) - (before.n + 1) * h1;  // sum of (t - 1) / (N + t)
    const double others = n > 1 ? (m - 1) / (n - 1) : 0.0;
    return m / n * ((before.relevant + 1) * h1 + others * h2);
}

/// Expected AP over the relevant items among the first N + s: the expectation of the ratio, by the number j of relevant
/// items that fall into the s places (hypergeometric), not the ratio of expectations.
double expected_retrieved_ap(const Before& before, double n, double m, std::int64_t s) {
    const double places = static_cast<double>(s);
    if (m == 0 || places == n || m == n) {  // j is certain
        const double found = before.relevant + (places == n ? m : (m == n ? places : 0.0));
        return found > 0 ? (before.precisions + expected_precisions(before, n, m, s)) / found : 0.0;
    }
    const double h1 = reciprocal_sum(before.n, s);
    const double h2 = places - (before.n + 1) * h1;
    const auto value = [&](double j) {
        const double found = before.relevant + j;
        if (found == 0) return 0.0;
        const double others = places > 1 ? (j - 1) / (places - 1) : 0.0;
        return (before.precisions + (j == 0 ? 0.0 : j / places * ((before.relevant + 1) * h1 + others * h2))) / found;
    };
    // Weights relative to the mode, outwards until they vanish.
    const double least = std::max(0.0, places - (n - m)), most = std::min(places, m);
    const double mode = std::clamp(std::floor((places + 1) * (m + 1) / (n + 2)), least, most);
    double weights = 1, sum = value(mode);
    double weight = 1;
    for (double j = mode; j < most && weight > 1e-20; ++j) {
        weight *= (m - j) * (places - j) / ((j + 1) * (n - m - places + j + 1));
        weights += weight;
        sum += weight * value(j + 1);
    }
    weight = 1;
    for (double j = mode; j > least && weight > 1e-20; --j) {
        weight *= j * (n - m - places + j) / ((m - j + 1) * (places - j + 1));
        weights += weight;
        sum += weight * value(j - 1);
    }
    return sum / weights;
}

void check_ascending(const std::vector<std::int64_t>& values, const char* what) {
    for (std::size_t i = 0; i < values.size(); ++i)
        if (values[i] < 1 || (i > 0 && values[i] <= values[i - 1]))
            throw std::invalid_argument(std::string(what) + ": expected ascending numbers from 1");
}

}  // namespace

Labels Labels::single(std::span<const std::int64_t> labels) {
    Labels result;
    result.n_ = static_cast<std::int64_t>(labels.size());
    if (labels.empty()) return result;
    const auto [least_at, most_at] = std::minmax_element(labels.begin(), labels.end());
    const std::int64_t least = *least_at;
    const Word range = static_cast<Word>(*most_at) - static_cast<Word>(least);
    const auto offset = [least](std::int64_t label) { return static_cast<Word>(label) - static_cast<Word>(least); };
    if (range < labels.size() + 1024) {  // nearly always: a class a number of the range
        result.members_.resize(static_cast<std::size_t>(range) + 1);
        for (std::size_t c = 0; c <= range; ++c) result.values_.push_back(least + static_cast<std::int64_t>(c));
        result.classes_.resize(labels.size());
        for (std::size_t i = 0; i < labels.size(); ++i) {
            result.classes_[i] = static_cast<std::uint32_t>(offset(labels[i]));
            ++result.members_[result.classes_[i]].n;
        }
        return result;
    }
    std::vector<std::int64_t> order(labels.size()), spare;
    std::iota(order.begin(), order.end(), std::int64_t{0});
    radix_sort(order, spare, range, [&](std::int64_t row) { return offset(labels[static_cast<std::size_t>(row)]); });
    result.make_classes(order, [&](std::int64_t a, std::int64_t b) {
        return labels[static_cast<std::size_t>(a)] == labels[static_cast<std::size_t>(b)];
    });
    for (const Members& members : result.members_)
        result.values_.push_back(labels[static_cast<std::size_t>(members.first)]);
    return result;
}

Labels Labels::multi(View<const bool> labels) {
    require(labels.cols >= 1, "labels: a multi-label matrix must have at least one column");
    Labels result;
    result.n_ = labels.rows;
    result.n_labels_ = labels.cols;
    result.words_ = ceil_div(labels.cols, 64);
    result.multi_.assign(static_cast<std::size_t>(labels.rows * result.words_), 0);
    for (std::int64_t i = 0; i < labels.rows; ++i)
        for (std::int64_t j = 0; j < labels.cols; ++j)
            if (labels.row(i)[j])
                result.multi_[static_cast<std::size_t>(i * result.words_ + j / 64)] |= Word{1} << (j % 64);
    const auto set = [&](std::int64_t row) { return result.multi_.begin() + row * result.words_; };
    std::vector<std::int64_t> order(static_cast<std::size_t>(labels.rows));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        return std::lexicographical_compare(set(a), set(a + 1), set(b), set(b + 1));
    });
    result.make_classes(order, [&](std::int64_t a, std::int64_t b) { return std::equal(set(a), set(a + 1), set(b)); });
    return result;
}

void Labels::check_comparable(const Labels& a, const Labels& b) {
    require(a.is_single() == b.is_single(),
            "labels: queries and gallery must both be single-label or both multi-label");
    if (a.n_labels_ != b.n_labels_)
        throw std::invalid_argument("labels: queries have " + std::to_string(a.n_labels_) +
                                    " label columns, the gallery " + std::to_string(b.n_labels_));
}

/// From all items, those with the same labels together.
template <class Same>
void Labels::make_classes(const std::vector<std::int64_t>& order, Same same) {
    classes_.resize(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
        if (i == 0 || !same(order[i - 1], order[i])) members_.push_back({0, order[i]});
        classes_[static_cast<std::size_t>(order[i])] = static_cast<std::uint32_t>(members_.size() - 1);
        ++members_.back().n;
    }
}

/// The class of `gallery` that has the single label of item q of these, or -1.
std::int64_t Labels::class_in(const Labels& gallery, std::int64_t q) const {
    const std::int64_t label = values_[class_of(q)];
    const auto at = std::lower_bound(gallery.values_.begin(), gallery.values_.end(), label);
    return at != gallery.values_.end() && *at == label ? at - gallery.values_.begin() : -1;
}

RankingAccumulator::RankingAccumulator(std::vector<std::int64_t> ks, std::vector<std::int64_t> curve_ranks, int n_bits,
                                       bool stable)
    : ks_(std::move(ks)), curve_ranks_(std::move(curve_ranks)), n_bits_(n_bits), stable_(stable) {
    check_ascending(ks_, "k");
    check_ascending(curve_ranks_, "curve ranks");
    require(n_bits >= 0 && n_bits <= kMaxBits, "n_bits: expected 0 to 4096");
    sums_.assign(n_slots(), 0.0);
}

RankingAccumulator::QueryValues RankingAccumulator::evaluate(std::span<const TieGroup> groups,
                                                             std::int64_t n_relevant) const {
    QueryValues out(n_slots(), 0.0);
    const double R = static_cast<double>(n_relevant);
    Before before;
    std::size_t next_k = 0, next_curve = 0, next_radius = 0;

    const auto put_radius = [&] {
        double* at = &out[radius(next_radius++)];
        at[0] = before.n > 0 ? before.relevant / before.n : 0.0;
        at[1] = R > 0 ? before.relevant / R : 0.0;
        at[2] = before.n;
    };
    const auto put_curve = [&](double hits) {
        const double rank = static_cast<double>(curve_ranks_[next_curve]);
        double* at = &out[curve(next_curve++)];
        at[0] = hits / rank;
        at[1] = R > 0 ? hits / R : 0.0;
    };
    const auto put_k = [&](double hits, double precisions, double retrieved_ap, double returned) {
        const double k = static_cast<double>(ks_[next_k]);
        out[at_k(next_k, kMapAt)] = R > 0 ? precisions / std::min(k, R) : 0.0;
        out[at_k(next_k, kMapRetrievedAt)] = retrieved_ap;
        out[at_k(next_k, kPrecisionAt)] = hits / k;
        out[at_k(next_k, kPrecisionReturnedAt)] = returned > 0 ? hits / returned : 0.0;
        ++next_k;
    };

    for (const TieGroup& group : groups) {
        if (n_bits_ > 0)
            while (static_cast<double>(next_radius) < group.distance) put_radius();
        const double n = static_cast<double>(group.n), m = static_cast<double>(group.relevant);
        // Cut-offs inside this group: s = k - N of its places count.
        for (; next_k < ks_.size() && static_cast<double>(ks_[next_k]) <= before.n + n;) {
            const double k = static_cast<double>(ks_[next_k]);
            const auto s = static_cast<std::int64_t>(k - before.n);
            put_k(before.relevant + static_cast<double>(s) * m / n,
                  before.precisions + expected_precisions(before, n, m, s), expected_retrieved_ap(before, n, m, s), k);
        }
        for (; next_curve < curve_ranks_.size() && static_cast<double>(curve_ranks_[next_curve]) <= before.n + n;)
            put_curve(before.relevant + (static_cast<double>(curve_ranks_[next_curve]) - before.n) * m / n);
        before.precisions += expected_precisions(before, n, m, group.n);
        before.n += n;
        before.relevant += m;
    }
    const double ap_retrieved = before.relevant > 0 ? before.precisions / before.relevant : 0.0;
    while (next_k < ks_.size()) put_k(before.relevant, before.precisions, ap_retrieved, before.n);
    while (next_curve < curve_ranks_.size()) put_curve(before.relevant);
    if (n_bits_ > 0) {
        while (next_radius <= static_cast<std::size_t>(n_bits_)) put_radius();
        out[empty_ball()] = out[radius(std::min<std::size_t>(2, static_cast<std::size_t>(n_bits_))) + 2] == 0;
    }
    out[kCandidates] = before.n;
    out[kNoRelevant] = n_relevant == 0;
    out[kMap] = R > 0 ? before.precisions / R : 0.0;
    out[kMapRetrieved] = ap_retrieved;
    out[kRecall] = R > 0 ? before.relevant / R : 0.0;
    out[kCovered] = before.n > 0;
    return out;
}

void RankingAccumulator::add(const QueryValues& values) {
    for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i] += values[i];
    candidates_.push_back(static_cast<std::int64_t>(values[kCandidates]));
}

void RankingAccumulator::merge(const RankingAccumulator& other) {
    require(
        ks_ == other.ks_ && curve_ranks_ == other.curve_ranks_ && n_bits_ == other.n_bits_ && stable_ == other.stable_,
        "RankingAccumulator.merge: both must keep the same metrics");
    for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i] += other.sums_[i];
    candidates_.insert(candidates_.end(), other.candidates_.begin(), other.candidates_.end());
}

std::vector<double> RankingAccumulator::means() const {
    std::vector<double> result = sums_;
    const double n = static_cast<double>(std::max<std::int64_t>(1, n_queries()));
    for (double& value : result) value /= n;
    return result;
}

void RankedList::begin() {
    entries_.clear();
    keys_.clear();
    if (by_count()) counts_.assign(2 * (static_cast<std::size_t>(accumulator_->n_bits()) + 1), 0);
}

std::vector<TieGroup> RankedList::groups_from_counts() const {
    std::vector<TieGroup> groups;
    for (std::size_t d = 0; d < counts_.size() / 2; ++d) {
        const std::int64_t relevant = counts_[2 * d + 1], n = counts_[2 * d] + relevant;
        if (n > 0) groups.push_back({static_cast<float>(d), n, relevant});
    }
    return groups;
}

std::vector<TieGroup> RankedList::groups_from_keys() {
    std::vector<TieGroup> groups;
    if (keys_.size() < 256)
        std::sort(keys_.begin(), keys_.end());
    else {
        std::vector<Word> spare;  // not kept: many lists may be open at once
        radix_sort(keys_, spare, ~std::uint32_t{0}, [](Word key) { return key >> 1; });
    }
    for (std::size_t begin = 0, end; begin < keys_.size(); begin = end) {
        std::int64_t relevant = 0;
        for (end = begin; end < keys_.size() && keys_[end] >> 1 == keys_[begin] >> 1; ++end) relevant += keys_[end] & 1;
        groups.push_back({unordered(static_cast<std::uint32_t>(keys_[begin] >> 1)),
                          static_cast<std::int64_t>(end - begin), relevant});
    }
    return groups;
}

std::vector<TieGroup> RankedList::groups_from_entries() {
    std::vector<TieGroup> groups;
    std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
        return a.distance < b.distance || (a.distance == b.distance && a.id < b.id);
    });
    for (const Entry& e : entries_) groups.push_back({e.distance, 1, e.relevant});
    return groups;
}

RankingAccumulator::QueryValues RankedList::finish(std::int64_t n_relevant) {
    const auto groups = by_count()               ? groups_from_counts()
                        : accumulator_->stable() ? groups_from_entries()
                                                 : groups_from_keys();
    return accumulator_->evaluate(groups, n_relevant);
}

}  // namespace lshcore
