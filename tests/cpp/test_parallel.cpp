#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lshcore/parallel.h"
#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "lshcore/error.h"

using namespace lshcore;

namespace {

/// How often each block ran.
std::vector<int> visits(std::int64_t n_blocks, int n_jobs) {
    std::vector<std::atomic<int>> counts(static_cast<std::size_t>(n_blocks));
    parallel_for(n_blocks, n_jobs, [&](std::int64_t b, int) { ++counts[static_cast<std::size_t>(b)]; });
    return {counts.begin(), counts.end()};
}

void nap() { std::this_thread::sleep_for(std::chrono::microseconds(200)); }

struct InterruptCheck {
    explicit InterruptCheck(bool (*check)()) { set_interrupt_check(check); }
    ~InterruptCheck() { set_interrupt_check(nullptr); }
};

std::atomic<int> g_asked{0};

}  // namespace

TEST_CASE("parallel: every block runs once, whatever the number of threads") {
    for (const std::int64_t n_blocks : {0, 1, 2, 7, 100, 1000})
        for (const int n_jobs : {-1, 0, 1, 2, 8, 50}) {
            CAPTURE(n_blocks);
            CAPTURE(n_jobs);
            CHECK(visits(n_blocks, n_jobs) == std::vector<int>(static_cast<std::size_t>(n_blocks), 1));
        }
    CHECK(visits(-3 + 3, 4).empty());
    bool called = false;
    parallel_for(-3, 4, [&](std::int64_t, int) { called = true; });
    CHECK_FALSE(called);
}

TEST_CASE("parallel: a worker is below n_jobs, has one call at a time, and n_jobs 1 stays on the caller") {
    for (const int n_jobs : {1, 2, 8}) {
        std::vector<std::atomic<int>> running(static_cast<std::size_t>(n_jobs));
        std::atomic<int> shared{0}, beyond{0}, elsewhere{0};
        const auto caller = std::this_thread::get_id();
        parallel_for(500, n_jobs, [&](std::int64_t, int worker) {
            if (worker < 0 || worker >= n_jobs) {
                ++beyond;
                return;
            }
            auto& mine = running[static_cast<std::size_t>(worker)];
            shared += mine.fetch_add(1) != 0;
            elsewhere += std::this_thread::get_id() != caller;
            std::this_thread::yield();
            --mine;
        });
        CHECK(beyond == 0);
        CHECK(shared == 0);
        if (n_jobs == 1) CHECK(elsewhere == 0);
    }
}

TEST_CASE("parallel: two jobs run at the same time") {
    std::atomic<int> inside{0};
    bool met[2] = {false, false};
    parallel_for(2, 2, [&](std::int64_t b, int) {  // neither block can end before the other has begun
        ++inside;
        const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
        while (inside < 2 && std::chrono::steady_clock::now() < limit) nap();
        met[b] = inside == 2;
    });
    CHECK(met[0]);
    CHECK(met[1]);
}

TEST_CASE("parallel: the first exception stops the rest and reaches the caller, and the pool works on") {
    for (const int n_jobs : {1, 2, 8}) {
        CAPTURE(n_jobs);
        std::atomic<int> ran{0};
        CHECK_THROWS_WITH_AS(parallel_for(100000, n_jobs,
                                          [&](std::int64_t b, int) {
                                              ++ran;
                                              if (b == 5) throw std::runtime_error("block five");
                                              nap();
                                          }),
                             "block five", std::runtime_error);
        CHECK(ran < 100000);
        CHECK(visits(64, n_jobs) == std::vector<int>(64, 1));
    }
    // From a helper as well: the caller's own block waits until the other one is about to throw.
    std::atomic<bool> other{false};
    CHECK_THROWS_AS(parallel_for(2, 2,
                                 [&](std::int64_t, int worker) {
                                     if (worker != 0) {
                                         other = true;
                                         throw 42;
                                     }
                                     while (!other) nap();
                                 }),
                    int);
}

