// Searches beside changes: every answer is that of the rows as they were at one moment between its begin and its end.
//
// Run it under ThreadSanitizer, for as many seconds as LSHCORE_LONG_SECONDS says:
//   cmake -S . -B build/tsan -DLSHCORE_TSAN=ON -DLSHCORE_TESTS=ON
//   cmake --build build/tsan && LSHCORE_LONG_SECONDS=120 build/tsan/tests/cpp/lshcore_tests -tc="concurrency*"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "naive_index.h"

using namespace lshcore;
using naive::Case;
using naive::Hit;
using naive::World;

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kDim = World::kDim, kRows = World::kRows;
constexpr int kBits = World::kBits;
constexpr std::int64_t kAsked = 6, kHits = 9;  // queries a search, hits a query
constexpr int kReaders = 8;

/// How long all of these tests are to take together.
double seconds() {
    const char* env = std::getenv("LSHCORE_LONG_SECONDS");
    return env == nullptr ? 1.0 : std::atof(env);
}

Clock::time_point after(double s) {
    return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
}

struct Entry {
    std::int64_t row;  // of the world
    Id id;             // names the change that brought it: number * kBatch + place
};
using Entries = std::vector<Entry>;
constexpr std::int64_t kBatch = 64;

/// What one call says, whatever call: pairs of a number and an id.
using Said = std::vector<Hit>;
enum Call { kHamming, kL2, kMargin, kShortlist, kRange, kCandidates, kIds, kCalls };

/// Everything that brute force needs, worked out before the threads start.
struct Oracle {
    const World& world;
    Case one;
    std::vector<char> candidate;       // (kAsked, kRows)
    std::vector<double> distances[3];  // Hamming, l2, margin: (kAsked, kRows)

    Oracle(const World& its_world, Case its_case) : world(its_world), one(std::move(its_case)) {
        for (std::int64_t q = 0; q < kAsked; ++q)
            for (std::int64_t row = 0; row < kRows; ++row) {
                candidate.push_back(world.is_candidate(one, one.probes[0], q, row));
                distances[0].push_back(world.hit(Rank::hamming, q, row).first);
                distances[1].push_back(world.hit(Rank::l2, q, row).first);
                distances[2].push_back(world.hit(Rank::margin, q, row).first);
            }
    }

    Queries queries() const {
        return {{world.query_codes.data(), kAsked, 2},
                {world.margins.data(), kAsked, kBits},
                {world.query_vectors.data(), kAsked, kDim}};
    }

    Said expected(Call call, const Entries& entries) const {
        Said said;
        if (call == kIds) {
            for (const Entry& e : entries) said.push_back({0, e.id});
            return said;
        }
        for (std::int64_t q = 0; q < kAsked; ++q) {
            const auto at = [&](const Entry& e) { return static_cast<std::size_t>(q * kRows + e.row); };
            Entries near;
            for (const Entry& e : entries)
                if (candidate[at(e)]) near.push_back(e);
            const auto n = static_cast<std::int64_t>(near.size());
            const auto ordered = [&](int which) {
                Said hits;
                for (const Entry& e : near) hits.push_back({distances[which][at(e)], e.id});
                std::sort(hits.begin(), hits.end());
                return hits;
            };
            if (call == kShortlist) {
                auto first = ordered(0);
                first.resize(std::min<std::size_t>(first.size(), 12));
                std::erase_if(near, [&](const Entry& e) {
                    return std::none_of(first.begin(), first.end(), [&](const Hit& hit) { return hit.second == e.id; });
                });
            }
            Said hits = ordered(call == kL2 || call == kShortlist ? 1 : call == kMargin ? 2 : 0);
            if (call == kRange) std::erase_if(hits, [](const Hit& hit) { return hit.first > 20; });
            if (call == kCandidates) {
                for (Hit& hit : hits) hit.first = 0;
                std::sort(hits.begin(), hits.end());
            }
            if (call < kRange) hits.resize(kHits, Hit{call == kHamming ? 65535 : HUGE_VAL, kNoId});
            said.push_back({-1, n});  // so many candidates
            said.insert(said.end(), hits.begin(), hits.end());
        }
        return said;
    }

