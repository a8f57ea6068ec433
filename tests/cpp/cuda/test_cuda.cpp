// What the .cu files give, against the CPU's functions, bit for bit.

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "../naive.h"
#include "array.h"
#include "lshcore/cuda.h"
#include "lshcore/kmeans.h"
#include "lshcore/metrics.h"
#include "lshcore/partition.h"
#include "lshcore/project.h"

using namespace lshcore;
using cuda_on_cpu::Array;
using cuda_on_cpu::Order;
using cuda_on_cpu::Place;
using cuda_on_cpu::Settings;

namespace {

constexpr Place kPlaces[] = {Place::host, Place::device};

/// Another order of threads and blocks for each case.
void set_order(std::uint64_t number) {
    constexpr Order kOrders[] = {Order::ascending, Order::descending, Order::shuffled};
    cuda_on_cpu::order = kOrders[number % 3];
    cuda_on_cpu::seed = number;
}

/// Queries and a gallery of codes.
struct Codes {
    std::int64_t m, n;
    int n_bits;
    std::vector<Word> queries, gallery;

    std::int64_t words() const { return words_for(n_bits); }
    View<const Word> q() const { return {queries.data(), m, words()}; }
    View<const Word> g() const { return {gallery.data(), n, words()}; }
};

Codes random_codes(naive::Draw& draw, std::int64_t m, std::int64_t n, int n_bits) {
    return {m, n, n_bits, draw.codes(m, n_bits), draw.codes(n, n_bits)};
}

/// The gallery's row becomes the first query with some bits flipped.
void bring_near(naive::Draw& draw, Codes& codes, std::int64_t row, int flips) {
    std::copy_n(codes.queries.begin(), codes.words(), codes.gallery.begin() + row * codes.words());
    for (int i = 0; i < flips; ++i)
        flip_bits(codes.gallery.data() + row * codes.words(),
                  static_cast<std::int64_t>(draw.below(static_cast<std::uint64_t>(codes.n_bits))), 1);
}

struct Found {
    std::vector<std::uint16_t> distances;
    std::vector<Id> ids;

    Found(std::int64_t m, std::int64_t k)
        : distances(static_cast<std::size_t>(m * k), 12345), ids(distances.size(), 12345) {}
    bool operator==(const Found&) const = default;
};

Found search_on_cpu(const Codes& codes, std::int64_t k) {
    Found found(codes.m, k);
    hamming_search(codes.q(), codes.g(), k, found.distances.data(), found.ids.data(), 1);
    return found;
}

Found search(const Codes& codes, std::int64_t k, Place queries, Place gallery, Place results) {
    const Found before(codes.m, k);
    Array<Word> q(codes.queries, queries), g(codes.gallery, gallery);
    Array<std::uint16_t> distances(before.distances, results);
    Array<Id> ids(before.ids, results);
    Found found = before;
    try {
        cuda::hamming_search({q.data(), codes.m, codes.words()}, {g.data(), codes.n, codes.words()}, k,
                             distances.data(), ids.data());
    } catch (...) {
        CHECK(distances.copy() == before.distances);
        CHECK(ids.copy() == before.ids);
        throw;
    }
    found.distances = distances.copy();
    found.ids = ids.copy();
    return found;
}

std::vector<std::uint16_t> distances_of(const Codes& codes, Place left, Place right, Place result) {
    Array<Word> a(codes.queries, left), b(codes.gallery, right);
    Array<std::uint16_t> out(std::vector<std::uint16_t>(static_cast<std::size_t>(codes.m * codes.n)), result);
    cuda::hamming_distances({a.data(), codes.m, codes.words()}, {b.data(), codes.n, codes.words()}, out.data());
    return out.copy();
}

std::vector<std::uint16_t> distances_on_cpu(const Codes& codes) {
    std::vector<std::uint16_t> out(static_cast<std::size_t>(codes.m * codes.n));
    hamming_distances(codes.q(), codes.g(), out.data(), 1);
    return out;
}

RangeHits range(const Codes& codes, int radius, Place queries, Place gallery) {
    Array<Word> q(codes.queries, queries), g(codes.gallery, gallery);
    return cuda::hamming_range({q.data(), codes.m, codes.words()}, {g.data(), codes.n, codes.words()}, radius, 2);
}

bool same(const RangeHits& a, const RangeHits& b) {
    return a.offsets == b.offsets && a.distances == b.distances && a.ids == b.ids;
}

void check_hamming(const Codes& codes, std::initializer_list<std::int64_t> ks, Place queries, Place gallery) {
    CAPTURE(codes.m);
    CAPTURE(codes.n);
    CAPTURE(codes.n_bits);
    CAPTURE(static_cast<int>(queries));
    CAPTURE(static_cast<int>(gallery));
    const std::size_t before = cuda_on_cpu::allocated();
    CHECK(distances_of(codes, queries, gallery, gallery) == distances_on_cpu(codes));
    for (const std::int64_t k : ks) {
        if (k == 0) continue;
        CAPTURE(k);
        const bool equal = search(codes, k, queries, gallery, queries) == search_on_cpu(codes, k);
        CHECK(equal);
    }
    for (const int radius : {-1, 0, codes.n_bits * 2 / 5, codes.n_bits}) {
        CAPTURE(radius);
        CHECK(same(range(codes, radius, queries, gallery), hamming_range(codes.q(), codes.g(), radius, 1)));
    }
    CHECK(cuda_on_cpu::allocated() == before);
}

}  // namespace

