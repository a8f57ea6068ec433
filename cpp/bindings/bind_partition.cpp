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
    py::class_<LatticeKeys>(m, "LatticeKeys")
        .def(py::init([](const Array<std::int32_t>& positions, std::shared_ptr<Lattice> lattice) {
                 return LatticeKeys(bit_keys_of(positions, lattice->n_bits()), lattice);
             }),
             "positions"_a.noconvert(), "lattice"_a.none(false));
    py::class_<ClusterKeys>(m, "ClusterKeys")
        .def(py::init([](const Array<float>& centroids, const std::optional<Array<float>>& spreads,
                         const std::optional<Array<float>>& sizes) {
                 const auto view = matrix(centroids, "centroids");
                 const auto kept = [&](const std::optional<Array<float>>& given, const char* name) {
                     if (!given) return std::vector<float>();
                     const float* const first = vector_of(*given, view.rows, name);
                     return std::vector<float>(first, first + view.rows);
                 };
                 return ClusterKeys({view.data, view.data + view.rows * view.cols}, view.rows, view.cols,
                                    kept(spreads, "spreads"), kept(sizes, "sizes"));
             }),
             "centroids"_a.noconvert(), py::arg("spreads").noconvert() = py::none(),
             py::arg("sizes").noconvert() = py::none())
        .def_property_readonly("centroids", [](const ClusterKeys& keys) {
            const auto view = keys.centroids();
            return to_array(std::vector<float>(view.data, view.data + view.rows * view.cols))
                .reshape({view.rows, view.cols});
        });
}

}  // namespace lshcore::python
