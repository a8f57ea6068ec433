// Segments in somebody else's memory: what is checked when they are made, and what at their first use.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "lshcore/codes.h"
#include "lshcore/error.h"
#include "lshcore/parallel.h"
#include "lshcore/segment.h"

namespace lshcore {
namespace {

[[noreturn]] void damaged(const Blocks* blocks, const std::string& array, const char* flaw) {
    throw DamagedError((blocks != nullptr ? blocks->source() : "Segment") + ": array '" + array +
                       "' is damaged: " + flaw);
}

std::string of_table(const char* array, std::size_t table) {
    std::string name = array;
    return name.append(1, '.').append(std::to_string(table));
}

template <class T>
void check_array(const std::string& name, const Buffer<T>& array, std::uint64_t size, const Blocks* blocks) {
    if (array.size() != size)
        throw std::invalid_argument("Segment: array '" + name + "': expected " + std::to_string(size) +
                                    " elements, got " + std::to_string(array.size()));
    if (size == 0) return;
    if (reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) != 0)
        throw std::invalid_argument("Segment: array '" + name + "': expected data at a multiple of " +
                                    std::to_string(alignof(T)) + " bytes");
    if (blocks != nullptr && !blocks->holds(array.data(), array.nbytes()))
        throw std::invalid_argument("Segment: array '" + name + "': expected data within that of the blocks");
}

}  // namespace

std::shared_ptr<const Segment> borrow_segment(const RowShape& shape, std::int64_t n_rows, Id first_id,
                                              BorrowedArrays arrays, std::shared_ptr<const Blocks> blocks) {
    if (n_rows < 1 || n_rows >= std::numeric_limits<Row>::max())
        throw std::invalid_argument("Segment: expected 1 to 2^32 - 2 rows, got " + std::to_string(n_rows));
    const auto n = static_cast<std::uint64_t>(n_rows);
    const bool range = arrays.ids.empty();
    if (range && (first_id < 0 || first_id > std::numeric_limits<Id>::max() - n_rows))
        throw std::invalid_argument("Segment: expected first_id from 0 on, got " + std::to_string(first_id));
    require(shape.dim < std::int64_t{1} << 31, "Segment: rows have too many columns");
    const auto dim = static_cast<std::uint64_t>(shape.dim);
    const auto words = static_cast<std::uint64_t>(words_for(shape.n_bits));
    const Blocks* within = blocks.get();
    check_array("codes", arrays.codes, n * words, within);
    check_array("ids", arrays.ids, range ? 0 : n, within);
    check_array("ids_order", arrays.ids_order, range ? 0 : n, within);
    check_array("vectors", arrays.vectors, shape.keep == VectorType::float32 ? n * dim : 0, within);
    check_array("halves", arrays.halves, shape.keep == VectorType::float16 ? n * dim : 0, within);
    check_array("inverse_norms", arrays.inverse_norms, shape.keep != VectorType::none ? n : 0, within);
    const std::uint64_t coded = shape.residual_width > 0 ? n : 0;
    const auto code_bytes = coded == 0 ? 0 : static_cast<std::uint64_t>(residual_bytes(n_rows, shape.residual_width));
    check_array("residual_codes", arrays.residuals.codes, code_bytes, within);
    check_array("residual_offsets", arrays.residuals.offsets, coded, within);
    check_array("residual_scales", arrays.residuals.scales, coded, within);
    check_array("residual_squares", arrays.residuals.squares, coded, within);
    if (arrays.tables.size() != static_cast<std::size_t>(shape.n_tables))
        throw std::invalid_argument("Segment: expected " + std::to_string(shape.n_tables) + " tables, got " +
                                    std::to_string(arrays.tables.size()));

    auto segment = std::make_shared<Segment>(range ? Ids(first_id, n_rows)
                                                   : Ids(std::move(arrays.ids), std::move(arrays.ids_order)));
    const bool direct = Table::direct(shape.universe, n_rows);
    for (std::size_t t = 0; t < arrays.tables.size(); ++t) {
        auto& [keys, offsets, rows] = arrays.tables[t];
        if (keys.size() > n)
            throw std::invalid_argument("Segment: array '" + of_table("keys", t) + "': expected at most " +
                                        std::to_string(n) + " elements, got " + std::to_string(keys.size()));
        check_array(of_table("keys", t), keys, direct ? 0 : keys.size(), within);
        check_array(of_table("offsets", t), offsets, (direct ? shape.universe : keys.size()) + 1, within);
        check_array(of_table("rows", t), rows, n, within);
        segment->tables.emplace_back(std::move(keys), std::move(offsets), std::move(rows), shape.universe);
    }
    segment->words = static_cast<int>(words);
    segment->dim = shape.dim;
    segment->codes = std::move(arrays.codes);
    segment->vectors = std::move(arrays.vectors);
    segment->halves = std::move(arrays.halves);
    segment->inverse_norms = std::move(arrays.inverse_norms);
    segment->residuals = std::move(arrays.residuals);
    segment->shape = shape;
    segment->borrowed = true;
    segment->blocks = std::move(blocks);
    return segment;
}