TEST_CASE("cuda: Hamming distances, searches and ranges for every width of codes") {
    const Settings settings;
    naive::Draw draw(1);
    std::uint64_t number = 0;
    for (const int words : {1, 2, 3, 4, 5, 8, 16, 17, 64})
        for (const int n_bits : {64 * words, 64 * words - 27}) {
            set_order(number++);
            check_hamming(random_codes(draw, 7, 1000, n_bits), {1, 10, 100, 1000, 1005}, kPlaces[number % 2],
                          kPlaces[number / 2 % 2]);
        }
}

TEST_CASE("cuda: Hamming distances, searches and ranges for every number of codes") {
    const Settings settings;
    naive::Draw draw(2);
    std::uint64_t number = 0;
    for (const std::int64_t n : {0, 1, 31, 33, 1000, 5000})
        for (const std::int64_t m : {0, 1, 7, 70})
            for (const int n_bits : {3, 64, 100}) {
                if (m == 70 && n >= 1000 && n_bits != (n == 1000 ? 3 : 100)) continue;  // for the time it takes
                set_order(number++);
                const Codes codes = random_codes(draw, m, n, n_bits);
                if (m * n < 100000)
                    check_hamming(codes, {1, 10, 100, n, n + 5}, kPlaces[number % 2], kPlaces[number / 2 % 2]);
                else
                    check_hamming(codes, {10}, kPlaces[number % 2], kPlaces[number / 2 % 2]);
            }
}

TEST_CASE("cuda: searches among ties") {
    const Settings settings;
    naive::Draw draw(3);
    std::uint64_t number = 0;
    for (const std::int64_t n : {100, 5000})
        for (const int n_bits : {64, 200}) {
            const std::int64_t words = words_for(n_bits);
            Codes equal = random_codes(draw, 3, n, n_bits), half = equal, few = equal;
            for (std::int64_t row = 0; row < n; ++row) {
                const auto copy = [&](Codes& codes, std::int64_t from) {
                    std::copy_n(codes.gallery.begin() + from * words, words, codes.gallery.begin() + row * words);
                };
                copy(equal, 0);
                if (draw.below(2) == 0) copy(half, 0);
                if (row >= 5) copy(few, static_cast<std::int64_t>(draw.below(5)));
            }
            for (const Codes* codes : {&equal, &half, &few}) {
                set_order(number++);
                check_hamming(*codes, {1, 10, 100, 1000, n, n + 5}, Place::host, Place::device);
            }
        }
}

