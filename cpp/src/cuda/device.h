#pragma once
// For the .cu files alone: memory and launches on the stream of this thread, errors as exceptions. The tests compile the
// same files for the CPU, with cuda_on_cpu.h in place of the toolkit.

#ifdef LSHCORE_CUDA_ON_CPU
#include "cuda_on_cpu.h"
#else
#include <cuda_runtime.h>
#endif

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "lshcore/types.h"

namespace lshcore::cuda {

/// Throws std::bad_alloc where memory was short, and std::runtime_error otherwise.
void check(cudaError_t error);

/// Of this thread; throws where there is no device or this process was forked from one that had used it.
cudaStream_t this_stream();

/// Waits for all that was launched here.
void wait();

/// Bytes of the device that are free.
std::size_t free_bytes();

/// Whether a pointer is to memory that kernels may use.
bool on_device(const void* pointer);

template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, Args... args) {
    if (grid.x == 0 || grid.y == 0) return;
#ifdef LSHCORE_CUDA_ON_CPU
    cuda_on_cpu::launch(kernel, grid, block, args...);
#else
    kernel<<<grid, block, 0, this_stream()>>>(args...);
#endif
    check(cudaGetLastError());
}

/// Copies between any two memories.
template <class T>
void copy(const T* from, std::int64_t n, T* to) {
    if (n > 0)
        check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(n) * sizeof(T), cudaMemcpyDefault, this_stream()));
}

/// Memory of the device, given back when the stream gets there.
template <class T>
class Memory {
   public:
    Memory() = default;
    explicit Memory(std::int64_t n) : stream_(this_stream()) {
        void* data = nullptr;
        check(cudaMallocAsync(&data, static_cast<std::size_t>(n > 0 ? n : 1) * sizeof(T), stream_));
        data_ = static_cast<T*>(data);
    }
    /// A copy.
    Memory(const T* values, std::int64_t n) : Memory(n) { copy(values, n, data_); }
    Memory(Memory&& o) noexcept : data_(o.data_), stream_(o.stream_) { o.data_ = nullptr; }
    Memory& operator=(Memory&& o) noexcept {
        std::swap(data_, o.data_);
        std::swap(stream_, o.stream_);
        return *this;
    }
    ~Memory() {
        if (data_ != nullptr) cudaFreeAsync(data_, stream_);
    }

    T* data() const { return data_; }
    /// Every byte of n values.
    void fill(int byte, std::int64_t n) {
        check(cudaMemsetAsync(data_, byte, static_cast<std::size_t>(n) * sizeof(T), stream_));
    }

   private:
    T* data_ = nullptr;
    cudaStream_t stream_{};
};

/// An argument where kernels can read it: as it is, or a copy.
template <class T>
class Input {
   public:
    Input(const T* values, std::int64_t n) : data_(values) {
        if (on_device(values)) return;
        copy_ = Memory<T>(values, n);
        data_ = copy_.data();
    }
    explicit Input(View<const T> view) : Input(view.data, view.rows * view.cols) {}

    const T* data() const { return data_; }

   private:
    const T* data_;
    Memory<T> copy_;
};

/// Where kernels write a result: where it is wanted, or beside it until it is delivered. Null stays null.
template <class T>
class Output {
   public:
    Output(T* wanted, std::int64_t n) : wanted_(wanted), data_(wanted), n_(n) {
        if (wanted == nullptr || on_device(wanted)) return;
        beside_ = Memory<T>(n);
        data_ = beside_.data();
    }

    T* data() const { return data_; }
    void deliver() const {
        if (data_ != wanted_) copy(static_cast<const T*>(data_), n_, wanted_);
    }

   private:
    T *wanted_, *data_;
    std::int64_t n_;
    Memory<T> beside_;
};

/// Brought to the host.
template <class T>
std::vector<T> to_host(const T* values, std::int64_t n) {
    std::vector<T> out(static_cast<std::size_t>(n));
    copy(values, n, out.data());
    wait();
    return out;
}

inline unsigned blocks_for(std::int64_t n, std::int64_t a_block) {
    return static_cast<unsigned>((n + a_block - 1) / a_block);
}

}  // namespace lshcore::cuda
