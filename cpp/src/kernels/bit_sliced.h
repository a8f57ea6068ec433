// Histograms of Hamming distances by bits across codes (AVX-512), included in an anonymous namespace after `popcount(v)`
// was defined. A vector holds one binary digit of the distances of 512 codes, so that adding two numbers is logic on
// whole vectors, and the codes at a distance are the AND of its digits, counted by VPOPCNTQ: a histogram in memory would
// wait for its counters, one at a time.
//
// A query's distance is the sum over groups of three bits, and a group has only eight patterns: for each slice of 512
// codes a table holds, for each group and pattern, in how many of the three bits the codes differ from it. A query then
// adds 22 of the table's entries, for which it takes some 40 full adders of two instructions each.

constexpr int kSlice = 512;       // codes of a vector of digits
constexpr int kSlices = 8;        // slices whose digits are counted together
constexpr int kTriples = 21;      // groups of three bits; the 64th bit stands alone
constexpr int kDigits = 7;        // of a distance up to 64
constexpr int kLeastQueries = 8;  // for fewer the table does not pay

/// Full adder: leaves the sum of three digits in the first and returns the carry.
inline __m512i add(__m512i& a, __m512i b, __m512i c) {
    const __m512i carry = _mm512_ternarylogic_epi64(a, b, c, 0xe8);
    a = _mm512_ternarylogic_epi64(a, b, c, 0x96);
    return carry;
}
inline __m512i add(__m512i& a, __m512i b) {
    const __m512i carry = _mm512_and_si512(a, b);
    a = _mm512_xor_si512(a, b);
    return carry;
}

/// One step of the transposition of 64 x 64 bits in each lane: swaps blocks of Width x Width.
template <int Width>
inline void swap_blocks(const void* from, __m512i* planes, Word low) {
    const auto* vectors = static_cast<const Word*>(from);
    const __m512i mask = _mm512_set1_epi64(static_cast<long long>(low));
    for (int begin = 0; begin < 64; begin += 2 * Width)
        for (int i = begin; i < begin + Width; ++i) {
            const __m512i a = _mm512_loadu_si512(vectors + 8 * i), b = _mm512_loadu_si512(vectors + 8 * (i + Width));
            planes[i] = _mm512_ternarylogic_epi64(mask, a, _mm512_slli_epi64(b, Width), 0xca);
            planes[i + Width] = _mm512_ternarylogic_epi64(mask, _mm512_srli_epi64(a, Width), b, 0xca);
        }
}

/// A query as the places of its 22 entries in a SliceTable, in bytes.
struct Patterns {
    std::uint32_t at[kTriples + 1];

    explicit Patterns(Word query) {
        for (unsigned t = 0; t <= kTriples; ++t)
            at[t] = sizeof(__m512i) * (16 * t + 2 * static_cast<std::uint32_t>(query >> 3 * t & 7));
    }
};

struct Digits {
    __m512i at[kDigits];
};

/// For each group of bits and each pattern of a query's, the digits 1 and 2 of the number of bits that differ.
class SliceTable {
   public:
    void build(const Word* codes) {
        __m512i planes[64];  // one bit of all codes each; the order of the codes does not matter
        swap_blocks<32>(codes, planes, 0x00000000ffffffff);
        swap_blocks<16>(planes, planes, 0x0000ffff0000ffff);
        swap_blocks<8>(planes, planes, 0x00ff00ff00ff00ff);
        swap_blocks<4>(planes, planes, 0x0f0f0f0f0f0f0f0f);
        swap_blocks<2>(planes, planes, 0x3333333333333333);
        swap_blocks<1>(planes, planes, 0x5555555555555555);
        const __m512i all = _mm512_set1_epi64(-1);
        for (int t = 0; t < kTriples; ++t)
            for (int pattern = 0; pattern < 8; ++pattern) {
                const auto differs = [&](int bit) {
                    const __m512i plane = planes[3 * t + bit];
                    return (pattern >> bit & 1) != 0 ? _mm512_xor_si512(plane, all) : plane;
                };
                __m512i* entry = entries_ + 16 * t + 2 * pattern;
                entry[0] = differs(0);
                entry[1] = add(entry[0], differs(1), differs(2));
            }
        entries_[16 * kTriples] = planes[63];
        entries_[16 * kTriples + 2] = _mm512_xor_si512(planes[63], all);
    }

