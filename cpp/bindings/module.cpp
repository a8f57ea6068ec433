#include "arrays.h"
#include "lshcore/error.h"
#include "lshcore/kernels.h"
#include "lshcore/parallel.h"

namespace lshcore::python {
namespace {

/// Called between blocks by a thread that has released the GIL. Outside the main thread Python reports nothing.
bool interrupted() {
    py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

}  // namespace
}  // namespace lshcore::python

namespace py = pybind11;

PYBIND11_MODULE(_core, m) {
    using namespace lshcore;
    m.doc() = "The compiled core of lshcore.";
    set_interrupt_check(python::interrupted);
    py::register_exception_translator([](std::exception_ptr p) {
        try {
            if (p) std::rethrow_exception(p);
        } catch (const Interrupted&) {
            if (!PyErr_Occurred()) PyErr_SetNone(PyExc_KeyboardInterrupt);  // else the handler's own exception stands
        } catch (const DamagedError& error) {
            py::set_error(PyExc_ValueError, error.what());
        }
    });
    m.attr("MAX_BITS") = kMaxBits;
    m.attr("MAX_KEY_BITS") = kMaxKeyBits;
    m.def("kernel_set", [] { return kernels().name; });
    m.def("kernel_sets", &kernel_sets);
    m.def("available_cpus", &available_cpus);
    python::bind_codes(m);
    python::bind_project(m);
    python::bind_hamming(m);
    python::bind_kmeans(m);
    python::bind_lattice(m);
    python::bind_partition(m);
    python::bind_metrics(m);
    python::bind_segment(m);
    python::bind_index(m);
    python::bind_cuda(m);
}
