#pragma once
// What the tests hand over: arrays in host memory that kernels cannot touch, or in the device's.

#include <vector>

#include "cuda_on_cpu.h"

namespace cuda_on_cpu {

enum class Place { host, device };

template <class T>
class Array {
   public:
    explicit Array(const std::vector<T>& values, Place place = Place::device)
        : host_(values), only_(host_.data(), bytes()) {
        if (place == Place::host || values.empty()) return;
        if (cudaMalloc(&device_, bytes()) != cudaSuccess) throw std::bad_alloc();
        cudaMemcpy(device_, host_.data(), bytes(), cudaMemcpyDefault);
    }
    ~Array() { cudaFree(device_); }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;

    T* data() { return device_ == nullptr ? host_.data() : device_; }
    std::vector<T> copy() const {
        if (device_ == nullptr) return host_;
        std::vector<T> values(host_.size());
        cudaMemcpy(values.data(), device_, bytes(), cudaMemcpyDefault);
        return values;
    }

   private:
    std::size_t bytes() const { return host_.size() * sizeof(T); }

    std::vector<T> host_;
    HostOnly only_;
    T* device_ = nullptr;
};

}  // namespace cuda_on_cpu
