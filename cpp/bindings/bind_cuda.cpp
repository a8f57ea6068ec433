#include "device_arrays.h"
#include "lshcore/cuda.h"
#include "lshcore/error.h"
#include "lshcore/metrics.h"
#include "lshcore/partition.h"

namespace lshcore::python {
namespace {

using Object = const py::object&;

/// A hasher's rows and weights, and where what it makes of them goes.
struct Projection {
    Operand rows, directions, offsets, result;
    View<const float> x, weights;
    const float* bias;

    Projection(Object x_, Object weights_, Object bias_, Object out)
        : rows(x_, "x"),
          directions(weights_, "weights"),
          offsets(bias_, "bias"),
          result(out, "out"),
          x(rows.matrix<float>()),
          weights(directions.matrix<float>()),
          bias(offsets.vector<float>(weights.rows)) {
        if (x.cols != weights.cols)
            throw py::value_error("x: expected " + std::to_string(weights.cols) + " columns, as weights has, got " +
                                  std::to_string(x.cols));
    }
};

/// The codes of two sides, of the same width.
struct Pair {
    Operand first, second;
    View<const Word> left, right;

    Pair(Object a, Object b, int n_bits, const char* a_name, const char* b_name)
        : first(a, a_name), second(b, b_name), left(first.codes(n_bits)), right(second.codes(n_bits)) {}
};

void bind_search(py::module_& m) {
    m.def(
        "cuda_hamming_distances",
        [](Object a, Object b, int n_bits, Object out) {
            const Pair codes(a, b, n_bits, "a", "b");
            const Operand result(out, "out");
            auto* const data = result.result<std::uint16_t>({codes.left.rows, codes.right.rows});
            py::gil_scoped_release release;
            cuda::hamming_distances(codes.left, codes.right, data);
        },
        "a"_a, "b"_a, "n_bits"_a, "out"_a);
    m.def(
        "cuda_hamming_search",
        [](Object queries, Object gallery, int n_bits, std::int64_t k, Object distances, Object ids) {
            if (k < 1) throw py::value_error("cuda_hamming_search: k must be at least 1, got " + std::to_string(k));
            const Pair codes(queries, gallery, n_bits, "queries", "gallery");
            const Operand distances_out(distances, "distances"), ids_out(ids, "ids");
            auto* const d = distances_out.result<std::uint16_t>({codes.left.rows, k});
            auto* const i = ids_out.result<Id>({codes.left.rows, k});
            py::gil_scoped_release release;
            cuda::hamming_search(codes.left, codes.right, k, d, i);
        },
        "queries"_a, "gallery"_a, "n_bits"_a, "k"_a, "distances"_a, "ids"_a);
    m.def(
        "cuda_hamming_range",
        [](Object queries, Object gallery, int n_bits, int radius, int n_jobs) {
            if (radius < 0)
                throw py::value_error("cuda_hamming_range: radius must be at least 0, got " + std::to_string(radius));
            const Pair codes(queries, gallery, n_bits, "queries", "gallery");
            RangeHits hits;
            {
                py::gil_scoped_release release;
                hits = cuda::hamming_range(codes.left, codes.right, radius, n_jobs);
            }
            return py::make_tuple(to_array(std::move(hits.offsets)), to_array(std::move(hits.distances)),
                                  to_array(std::move(hits.ids)));
        },
        "queries"_a, "gallery"_a, "n_bits"_a, "radius"_a, "n_jobs"_a = 1);
    m.def(
        "cuda_rank_hamming",
        [](RankingAccumulator& accumulator, Object queries, Object gallery, int n_bits, const Labels& query_labels,
           const Labels& gallery_labels, int n_jobs, Object progress) {
            const Pair codes(queries, gallery, n_bits, "queries", "gallery");
            require(accumulator.n_bits() == n_bits, "cuda_rank_hamming: the accumulator is for another width");
            require(!accumulator.stable(), "cuda_rank_hamming: the accumulator must be one of tied distances");
            const auto report = progress_of(progress);
            py::gil_scoped_release release;
            cuda::rank_hamming(accumulator, codes.left, codes.right, query_labels, gallery_labels, n_jobs, report);
        },
        "accumulator"_a, "queries"_a, "gallery"_a, "n_bits"_a, "query_labels"_a, "gallery_labels"_a, "n_jobs"_a = 1,
        "progress"_a = py::none());
}

}  // namespace

void bind_cuda(py::module_& m) {
    m.def("cuda_available", &cuda::available);
    m.def("cuda_device", &cuda::device);
    m.def("cuda_stream", &cuda::stream);
    m.def(
        "cuda_project",
        [](Object x, Object weights, Object bias, Object out) {
            const Projection p(x, weights, bias, out);
            auto* const data = p.result.result<float>({p.x.rows, p.weights.rows});
            py::gil_scoped_release release;
            cuda::project(p.x, p.weights, p.bias, data);
        },
        "x"_a, "weights"_a, "bias"_a, "out"_a);
    m.def(
        "cuda_encode",
        [](Object x, Object weights, Object bias, Object out) {
            const Projection p(x, weights, bias, out);
            check_n_bits(static_cast<int>(p.weights.rows));
            auto* const data = p.result.result<Word>({p.x.rows, words_for(static_cast<int>(p.weights.rows))});
            py::gil_scoped_release release;
            cuda::encode(p.x, p.weights, p.bias, data);
        },
        "x"_a, "weights"_a, "bias"_a, "out"_a);
    m.def(
        "cuda_assign_clusters",
        [](Object x, const ClusterKeys& clusters, Object labels, Object distances) {
            const Operand rows(x, "x"), labels_out(labels, "labels");
            const auto view = rows.matrix<float>();
            if (view.cols != clusters.dim())
                throw py::value_error("x: expected " + std::to_string(clusters.dim()) +
                                      " columns, as the centroids have, got " + std::to_string(view.cols));
            auto* const l = labels_out.result<std::int32_t>({view.rows});
            std::optional<Operand> distances_out;
            if (!distances.is_none()) distances_out.emplace(distances, "distances");
            auto* const d = distances_out ? distances_out->result<float>({view.rows}) : nullptr;
            py::gil_scoped_release release;
            cuda::assign_clusters(view, clusters, l, d);
        },
        "x"_a, "clusters"_a, "labels"_a, "distances"_a = py::none());
    bind_search(m);
}

}  // namespace lshcore::python
