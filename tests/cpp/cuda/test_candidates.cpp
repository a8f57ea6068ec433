// Index::search on the GPU against that on the CPU, compiled for the CPU.

#include <doctest/doctest.h>

#include <numeric>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "../naive.h"
#include "cuda_on_cpu.h"
#include "lshcore/index.h"

using namespace lshcore;
using cuda_on_cpu::Settings;

TEST_CASE("cuda: an index is searched there with the same answers") {
    const Settings settings;
    naive::Draw draw(31);
    constexpr std::int64_t kRows = 160, kQueries = 6, kDim = 19, kClusters = 6;
    constexpr int kBits = 70;
    auto rows = draw.steps(kRows * kDim, 6);
    std::fill_n(rows.begin() + 5 * kDim, kDim, 0.0f);
    std::copy_n(rows.begin(), kDim, rows.begin() + 9 * kDim);  // the same row twice, under other ids
    auto asked = draw.steps(kQueries * kDim, 6);
    std::fill_n(asked.begin() + 3 * kDim, kDim, 0.0f);
    const auto codes = draw.codes(kRows, kBits), query_codes = draw.codes(kQueries, kBits);
    const auto centroids = draw.steps(kClusters * kDim, 6);
    std::vector<std::int32_t> positions;
    for (std::int32_t bit = 0; bit < 9; ++bit) positions.push_back(bit * 7);
    std::vector<Id> ids(kRows);
    std::iota(ids.begin(), ids.end(), Id{1} << 40);
    draw.shuffle(ids);
    const std::pair<Partitioner, std::vector<std::int64_t>> kinds[] = {
        {OneBucket{}, {1}},
        {BitKeys(positions, 3, 3, kBits), {3, 9}},
        {ClusterKeys(centroids, kClusters, kDim), {1, 3, kClusters}},
    };
    std::uint64_t number = 0;
    for (const auto& [partitioner, all_probes] : kinds)
        for (const VectorType keep : {VectorType::float32, VectorType::float16})
            for (const bool numbered : {false, true}) {
                CAPTURE(number);
                cuda_on_cpu::order = static_cast<cuda_on_cpu::Order>(number++ % 3);
                Index index(partitioner, kBits, kDim, keep);
                const auto add = [&](std::int64_t from, std::int64_t n) {
                    index.add({codes.data() + from * words_for(kBits), n, words_for(kBits)},
                              {rows.data() + from * kDim, n, kDim}, numbered ? nullptr : ids.data() + from, 1);
                };
                add(0, 100);
                add(100, 60);
                std::vector<Id> gone;
                for (std::int64_t row = 0; row < 20; ++row)
                    gone.push_back(numbered ? 4 * row : ids[static_cast<std::size_t>(4 * row)]);
                index.remove(gone.data(), static_cast<std::int64_t>(gone.size()));
                const Queries queries{naive::view(query_codes, kQueries), {}, naive::view(asked, kQueries)};
                const auto check = [&]<class D>(D, SearchOptions options) {
                    for (const std::int64_t k : {1, 10, 200}) {
                        const auto answer = [&](bool on_gpu) {
                            std::tuple<std::vector<D>, std::vector<Id>, std::vector<std::int64_t>> out{
                                std::vector<D>(kQueries * k), std::vector<Id>(kQueries * k),
                                std::vector<std::int64_t>(kQueries)};
                            std::vector<StageTimes> times(kQueries);
                            options.on_gpu = on_gpu;
                            index.search(queries, k, options, std::get<0>(out).data(), std::get<1>(out).data(),
                                         std::get<2>(out).data(), times.data());
                            return out;
                        };
                        const auto found = answer(true), expected = answer(false);
                        CHECK(naive::same_bits(std::get<0>(found), std::get<0>(expected)));
                        CHECK(std::get<1>(found) == std::get<1>(expected));
                        CHECK(std::get<2>(found) == std::get<2>(expected));
                    }
                };
                for (const std::int64_t probes : all_probes) {
                    SearchOptions options;
                    options.probes = probes;
                    check(std::uint16_t{}, options);
                    for (const Rank rank : {Rank::cosine, Rank::l2, Rank::ip}) {
                        CAPTURE(static_cast<int>(rank));
                        options.rank = rank;
                        check(float{}, options);
                    }
                }
                if (number % 4 == 1) {  // in pieces
                    cuda_on_cpu::memory_limit = cuda_on_cpu::allocated() + (24 << 10);
                    SearchOptions options;
                    options.probes = all_probes[0];
                    check(std::uint16_t{}, options);
                    cuda_on_cpu::memory_limit = std::size_t{1} << 30;
                }
                SearchOptions refused;
                refused.on_gpu = true;
                refused.rank = Rank::l2;
                refused.shortlist = 5;
                refused.probes = all_probes[0];
                std::vector<float> d(kQueries);
                std::vector<Id> i(kQueries);
                std::vector<std::int64_t> n(kQueries);
                std::vector<StageTimes> t(kQueries);
                CHECK_THROWS_AS(index.search(queries, 1, refused, d.data(), i.data(), n.data(), t.data()),
                                std::invalid_argument);
            }
}
