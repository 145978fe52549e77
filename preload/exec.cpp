// exec: the next program in this process cannot use our sockets, so this process's references go. Without it a child that only runs a helper
// would keep its parent's connections open for ever.
//
// A call that fails at once (there is no such program) must change nothing: what others hold as well is taken back. What nobody else holds is
// closed for good, and only where the program can be executed.
#include <fcntl.h>
#include <unistd.h>

#include <cstdarg>
#include <cstring>

#include "preload/epoll_records.hpp"
#include "preload/fd_table.hpp"
#include "preload/libc.hpp"
#include "preload/lock.hpp"
#include "preload/process.hpp"
#include "preload/shim.hpp"
#include "socket/runtime.hpp"

namespace shunt::preload {
namespace {

bool can_be_executed(const char* path) noexcept {
    return std::strchr(path, '/') == nullptr || sys::call(SYS_faccessat, AT_FDCWD, sys::word(path), X_OK) == 0;
}

// The references, away while it lives; alive again means that the exec has failed.
class Departure {
public:
    explicit Departure(bool happens) noexcept : happens_(happens && active && is_this_process() && socket::Runtime::instance().is_started()) {
        if (!happens_) {
            return;
        }
        {
            const Locked lock;
            release_all_sets();
            for (int fd = 0; fd < fds.end(); ++fd) {
                const Word word = fds.find(fd);
                if (word.is_socket() && socket::abandon(word.socket())) {
                    take_duplicates(word);
                }
            }
        }
        socket::depart(true);
        socket::Runtime::instance().finish();
    }
    ~Departure() {
        if (happens_) {
            const int error = errno;
            const Locked lock;
            socket::depart(false);
            for (int fd = 0; fd < fds.end(); ++fd) {
                retain(fds.find(fd).is_socket() ? fds.find(fd) : Word{});
            }
            retain_all_sets();
            errno = error;
        }
    }
    Departure(const Departure&) = delete;
    Departure& operator=(const Departure&) = delete;

private:
    static void take_duplicates(Word word) noexcept {
        for (int fd = 0; fd < fds.end(); ++fd) {
            if (fds.find(fd) == word) {
                fds.take(fd);
                forget(fd);
            }
        }
    }

    bool happens_;
};

// The words of execl and its kin, up to the null. `list` stands behind the first.
std::size_t count_words(va_list list) noexcept {
    std::size_t count = 1;
    while (va_arg(list, char*) != nullptr) {
        ++count;
    }
    return count;
}

void copy_words(char** to, const char* first, va_list list) noexcept {
    *to = const_cast<char*>(first);
    while (*to != nullptr) {
        *++to = va_arg(list, char*);
    }
}

}  // namespace
}  // namespace shunt::preload

using namespace shunt::preload;

// Puts the variadic words into `words`, an array on this stack; leaves `list` behind the null.
#define COLLECT_WORDS(words, first)                                                                                                \
    va_list list;                                                                                                                  \
    va_start(list, first);                                                                                                         \
    const std::size_t count = count_words(list);                                                                                    \
    va_end(list);                                                                                                                  \
    auto** words = static_cast<char**>(__builtin_alloca((count + 1) * sizeof(char*)));                                             \
    va_start(list, first);                                                                                                         \
    copy_words(words, first, list)

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
SHUNT_EXPORT int execve(const char* path, char* const* words, char* const* variables) noexcept {
    const Departure departure(can_be_executed(path));
    return real.execve(path, words, variables);
}
SHUNT_EXPORT int execv(const char* path, char* const* words) noexcept {
    const Departure departure(can_be_executed(path));
    return real.execv(path, words);
}
SHUNT_EXPORT int execvp(const char* name, char* const* words) noexcept {
    const Departure departure(can_be_executed(name));
    return real.execvp(name, words);
}
SHUNT_EXPORT int execvpe(const char* name, char* const* words, char* const* variables) noexcept {
    const Departure departure(can_be_executed(name));
    return real.execvpe(name, words, variables);
}
SHUNT_EXPORT int execveat(int folder, const char* path, char* const* words, char* const* variables, int flags) noexcept {
    const Departure departure(true);
    return real.execveat(folder, path, words, variables, flags);
}
SHUNT_EXPORT int fexecve(int fd, char* const* words, char* const* variables) noexcept {
    const Departure departure(true);
    return real.fexecve(fd, words, variables);
}
SHUNT_EXPORT int execl(const char* path, const char* first, ...) noexcept {
    COLLECT_WORDS(words, first);
    va_end(list);
    return ::execv(path, words);
}
SHUNT_EXPORT int execlp(const char* name, const char* first, ...) noexcept {
    COLLECT_WORDS(words, first);
    va_end(list);
    return ::execvp(name, words);
}
SHUNT_EXPORT int execle(const char* path, const char* first, ...) noexcept {
    COLLECT_WORDS(words, first);
    char* const* variables = va_arg(list, char* const*);
    va_end(list);
    return ::execve(path, words, variables);
}
}
