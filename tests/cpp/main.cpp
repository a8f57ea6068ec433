#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <new>
#include <stdexcept>
#include <string>

#include "lshcore/kernels.h"
#include "naive.h"

// Every allocation of this program passes here, so that a test can make the n-th one fail. (Not inlined: GCC would
// take the free() for that of another function.)
[[gnu::noinline]] void* operator new(std::size_t n) {
    if (naive::allocations_left == 0) throw std::bad_alloc();
    if (naive::allocations_left > 0) --naive::allocations_left;
    if (void* p = std::malloc(n > 0 ? n : 1)) return p;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
    try {
        return operator new(n);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

int main(int argc, char** argv) {
    constexpr int kSkipped = 77;
    const std::string known[] = {"scalar", "avx2", "avx512bw", "avx512", "neon"};
    const char* env = std::getenv("LSHCORE_KERNELS");
    const std::string forced = env == nullptr ? "" : env;
    const auto here = lshcore::kernel_sets();
    if (std::find(std::begin(known), std::end(known), forced) != std::end(known) &&
        std::find(here.begin(), here.end(), forced) == here.end()) {
        std::printf("skipped: this CPU does not have the kernel set '%s'\n", forced.c_str());
        return kSkipped;
    }
    try {
        lshcore::kernels();
    } catch (const std::invalid_argument& error) {
        std::fprintf(stderr, "cannot start: %s\n", error.what());
        return EXIT_FAILURE;
    }
    return doctest::Context(argc, argv).run();
}