    /// The distances of a query: digits of the same weight are added three by three, each carry to its own weight.
    void distances(const Patterns& query, __m512i* digits) const {
        const auto entry = [&](int t) {
            return reinterpret_cast<const __m512i*>(reinterpret_cast<const char*>(entries_) + query.at[t]);
        };
        __m512i ones = _mm512_setzero_si512(), twos = ones, fours = ones;
        struct Carried {
            __m512i sum, carry;
        };
        const auto two = [&](int t) {  // groups t and t + 1: twos and fours
            const __m512i *a = entry(t), *b = entry(t + 1);
            const __m512i carry = add(ones, a[0], b[0]);
            Carried result{a[1], {}};
            result.carry = add(result.sum, b[1], carry);
            return result;
        };
        const auto four = [&](int t) {  // fours and eights
            const Carried a = two(t), b = two(t + 2);
            Carried result{add(twos, a.sum, b.sum), {}};
            result.carry = add(result.sum, a.carry, b.carry);
            return result;
        };
        const auto eight = [&](int t) {  // eights and sixteens
            const Carried a = four(t), b = four(t + 4);
            Carried result{add(fours, a.sum, b.sum), {}};
            result.carry = add(result.sum, a.carry, b.carry);
            return result;
        };
        const Carried first = eight(0), second = eight(8), third = four(16);
        __m512i carry = add(ones, *entry(20), *entry(21));
        carry = add(twos, entry(20)[1], carry);
        carry = add(fours, third.sum, carry);
        __m512i eights = first.sum, sixteens = first.carry;
        const __m512i sixteen = add(eights, second.sum, third.carry);
        const __m512i other_sixteen = add(eights, carry);
        __m512i thirty_twos = add(sixteens, second.carry, sixteen);
        const __m512i thirty_two = add(sixteens, other_sixteen);
        const __m512i sixty_fours = add(thirty_twos, thirty_two);
        const __m512i all[kDigits] = {ones, twos, fours, eights, sixteens, thirty_twos, sixty_fours};
        for (int d = 0; d < kDigits; ++d) digits[d] = all[d];
    }

   private:
    __m512i entries_[16 * kTriples + 4];  // two digits an entry; only one of the last bit's
};

/// The sum of the lanes of each of eight vectors.
inline __m512i sum_lanes(const __m512i* v) {
    __m512i two[4], four[2];
    for (int i = 0; i < 4; ++i)
        two[i] = _mm512_add_epi64(_mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]),
                                  _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]));
    const auto halve = [](__m512i a, __m512i b) {
        return _mm512_add_epi64(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd));
    };
    for (int i = 0; i < 2; ++i) four[i] = halve(two[2 * i], two[2 * i + 1]);
    return halve(four[0], four[1]);
}

