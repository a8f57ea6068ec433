#!/bin/sh
# tests/hostile.py with the core under AddressSanitizer and UndefinedBehaviorSanitizer:
#
#     tests/hostile_sanitized.sh --count 100000 --processes 2 --seed 11
#
# Builds into build/asan with the python on PATH, which must have pybind11, NumPy and what tests need.
set -e
cd "$(dirname "$0")/.."
cmake -S . -B build/asan -DLSHCORE_SANITIZE=ON -DLSHCORE_PYTHON=ON -DPython_EXECUTABLE="$(command -v python)" \
    -Dpybind11_DIR="$(python -m pybind11 --cmakedir)"
cmake --build build/asan --parallel
rm -rf build/asan/python && mkdir -p build/asan/python
cp -r python/lshcore build/asan/python/
rm -f build/asan/python/lshcore/_core*.so
cp build/asan/_core*.so build/asan/python/lshcore/
export PYTHONPATH="$PWD/build/asan/python" OMP_NUM_THREADS=1
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so) $(gcc -print-file-name=libstdc++.so)"
# What is asked of malloc beyond the limit fails, as it would without memory; Python's own leaks are not looked for.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:halt_on_error=1:max_allocation_size_mb=300
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
exec python tests/hostile.py --no-limit "$@"
