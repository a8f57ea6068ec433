#pragma once
// Errors of the core. Bad arguments are std::invalid_argument ("where: expected, received"), damaged data DamagedError; the core
// never prints and never aborts.

#include <exception>
#include <stdexcept>
#include <string>

namespace lshcore {

/// A long call was asked to stop (Ctrl-C). Nothing has been changed.
struct Interrupted : std::exception {
    const char* what() const noexcept override { return "interrupted"; }
};

/// Stored data is not what was written: a checksum differs, or its structure would lead out of bounds.
struct DamagedError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

}  // namespace lshcore
