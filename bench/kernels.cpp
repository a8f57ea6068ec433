// The kernels of one set, each at several widths; every set is one run:
//
//   for set in scalar avx2 avx512bw avx512; do LSHCORE_KERNELS=$set build/bench/lshcore_bench; done
//
// Grouped codes stand in a block of 16 KB, which stays in the first-level cache; gathers go anywhere in 64 MB. Before
// anything is timed the kernels are checked against plain loops. `of_limit` compares the words of codes a second with
// the most that this set was seen to count over such a block, by grouped_distances or by collect_below without a hit, at
// the width that suits it best: a measured rate, not what the CPU could do.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "lshcore/kernels.h"

using namespace lshcore;

namespace {

constexpr int kWidths[] = {64, 128, 192, 256, 512, 1000};
constexpr std::int64_t kBlockBytes = 16 << 10, kFarBytes = 64 << 20, kQueries = 256, kGathered = 4096;

std::mt19937_64 engine(1);

struct Codes {
    int words;
    std::int64_t n, n_far;  // in the block, and anywhere
    std::vector<Word> codes, groups, queries, far;
    std::vector<Row> rows;
    int threshold = 0;  // about one code in 10,000 is nearer
    double hit_share = 0;

    explicit Codes(int n_bits)
        : words(words_for(n_bits)), n(kBlockBytes / (8 * words) / 8 * 8), n_far(kFarBytes / (8 * words)) {
        const auto draw = [&](std::int64_t count) {
            std::vector<Word> all(static_cast<std::size_t>(count * words));
            for (std::size_t i = 0; i < all.size(); ++i) {
                all[i] = engine();
                if (n_bits % 64 != 0 && i % static_cast<std::size_t>(words) == static_cast<std::size_t>(words) - 1)
                    all[i] &= (Word{1} << n_bits % 64) - 1;
            }
            return all;
        };
        codes = draw(n);
        queries = draw(kQueries);
        far = draw(n_far);
        groups.resize(codes.size());
        kernels().group_codes(codes.data(), n, words, groups.data());
        rows.resize(kGathered);
        for (Row& row : rows) row = static_cast<Row>(engine() % static_cast<std::uint64_t>(n_far));

        std::vector<double> counts(static_cast<std::size_t>(64 * words) + 1);
        std::vector<std::uint16_t> distances(static_cast<std::size_t>(n));
        for (std::int64_t q = 0; q < kQueries; ++q) {
            kernels().grouped_distances(query(q), groups.data(), n, words, distances.data());
            for (const auto d : distances) ++counts[d];
        }
        while (hit_share < 1e-4) hit_share += counts[static_cast<std::size_t>(threshold++)] / double(n * kQueries);
    }
    const Word* query(std::int64_t i) const { return queries.data() + i % kQueries * words; }
};

const Codes& codes_of(int n_bits) {
    static std::vector<std::pair<int, Codes>> made;
    for (const auto& [bits, codes] : made)
        if (bits == n_bits) return codes;
    made.reserve(std::size(kWidths));
    made.emplace_back(n_bits, Codes(n_bits));
    return made.back().second;
}

int plain(const Word* a, const Word* b, int words) {
    int sum = 0;
    for (int w = 0; w < words; ++w) sum += std::popcount(a[w] ^ b[w]);
    return sum;
}

void fail(const std::string& what) {
    std::fprintf(stderr, "%s: %s is wrong\n", kernels().name, what.c_str());
    std::exit(1);
}

void check(const Codes& c) {
    std::vector<std::uint16_t> distances(static_cast<std::size_t>(c.n)), gathered(kGathered);
    std::vector<std::uint64_t> hits(static_cast<std::size_t>(c.n) + 8);
    for (std::int64_t q = 0; q < kQueries; ++q) {
        const std::int64_t bins = 64 * c.words + 1;
        std::vector<std::uint32_t> counts(static_cast<std::size_t>(4 * bins));
        kernels().grouped_distances(c.query(q), c.groups.data(), c.n, c.words, distances.data());
        kernels().count_distances(c.query(q), 1, c.groups.data(), c.n, c.words, counts.data(), bins);
        const auto found = kernels().collect_below(c.query(q), c.groups.data(), c.n, c.words, c.threshold, hits.data());
        std::int64_t near = 0;
        for (std::int64_t i = 0; i < c.n; ++i) {
            const int d = plain(c.query(q), c.codes.data() + i * c.words, c.words);
            if (distances[static_cast<std::size_t>(i)] != d) fail("grouped_distances");
            if (d < c.threshold &&
                hits[static_cast<std::size_t>(near++)] != (std::uint64_t(d) << 32 | std::uint64_t(i)))
                fail("collect_below");
            for (int table = 0; table < 4; ++table)
                if (auto& count = counts[static_cast<std::size_t>(table * bins + d)]; count > 0) {
                    --count;
                    break;
                }
        }
        if (near != found) fail("collect_below");
        if (std::any_of(counts.begin(), counts.end(), [](auto count) { return count != 0; })) fail("count_distances");
        kernels().hamming_gather(c.query(q), c.far.data(), c.rows.data(), kGathered, c.words, gathered.data());
        for (std::size_t i = 0; i < c.rows.size(); ++i)
            if (gathered[i] != plain(c.query(q), c.far.data() + std::int64_t{c.rows[i]} * c.words, c.words))
                fail("hamming_gather");
    }
}

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The most words a second that the set counts, at any width.
double measure_limit() {
    double best = 0;
    for (const int n_bits : kWidths) {
        const Codes& c = codes_of(n_bits);
        std::vector<std::uint16_t> out(static_cast<std::size_t>(c.n));
        std::vector<std::uint64_t> hits(static_cast<std::size_t>(c.n) + 8);
        const auto measure = [&](auto count) {
            for (int round = 0; round < 30; ++round) {
                const auto start = Clock::now();
                for (int q = 0; q < kQueries; ++q) {
                    count(c.query(q));
                    benchmark::ClobberMemory();
                }
                best = std::max(best, double(kQueries * c.n * c.words) / seconds_since(start));
            }
        };
        measure([&](auto* q) { kernels().grouped_distances(q, c.groups.data(), c.n, c.words, out.data()); });
        measure([&](auto* q) { kernels().collect_below(q, c.groups.data(), c.n, c.words, 0, hits.data()); });
    }
    return best;
}

std::string named(std::string kernel, std::int64_t size) {
    kernel += '/';
    return kernel += std::to_string(size);
}

/// run(codes, query) is one pass over n codes; limit 0: it counts nothing.
template <class Run>
void add_codes(const char* name, int n_bits, double limit, std::int64_t n, Run run) {
    const auto measure = [=](benchmark::State& state) {
        const Codes& c = codes_of(n_bits);
        std::int64_t q = 0;
        const auto start = Clock::now();
        for (auto _ : state) {
            run(c, c.query(q++));
            benchmark::ClobberMemory();
        }
        const double rate = double(q * n) / seconds_since(start);
        state.counters["codes_per_s"] = rate;
        if (limit > 0) state.counters["of_limit"] = rate * c.words / limit;
    };
    benchmark::RegisterBenchmark(named(name, n_bits).c_str(), measure);
}

/// One run() is `flops` operations.
template <class Run>
void add_floats(const std::string& name, double flops, Run run) {
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
        for (auto _ : state) {
            run();
            benchmark::ClobberMemory();
        }
        state.counters["FLOP"] = benchmark::Counter(flops * double(state.iterations()), benchmark::Counter::kIsRate);
    });
}

