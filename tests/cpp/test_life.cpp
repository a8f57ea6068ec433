// What an index answers after any sequence of adds, removals, updates and compactions: as if looking at everything.

#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <set>
#include <stdexcept>
#include <thread>

#include "naive_index.h"

using namespace lshcore;
using naive::Answer;
using naive::Case;
using naive::Hit;
using naive::World;

namespace {

constexpr auto kQueries = World::kQueries, kDim = World::kDim;
constexpr int kBits = World::kBits;
constexpr Rank kAllRanks[] = {Rank::hamming, Rank::margin, Rank::cosine, Rank::l2};

/// The rows of an index: rows of a world under ids of their own.
struct Model {
    struct Entry {
        std::int64_t row;
        Id id;
    };
    std::vector<Entry> entries;
    Id next_id = 0;

    std::vector<Id> ids() const {
        std::vector<Id> all;
        for (const Entry& e : entries) all.push_back(e.id);
        return all;
    }
    bool has(Id id) const {
        return std::any_of(entries.begin(), entries.end(), [&](const Entry& e) { return e.id == id; });
    }
    void remove(const std::vector<Id>& gone) {
        std::erase_if(entries, [&](const Entry& e) { return std::find(gone.begin(), gone.end(), e.id) != gone.end(); });
    }
    void add(std::int64_t row, Id id) {
        entries.push_back({row, id});
        next_id = std::max(next_id, id + 1);
    }

    /// The candidates of a query that pass, and their distances, in the order (distance, id).
    std::vector<Hit> hits(const World& world, const Case& one, Rank rank, std::int64_t probes, std::int64_t shortlist,
                          std::int64_t q, const std::set<Id>* allowed, std::int64_t* n) const {
        std::vector<std::pair<Hit, std::int64_t>> found;  // by Hamming distance
        for (const Entry& e : entries) {
            if ((allowed != nullptr && !allowed->contains(e.id)) || !world.is_candidate(one, probes, q, e.row))
                continue;
            found.push_back({{world.hit(Rank::hamming, q, e.row).first, e.id}, e.row});
        }
        *n = static_cast<std::int64_t>(found.size());
        std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
        if (shortlist > 0) found.resize(std::min(found.size(), static_cast<std::size_t>(shortlist)));
        std::vector<Hit> result;
        for (const auto& [hit, row] : found) result.push_back({world.hit(rank, q, row).first, hit.second});
        std::sort(result.begin(), result.end());
        return result;
    }
};

template <class D>
void check_range(const World& world, const Case& one, const Index& index, const Model& model, SearchOptions options,
                 D radius, const std::vector<std::set<Id>>& lists) {
    options.shortlist = 0;
    const auto result = index.range_search<D>(world.queries(), options, radius);
    REQUIRE(result.offsets.size() == kQueries + 1);
    for (std::int64_t q = 0; q < kQueries; ++q) {
        std::int64_t n = 0;
        const auto at = static_cast<std::size_t>(q);
        auto hits =
            model.hits(world, one, options.rank, options.probes, 0, q, lists.empty() ? nullptr : &lists[at], &n);
        std::erase_if(hits, [&](const Hit& hit) { return hit.first > static_cast<double>(radius); });
        std::vector<Hit> found;
        for (auto i = result.offsets[at]; i < result.offsets[at + 1]; ++i)
            found.push_back({static_cast<double>(result.distances[static_cast<std::size_t>(i)]),
                             result.ids[static_cast<std::size_t>(i)]});
        CHECK(found == hits);
        CHECK(result.n_candidates[at] == n);
    }
}

/// Searches of an index in every rank, with and without filters, give what the model says.
void check(const World& world, const Case& one, const Index& index, const Model& model, naive::Draw& draw) {
    CHECK(index.size() == static_cast<std::int64_t>(model.entries.size()));
    REQUIRE(index.ids() == model.ids());
    enum { kNoFilter, kMask, kIds, kLists, kFilters };
    for (int filter = 0; filter < kFilters; ++filter)
        for (const Rank rank : kAllRanks) {
            CAPTURE(filter);
            CAPTURE(static_cast<int>(rank));
            SearchOptions options{rank, one.probes[draw.below(one.probes.size())], 1 + static_cast<int>(draw.below(3))};
            options.shortlist = rank != Rank::hamming && draw.below(3) == 0 ? 15 : 0;
            // Lists of ids for each query, or the same for all, or nothing.
            std::vector<std::set<Id>> lists;
            std::vector<Id> ids;
            std::vector<std::int64_t> offsets{0};
            const std::unique_ptr<bool[]> mask(new bool[model.entries.size() + 1]());
            for (std::int64_t q = 0; filter != kNoFilter && q < kQueries; ++q) {
                const auto share = draw.below(4);
                std::set<Id> list;
                for (const auto& e : model.entries)
                    if (draw.below(4) < share) list.insert(e.id);
                if (filter != kLists && q > 0) list = lists[0];
                lists.push_back(list);
                if (filter == kLists || q == 0) {
                    ids.insert(ids.end(), list.begin(), list.end());
                    if (!list.empty()) ids.push_back(*list.begin());  // twice: no matter
                }
                offsets.push_back(static_cast<std::int64_t>(ids.size()));
            }
            ids.reserve(1);  // an address, where it is empty
            for (std::size_t i = 0; filter == kMask && i < model.entries.size(); ++i)
                mask[i] = lists[0].contains(model.entries[i].id);
            const auto n_ids = static_cast<std::int64_t>(ids.size());
            if (filter == kMask) options.allowed = {mask.get(), index.size()};
            if (filter == kIds) options.allowed = {nullptr, -1, ids.data(), n_ids};
            if (filter == kLists) options.allowed = {nullptr, -1, ids.data(), n_ids, offsets.data(), kQueries};

            Answer expected;
            for (std::int64_t q = 0; q < kQueries; ++q) {
                std::int64_t n = 0;
                auto hits = model.hits(world, one, rank, options.probes, options.shortlist, q,
                                       lists.empty() ? nullptr : &lists[static_cast<std::size_t>(q)], &n);
                hits.resize(7, Hit{rank == Rank::hamming ? 65535 : HUGE_VAL, kNoId});
                expected.hits.insert(expected.hits.end(), hits.begin(), hits.end());
                expected.n_candidates.push_back(n);
            }
            CHECK(world.search(index, options, 7) == expected);
            if (rank == Rank::hamming)
                check_range<std::uint16_t>(world, one, index, model, options,
                                           static_cast<std::uint16_t>(draw.below(40)), lists);
            else
                check_range<float>(world, one, index, model, options, static_cast<float>(draw.below(30)) / 3, lists);
        }
}

}  // namespace

