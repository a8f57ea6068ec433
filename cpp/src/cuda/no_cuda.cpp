// The build without CUDA: the same symbols, nothing looked for at run time.

#include <stdexcept>

#include "lshcore/cuda.h"

namespace lshcore::cuda {
namespace {

[[noreturn]] void refuse() {
    throw std::runtime_error(
        "this build of lshcore has no CUDA kernels, build with `pip install . -C cmake.define.LSHCORE_CUDA=ON`");
}

}  // namespace

bool available() { return false; }

std::string device() { refuse(); }

std::uintptr_t stream() { refuse(); }

void project(View<const float>, View<const float>, const float*, float*) { refuse(); }

void encode(View<const float>, View<const float>, const float*, Word*) { refuse(); }

void hamming_distances(View<const Word>, View<const Word>, std::uint16_t*) { refuse(); }

void hamming_search(View<const Word>, View<const Word>, std::int64_t, std::uint16_t*, Id*) { refuse(); }

RangeHits hamming_range(View<const Word>, View<const Word>, int, int) { refuse(); }

void rank_hamming(RankingAccumulator&, View<const Word>, View<const Word>, const Labels&, const Labels&, int,
                  const std::function<void(std::int64_t)>&) {
    refuse();
}

void assign_clusters(View<const float>, const ClusterKeys&, std::int32_t*, float*) { refuse(); }

Nearest rank_candidates(const LiveSegment&, const Queries&, std::int64_t, const Buckets&, Rank, std::int64_t) {
    refuse();
}

Resident::Resident(View<const float>) { refuse(); }

}  // namespace lshcore::cuda
