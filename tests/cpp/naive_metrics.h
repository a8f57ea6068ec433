#pragma once
// The definitions of PROTOCOL in plain loops: the oracles of test_metrics.cpp and test_search.cpp.

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "lshcore/metrics.h"

namespace naive {

using Accumulator = lshcore::RankingAccumulator;
using lshcore::TieGroup;

inline double ratio(double a, double b) { return b == 0 ? 0 : a / b; }

/// Every metric of a list in its final order, in the accumulator's slots; those by radius are left 0.
inline std::vector<double> metrics(const Accumulator& acc, const std::vector<bool>& relevance, double R) {
    const std::size_t n = relevance.size();
    std::vector<double> hits = {0}, precisions = {0}, out(acc.n_slots(), 0.0);
    for (std::size_t t = 1; t <= n; ++t) {
        hits.push_back(hits.back() + relevance[t - 1]);
        precisions.push_back(precisions.back() + (relevance[t - 1] ? hits.back() / static_cast<double>(t) : 0));
    }
    out[Accumulator::kCandidates] = static_cast<double>(n);
    out[Accumulator::kNoRelevant] = R == 0;
    out[Accumulator::kMap] = ratio(precisions[n], R);
    out[Accumulator::kMapRetrieved] = ratio(precisions[n], hits[n]);
    out[Accumulator::kRecall] = ratio(hits[n], R);
    out[Accumulator::kCovered] = n > 0;
    for (std::size_t i = 0; i < acc.ks().size(); ++i) {
        const auto k = static_cast<std::size_t>(acc.ks()[i]), top = std::min(k, n);
        const auto cut = static_cast<double>(k);
        out[acc.at_k(i, Accumulator::kMapAt)] = ratio(precisions[top], std::min(cut, R));
        out[acc.at_k(i, Accumulator::kMapRetrievedAt)] = ratio(precisions[top], hits[top]);
        out[acc.at_k(i, Accumulator::kPrecisionAt)] = hits[top] / cut;
        out[acc.at_k(i, Accumulator::kPrecisionReturnedAt)] = ratio(hits[top], static_cast<double>(top));
    }
    for (std::size_t i = 0; i < acc.curve_ranks().size(); ++i) {
        const auto rank = static_cast<std::size_t>(acc.curve_ranks()[i]);
        out[acc.curve(i)] = hits[std::min(rank, n)] / static_cast<double>(rank);
        out[acc.curve(i) + 1] = ratio(hits[std::min(rank, n)], R);
    }
    return out;
}

/// The metrics by Hamming radius, which do not depend on any order.
inline void put_radii(const Accumulator& acc, std::span<const TieGroup> groups, double R, std::vector<double>& out) {
    for (int r = 0; r <= acc.n_bits(); ++r) {
        double size = 0, relevant = 0;
        for (const auto& group : groups) {
            if (group.distance > static_cast<float>(r)) continue;
            size += static_cast<double>(group.n);
            relevant += static_cast<double>(group.relevant);
        }
        const std::size_t at = acc.radius(static_cast<std::size_t>(r));
        out[at] = ratio(relevant, size);
        out[at + 1] = ratio(relevant, R);
        out[at + 2] = size;
        if (r == std::min(2, acc.n_bits())) out[acc.empty_ball()] = size == 0;
    }
}

struct Expected {
    double map, map_retrieved, precision;  // @k
};

/// The expectations at k over random orders inside the groups, as sums over every place, and over every number j of
/// relevant items that may fall into the cut.
inline Expected long_sums(std::span<const TieGroup> groups, std::int64_t R, std::int64_t k) {
    using Long = long double;
    const auto log_choose = [](Long a, Long b) { return lgammal(a + 1) - lgammal(b + 1) - lgammal(a - b + 1); };
    Long N = 0, M = 0, precisions = 0, retrieved = 0, hits = 0;
    for (const auto& group : groups) {
        const auto places = std::min<std::int64_t>(group.n, k - static_cast<std::int64_t>(N));
        if (places <= 0) break;
        const Long n = static_cast<Long>(group.n), m = static_cast<Long>(group.relevant), s = static_cast<Long>(places);
        Long first = 0, rest = 0;  // sums of 1 / (N + t) and of (t - 1) / (N + t)
        for (Long t = s; t >= 1; --t) first += 1 / (N + t), rest += (t - 1) / (N + t);
        Long weights = 0;
        retrieved = 0;
        for (Long j = std::max(Long{0}, s - (n - m)); j <= std::min(s, m); ++j) {
            const Long weight = expl(log_choose(m, j) + log_choose(n - m, s - j) - log_choose(n, s));
            const Long inside = j == 0 ? 0 : j / s * ((M + 1) * first + (s > 1 ? (j - 1) / (s - 1) : 0) * rest);
            weights += weight;
            if (M + j > 0) retrieved += weight * (precisions + inside) / (M + j);
        }
        retrieved /= weights;
        hits = M + s * m / n;
        precisions += m / n * ((M + 1) * first + (n > 1 ? (m - 1) / (n - 1) : 0) * rest);
        N += n;
        M += m;
    }
    const Long cut = static_cast<Long>(k);
    return {static_cast<double>(precisions / std::min(cut, static_cast<Long>(R))), static_cast<double>(retrieved),
            static_cast<double>(hits / cut)};
}

}  // namespace naive
