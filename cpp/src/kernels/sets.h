#pragma once
// What the kernel files offer to dispatch.cpp, and to nobody else.

#include "lshcore/kernels.h"

namespace lshcore {

extern const Kernels kScalarKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512bwKernels;
extern const Kernels kNeonKernels;

}  // namespace lshcore
