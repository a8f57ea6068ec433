#pragma once
// A segment as a file holds it: what borrowed segments are made of.

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "lshcore/crc32c.h"
#include "lshcore/segment.h"
#include "naive.h"

namespace naive {

/// One file: all arrays of a segment, one after another, and its checksums.
struct File {
    struct Span {
        std::string name;
        std::size_t at, n;  // bytes
    };
    std::vector<std::uint64_t> memory;  // aligned
    std::size_t n = 0;
    std::vector<Span> spans;
    std::int64_t n_rows = 0;
    Id first_id = 0;
    lshcore::RowShape shape;
    bool range = true;

    std::uint8_t* data() { return reinterpret_cast<std::uint8_t*>(memory.data()); }
    const Span* find(const std::string& name) const {
        for (const Span& span : spans)
            if (span.name == name) return &span;
        return nullptr;
    }

    template <class T>
    void put(const std::string& name, const lshcore::Buffer<T>& array) {
        if (array.empty()) return;
        spans.push_back({name, n, array.nbytes()});
        memory.resize((n + array.nbytes() + 7) / 8);
        std::memcpy(data() + n, array.data(), array.nbytes());
        n = memory.size() * 8;
    }

    explicit File(const lshcore::Segment& s)
        : n_rows(s.size()), first_id(s.ids.first()), shape(s.shape), range(s.ids.is_range()) {
        put("codes", s.codes);
        put("ids", s.ids.stored());
        put("ids_order", s.ids.order());
        put("vectors", s.vectors);
        put("halves", s.halves);
        put("inverse_norms", s.inverse_norms);
        put("residual_codes", s.residuals.codes);
        put("residual_offsets", s.residuals.offsets);
        put("residual_scales", s.residuals.scales);
        put("residual_squares", s.residuals.squares);
        for (std::size_t t = 0; t < s.tables.size(); ++t) {
            put("keys." + std::to_string(t), s.tables[t].keys());
            put("offsets." + std::to_string(t), s.tables[t].offsets());
            put("rows." + std::to_string(t), s.tables[t].rows());
        }
    }

    std::vector<std::uint32_t> crcs(std::size_t block) { return lshcore::block_crcs(data(), n, block, 1); }

    template <class T>
    lshcore::Buffer<T> view(const std::string& name) {
        const Span* span = find(name);
        if (span == nullptr) return {};
        return {reinterpret_cast<const T*>(data() + span->at), span->n / sizeof(T), nullptr};
    }

    lshcore::BorrowedArrays arrays() {
        lshcore::BorrowedArrays a;
        a.codes = view<Word>("codes");
        a.ids = view<Id>("ids");
        a.ids_order = view<Row>("ids_order");
        a.vectors = view<float>("vectors");
        a.halves = view<lshcore::Half>("halves");
        a.inverse_norms = view<float>("inverse_norms");
        a.residuals = {view<std::uint8_t>("residual_codes"), view<float>("residual_offsets"),
                       view<float>("residual_scales"), view<float>("residual_squares")};
        for (int t = 0; t < shape.n_tables; ++t) {
            const auto number = std::to_string(t);
            a.tables.push_back(
                {view<Word>("keys." + number), view<std::uint32_t>("offsets." + number), view<Row>("rows." + number)});
        }
        return a;
    }

    /// block 0: without checksums.
    std::shared_ptr<const lshcore::Segment> borrow(const std::vector<std::uint32_t>& sums, std::size_t block) {
        auto blocks =
            block == 0 ? nullptr : std::make_shared<const lshcore::Blocks>(data(), n, sums, block, nullptr, "Segment");
        return lshcore::borrow_segment(shape, n_rows, first_id, arrays(), std::move(blocks));
    }
};

}  // namespace naive