TEST_CASE("life: any sequence of changes, in every kind of index") {
    const World world(1);
    naive::Draw draw(2);
    const auto cases = world.cases();
    for (std::size_t number = 0; number < cases.size(); ++number)
        for (int round = 0; round < 3; ++round) {
            const Case& one = cases[number];
            CAPTURE(one.name);
            CAPTURE(round);
            Index index(one.partitioner, kBits, kDim, VectorType::float32);
            Model model;
            for (int step = 0; step < 40; ++step) {
                const auto what = draw.below(10);
                const auto first = static_cast<std::int64_t>(draw.below(World::kRows - 30));
                const auto n = static_cast<std::int64_t>(1 + draw.below(step % 7 == 0 ? 30 : 4));
                std::vector<Id> chosen;  // some that are there
                for (const auto& e : model.entries)
                    if (static_cast<std::int64_t>(chosen.size()) < n && draw.below(5) == 0) chosen.push_back(e.id);
                draw.shuffle(chosen);
                const auto n_chosen = static_cast<std::int64_t>(chosen.size());
                if (what < 3) {
                    for (std::int64_t i = 0; i < n; ++i) model.add(first + i, model.next_id);
                    index.add(world.code_rows(first, n), world.vector_rows(first, n), nullptr, 1);
                } else if (what < 5) {
                    std::vector<Id> ids;
                    while (static_cast<std::int64_t>(ids.size()) < n) {
                        const auto id = static_cast<Id>(draw.below(400));  // perhaps one that was there once
                        if (!model.has(id) && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
                    }
                    for (std::int64_t i = 0; i < n; ++i) model.add(first + i, ids[static_cast<std::size_t>(i)]);
                    index.add(world.code_rows(first, n), world.vector_rows(first, n), ids.data(), 2);
                } else if (what < 7) {
                    index.remove(chosen.data(), n_chosen);
                    model.remove(chosen);
                } else if (what < 9) {
                    index.update(world.code_rows(first, n_chosen), world.vector_rows(first, n_chosen), chosen.data(),
                                 2);
                    model.remove(chosen);
                    for (std::size_t i = 0; i < chosen.size(); ++i)
                        model.add(first + static_cast<std::int64_t>(i), chosen[i]);
                } else {
                    index.compact(2);
                    CHECK(index.n_segments() == (model.entries.empty() ? 0 : 1));
                }
                REQUIRE(index.ids() == model.ids());
                if (step % 13 == 12) check(world, one, index, model, draw);
                if (step == 39) {
                    index.compact(1);
                    check(world, one, index, model, draw);
                    const auto ids = model.ids();
                    std::vector<Word> codes(ids.size() * 2);
                    std::vector<float> vectors(ids.size() * kDim);
                    index.codes_of(ids.data(), index.size(), codes.data());
                    index.vectors_of(ids.data(), index.size(), vectors.data());
                    for (std::size_t i = 0; i < ids.size(); ++i) {
                        const auto row = model.entries[i].row;
                        CHECK(std::equal(codes.begin() + static_cast<std::ptrdiff_t>(2 * i),
                                         codes.begin() + static_cast<std::ptrdiff_t>(2 * i + 2),
                                         world.code_rows(row, 1).data));
                        CHECK(std::equal(vectors.begin() + static_cast<std::ptrdiff_t>(i) * kDim,
                                         vectors.begin() + static_cast<std::ptrdiff_t>(i + 1) * kDim,
                                         world.vector_rows(row, 1).data));
                    }
                }
            }
        }
}

TEST_CASE("life: changes that cannot be change nothing, and say why") {
    const World world(3);
    const auto index = world.index(world.bit_keys(2, 6), {40, 30});
    const auto fails = [&](auto change, const std::string& why) {
        const auto before = index->ids();
        const auto answer = world.search(*index, {Rank::hamming, 2, 1}, 5);
        CHECK_THROWS_WITH_AS(change(), doctest::Contains(why.c_str()), std::invalid_argument);
        CHECK(index->ids() == before);
        CHECK(world.search(*index, {Rank::hamming, 2, 1}, 5) == answer);
    };
    const auto remove = [&](std::vector<Id> ids) {
        return [&index, ids] { index->remove(ids.data(), static_cast<std::int64_t>(ids.size())); };
    };
    const auto update = [&](std::vector<Id> ids) {
        return [&index, &world, ids] {
            const auto n = static_cast<std::int64_t>(ids.size());
            index->update(world.code_rows(90, n), world.vector_rows(90, n), ids.data(), 1);
        };
    };
    const Id a = world.ids[0], b = world.ids[50];
    fails(remove({a, 7, b, 8}), "Index.remove: ids must be in the index, got 7");
    fails(remove({a, b, a}), "Index.remove: ids must be given once, got " + std::to_string(a) + " twice");
    fails(update({b, 9}), "Index.update: ids must be in the index, got 9");
    fails(update({b, b}), "Index.update: ids must be given once, got " + std::to_string(b) + " twice");
    fails([&] { index->update(world.code_rows(0, 1), world.vector_rows(0, 2), &a, 1); },
          "Index.update: expected as many");
    remove({a})();
    fails(remove({a}), "got " + std::to_string(a));
    bool known[3];
    index->contains(std::vector<Id>{a, b, -1}.data(), 3, known);
    CHECK((!known[0] && known[1] && !known[2]));
    Word code[4];
    CHECK_THROWS_AS(index->codes_of(&a, 1, code), std::invalid_argument);
    world.add(*index, 0, 1);  // the same id again
    CHECK(index->ids().back() == a);
    CHECK_THROWS_AS(world.add(*index, 0, 1), std::invalid_argument);
}

TEST_CASE("life: changes that run out of memory, wherever they do, change nothing") {
    const World world(4);
    for (const Case& one : world.cases()) {
        CAPTURE(one.name);
        for (int what = 0; what < 3; ++what) {
            const auto index = world.index(one.partitioner, {50, 20});
            index->remove(world.ids.data() + 5, 3);
            const auto before = index->ids();
            std::int64_t allocations = 0;
            for (bool done = false; !done; ++allocations) {
                naive::allocations_left = allocations;
                try {
                    if (what == 0) index->remove(world.ids.data() + 10, 15);
                    if (what == 1) index->update(world.code_rows(80, 9), world.vector_rows(80, 9), &world.ids[45], 1);
                    if (what == 2) index->compact(1);
                    done = true;
                } catch (const std::bad_alloc&) {
                }
                naive::allocations_left = -1;
                if (!done) REQUIRE(index->ids() == before);
            }
            CHECK(allocations > 2);
            CHECK(index->size() == (what == 0 ? 52 : 67));
        }
    }
}

TEST_CASE("life: many small batches leave few segments, and every answer as it was") {
    const World world(5);
    const Case one{"addressed directly", world.bit_keys(3, 4), {3}};
    Index index(one.partitioner, kBits, kDim, VectorType::float32);
    for (std::int64_t i = 0; i < World::kRows; ++i) {
        world.add(index, i, 1);
        CHECK(index.n_segments() <= 7 * 3);
    }
    CHECK(index.ids() == world.ids);
    CHECK(world.search(index, {Rank::l2, 3, 1}, 9) == world.brute(one, {Rank::l2, 3, 1}, 9));

    // Batches of falling and rising sizes; removing everything leaves nothing behind.
    naive::Draw draw(6);
    Index other(OneBucket{}, kBits, 0, VectorType::none);
    const auto codes = draw.codes(3000, kBits);
    std::int64_t most = 0;
    for (int round = 0; round < 400; ++round) {
        const auto n = static_cast<std::int64_t>(1 + draw.below(round % 40 == 0 ? 3000 : 1u << draw.below(8)));
        other.add({codes.data(), n, 2}, {}, nullptr, 1);
        most = std::max(most, other.n_segments());
    }
    CHECK(most <= 7 * 6);
    auto ids = other.ids();
    CHECK(std::is_sorted(ids.begin(), ids.end()));
    CHECK(other.nbytes().ids == 0);  // consecutive all the while
    other.remove(ids.data(), other.size());
    CHECK(other.n_segments() == 0);
    CHECK(other.size() == 0);
    other.compact(1);
    other.add({codes.data(), 1, 2}, {}, nullptr, 1);
    CHECK(other.ids() == std::vector<Id>{ids.back() + 1});
}

TEST_CASE("life: a compacted row of twelve tables takes its code, its postings and its share of the offsets") {
    naive::Draw draw(7);
    constexpr std::int64_t kRows = 70000;
    constexpr int kCodeBits = 192, kTableCount = 12, kKeyBits = 16;
    std::vector<std::int32_t> positions(kCodeBits);
    for (int i = 0; i < kCodeBits; ++i) positions[static_cast<std::size_t>(i)] = i;
    Index index(BitKeys(positions, kTableCount, kKeyBits, kCodeBits), kCodeBits, 0, VectorType::none);
    const auto codes = draw.codes(kRows + 10, kCodeBits);
    index.add({codes.data(), 10, 3}, {}, nullptr, 1);
    index.add({codes.data() + 30, kRows, 3}, {}, nullptr, 2);
    const auto first = index.ids();
    index.remove(first.data(), 10);
    index.compact(2);
    const auto bytes = index.nbytes();
    CHECK(bytes.ids == 0);
    CHECK(bytes.vectors == 0);
    CHECK(bytes.codes == kRows * 24);
    CHECK(bytes.tables == kTableCount * (kRows * sizeof(Row) + ((1u << kKeyBits) + 1) * sizeof(std::uint32_t)));
    const double offsets = kTableCount * ((1 << kKeyBits) + 1) * 4.0;  // the same for any number of rows
    CHECK(24 + kTableCount * 4 + offsets / 1281167 < 80);
}

TEST_CASE("life: searches beside changes see the rows before or after each") {
    const World world(8);
    for (const Case& one : world.cases()) {
        CAPTURE(one.name);
        const SearchOptions options{Rank::hamming, one.probes[0], 1};
        // The same changes as below, one after another, each answer kept.
        const auto change = [&](Index& index, int step) {
            const std::int64_t first = 100 + 5 * step;
            if (step % 5 == 4)
                index.compact(1);
            else if (step % 2 == 0)
                world.add(index, first, 5);
            else
                index.remove(world.ids.data() + 3 * step, 3);
        };
        constexpr int kSteps = 30;
        std::vector<Answer> states;
        {
            const auto index = world.index(one.partitioner, {100});
            states.push_back(world.search(*index, options, 10));
            for (int step = 0; step < kSteps; ++step) {
                change(*index, step);
                states.push_back(world.search(*index, options, 10));
            }
        }
        const auto index = world.index(one.partitioner, {100});
        std::atomic<bool> done{false};
        std::atomic<int> wrong{0};
        std::atomic<std::int64_t> searches[3] = {};
        std::vector<std::thread> readers;
        for (auto& count : searches)
            readers.emplace_back([&] {
                while (!done) {
                    const auto answer = world.search(*index, options, 10);
                    wrong += std::find(states.begin(), states.end(), answer) == states.end();
                    ++count;
                }
            });
        for (int step = 0; step < kSteps; ++step) {
            change(*index, step);
            for (auto& count : searches)
                for (const auto before = count.load(); count == before;) std::this_thread::yield();
        }
        done = true;
        for (auto& reader : readers) reader.join();
        CHECK(wrong == 0);
        CHECK(world.search(*index, options, 10) == states.back());
    }
}