TEST_CASE("parallel: nested calls and calls from several threads end and are complete") {
    std::vector<std::int64_t> sums(20, 0);
    parallel_for(20, 4, [&](std::int64_t outer, int) {
        std::vector<std::int64_t> parts(30, 0);
        parallel_for(30, 3, [&](std::int64_t inner, int) {
            std::atomic<std::int64_t> innermost{0};
            parallel_for(5, 2, [&](std::int64_t b, int) { innermost += b + 1; });
            parts[static_cast<std::size_t>(inner)] = outer * 1000 + inner + innermost;
        });
        sums[static_cast<std::size_t>(outer)] = std::accumulate(parts.begin(), parts.end(), std::int64_t{0});
    });
    for (std::int64_t outer = 0; outer < 20; ++outer)
        CHECK(sums[static_cast<std::size_t>(outer)] == 30 * (outer * 1000 + 15) + 29 * 30 / 2);

    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int t = 0; t < 4; ++t)
        callers.emplace_back([&] {
            for (int i = 0; i < 100; ++i) wrong += visits(17, 3) != std::vector<int>(17, 1);
        });
    for (auto& caller : callers) caller.join();
    CHECK(wrong == 0);

    CHECK_THROWS_AS(parallel_for(8, 4,
                                 [](std::int64_t, int) {
                                     parallel_for(8, 4, [](std::int64_t b, int) {
                                         if (b == 7) throw std::out_of_range("inner");
                                     });
                                 }),
                    std::out_of_range);
}

TEST_CASE("parallel: the interrupt check stops a call with Interrupted, and the next one works") {
    for (const int n_jobs : {1, 2, 8}) {
        CAPTURE(n_jobs);
        g_asked = 0;
        std::atomic<std::int64_t> ran{0};
        {
            const InterruptCheck check([] { return ++g_asked >= 2; });
            CHECK_THROWS_AS(parallel_for(1000000, n_jobs, [&](std::int64_t, int) { ++ran, nap(); }), Interrupted);
        }
        CHECK(g_asked == 2);  // the first answer was no, and nobody asks after a yes
        CHECK(ran < 1000000);
        CHECK(visits(100, n_jobs) == std::vector<int>(100, 1));
    }
}

TEST_CASE("parallel: the caller still asks while it only waits for the others") {
    g_asked = 0;
    std::atomic<bool> helping{false};
    const InterruptCheck check([] { return ++g_asked >= 1; });
    CHECK_THROWS_AS(
        parallel_for(2, 2,
                     [&](std::int64_t, int worker) {
                         helping = helping || worker != 0;
                         const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
                         while (worker == 0 ? !helping : g_asked == 0 && std::chrono::steady_clock::now() < limit)
                             nap();
                     }),
        Interrupted);
    CHECK(g_asked == 1);
}

TEST_CASE("parallel: a forked child of a warm parent has its own threads") {
    REQUIRE(visits(100, 4) == std::vector<int>(100, 1));  // the parent's threads exist now
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        alarm(60);  // a hang ends here, as a signal that the parent sees
        std::atomic<int> inside{0};
        parallel_for(3, 3, [&](std::int64_t, int) {  // ends only if three threads take part
            ++inside;
            while (inside < 3) nap();
        });
        _exit(visits(1000, 4) == std::vector<int>(1000, 1) ? 17 : 1);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 17);
    CHECK(visits(1000, 4) == std::vector<int>(1000, 1));
}

#if defined(__linux__)
TEST_CASE("parallel: available_cpus counts the CPUs this thread may use") {
    int counted = 0;
    bool pinned = false;
    std::thread([&] {
        cpu_set_t all, one;
        CPU_ZERO(&one);
        if (sched_getaffinity(0, sizeof(all), &all) != 0) return;
        int cpu = 0;
        while (!CPU_ISSET(cpu, &all)) ++cpu;
        CPU_SET(cpu, &one);
        pinned = available_cpus() == CPU_COUNT(&all) && sched_setaffinity(0, sizeof(one), &one) == 0;
        counted = available_cpus();
    }).join();
    CHECK(pinned);
    CHECK(counted == 1);
}
#endif

TEST_CASE("parallel: ceil_div") {
    CHECK(ceil_div(0, 4) == 0);
    CHECK(ceil_div(1, 4) == 1);
    CHECK(ceil_div(4, 4) == 1);
    CHECK(ceil_div(5, 4) == 2);
}
