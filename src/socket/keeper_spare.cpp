// See keeper_spare.hpp.
#include "socket/keeper_spare.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/descriptors.hpp"
#include "base/sys.hpp"
#include "pmd/keeper_calls.hpp"
#include "socket/guard.hpp"
#include "socket/keeper.hpp"

namespace shunt::socket {
namespace {

constexpr Duration quiet_for = std::chrono::milliseconds(20);  // a connection comes in several steps
constexpr Duration try_again_after = std::chrono::seconds(1);

[[noreturn]] void stand_by(Layer& layer, int keeper) noexcept {
    sys::call(SYS_prctl, PR_SET_NAME, sys::word("shunt-spare"));
    pollfd ended{keeper, POLLIN, 0};
    while (sys::ppoll(&ended, 1, nullptr, nullptr) <= 0) {
    }
    close_ours(keeper);
    sys::call(SYS_prctl, PR_SET_NAME, sys::word("shunt-keeper"));
    this_thread() = ThreadState{};
    layer.keeper_pid = static_cast<std::int32_t>(sys::getpid());
    run_keeper(layer);
}

}  // namespace

void Spare::bear(Layer& layer) noexcept {
    const int self = move_up(sys::call(SYS_pidfd_open, sys::getpid(), 0));
    pid_ = self < 0 ? -1 : sys::call(SYS_clone, 0, 0, 0, 0, 0);
    if (pid_ == 0) {
        stand_by(layer, self);
    }
    if (self >= 0) {
        close_ours(self);
    }
}

void Spare::tend(Layer& layer, Time now) noexcept {
    if (const std::uint64_t links = pmd::links_state(); links != links_) {
        end();
        links_ = links;
        changed_ = now;
    }
    if (pid_ > 0 && sys::call(SYS_wait4, pid_, 0, WNOHANG | __WALL, 0) == pid_) {  // somebody has killed it
        pid_ = 0;
        changed_ = now;
    }
    if (pid_ == 0 && now - changed_ >= quiet_for) {
        bear(layer);
        if (pid_ < 0) {
            pid_ = 0;
            changed_ = now + try_again_after;
        }
    }
}

void Spare::end() noexcept {
    if (pid_ > 0) {
        sys::call(SYS_kill, pid_, SIGKILL);
        sys::call(SYS_wait4, pid_, 0, __WALL, 0);
        pid_ = 0;
    }
}

}  // namespace shunt::socket