    template <class D>
    Said search(const Index& index, const SearchOptions& options) const {
        std::vector<D> found(kAsked * kHits);
        std::vector<Id> ids(found.size());
        std::vector<std::int64_t> n(kAsked);
        std::vector<StageTimes> times(kAsked);
        index.search(queries(), kHits, options, found.data(), ids.data(), n.data(), times.data());
        Said said;
        for (std::size_t q = 0; q < kAsked; ++q) {
            said.push_back({-1, n[q]});
            for (std::size_t i = q * kHits; i < (q + 1) * kHits; ++i)
                said.push_back({static_cast<double>(found[i]), ids[i]});
        }
        return said;
    }

    Said ask(Call call, const Index& index, int n_jobs) const {
        SearchOptions options{Rank::hamming, one.probes[0], n_jobs};
        if (call == kHamming) return search<std::uint16_t>(index, options);
        if (call == kL2 || call == kShortlist) options.rank = Rank::l2;
        if (call == kMargin) options.rank = Rank::margin;
        if (call == kShortlist) options.shortlist = 12;
        if (call < kRange) return search<float>(index, options);
        Said said;
        if (call == kIds) {
            for (const Id id : index.ids()) said.push_back({0, id});
        } else if (call == kRange) {
            const auto found = index.range_search<std::uint16_t>(queries(), options, 20);
            for (std::size_t q = 0; q < kAsked; ++q) {
                said.push_back({-1, found.n_candidates[q]});
                for (auto i = found.offsets[q]; i < found.offsets[q + 1]; ++i)
                    said.push_back({static_cast<double>(found.distances[static_cast<std::size_t>(i)]),
                                    found.ids[static_cast<std::size_t>(i)]});
            }
        } else {
            std::vector<std::int64_t> offsets;
            std::vector<Id> ids;
            index.candidates(queries(), options, offsets, ids);
            for (std::size_t q = 0; q < kAsked; ++q) {
                said.push_back({-1, offsets[q + 1] - offsets[q]});
                for (auto i = offsets[q]; i < offsets[q + 1]; ++i)
                    said.push_back({0, ids[static_cast<std::size_t>(i)]});
            }
        }
        return said;
    }
};

/// The rows after each change, as long as a reader may have seen them. Changes are numbered from 0.
class History {
   public:
    explicit History(Entries entries) { kept_.push_back(std::make_shared<const Entries>(std::move(entries))); }

    /// Before a change.
    void announce(const Entries& entries) {
        auto coming = std::make_shared<const Entries>(entries);
        std::lock_guard lock(mutex_);
        kept_.push_back(std::move(coming));
    }
    /// After it.
    void publish() {
        std::lock_guard lock(mutex_);
        published_ = first_ + static_cast<std::int64_t>(kept_.size()) - 1;
        const auto needed = std::min(published_, *std::min_element(std::begin(begins_), std::end(begins_)));
        for (; first_ < needed; ++first_) kept_.pop_front();
    }
    /// A reader begins to search.
    void begin(int reader) {
        std::lock_guard lock(mutex_);
        begins_[reader] = published_;
    }
    /// What it may have seen since then.
    std::vector<std::shared_ptr<const Entries>> seen(int reader) const {
        std::lock_guard lock(mutex_);
        return {kept_.begin() + (begins_[reader] - first_), kept_.end()};
    }

   private:
    mutable std::mutex mutex_;
    std::deque<std::shared_ptr<const Entries>> kept_;
    std::int64_t first_ = 0, published_ = 0;
    std::int64_t begins_[kReaders] = {};
};

/// Draws changes, keeps the rows as they must be, and makes the same changes in an index.
class Writer {
   public:
    Writer(const World& its_world, Index& its_index, std::uint64_t seed)
        : world(its_world), index(its_index), draw(seed) {}

    Entries entries;

    template <class Announce>
    void change(Announce announce) {
        ++number_;
        const auto what = draw.below(8);
        const auto first = static_cast<std::int64_t>(draw.below(kRows - 40));
        const auto n = static_cast<std::int64_t>(1 + draw.below(what == 0 ? 40 : 6));
        std::vector<Id> chosen;
        for (const Entry& e : entries)
            if (static_cast<std::int64_t>(chosen.size()) < n && draw.below(8) == 0) chosen.push_back(e.id);
        const auto n_chosen = static_cast<std::int64_t>(chosen.size());
        const auto put = [&](const std::vector<Id>& ids) {
            for (std::size_t i = 0; i < ids.size(); ++i)
                entries.push_back({first + static_cast<std::int64_t>(i), ids[i]});
        };
        const auto take = [&](const std::vector<Id>& ids) {
            std::erase_if(entries,
                          [&](const Entry& e) { return std::find(ids.begin(), ids.end(), e.id) != ids.end(); });
        };
        const int n_jobs = 1 + static_cast<int>(draw.below(2));
        if (what < 3 && entries.size() < 250) {
            std::vector<Id> ids;
            for (std::int64_t i = 0; i < n; ++i) ids.push_back(number_ * kBatch + i);
            put(ids);
            announce(entries);
            index.add(world.code_rows(first, n), world.vector_rows(first, n), ids.data(), n_jobs);
        } else if (what < 5) {
            take(chosen);
            announce(entries);
            index.remove(chosen.data(), n_chosen);
        } else if (what < 7) {
            take(chosen);
            put(chosen);
            announce(entries);
            index.update(world.code_rows(first, n_chosen), world.vector_rows(first, n_chosen), chosen.data(), n_jobs);
        } else {
            announce(entries);
            index.compact(n_jobs);
        }
    }

