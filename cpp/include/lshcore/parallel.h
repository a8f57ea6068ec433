#pragma once
// Our own small thread pool: no OpenMP, works in a forked child, can be interrupted.

#include <cstdint>
#include <functional>

namespace lshcore {

/// Runs body(block, worker) for every block in [0, n_blocks) on at most n_jobs threads, the caller among them.
/// worker is in [0, n_jobs) and no two running calls share it, so it can index per-thread scratch. Which worker gets
/// which block is not defined: whatever must not depend on it is to be written by block. The first exception of a
/// body stops the rest and is thrown here; so is Interrupted.
void parallel_for(std::int64_t n_blocks, int n_jobs, const std::function<void(std::int64_t, int)>& body);

/// The number of CPUs this process may use.
int available_cpus();

/// For bodies that run long: throws Interrupted where the work of this thread's parallel_for is to stop.
void interruption_point();

/// Asked about every 50 ms by the thread that called parallel_for; true stops the work with Interrupted.
void set_interrupt_check(bool (*check)());

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace lshcore
