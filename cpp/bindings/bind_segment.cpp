// Segments as arrays, their checksums, and the state of an index.

#include <algorithm>
#include <cstring>
#include <string>

#include "arrays.h"
#include "lshcore/crc32c.h"
#include "lshcore/error.h"
#include "lshcore/index.h"

namespace lshcore::python {
namespace {

using Bytes = Array<std::uint8_t>;

/// A segment in Python's hands.
struct Handle {
    std::shared_ptr<const Segment> segment;
};

std::string of_table(const char* array, std::size_t table) {
    std::string name = array;
    return name.append(1, '.').append(std::to_string(table));
}

/// A read-only array over memory that `base` keeps alive.
template <class T>
py::array view(const Buffer<T>& buffer, std::int64_t cols, const py::object& base, const char* dtype = nullptr) {
    std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(buffer.size())};
    if (cols > 0) shape = {static_cast<py::ssize_t>(buffer.size()) / cols, static_cast<py::ssize_t>(cols)};
    py::array array(dtype != nullptr ? py::dtype(dtype) : py::dtype::of<T>(), shape, buffer.data(), base);
    array.attr("flags").attr("writeable") = false;
    return array;
}

py::dict arrays(const py::object& self) {
    const Segment& s = *self.cast<const Handle&>().segment;
    py::dict out;
    if (s.words > 0) out["codes"] = view(s.codes, s.words, self);
    if (!s.ids.is_range()) {
        out["ids"] = view(s.ids.stored(), 0, self);
        out["ids_order"] = view(s.ids.order(), 0, self);
    }
    if (!s.vectors.empty()) out["vectors"] = view(s.vectors, s.dim, self);
    if (!s.halves.empty()) out["halves"] = view(s.halves, s.dim, self, "float16");
    if (s.dim > 0) out["inverse_norms"] = view(s.inverse_norms, 0, self);
    if (s.shape.residual_width > 0) {
        out["residual_codes"] = view(s.residuals.codes, 0, self);
        out["residual_offsets"] = view(s.residuals.offsets, 0, self);
        out["residual_scales"] = view(s.residuals.scales, 0, self);
        out["residual_squares"] = view(s.residuals.squares, 0, self);
    }
    for (std::size_t t = 0; t < s.tables.size(); ++t) {
        const Table& table = s.tables[t];
        if (!table.keys().empty()) out[of_table("keys", t).c_str()] = view(table.keys(), 0, self);
        out[of_table("offsets", t).c_str()] = view(table.offsets(), 0, self);
        out[of_table("rows", t).c_str()] = view(table.rows(), 0, self);
    }
    return out;
}

/// Takes arrays out of a dict by name, once each.
class Taker {
   public:
    explicit Taker(const py::dict& given) : left_(given.attr("copy")()) {}

    /// cols 0: one axis. An absent array is empty.
    template <class T>
    Buffer<T> take(const std::string& name, std::int64_t cols, const char* dtype = nullptr) {
        if (!left_.contains(name.c_str())) return {};
        const auto given = py::reinterpret_borrow<py::object>(left_[name.c_str()]);
        left_.attr("pop")(name.c_str());
        const auto wanted = dtype != nullptr ? py::dtype(dtype) : py::dtype::of<T>();
        if (!py::isinstance<py::array>(given))
            throw py::type_error("Segment: array '" + name + "': expected an ndarray");
        const auto array = py::reinterpret_borrow<py::array>(given);
        if (!array.dtype().is(wanted) && !array.dtype().equal(wanted))
            throw py::type_error("Segment: array '" + name + "': expected dtype " +
                                 py::str(wanted).cast<std::string>() + ", got " +
                                 py::str(array.dtype()).cast<std::string>());
        const bool fits = cols == 0 ? array.ndim() == 1 : array.ndim() == 2 && array.shape(1) == cols;
        if (!fits || (array.flags() & py::array::c_style) == 0)
            throw py::value_error("Segment: array '" + name + "': expected a C-contiguous array of " +
                                  (cols == 0 ? std::string("one axis") : std::to_string(cols) + " columns"));
        return {static_cast<const T*>(array.data()), static_cast<std::size_t>(array.size()), keep_alive(array)};
    }

