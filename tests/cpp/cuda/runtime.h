#pragma once
// The runtime API: what is on the device is malloc'ed, and every call has finished when it returns. With
// AddressSanitizer the host cannot touch device memory, nor kernels what is HostOnly.

#include <climits>
#include <map>

#include "fibers.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorNoDevice = 100
};
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
struct cudaPointerAttributes {
    cudaMemoryType type;
};
struct cudaDeviceProp {
    char name[256];
    int major, minor, multiProcessorCount;
    std::size_t totalGlobalMem;
};
struct cuda_on_cpu_stream {};
using cudaStream_t = cuda_on_cpu_stream*;
inline constexpr unsigned cudaStreamDefault = 0, cudaStreamNonBlocking = 1, cudaHostAllocDefault = 0;

namespace cuda_on_cpu {

inline int devices = 1;
inline std::size_t memory_limit = std::size_t{1} << 30;  // of the device, in bytes

/// What a test sets is as before when this ends.
struct Settings {
    ~Settings() {
        order = order_;
        seed = seed_;
        devices = devices_;
        memory_limit = limit_;
    }
    Order order_ = order;
    std::uint64_t seed_ = seed;
    int devices_ = devices;
    std::size_t limit_ = memory_limit;
};

struct Memory {
    std::size_t bytes;
    cudaMemoryType type;
};
inline std::map<const char*, Memory>& memories() {
    static auto* const all = new std::map<const char*, Memory>;
    return *all;
}
inline std::size_t in_use = 0;
inline std::size_t allocated() {
    const std::scoped_lock alone(block().one_at_a_time);
    return in_use;
}
inline thread_local cudaError_t last_error = cudaSuccess;
inline cudaError_t fail(cudaError_t error) { return last_error = error; }
inline cudaError_t need_device() { return devices > 0 ? cudaSuccess : fail(cudaErrorNoDevice); }

inline std::vector<std::pair<const void*, std::size_t>> host_only;

/// While it lives, kernels cannot touch these bytes.
struct HostOnly {
    HostOnly(const void* data, std::size_t bytes) { host_only.push_back({data, bytes}); }
    ~HostOnly() { host_only.pop_back(); }
    HostOnly(const HostOnly&) = delete;
    HostOnly& operator=(const HostOnly&) = delete;
};

inline void open(const void* data, std::size_t bytes, bool is_open) {
#if defined(__SANITIZE_ADDRESS__)
    if (bytes > 0) is_open ? __asan_unpoison_memory_region(data, bytes) : __asan_poison_memory_region(data, bytes);
#else
    static_cast<void>(data), static_cast<void>(bytes), static_cast<void>(is_open);
#endif
}

/// While it lives, the device works, and one OS thread has it.
class OnDevice {
   public:
    explicit OnDevice(bool kernel) : kernel_(kernel) { open_device(true); }
    ~OnDevice() { open_device(false); }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

   private:
    void open_device(bool is_open) const {
        for (const auto& [data, memory] : memories())
            if (memory.type == cudaMemoryTypeDevice) open(data, memory.bytes, is_open);
        for (const auto& [data, bytes] : host_only)
            if (kernel_) open(data, bytes, !is_open);
    }

    std::scoped_lock<std::recursive_mutex> alone_{block().one_at_a_time};
    bool kernel_;
};

inline cudaError_t allocate(void** out, std::size_t bytes, cudaMemoryType type) {
    const std::scoped_lock alone(block().one_at_a_time);
    *out = nullptr;
    if (need_device() != cudaSuccess) return cudaErrorNoDevice;
    if (bytes == 0) return cudaSuccess;
    const std::size_t on_device = type == cudaMemoryTypeDevice ? bytes : 0;
    if (on_device > memory_limit || in_use > memory_limit - on_device || posix_memalign(out, 256, bytes) != 0)
        return fail(cudaErrorMemoryAllocation);
    std::memset(*out, 0xcd, bytes);  // so that reading what was never written shows
    memories()[static_cast<char*>(*out)] = {bytes, type};
    in_use += on_device;
    if (on_device > 0) open(*out, bytes, false);
    return cudaSuccess;
}

inline cudaError_t release(void* data) {
    const std::scoped_lock alone(block().one_at_a_time);
    if (data == nullptr) return cudaSuccess;
    const auto at = memories().find(static_cast<char*>(data));
    if (at == memories().end()) return fail(cudaErrorInvalidValue);
    if (at->second.type == cudaMemoryTypeDevice) in_use -= at->second.bytes;
    open(data, at->second.bytes, true);
    memories().erase(at);
    std::free(data);
    return cudaSuccess;
}

/// kernel<<<grid, block>>>(args...)
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 size, Args... args) {
    const OnDevice now(true);
    if (need_device() != cudaSuccess) return;
    const std::uint64_t threads = std::uint64_t{size.x} * size.y * size.z,
                        blocks = std::uint64_t{grid.x} * grid.y * grid.z;
    if (threads == 0 || threads > 1024 || size.z > 64 || blocks == 0 || grid.x > INT_MAX || grid.y > 65535 ||
        grid.z > 65535)
        fail(cudaErrorInvalidConfiguration);
    else
        run_grid(grid, size, [&] { kernel(args...); });
}

}  // namespace cuda_on_cpu

