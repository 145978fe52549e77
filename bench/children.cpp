// See children.hpp. Waiting is done in poll() on the child's output: no timer ticks on the cores that measure.
#include "bench/children.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <system_error>
#include <thread>

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void run(const std::vector<std::string>& command, int core, int output_fd, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(126);
    }
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(core), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        dprintf(output_fd, "core %d: %s\n", core, std::strerror(errno));
        _exit(126);
    }
    std::vector<std::string> copy = command;
    std::vector<char*> arguments;
    for (std::string& argument : copy) {
        arguments.push_back(argument.data());
    }
    arguments.push_back(nullptr);
    dup2(output_fd, 1);
    dup2(output_fd, 2);
    execv(arguments[0], arguments.data());
    dprintf(2, "%s: %s\n", arguments[0], std::strerror(errno));
    _exit(127);
}

}  // namespace

Child::Child(const std::vector<std::string>& command, int core) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        throw std::system_error(errno, std::generic_category(), "pipe");
    }
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ == 0) {
        run(command, core, ends[1], parent);
    }
    close(ends[1]);
    output_fd_ = ends[0];
    if (pid_ < 0) {
        close(output_fd_);
        throw std::system_error(errno, std::generic_category(), "fork");
    }
}

Child::~Child() {
    for (const int signal : {SIGTERM, SIGKILL}) {
        if (pid_ > 0) {
            kill(pid_, signal);
            wait_for_end(Seconds(signal == SIGTERM ? 3 : 10));
        }
    }
    close(output_fd_);
}

// False at the end of the output or of the time.
bool Child::read_some(Seconds limit) {
    pollfd waiting{output_fd_, POLLIN, 0};
    if (poll(&waiting, 1, static_cast<int>(std::max(0.0, limit.count()) * 1000)) <= 0) {
        return false;
    }
    char buffer[4096];
    const ssize_t got = read(output_fd_, buffer, sizeof buffer);
    if (got > 0) {
        output_.append(buffer, static_cast<std::size_t>(got));
    }
    return got > 0;
}

bool Child::wait_for_line(const std::string& word, Seconds limit) {
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(limit);
    while (output_.find(word) == std::string::npos) {
        if (!read_some(end - Clock::now())) {
            return false;
        }
    }
    return true;
}

bool Child::wait_for_end(Seconds limit) {
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(limit);
    while (read_some(end - Clock::now())) {
    }
    // The output is closed as a rule a moment before the process is gone.
    while (pid_ > 0) {
        if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
            pid_ = -1;
            return true;
        }
        if (Clock::now() >= end) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

const std::string& Child::output() {
    while (read_some(Seconds(0))) {
    }
    return output_;
}

double busy_percent() {
    const auto read_stat = [](double& total, double& idle) {
        std::ifstream file("/proc/stat");
        std::string name;
        file >> name;
        total = idle = 0;
        for (int i = 0; i < 8; ++i) {
            double value = 0;
            file >> value;
            total += value;
            idle += i == 3 || i == 4 ? value : 0;
        }
    };
    double total_before, idle_before, total, idle;
    read_stat(total_before, idle_before);
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    read_stat(total, idle);
    return total > total_before ? 100 * (1 - (idle - idle_before) / (total - total_before)) : 0;
}

}  // namespace bench
