// A C++ program of somebody else's: index three codes in one table and find the nearest to a fourth.

#include <cstdio>

#include "lshcore/index.h"

int main() {
    using namespace lshcore;
    Index index(BitKeys({0, 1, 2, 3}, 1, 4, 8), 8, 0, VectorType::none);
    const Word gallery[] = {0b00001111, 0b00101111, 0b11110000};
    index.add({gallery, 3, 1}, {}, nullptr, 1);

    const Word query = 0b00111111;
    std::uint16_t distance = 0;
    Id id = 0;
    std::int64_t n_candidates = 0;
    StageTimes times{};
    SearchOptions options;
    index.search<std::uint16_t>({.codes = {&query, 1, 1}}, 1, options, &distance, &id, &n_candidates, &times);
    std::printf("nearest: id %lld at distance %d among %lld candidates\n", static_cast<long long>(id), distance,
                static_cast<long long>(n_candidates));
    return id == 1 && distance == 1 && n_candidates == 2 ? 0 : 1;
}
