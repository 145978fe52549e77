// The stack's lock: between threads, between processes, and after the death of its holder.
#include "base/lock.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <vector>

namespace shunt {
namespace {

std::uint32_t tid() { return static_cast<std::uint32_t>(sys::gettid()); }

class SharedLock {
public:
    SharedLock() : place_(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)), lock_(new (place_) RobustLock) {}
    ~SharedLock() { munmap(place_, 4096); }
    RobustLock* operator->() { return lock_; }

private:
    void* place_;
    RobustLock* lock_;
};

pid_t child_that_dies_with(SharedLock& lock) {
    const pid_t child = fork();
    if (child == 0) {
        lock->lock(tid());
        _exit(0);
    }
    return child;
}

TEST(RobustLock, is_taken_once) {
    RobustLock lock;
    EXPECT_EQ(lock.lock(tid()), RobustLock::Outcome::taken);
    EXPECT_EQ(lock.holder(), tid());
    EXPECT_FALSE(lock.try_lock(tid()));
    lock.unlock();
    EXPECT_EQ(lock.holder(), 0U);
    EXPECT_TRUE(lock.try_lock(tid()));
    lock.unlock();
}

TEST(RobustLock, lets_one_thread_in_at_a_time) {
    RobustLock lock;
    long counter = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i < 20'000; ++i) {
                lock.lock(tid());
                const long seen = counter;
                counter = seen + 1;
                if (i % 64 == 0) {
                    std::this_thread::yield();
                }
                lock.unlock();
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(counter, 160'000);
    EXPECT_EQ(lock.holder(), 0U);
    EXPECT_FALSE(lock.is_wanted());
}

TEST(RobustLock, tells_its_holder_that_somebody_waits) {
    RobustLock lock;
    lock.lock(tid());
    std::thread waiter([&] {
        lock.lock(tid());
        lock.unlock();
    });
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!lock.is_wanted() && std::chrono::steady_clock::now() < limit) {
        std::this_thread::yield();
    }
    EXPECT_TRUE(lock.is_wanted());
    lock.unlock();
    waiter.join();
}

TEST(RobustLock, passes_between_processes) {
    SharedLock lock;
    lock->lock(tid());
    const pid_t child = fork();
    if (child == 0) {
        const bool good = lock->lock(tid()) == RobustLock::Outcome::taken;
        lock->unlock();
        _exit(good ? 0 : 1);
    }
    usleep(50'000);
    lock->unlock();
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

TEST(RobustLock, is_taken_over_from_a_process_that_died_with_it) {
    SharedLock lock;
    const pid_t child = child_that_dies_with(lock);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    EXPECT_EQ(lock->lock(tid()), RobustLock::Outcome::taken_from_dead);
    lock->unlock();
    EXPECT_EQ(lock->lock(tid()), RobustLock::Outcome::taken);
    lock->unlock();
}

TEST(RobustLock, is_taken_over_from_a_dead_child_that_nobody_has_waited_for) {
    SharedLock lock;
    const pid_t child = child_that_dies_with(lock);
    siginfo_t info{};
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);  // it is a zombie, and stays one
    alarm(5);
    EXPECT_EQ(lock->lock(tid()), RobustLock::Outcome::taken_from_dead);
    alarm(0);
    lock->unlock();
    waitpid(child, nullptr, 0);
}

TEST(RobustLock, is_not_taken_from_a_holder_that_only_takes_its_time) {
    RobustLock lock;
    lock.lock(tid());
    std::atomic<bool> outcome_is_plain{false};
    std::thread waiter([&] {
        outcome_is_plain = lock.lock(tid()) == RobustLock::Outcome::taken;
        lock.unlock();
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(lock.holder(), tid());
    lock.unlock();
    waiter.join();
    EXPECT_TRUE(outcome_is_plain);
}

}  // namespace
}  // namespace shunt