void Segment::verify(unsigned parts, int n_jobs) const {
    parts &= ~verified_.load(std::memory_order_acquire);
    const auto sums = [&](const std::string& name, const auto& array) {
        if (blocks != nullptr) blocks->check(name.c_str(), array.data(), array.nbytes(), n_jobs);
    };
    if (parts & kIds) {
        sums("ids", ids.stored());
        sums("ids_order", ids.order());
        if (const char* flaw = ids.flaw()) damaged(blocks.get(), "ids", flaw);
    }
    if (parts & kCodes) {
        sums("codes", codes);
        constexpr std::int64_t kRows = 65536;
        if (words > 0)
            parallel_for(ceil_div(size(), kRows), n_jobs, [&](std::int64_t block, int) {
                const std::int64_t first = block * kRows;
                try {
                    check_padding({code(first), std::min(kRows, size() - first), words}, shape.n_bits);
                } catch (const std::invalid_argument&) {
                    damaged(blocks.get(), "codes", "padding bits must be zero");
                }
            });
    }
    if (parts & kTables) {
        for (std::size_t t = 0; t < tables.size(); ++t) {
            sums(of_table("keys", t), tables[t].keys());
            sums(of_table("offsets", t), tables[t].offsets());
            sums(of_table("rows", t), tables[t].rows());
        }
        parallel_for(static_cast<std::int64_t>(tables.size()), n_jobs, [&](std::int64_t i, int) {
            const auto t = static_cast<std::size_t>(i);
            if (const char* flaw = tables[t].flaw(shape.universe, shape.shared_keys))
                damaged(blocks.get(), of_table("keys", t) + ", " + of_table("offsets", t) + ", " + of_table("rows", t),
                        flaw);
        });
    }
    if (parts & kNorms) {
        sums("inverse_norms", inverse_norms);
        for (const float norm : inverse_norms)
            if (!(norm >= 0.0f && std::isfinite(norm)))
                damaged(blocks.get(), "inverse_norms", "expected finite numbers from 0");
    }
    if (parts & kResiduals) {
        sums("residual_codes", residuals.codes);
        sums("residual_offsets", residuals.offsets);
        sums("residual_scales", residuals.scales);
        sums("residual_squares", residuals.squares);
    }
    if (parts & kVectors) {
        sums("vectors", vectors);
        sums("halves", halves);
    }
    verified_.fetch_or(parts, std::memory_order_acq_rel);
}

void Segment::touch(const Row* rows, std::int64_t n) const {
    if (blocks == nullptr || (verified_.load(std::memory_order_acquire) & kVectors) != 0) return;
    for (std::int64_t i = 0; i < n; ++i) touch(std::int64_t{rows[i]}, 1);
}

void Segment::touch(std::int64_t first, std::int64_t n) const {
    if (blocks == nullptr || (verified_.load(std::memory_order_acquire) & kVectors) != 0) return;
    const auto begin = static_cast<std::size_t>(first * dim), count = static_cast<std::size_t>(n * dim);
    if (halves.empty())
        blocks->touch("vectors", vectors.data() + begin, count * sizeof(float));
    else
        blocks->touch("halves", halves.data() + begin, count * sizeof(Half));
}

}  // namespace lshcore