// A search bounds what it keeps by a sample of the gallery, every so many-th row from 8192 + 8 k on.
TEST_CASE("cuda: searches of galleries whose sample misleads") {
    const Settings settings;
    naive::Draw draw(4);
    constexpr std::int64_t kRows = 20000;
    std::uint64_t number = 0;
    for (const int n_bits : {64, 130}) {
        const Codes random = random_codes(draw, 2, kRows, n_bits);
        const auto with = [&](auto is_near, int flips) {
            Codes codes = random;
            for (std::int64_t row = 0; row < kRows; ++row)
                if (is_near(row)) bring_near(draw, codes, row, static_cast<int>(draw.below(20)) % (flips + 1));
            return codes;
        };
        const Codes all[] = {random,
                             with([](std::int64_t row) { return row % 4 != 0; }, 9),  // no sample sees one of them
                             with([](std::int64_t row) { return row % 4 == 0; }, 9),  // it sees nothing else
                             with([](std::int64_t row) { return row % 4 != 0; }, 0),
                             with([](std::int64_t row) { return row < 2500; }, 9),
                             with([](std::int64_t row) { return row >= 17500; }, 3),
                             with([](std::int64_t row) { return row == kRows - 1; }, 1)};
        for (const Codes& codes : all)
            for (const std::int64_t k : {1, 10, 700}) {
                if (k == 700 && number % 2 == 0) continue;
                CAPTURE(number);
                CAPTURE(k);
                set_order(number++);
                const bool equal =
                    search(codes, k, Place::host, kPlaces[number % 2], Place::host) == search_on_cpu(codes, k);
                CHECK(equal);
            }
    }
}

TEST_CASE("cuda: arguments and results of a search may each be on the host or on the device") {
    const Settings settings;
    naive::Draw draw(5);
    const Codes codes = random_codes(draw, 7, 300, 100);
    const Found expected = search_on_cpu(codes, 10);
    for (const Place queries : kPlaces)
        for (const Place gallery : kPlaces)
            for (const Place results : kPlaces) {
                const bool equal = search(codes, 10, queries, gallery, results) == expected;
                CHECK(equal);
                CHECK(distances_of(codes, queries, gallery, results) == distances_on_cpu(codes));
            }
}

TEST_CASE("cuda: galleries larger than the memory go through it in pieces") {
    const Settings settings;
    naive::Draw draw(6);
    cuda_on_cpu::memory_limit = cuda_on_cpu::allocated() + (200 << 10);
    std::uint64_t number = 0;
    for (const int n_bits : {448, 512}) {  // 273 and 312 KB
        const Codes random = random_codes(draw, 7, 5000, n_bits);
        Codes near_last = random, equal = random;  // every piece brings nearer ones; none does
        for (std::int64_t row = 0; row < 5000; ++row) {
            if (row % 50 == 0) bring_near(draw, near_last, row, static_cast<int>(5000 - row) / 50);
            bring_near(draw, equal, row, 0);
        }
        for (const Codes* codes : std::initializer_list<const Codes*>{&random, &near_last, &equal}) {
            CAPTURE(number);
            set_order(number++);
            for (const std::int64_t k : {1, 10, 100}) {
                CAPTURE(k);
                const bool same_search =
                    search(*codes, k, Place::host, Place::host, Place::host) == search_on_cpu(*codes, k);
                CHECK(same_search);
            }
            for (const int radius : {0, 200, n_bits})
                CHECK(same(range(*codes, radius, Place::host, Place::host),
                           hamming_range(codes->q(), codes->g(), radius, 1)));
        }
        for (const Place result : kPlaces)
            CHECK(distances_of(random, Place::host, Place::host, result) == distances_on_cpu(random));
    }
    cuda_on_cpu::memory_limit = cuda_on_cpu::allocated() + (400 << 10);
    const Codes wide = random_codes(draw, 2, 5000, 1088);   // 664 KB
    for (const std::int64_t k : {900, 2000, 5000, 5005}) {  // more than a piece has
        CAPTURE(k);
        const bool equal = search(wide, k, Place::host, Place::host, Place::host) == search_on_cpu(wide, k);
        CHECK(equal);
    }
}

