#include "differential/player.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <sstream>
#include <utility>

namespace differential {
namespace {

constexpr int interrupting = SIGUSR2, restarting = SIGUSR1;
constexpr long blocked_after_ns = 10'000'000;  // a call of the main thread is interrupted then; later, where steps are given time: 3 ms may take as long on a busy machine
std::atomic<int> broken_pipes{0};

void install(int signal, int flags, void (*handler)(int)) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(signal, &action, nullptr);
}

std::string result_text(const World& world, const Outcome& outcome) {
    const bool is_many = world.has_filled && outcome.result > 1000;
    constexpr int restart = 512;  // ERESTARTSYS: Linux's recvmmsg leaves it behind as the socket's error
    return " = " + (outcome.error != 0 ? "-" + error_name(outcome.error == restart ? EINTR : outcome.error) : is_many ? "many" : std::to_string(outcome.result)) + (outcome.data.empty() ? "" : " ") + outcome.data;
}

}  // namespace

// ---------------------------------------------------------------- workers

Worker::Worker() : thread_([this] { loop(); }) {}

Worker::~Worker() {
    {
        const std::scoped_lock lock(mutex_);
        is_over_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void Worker::start(std::function<void()> call) {
    {
        const std::scoped_lock lock(mutex_);
        call_ = std::move(call);
    }
    changed_.notify_all();
}

bool Worker::is_idle() const {
    const std::scoped_lock lock(mutex_);
    return !call_;
}

bool Worker::is_asleep() const {
    std::ifstream file("/proc/self/task/" + std::to_string(tid_.load()) + "/stat");
    std::string text;
    std::getline(file, text);
    const std::size_t behind_name = text.rfind(") ");
    return behind_name != text.npos && text[behind_name + 2] == 'S';
}

void Worker::signal(int number) { pthread_kill(thread_.native_handle(), number); }

void Worker::loop() {
    tid_ = gettid();
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return is_over_ || call_; });
        if (is_over_) {
            return;
        }
        lock.unlock();
        call_();
        lock.lock();
        call_ = nullptr;
    }
}

// ---------------------------------------------------------------- playing

Player::Player(Hosts hosts) : hosts_(hosts) {
    install(SIGPIPE, SA_RESTART, [](int) { ++broken_pipes; });
    install(restarting, SA_RESTART, [](int) {});
    install(interrupting, 0, [](int) {});
    install(SIGALRM, 0, [](int) {});
    make_watch();
}

// Of the calling thread; a fork does not take it along.
void Player::make_watch() {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGALRM;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    timer_create(CLOCK_MONOTONIC, &event, &watch_);
}

