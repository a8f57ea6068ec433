#pragma once
// The first of the least of many values.

#include <algorithm>
#include <cstdint>

namespace lshcore {

/// Index of the first value of the least cost.
template <class Cost>
std::int32_t first_of_least(const float* values, std::int64_t n, Cost cost) {
    float lanes[16];  // sixteen running minima, which the compiler keeps in registers
    std::fill(lanes, lanes + 16, cost(values[0]));
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; ++j) lanes[j] = cost(values[i + j]) < lanes[j] ? cost(values[i + j]) : lanes[j];
    float least = *std::min_element(lanes, lanes + 16);
    for (; i < n; ++i) least = std::min(least, cost(values[i]));
    return static_cast<std::int32_t>(std::find_if(values, values + n, [&](float v) { return cost(v) == least; }) -
                                     values);
}

}  // namespace lshcore