TEST_CASE("cuda: where the memory does not suffice, nothing is changed and nothing kept") {
    const Settings settings;
    naive::Draw draw(7);
    const Codes codes = random_codes(draw, 20, 2000, 100);
    const Found expected = search_on_cpu(codes, 50);
    const auto within = hamming_range(codes.q(), codes.g(), 45, 1);
    const std::size_t before = cuda_on_cpu::allocated();
    int failed = 0, done = 0;
    for (std::size_t bytes = 0; bytes <= 400000; bytes = bytes * 5 / 4 + 1000) {
        CAPTURE(bytes);
        cuda_on_cpu::memory_limit = before + bytes;
        try {
            const bool equal = search(codes, 50, Place::host, Place::host, Place::host) == expected;
            CHECK(equal);
            ++done;
        } catch (const std::bad_alloc&) {
            ++failed;
        }
        try {
            const bool equal = same(range(codes, 45, Place::host, Place::host), within);
            CHECK(equal);
            ++done;
        } catch (const std::bad_alloc&) {
            ++failed;
        }
        CHECK(cuda_on_cpu::allocated() == before);
    }
    CHECK(failed > 2);
    CHECK(done > 2);
    cuda_on_cpu::memory_limit = before + 20;
    CHECK_THROWS_AS(distances_of(codes, Place::host, Place::host, Place::host), std::bad_alloc);
    cuda_on_cpu::memory_limit = before + (1 << 30);
    CHECK(distances_of(codes, Place::host, Place::host, Place::host) == distances_on_cpu(codes));
    CHECK(cuda_on_cpu::allocated() == before);
}

TEST_CASE("cuda: distances of more codes than a grid has rows") {
    naive::Draw draw(8);
    const Codes codes = random_codes(draw, 65540, 2, 64);
    CHECK(distances_of(codes, Place::host, Place::host, Place::host) == distances_on_cpu(codes));
}

TEST_CASE("cuda: the wrong widths and no k are refused") {
    const std::vector<Word> codes(4, 0);
    const std::vector<float> floats(4, 0);
    Found found(4, 1);
    std::vector<std::uint16_t> distances(8);
    std::vector<std::int32_t> labels(4);
    const View<const Word> one{codes.data(), 4, 1}, two{codes.data(), 2, 2};
    const View<const float> narrow{floats.data(), 4, 1}, wide{floats.data(), 2, 2};
    CHECK_THROWS_AS(cuda::hamming_distances(one, two, distances.data()), std::invalid_argument);
    CHECK_THROWS_AS(cuda::hamming_search(one, two, 1, found.distances.data(), found.ids.data()), std::invalid_argument);
    CHECK_THROWS_AS(cuda::hamming_search(one, one, 0, found.distances.data(), found.ids.data()), std::invalid_argument);
    CHECK_THROWS_AS(cuda::hamming_range(one, two, 3, 1), std::invalid_argument);
    std::vector<float> out(16);
    std::vector<Word> bits(4);
    CHECK_THROWS_AS(cuda::project(narrow, wide, floats.data(), out.data()), std::invalid_argument);
    CHECK_THROWS_AS(cuda::encode(narrow, wide, floats.data(), bits.data()), std::invalid_argument);
    CHECK_THROWS_AS(cuda::assign_clusters(narrow, ClusterKeys(floats, 2, 2), labels.data(), nullptr),
                    std::invalid_argument);
}

// -- ranking

