// The loops over residual codes that are the same in every set: included in an anonymous namespace by each kernel file
// after float_tile.h. Needs Lanes::butterfly<L>(): of each pair of lanes i and i + L, i & L == 0, the sum and the difference.

/// x = the Hadamard transform, unscaled, of x * signs; n is a power of two from 64 on.
void hadamard(float* x, const float* signs, std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += 16)
        Lanes::mul(Lanes::load(x + i), Lanes::load(signs + i))
            .template butterfly<1>()
            .template butterfly<2>()
            .template butterfly<4>()
            .template butterfly<8>()
            .store(x + i);
    std::int64_t half = 16;
    for (; 4 * half <= n; half *= 4)  // two passes at once
        for (std::int64_t i = 0; i < n; i += 4 * half)
            for (std::int64_t j = i; j < i + half; j += 16) {
                const Lanes a = Lanes::load(x + j), b = Lanes::load(x + j + half), c = Lanes::load(x + j + 2 * half),
                            d = Lanes::load(x + j + 3 * half);
                const Lanes ab = Lanes::add(a, b), cd = Lanes::add(c, d), a_b = Lanes::sub(a, b),
                            c_d = Lanes::sub(c, d);
                Lanes::add(ab, cd).store(x + j);
                Lanes::add(a_b, c_d).store(x + j + half);
                Lanes::sub(ab, cd).store(x + j + 2 * half);
                Lanes::sub(a_b, c_d).store(x + j + 3 * half);
            }
    for (; 2 * half <= n; half *= 2)
        for (std::int64_t j = 0; j < half; j += 16) {
            const Lanes a = Lanes::load(x + j), b = Lanes::load(x + j + half);
            Lanes::add(a, b).store(x + j);
            Lanes::sub(a, b).store(x + j + half);
        }
}

/// Entry p of table m is 2 * inverse times what the signs p of the m-th four of x add to the least sum, rounded.
void residual_tables(const float* x, std::int64_t n, float inverse, std::uint8_t* out) {
    for (std::int64_t j = 0; j < n; j += 4, out += 16) {
        float down[4], up[4];
        for (int b = 0; b < 4; ++b) {
            const float twice = 2 * x[j + b];
            up[b] = twice > 0 ? twice : 0.0f;
            down[b] = twice > 0 ? 0.0f : -twice;
        }
        const float low[] = {down[0] + down[1], up[0] + down[1], down[0] + up[1], up[0] + up[1]};
        const float high[] = {down[2] + down[3], up[2] + down[3], down[2] + up[3], up[2] + up[3]};
        for (int p = 0; p < 16; ++p)
            // Adding 1.5 * 2^23 leaves the nearest whole number in the low bits.
            out[p] = static_cast<std::uint8_t>(
                std::bit_cast<std::uint32_t>((low[p & 3] + high[p >> 2]) * inverse + 12582912.0f));
    }
}

/// By `block_sums(tables, n_tables, codes, sums)`, the sums of a whole block.
template <class BlockSums>
inline void residual_estimates_by(BlockSums block_sums, const std::uint8_t* tables, std::int64_t n_tables,
                                  const std::uint8_t* codes, std::int64_t n, float step, float low, float base,
                                  const float* offsets, const float* scales, float* out) {
    for (std::int64_t i = 0; i < n; i += 32, codes += 16 * n_tables) {
        std::uint16_t sums[32];
        block_sums(tables, n_tables, codes, sums);
        for (std::int64_t j = i; j < n && j < i + 32; ++j)
            out[j] = (base + offsets[j]) - scales[j] * (step * static_cast<float>(sums[j - i]) + low);
    }
}

inline std::int64_t split_keys_plainly(const std::uint64_t* keys, std::int64_t n, std::uint64_t pivot,
                                       std::uint64_t* low, std::uint64_t* high) {
    std::uint64_t* end = low;
    for (std::int64_t i = 0; i < n; ++i) {
        const std::uint64_t key = keys[i];
        const bool is_low = key <= pivot;
        *end = *high = key;
        end += is_low;
        high += !is_low;
    }
    return end - low;
}

/// Indices of the values up to a limit.
inline std::int64_t collect_up_to_plainly(const float* values, std::int64_t n, float limit, std::uint32_t* hits) {
    std::uint32_t* end = hits;
    for (std::int64_t i = 0; i < n; ++i) {
        *end = static_cast<std::uint32_t>(i);
        end += values[i] <= limit;
    }
    return end - hits;
}
