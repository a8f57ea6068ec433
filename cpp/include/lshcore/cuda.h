#pragma once
// What the GPU does, with the CPU's results to the last bit. Arguments and results may be in host memory or on the device,
// each where it is; galleries larger than its memory go through it in pieces. Every call works on the stream of its thread and
// has finished when it returns. Without a device all but available() throw std::runtime_error; where its memory does not
// suffice, std::bad_alloc, and nothing is changed. CMake links the .cu files or no_cuda.cpp.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lshcore/hamming.h"
#include "lshcore/types.h"

namespace lshcore {
enum class Rank;
struct LiveSegment;
struct Queries;
class ClusterKeys;
class Labels;
class RankingAccumulator;
}  // namespace lshcore

namespace lshcore::cuda {

/// True if this build has CUDA kernels and the machine a device to run them.
bool available();

/// The device in one line: its name, compute capability and memory.
std::string device();

/// The stream of this thread, for those who have to wait for what writes the arguments.
std::uintptr_t stream();

/// lshcore::project and lshcore::encode.
void project(View<const float> x, View<const float> weights, const float* bias, float* out);
void encode(View<const float> x, View<const float> weights, const float* bias, Word* out);

/// lshcore::hamming_distances, hamming_search and hamming_range over a gallery of fewer than 2^32 codes.
void hamming_distances(View<const Word> a, View<const Word> b, std::uint16_t* out);
void hamming_search(View<const Word> queries, View<const Word> gallery, std::int64_t k, std::uint16_t* distances,
                    Id* ids);
RangeHits hamming_range(View<const Word> queries, View<const Word> gallery, int radius, int n_jobs);

/// lshcore::rank_hamming for an accumulator of tied distances.
void rank_hamming(RankingAccumulator& accumulator, View<const Word> queries, View<const Word> gallery,
                  const Labels& query_labels, const Labels& gallery_labels, int n_jobs,
                  const std::function<void(std::int64_t)>& progress = nullptr);

/// The nearest cluster of each row and, unless null, its squared distance, as lshcore::assign_clusters.
void assign_clusters(View<const float> x, const ClusterKeys& clusters, std::int32_t* labels, float* distances);

/// The buckets of some queries: runs of the rows of a segment's tables, one table after the other.
struct Buckets {
    std::vector<std::int64_t> offsets{0};  // (queries + 1)
    std::vector<std::int64_t> begins, ends;
};

/// Of each query its k nearest rows of a segment, by (distance, id).
struct Nearest {
    std::vector<float> distances;
    std::vector<std::int64_t> rows;   // (queries, k); -1 where there are fewer
    std::vector<std::int64_t> n_met;  // (queries,)
};

/// The nearest among the rows in the buckets of queries from `first` on, each row once, and none that was removed; of a
/// segment without tables, among all. The segment is copied to the device once. Not for Rank::margin.
Nearest rank_candidates(const LiveSegment& segment, const Queries& queries, std::int64_t first, const Buckets& buckets,
                        Rank rank, std::int64_t k);

/// A copy on the device of rows that are used more than once.
class Resident {
   public:
    explicit Resident(View<const float> x);
    View<const float> view() const { return view_; }

   private:
    View<const float> view_;
    std::shared_ptr<void> memory_;
};

}  // namespace lshcore::cuda