namespace {

struct Labelled {
    Codes codes;
    Labels of_queries, of_gallery;
};

Labelled with_classes(naive::Draw& draw, Codes codes, std::uint64_t n_classes) {
    std::vector<std::int64_t> labels(static_cast<std::size_t>(codes.m + codes.n));
    for (auto& label : labels) label = static_cast<std::int64_t>(draw.below(n_classes)) * 7 - 20;
    labels[0] = 1000;  // nobody else's
    return {codes, Labels::single({labels.data(), static_cast<std::size_t>(codes.m)}),
            Labels::single({labels.data() + codes.m, static_cast<std::size_t>(codes.n)})};
}

Labelled with_tags(naive::Draw& draw, Codes codes, std::int64_t n_tags, std::uint64_t one_of) {
    const std::unique_ptr<bool[]> tags(new bool[static_cast<std::size_t>((codes.m + codes.n) * n_tags)]);
    for (std::int64_t i = 0; i < (codes.m + codes.n) * n_tags; ++i) tags[i] = draw.below(one_of) == 0;
    std::fill_n(tags.get(), n_tags, false);  // nothing is relevant to the first query
    return {codes, Labels::multi({tags.get(), codes.m, n_tags}),
            Labels::multi({tags.get() + codes.m * n_tags, codes.n, n_tags})};
}

RankingAccumulator accumulator(int n_bits) { return {{1, 5, 10, 100, 5000}, {1, 2, 50, 900}, n_bits, false}; }

void rank_on_gpu(RankingAccumulator& sums, const Labelled& all, Place queries, Place gallery,
                 const std::function<void(std::int64_t)>& progress = nullptr) {
    Array<Word> q(all.codes.queries, queries), g(all.codes.gallery, gallery);
    cuda::rank_hamming(sums, {q.data(), all.codes.m, all.codes.words()}, {g.data(), all.codes.n, all.codes.words()},
                       all.of_queries, all.of_gallery, 2, progress);
}

void check_ranking(const Labelled& all, Place queries, Place gallery) {
    CAPTURE(all.codes.m);
    CAPTURE(all.codes.n);
    CAPTURE(all.codes.n_bits);
    auto sums = accumulator(all.codes.n_bits), expected = accumulator(all.codes.n_bits);
    std::vector<std::int64_t> steps = {0};
    const std::size_t before = cuda_on_cpu::allocated();
    for (int round = 0; round < 2; ++round) {  // it adds to what is there
        rank_hamming(expected, all.codes.q(), all.codes.g(), all.of_queries, all.of_gallery, 1);
        rank_on_gpu(sums, all, queries, gallery, [&](std::int64_t done) { steps.push_back(done); });
    }
    CHECK(naive::same_bits(sums.means(), expected.means()));
    CHECK(sums.candidates() == expected.candidates());
    CHECK(steps.back() == all.codes.m);
    CHECK(cuda_on_cpu::allocated() == before);
}

}  // namespace

TEST_CASE("cuda: rank_hamming has the CPU's means") {
    const Settings settings;
    naive::Draw draw(10);
    std::uint64_t number = 0;
    for (const int n_bits : {1, 8, 64, 100, 1024, 1088, 4096})
        for (const std::int64_t n : {1, 33, 1000}) {
            const Codes codes = random_codes(draw, 40, n, n_bits);
            for (const Labelled& all : {with_classes(draw, codes, 6), with_classes(draw, codes, 900),
                                        with_tags(draw, codes, 5, 3), with_tags(draw, codes, 70, 40)}) {
                CAPTURE(number);
                set_order(number++);
                check_ranking(all, kPlaces[number % 2], kPlaces[number / 2 % 2]);
            }
        }
    // More than a block of threads counts, and nothing.
    check_ranking(with_classes(draw, random_codes(draw, 3, 20000, 16), 10), Place::host, Place::host);
    check_ranking(with_classes(draw, random_codes(draw, 3, 0, 16), 10), Place::host, Place::host);
    check_ranking(with_classes(draw, random_codes(draw, 2, 100, 70), 1), Place::host, Place::device);
}

TEST_CASE("cuda: rank_hamming in pieces, and without the memory for it") {
    const Settings settings;
    naive::Draw draw(11);
    const Labelled all = with_classes(draw, random_codes(draw, 90, 5000, 400), 12);  // 273 KB
    cuda_on_cpu::memory_limit = cuda_on_cpu::allocated() + (200 << 10);
    check_ranking(all, Place::host, Place::host);
    cuda_on_cpu::memory_limit = cuda_on_cpu::allocated() + (20 << 10);
    auto sums = accumulator(400);
    CHECK_THROWS_AS(rank_on_gpu(sums, all, Place::host, Place::host), std::bad_alloc);
    CHECK(sums.n_queries() == 0);
    cuda_on_cpu::memory_limit = 1 << 30;
    check_ranking(all, Place::host, Place::host);
}

TEST_CASE("cuda: k-means trained there has the same centroids") {
    const Settings settings;
    naive::Draw draw(21);
    const auto rows = draw.reals(300 * 5);
    for (const bool spherical : {false, true})
        for (const int warm_up : {0, 2}) {
            KMeansOptions options;
            options.n_clusters = 7;
            options.max_iter = 6;
            options.spherical = spherical;
            options.warm_up = warm_up;
            const auto expected = kmeans(naive::view(rows, 300), options);
            options.on_gpu = true;
            const auto found = kmeans(naive::view(rows, 300), options);
            CHECK(naive::same_bits(found.centroids, expected.centroids));
            CHECK(found.labels == expected.labels);
            CHECK(found.inertia == expected.inertia);
        }
}

