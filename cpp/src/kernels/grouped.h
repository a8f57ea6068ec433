// The Hamming loops over grouped codes, written once and compiled for each instruction set. Included in an anonymous
// namespace by each kernel file after it has defined
//
//   PreparedQuery<W>   the words of a query, ready for use; W = 0: any number of words
//   Eight              the distances of eight codes to a query: of(prepared, group), min(a, b),
//                      below(threshold) -> one bit a lane, store(uint16_t[8]),
//                      emit(first_row, lanes, hits) -> how many (distance << 32 | row) it wrote, eight at the most
//
// Grouped codes: eight codes after one another, word by word: word w of code 8 g + i stands at (g * words + w) * 8 + i.
// So a vector holds one word of eight codes, no lane is ever shuffled, and any width runs at full speed.

/// Calls body(distances of a group, size of a group) with the width as a constant where it pays.
template <class Body>
inline void with_width(const Word* query, int words, Body body) {
    const auto run = [&]<int W>() {
        const PreparedQuery<W> prepared(query, words);
        body([&](const Word* group) { return Eight::of(prepared, group); }, std::int64_t{8} * (W > 0 ? W : words));
    };
    switch (words) {
        case 1: return run.template operator()<1>();
        case 2: return run.template operator()<2>();
        case 3: return run.template operator()<3>();
        case 4: return run.template operator()<4>();
        case 8: return run.template operator()<8>();
        default: return run.template operator()<0>();
    }
}

inline unsigned lanes_of(std::int64_t n) { return n >= 8 ? 0xffu : (1u << n) - 1; }

/// Writes distance << 32 | row of every code nearer than the threshold, in row order. Returns how many;
/// `hits` has room for n + 8.
std::int64_t collect_below(const Word* query, const Word* groups, std::int64_t n, int words, int threshold,
                           std::uint64_t* hits) {
    std::uint64_t* end = hits;
    with_width(query, words, [&](auto distances, std::int64_t stride) {
        std::int64_t i = 0;
        for (; i + 32 <= n; i += 32) {  // four groups a test: nearly all hold nothing
            const Word* group = groups + i / 8 * stride;
            const Eight four[] = {distances(group), distances(group + stride), distances(group + 2 * stride),
                                  distances(group + 3 * stride)};
            if (Eight::min(Eight::min(four[0], four[1]), Eight::min(four[2], four[3])).below(threshold) == 0) continue;
            for (int g = 0; g < 4; ++g) {
                const unsigned lanes = four[g].below(threshold);
                if (lanes != 0) end += four[g].emit(i + 8 * g, lanes, end);
            }
        }
        for (; i < n; i += 8) {
            const Eight a = distances(groups + i / 8 * stride);
            end += a.emit(i, a.below(threshold) & lanes_of(n - i), end);
        }
    });
    return end - hits;
}

void grouped_distances(const Word* query, const Word* groups, std::int64_t n, int words, std::uint16_t* out) {
    with_width(query, words, [&](auto distances, std::int64_t stride) {
        std::int64_t i = 0;
        for (; i + 8 <= n; i += 8) distances(groups + i / 8 * stride).store(out + i);
        if (i < n) {
            std::uint16_t last[8];
            distances(groups + i / 8 * stride).store(last);
            for (std::int64_t j = i; j < n; ++j) out[j] = last[j - i];
        }
    });
}

/// Adds the n distances of each query to its four interleaved histograms of `stride` counters: neighbours often fall into
/// one bin, and an increment must not wait for the last.
void count_distances(const Word* queries, std::int64_t n_queries, const Word* groups, std::int64_t n, int words,
                     std::uint32_t* counts, std::int64_t stride) {
    constexpr std::int64_t kChunk = 512;
    std::uint16_t distances[kChunk];
    for (std::int64_t q = 0; q < n_queries; ++q, queries += words, counts += 4 * stride)
        for (std::int64_t begin = 0; begin < n; begin += kChunk) {
            const std::int64_t m = n - begin < kChunk ? n - begin : kChunk;
            grouped_distances(queries, groups + begin * words, m, words, distances);
            std::int64_t i = 0;
            for (; i + 4 <= m; i += 4)
                for (int table = 0; table < 4; ++table) ++counts[table * stride + distances[i + table]];
            for (; i < m; ++i) ++counts[distances[i]];
        }
}

/// From rows of words to groups of eight; the last group is filled up with zeros.
void group_codes(const Word* codes, std::int64_t n, int words, Word* groups) {
    for (std::int64_t i = 0; i < n; i += 8) {
        Word* group = groups + i * words;
        const std::int64_t filled = n - i < 8 ? n - i : 8;
        for (int w = 0; w < words; ++w) {
            for (std::int64_t j = 0; j < filled; ++j) group[w * 8 + j] = codes[(i + j) * words + w];
            for (std::int64_t j = filled; j < 8; ++j) group[w * 8 + j] = 0;
        }
    }
}
