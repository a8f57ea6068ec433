#pragma once
// Walking a gallery in blocks of grouped codes (kernels.h) that stay in cache while many queries pass over them.

#include <algorithm>
#include <vector>

#include "lshcore/kernels.h"
#include "lshcore/parallel.h"
#include "lshcore/types.h"

namespace lshcore {

inline constexpr std::int64_t kQueryBlock = 64;  // queries that share a block of the gallery

/// Codes a block: half a first-level cache of them, but enough to make up for the work between blocks.
inline std::int64_t codes_a_block(int words) { return std::max(512, 4096 / words / 8 * 8); }

/// Calls visit(first row, n, groups) for the rows [begin, end) in order. The first blocks are small, so that a search
/// has a threshold before it meets many codes.
template <class Visit>
void for_grouped_blocks(View<const Word> gallery, std::int64_t begin, std::int64_t end, std::vector<Word>& scratch,
                        Visit visit) {
    const int words = static_cast<int>(gallery.cols);
    const std::int64_t most = codes_a_block(words);
    std::int64_t block = std::min<std::int64_t>(256, most);
    for (std::int64_t row = begin, n; row < end; row += n) {
        n = std::min(block, end - row);
        block = std::min(2 * block, most);
        const Word* groups = gallery.row(row);
        if (words > 1 || n % 8 != 0) {  // whole groups of one-word codes stand grouped already
            scratch.resize(static_cast<std::size_t>(ceil_div(n, 8) * 8 * words));
            kernels().group_codes(groups, n, words, scratch.data());
            groups = scratch.data();
        }
        const Word* next = gallery.row(row + n);
        for (std::int64_t w = 0, ahead = std::min(block, end - row - n) * words; w < ahead; w += 8)
            __builtin_prefetch(next + w, 0, 2);
        interruption_point();
        visit(row, n, groups);
    }
}

}  // namespace lshcore
