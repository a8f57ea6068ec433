#include "arrays.h"
#include "lshcore/codes.h"
#include "lshcore/hamming.h"

namespace lshcore::python {
namespace {

View<const Word> codes(const Array<Word>& words, int n_bits, const char* name) {
    const auto view = matrix(words, name);
    check_padding(view, n_bits);
    return view;
}

}  // namespace

void bind_hamming(py::module_& m) {
    m.def(
        "hamming_distances",
        [](const Array<Word>& a, const Array<Word>& b, int n_bits, int n_jobs) {
            const auto left = codes(a, n_bits, "a"), right = codes(b, n_bits, "b");
            auto out = new_matrix<std::uint16_t>(left.rows, right.rows);
            auto* data = out.mutable_data();
            py::gil_scoped_release release;
            hamming_distances(left, right, data, n_jobs);
            return out;
        },
        "a"_a.noconvert(), "b"_a.noconvert(), "n_bits"_a, "n_jobs"_a = 1);
    m.def(
        "hamming_search",
        [](const Array<Word>& queries, const Array<Word>& gallery, int n_bits, std::int64_t k, int n_jobs) {
            if (k < 1) throw py::value_error("hamming_search: k must be at least 1, got " + std::to_string(k));
            const auto q = codes(queries, n_bits, "queries"), g = codes(gallery, n_bits, "gallery");
            auto distances = new_matrix<std::uint16_t>(q.rows, k);
            auto ids = new_matrix<Id>(q.rows, k);
            auto* d = distances.mutable_data();
            auto* i = ids.mutable_data();
            {
                py::gil_scoped_release release;
                hamming_search(q, g, k, d, i, n_jobs);
            }
            return py::make_tuple(distances, ids);
        },
        "queries"_a.noconvert(), "gallery"_a.noconvert(), "n_bits"_a, "k"_a, "n_jobs"_a = 1);
    m.def(
        "hamming_range",
        [](const Array<Word>& queries, const Array<Word>& gallery, int n_bits, int radius, int n_jobs) {
            if (radius < 0)
                throw py::value_error("hamming_range: radius must be at least 0, got " + std::to_string(radius));
            const auto q = codes(queries, n_bits, "queries"), g = codes(gallery, n_bits, "gallery");
            RangeHits hits;
            {
                py::gil_scoped_release release;
                hits = hamming_range(q, g, radius, n_jobs);
            }
            return py::make_tuple(to_array(std::move(hits.offsets)), to_array(std::move(hits.distances)),
                                  to_array(std::move(hits.ids)));
        },
        "queries"_a.noconvert(), "gallery"_a.noconvert(), "n_bits"_a, "radius"_a, "n_jobs"_a = 1);
}

}  // namespace lshcore::python
