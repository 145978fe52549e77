// Child processes of end_to_end: started on a core, bounded by time, ended by their pid, gone when we are gone.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace bench {

using Seconds = std::chrono::duration<double>;

class Child {
public:
    Child(const std::vector<std::string>& command, int core);
    ~Child();  // ends it: SIGTERM, after a while SIGKILL
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    // Until it has written a line that begins with `word`; false when it ended before or the time is over.
    bool wait_for_line(const std::string& word, Seconds limit);
    // Until it has ended by itself; false when the time is over.
    bool wait_for_end(Seconds limit);
    // What it has written so far, both outputs.
    const std::string& output();

private:
    bool read_some(Seconds limit);

    pid_t pid_ = -1;
    int output_fd_ = -1;
    std::string output_;
};

// Per cent of all processors' time that somebody used in the last half second.
double busy_percent();

}  // namespace bench
