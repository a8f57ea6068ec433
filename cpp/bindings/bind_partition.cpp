#include "arrays.h"
#include "lshcore/partition.h"

namespace lshcore::python {

namespace {

BitKeys bit_keys_of(const Array<std::int32_t>& positions, int n_bits) {
    const auto view = matrix(positions, "positions");
    return BitKeys({view.data, view.data + view.rows * view.cols}, static_cast<int>(view.rows),
                   static_cast<int>(view.cols), n_bits);
}

}  // namespace

void bind_partition(py::module_& m) {
    py::class_<OneBucket>(m, "OneBucket").def(py::init<>());
    py::class_<BitKeys>(m, "BitKeys")
        .def(py::init(&bit_keys_of), "positions"_a.noconvert(), "n_bits"_a)
        .def_property_readonly("positions", [](const BitKeys& keys) {
            return to_array(std::vector<std::int32_t>(keys.positions())).reshape({keys.n_tables(), keys.key_bits()});
        });
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
    py::class_<LatticeKeys>(m, "LatticeKeys")
        .def(py::init([](const Array<std::int32_t>& positions, std::shared_ptr<Lattice> lattice) {
                 return LatticeKeys(bit_keys_of(positions, lattice->n_bits()), lattice);
             }),
             "positions"_a.noconvert(), "lattice"_a.none(false));
    py::class_<ClusterKeys>(m, "ClusterKeys")
        .def(py::init([](const Array<float>& centroids) {
                 const auto view = matrix(centroids, "centroids");
                 return ClusterKeys({view.data, view.data + view.rows * view.cols}, view.rows, view.cols);
             }),
             "centroids"_a.noconvert())
        .def_property_readonly("centroids", [](const ClusterKeys& keys) {
            const auto view = keys.centroids();
            return to_array(std::vector<float>(view.data, view.data + view.rows * view.cols))
                .reshape({view.rows, view.cols});
        });
}

}  // namespace lshcore::python