    void expect_nothing_left() const {
        for (const auto& [name, array] : left_)
            throw py::value_error("Segment: there is no array '" + py::str(name).cast<std::string>() +
                                  "' in segments of this index");
    }

   private:
    py::dict left_;
};

Handle from_arrays(const Index& index, const py::dict& given, std::int64_t n_rows, Id first_id,
                   const std::shared_ptr<Blocks>& blocks) {
    const RowShape shape = index.shape();
    Taker taker(given);
    const bool stored_ids = given.contains("ids");
    BorrowedArrays arrays;
    if (shape.n_bits > 0) arrays.codes = taker.take<Word>("codes", words_for(shape.n_bits));
    if (stored_ids) {
        arrays.ids = taker.take<Id>("ids", 0);
        arrays.ids_order = taker.take<Row>("ids_order", 0);
        if (arrays.ids.empty()) throw py::value_error("Segment: array 'ids': expected an id for each row, got none");
    }
    if (shape.keep == VectorType::float32) arrays.vectors = taker.take<float>("vectors", shape.dim);
    if (shape.keep == VectorType::float16) arrays.halves = taker.take<Half>("halves", shape.dim, "float16");
    if (shape.keep != VectorType::none) arrays.inverse_norms = taker.take<float>("inverse_norms", 0);
    if (shape.residual_width > 0) {
        arrays.residuals.codes = taker.take<std::uint8_t>("residual_codes", 0);
        arrays.residuals.offsets = taker.take<float>("residual_offsets", 0);
        arrays.residuals.scales = taker.take<float>("residual_scales", 0);
        arrays.residuals.squares = taker.take<float>("residual_squares", 0);
    }
    for (int t = 0; t < shape.n_tables; ++t) {
        const auto table = static_cast<std::size_t>(t);
        auto keys = taker.take<Word>(of_table("keys", table), 0);
        auto offsets = taker.take<std::uint32_t>(of_table("offsets", table), 0);
        arrays.tables.push_back({std::move(keys), std::move(offsets), taker.take<Row>(of_table("rows", table), 0)});
    }
    taker.expect_nothing_left();
    return {borrow_segment(shape, n_rows, first_id, std::move(arrays), blocks)};
}

std::shared_ptr<Blocks> make_blocks(const Bytes& data, const Array<std::uint32_t>& crcs, std::int64_t block_bytes,
                                    std::string source) {
    if (data.ndim() != 1) throw py::value_error("data: expected a 1-d array");
    if (block_bytes < 1) throw py::value_error("Blocks: block_bytes must be at least 1");
    const std::uint32_t* sums = vector_of(crcs, crcs.size(), "crcs");
    return std::make_shared<Blocks>(data.data(), static_cast<std::size_t>(data.size()),
                                    std::vector<std::uint32_t>(sums, sums + crcs.size()),
                                    static_cast<std::size_t>(block_bytes), keep_alive(data), std::move(source));
}

std::size_t byte_count(const Bytes& data) {
    if (data.ndim() != 1) throw py::value_error("data: expected a 1-d array");
    return static_cast<std::size_t>(data.size());
}

}  // namespace

std::shared_ptr<const void> keep_alive(py::object object) {
    return {object.release().ptr(), [](const void* p) {
                if (!Py_IsInitialized()) return;  // the interpreter is gone, and the object with it
                py::gil_scoped_acquire gil;
                Py_DECREF(static_cast<PyObject*>(const_cast<void*>(p)));
            }};
}

