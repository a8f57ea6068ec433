#include "device.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>

#include "lshcore/cuda.h"

namespace lshcore::cuda {
namespace {

int count_devices() {
    int n = 0;
    if (cudaGetDeviceCount(&n) == cudaSuccess) return n;
    cudaGetLastError();  // no driver, or none that fits: there is no device to use
    return 0;
}

struct Stream {
    cudaStream_t stream{};

    // Non-blocking: nothing here waits for the default stream, and nothing there for this.
    Stream() { check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)); }
    ~Stream() { cudaStreamDestroy(stream); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
};

}  // namespace

void check(cudaError_t error) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // so that the next call does not report it again
    if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
    throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

cudaStream_t this_stream() {
    static std::atomic<pid_t> user{0};
    pid_t nobody = 0;
    if (!user.compare_exchange_strong(nobody, getpid()) && user.load() != getpid())
        throw std::runtime_error("CUDA was used before this process was forked; start it with spawn instead");
    if (!available()) throw std::runtime_error("CUDA: there is no GPU that this build of lshcore can use");
    thread_local const Stream mine;
    return mine.stream;
}

void wait() { check(cudaStreamSynchronize(this_stream())); }

std::size_t free_bytes() {
    std::size_t free = 0, all = 0;
    check(cudaMemGetInfo(&free, &all));
    return free;
}

bool on_device(const void* pointer) {
    if (pointer == nullptr) return false;
    cudaPointerAttributes attributes{};
    check(cudaPointerGetAttributes(&attributes, pointer));
    return attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
}

bool available() { return count_devices() > 0; }

std::string device() {
    this_stream();
    int number = 0;
    cudaDeviceProp properties{};
    check(cudaGetDevice(&number));
    check(cudaGetDeviceProperties(&properties, number));
    char text[400];
    std::snprintf(text, sizeof(text), "%s, compute capability %d.%d, %.1f GiB", properties.name, properties.major,
                  properties.minor, static_cast<double>(properties.totalGlobalMem) / (1u << 30));
    return text;
}

std::uintptr_t stream() { return reinterpret_cast<std::uintptr_t>(this_stream()); }

Resident::Resident(View<const float> x) : view_(x) {
    if (on_device(x.data)) return;
    const auto copied = std::make_shared<Memory<float>>(x.data, x.rows * x.cols);
    wait();
    view_.data = copied->data();
    memory_ = copied;
}

}  // namespace lshcore::cuda