TEST_CASE("cuda: rank_hamming refuses what the CPU refuses") {
    naive::Draw draw(12);
    Labelled all = with_classes(draw, random_codes(draw, 2, 30, 60), 3);
    const Labelled tags = with_tags(draw, all.codes, 3, 2);
    auto sums = accumulator(60), wider = accumulator(65);
    const auto ranked = [&](RankingAccumulator& into, const Labels& mine, const Labels& theirs) {
        cuda::rank_hamming(into, all.codes.q(), all.codes.g(), mine, theirs, 1);
    };
    CHECK_THROWS_AS(ranked(sums, all.of_gallery, all.of_gallery), std::invalid_argument);
    CHECK_THROWS_AS(ranked(sums, all.of_queries, tags.of_gallery), std::invalid_argument);
    CHECK_THROWS_AS(ranked(wider, all.of_queries, all.of_gallery), std::invalid_argument);
    all.codes.gallery[7] |= Word{1} << 63;
    CHECK_THROWS_AS(ranked(sums, all.of_queries, all.of_gallery), std::invalid_argument);
    CHECK(sums.n_queries() == 0);
    all.codes.gallery[7] = ~Word{0};
    all.codes.queries[0] = 0;
    CHECK_NOTHROW(rank_on_gpu(sums, all, Place::host, Place::device));  // not looked at there, but counted somewhere
}

// -- floats

namespace {

struct Layer {
    std::int64_t n, d, n_bits;
    std::vector<float> x, weights, bias;

    std::size_t words() const { return static_cast<std::size_t>(words_for(static_cast<int>(n_bits))); }
};

void check_layer(const Layer& layer, Place x_at, Place weights_at, Place results_at) {
    CAPTURE(layer.n);
    CAPTURE(layer.d);
    CAPTURE(layer.n_bits);
    const auto rows = static_cast<std::size_t>(layer.n);
    std::vector<float> margins(rows * static_cast<std::size_t>(layer.n_bits));
    std::vector<Word> codes(rows * layer.words(), ~Word{0});
    Array<float> x(layer.x, x_at), weights(layer.weights, weights_at), bias(layer.bias, weights_at);
    Array<float> found_margins(margins, results_at);
    Array<Word> found_codes(codes, results_at);
    project({layer.x.data(), layer.n, layer.d}, naive::view(layer.weights, layer.n_bits), layer.bias.data(),
            margins.data(), 1);
    encode({layer.x.data(), layer.n, layer.d}, naive::view(layer.weights, layer.n_bits), layer.bias.data(),
           codes.data(), 1);
    const View<const float> view{x.data(), layer.n, layer.d}, rows_of_weights{weights.data(), layer.n_bits, layer.d};
    cuda::project(view, rows_of_weights, bias.data(), found_margins.data());
    cuda::encode(view, rows_of_weights, bias.data(), found_codes.data());
    CHECK(naive::same_bits(found_margins.copy(), margins));
    CHECK(found_codes.copy() == codes);
}

}  // namespace

TEST_CASE("cuda: project and encode have the CPU's bits") {
    const Settings settings;
    naive::Draw draw(20);
    std::uint64_t number = 0;
    for (const std::int64_t n : {0, 1, 7, 100})
        for (const std::int64_t d : {1, 15, 16, 17, 100})
            for (const std::int64_t n_bits : {1, 31, 32, 33, 64, 100, 256}) {
                set_order(number++);
                check_layer({n, d, n_bits, draw.reals(n * d), draw.reals(n_bits * d), draw.reals(n_bits)},
                            kPlaces[number % 2], kPlaces[number / 2 % 2], kPlaces[number / 4 % 2]);
            }
}

TEST_CASE("cuda: margins of zero, and the largest there are") {
    const Settings settings;
    naive::Draw draw(21);
    Layer zeros{9, 20, 40, draw.steps(9 * 20, 1), draw.steps(40 * 20, 1), draw.steps(40, 1)};
    check_layer(zeros, Place::host, Place::host, Place::host);
    for (float& value : zeros.x) value *= -0.0f;
    for (std::size_t i = 0; i < zeros.bias.size(); i += 2) zeros.bias[i] = -0.0f;
    check_layer(zeros, Place::device, Place::host, Place::device);
    Layer extreme{5, 100, 33, draw.reals(500), draw.reals(3300), draw.reals(33)};
    for (std::size_t i = 0; i < 500; i += 3) extreme.x[i] = i % 2 == 0 ? kMaxMagnitude : 1e-40f;
    for (float& value : extreme.weights) value *= 1e13f;
    check_layer(extreme, Place::host, Place::device, Place::host);
}

