#pragma once
// What the rest of the core may ask of the GPU part. CMake links either the CUDA sources or no_cuda.cpp.

namespace lshcore::cuda {

/// True if this build has CUDA kernels and the machine a device to run them.
bool available();

}  // namespace lshcore::cuda
