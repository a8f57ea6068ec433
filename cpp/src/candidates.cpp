#include "lshcore/candidates.h"

#include <algorithm>

namespace lshcore {

void CandidateUnion::begin(std::int64_t n_rows) {
    rows_.clear();
    if (static_cast<std::int64_t>(mark_.size()) < n_rows) mark_.resize(static_cast<std::size_t>(n_rows), 0);
    if (++current_ == 0) {  // 255 unions later: the one time the marks are cleared
        std::fill(mark_.begin(), mark_.end(), std::uint8_t{0});
        current_ = 1;
    }
}

}  // namespace lshcore
