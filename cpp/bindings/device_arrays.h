#pragma once
// Arguments that are in host memory or on the device: NumPy arrays, and DLPack capsules of tensors (the ABI of DLPack 0.x,
// and 1.x where it is named so). Taken as they are: of the dtype asked for, C-contiguous.

#include <cstdint>
#include <string>
#include <vector>

#include "arrays.h"
#include "lshcore/codes.h"

namespace lshcore::python {

namespace dlpack {

enum DeviceType : std::int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13 };

struct Tensor {
    void* data;
    std::int32_t device_type, device_id;
    std::int32_t ndim;
    std::uint8_t type_code, type_bits;
    std::uint16_t type_lanes;
    std::int64_t* shape;
    std::int64_t* strides;  // in items; null: dense
    std::uint64_t byte_offset;
};

struct Managed {
    static constexpr const char* kName = "dltensor";
    static constexpr const char* kUsed = "used_dltensor";
    Tensor tensor;
    void* context;
    void (*deleter)(Managed*);

    bool readable() const { return true; }
    bool writable() const { return true; }
};

struct ManagedVersioned {
    static constexpr const char* kName = "dltensor_versioned";
    static constexpr const char* kUsed = "used_dltensor_versioned";
    std::uint32_t major, minor;
    void* context;
    void (*deleter)(ManagedVersioned*);
    std::uint64_t flags;
    Tensor tensor;

    bool readable() const { return major == 1; }
    bool writable() const { return (flags & 1) == 0; }
};

}  // namespace dlpack

/// One argument, until the call is over. Made and destroyed with the GIL held.
class Operand {
   public:
    Operand(py::object object, const char* name) : name_(name), owner_(std::move(object)) {
        if (py::isinstance<py::array>(owner_))
            take_array(py::reinterpret_borrow<py::array>(owner_));
        else if (!take_capsule<dlpack::Managed>() && !take_capsule<dlpack::ManagedVersioned>())
            throw py::type_error(name_ + ": expected a NumPy array or a DLPack capsule that nobody has taken, got " +
                                 std::string(py::str(py::type::of(owner_).attr("__name__"))));
    }
    Operand(const Operand&) = delete;
    Operand& operator=(const Operand&) = delete;
    ~Operand() {
        if (release_) release_();
    }

    template <class T>
    View<const T> matrix() const {
        return {data<T>(2), shape_[0], shape_[1]};
    }

    template <class T>
    const T* vector(std::int64_t size) const {
        const T* values = data<T>(1);
        expect_shape({size});
        return values;
    }

    /// To be written to: of exactly this shape.
    template <class T>
    T* result(const std::vector<std::int64_t>& shape) const {
        T* values = data<T>(static_cast<std::int64_t>(shape.size()));
        expect_shape(shape);
        if (!writable_) throw py::value_error(name_ + ": expected an array that can be written to");
        return values;
    }

    /// Codes of n_bits. Whoever makes a tensor of them sees to its padding.
    View<const Word> codes(int n_bits) const {
        const auto words = matrix<Word>();
        check_padding(on_host_ ? words : View<const Word>{nullptr, 0, words.cols}, n_bits);
        return words;
    }

   private:
    /// What NumPy's kinds and DLPack's type codes have in common.
    template <class T>
    static constexpr char kind() {
        return std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
    }

    template <class T>
    T* data(std::int64_t ndim) const {
        const bool signed_words = std::is_same_v<T, Word> && kind_ == 'i';  // other libraries hardly have uint64
        if ((kind_ != kind<T>() && !signed_words) || item_bytes_ != sizeof(T))
            throw py::type_error(name_ + ": expected dtype " + dtype_name(kind<T>(), sizeof(T)) + ", got " +
                                 dtype_name(kind_, item_bytes_));
        if (static_cast<std::int64_t>(shape_.size()) != ndim)
            throw py::value_error(name_ + ": expected a " + std::to_string(ndim) + "-d array, got " +
                                  std::to_string(shape_.size()) + "-d");
        return static_cast<T*>(data_);
    }