   private:
    const World& world;
    Index& index;
    naive::Draw draw;
    std::int64_t number_ = 0;
};

/// Searches, by bursts, until told to stop; every answer must be of a generation in its window, and none of an earlier
/// one than the answer before it. A burst of one call has the smallest window; within longer ones this thread and the
/// writer share nothing but the index.
struct Reader {
    const Oracle& oracle;
    const Index& index;
    History& history;
    int number, burst;
    std::atomic<std::int64_t> searches{0}, wrong{0}, several{0};  // several: windows with more than one generation

    void run(const std::atomic<bool>& done) {
        naive::Draw draw(100 + static_cast<std::uint64_t>(number));
        while (!done.load(std::memory_order_relaxed)) {
            history.begin(number);
            std::vector<std::pair<Call, Said>> answers;
            for (int i = 0; i < burst; ++i) {
                const auto call = static_cast<Call>(draw.below(kCalls));
                answers.push_back({call, oracle.ask(call, index, 1 + static_cast<int>(draw.below(2)))});
            }
            const auto window = history.seen(number);
            several += window.size() > 1;
            std::size_t at = 0;
            for (const auto& [call, said] : answers) {
                while (at < window.size() && oracle.expected(call, *window[at]) != said) ++at;
                if (at == window.size()) {
                    ++wrong;
                    break;
                }
                ++searches;
            }
        }
    }
};

}  // namespace

