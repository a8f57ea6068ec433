#include "arrays.h"
#include "lshcore/codes.h"
#include "lshcore/error.h"
#include "lshcore/metrics.h"

namespace lshcore::python {
namespace {

using Acc = RankingAccumulator;

/// means[slot(i)] for i in [0, n).
template <class Slot>
Array<double> column(const std::vector<double>& means, std::size_t n, Slot slot) {
    std::vector<double> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = means[slot(i)];
    return to_array(std::move(values));
}

py::dict result(const Acc& acc) {
    const auto means = acc.means();
    const std::size_t n_ks = acc.ks().size(), n_ranks = acc.curve_ranks().size();
    const auto at = [&](Acc::AtK what) {
        return column(means, n_ks, [&](std::size_t i) { return acc.at_k(i, what); });
    };
    py::dict out;
    out["n_queries"] = acc.n_queries();
    out["n_relevant_zero"] =
        static_cast<std::int64_t>(means[Acc::kNoRelevant] * static_cast<double>(acc.n_queries()) + 0.5);
    out["map"] = means[Acc::kMap];
    out["map_retrieved"] = means[Acc::kMapRetrieved];
    out["recall"] = means[Acc::kRecall];
    out["coverage"] = means[Acc::kCovered];
    out["map@k"] = at(Acc::kMapAt);
    out["map_retrieved@k"] = at(Acc::kMapRetrievedAt);
    out["p@k"] = at(Acc::kPrecisionAt);
    out["p@k_returned"] = at(Acc::kPrecisionReturnedAt);
    out["candidates"] = to_array(std::vector<std::int64_t>(acc.candidates()));
    out["curve_precision"] = column(means, n_ranks, [&](std::size_t i) { return acc.curve(i); });
    out["curve_recall"] = column(means, n_ranks, [&](std::size_t i) { return acc.curve(i) + 1; });
    if (acc.n_bits() > 0) {
        const auto n_radii = static_cast<std::size_t>(acc.n_bits()) + 1;
        const std::size_t two = acc.radius(std::min<std::size_t>(2, n_radii - 1));
        out["radius_precision"] = column(means, n_radii, [&](std::size_t r) { return acc.radius(r); });
        out["radius_recall"] = column(means, n_radii, [&](std::size_t r) { return acc.radius(r) + 1; });
        out["p@r<=2"] = means[two];
        out["size@r<=2"] = means[two + 2];
        out["empty@r<=2"] = means[acc.empty_ball()];
    }
    return out;
}

/// One list, in any order; ties by the order given.
void add_list(Acc& acc, const Array<float>& distances, const Array<bool>& relevant, std::int64_t n_relevant) {
    const std::int64_t n = distances.ndim() == 1 ? distances.shape(0) : -1;
    const float* d = vector_of(distances, n, "distances");
    const bool* r = vector_of(relevant, n, "relevant");
    RankedList list(acc);
    list.begin();
    for (std::int64_t i = 0; i < n; ++i) {
        if (acc.n_bits() == 0) {
            list.add(d[i], i, r[i]);
            continue;
        }
        require(
            d[i] >= 0 && d[i] <= static_cast<float>(acc.n_bits()) && d[i] == static_cast<float>(static_cast<int>(d[i])),
            "add_list: expected whole distances from 0 to n_bits");
        list.add(static_cast<std::uint16_t>(d[i]), i, r[i]);
    }
    acc.add(list.finish(n_relevant));
}

}  // namespace

void bind_metrics(py::module_& m) {
    py::class_<Labels>(m, "Labels")
        .def_static(
            "single",
            [](const Array<std::int64_t>& labels) {
                const std::int64_t n = labels.ndim() == 1 ? labels.shape(0) : -1;
                return Labels::single({vector_of(labels, n, "labels"), static_cast<std::size_t>(n)});
            },
            "labels"_a.noconvert())
        .def_static(
            "multi", [](const Array<bool>& labels) { return Labels::multi(matrix(labels, "labels")); },
            "labels"_a.noconvert())
        .def("__len__", &Labels::size);
    py::class_<Acc>(m, "RankingAccumulator")
        .def(py::init<std::vector<std::int64_t>, std::vector<std::int64_t>, int, bool>(), "ks"_a, "curve_ranks"_a,
             "n_bits"_a = 0, "stable"_a = false)
        .def("add_list", &add_list, "distances"_a.noconvert(), "relevant"_a.noconvert(), "n_relevant"_a)
        .def("merge", &Acc::merge, "other"_a)
        .def("result", &result);
    m.def(
        "rank_hamming",
        [](Acc& accumulator, const Array<Word>& queries, const Array<Word>& gallery, int n_bits,
           const Labels& query_labels, const Labels& gallery_labels, int n_jobs, const py::object& progress) {
            const auto q = matrix(queries, "queries"), g = matrix(gallery, "gallery");
            check_padding(q, n_bits);
            check_padding(g, n_bits);
            require(accumulator.n_bits() == n_bits, "rank_hamming: the accumulator is for another width");
            const auto report = progress_of(progress);
            py::gil_scoped_release release;
            rank_hamming(accumulator, q, g, query_labels, gallery_labels, n_jobs, report);
        },
        "accumulator"_a, "queries"_a.noconvert(), "gallery"_a.noconvert(), "n_bits"_a, "query_labels"_a,
        "gallery_labels"_a, "n_jobs"_a = 1, "progress"_a = py::none());
}

}  // namespace lshcore::python