TEST_CASE("cuda: more rows than there is memory for come in pieces") {
    const Settings settings;
    naive::Draw draw(22);
    const Layer layer{900, 50, 70, draw.reals(900 * 50), draw.reals(70 * 50), draw.reals(70)};  // 180 KB of rows
    const std::size_t before = cuda_on_cpu::allocated();
    cuda_on_cpu::memory_limit = before + 100000;
    check_layer(layer, Place::host, Place::host, Place::host);
    cuda_on_cpu::memory_limit = before + 5000;
    CHECK_THROWS_AS(check_layer(layer, Place::host, Place::host, Place::host), std::bad_alloc);
    CHECK(cuda_on_cpu::allocated() == before);
}

TEST_CASE("cuda: a resident copy is on the device and is used as it is") {
    const Settings settings;
    naive::Draw draw(23);
    const auto rows = draw.reals(60);
    const std::size_t before = cuda_on_cpu::allocated();
    {
        const cuda::Resident copy(naive::view(rows, 12)), same(copy.view());
        CHECK(copy.view().data != rows.data());
        CHECK(copy.view().rows == 12);
        CHECK(copy.view().cols == 5);
        CHECK(same.view().data == copy.view().data);
        CHECK(cuda_on_cpu::allocated() == before + 240);
        const auto again = copy;
        std::vector<float> back(60);
        cudaMemcpy(back.data(), again.view().data, 240, cudaMemcpyDefault);
        CHECK(naive::same_bits(back, rows));
    }
    CHECK(cuda_on_cpu::allocated() == before);
}

namespace {

void check_clusters(const std::vector<float>& x, std::int64_t n, const std::vector<float>& centroids, std::int64_t d,
                    Place x_at, Place results_at) {
    const std::int64_t k = static_cast<std::int64_t>(centroids.size()) / d;
    CAPTURE(n);
    CAPTURE(d);
    CAPTURE(k);
    std::vector<std::int32_t> labels(static_cast<std::size_t>(n), -1);
    std::vector<float> distances(labels.size(), -1);
    Array<float> rows(x, x_at), found_distances(distances, results_at);
    Array<std::int32_t> found_labels(labels, results_at), only_labels(labels, results_at);
    assign_clusters({x.data(), n, d}, naive::view(centroids, k), labels.data(), distances.data(), 1);
    const ClusterKeys keys(centroids, k, d);
    cuda::assign_clusters({rows.data(), n, d}, keys, found_labels.data(), found_distances.data());
    cuda::assign_clusters({rows.data(), n, d}, keys, only_labels.data(), nullptr);
    CHECK(found_labels.copy() == labels);
    CHECK(only_labels.copy() == labels);
    CHECK(naive::same_bits(found_distances.copy(), distances));
}

}  // namespace

TEST_CASE("cuda: assign_clusters has the CPU's labels and distances, the lowest number among equals") {
    const Settings settings;
    naive::Draw draw(24);
    std::uint64_t number = 0;
    for (const std::int64_t n : {0, 1, 9, 300})
        for (const std::int64_t d : {1, 16, 17, 40})
            for (const std::int64_t k : {1, 31, 32, 33, 100}) {
                set_order(number++);
                const Place x_at = kPlaces[number % 2], results_at = kPlaces[number / 2 % 2];
                check_clusters(draw.reals(n * d), n, draw.reals(k * d), d, x_at, results_at);
                check_clusters(draw.steps(n * d, 1), n, draw.steps(k * d, 1), d, x_at, results_at);
            }
    const std::vector<float> same(70 * 3, 2.5f), far = draw.steps(50 * 3, 2);
    check_clusters(far, 50, same, 3, Place::host, Place::host);
    std::vector<float> shifted = far;
    for (float& value : shifted) value += 1e6f;
    check_clusters(shifted, 50, {shifted.begin() + 6, shifted.end()}, 3, Place::host, Place::host);

    const std::size_t before = cuda_on_cpu::allocated();
    const auto rows = draw.reals(2000 * 20), centroids = draw.reals(50 * 20);
    cuda_on_cpu::memory_limit = before + 60000;
    check_clusters(rows, 2000, centroids, 20, Place::host, Place::host);
    cuda_on_cpu::memory_limit = before + 6000;
    CHECK_THROWS_AS(check_clusters(rows, 2000, centroids, 20, Place::host, Place::host), std::bad_alloc);
    CHECK(cuda_on_cpu::allocated() == before);
}

