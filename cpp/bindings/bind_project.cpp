#include "arrays.h"
#include "lshcore/codes.h"
#include "lshcore/project.h"

namespace lshcore::python {

void bind_project(py::module_& m) {
    m.def(
        "check_finite",
        [](const Array<float>& x, const std::string& what, int n_jobs) {
            const auto view = matrix(x, "x");
            py::gil_scoped_release release;
            check_finite(view, what, n_jobs);
        },
        "x"_a.noconvert(), "what"_a, "n_jobs"_a = 1);
    m.def(
        "project",
        [](const Array<float>& x, const Array<float>& weights, const Array<float>& bias, int n_jobs) {
            const auto rows = matrix(x, "x"), w = matrix(weights, "weights");
            const float* b = vector_of(bias, w.rows, "bias");
            auto out = new_matrix<float>(rows.rows, w.rows);
            float* data = out.mutable_data();
            py::gil_scoped_release release;
            project(rows, w, b, data, n_jobs);
            return out;
        },
        "x"_a.noconvert(), "weights"_a.noconvert(), "bias"_a.noconvert(), "n_jobs"_a = 1);
    m.def(
        "encode",
        [](const Array<float>& x, const Array<float>& weights, const Array<float>& bias, int n_jobs) {
            const auto rows = matrix(x, "x"), w = matrix(weights, "weights");
            const float* b = vector_of(bias, w.rows, "bias");
            check_n_bits(static_cast<int>(w.rows));
            auto out = new_matrix<Word>(rows.rows, words_for(static_cast<int>(w.rows)));
            Word* data = out.mutable_data();
            py::gil_scoped_release release;
            encode(rows, w, b, data, n_jobs);
            return out;
        },
        "x"_a.noconvert(), "weights"_a.noconvert(), "bias"_a.noconvert(), "n_jobs"_a = 1);
    m.def(
        "normalize_rows",
        [](const Array<float>& x, int n_jobs) {
            const auto rows = matrix(x, "x");
            auto out = new_matrix<float>(rows.rows, rows.cols);
            float* data = out.mutable_data();
            py::gil_scoped_release release;
            normalize_rows(rows, data, n_jobs);
            return out;
        },
        "x"_a.noconvert(), "n_jobs"_a = 1);
}

}  // namespace lshcore::python
