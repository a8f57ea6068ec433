#include "lshcore/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "lshcore/error.h"

namespace lshcore {
namespace {

constexpr auto kInterruptPeriod = std::chrono::milliseconds(50);

std::atomic<bool (*)()> g_interrupt_check{nullptr};

/// One parallel_for while it runs.
struct Job {
    const std::function<void(std::int64_t, int)>* body;
    std::int64_t n_blocks;
    int max_helpers;
    std::atomic<std::int64_t> next_block{0};
    std::atomic<bool> stop{false};
    // Guarded by the pool's mutex:
    int joined = 0;
    int active = 0;
    std::exception_ptr error;
    std::condition_variable idle;

    /// Takes blocks until there are none; between_blocks runs after each.
    template <class F>
    void work(int worker, F& between_blocks) {
        while (!stop.load(std::memory_order_relaxed)) {
            const std::int64_t block = next_block.fetch_add(1, std::memory_order_relaxed);
            if (block >= n_blocks) return;
            (*body)(block, worker);
            between_blocks();
        }
    }
};

/// Asks, at most every 50 ms, whether to stop. For the thread that called parallel_for.
class Poll {
   public:
    void operator()() {
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ < kInterruptPeriod) return;
        last_ = now;
        bool (*check)() = g_interrupt_check.load();
        if (check != nullptr && check()) throw Interrupted();
    }

   private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// What this thread is working on; poll is null on the pool's own threads.
thread_local Job* t_job = nullptr;
thread_local Poll* t_poll = nullptr;

/// Sets them for a while: a body may call parallel_for again.
struct Working {
    Working(Job* job, Poll* poll) : outer_job(t_job), outer_poll(t_poll) {
        t_job = job;
        t_poll = poll;
    }
    ~Working() {
        t_job = outer_job;
        t_poll = outer_poll;
    }
    Working(const Working&) = delete;
    Working& operator=(const Working&) = delete;

    Job* outer_job;
    Poll* outer_poll;
};

class Pool {
   public:
    void run(Job& job) {
        if (job.max_helpers == 0) {  // nobody is woken
            Poll poll;
            const Working working(&job, &poll);
            return job.work(0, poll);
        }
        {
            std::lock_guard lock(mutex_);
            grow(job.max_helpers);
            jobs_.push_back(&job);
        }
        wake_.notify_all();

        Poll poll;
        try {
            const Working working(&job, &poll);
            job.work(0, poll);
        } catch (...) {
            fail(job);
        }

        std::unique_lock lock(mutex_);
        jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));  // nobody joins any more
        while (job.active > 0) {
            job.idle.wait_for(lock, kInterruptPeriod);
            if (job.stop) continue;
            lock.unlock();  // never ask Python for anything while holding the mutex
            try {
                poll();
            } catch (...) {
                fail(job);
            }
            lock.lock();
        }
        if (job.error) std::rethrow_exception(job.error);
    }

   private:
    void fail(Job& job) {
        job.stop = true;
        std::lock_guard lock(mutex_);
        if (!job.error) job.error = std::current_exception();
    }

    void grow(int n) {
        for (; n_threads_ < n; ++n_threads_) std::thread([this] { serve(); }).detach();
    }

    void serve() {
        std::unique_lock lock(mutex_);
        for (;;) {
            Job* job = nullptr;
            wake_.wait(lock, [&] {
                const auto open = std::find_if(jobs_.begin(), jobs_.end(), [](Job* j) {
                    return j->joined < j->max_helpers && j->next_block.load() < j->n_blocks && !j->stop.load();
                });
                job = open == jobs_.end() ? nullptr : *open;
                return job != nullptr;
            });
            const int worker = ++job->joined;
            ++job->active;
            lock.unlock();
            try {
                const Working working(job, nullptr);
                auto nothing = [] {};
                job->work(worker, nothing);
            } catch (...) {
                fail(*job);
            }
            lock.lock();
            if (--job->active == 0) job->idle.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<Job*> jobs_;
    int n_threads_ = 0;
};

std::atomic<Pool*> g_pool{nullptr};

/// The pool lives for ever: its threads sleep in it at exit. A forked child has none of the threads, and perhaps a
/// locked mutex, so it starts a new one.
Pool& pool() {
    static const bool registered = [] {
#if defined(__unix__) || defined(__APPLE__)
        pthread_atfork(nullptr, nullptr, [] { g_pool.store(nullptr); });
#endif
        return true;
    }();
    static_cast<void>(registered);
    Pool* current = g_pool.load();
    if (current == nullptr) {
        auto* fresh = new Pool;
        if (g_pool.compare_exchange_strong(current, fresh)) return *fresh;
        delete fresh;
    }
    return *current;
}

}  // namespace

void parallel_for(std::int64_t n_blocks, int n_jobs, const std::function<void(std::int64_t, int)>& body) {
    if (n_blocks <= 0) return;
    Job job;
    job.body = &body;
    job.n_blocks = n_blocks;
    job.max_helpers = static_cast<int>(std::min<std::int64_t>(std::max(n_jobs, 1), n_blocks)) - 1;
    pool().run(job);
}

void interruption_point() {
    if (t_job == nullptr) return;
    if (t_job->stop.load(std::memory_order_relaxed)) throw Interrupted();
    if (t_poll != nullptr) (*t_poll)();
}

int available_cpus() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

void set_interrupt_check(bool (*check)()) { g_interrupt_check.store(check); }

}  // namespace lshcore
