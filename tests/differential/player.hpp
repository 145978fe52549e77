// Plays plans: a line for each step, with what the call gave, what became ready, and which worker's call has ended.
#pragma once

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "differential/child.hpp"
#include "differential/world.hpp"

namespace differential {

// A thread that makes one call at a time, so that the main thread can do something about it while it blocks.
class Worker {
public:
    Worker();
    ~Worker();
    void start(std::function<void()> call);
    bool is_idle() const;
    bool is_asleep() const;  // in the kernel, not just without a processor
    void signal(int number);

private:
    void loop();

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::function<void()> call_;
    bool is_over_ = false;
    std::atomic<pid_t> tid_{0};
    std::thread thread_;
};

class Player {
public:
    explicit Player(Hosts hosts);
    // Microseconds that are given to everything to become quiet: 0 as fast as it goes.
    void set_pace(int us) { pace_us_ = us; }
    void play(const Plan& plan, const std::function<void(std::string_view)>& line);

private:
    struct Job {
        std::unique_ptr<Worker> worker;
        Step step;
        Outcome outcome;
        bool is_running = false;
    };

    std::string run(const Step& step);
    std::string run_here(const Step& step);
    std::string run_in_child(const Step& step);
    std::string answer_as_child(const std::string& message);
    void fork_child();
    std::string news();
    void make_watch();
    std::string start(const Step& step);
    std::string run_join(Job& job);
    std::string collect();  // what workers have finished
    bool wait_for(const Job& job, int ms_max) const;
    void end_workers();
    void watch(bool on);

    Hosts hosts_;
    World world_;
    int pace_us_ = 0;
    timer_t watch_{};
    std::array<Job, worker_count> jobs_;
    Child child_;
};

}  // namespace differential
