#include <doctest/doctest.h>

#include "lshcore/topk.h"
#include "naive.h"

using namespace lshcore;
using naive::Hit;

namespace {

template <class D>
std::vector<Hit> written(TopK<D>& top, std::int64_t k) {
    std::vector<D> distances(static_cast<std::size_t>(k));
    std::vector<Id> ids(distances.size());
    top.write(distances.data(), ids.data());
    std::vector<Hit> result;
    for (std::size_t i = 0; i < ids.size(); ++i) result.push_back({static_cast<double>(distances[i]), ids[i]});
    return result;
}

}  // namespace

TEST_CASE_TEMPLATE("topk: what a full sort would give, with few distances and many ties", D, std::uint16_t, float) {
    naive::Draw draw(1);
    TopK<D> top;  // one for all: reset() forgets what went before
    for (const std::int64_t k : {1, 2, 5, 31, 63, 64, 65, 1000})
        for (const std::int64_t n : {0, 1, 2, 5, 64, 65, 66, 127, 129, 130, 131, 1000, 5000})
            for (const std::uint64_t n_distances : {1u, 3u, 60000u}) {
                CAPTURE(k);
                CAPTURE(n);
                CAPTURE(n_distances);
                std::vector<Hit> hits;
                for (std::int64_t i = 0; i < n; ++i)
                    hits.push_back({static_cast<double>(draw.below(n_distances)), (Id{1} << 40) + i});
                draw.shuffle(hits);
                top.reset(k);
                bool bound_holds = true;
                for (std::size_t i = 0; i < hits.size(); ++i) {
                    top.push(static_cast<D>(hits[i].first), hits[i].second);
                    if (i % 97 == 0 && i >= static_cast<std::size_t>(k)) {  // the k-th best so far may not be shut out
                        std::vector<Hit> so_far(hits.begin(), hits.begin() + static_cast<std::ptrdiff_t>(i) + 1);
                        bound_holds &= static_cast<double>(top.bound()) >= naive::top(so_far, k, 0).back().first;
                    }
                }
                CHECK(bound_holds);
                CHECK(written(top, k) == naive::top(hits, k, static_cast<double>(kNoDistance<D>)));
            }
}

TEST_CASE("topk: missing places are infinite, or the largest integer, and -1") {
    CHECK(kNoDistance<std::uint16_t> == 65535);
    CHECK(std::isinf(kNoDistance<float>));
    TopK<float> top;
    top.reset(3);
    CHECK(top.bound() == kNoDistance<float>);
    top.push(kNoDistance<float>, 9);  // a distance that overflowed is still a hit
    CHECK(written(top, 3) == std::vector<Hit>{{HUGE_VAL, 9}, {HUGE_VAL, -1}, {HUGE_VAL, -1}});
}

TEST_CASE("topk: the bound falls once enough was seen, so that most of a long stream is never kept") {
    TopK<std::uint16_t> top;
    top.reset(10);
    for (Id id = 0; id < 1000; ++id) top.push(static_cast<std::uint16_t>(1000 - id), id);
    CHECK(top.bound() < 1000);
}
