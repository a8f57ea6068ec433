#pragma once
// An immutable array: its own, or part of memory that somebody else owns (a mapped file). Copies share it.

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace lshcore {

template <class T>
class Buffer {
   public:
    using value_type = T;

    Buffer() = default;
    Buffer(std::vector<T> values) {  // NOLINT: a vector is a buffer
        if (values.empty()) return;
        auto owner = std::make_shared<const std::vector<T>>(std::move(values));
        data_ = owner->data();
        size_ = owner->size();
        keeper_ = std::move(owner);
    }
    /// Borrows; `keeper` keeps the memory alive.
    Buffer(const T* data, std::size_t size, std::shared_ptr<const void> keeper)
        : data_(data), size_(size), keeper_(std::move(keeper)) {}

    const T* data() const { return data_; }
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    const T& operator[](std::size_t i) const { return data_[i]; }
    const T* begin() const { return data_; }
    const T* end() const { return data_ + size_; }
    std::size_t nbytes() const { return size_ * sizeof(T); }

   private:
    const T* data_ = nullptr;
    std::size_t size_ = 0;
    std::shared_ptr<const void> keeper_;
};

}  // namespace lshcore
