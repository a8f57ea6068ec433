#include "arrays.h"
#include "lshcore/error.h"
#include "lshcore/index.h"

namespace lshcore::python {
namespace {

using Codes = std::optional<Array<Word>>;
using Vectors = std::optional<Array<float>>;
using Allowed = std::optional<Array<bool>>;

Rank rank_of(const std::string& name) {
    if (name == "hamming") return Rank::hamming;
    if (name == "margin") return Rank::margin;
    if (name == "cosine") return Rank::cosine;
    if (name == "l2") return Rank::l2;
    throw py::value_error("rank: expected 'hamming', 'margin', 'cosine' or 'l2', got '" + name + "'");
}

VectorType vector_type(const std::optional<std::string>& name) {
    if (!name) return VectorType::none;
    if (*name == "float32") return VectorType::float32;
    if (*name == "float16") return VectorType::float16;
    throw py::value_error("vectors: expected None, 'float32' or 'float16', got '" + *name + "'");
}

/// Queries and options as Python gives them. Holds nothing: the arrays outlive the call.
struct Request {
    Queries queries;
    SearchOptions options;

    Request(const Codes& codes, const Vectors& margins, const Vectors& vectors, const std::string& rank,
            std::int64_t probes, int radius, std::int64_t shortlist, const Allowed& allowed, std::int64_t n_rows,
            int n_jobs)
        : queries{matrix(codes, "codes"), matrix(margins, "margins"), matrix(vectors, "vectors")},
          options{rank_of(rank), probes,    n_jobs,
                  radius,        shortlist, allowed ? vector_of(*allowed, n_rows, "allowed") : nullptr} {
        require(queries.codes.cols > 0 || queries.vectors.cols > 0, "Index.search: query codes or vectors are needed");
    }
};

template <class D>
py::tuple search(const Index& index, const Request& request, std::int64_t k) {
    const std::int64_t m = request.queries.size();
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
        index.search<D>(request.queries, k, request.options, d, i, n, t);
    }
    return py::make_tuple(distances, ids, n_candidates, times);
}

}  // namespace

void bind_index(py::module_& m) {
    py::class_<Index>(m, "Index")
        .def(py::init(
                 [](Partitioner partitioner, int n_bits, std::int64_t dim, const std::optional<std::string>& vectors) {
                     return std::make_unique<Index>(std::move(partitioner), n_bits, dim, vector_type(vectors));
                 }),
             "partitioner"_a, "n_bits"_a = 0, "dim"_a = 0, "vectors"_a = py::none())
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
                require(c.cols > 0 || v.cols > 0, "Index.add: codes or vectors are needed");
                const Id* i = ids ? vector_of(*ids, c.cols > 0 ? c.rows : v.rows, "ids") : nullptr;
                py::gil_scoped_release release;
                index.add(c, v, i, n_jobs);
            },
            "codes"_a.noconvert(), "vectors"_a.noconvert(), "ids"_a.noconvert(), "n_jobs"_a = 1)
        .def(
            "search",
            [](const Index& index, const Codes& codes, const Vectors& vectors, std::int64_t k, const std::string& rank,
               std::int64_t probes, int n_jobs, const Vectors& margins, int radius, std::int64_t shortlist,
               const Allowed& allowed) {
                if (k < 1) throw py::value_error("Index.search: k must be at least 1, got " + std::to_string(k));
                const Request request(codes, margins, vectors, rank, probes, radius, shortlist, allowed, index.size(),
                                      n_jobs);
                return request.options.rank == Rank::hamming ? search<std::uint16_t>(index, request, k)
                                                             : search<float>(index, request, k);
            },
            "codes"_a.noconvert(), "vectors"_a.noconvert(), "k"_a, "rank"_a, "probes"_a, "n_jobs"_a = 1,
            "margins"_a.noconvert() = py::none(), "radius"_a = -1, "shortlist"_a = 0,
            "allowed"_a.noconvert() = py::none())
        .def(
            "candidates",
            [](const Index& index, const Codes& codes, const Vectors& vectors, std::int64_t probes, int n_jobs,
               const Vectors& margins, int radius, const Allowed& allowed) {
                const Request request(codes, margins, vectors, "hamming", probes, radius, 0, allowed, index.size(),
                                      n_jobs);
                std::vector<std::int64_t> offsets;
                std::vector<Id> ids;
                {
                    py::gil_scoped_release release;
                    index.candidates(request.queries, request.options, offsets, ids);
                }
                return py::make_tuple(to_array(std::move(offsets)), to_array(std::move(ids)));
            },
            "codes"_a.noconvert(), "vectors"_a.noconvert(), "probes"_a, "n_jobs"_a = 1,
            "margins"_a.noconvert() = py::none(), "radius"_a = -1, "allowed"_a.noconvert() = py::none())
        .def(
            "evaluate",
            [](const Index& index, RankingAccumulator& accumulator, const Codes& codes, const Vectors& vectors,
               const std::string& rank, std::int64_t probes, const Labels& query_labels, const Labels& gallery_labels,
               int n_jobs, const Vectors& margins, int radius, std::int64_t shortlist, const Allowed& allowed) {
                const Request request(codes, margins, vectors, rank, probes, radius, shortlist, allowed, index.size(),
                                      n_jobs);
                py::gil_scoped_release release;
                index.evaluate(accumulator, request.queries, request.options, query_labels, gallery_labels);
            },
            "accumulator"_a, "codes"_a.noconvert(), "vectors"_a.noconvert(), "rank"_a, "probes"_a, "query_labels"_a,
            "gallery_labels"_a, "n_jobs"_a = 1, "margins"_a.noconvert() = py::none(), "radius"_a = -1,
            "shortlist"_a = 0, "allowed"_a.noconvert() = py::none());
}

}  // namespace lshcore::python
