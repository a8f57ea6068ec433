#pragma once
// The threads of a block as fibers: each runs until it has to wait for others, and the OS thread that launched runs them
// all, one block after another. Stricter than the hardware: threads that meet must be at the same line.

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned width = 1, unsigned height = 1, unsigned depth = 1) : x(width), y(height), z(depth) {}
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_cpu {

/// In which the blocks of a launch begin, and the threads of a block wherever several of them can go on.
enum class Order { ascending, descending, shuffled };
inline Order order = Order::ascending;
inline std::uint64_t seed = 0;  // of the shuffles

/// A stack, and where its code left off.
struct Fiber {
    jmp_buf left;       // not swapcontext, which sets the signal mask each time: a system call
    ucontext_t start;   // where it has not begun
    bool begun = true;  // once and for all: it waits for the next block then
    const void* stack = nullptr;
    std::size_t stack_bytes = 0;
    void* fake_stack = nullptr;  // AddressSanitizer's
};

/// What the lanes of a warp brought.
struct Meeting {
    std::uint64_t values[32];
    unsigned lanes = 0;
};

struct Thread {
    enum State { kRuns, kInBlock, kInWarp, kExited };
    Fiber fiber;
    dim3 index;
    unsigned number = 0;
    State state = kRuns;
    const char* what = "";  // it waits in
    int line = 0;
    unsigned mask = 0;
    std::uint64_t value = 0;
    Meeting met;  // a copy each: the next one may begin before all have read it

    unsigned lane() const { return number % 32; }
};

struct Warp {
    std::vector<Thread*> in_turn;
    unsigned alive = 0, waiting = 0;
};

struct Block {
    std::recursive_mutex one_at_a_time;            // of the OS threads
    std::vector<std::unique_ptr<Thread>> threads;  // kept between launches
    std::vector<Thread*> in_turn;
    std::vector<Warp> warps;
    std::deque<Thread*> ready;
    Thread* running = nullptr;
    Fiber launcher;
    Fiber* last = nullptr;  // that ran before
    const std::function<void()>* kernel = nullptr;
    unsigned alive = 0, arrived = 0, met = 0;
    int sum = 0, met_sum = 0;
};
inline Block& block() {
    static Block* const the = new Block;  // never deleted: streams of threads that end late still come here
    return *the;
}

[[noreturn]] inline void stop() {
    std::fprintf(stderr, "  in block (%u, %u, %u)\n", blockIdx.x, blockIdx.y, blockIdx.z);
    std::abort();
}

inline void arrive(Fiber& here) {
#if defined(__SANITIZE_ADDRESS__)
    Fiber& last = *block().last;  // the launcher's stack is known from here alone
    __sanitizer_finish_switch_fiber(here.fake_stack, &last.stack, &last.stack_bytes);
#else
    static_cast<void>(here);
#endif
}

/// Lets the next one run; returns when it is the turn of this one again.
inline void yield(Fiber& here) {
    Block& b = block();
    if (b.ready.empty() && b.alive > 0) {
        std::fprintf(stderr, "cuda_on_cpu: deadlock\n");
        for (const Thread* t : b.in_turn)
            if (t->state != Thread::kExited)
                std::fprintf(stderr, "  thread %u waits in %s, line %d\n", t->number, t->what, t->line);
        stop();
    }
    Fiber* next = &b.launcher;
    if (!b.ready.empty()) {
        b.running = b.ready.front();
        b.ready.pop_front();
        threadIdx = b.running->index;
        next = &b.running->fiber;
    }
    if (next == &here) return;
    b.last = &here;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&here.fake_stack, next->stack, next->stack_bytes);
#endif
    if (_setjmp(here.left) == 0) {
        if (next->begun) _longjmp(next->left, 1);
        next->begun = true;
        setcontext(&next->start);
    }
    arrive(here);
}

inline void go_on(Thread& t) {
    t.state = Thread::kRuns;
    block().ready.push_back(&t);
}

inline void check_same(const Thread& a, const Thread& b) {
    if (a.line == b.line && std::strcmp(a.what, b.what) == 0) return;
    std::fprintf(stderr, "cuda_on_cpu: threads %u and %u meet in %s, line %d, and in %s, line %d\n", a.number, b.number,
                 a.what, a.line, b.what, b.line);
    stop();
}

/// The block goes on if all that are left of it have arrived.
inline void try_block() {
    Block& b = block();
    if (b.arrived == 0 || b.arrived < b.alive) return;
    b.met = std::exchange(b.arrived, 0u);
    b.met_sum = std::exchange(b.sum, 0);
    const Thread* first = nullptr;
    for (Thread* t : b.in_turn) {
        if (t->state != Thread::kInBlock) continue;
        if (first == nullptr) first = t;
        check_same(*first, *t);
        go_on(*t);
    }
}