TEST_CASE("concurrency: every answer is that of one state between its begin and its end") {
    const World world(21);
    auto cases = world.cases();
    std::int64_t searches = 0, changes = 0, several = 0;
    for (std::size_t number = 0; number < cases.size(); ++number) {
        CAPTURE(cases[number].name);
        const Oracle oracle(world, cases[number]);
        Index index(cases[number].partitioner, kBits, kDim, VectorType::float32);
        Writer writer(world, index, number);
        for (int i = 0; i < 20; ++i) writer.change([](const Entries&) {});
        History history(writer.entries);
        std::vector<std::unique_ptr<Reader>> readers;
        std::vector<std::thread> threads;
        std::atomic<bool> done{false};
        for (int r = 0; r < kReaders; ++r)
            readers.push_back(std::unique_ptr<Reader>(new Reader{oracle, index, history, r, r % 2 == 0 ? 1 : 16}));
        for (const auto& reader : readers) threads.emplace_back([&, one = reader.get()] { one->run(done); });
        const auto end = after(0.75 * seconds() / static_cast<double>(cases.size()));
        const auto all_have = [&](std::int64_t n) {
            return std::all_of(readers.begin(), readers.end(),
                               [&](const auto& r) { return r->searches >= n || r->wrong > 0; });
        };
        for (std::int64_t mine = 0; Clock::now() < end || !all_have(2); ++mine, ++changes) {
            writer.change([&](const Entries& entries) { history.announce(entries); });
            history.publish();
            if (mine % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
        done = true;
        for (auto& thread : threads) thread.join();
        for (const auto& reader : readers) {
            CHECK(reader->wrong == 0);
            searches += reader->searches;
            several += reader->several;
        }
        for (int call = 0; call < kCalls; ++call)
            CHECK(oracle.ask(static_cast<Call>(call), index, 1) ==
                  oracle.expected(static_cast<Call>(call), writer.entries));
    }
    CHECK(several > 0);
    MESSAGE(searches, " searches beside ", changes, " changes, ", several, " windows of several states");
}

TEST_CASE("concurrency: writers that add together leave whole batches, each writer's in its order") {
    constexpr std::int64_t kWriters = 4, kOwn = 1 << 24;
    const World world(22);
    const auto cases = world.cases();
    const auto end = after(0.15 * seconds());
    std::int64_t batches = 0, looks = 0;
    for (std::size_t round = 0; round < cases.size() || Clock::now() < end; ++round) {
        Index index(cases[round % cases.size()].partitioner, kBits, kDim, VectorType::float16);
        constexpr std::int64_t kEach = 12, kSize = 5;
        std::atomic<std::int64_t> left{kWriters}, wrong{0};
        std::vector<std::thread> threads;
        for (std::int64_t w = 0; w < kWriters; ++w)
            threads.emplace_back([&, w] {
                for (std::int64_t b = 0; b < kEach; ++b) {
                    Id ids[kSize];
                    for (std::int64_t i = 0; i < kSize; ++i) ids[i] = w * kOwn + b * kSize + i;
                    index.add(world.code_rows(b * kSize, kSize), world.vector_rows(b * kSize, kSize), ids, 2);
                }
                --left;
            });
        const auto whole = [&](const std::vector<Id>& ids) {
            std::int64_t next[kWriters] = {};  // of each writer
            for (std::size_t i = 0; i < ids.size(); ++i) {
                auto& wanted = next[ids[i] / kOwn];
                if (ids[i] % kOwn != wanted++) return false;
                if (i % kSize > 0 && ids[i] / kOwn != ids[i - 1] / kOwn) return false;
            }
            return ids.size() % kSize == 0;
        };
        std::int64_t last = 0;
        while (left > 0) {
            const auto ids = index.ids();
            const auto n = static_cast<std::int64_t>(ids.size());
            wrong += !whole(ids) || n < last;
            // What is saved at a moment is an index of its own.
            const auto contents = index.contents();
            Index copy(cases[round % cases.size()].partitioner, kBits, kDim, VectorType::float16);
            copy.restore(contents.segments, contents.next_id);
            wrong += !whole(copy.ids()) || copy.size() < n;
            last = n;
            ++looks;
        }
        for (auto& thread : threads) thread.join();
        CHECK(wrong == 0);
        CHECK(index.size() == kWriters * kEach * kSize);
        CHECK(whole(index.ids()));
        batches += kWriters * kEach;
    }
    MESSAGE(batches, " batches by ", kWriters, " writers, ", looks, " looks at them");
}

TEST_CASE("concurrency: changes that fail beside searches leave no trace") {
    const World world(23);
    const Case one = world.cases()[1];
    const Oracle oracle(world, one);
    Index index(one.partitioner, kBits, kDim, VectorType::float32);
    Writer writer(world, index, 5);
    for (int i = 0; i < 30; ++i) writer.change([](const Entries&) {});
    std::vector<Said> right;
    for (int call = 0; call < kCalls; ++call) right.push_back(oracle.expected(static_cast<Call>(call), writer.entries));
    std::atomic<bool> done{false};
    std::atomic<std::int64_t> wrong{0}, searches{0};
    std::vector<std::thread> threads;
    for (int r = 0; r < kReaders; ++r)
        threads.emplace_back([&, r] {
            for (int call = r; !done; ++call, ++searches)
                wrong += oracle.ask(static_cast<Call>(call % kCalls), index, 1) != right[call % kCalls];
        });
    std::int64_t failures = 0;
    const Id there = writer.entries.front().id;
    for (const auto end = after(0.1 * seconds()); Clock::now() < end || searches < 20;) {
        const std::vector<Id> twice{there, there}, unknown{there, 1};
        for (int what = 0; what < 5; ++what) {
            try {
                if (what == 0) index.add(world.code_rows(0, 2), world.vector_rows(0, 2), unknown.data(), 2);
                if (what == 1) index.remove(unknown.data(), 2);
                if (what == 2) index.remove(twice.data(), 2);
                if (what == 3) index.update(world.code_rows(0, 2), world.vector_rows(0, 2), unknown.data(), 2);
                if (what == 4) {
                    naive::allocations_left = static_cast<std::int64_t>(failures % 20);
                    index.compact(1);
                }
            } catch (const std::invalid_argument&) {
                ++failures;
            } catch (const std::bad_alloc&) {
                ++failures;
            }
            naive::allocations_left = -1;
        }
    }
    done = true;
    for (auto& thread : threads) thread.join();
    CHECK(wrong == 0);
    CHECK(failures >= 4);
    MESSAGE(searches.load(), " searches beside ", failures, " changes that failed");
}