void check_floats(const float* a, const float* b, std::int64_t d, float dot, float l2) {
    double expected_dot = 0, expected_l2 = 0, size = 0;
    for (std::int64_t i = 0; i < d; ++i) {
        expected_dot += double(a[i]) * b[i];
        expected_l2 += std::pow(double(a[i]) - b[i], 2);
        size += std::abs(double(a[i]) * b[i]);
    }
    if (std::abs(dot - expected_dot) > 1e-5 * size) fail("dot");
    if (std::abs(l2 - expected_l2) > 1e-5 * expected_l2) fail("l2");
}

}  // namespace

int main(int argc, char** argv) {
    for (const int n_bits : kWidths) check(codes_of(n_bits));
    const double limit = measure_limit();
    static std::vector<std::uint16_t> distances(kBlockBytes);
    static std::vector<std::uint32_t> counts(4 * 1025), many_counts(128 * counts.size());
    static std::vector<std::uint64_t> hits(kBlockBytes);
    static std::vector<Word> groups(kBlockBytes / 8);
    for (const int n_bits : kWidths) {
        const std::int64_t n = codes_of(n_bits).n;
        add_codes("collect_below", n_bits, limit, n, [](const Codes& c, const Word* q) {
            kernels().collect_below(q, c.groups.data(), c.n, c.words, c.threshold, hits.data());
        });
        add_codes("count_distances", n_bits, limit, n, [](const Codes& c, const Word* q) {
            kernels().count_distances(q, 1, c.groups.data(), c.n, c.words, counts.data(), 64 * c.words + 1);
        });
        add_codes("count_distances_128", n_bits, limit, 128 * n, [](const Codes& c, const Word*) {
            kernels().count_distances(c.queries.data(), 128, c.groups.data(), c.n, c.words, many_counts.data(),
                                      64 * c.words + 1);
        });
        add_codes("grouped_distances", n_bits, limit, n, [](const Codes& c, const Word* q) {
            kernels().grouped_distances(q, c.groups.data(), c.n, c.words, distances.data());
        });
        add_codes("group_codes", n_bits, 0, n, [](const Codes& c, const Word*) {
            kernels().group_codes(c.codes.data(), c.n, c.words, groups.data());
        });
        add_codes("hamming_gather", n_bits, limit, kGathered, [](const Codes& c, const Word* q) {
            kernels().hamming_gather(q, c.far.data(), c.rows.data(), kGathered, c.words, distances.data());
        });
    }

    constexpr std::int64_t kSide = 64;  // a tile of 64 x 64 rows
    static std::vector<float> far(kFarBytes / 4), a(kSide * 1000), b(kSide * 1000), out(kSide * kSide),
        l2(kSide * kSide);
    for (auto* values : {&far, &a, &b})
        for (float& v : *values) v = float(std::int64_t(engine() >> 40)) * 0x1p-23f - 1;
    for (const std::int64_t d : {64, 128, 784}) {
        kernels().dot_tile(a.data(), kSide, b.data(), kSide, d, out.data(), kSide);
        kernels().l2_tile(a.data(), kSide, b.data(), kSide, d, l2.data(), kSide);
        for (std::int64_t i = 0; i < kSide * kSide; ++i)
            check_floats(a.data() + i / kSide * d, b.data() + i % kSide * d, d, out[std::size_t(i)],
                         l2[std::size_t(i)]);
        add_floats(named("dot_tile", d), 2.0 * kSide * kSide * double(d),
                   [=] { kernels().dot_tile(a.data(), kSide, b.data(), kSide, d, out.data(), kSide); });
        add_floats(named("l2_tile", d), 3.0 * kSide * kSide * double(d),
                   [=] { kernels().l2_tile(a.data(), kSide, b.data(), kSide, d, out.data(), kSide); });

        std::vector<Row> rows(kSide * kSide);
        for (Row& row : rows) row = Row(engine() % (far.size() / std::size_t(d)));
        kernels().dot_gather(a.data(), far.data(), rows.data(), kSide * kSide, d, out.data());
        kernels().l2_gather(a.data(), far.data(), rows.data(), kSide * kSide, d, l2.data());
        for (std::size_t i = 0; i < rows.size(); ++i)
            check_floats(a.data(), far.data() + std::int64_t{rows[i]} * d, d, out[i], l2[i]);
        add_floats(named("dot_gather", d), 2.0 * kSide * kSide * double(d),
                   [=] { kernels().dot_gather(a.data(), far.data(), rows.data(), kSide * kSide, d, out.data()); });
    }

    char share[64];
    std::snprintf(share, sizeof share, "%.3g words/s", limit);
    benchmark::AddCustomContext("kernel set", kernels().name);
    benchmark::AddCustomContext("most words counted over 16 KB", share);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
}
