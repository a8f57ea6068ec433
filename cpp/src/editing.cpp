// What changes an index: add, remove, update, compact, restore. Each makes a new state and swaps it in at the end.

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

#include "lshcore/codes.h"
#include "lshcore/error.h"
#include "lshcore/index.h"

namespace lshcore {
namespace {

// Batches below this many rows are put together, eight of a size at a time: n of them leave some 8 log_8 n segments, and
// each row is copied at most once a power of eight.
constexpr std::int64_t kSmall = 8192;
constexpr std::ptrdiff_t kFan = 8;

int level(std::int64_t n) { return (std::bit_width(static_cast<std::uint64_t>(n)) - 1) / 3; }

bool mergeable(const LiveSegment& part) { return !part.segment->borrowed && part.n_live < kSmall; }

/// How many of the last segments are to be put together now; 0 or 1: none.
std::ptrdiff_t n_to_merge(const std::vector<LiveSegment>& segments) {
    const auto n = static_cast<std::ptrdiff_t>(segments.size());
    const auto at = [&](std::ptrdiff_t i) -> const LiveSegment& {
        return segments[static_cast<std::size_t>(n - 1 - i)];
    };
    if (n == 0 || !mergeable(at(0))) return 0;
    const int last = level(at(0).n_live);
    std::ptrdiff_t smaller = 1, alike = 1;  // those right before the last that are at most of its level; of its level
    for (; smaller < n && mergeable(at(smaller)) && level(at(smaller).n_live) <= last; ++smaller)
        alike += level(at(smaller).n_live) == last;
    if (alike >= kFan) return smaller;
    std::ptrdiff_t below = 1;
    while (below < n && mergeable(at(below)) && level(at(below).n_live) < last) ++below;
    return below;
}

std::string text(std::int64_t n) { return std::to_string(n); }

}  // namespace

template <class Change>
void Index::change(Change make) {
    // The old state may hold the last reference to memory of somebody who needs another lock to let it go (Python): it
    // goes when ours are free again.
    std::shared_ptr<const State> before, old;
    std::lock_guard writing(change_mutex_);
    before = state();
    std::shared_ptr<const State> after = std::make_shared<const State>(make(State(*before)));
    std::lock_guard lock(state_mutex_);
    old = std::exchange(state_, std::move(after));
}

std::int64_t Index::check_rows(View<const Word> codes, View<const float> vectors, const char* where) const {
    const std::string prefix = std::string("Index.") + where + ": ";
    const auto expect = [&](bool holds, const std::string& what) {
        if (!holds) throw std::invalid_argument(prefix + what);
    };
    const std::int64_t n = n_bits_ > 0 ? codes.rows : vectors.rows;
    if (n_bits_ > 0) {
        expect(codes.data != nullptr || codes.cols > 0, "codes are needed");
        check_padding(codes, n_bits_);
    }
    if (dim_ > 0) {
        expect(vectors.data != nullptr || vectors.cols > 0, "vectors are needed");
        expect(vectors.cols == dim_, "expected vectors of " + text(dim_) + " columns, got " + text(vectors.cols));
        expect(vectors.rows == n, "expected as many vectors as codes, " + text(n) + ", got " + text(vectors.rows));
    }
    expect(n < std::numeric_limits<Row>::max(), "at most 2^32 - 2 rows a call");
    return n;
}

void Index::check_new(const State& state, const Ids& ids) const {
    const Id least = ids.is_range() ? ids.first() : ids[ids.order()[0]];
    std::vector<LiveSegment> near;  // those that may hold one
    for (const LiveSegment& part : state.segments) {
        part.segment->prepare(kIds, 1);
        if (part.segment->ids.max() >= least) near.push_back(part);
    }
    if (near.empty()) return;
    for (std::int64_t i = 0; i < ids.size(); ++i)
        if (find_row(near, ids[i]))
            throw std::invalid_argument("Index.add: ids must be new, " + text(ids[i]) + " is in the index already");
}

void Index::append(State& state, View<const Word> codes, View<const float> vectors, Ids ids, int n_jobs) const {
    const std::int64_t n = ids.size();
    const Id largest = ids.max();
    state.next_id = std::max(state.next_id, largest == std::numeric_limits<Id>::max() ? largest : largest + 1);
    auto segment = build_segment(partitioner_, n_bits_ > 0 ? codes : View<const Word>{}, vectors, keep_, std::move(ids),
                                 n_jobs, n_bits_);
    state.segments.push_back({std::move(segment), nullptr, n});
    state.n_rows += n;
    for (auto last = n_to_merge(state.segments); last > 1; last = n_to_merge(state.segments)) {
        const auto first = state.segments.end() - last;
        LiveSegment whole{merge_segments(partitioner_, shape(), LiveSegments(first, state.segments.end()), n_jobs),
                          nullptr, 0};
        whole.n_live = whole.segment->size();
        state.segments.erase(first, state.segments.end());
        state.segments.push_back(std::move(whole));
    }
}

void Index::add(View<const Word> codes, View<const float> vectors, const Id* ids, int n_jobs) {
    const std::int64_t n = check_rows(codes, vectors, "add");
    if (n == 0) return;
    change([&](State state) {
        require(ids != nullptr || state.next_id <= std::numeric_limits<Id>::max() - n,
                "Index.add: no numbers are left for default ids, give ids");
        Ids new_ids = ids == nullptr ? Ids(state.next_id, n) : Ids::packed(std::vector<Id>(ids, ids + n));
        check_new(state, new_ids);
        append(state, codes, vectors, std::move(new_ids), n_jobs);
        return state;
    });
}

void Index::remove_from(State& state, const Id* ids, std::int64_t n, const char* where) const {
    for (const LiveSegment& part : state.segments) part.segment->prepare(kIds, 1);
    const std::vector<LiveSegment> before = state.segments;
    std::vector<std::shared_ptr<std::vector<Word>>> removed(before.size());
    for (std::int64_t i = 0; i < n; ++i) {
        const auto place = find_row(before, ids[i]);
        if (!place)
            throw std::invalid_argument(std::string("Index.") + where + ": ids must be in the index, got " +
                                        text(ids[i]) + ", which is not");
        LiveSegment& part = state.segments[place->segment];
        auto& bits = removed[place->segment];
        if (bits == nullptr) {
            const auto words = static_cast<std::size_t>((part.segment->size() + 63) / 64);
            bits = part.removed == nullptr ? std::make_shared<std::vector<Word>>(words, Word{0})
                                           : std::make_shared<std::vector<Word>>(*part.removed);
            part.removed = bits;
        }
        if (!part.lives(place->row))
            throw std::invalid_argument(std::string("Index.") + where + ": ids must be given once, got " +
                                        text(ids[i]) + " twice");
        (*bits)[place->row / 64] |= Word{1} << (place->row % 64);
        --part.n_live;
        --state.n_rows;
    }
    std::erase_if(state.segments, [](const LiveSegment& part) { return part.n_live == 0; });
}

void Index::remove(const Id* ids, std::int64_t n) {
    if (n == 0) return;
    change([&](State state) {
        remove_from(state, ids, n, "remove");
        return state;
    });
}

void Index::update(View<const Word> codes, View<const float> vectors, const Id* ids, int n_jobs) {
    const std::int64_t n = check_rows(codes, vectors, "update");
    if (n == 0) return;
    require(ids != nullptr, "Index.update: ids are needed");
    change([&](State state) {
        remove_from(state, ids, n, "update");
        append(state, codes, vectors, Ids::packed(std::vector<Id>(ids, ids + n)), n_jobs);
        return state;
    });
}

void Index::compact(int n_jobs) {
    change([&](State state) {
        const auto whole = [](const LiveSegment& part) { return part.removed == nullptr; };
        if (state.segments.empty() || (state.segments.size() == 1 && whole(state.segments[0]))) return state;
        require(state.n_rows < std::numeric_limits<Row>::max(), "Index.compact: a segment has at most 2^32 - 2 rows");
        LiveSegment one{merge_segments(partitioner_, shape(), state.segments, n_jobs), nullptr, state.n_rows};
        state.segments.assign(1, std::move(one));
        return state;
    });
}

void Index::restore(std::vector<LiveSegment> segments, Id next_id) {
    require(next_id >= 0, "Index.restore: next_id must not be negative");
    std::int64_t n_rows = 0;
    for (LiveSegment& part : segments) {
        require(part.segment != nullptr && part.segment->shape == shape(),
                "Index.restore: a segment is of an index of another shape");
        const std::int64_t n = part.segment->size();
        part.n_live = n;
        if (part.removed != nullptr) {
            require(part.removed->size() == static_cast<std::size_t>((n + 63) / 64),
                    "Index.restore: expected a bit for each row of a segment");
            require(n % 64 == 0 || part.removed->back() >> (n % 64) == 0,
                    "Index.restore: bits after the last row of a segment must be zero");
            for (const Word word : *part.removed) part.n_live -= std::popcount(word);
            if (part.n_live == n) part.removed = nullptr;
        }
        n_rows += part.n_live;
    }
    std::erase_if(segments, [](const LiveSegment& part) { return part.n_live == 0; });
    change([&](const State& state) {
        require(state.segments.empty(), "Index.restore: the index must be empty");
        return State{std::move(segments), n_rows, next_id};
    });
}

Index::Contents Index::contents() const {
    const auto now = state();
    return {now->segments, now->next_id};
}

std::vector<Place> Index::places(const State& state, const Id* ids, std::int64_t n, const char* where) const {
    for (const LiveSegment& part : state.segments) part.segment->prepare(kIds, 1);
    std::vector<Place> result;
    result.reserve(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) {
        const auto place = find_row(state.segments, ids[i]);
        if (!place)
            throw std::invalid_argument(std::string("Index.") + where + ": ids must be in the index, got " +
                                        text(ids[i]) + ", which is not");
        result.push_back(*place);
    }
    return result;
}

void Index::contains(const Id* ids, std::int64_t n, bool* out) const {
    const auto now = state();
    for (const LiveSegment& part : now->segments) part.segment->prepare(kIds, 1);
    for (std::int64_t i = 0; i < n; ++i) out[i] = find_row(now->segments, ids[i]).has_value();
}

void Index::codes_of(const Id* ids, std::int64_t n, Word* out) const {
    require(n_bits_ > 0, "Index.codes_of: the index has no codes");
    const auto now = state();
    const std::int64_t words = words_for(n_bits_);
    for (const LiveSegment& part : now->segments) part.segment->prepare(kCodes, 1);
    for (const Place& at : places(*now, ids, n, "codes_of")) {
        std::copy_n(now->segments[at.segment].segment->code(at.row), words, out);
        out += words;
    }
}

void Index::vectors_of(const Id* ids, std::int64_t n, float* out) const {
    require(keep_ != VectorType::none, "Index.vectors_of: the index keeps no vectors");
    const auto now = state();
    for (const Place& at : places(*now, ids, n, "vectors_of")) {
        now->segments[at.segment].segment->vector_of(at.row, out);
        out += dim_;
    }
}

}  // namespace lshcore