/// The same for the lanes of a mask.
inline void try_warp(Warp& warp, unsigned mask) {
    if ((mask & warp.alive & ~warp.waiting) != 0) return;
    Meeting meeting;
    std::memset(meeting.values, 0xcd, sizeof(meeting.values));  // what is read of lanes that are not there
    const Thread* first = nullptr;
    for (const Thread* t : warp.in_turn) {
        if ((mask & warp.alive & 1u << t->lane()) == 0) continue;
        if (t->mask != mask) return;
        if (first == nullptr) first = t;
        check_same(*first, *t);
        meeting.lanes |= 1u << t->lane();
        meeting.values[t->lane()] = t->value;
    }
    warp.waiting &= ~meeting.lanes;
    for (Thread* t : warp.in_turn)
        if ((meeting.lanes >> t->lane() & 1) != 0) {
            t->met = meeting;
            go_on(*t);
        }
}

inline Thread& wait_in(Thread::State state, const char* what, int line) {
    Thread& me = *block().running;
    me.state = state;
    me.what = what;
    me.line = line;
    return me;
}

/// The sum over the threads of a block; block().met is their number.
inline int meet_block(const char* what, int line, int value) {
    Block& b = block();
    Thread& me = wait_in(Thread::kInBlock, what, line);
    b.sum += value;
    ++b.arrived;
    try_block();
    yield(me.fiber);
    return b.met_sum;
}

template <class T>
const Meeting& meet_warp(const char* what, int line, unsigned mask, T value) {
    static_assert(std::is_arithmetic_v<T>);
    Thread& me = wait_in(Thread::kInWarp, what, line);
    if ((mask >> me.lane() & 1) == 0) {
        std::fprintf(stderr, "cuda_on_cpu: thread %u is not in its own mask %#x of %s, line %d\n", me.number, mask,
                     what, line);
        stop();
    }
    me.mask = mask;
    me.value = 0;
    std::memcpy(&me.value, &value, sizeof(value));
    Warp& warp = block().warps[me.number / 32];
    warp.waiting |= 1u << me.lane();
    try_warp(warp, mask);
    yield(me.fiber);
    return me.met;
}

/// The code of every fiber.
inline void run_blocks() {
    Block& b = block();
    arrive(b.running->fiber);
    for (;;) {
        (*b.kernel)();
        Thread& me = *b.running;
        Warp& warp = b.warps[me.number / 32];
        me.state = Thread::kExited;
        --b.alive;
        warp.alive &= ~(1u << me.lane());
        try_block();  // others may have waited for this one alone
        for (const Thread* t : warp.in_turn)
            if (t->state == Thread::kInWarp) try_warp(warp, t->mask);
        yield(me.fiber);
    }
}

inline std::unique_ptr<Thread> new_thread() {
    // Room for the reports of the sanitizers; the last page is closed, so that a stack that grows beyond is a fault.
    constexpr std::size_t kStack = 256 << 10, kPage = 16 << 10;
    void* const stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED) throw std::bad_alloc();
    mprotect(stack, kPage, PROT_NONE);
    auto thread = std::make_unique<Thread>();
    Fiber& fiber = thread->fiber;
    fiber.stack = stack;
    fiber.stack_bytes = kStack;
    fiber.begun = false;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = stack;
    fiber.start.uc_stack.ss_size = kStack;
    makecontext(&fiber.start, run_blocks, 0);
    return thread;
}

inline std::vector<std::uint64_t> in_order(std::uint64_t n, std::mt19937_64& draw) {
    std::vector<std::uint64_t> all(n);
    std::iota(all.begin(), all.end(), std::uint64_t{0});
    if (order == Order::descending) std::reverse(all.begin(), all.end());
    if (order == Order::shuffled) std::shuffle(all.begin(), all.end(), draw);
    return all;
}

inline void run_grid(dim3 grid, dim3 size, const std::function<void()>& kernel) {
    Block& b = block();
    std::mt19937_64 draw(seed);
    const unsigned n = size.x * size.y * size.z;
    while (b.threads.size() < n) b.threads.push_back(new_thread());
    b.kernel = &kernel;
    gridDim = grid;
    blockDim = size;
    for (const std::uint64_t at : in_order(std::uint64_t{grid.x} * grid.y * grid.z, draw)) {
        blockIdx = dim3(static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                        static_cast<unsigned>(at / grid.x / grid.y));
        b.in_turn.clear();
        b.warps.assign((n + 31) / 32, {});
        b.alive = n;
        for (const std::uint64_t i : in_order(n, draw)) {
            Thread& t = *b.threads[i];
            t.number = static_cast<unsigned>(i);
            t.index = dim3(t.number % size.x, t.number / size.x % size.y, t.number / size.x / size.y);
            b.in_turn.push_back(&t);
            b.warps[i / 32].in_turn.push_back(&t);
            b.warps[i / 32].alive |= 1u << t.lane();
            go_on(t);
        }
        yield(b.launcher);
    }
}

}  // namespace cuda_on_cpu