inline cudaError_t cudaGetLastError() { return std::exchange(cuda_on_cpu::last_error, cudaSuccess); }
inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess                     ? "no error"
           : error == cudaErrorInvalidValue         ? "invalid argument"
           : error == cudaErrorMemoryAllocation     ? "out of memory"
           : error == cudaErrorInvalidConfiguration ? "invalid configuration argument"
                                                    : "no CUDA-capable device is detected";
}
inline cudaError_t cudaGetDeviceCount(int* n) {
    *n = cuda_on_cpu::devices;
    return cuda_on_cpu::need_device();
}
inline cudaError_t cudaGetDevice(int* number) {
    *number = 0;
    return cuda_on_cpu::need_device();
}
inline cudaError_t cudaSetDevice(int number) {
    return number == 0 ? cuda_on_cpu::need_device() : cuda_on_cpu::fail(cudaErrorInvalidValue);
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* out, int) {
    *out = {"CPU", 9, 0, 4, cuda_on_cpu::memory_limit};
    return cuda_on_cpu::need_device();
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    *stream = cuda_on_cpu::devices > 0 ? new cuda_on_cpu_stream : nullptr;
    return cuda_on_cpu::need_device();
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cuda_on_cpu::need_device(); }
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cuda_on_cpu::need_device();
}
inline cudaError_t cudaDeviceSynchronize() { return cuda_on_cpu::need_device(); }

template <class T>
cudaError_t cudaMalloc(T** out, std::size_t bytes) {
    void* data = nullptr;
    const cudaError_t error = cuda_on_cpu::allocate(&data, bytes, cudaMemoryTypeDevice);
    *out = static_cast<T*>(data);
    return error;
}
inline cudaError_t cudaMallocAsync(void** out, std::size_t bytes, cudaStream_t) { return cudaMalloc(out, bytes); }
inline cudaError_t cudaHostAlloc(void** out, std::size_t bytes, unsigned) {
    return cuda_on_cpu::allocate(out, bytes, cudaMemoryTypeHost);
}
inline cudaError_t cudaFree(void* data) { return cuda_on_cpu::release(data); }
inline cudaError_t cudaFreeAsync(void* data, cudaStream_t) { return cuda_on_cpu::release(data); }
inline cudaError_t cudaFreeHost(void* data) { return cuda_on_cpu::release(data); }
inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind) {
    const cuda_on_cpu::OnDevice now(false);
    if (bytes > 0) std::memcpy(to, from, bytes);
    return cuda_on_cpu::need_device();
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
    return cudaMemcpy(to, from, bytes, kind);
}
inline cudaError_t cudaMemsetAsync(void* data, int byte, std::size_t bytes, cudaStream_t) {
    const cuda_on_cpu::OnDevice now(false);
    if (bytes > 0) std::memset(data, byte, bytes);
    return cuda_on_cpu::need_device();
}
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    *total = cuda_on_cpu::memory_limit;
    *free = *total - std::min(*total, cuda_on_cpu::allocated());
    return cuda_on_cpu::need_device();
}
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* out, const void* pointer) {
    const std::scoped_lock alone(cuda_on_cpu::block().one_at_a_time);
    out->type = cudaMemoryTypeUnregistered;
    const auto* const at = static_cast<const char*>(pointer);
    auto above = cuda_on_cpu::memories().upper_bound(at);
    if (above != cuda_on_cpu::memories().begin())
        if (const auto& [data, memory] = *--above; at < data + memory.bytes) out->type = memory.type;
    return cuda_on_cpu::need_device();
}
