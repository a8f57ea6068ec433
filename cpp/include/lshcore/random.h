#pragma once
// A seeded generator whose stream is the same with every compiler and standard library, Gaussian included.

#include <cstdint>

namespace lshcore {

/// xoshiro256++ (Blackman & Vigna, 2019), seeded through splitmix64.
class Random {
   public:
    explicit Random(std::uint64_t seed);

    std::uint64_t next();
    double uniform();                      ///< in [0, 1), 53 bits
    std::uint64_t below(std::uint64_t n);  ///< in [0, n), unbiased; n > 0
    double gaussian();                     ///< N(0, 1), polar method, with our own logarithm

   private:
    std::uint64_t state_[4];
    double spare_ = 0;
    bool has_spare_ = false;
};

}  // namespace lshcore
