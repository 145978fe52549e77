// The process's hold on the stack: the configuration, and the stack itself, started at the first socket call that needs it.
#pragma once

#include <sys/socket.h>

#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "config/config.hpp"
#include "socket/interfaces.hpp"

namespace shunt {
class Stack;
}

namespace shunt::socket {

// Whose is it? `reason` is a sentence for the log, static storage.
struct Decision {
    enum class Side { ours, kernel, both };
    Side side = Side::kernel;
    const char* reason = "";
    bool is_wish = false;  // a rule says so: no fall-back
};

class Runtime {
public:
    static Runtime& instance() noexcept;

    // Reads the environment (once; later calls give the same answer). Not configured (no link): is_active() is false, everything goes to the kernel.
    Outcome<void> configure();
    void configure(const config::Config& config);  // the native library's way
    bool is_active() const noexcept { return active_; }
    const config::Config& config() const noexcept { return config_; }

    // What a program is shown of our links; empty: nothing is configured. Static storage once configured.
    std::span<const Interface> interfaces() const noexcept { return interfaces_; }

    // The stack; starts EAL, opens the ports and starts the keeper when called first. Thread-safe. The error names the remedy; it is remembered.
    Outcome<Stack*> stack();
    bool is_started() const noexcept;
    // Shares a stack that runs already, and starts none. False: there is none to share.
    bool join() noexcept;

    // Cheap, from the configuration alone (no EAL). For addresses in AF_INET, or AF_INET6 (v4-mapped, or :: for the wildcard). Rules come first
    // (config/rules.hpp); a rule for Shunt does not make an address or a route.
    Decision decide_bind(bool is_tcp, const sockaddr* address, socklen_t length) const noexcept;
    Decision decide_peer(bool is_tcp, const sockaddr* address, socklen_t length) const noexcept;

    // The process ends: the keeper delivers what was written; where it was killed, this waits for that, for a bounded time.
    void finish() noexcept;
    // In a forked child.
    void after_fork_in_child() noexcept;

private:
    Runtime() = default;
    bool reaches(std::uint32_t address, bool is_v6) const noexcept;
    bool owns(std::uint32_t address) const noexcept;
    bool hears_all_at(std::uint32_t broadcast) const noexcept;

    Decision ask_rules(const config::Question& question, Decision otherwise) const noexcept;

    config::Config config_;
    std::vector<Interface> interfaces_;
    std::vector<config::Rule> rules_;      // those for this program
    std::vector<std::string> reasons_;     // what the log says of each
    bool active_ = false;
    bool configured_ = false;
};

}  // namespace shunt::socket
