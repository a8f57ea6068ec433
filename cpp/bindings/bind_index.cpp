#include "arrays.h"
#include "lshcore/error.h"
#include "lshcore/index.h"

namespace lshcore::python {
namespace {

using Codes = std::optional<Array<Word>>;
using Vectors = std::optional<Array<float>>;

Rank rank_of(const std::string& name) {
    if (name == "hamming") return Rank::hamming;
    if (name == "cosine") return Rank::cosine;
    if (name == "l2") return Rank::l2;
    throw py::value_error("rank: expected 'hamming', 'cosine' or 'l2', got '" + name + "'");
}

template <class D>
py::tuple search(const Index& index, View<const Word> codes, View<const float> vectors, std::int64_t k,
                 const SearchOptions& options) {
    const std::int64_t m = codes.data != nullptr ? codes.rows : vectors.rows;
    auto distances = new_matrix<D>(m, k);
    auto ids = new_matrix<Id>(m, k);
    auto n_candidates = new_vector<std::int64_t>(m);
    auto times = new_matrix<double>(m, 3);
    static_assert(sizeof(StageTimes) == 3 * sizeof(double));
    D* d = distances.mutable_data();
    Id* i = ids.mutable_data();
    std::int64_t* n = n_candidates.mutable_data();
    auto* t = reinterpret_cast<StageTimes*>(times.mutable_data());
    {
        py::gil_scoped_release release;
        index.search<D>(codes, vectors, k, options, d, i, n, t);
    }
    return py::make_tuple(distances, ids, n_candidates, times);
}

}  // namespace

void bind_index(py::module_& m) {
    py::class_<Index>(m, "Index")
        .def(py::init<Partitioner, int, std::int64_t, bool>(), "partitioner"_a, "n_bits"_a = 0, "dim"_a = 0,
             "store_vectors"_a = false)
        .def("__len__", &Index::size)
        .def_property_readonly("n_segments", &Index::n_segments)
        .def_property_readonly("n_tables", [](const Index& index) { return n_tables(index.partitioner()); })
        .def_property_readonly("ids", [](const Index& index) { return to_array(index.ids()); })
        .def_property_readonly("nbytes",
                               [](const Index& index) {
                                   const auto bytes = index.nbytes();
                                   py::dict out;
                                   out["codes"] = bytes.codes;
                                   out["vectors"] = bytes.vectors;
                                   out["ids"] = bytes.ids;
                                   out["tables"] = bytes.tables;
                                   return out;
                               })
        .def(
            "bucket_sizes", [](const Index& index, int table) { return to_array(index.bucket_sizes(table)); },
            "table"_a)
        .def(
            "add",
            [](Index& index, const Codes& codes, const Vectors& vectors, const std::optional<Array<Id>>& ids,
               int n_jobs) {
                const auto c = matrix(codes, "codes");
                const auto v = matrix(vectors, "vectors");
                require(c.data != nullptr || v.data != nullptr, "Index.add: codes or vectors are needed");
                const Id* i = ids ? vector_of(*ids, c.data != nullptr ? c.rows : v.rows, "ids") : nullptr;
                py::gil_scoped_release release;
                index.add(c, v, i, n_jobs);
            },
            "codes"_a.noconvert(), "vectors"_a.noconvert(), "ids"_a.noconvert(), "n_jobs"_a = 1)
        .def(
            "search",
            [](const Index& index, const Codes& codes, const Vectors& vectors, std::int64_t k, const std::string& rank,
               std::int64_t probes, int n_jobs) {
                if (k < 1) throw py::value_error("Index.search: k must be at least 1, got " + std::to_string(k));
                const auto c = matrix(codes, "codes");
                const auto v = matrix(vectors, "vectors");
                const SearchOptions options{rank_of(rank), probes, n_jobs};
                return options.rank == Rank::hamming ? search<std::uint16_t>(index, c, v, k, options)
                                                     : search<float>(index, c, v, k, options);
            },
            "codes"_a.noconvert(), "vectors"_a.noconvert(), "k"_a, "rank"_a, "probes"_a, "n_jobs"_a = 1)
        .def(
            "candidates",
            [](const Index& index, const Codes& codes, const Vectors& vectors, std::int64_t probes, int n_jobs) {
                const auto c = matrix(codes, "codes");
                const auto v = matrix(vectors, "vectors");
                std::vector<std::int64_t> offsets;
                std::vector<Id> ids;
                {
                    py::gil_scoped_release release;
                    index.candidates(c, v, {Rank::hamming, probes, n_jobs}, offsets, ids);
                }
                return py::make_tuple(to_array(std::move(offsets)), to_array(std::move(ids)));
            },
            "codes"_a.noconvert(), "vectors"_a.noconvert(), "probes"_a, "n_jobs"_a = 1)
        .def(
            "evaluate",
            [](const Index& index, RankingAccumulator& accumulator, const Codes& codes, const Vectors& vectors,
               const std::string& rank, std::int64_t probes, const Labels& query_labels, const Labels& gallery_labels,
               int n_jobs) {
                const auto c = matrix(codes, "codes");
                const auto v = matrix(vectors, "vectors");
                const SearchOptions options{rank_of(rank), probes, n_jobs};
                py::gil_scoped_release release;
                index.evaluate(accumulator, c, v, options, query_labels, gallery_labels);
            },
            "accumulator"_a, "codes"_a.noconvert(), "vectors"_a.noconvert(), "rank"_a, "probes"_a, "query_labels"_a,
            "gallery_labels"_a, "n_jobs"_a = 1);
}

}  // namespace lshcore::python
