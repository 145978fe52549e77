// The second process: forked by a step, with what the slots hold by then. It plays the steps that it is told, one at a time, on slots of its own.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "differential/plan.hpp"

namespace differential {

class Child {
public:
    // What the child makes of a message; it ends when there are no more.
    using Answer = std::function<std::string(const std::string& message)>;

    ~Child() { end(); }
    bool is_there() const { return pid_ > 0; }
    // In the child: does not return.
    void start(const Answer& answer);
    // How it ended, where there is no answer.
    std::string ask(const std::string& message);
    void end();

private:
    pid_t pid_ = -1;
    int channel_ = -1;
};

}  // namespace differential
