#include <algorithm>
#include <tuple>
#include <variant>

#include "arrays.h"
#include "lshcore/error.h"
#include "lshcore/index.h"

namespace lshcore::python {
namespace {

using Codes = std::optional<Array<Word>>;
using Vectors = std::optional<Array<float>>;
/// A mask, ids, or (offsets, ids): a list of ids for each query.
using Filter = std::optional<std::variant<Array<bool>, Array<Id>, std::tuple<Array<std::int64_t>, Array<Id>>>>;

Rank rank_of(const std::string& name) {
    if (name == "hamming") return Rank::hamming;
    if (name == "margin") return Rank::margin;
    if (name == "cosine") return Rank::cosine;
    if (name == "l2") return Rank::l2;
    if (name == "ip") return Rank::ip;
    throw py::value_error("rank: expected 'hamming', 'margin', 'cosine', 'l2' or 'ip', got '" + name + "'");
}

VectorType vector_type(const std::optional<std::string>& name) {
    if (!name) return VectorType::none;
    if (*name == "float32") return VectorType::float32;
    if (*name == "float16") return VectorType::float16;
    throw py::value_error("vectors: expected None, 'float32' or 'float16', got '" + *name + "'");
}

Allowed allowed_of(const Filter& filter) {
    Allowed allowed;
    if (!filter) return allowed;
    if (const auto* mask = std::get_if<Array<bool>>(&*filter)) {
        allowed.n_mask = mask->size();
        allowed.mask = vector_of(*mask, allowed.n_mask, "allowed");
        static constexpr bool kNone = false;
        if (allowed.n_mask == 0) allowed.mask = &kNone;  // an empty array may have no address
    } else {
        const auto* lists = std::get_if<std::tuple<Array<std::int64_t>, Array<Id>>>(&*filter);
        const Array<Id>& ids = lists != nullptr ? std::get<1>(*lists) : std::get<Array<Id>>(*filter);
        static constexpr Id kNothing = kNoId;
        allowed.n_ids = ids.size();
        allowed.ids = vector_of(ids, allowed.n_ids, "allowed");
        if (allowed.n_ids == 0) allowed.ids = &kNothing;
        if (lists != nullptr) {
            const auto& offsets = std::get<0>(*lists);
            if (offsets.size() < 1) throw py::value_error("allowed: expected at least one offset");
            allowed.offsets = vector_of(offsets, offsets.size(), "allowed offsets");
            allowed.n_queries = offsets.size() - 1;
        }
    }
    return allowed;
}

/// Queries and options as Python gives them. Holds nothing: the arrays outlive the call.
struct Request {
    Queries queries;
    SearchOptions options;