/// Counts the codes at the distances 8 High to 8 High + 7 (modulo 64). `left`: codes a lane not counted yet; returns
/// whether there are none.
template <int High>
inline bool count_eight(const Digits* slices, std::int64_t step, int n, std::uint32_t* counts, __m512i& left) {
    __m512i sums[8];
    for (auto& sum : sums) sum = _mm512_setzero_si512();
    for (int s = 0; s < n; ++s) {
        const __m512i* d = slices[s * step].at;
        __m512i with[8];  // the low digits that are one at the least: bit i of the index is digit i
        with[0] = _mm512_ternarylogic_epi64(d[5], d[4], d[3], 1 << High);
        for (int low = 1; low < 8; ++low) {
            const int last = low >= 4 ? 2 : low >= 2 ? 1 : 0;
            with[low] = _mm512_and_si512(with[low - (1 << last)], d[last]);
        }
        for (int low = 0; low < 8; ++low) sums[low] = _mm512_add_epi64(sums[low], popcount(with[low]));
    }
    left = _mm512_sub_epi64(left, sums[0]);
    for (int digit = 1; digit < 8; digit *= 2)  // from "at the least" to "exactly"
        for (int low = 0; low < 8; ++low)
            if ((low & digit) == 0) sums[low] = _mm512_sub_epi64(sums[low], sums[low + digit]);
    auto* at = reinterpret_cast<__m256i*>(counts + 8 * High);
    _mm256_storeu_si256(at, _mm256_add_epi32(_mm256_loadu_si256(at), _mm512_cvtepi64_epi32(sum_lanes(sums))));
    return _mm512_test_epi64_mask(left, left) == 0;
}

void count_digits(const Digits* slices, std::int64_t step, int n, std::uint32_t* counts) {
    __m512i left = _mm512_set1_epi64(kSlice / 8 * n), opposite = _mm512_setzero_si512();
    // From the middle outwards: most codes lie there, and then there is often nothing left.
    static_cast<void>(count_eight<4>(slices, step, n, counts, left) || count_eight<3>(slices, step, n, counts, left) ||
                      count_eight<5>(slices, step, n, counts, left) || count_eight<2>(slices, step, n, counts, left) ||
                      count_eight<6>(slices, step, n, counts, left) || count_eight<1>(slices, step, n, counts, left) ||
                      count_eight<7>(slices, step, n, counts, left) || count_eight<0>(slices, step, n, counts, left));
    for (int s = 0; s < n; ++s) opposite = _mm512_add_epi64(opposite, popcount(slices[s * step].at[6]));
    const auto at_64 = static_cast<std::uint32_t>(_mm512_reduce_add_epi64(opposite));
    counts[0] -= at_64;  // whose lower digits are zero too
    counts[64] += at_64;
}

/// Histograms of one-word codes, whole slices of them; see Kernels::count_distances.
void count_slices(const Word* queries, std::int64_t n_queries, const Word* groups, std::int64_t n_slices,
                  std::uint32_t* counts, std::int64_t stride) {
    thread_local std::vector<Digits> digits;  // some 400 KB: too large for a small thread's stack
    thread_local std::vector<Patterns> patterns;
    digits.resize(static_cast<std::size_t>(n_queries * kSlices));
    patterns.clear();
    for (std::int64_t q = 0; q < n_queries; ++q) patterns.emplace_back(queries[q]);
    SliceTable table;
    for (std::int64_t begin = 0; begin < n_slices; begin += kSlices) {
        const int n = static_cast<int>(n_slices - begin < kSlices ? n_slices - begin : kSlices);
        for (int s = 0; s < n; ++s) {
            table.build(groups + (begin + s) * kSlice);
            for (std::int64_t q = 0; q < n_queries; ++q)
                table.distances(patterns[static_cast<std::size_t>(q)],
                                digits[static_cast<std::size_t>(s * n_queries + q)].at);
        }
        for (std::int64_t q = 0; q < n_queries; ++q)
            count_digits(digits.data() + q, n_queries, n, counts + q * 4 * stride);
    }
}

void count_distances_sliced(const Word* queries, std::int64_t n_queries, const Word* groups, std::int64_t n, int words,
                            std::uint32_t* counts, std::int64_t stride) {
    std::int64_t sliced = 0;
    if (words == 1 && stride > 64 && n_queries >= kLeastQueries) {
        sliced = n / kSlice * kSlice;
        count_slices(queries, n_queries, groups, n / kSlice, counts, stride);
    }
    count_distances(queries, n_queries, groups + sliced * words, n - sliced, words, counts, stride);
}
