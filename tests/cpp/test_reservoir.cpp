#include "lshcore/reservoir.h"

#include <doctest/doctest.h>

#include <utility>

#include "naive.h"

using lshcore::Reservoir;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using Kept = std::pair<float, std::uint32_t>;

std::vector<Kept> pairs(std::span<const Reservoir::Key> keys) {
    std::vector<Kept> all;
    for (const auto key : keys) all.push_back({key.value(), key.number()});
    return all;
}

/// No zeros: what is first of 0 and -0 is nobody's business.
std::vector<float> some_values(naive::Draw& draw, std::size_t n, int kind) {
    std::vector<float> values(n);
    for (float& value : values) {
        value = kind == 0 ? draw.real() : static_cast<float>(draw.below(5)) - 2.5f;
        if (kind == 2 && draw.below(3) == 0) value = kInfinity;
        if (kind == 2 && draw.below(6) == 0) value = kNan;
        if (kind == 2 && draw.below(20) == 0) value = -kInfinity;
        if (value == 0) value = 1;
    }
    if (kind == 3) std::sort(values.begin(), values.end());  // only ever worse
    if (kind == 4) std::sort(values.rbegin(), values.rend());
    return values;
}

}  // namespace

TEST_CASE("reservoir: it keeps what sorting and cutting would, for any stream in any pieces") {
    naive::Draw draw(1);
    Reservoir reservoir;
    for (int round = 0; round < 400; ++round) {
        const auto n = static_cast<std::int64_t>(1 + draw.below(round % 3 == 0 ? 5 : 300));
        const auto values = some_values(draw, draw.below(round % 2 == 0 ? 40 : 3000), round % 5);
        const bool refuses = round % 4 == 1;
        CAPTURE(round);
        CAPTURE(n);
        CAPTURE(values.size());
        reservoir.reset(n);
        std::vector<std::size_t> places;  // in the stream, of those that were taken
        for (std::size_t first = 0; first < values.size();) {
            const auto piece = std::min(values.size() - first, static_cast<std::size_t>(draw.below(400)));
            reservoir.add(values.data() + first, static_cast<std::int64_t>(piece), [&](std::int64_t i) {
                const auto place = first + static_cast<std::size_t>(i);
                if (refuses && place % 3 == 0) return std::int64_t{-1};
                places.push_back(place);
                return static_cast<std::int64_t>(places.size()) - 1;
            });
            first += piece;
            if (draw.below(4) == 0) CHECK(reservoir.least().size() <= static_cast<std::size_t>(n));
        }
        std::vector<std::pair<float, std::size_t>> order;
        for (std::size_t i = 0; i < values.size(); ++i)
            if (!std::isnan(values[i]) && !(refuses && i % 3 == 0)) order.push_back({values[i], i});
        std::sort(order.begin(), order.end());
        order.resize(std::min(order.size(), static_cast<std::size_t>(n)));
        auto least = pairs(reservoir.least());
        const auto kept = pairs(reservoir.sorted());
        std::sort(least.begin(), least.end());
        CHECK(least == kept);
        REQUIRE(kept.size() == order.size());
        bool right = true;
        for (std::size_t i = 0; i < kept.size(); ++i)
            right &= kept[i].first == order[i].first && places[kept[i].second] == order[i].second;
        CHECK(right);
    }
}

TEST_CASE("reservoir: of equals the first are kept, and everything where there is room") {
    naive::Draw draw(2);
    Reservoir reservoir;
    for (const std::int64_t n : {1, 2, 63, 128, 129, 500, 5000})
        for (const std::size_t size : {1, 127, 128, 129, 1000, 4000}) {
            CAPTURE(n);
            CAPTURE(size);
            // Every value is under its place: what is kept is known to the last one.
            for (int kind = 0; kind < 5; ++kind) {
                const auto values = some_values(draw, size, kind);
                std::vector<Kept> expected;
                for (std::size_t i = 0; i < size; ++i)
                    if (!std::isnan(values[i])) expected.push_back({values[i], static_cast<std::uint32_t>(i)});
                std::sort(expected.begin(), expected.end());
                expected.resize(std::min(expected.size(), static_cast<std::size_t>(n)));
                reservoir.reset(n);
                for (std::size_t first = 0; first < size; first += 100)
                    reservoir.add(values.data() + first,
                                  static_cast<std::int64_t>(std::min<std::size_t>(100, size - first)),
                                  [&](std::int64_t i) { return static_cast<std::int64_t>(first) + i; });
                CHECK(pairs(reservoir.sorted()) == expected);
            }
        }
    reservoir.reset(7);
    CHECK(reservoir.sorted().empty());
    const float worse[] = {kNan, -kNan, kInfinity};
    reservoir.add(worse, 3, [](std::int64_t i) { return i; });
    CHECK(pairs(reservoir.sorted()) == std::vector<Kept>{{kInfinity, 2}});
    reservoir.add(worse, 3, [](std::int64_t) { return std::int64_t{-1}; });
    CHECK(reservoir.sorted().size() == 1);
}

TEST_CASE("reservoir: far fewer are asked for than come by") {
    naive::Draw draw(3);
    const auto values = draw.reals(100000);
    Reservoir reservoir;
    reservoir.reset(50);
    std::int64_t asked = 0;
    reservoir.add(values.data(), 100000, [&](std::int64_t) { return asked++; });
    CHECK(asked < 5000);
    CHECK(reservoir.sorted().size() == 50);
}

TEST_CASE("reservoir: keys are ordered as their values") {
    const float values[] = {-kInfinity, -3e38f, -1.5f, -1e-40f, 0.0f, 1e-40f, 0.25f, 1.5f, 3e38f, kInfinity};
    for (const float a : values)
        for (const float b : values) {
            CHECK((Reservoir::Key(a, 7) < Reservoir::Key(b, 7)) == (a < b));
            CHECK(Reservoir::Key(a, 7) < Reservoir::Key(a, 8));
            CHECK(Reservoir::Key(a, 0xffffffffu).value() == a);
            CHECK(Reservoir::Key(a, 0xfffffffeu).number() == 0xfffffffeu);
        }
}