// -- the device

TEST_CASE("cuda: the device, and a stream for each thread") {
    CHECK(cuda::available());
    CHECK(cuda::device() == "CPU, compute capability 9.0, 1.0 GiB");
    std::uintptr_t other = 0;
    std::thread([&] { other = cuda::stream(); }).join();
    CHECK(cuda::stream() != 0);
    CHECK(cuda::stream() == cuda::stream());
    CHECK(other != 0);
}

TEST_CASE("cuda: several threads at once") {
    naive::Draw draw(30);
    const Codes codes = random_codes(draw, 5, 700, 100);
    const Found expected = search_on_cpu(codes, 20);
    std::vector<Found> found(4, Found(5, 20));
    std::vector<std::thread> threads;
    for (Found& mine : found)
        threads.emplace_back([&] {
            for (int round = 0; round < 5; ++round)
                cuda::hamming_search(codes.q(), codes.g(), 20, mine.distances.data(), mine.ids.data());
        });
    for (auto& thread : threads) thread.join();
    for (const Found& mine : found) {
        const bool equal = mine == expected;
        CHECK(equal);
    }
}

TEST_CASE("cuda: a process that was forked from one that used the device is told so") {
    CHECK(cuda::stream() != 0);
    const pid_t child = fork();
    if (child == 0) {
        try {
            cuda::stream();
        } catch (const std::runtime_error& error) {
            _exit(std::string(error.what()).find("forked") != std::string::npos ? 0 : 1);
        }
        _exit(2);
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("cuda: without a device nothing is available and everything says so") {
    const Settings settings;
    const std::vector<Word> codes(4, 0);
    const std::vector<float> floats(4, 0);
    const std::vector<std::int64_t> classes(4, 0);
    const Labels labels = Labels::single(classes);
    Found found(4, 1);
    std::vector<std::uint16_t> distances(16);
    std::vector<float> out(16);
    std::vector<std::int32_t> numbers(4);
    std::vector<Word> bits(4);
    auto sums = accumulator(64);
    const View<const Word> c{codes.data(), 4, 1};
    const View<const float> x{floats.data(), 4, 1};
    cuda_on_cpu::devices = 0;
    CHECK_FALSE(cuda::available());
    CHECK_THROWS_AS(cuda::device(), std::runtime_error);
    CHECK_THROWS_AS(cuda::stream(), std::runtime_error);
    CHECK_THROWS_AS(cuda::project(x, x, floats.data(), out.data()), std::runtime_error);
    CHECK_THROWS_AS(cuda::encode(x, x, floats.data(), bits.data()), std::runtime_error);
    CHECK_THROWS_AS(cuda::hamming_distances(c, c, distances.data()), std::runtime_error);
    CHECK_THROWS_AS(cuda::hamming_search(c, c, 1, found.distances.data(), found.ids.data()), std::runtime_error);
    CHECK_THROWS_AS(cuda::hamming_range(c, c, 1, 1), std::runtime_error);
    CHECK_THROWS_AS(cuda::hamming_range({codes.data(), 0, 1}, c, 1, 1), std::runtime_error);
    CHECK_THROWS_AS(cuda::rank_hamming(sums, c, c, labels, labels, 1), std::runtime_error);
    CHECK_THROWS_AS(cuda::assign_clusters(x, ClusterKeys(floats, 4, 1), numbers.data(), nullptr), std::runtime_error);
    CHECK_THROWS_AS(cuda::Resident{x}, std::runtime_error);
    CHECK(sums.n_queries() == 0);
    cuda_on_cpu::devices = 1;
    CHECK(cuda::available());
    cuda::hamming_distances(c, c, distances.data());
    CHECK(distances == std::vector<std::uint16_t>(16, 0));
}
