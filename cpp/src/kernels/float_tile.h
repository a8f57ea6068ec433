// The float loops, written once and compiled for each instruction set. Included in an anonymous namespace by each
// kernel file after it has defined `Lanes` (16 floats) and the register tile kTileA x kTileB; so that no two sets share
// a symbol.
//
// Lanes: zero(), load(p), load_partial(p, n) (missing lanes 0), both from float and from Half, add, sub, mul, sum() (the
// tree of kernels.h).

struct Dot {
    static Lanes term(const Lanes& a, const Lanes& b) { return Lanes::mul(a, b); }
};

struct SquaredL2 {
    static Lanes term(const Lanes& a, const Lanes& b) {
        const Lanes diff = Lanes::sub(a, b);
        return Lanes::mul(diff, diff);
    }
};

/// NA x NB pairs at once, so that each loaded vector serves several sums.
template <class Term, int NA, int NB, class B>
inline void tile(const float* const* a, const B* const* b, std::int64_t d, float* out, std::int64_t out_stride) {
    Lanes sums[NA][NB];
    for (auto& row : sums)
        for (auto& sum : row) sum = Lanes::zero();
    const auto step = [&](auto load, std::int64_t i) {
        Lanes left[NA];
        for (int p = 0; p < NA; ++p) left[p] = load(a[p] + i);
        for (int q = 0; q < NB; ++q) {
            const Lanes right = load(b[q] + i);
            for (int p = 0; p < NA; ++p) sums[p][q] = Lanes::add(sums[p][q], Term::term(left[p], right));
        }
    };
    std::int64_t i = 0;
    for (; i + 16 <= d; i += 16) step([](const auto* p) { return Lanes::load(p); }, i);
    if (i < d) step([n = static_cast<int>(d - i)](const auto* p) { return Lanes::load_partial(p, n); }, i);
    for (int p = 0; p < NA; ++p)
        for (int q = 0; q < NB; ++q) out[p * out_stride + q] = sums[p][q].sum();
}

/// NA vectors against the nb rows that row(j) gives.
template <class Term, int NA, class RowOf>
inline void strip(const float* const* a, RowOf row, std::int64_t nb, std::int64_t d, float* out,
                  std::int64_t out_stride) {
    std::int64_t j = 0;
    for (; j + kTileB <= nb; j += kTileB) {
        decltype(row(j)) b[kTileB];
        for (int q = 0; q < kTileB; ++q) b[q] = row(j + q);
        tile<Term, NA, kTileB>(a, b, d, out + j, out_stride);
    }
    for (; j < nb; ++j) {
        const auto b = row(j);
        tile<Term, NA, 1>(a, &b, d, out + j, out_stride);
    }
}

template <class Term, class B>
void all_pairs(const float* a, std::int64_t na, const B* b, std::int64_t nb, std::int64_t d, float* out,
               std::int64_t out_stride) {
    const auto row = [=](std::int64_t j) { return b + j * d; };
    std::int64_t i = 0;
    for (; i + kTileA <= na; i += kTileA) {
        const float* rows[kTileA];
        for (int p = 0; p < kTileA; ++p) rows[p] = a + (i + p) * d;
        strip<Term, kTileA>(rows, row, nb, d, out + i * out_stride, out_stride);
    }
    for (; i < na; ++i) {
        const float* one = a + i * d;
        strip<Term, 1>(&one, row, nb, d, out + i * out_stride, out_stride);
    }
}

constexpr std::int64_t kAhead = 16;  // scattered codes are asked for this many before they are needed

template <class Term, class B>
void gather(const float* a, const B* base, const Row* rows, std::int64_t n, std::int64_t d, float* out) {
    constexpr std::int64_t kRowsAhead = 2 * kTileB;  // vectors are long: a few are enough
    constexpr std::int64_t kLine = 64 / sizeof(B);
    const auto row = [=](std::int64_t j) { return base + static_cast<std::int64_t>(rows[j]) * d; };
    const auto asked = [=](std::int64_t j) {
        if (j + kRowsAhead < n)
            for (std::int64_t i = 0; i < d; i += kLine) __builtin_prefetch(row(j + kRowsAhead) + i);
        return row(j);
    };
    strip<Term, 1>(&a, asked, n, d, out, n);
}

/// Hamming distances of scattered codes by `distance(query, code, words)`.
template <class Distance>
void hamming_gather_by(Distance distance, const Word* query, const Word* codes, const Row* rows, std::int64_t n,
                       int words, std::uint16_t* out) {
    const auto code = [=](std::int64_t i) { return codes + static_cast<std::int64_t>(rows[i]) * words; };
    for (std::int64_t i = 0; i < n; ++i) {
        if (i + kAhead < n) {
            const Word* next = code(i + kAhead);
            __builtin_prefetch(next);
            __builtin_prefetch(next + words - 1);  // it may reach into another line
        }
        out[i] = static_cast<std::uint16_t>(distance(query, code(i), words));
    }
}

/// A query's words as they stand, for sets that prepare nothing. W = 0: any number of words.
template <int W>
struct PlainQuery {
    const Word* words;
    int n_words;

    PlainQuery(const Word* query, int n) : words(query), n_words(W > 0 ? W : n) {}
};

/// Writes distance << 32 | row for the lanes of the mask; first is the row of lane 0.
inline int emit_lanes(const std::uint16_t* distances, std::int64_t first, unsigned lanes, std::uint64_t* hits) {
    int n = 0;
    for (; lanes != 0; lanes &= lanes - 1) {
        const int i = std::countr_zero(lanes);
        hits[n++] = std::uint64_t{distances[i]} << 32 | static_cast<std::uint64_t>(first + i);
    }
    return n;
}

inline void pack_signs_plainly(const float* margins, std::int64_t n_bits, Word* out) {
    for (std::int64_t begin = 0; begin < n_bits; begin += 64) {
        Word word = 0;
        for (std::int64_t j = begin; j < n_bits && j < begin + 64; ++j)
            word |= static_cast<Word>(margins[j] >= 0.0f) << (j - begin);
        *out++ = word;
    }
}