void Player::watch(bool on) {
    const long after_ns = std::min(std::max(blocked_after_ns, 40'000L * pace_us_), 999'999'999L);
    const timespec after{0, on ? after_ns : 0};
    const itimerspec times{after, after};
    timer_settime(watch_, 0, &times, nullptr);
}

void Player::play(const Plan& plan, const std::function<void(std::string_view)>& line) {
    world_ = World{};
    world_.hosts = hosts_;
    for (const Step& step : plan) {
        std::string text = std::to_string(world_.step) + " " + text_of(step) + run(step);
        text += collect();
        text += news();
        if (child_.is_there()) {
            const std::string told = child_.ask("look " + std::to_string(world_.has_filled));
            text += told.empty() ? "" : " | child" + told;
        }
        line(text + "\n");
        ++world_.step;
    }
    child_.end();
    end_workers();
    world_.close_all();
}

std::string Player::run(const Step& step) { return step.worker == in_child ? run_in_child(step) : step.worker >= 0 ? start(step) : run_here(step); }

// What has changed since the last step.
std::string Player::news() {
    const std::string changed = world_.settle(pace_us_);
    std::string text = changed.empty() ? "" : " |" + changed;
    if (const int count = broken_pipes.exchange(0); count != 0) {
        text += " SIGPIPE*" + std::to_string(count);
    }
    return text;
}

// ---------------------------------------------------------------- the second process

void Player::fork_child() {
    child_.start([this, is_fresh = true](const std::string& message) mutable {
        if (std::exchange(is_fresh, false)) {
            make_watch();
        }
        return answer_as_child(message);
    });
}

// "look" and has_filled, or step, has_connected, has_filled and the step's text.
std::string Player::answer_as_child(const std::string& message) {
    if (message.starts_with("look ")) {
        world_.has_filled = message.back() == '1';
        return news();
    }
    std::istringstream words(message);
    std::string text;
    words >> world_.step >> world_.has_connected >> world_.has_filled >> std::ws;
    std::getline(words, text);
    text = run_here(*step_of(text));
    return std::to_string(world_.has_connected) + std::to_string(world_.has_filled) + text;
}

std::string Player::run_in_child(const Step& step) {
    if (!child_.is_there() || step.operation->run == nullptr) {
        return " (no child)";
    }
    Step there = step;
    there.worker = -1;
    const std::string flags = std::to_string(world_.has_connected) + " " + std::to_string(world_.has_filled);
    const std::string answer = child_.ask(std::to_string(world_.step) + " " + flags + " " + text_of(there));
    if (!child_.is_there()) {
        return " " + answer;
    }
    world_.has_connected = answer.at(0) == '1';
    world_.has_filled = answer.at(1) == '1';
    return answer.substr(2);
}

// ---------------------------------------------------------------- this one

std::string Player::run_here(const Step& step) {
    const auto numbers = step.numbers();
    if (step.operation == find_operation("fork")) {
        fork_child();
        return "";
    }
    if (step.operation == find_operation("end_child")) {
        child_.end();
        return "";
    }
    if (step.operation->run == nullptr) {
        Job& job = jobs_[static_cast<std::size_t>(numbers[0])];
        if (job.is_running && step.operation == find_operation("signal")) {
            job.worker->signal(numbers[1] != 0 ? interrupting : restarting);
            wait_for(job, 1);
        }
        return step.operation == find_operation("join") ? run_join(job) : "";
    }
    if (world_.has_filled && step.operation->writes) {
        return " (left out: what fits is not known)";
    }
    Outcome outcome;
    outcome.letter = world_.letter();
    if (step.operation->may_block) {
        watch(true);
    }
    step.operation->run(world_, numbers.data(), outcome);
    if (step.operation->may_block) {
        watch(false);
    }
    for (const auto& made : outcome.made) {
        world_.put(made);
    }
    return result_text(world_, outcome);
}

std::string Player::start(const Step& step) {
    Job& job = jobs_[static_cast<std::size_t>(step.worker)];
    if (job.is_running || step.operation->run == nullptr || !step.operation->may_block || (world_.has_filled && step.operation->writes)) {
        return " (not started)";
    }
    if (const std::string text = text_of(step); text.find("WAITALL") != text.npos && text.find("PEEK") != text.npos) {
        return " (not started: two who read what one has peeked at are an application's bug, Linux says so in its log)";
    }
    if (!job.worker) {
        job.worker = std::make_unique<Worker>();
    }
    job.step = step;
    job.outcome = {};
    job.outcome.letter = world_.letter();
    job.is_running = true;
    job.worker->start([this, &job] { job.step.operation->run(world_, job.step.numbers().data(), job.outcome); });
    wait_for(job, 1);
    return "";
}

std::string Player::run_join(Job& job) {
    const bool is_done = !job.is_running || wait_for(job, 20);
    return is_done ? "" : " (still blocked)";
}

bool Player::wait_for(const Job& job, int ms_max) const {
    ms_max = std::max(ms_max, 3 * pace_us_ / 1000);
    constexpr int rounds_max = 3000;
    for (int asleep = 0, rounds = 0; asleep < ms_max * 10 && rounds < rounds_max && !job.worker->is_idle(); ++rounds) {
        usleep(100);
        asleep += job.worker->is_asleep() ? 1 : 0;
    }
    return job.worker->is_idle();
}

std::string Player::collect() {
    std::string text;
    for (Job& job : jobs_) {
        if (job.is_running && wait_for(job, 1)) {
            job.is_running = false;
            text += " | " + text_of(job.step) + result_text(world_, job.outcome);
            for (const auto& made : job.outcome.made) {
                world_.put(made);
            }
        }
    }
    return text;
}

void Player::end_workers() {
    for (Job& job : jobs_) {
        while (job.is_running && !job.worker->is_idle()) {
            job.worker->signal(interrupting);
            usleep(200);
        }
        if (std::exchange(job.is_running, false)) {
            for (const auto& made : job.outcome.made) {
                world_.put(made);
            }
        }
    }
}

}  // namespace differential