py::tuple state_of(const Index& index) {
    const auto contents = index.contents();
    py::list segments;
    for (const LiveSegment& part : contents.segments) {
        py::object removed = py::none();
        if (part.removed != nullptr) {
            Array<std::uint8_t> bits((part.segment->size() + 7) / 8);
            for (py::ssize_t i = 0; i < bits.size(); ++i)
                bits.mutable_data()[i] =
                    static_cast<std::uint8_t>((*part.removed)[static_cast<std::size_t>(i / 8)] >> (8 * (i % 8)));
            removed = bits;
        }
        segments.append(py::make_tuple(Handle{part.segment}, removed));
    }
    return py::make_tuple(segments, contents.next_id);
}

void restore(Index& index, const py::list& given, std::int64_t next_id) {
    std::vector<LiveSegment> segments;
    for (const auto& item : given) {
        const auto pair = item.cast<std::pair<py::object, py::object>>();
        LiveSegment part{pair.first.cast<const Handle&>().segment, nullptr, 0};
        if (!pair.second.is_none()) {
            if (!Bytes::check_(pair.second)) throw py::type_error("Index.restore: expected bitmaps of uint8");
            const auto bits = py::reinterpret_borrow<Bytes>(pair.second);
            const std::int64_t n = part.segment->size();
            const std::uint8_t* bytes = vector_of(bits, (n + 7) / 8, "removed");
            std::vector<Word> words(static_cast<std::size_t>((n + 63) / 64), Word{0});
            for (py::ssize_t i = 0; i < bits.size(); ++i)
                words[static_cast<std::size_t>(i / 8)] |= Word{bytes[i]} << (8 * (i % 8));
            part.removed = std::make_shared<const std::vector<Word>>(std::move(words));
        }
        segments.push_back(std::move(part));
    }
    py::gil_scoped_release release;
    index.restore(std::move(segments), next_id);
}

void bind_segment(py::module_& m) {
    py::class_<Blocks, std::shared_ptr<Blocks>>(m, "Blocks")
        .def(py::init(&make_blocks), "data"_a.noconvert(), "crcs"_a.noconvert(), "block_bytes"_a,
             "source"_a = "Segment");
    py::class_<Handle>(m, "Segment")
        .def_static("from_arrays", &from_arrays, "index"_a, "arrays"_a, "n_rows"_a, "first_id"_a = 0,
                    "blocks"_a = py::none())
        .def("arrays", &arrays)
        .def(
            "verify",
            [](const Handle& handle, int n_jobs) {
                const auto segment = handle.segment;
                py::gil_scoped_release release;
                segment->prepare(kAllParts, n_jobs);
            },
            "n_jobs"_a = 1)
        .def_property_readonly("n_rows", [](const Handle& handle) { return handle.segment->size(); })
        .def_property_readonly("serial", [](const Handle& handle) { return handle.segment->serial; })
        .def_property_readonly("first_id", [](const Handle& handle) { return handle.segment->ids.first(); })
        .def_property_readonly("nbytes", [](const Handle& handle) { return handle.segment->nbytes(); });
    m.def(
        "crc32c",
        [](const Bytes& data, int n_jobs) {
            const std::size_t n = byte_count(data);
            const std::uint8_t* bytes = data.data();
            py::gil_scoped_release release;
            return crc32c_parallel(bytes, n, n_jobs);
        },
        "data"_a.noconvert(), "n_jobs"_a = 1);
    m.def(
        "block_crcs",
        [](const Bytes& data, std::int64_t block_bytes, int n_jobs) {
            if (block_bytes < 1) throw py::value_error("block_crcs: block_bytes must be at least 1");
            const std::size_t n = byte_count(data);
            const std::uint8_t* bytes = data.data();
            std::vector<std::uint32_t> crcs;
            {
                py::gil_scoped_release release;
                crcs = block_crcs(bytes, n, static_cast<std::size_t>(block_bytes), n_jobs);
            }
            return to_array(std::move(crcs));
        },
        "data"_a.noconvert(), "block_bytes"_a, "n_jobs"_a = 1);
}

}  // namespace lshcore::python
