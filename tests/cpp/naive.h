#pragma once
// What the tests share: oracles in plain loops, written from the words of the headers, and the data they run on.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <numeric>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include "lshcore/types.h"

namespace naive {

using lshcore::Id;
using lshcore::Row;
using lshcore::View;
using lshcore::Word;

/// Allocations this thread may still make before one fails; below zero, any number. main.cpp replaces operator new.
inline thread_local std::int64_t allocations_left = -1;

// -- data
// --------------------------------------------------------------------------------------------------------------

/// Its own generator (the same stream with every standard library), so that no test data comes from the code under
/// test.
struct Draw {
    std::mt19937_64 engine;

    explicit Draw(std::uint64_t seed) : engine(seed) {}
    std::uint64_t below(std::uint64_t n) { return engine() % n; }

    /// Of either sign and of sizes from 2^-4 to 2^4: sums in another order round to other bits.
    float real() {
        const float unit = static_cast<float>(static_cast<std::int64_t>(below(1u << 25)) - (1 << 24)) * 0x1p-24f;
        return std::ldexp(unit, static_cast<int>(below(9)) - 4);
    }
    std::vector<float> reals(std::int64_t n) {
        std::vector<float> values(static_cast<std::size_t>(n));
        for (float& v : values) v = real();
        return values;
    }
    /// Integers from -most to most: distances that tie.
    std::vector<float> steps(std::int64_t n, int most) {
        std::vector<float> values(static_cast<std::size_t>(n));
        for (float& v : values)
            v = static_cast<float>(below(static_cast<std::uint64_t>(2 * most + 1))) - static_cast<float>(most);
        return values;
    }
    /// Padding bits are zero.
    std::vector<Word> codes(std::int64_t n, int n_bits) {
        const int words = lshcore::words_for(n_bits);
        std::vector<Word> values(static_cast<std::size_t>(n * words));
        for (std::size_t i = 0; i < values.size(); ++i) {
            values[i] = engine();
            const bool last = static_cast<int>(i % static_cast<std::size_t>(words)) == words - 1;
            if (last && n_bits % 64 != 0) values[i] &= (Word{1} << (n_bits % 64)) - 1;
        }
        return values;
    }
    std::vector<std::int8_t> signs(std::int64_t n) {
        std::vector<std::int8_t> values(static_cast<std::size_t>(n));
        for (auto& value : values) value = below(2) == 0 ? std::int8_t{-1} : std::int8_t{1};
        return values;
    }
    /// Different ones, in no order.
    std::vector<std::int32_t> positions(int n, int n_bits) {
        std::vector<std::int32_t> all(static_cast<std::size_t>(n_bits));
        std::iota(all.begin(), all.end(), 0);
        shuffle(all);
        all.resize(static_cast<std::size_t>(n));
        return all;
    }
    template <class T>
    void shuffle(std::vector<T>& values) {
        for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[below(i)]);
    }
};

template <class T>
View<const T> view(const std::vector<T>& values, std::int64_t rows) {
    return {values.data(), rows, rows == 0 ? 0 : static_cast<std::int64_t>(values.size()) / rows};
}

/// Items that end where an unreadable page begins: touching one too many is a fault in every build, masked loads of
/// vector registers included.
template <class T>
class Fenced {
   public:
    explicit Fenced(std::int64_t n) : size_(static_cast<std::size_t>(n)) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), bytes = size_ * sizeof(T);
        mapped_ = (bytes + page - 1) / page * page + page;
        void* at = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) throw std::bad_alloc();
        begin_ = static_cast<char*>(at);
        mprotect(begin_ + mapped_ - page, page, PROT_NONE);
        data_ = reinterpret_cast<T*>(begin_ + mapped_ - page - bytes);
    }
    explicit Fenced(const std::vector<T>& values) : Fenced(static_cast<std::int64_t>(values.size())) {
        std::copy(values.begin(), values.end(), data_);
    }
    Fenced(const Fenced&) = delete;
    Fenced& operator=(const Fenced&) = delete;
    ~Fenced() { munmap(begin_, mapped_); }

    T* data() const { return data_; }
    void fill(T value) { std::fill(data_, data_ + size_, value); }
    std::vector<T> copy() const { return {data_, data_ + size_}; }

   private:
    std::size_t size_, mapped_;
    char* begin_;
    T* data_;
};

