#pragma once
// The only NumPy <-> view code. Arguments are taken as they are (no conversion: Python has seen to dtype and order) and
// results are new C-contiguous arrays.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lshcore/types.h"

namespace lshcore {
class Index;
}

namespace lshcore::python {

namespace py = pybind11;
using py::literals::operator""_a;

/// Exactly this dtype, C-contiguous; together with .noconvert() anything else is a TypeError.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

template <class T>
View<const T> matrix(const Array<T>& array, const char* name) {
    if (array.ndim() != 2)
        throw py::value_error(std::string(name) + ": expected a 2-d array, got " + std::to_string(array.ndim()) + "-d");
    return {array.data(), array.shape(0), array.shape(1)};
}

/// No array: a view of nothing. (An array without rows still has columns.)
template <class T>
View<const T> matrix(const std::optional<Array<T>>& array, const char* name) {
    return array ? matrix(*array, name) : View<const T>{};
}

template <class T>
const T* vector_of(const Array<T>& array, std::int64_t size, const char* name) {
    if (array.ndim() != 1 || array.shape(0) != size)
        throw py::value_error(std::string(name) + ": expected shape (" + std::to_string(size) + ",)");
    return array.data();
}

template <class T>
Array<T> new_matrix(std::int64_t rows, std::int64_t cols) {
    return Array<T>({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(cols)});
}

template <class T>
Array<T> new_vector(std::int64_t size) {
    return Array<T>(static_cast<py::ssize_t>(size));
}

/// Hands a vector's memory to NumPy.
template <class T>
Array<T> to_array(std::vector<T>&& values) {
    auto* owner = new std::vector<T>(std::move(values));
    py::capsule free_owner(owner, [](void* p) { delete static_cast<std::vector<T>*>(p); });
    return Array<T>(static_cast<py::ssize_t>(owner->size()), owner->data(), free_owner);
}

/// Calls a Python function, unless it is None, from code that has let go of the GIL. It has to outlive what is returned.
inline std::function<void(std::int64_t)> progress_of(const py::object& function) {
    if (function.is_none()) return nullptr;
    return [&function](std::int64_t done) {
        py::gil_scoped_acquire gil;
        function(done);
    };
}

/// What keeps a Python object alive until the last copy is gone, on whatever thread that is.
std::shared_ptr<const void> keep_alive(py::object object);

/// Index.state and Index.restore (bind_segment.cpp).
py::tuple state_of(const Index& index);
void restore(Index& index, const py::list& segments, std::int64_t next_id);

void bind_codes(py::module_& m);
void bind_cuda(py::module_& m);
void bind_hamming(py::module_& m);
void bind_index(py::module_& m);
void bind_kmeans(py::module_& m);
void bind_lattice(py::module_& m);
void bind_metrics(py::module_& m);
void bind_partition(py::module_& m);
void bind_project(py::module_& m);
void bind_segment(py::module_& m);

}  // namespace lshcore::python