    static std::string dtype_name(char kind, std::int64_t bytes) {
        const std::string word = kind == 'f'   ? "float"
                                 : kind == 'i' ? "int"
                                 : kind == 'u' ? "uint"
                                               : "of another kind,";
        return word + (kind == '?' ? " " : "") + std::to_string(8 * bytes) + (kind == '?' ? " bits" : "");
    }

    void expect_shape(const std::vector<std::int64_t>& shape) const {
        if (shape_ == shape) return;
        std::string wanted, got;
        for (const auto size : shape) wanted += std::to_string(size) + ",";
        for (const auto size : shape_) got += std::to_string(size) + ",";
        throw py::value_error(name_ + ": expected shape (" + wanted + "), got (" + got + ")");
    }

    /// strides in units of `unit` an item.
    template <class Stride>
    void take_shape(std::int64_t ndim, const std::int64_t* shape, const Stride* strides, std::int64_t unit) {
        shape_.assign(shape, shape + ndim);
        if (strides == nullptr) return;
        bool empty = false;
        for (const auto size : shape_) empty = empty || size == 0;
        std::int64_t dense = unit;
        for (std::int64_t i = ndim - 1; i >= 0 && !empty; dense *= shape[i--])
            if (shape[i] != 1 && strides[i] != dense) throw py::value_error(name_ + ": expected a C-contiguous array");
    }

    void take_array(const py::array& array) {
        const char kind = array.dtype().kind();
        kind_ = (kind == 'f' || kind == 'i' || kind == 'u') && array.dtype().byteorder() != '>' ? kind : '?';
        item_bytes_ = array.itemsize();
        const std::vector<std::int64_t> shape(array.shape(), array.shape() + array.ndim());
        take_shape(array.ndim(), shape.data(), array.strides(), array.itemsize());
        data_ = const_cast<void*>(array.data());
        writable_ = array.writeable();
    }

    template <class M>
    bool take_capsule() {
        PyObject* const capsule = owner_.ptr();
        if (PyCapsule_IsValid(capsule, M::kName) == 0) return false;
        auto* const managed = static_cast<M*>(PyCapsule_GetPointer(capsule, M::kName));
        if (!managed->readable()) throw py::value_error(name_ + ": expected DLPack 1, got a later version");
        PyCapsule_SetName(capsule, M::kUsed);
        release_ = Release{managed, [](void* p) {
                               auto* const m = static_cast<M*>(p);
                               if (m->deleter != nullptr) m->deleter(m);
                           }};
        try {
            take_tensor(managed->tensor);
        } catch (...) {
            release_();  // no destructor after a constructor that throws
            throw;
        }
        writable_ = managed->writable();
        return true;
    }

    void take_tensor(const dlpack::Tensor& tensor) {
        using namespace dlpack;
        const auto type = tensor.device_type;
        on_host_ = type == kCpu || type == kCudaHost;
        if (!on_host_ && type != kCuda && type != kCudaManaged)
            throw py::value_error(name_ + ": expected memory of the host or of a CUDA device, got DLPack device type " +
                                  std::to_string(type));
        kind_ = tensor.type_code <= 2 && tensor.type_lanes == 1 ? "iuf"[tensor.type_code] : '?';
        item_bytes_ = tensor.type_bits / 8;
        take_shape(tensor.ndim, tensor.shape, tensor.strides, 1);
        data_ = static_cast<char*>(tensor.data) + tensor.byte_offset;
    }

    struct Release {
        void* managed = nullptr;
        void (*how)(void*) = nullptr;

        explicit operator bool() const { return how != nullptr; }
        void operator()() const { how(managed); }
    };

    std::string name_;
    py::object owner_;
    Release release_;
    void* data_ = nullptr;
    char kind_ = '?';
    std::int64_t item_bytes_ = 0;
    std::vector<std::int64_t> shape_;
    bool writable_ = false, on_host_ = true;
};

}  // namespace lshcore::python
