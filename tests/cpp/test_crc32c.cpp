#include "lshcore/crc32c.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>

#include "lshcore/blocks.h"
#include "lshcore/buffer.h"
#include "lshcore/error.h"
#include "naive.h"

using namespace lshcore;

namespace {

/// Bit by bit, from the polynomial.
std::uint32_t bitwise(const std::uint8_t* p, std::size_t n) {
    std::uint32_t crc = ~0u;
    for (std::size_t i = 0; i < n; ++i) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0u);
    }
    return ~crc;
}

std::vector<std::uint8_t> bytes(std::uint64_t seed, std::size_t n) {
    naive::Draw draw(seed);
    std::vector<std::uint8_t> data(n);
    for (auto& byte : data) byte = static_cast<std::uint8_t>(draw.below(256));
    return data;
}

}  // namespace

TEST_CASE("crc32c: the check value, and those of RFC 3720") {
    const std::string digits = "123456789";
    std::vector<std::uint8_t> zeros(32, 0), ones(32, 0xff), rising(32);
    for (std::size_t i = 0; i < rising.size(); ++i) rising[i] = static_cast<std::uint8_t>(i);
    for (const auto crc : {crc32c, crc32c_portable}) {
        CHECK(crc(digits.data(), 9, 0) == 0xE3069283u);
        CHECK(crc(zeros.data(), 32, 0) == 0x8A9136AAu);
        CHECK(crc(ones.data(), 32, 0) == 0x62A8AB43u);
        CHECK(crc(rising.data(), 32, 0) == 0x46DD794Eu);
        CHECK(crc(nullptr, 0, 0) == 0u);
    }
}

TEST_CASE("crc32c: every length and alignment as bit by bit, in one piece or several") {
    const auto data = bytes(1, 40000);
    for (std::size_t at = 0; at < 9; ++at)
        for (std::size_t n = 0; n < 300; ++n) {
            const auto expected = bitwise(data.data() + at, n);
            CHECK(crc32c(data.data() + at, n) == expected);
            CHECK(crc32c_portable(data.data() + at, n) == expected);
        }
    for (const std::size_t n : {4095, 12287, 12288, 12289, 12295, 24576, 24583, 36864, 39000}) {
        const auto expected = bitwise(data.data() + 3, n);
        CHECK(crc32c(data.data() + 3, n) == expected);
        CHECK(crc32c_portable(data.data() + 3, n) == expected);
        for (const std::size_t cut : {std::size_t{0}, std::size_t{1}, n / 3, n - 1, n}) {
            const auto first = crc32c(data.data() + 3, cut);
            CHECK(crc32c(data.data() + 3 + cut, n - cut, first) == expected);
            CHECK(crc32c_combine(first, crc32c(data.data() + 3 + cut, n - cut), n - cut) == expected);
        }
    }
}

TEST_CASE("crc32c: blocks and threads change nothing") {
    const auto data = bytes(2, (5u << 20) / 2 + 77);
    for (const int n_jobs : {1, 2, 5}) {
        CHECK(crc32c_parallel(data.data(), data.size(), n_jobs) == crc32c(data.data(), data.size()));
        for (const std::size_t block : {std::size_t{1000}, std::size_t{1} << 20, data.size(), data.size() + 1}) {
            const auto crcs = block_crcs(data.data(), data.size(), block, n_jobs);
            REQUIRE(crcs.size() == (data.size() + block - 1) / block);
            for (std::size_t b = 0; b < crcs.size(); ++b)
                CHECK(crcs[b] == crc32c(data.data() + b * block, std::min(block, data.size() - b * block)));
        }
    }
    CHECK(block_crcs(data.data(), 0, 8, 1).empty());
    CHECK_THROWS_AS(block_crcs(data.data(), 8, 0, 1), std::invalid_argument);
}

TEST_CASE("blocks: damage is found where it is read, and named") {
    auto data = bytes(3, 1000);
    const auto crcs = block_crcs(data.data(), data.size(), 64, 1);
    REQUIRE(crcs.size() == 16);
    data[130] ^= 4;  // in block 2
    const auto make = [&] { return Blocks(data.data(), data.size(), crcs, 64, nullptr, "some.file"); };
    const auto good = make();
    good.check("codes", data.data() + 192, 808, 2);
    good.touch("codes", data.data() + 192, 1);
    good.check("codes", data.data() + 100, 28, 1);
    good.check("codes", data.data() + 129, 0, 1);
    const char* expected = "some.file: array 'codes' is damaged: block 2 (bytes 128 to 192): expected CRC-32C 0x";
    for (int again = 0; again < 2; ++again) {
        CHECK_THROWS_WITH_AS(good.touch("codes", data.data() + 100, 29), doctest::Contains(expected), DamagedError);
        CHECK_THROWS_WITH_AS(good.check("codes", data.data(), 1000, 3), doctest::Contains(expected), DamagedError);
    }
    data[130] ^= 4;
    good.check("codes", data.data(), 1000, 3);
    data[130] ^= 4;
    good.check("codes", data.data(), 1000, 3);  // known already
    CHECK(good.holds(data.data(), 1000));
    CHECK(good.holds(data.data() + 1000, 0));
    CHECK(!good.holds(data.data(), 1001));
    CHECK(!good.holds(data.data() + 990, 11));
    CHECK(!good.holds(data.data() + 990, ~std::size_t{0}));
    CHECK(!good.holds(&expected, 1));
    CHECK_THROWS_WITH_AS(Blocks(data.data(), 1025, crcs, 64, nullptr, "some.file"),
                         doctest::Contains("17 checksums for 1025"), std::invalid_argument);
    CHECK_THROWS_AS(Blocks(data.data(), 1000, crcs, 0, nullptr, "some.file"), std::invalid_argument);
}

TEST_CASE("buffer: its own values or somebody else's, alive as long as a copy is") {
    const Buffer<int> none;
    CHECK(none.empty());
    CHECK(none.begin() == none.end());
    std::vector<int> values{3, 1, 2};
    const int* const where = values.data();
    Buffer<int> own(std::move(values));
    CHECK(own.data() == where);  // moved, not copied
    const Buffer<int> copy = own;
    own = {};
    CHECK(std::vector<int>(copy.begin(), copy.end()) == std::vector<int>{3, 1, 2});
    CHECK(copy.nbytes() == 3 * sizeof(int));

    auto owner = std::make_shared<const std::vector<int>>(std::vector<int>{7, 8, 9});
    const std::weak_ptr<const std::vector<int>> watch = owner;
    {
        const Buffer<int> borrowed(owner->data() + 1, 2, owner);
        owner.reset();
        CHECK(!watch.expired());
        CHECK(borrowed.data() == watch.lock()->data() + 1);
        CHECK(borrowed[1] == 9);
    }
    CHECK(watch.expired());
}
