#include <cstdlib>

#include "lshcore/error.h"
#include "sets.h"

namespace lshcore {
namespace {

struct Entry {
    const Kernels* set;
    bool (*supported)();
};

#ifdef LSHCORE_X86
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("popcnt");
}
#endif

// Best first. The compiler's cpu_supports asks CPUID and, for the wide registers, whether the OS saves them.
constexpr Entry kSets[] = {
#ifdef LSHCORE_X86
    {&kAvx512Kernels, [] { return has_avx512() && __builtin_cpu_supports("avx512vpopcntdq"); }},
    {&kAvx512bwKernels, has_avx512},
    {&kAvx2Kernels,
     [] {
         return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c") && __builtin_cpu_supports("popcnt");
     }},
#endif
#ifdef LSHCORE_ARM64
    {&kNeonKernels, [] { return true; }},  // part of the architecture
#endif
    {&kScalarKernels, [] { return true; }},
};

const Kernels& choose() {
    const char* forced = std::getenv("LSHCORE_KERNELS");
    if (forced == nullptr || *forced == '\0') {
        for (const Entry& entry : kSets)
            if (entry.supported()) return *entry.set;
    }
    std::string names;
    for (const Entry& entry : kSets) {
        if (!entry.supported()) continue;
        if (std::string(entry.set->name) == forced) return *entry.set;
        names += (names.empty() ? "" : ", ") + std::string(entry.set->name);
    }
    throw std::invalid_argument("LSHCORE_KERNELS: expected one of " + names +
                                " (the sets that run on this CPU), got '" + forced + "'");
}

}  // namespace

const Kernels& kernels() {
    static const Kernels& chosen = choose();
    return chosen;
}

std::vector<std::string> kernel_sets() {
    std::vector<std::string> names;
    for (const Entry& entry : kSets)
        if (entry.supported()) names.emplace_back(entry.set->name);
    return names;
}

}  // namespace lshcore
