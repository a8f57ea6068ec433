#include "lshcore/filter.h"

#include <algorithm>
#include <string>

#include "lshcore/error.h"
#include "lshcore/parallel.h"

namespace lshcore {
namespace {

Place place_of(LiveSegments segments, Id id, const char* where) {
    const auto place = find_row(segments, id);
    if (!place)
        throw std::invalid_argument(std::string(where) + ": filter must hold ids of the index, got " +
                                    std::to_string(id) + ", which it has not");
    return *place;
}

}  // namespace

Filters::Filters(LiveSegments segments, const Allowed& allowed, std::int64_t n_queries, int n_jobs, const char* where)
    : segments_(segments) {
    if (allowed.everything()) return;
    if (allowed.mask != nullptr) {
        std::int64_t n_live = 0;
        for (const LiveSegment& part : segments) n_live += part.n_live;
        if (allowed.n_mask >= 0 && allowed.n_mask != n_live)
            throw std::invalid_argument(std::string(where) + ": filter must be a mask of shape (" +
                                        std::to_string(n_live) + ",), one for each row, got (" +
                                        std::to_string(allowed.n_mask) + ",)");
        const bool* next = allowed.mask;
        for (const LiveSegment& part : segments) {
            masks_.emplace_back();
            seen_.push_back(next);
            if (part.removed != nullptr) {
                masks_.back().reset(new bool[static_cast<std::size_t>(part.segment->size())]());
                seen_.back() = masks_.back().get();
                part.for_each([&](std::int64_t row) { masks_.back()[static_cast<std::size_t>(row)] = *next++; });
            } else {
                next += part.n_live;
            }
        }
        return;
    }
    for (const LiveSegment& part : segments) part.segment->prepare(kIds, n_jobs);
    if (allowed.offsets != nullptr) {
        list(segments, allowed, n_queries, n_jobs, where);
        return;
    }
    for (const LiveSegment& part : segments) {
        masks_.emplace_back(new bool[static_cast<std::size_t>(part.segment->size())]());
        seen_.push_back(masks_.back().get());
    }
    for (std::int64_t i = 0; i < allowed.n_ids; ++i) {
        const Place place = place_of(segments, allowed.ids[i], where);
        masks_[place.segment][place.row] = true;
    }
    if (segments.empty()) masks_.emplace_back();  // nothing is allowed of nothing
}

void Filters::list(LiveSegments segments, const Allowed& allowed, std::int64_t n_queries, int n_jobs,
                   const char* where) {
    if (allowed.n_queries != n_queries)
        throw std::invalid_argument(std::string(where) + ": filter must have a list for each of " +
                                    std::to_string(n_queries) + " queries, got " + std::to_string(allowed.n_queries));
    bool rising = allowed.offsets[0] == 0 && allowed.offsets[n_queries] == allowed.n_ids;
    for (std::int64_t q = 0; q < n_queries; ++q) rising = rising && allowed.offsets[q] <= allowed.offsets[q + 1];
    if (!rising)
        throw std::invalid_argument(std::string(where) + ": filter offsets must rise from 0 to the number of ids");

    struct Listed {
        std::vector<Row> rows;
        std::vector<std::size_t> ends;  // of each segment
    };
    std::vector<Listed> found(static_cast<std::size_t>(n_queries));
    constexpr std::int64_t kQueries = 16;
    parallel_for(ceil_div(n_queries, kQueries), n_jobs, [&](std::int64_t block, int) {
        std::vector<Place> places;
        for (std::int64_t q = block * kQueries; q < std::min((block + 1) * kQueries, n_queries); ++q) {
            places.clear();
            for (std::int64_t i = allowed.offsets[q]; i < allowed.offsets[q + 1]; ++i)
                places.push_back(place_of(segments, allowed.ids[i], where));
            const auto key = [](const Place& p) { return std::pair(p.segment, p.row); };
            std::sort(places.begin(), places.end(), [&](auto& a, auto& b) { return key(a) < key(b); });
            const auto last =
                std::unique(places.begin(), places.end(), [&](auto& a, auto& b) { return key(a) == key(b); });
            places.erase(last, places.end());
            Listed& mine = found[static_cast<std::size_t>(q)];
            auto next = places.begin();
            for (std::size_t s = 0; s < segments.size(); ++s) {
                for (; next != places.end() && next->segment == s; ++next) mine.rows.push_back(next->row);
                mine.ends.push_back(mine.rows.size());
            }
            interruption_point();
        }
    });
    offsets_.push_back(0);
    for (const Listed& mine : found) {
        for (const std::size_t end : mine.ends) offsets_.push_back(rows_.size() + end);
        rows_.insert(rows_.end(), mine.rows.begin(), mine.rows.end());
    }
}

RowFilter Filters::at(std::size_t segment, std::int64_t query) const {
    RowFilter filter;
    if (!offsets_.empty()) {
        const std::size_t* of = offsets_.data() + static_cast<std::size_t>(query) * segments_.size() + segment;
        filter.listed = true;
        filter.rows = std::span<const Row>(rows_).subspan(of[0], of[1] - of[0]);
    } else if (!masks_.empty()) {
        filter.allowed = seen_[segment];
    } else {
        filter.removed = segments_[segment].removed_bits();
    }
    return filter;
}

}  // namespace lshcore
