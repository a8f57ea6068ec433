// The build without CUDA: the same symbols, nothing looked for at run time.

#include "lshcore/cuda.h"

namespace lshcore::cuda {

bool available() { return false; }

}  // namespace lshcore::cuda