    Request(const Codes& codes, const Vectors& margins, const Vectors& vectors, const std::string& rank,
            std::int64_t probes, int radius, std::int64_t shortlist, const Filter& allowed, int n_jobs)
        : queries{matrix(codes, "codes"), matrix(margins, "margins"), matrix(vectors, "vectors")},
          options{rank_of(rank), probes, n_jobs, radius, shortlist, allowed_of(allowed)} {
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

template <class D>
py::tuple range_search(const Index& index, const Request& request, D radius) {
    RangeResult<D> hits;
    {
        py::gil_scoped_release release;
        hits = index.range_search<D>(request.queries, request.options, radius);
    }
    return py::make_tuple(to_array(std::move(hits.offsets)), to_array(std::move(hits.distances)),
                          to_array(std::move(hits.ids)), to_array(std::move(hits.n_candidates)));
}

/// The whole number in a radius, as far as Hamming distances go.
std::uint16_t hamming_radius(double radius) {
    return static_cast<std::uint16_t>(std::min(radius, static_cast<double>(kMaxBits)));
}

const Id* id_list(const Array<Id>& ids) { return vector_of(ids, ids.size(), "ids"); }

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
        .def_property_readonly("ids",
                               [](const Index& index) {
                                   std::vector<Id> ids;
                                   {
                                       py::gil_scoped_release release;
                                       ids = index.ids();
                                   }
                                   return to_array(std::move(ids));
                               })
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
            "remove",
            [](Index& index, const Array<Id>& ids) {
                const Id* i = id_list(ids);
                const std::int64_t n = ids.size();
                py::gil_scoped_release release;
                index.remove(i, n);
            },
            "ids"_a.noconvert())
        .def(
            "update",
            [](Index& index, const Codes& codes, const Vectors& vectors, const Array<Id>& ids, int n_jobs) {
                const auto c = matrix(codes, "codes");
                const auto v = matrix(vectors, "vectors");
                require(c.cols > 0 || v.cols > 0, "Index.update: codes or vectors are needed");
                const Id* i = vector_of(ids, c.cols > 0 ? c.rows : v.rows, "ids");
                py::gil_scoped_release release;
                index.update(c, v, i, n_jobs);
            },
            "codes"_a.noconvert(), "vectors"_a.noconvert(), "ids"_a.noconvert(), "n_jobs"_a = 1)
        .def("compact", &Index::compact, "n_jobs"_a = 1, py::call_guard<py::gil_scoped_release>())
        .def(
            "contains",
            [](const Index& index, const Array<Id>& ids) {
                auto known = new_vector<bool>(ids.size());
                const Id* i = id_list(ids);
                bool* out = known.mutable_data();
                const std::int64_t n = ids.size();
                {
                    py::gil_scoped_release release;
                    index.contains(i, n, out);
                }
                return known;
            },
            "ids"_a.noconvert())
        .def(
            "codes_of",
            [](const Index& index, const Array<Id>& ids) {
                auto codes = new_matrix<Word>(ids.size(), words_for(index.n_bits()));
                const Id* i = id_list(ids);
                Word* out = codes.mutable_data();
                const std::int64_t n = ids.size();
                {
                    py::gil_scoped_release release;
                    index.codes_of(i, n, out);
                }
                return codes;
            },
            "ids"_a.noconvert())
        .def(
            "vectors_of",
            [](const Index& index, const Array<Id>& ids) {
                auto vectors = new_matrix<float>(ids.size(), index.dim());
                const Id* i = id_list(ids);
                float* out = vectors.mutable_data();
                const std::int64_t n = ids.size();
                {
                    py::gil_scoped_release release;
                    index.vectors_of(i, n, out);
                }
                return vectors;
            },
            "ids"_a.noconvert())
        .def("state", &state_of)
        .def("restore", &restore, "segments"_a, "next_id"_a)
        .def(
            "search",
            [](const Index& index, const Codes& codes, const Vectors& vectors, std::int64_t k, const std::string& rank,
               std::int64_t probes, int n_jobs, const Vectors& margins, int radius, std::int64_t shortlist,
               const Filter& allowed, bool on_gpu) {
                if (k < 1) throw py::value_error("Index.search: k must be at least 1, got " + std::to_string(k));
                Request request(codes, margins, vectors, rank, probes, radius, shortlist, allowed, n_jobs);
                request.options.on_gpu = on_gpu;
                return request.options.rank == Rank::hamming ? search<std::uint16_t>(index, request, k)
                                                             : search<float>(index, request, k);
            },
            "codes"_a.noconvert(), "vectors"_a.noconvert(), "k"_a, "rank"_a, "probes"_a, "n_jobs"_a = 1,
            "margins"_a.noconvert() = py::none(), "radius"_a = -1, "shortlist"_a = 0,
            "allowed"_a.noconvert() = py::none(), "on_gpu"_a = false)
        .def(
            "range_search",
            [](const Index& index, const Codes& codes, const Vectors& vectors, double radius, const std::string& rank,
               std::int64_t probes, int n_jobs, const Vectors& margins, int key_radius, const Filter& allowed) {
                if (!(radius >= 0 || (rank == "ip" && radius < 0)))
                    throw py::value_error("Index.range_search: the radius must be at least 0");
                const Request request(codes, margins, vectors, rank, probes, key_radius, 0, allowed, n_jobs);
                return request.options.rank == Rank::hamming
                           ? range_search<std::uint16_t>(index, request, hamming_radius(radius))
                           : range_search<float>(index, request, static_cast<float>(radius));
            },
            "codes"_a.noconvert(), "vectors"_a.noconvert(), "radius"_a, "rank"_a, "probes"_a, "n_jobs"_a = 1,
            "margins"_a.noconvert() = py::none(), "key_radius"_a = -1, "allowed"_a.noconvert() = py::none())
        .def(
            "candidates",
            [](const Index& index, const Codes& codes, const Vectors& vectors, std::int64_t probes, int n_jobs,
               const Vectors& margins, int radius, const Filter& allowed, const std::string& rank) {
                const Request request(codes, margins, vectors, rank, probes, radius, 0, allowed, n_jobs);
                std::vector<std::int64_t> offsets;
                std::vector<Id> ids;
                {
                    py::gil_scoped_release release;
                    index.candidates(request.queries, request.options, offsets, ids);
                }
                return py::make_tuple(to_array(std::move(offsets)), to_array(std::move(ids)));
            },
            "codes"_a.noconvert(), "vectors"_a.noconvert(), "probes"_a, "n_jobs"_a = 1,
            "margins"_a.noconvert() = py::none(), "radius"_a = -1, "allowed"_a.noconvert() = py::none(),
            "rank"_a = "hamming")
        .def(
            "evaluate",
            [](const Index& index, RankingAccumulator& accumulator, const Codes& codes, const Vectors& vectors,
               const std::string& rank, std::int64_t probes, const Labels& query_labels, const Labels& gallery_labels,
               int n_jobs, const Vectors& margins, int radius, std::int64_t shortlist, const Filter& allowed) {
                const Request request(codes, margins, vectors, rank, probes, radius, shortlist, allowed, n_jobs);
                py::gil_scoped_release release;
                index.evaluate(accumulator, request.queries, request.options, query_labels, gallery_labels);
            },
            "accumulator"_a, "codes"_a.noconvert(), "vectors"_a.noconvert(), "rank"_a, "probes"_a, "query_labels"_a,
            "gallery_labels"_a, "n_jobs"_a = 1, "margins"_a.noconvert() = py::none(), "radius"_a = -1,
            "shortlist"_a = 0, "allowed"_a.noconvert() = py::none());
}

}  // namespace lshcore::python
