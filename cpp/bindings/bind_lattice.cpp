#include "arrays.h"
#include "lshcore/lattice.h"

namespace lshcore::python {

void bind_lattice(py::module_& m) {
    py::class_<Lattice, std::shared_ptr<Lattice>>(m, "Lattice")
        .def_property_readonly("hash_bits", &Lattice::hash_bits)
        .def(
            "encode",
            [](const Lattice& lattice, const Array<float>& x, int n_jobs) {
                const auto rows = matrix(x, "x");
                auto out = new_matrix<Word>(rows.rows, words_for(lattice.n_bits()));
                Word* data = out.mutable_data();
                py::gil_scoped_release release;
                lattice.encode(rows, data, n_jobs);
                return out;
            },
            "x"_a.noconvert(), "n_jobs"_a = 1);
    py::class_<CrossPolytope, Lattice, std::shared_ptr<CrossPolytope>>(m, "CrossPolytope")
        .def(py::init(
                 [](const Array<std::int8_t>& signs, int rotations, std::int64_t vertices, const Array<float>& shift) {
                     const float* s = vector_of(shift, shift.size(), "shift");
                     return std::make_shared<CrossPolytope>(matrix(signs, "signs"), rotations, vertices,
                                                            std::vector<float>(s, s + shift.size()));
                 }),
             "signs"_a.noconvert(), "rotations"_a, "vertices"_a, "shift"_a.noconvert());
    py::class_<PStable, Lattice, std::shared_ptr<PStable>>(m, "PStable")
        .def(py::init([](const Array<float>& weights, const Array<float>& bias, int hash_bits) {
                 const float* b = vector_of(bias, bias.size(), "bias");
                 return std::make_shared<PStable>(matrix(weights, "weights"), std::vector<float>(b, b + bias.size()),
                                                  hash_bits);
             }),
             "weights"_a.noconvert(), "bias"_a.noconvert(), "hash_bits"_a);
}

}  // namespace lshcore::python