/// Equal as bits: -0 differs from 0, and a NaN is equal to itself.
template <class A, class B>
bool same_bits(const A& a, const B& b) {
    using T = typename A::value_type;
    static_assert(std::is_same_v<T, typename B::value_type>);
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// -- floats in the documented order: 16 lanes, multiply then add, and a tree over the lanes
// ----------------------------

template <class Term>
float lanes(std::int64_t d, Term term) {
    float sums[16] = {};
    for (std::int64_t i = 0; i < d; ++i) sums[i % 16] += term(i);
    for (int step = 8; step >= 1; step /= 2)
        for (int i = 0; i < step; ++i) sums[i] = sums[i] + sums[i + step];
    return sums[0];
}

inline float dot(const float* a, const float* b, std::int64_t d) {
    return lanes(d, [=](std::int64_t i) { return a[i] * b[i]; });
}

inline float squared_l2(const float* a, const float* b, std::int64_t d) {
    return lanes(d, [=](std::int64_t i) { return (a[i] - b[i]) * (a[i] - b[i]); });
}

inline float inverse_norm(const float* row, std::int64_t d) {
    double sum = 0;
    for (std::int64_t j = 0; j < d; ++j) sum += static_cast<double>(row[j]) * static_cast<double>(row[j]);
    return sum == 0 ? 0.0f : static_cast<float>(1.0 / std::sqrt(sum));
}

inline float cosine(const float* a, const float* b, std::int64_t d) {
    return std::clamp(1.0f - dot(a, b, d) * inverse_norm(a, d) * inverse_norm(b, d), 0.0f, 2.0f);
}

/// The clusters in the order of |c|^2 / 2 - <x, c>, which is that of the distance, x and c taken from the mean of the
/// centroids.
inline std::vector<std::int32_t> nearest_clusters(const float* x, View<const float> centroids) {
    const std::int64_t d = centroids.cols;
    std::vector<float> mean(static_cast<std::size_t>(d));
    for (std::int64_t j = 0; j < d; ++j) {
        double sum = 0;
        for (std::int64_t c = 0; c < centroids.rows; ++c) sum += centroids.row(c)[j];
        mean[static_cast<std::size_t>(j)] = static_cast<float>(sum / static_cast<double>(centroids.rows));
    }
    const auto centred = [&](const float* row) {
        std::vector<float> result(row, row + d);
        for (std::size_t j = 0; j < result.size(); ++j) result[j] -= mean[j];
        return result;
    };
    const auto query = centred(x);
    std::vector<std::pair<float, std::int32_t>> order;
    for (std::int32_t c = 0; c < centroids.rows; ++c) {
        const auto row = centred(centroids.row(c));
        order.push_back({dot(row.data(), row.data(), d) * 0.5f - dot(query.data(), row.data(), d), c});
    }
    std::sort(order.begin(), order.end());
    std::vector<std::int32_t> clusters;
    for (const auto& [score, c] : order) clusters.push_back(c);
    return clusters;
}

// -- codes and rankings
// ------------------------------------------------------------------------------------------------

/// The bits of a hash, of so many each, in a code.
inline Word hash_value(const Word* code, std::int64_t hash, int hash_bits) {
    Word value = 0;
    for (int j = 0; j < hash_bits; ++j)
        value |= Word{(code[(hash * hash_bits + j) / 64] >> ((hash * hash_bits + j) % 64)) & 1} << j;
    return value;
}

/// The value of a hash, and what every value costs.
struct Cells {
    Word own = 0;
    std::vector<double> costs;
};

/// Of a cross-polytope, by multiplying with the whole matrix; exact for small whole numbers.
inline Cells vertex_cells(const std::int8_t* signs, int rotations, int width, int vertices,
                          const std::vector<float>& x) {
    std::vector<double> turned(x.begin(), x.end());
    turned.resize(static_cast<std::size_t>(width));
    double scale = 1;
    for (int w = width; w >= 4; w /= 4) scale /= 2;
    for (int round = 0; round < rotations; ++round) {
        std::vector<double> next(turned.size());
        for (unsigned i = 0; i < next.size(); ++i)
            for (unsigned j = 0; j < next.size(); ++j)
                next[i] += scale * turned[j] * signs[round * width + static_cast<int>(j)] *
                           (std::popcount(i & j) % 2 == 0 ? 1 : -1);
        turned = next;
    }
    const auto n = static_cast<std::size_t>(vertices);
    std::size_t largest = 0;
    for (std::size_t i = 1; i < n; ++i)
        if (std::abs(turned[i]) > std::abs(turned[largest])) largest = i;
    Cells cells{largest + (turned[largest] >= 0 ? n : 0), std::vector<double>(2 * n)};
    for (std::size_t value = 0; value < 2 * n; ++value) {
        const double lacks = std::abs(turned[largest]) - (value >= n ? turned[value - n] : -turned[value]);
        cells.costs[value] = lacks * lacks;
    }
    return cells;
}

/// Of a p-stable hash, from where the vector lies along its direction.
inline Cells interval_cells(double place, int hash_bits) {
    const int n = 1 << hash_bits;
    Cells cells;
    for (int cell = 0; cell < n; ++cell) {  // from begin to begin + 1, and the outermost without end
        const double begin = cell - n / 2;
        const bool above = place >= begin + 1 && cell < n - 1, below = place < begin && cell > 0;
        const double distance = above ? place - (begin + 1) : below ? begin - place : 0;
        cells.costs.push_back(distance * distance);
        if (!above && !below) cells.own = static_cast<Word>(cell);
    }
    return cells;
}

inline bool bit(const Word* code, std::int64_t j) { return (code[j / 64] >> (j % 64)) & 1; }

inline std::uint16_t hamming(const Word* a, const Word* b, std::int64_t words) {
    int sum = 0;
    for (std::int64_t w = 0; w < words; ++w) sum += std::popcount(a[w] ^ b[w]);
    return static_cast<std::uint16_t>(sum);
}

/// The mixer of fingerprints (MurmurHash3's finaliser) backwards.
inline Word unmix(Word x) {
    const auto inverse = [](Word odd) {  // modulo 2^64, by Newton's iteration
        Word y = odd;
        for (int i = 0; i < 5; ++i) y *= 2 - odd * y;
        return y;
    };
    x = (x ^ (x >> 33)) * inverse(0xc4ceb9fe1a85ec53u);
    x = (x ^ (x >> 33)) * inverse(0xff51afd7ed558ccdu);
    return x ^ (x >> 33);
}

inline Word mix(Word x) {
    x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdu;
    x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53u;
    return x ^ (x >> 33);
}

/// n different codes of n_bits > 64 bits that have one fingerprint when all their bits, in order, are the key: the last
/// word counts up, and the one before it is solved for.
inline std::vector<Word> codes_of_one_fingerprint(Draw& draw, std::int64_t n, int n_bits) {
    const int words = lshcore::words_for(n_bits);
    const Word target = draw.engine();
    std::vector<Word> codes;
    for (std::int64_t i = 0; i < n; ++i) {
        Word state = 0;
        for (int w = 0; w < words - 2; ++w) {
            codes.push_back(draw.engine());
            state = mix(state ^ codes.back());
        }
        const Word last = static_cast<Word>(i);
        codes.push_back(state ^ unmix(last ^ unmix(target)));
        codes.push_back(last);
    }
    return codes;
}

using Hit = std::pair<double, Id>;  // (distance, id): the order of every ranking

/// The first k of the sorted hits; missing places are `none` and -1.
inline std::vector<Hit> top(std::vector<Hit> hits, std::int64_t k, double none) {
    std::sort(hits.begin(), hits.end());
    hits.resize(static_cast<std::size_t>(k), Hit{none, -1});
    return hits;
}

}  // namespace naive
