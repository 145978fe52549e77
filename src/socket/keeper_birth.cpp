// How the keeper comes into the world: a clone of the process that starts the stack, made by a thread with a stack of our own, since the keeper lets go of
// the program's memory, its threads' stacks among it. It has no exit signal: no wait() of the program's sees it.
//
// What it keeps: code and data of what is loaded, whatever was mapped since the stock-taking (the arena, packets, queues, registers of cards), its own
// stack with the thread's storage. libc's heap is gone, so it must not allocate, nor resolve a symbol (our libraries are linked with -z now).
#include <fcntl.h>
#include <fmt/core.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cstring>

#include "base/descriptors.hpp"
#include "base/sys.hpp"
#include "pmd/control.hpp"
#include "pmd/driver_heap.hpp"
#include "pmd/keeper_calls.hpp"
#include "socket/guard.hpp"
#include "socket/keeper.hpp"

namespace shunt::socket {
namespace {

constexpr std::size_t stack_bytes = 2 * 1024 * 1024;  // of address space: the thread sanitizer wants nearly 1 MiB
constexpr std::size_t page = 4096;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool can_let_go = false;  // the sanitizer's own memory is among the program's
#else
constexpr bool can_let_go = true;
#endif

struct Birth {
    Layer* layer;
    std::span<const AddressRange> memory;  // in the nest
    std::span<const int> descriptors;
    bool all_but_ours;
    long pid;
};

int keeper_pidfd = -1;
std::int32_t known_keeper = 0;

// The thread's table of thread-local storage (at fs:8) is of the program's heap. One entry in front of it holds its length.
void move_thread_table() noexcept {
    constexpr std::size_t entries_max = 1024;
    static std::uint64_t copy[2 * entries_max];
    std::uint64_t* table;
    __asm__ volatile("movq %%fs:8, %0" : "=r"(table));
    const std::size_t entries = std::min<std::size_t>(table[-2] + 2, entries_max);
    std::memcpy(copy, table - 2, entries * 2 * sizeof(std::uint64_t));
    __asm__ volatile("movq %0, %%fs:8" : : "r"(copy + 2) : "memory");
}

void close_descriptors(const Birth& birth) noexcept {
    if (birth.all_but_ours) {
        close_all_but_ours();
    } else {
        std::ranges::for_each(birth.descriptors, [](int fd) { is_ours(fd) ? 0 : sys::close(fd); });
    }
    const long null = sys::call(SYS_openat, AT_FDCWD, sys::word("/dev/null"), O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd < 3; ++fd) {
        if (sys::fcntl(fd, F_GETFD) < 0) {
            sys::call(SYS_dup3, null, fd, O_CLOEXEC);
        }
    }
}

// Handlers are the program's, and so is what they would touch.
void restore_signals() noexcept {
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)();
        std::uint64_t mask;
    } const by_default{};
    for (int signal = 1; signal <= SIGRTMAX; ++signal) {
        sys::call(SYS_rt_sigaction, signal, sys::word(&by_default), 0, 8);
    }
}

[[noreturn]] void become_keeper(const Birth& birth) noexcept {
    sys::call(SYS_setsid);
    sys::call(SYS_prctl, PR_SET_NAME, sys::word("shunt-keeper"));
    sys::call(SYS_chdir, sys::word("/"));
    restore_signals();
    close_descriptors(birth);
    move_thread_table();
    set_descriptor_watcher(nullptr);
    pmd::keep_own_heap_only();
    if (can_let_go) {
        unmap(birth.memory);
    }
    this_thread() = ThreadState{};
    this_process = no_process;
    run_keeper(*birth.layer);
}

void* bear(void* argument) {
    auto& birth = *static_cast<Birth*>(argument);
    birth.pid = sys::call(SYS_clone, 0, 0, 0, 0, 0);
    if (birth.pid == 0) {
        const Birth here = birth;   // the caller's stack goes
        become_keeper(here);
    }
    return nullptr;
}

