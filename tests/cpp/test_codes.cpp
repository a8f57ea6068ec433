#include <doctest/doctest.h>

#include <limits>
#include <memory>
#include <stdexcept>

#include "lshcore/codes.h"
#include "naive.h"

using namespace lshcore;

TEST_CASE("codes: n_bits is 1 to 4096") {
    for (const int n_bits : {-1, 0, 4097, std::numeric_limits<int>::max()})
        CHECK_THROWS_AS(check_n_bits(n_bits), std::invalid_argument);
    for (const int n_bits : {1, 64, 4096}) CHECK_NOTHROW(check_n_bits(n_bits));
}

TEST_CASE("codes: bools pack into bit j % 64 of word j / 64 and come back") {
    naive::Draw draw(1);
    for (const int n_bits : {1, 2, 7, 8, 31, 63, 64, 65, 100, 127, 128, 129, 784, 4095, 4096})
        for (const std::int64_t rows : {0, 1, 5}) {
            CAPTURE(n_bits);
            CAPTURE(rows);
            const int words = words_for(n_bits);
            const auto size = static_cast<std::size_t>(rows * n_bits);
            const std::unique_ptr<bool[]> bits(new bool[size]), back(new bool[size]);
            for (std::size_t i = 0; i < size; ++i) bits[i] = draw.below(2) == 1;
            std::vector<Word> packed(static_cast<std::size_t>(rows * words), ~Word{0});
            pack_bools({bits.get(), rows, n_bits}, packed.data());

            std::vector<Word> expected(packed.size(), 0);
            for (std::int64_t i = 0; i < rows; ++i)
                for (int j = 0; j < n_bits; ++j)
                    expected[static_cast<std::size_t>(i * words + j / 64)] |=
                        Word{bits[static_cast<std::size_t>(i * n_bits + j)]} << (j % 64);
            CHECK(packed == expected);
            if (rows > 0) CHECK_NOTHROW(check_padding(naive::view(packed, rows), n_bits));
            unpack_bools({packed.data(), rows, words}, n_bits, back.get());
            CHECK(std::equal(bits.get(), bits.get() + size, back.get()));
        }
}

TEST_CASE("codes: signs pack row by row, and zero is positive") {
    naive::Draw draw(2);
    for (const int n_bits : {1, 15, 16, 17, 63, 64, 65, 130, 784}) {
        CAPTURE(n_bits);
        constexpr std::int64_t kRows = 5;
        const int words = words_for(n_bits);
        auto margins = draw.reals(kRows * n_bits);
        margins[0] = -0.0f;
        margins[margins.size() - 1] = 0.0f;
        std::vector<Word> packed(static_cast<std::size_t>(kRows * words), ~Word{0}), expected(packed.size(), 0);
        pack_signs(naive::view(margins, kRows), packed.data());
        for (std::int64_t i = 0; i < kRows; ++i)
            for (int j = 0; j < n_bits; ++j)
                expected[static_cast<std::size_t>(i * words + j / 64)] |=
                    Word{margins[static_cast<std::size_t>(i * n_bits + j)] >= 0} << (j % 64);
        CHECK(packed == expected);
    }
}

TEST_CASE("codes: a set padding bit is found in any row") {
    for (const int n_bits : {1, 63, 65, 100, 4095}) {
        CAPTURE(n_bits);
        constexpr std::int64_t kRows = 3;
        const int words = words_for(n_bits);
        for (std::int64_t row = 0; row < kRows; ++row)
            for (const int bad : {n_bits % 64, 63}) {
                std::vector<Word> codes(static_cast<std::size_t>(kRows * words), 0);
                Word& last = codes[static_cast<std::size_t>(row * words + words - 1)];
                last = (Word{1} << (n_bits % 64)) - 1;  // every bit that may be set
                CHECK_NOTHROW(check_padding(naive::view(codes, kRows), n_bits));
                last |= Word{1} << bad;
                const std::string where = "row " + std::to_string(row) + " ";
                CHECK_THROWS_WITH_AS(check_padding(naive::view(codes, kRows), n_bits), doctest::Contains(where.c_str()),
                                     std::invalid_argument);
            }
    }
    const std::vector<Word> full(4, ~Word{0});
    CHECK_NOTHROW(check_padding(naive::view(full, 2), 128));
    CHECK_THROWS_AS(check_padding(naive::view(full, 2), 64), std::invalid_argument);  // two words a code, not one
    CHECK_THROWS_AS(check_padding(naive::view(full, 2), 129), std::invalid_argument);
    CHECK_THROWS_AS(check_padding(naive::view(full, 2), 0), std::invalid_argument);
}
