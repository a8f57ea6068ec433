#include <doctest/doctest.h>

#include "lshcore/candidates.h"
#include "naive_index.h"

using namespace lshcore;

namespace {

std::vector<Row> list(std::span<const Row> rows) { return {rows.begin(), rows.end()}; }

}  // namespace

TEST_CASE("candidates: each row once, in the order in which it was first met, over many unions") {
    naive::Draw draw(1);
    CandidateUnion candidates;
    for (int round = 0; round < 1200; ++round) {  // the marks start again after 255 unions
        CAPTURE(round);
        const std::int64_t n_rows = 1 + static_cast<std::int64_t>(draw.below(round % 300 == 0 ? 500 : 40));
        candidates.begin(n_rows);
        CHECK(candidates.rows().empty());
        std::vector<Row> expected;
        for (int bucket = 0; bucket < 4; ++bucket) {
            std::vector<Row> rows(draw.below(12));
            for (Row& row : rows) row = static_cast<Row>(draw.below(static_cast<std::uint64_t>(n_rows)));
            candidates.add(rows);
            for (const Row row : rows)
                if (std::find(expected.begin(), expected.end(), row) == expected.end()) expected.push_back(row);
        }
        CHECK(list(candidates.rows()) == expected);
    }
}

TEST_CASE("candidates: a row seen exactly 255 or 256 unions ago is new again") {
    for (const int between : {254, 255, 256, 510}) {
        CAPTURE(between);
        CandidateUnion candidates;
        const std::vector<Row> row = {3};
        candidates.begin(5);
        candidates.add(row);
        for (int i = 0; i < between; ++i) candidates.begin(5);
        CHECK(candidates.rows().empty());
        candidates.add(row);
        candidates.add(row);
        CHECK(list(candidates.rows()) == row);
    }
}

TEST_CASE("candidates: disjoint buckets are strung together") {
    CandidateUnion candidates;
    candidates.begin(10);
    candidates.add_disjoint(std::vector<Row>{7, 2});
    candidates.add_disjoint({});
    candidates.add_disjoint(std::vector<Row>{1});
    CHECK(list(candidates.rows()) == std::vector<Row>{7, 2, 1});
}

TEST_CASE("candidates: a prober unions the buckets of any query of a block, in any segment") {
    const naive::World world(2);
    for (const auto& one : world.cases()) {
        if (std::holds_alternative<OneBucket>(one.partitioner)) continue;  // it has no tables
        for (const auto probes : one.probes) {
            CAPTURE(one.name);
            CAPTURE(probes);
            std::vector<std::shared_ptr<const Segment>> segments;  // of 130 and of 200 rows
            for (const std::int64_t first : {0, 130}) {
                const std::int64_t n = first == 0 ? 130 : 200;
                segments.push_back(build_segment(one.partitioner, world.code_rows(first, n),
                                                 world.vector_rows(first, n), VectorType::none, Ids(first, n), 1));
            }
            Prober prober(one.partitioner, world.queries(), {probes});
            for (const std::int64_t first_query : {0, 5, 60}) {
                prober.prepare(first_query, 10);
                for (const std::int64_t q : {first_query + 9, first_query}) {
                    std::vector<std::int64_t> found;
                    for (const auto& segment : segments) {
                        const auto begin = found.size();
                        for (const Row row : prober.candidates(*segment, q)) found.push_back(segment->ids[row]);
                        std::sort(found.begin() + static_cast<std::ptrdiff_t>(begin), found.end());
                    }
                    CHECK(found == world.candidates(one, probes, q));
                }
            }
        }
    }
}