// The stack for the thread, and in front of it what the keeper has to read when all else is gone.
class Nest {
public:
    explicit Nest(const Belongings& belongings) noexcept {
        const std::size_t memory_bytes = belongings.memory.size() * sizeof(AddressRange), fd_bytes = belongings.descriptors.size() * sizeof(int);
        notes_bytes_ = (memory_bytes + fd_bytes + page) / page * page;
        const long mapped = sys::call(SYS_mmap, 0, static_cast<long>(notes_bytes_ + stack_bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped < 0 && mapped > -4096) {
            return;
        }
        at_ = reinterpret_cast<std::byte*>(mapped);
        std::memcpy(at_, belongings.memory.data(), memory_bytes);
        std::memcpy(at_ + memory_bytes, belongings.descriptors.data(), fd_bytes);
        memory_ = {reinterpret_cast<const AddressRange*>(at_), belongings.memory.size()};
        descriptors_ = {reinterpret_cast<const int*>(at_ + memory_bytes), belongings.descriptors.size()};
    }
    ~Nest() {
        if (at_ != nullptr) {
            sys::call(SYS_munmap, sys::word(at_), static_cast<long>(notes_bytes_ + stack_bytes));
        }
    }
    Nest(const Nest&) = delete;
    Nest& operator=(const Nest&) = delete;

    bool is_there() const noexcept { return at_ != nullptr; }
    void* stack() const noexcept { return at_ + notes_bytes_; }
    std::span<const AddressRange> memory() const noexcept { return memory_; }
    std::span<const int> descriptors() const noexcept { return descriptors_; }

private:
    std::byte* at_ = nullptr;
    std::size_t notes_bytes_ = 0;
    std::span<const AddressRange> memory_;
    std::span<const int> descriptors_;
};

// Runs `bear` in a thread on the nest's stack. 0 or an errno.
int run_in_nest(const Nest& nest, Birth& birth) {
    sigset_t all, old;
    sigfillset(&all);
    sys::sigprocmask(SIG_SETMASK, &all, &old);
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    int error = pthread_attr_setstack(&attributes, nest.stack(), stack_bytes);
    if (error == 0) {
        error = pthread_create(&thread, &attributes, bear, &birth);
    }
    if (error == 0) {
        pthread_join(thread, nullptr);
    }
    pthread_attr_destroy(&attributes);
    sys::sigprocmask(SIG_SETMASK, &old, nullptr);
    return error;
}

}  // namespace

Belongings take_stock() {
    return {mapped_by_program(), open_descriptors()};
}

Outcome<void> start_keeper(Layer& layer, const Belongings& belongings, bool all_but_ours) {
    if (pmd::has_control_loop() && !pmd::stop_control_loop()) {
        return explain(EBUSY, "DPDK's interrupt thread does not come to rest; start the program again");
    }
    const Nest nest(belongings);
    Birth birth{&layer, nest.memory(), nest.descriptors(), all_but_ours, -ENOMEM};
    int error = nest.is_there() ? run_in_nest(nest, birth) : ENOMEM;
    if (error == 0 && birth.pid < 0) {
        error = static_cast<int>(-birth.pid);
    }
    if (error != 0) {
        return explain(error, fmt::format("cannot start the keeper's process ({}); is the limit of processes (ulimit -u) or of memory reached?", std::strerror(error)));
    }
    pmd::give_up_links();
    layer.keeper_pid = static_cast<std::int32_t>(birth.pid);
    know_keeper(layer);
    return {};
}

void know_keeper(const Layer& layer) noexcept {
    if (keeper_pidfd >= 0) {
        close_ours(keeper_pidfd);
    }
    known_keeper = layer.keeper_pid;
    keeper_pidfd = move_up(sys::call(SYS_pidfd_open, known_keeper, 0));
}

bool is_keeper_alive() noexcept {
    if (layer().keeper_pid != known_keeper) {  // its spare has taken its place
        know_keeper(layer());
    }
    pollfd ended{keeper_pidfd, POLLIN, 0};
    constexpr timespec at_once{};
    return keeper_pidfd >= 0 && sys::ppoll(&ended, 1, &at_once, nullptr) == 0;
}

}  // namespace shunt::socket
