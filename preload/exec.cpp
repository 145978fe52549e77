// exec: what the next program inherits stays this process's, and that program finds it if it shares the stack (passing.cpp); the references of what is
// close-on-exec go. The settings survive an environment that the program has made anew.
//
// A call that fails at once (there is no such program) must change nothing: what others hold as well is taken back. What nobody else holds is
// closed for good, and only where the program can be executed.
#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <cstdarg>
#include <cstring>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "preload/epoll_records.hpp"
#include "preload/fd_table.hpp"
#include "preload/libc.hpp"
#include "preload/lock.hpp"
#include "preload/passing.hpp"
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
            if (happens && active && !is_this_process() && socket::Runtime::instance().is_started()) {
                hand_on_from_vfork();
            }
            return;
        }
        {
            const Locked lock;
            release_all_sets();
            for (int fd = 0; fd < fds.end(); ++fd) {
                const Word word = fds.find(fd);
                if (word.is_socket() && is_inherited(fd)) {
                    mark_for_exec(fd);
                } else if (word.is_socket() && socket::abandon(word.socket())) {
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
                retain(fds.find(fd).is_socket() && !is_inherited(fd) ? fds.find(fd) : Word{});
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

// What this program was started with; it may have cleared it since.
std::vector<std::string>& own_settings() {
    static std::vector<std::string> settings;
    return settings;
}

bool is_setting(std::string_view entry) noexcept {
    return entry.starts_with("SHUNT_") || entry.starts_with("LD_PRELOAD=");
}

// How many entries an environment wants that the program has made anew, ours and the end among them; 0: it is to stay as it is. Where a setting of
// ours is left, who took LD_PRELOAD out has meant it.
std::size_t count_restored(char* const* variables) noexcept {
    if (!active || variables == nullptr) {
        return 0;
    }
    std::size_t count = 0;
    for (; variables[count] != nullptr; ++count) {
        if (is_setting(variables[count])) {
            return 0;
        }
    }
    return count + own_settings().size() + 1;
}

void restore(char** to, char* const* variables) noexcept {
    for (; *variables != nullptr; ++variables) {
        *to++ = *variables;
    }
    for (std::string& each : own_settings()) {
        *to++ = each.data();
    }
    *to = nullptr;
}

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

using Spawn = decltype(real.posix_spawn);

int spawn(Spawn how, pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions, const posix_spawnattr_t* attributes, char* const* words, char* const* variables) {
    const bool may_inherit = active && is_this_process() && socket::Runtime::instance().is_started();
    if (may_inherit) {
        mark_for_spawn();
    }
    pid_t born = 0;
    const int error = how(&born, path, actions, attributes, words, variables);
    if (error == 0 && may_inherit) {
        hand_on_to_spawned(born);
    }
    if (error == 0 && pid != nullptr) {
        *pid = born;
    }
    return error;
}

}  // namespace

void keep_settings() {
    own_settings() = config::shunt_environment();
    if (const auto preload = config::variable("LD_PRELOAD")) {
        own_settings().push_back("LD_PRELOAD=" + *preload);
    }
}

}  // namespace shunt::preload

using namespace shunt::preload;

// `given`, or on this stack what becomes of it with our settings.
#define RESTORE_SETTINGS(variables, given)                                                                                         \
    char* const* variables = given;                                                                                                \
    if (const std::size_t restored = count_restored(variables); restored != 0) {                                                   \
        auto** room = static_cast<char**>(__builtin_alloca(restored * sizeof(char*)));                                             \
        restore(room, variables);                                                                                                  \
        variables = room;                                                                                                          \
    }

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
SHUNT_EXPORT int execve(const char* path, char* const* words, char* const* given) noexcept {
    RESTORE_SETTINGS(variables, given)
    const Departure departure(can_be_executed(path));
    return real.execve(path, words, variables);
}
SHUNT_EXPORT int execv(const char* path, char* const* words) noexcept {
    return ::execve(path, words, shunt::config::all_variables());
}
SHUNT_EXPORT int execvp(const char* name, char* const* words) noexcept {
    return ::execvpe(name, words, shunt::config::all_variables());
}
SHUNT_EXPORT int execvpe(const char* name, char* const* words, char* const* given) noexcept {
    RESTORE_SETTINGS(variables, given)
    const Departure departure(can_be_executed(name));
    return real.execvpe(name, words, variables);
}
SHUNT_EXPORT int execveat(int folder, const char* path, char* const* words, char* const* given, int flags) noexcept {
    RESTORE_SETTINGS(variables, given)
    const Departure departure(true);
    return real.execveat(folder, path, words, variables, flags);
}
SHUNT_EXPORT int fexecve(int fd, char* const* words, char* const* given) noexcept {
    RESTORE_SETTINGS(variables, given)
    const Departure departure(true);
    return real.fexecve(fd, words, variables);
}
SHUNT_EXPORT int posix_spawn(pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions, const posix_spawnattr_t* attributes, char* const* words,
                             char* const* given) noexcept {
    RESTORE_SETTINGS(variables, given)
    return spawn(real.posix_spawn, pid, path, actions, attributes, words, variables);
}
SHUNT_EXPORT int posix_spawnp(pid_t* pid, const char* name, const posix_spawn_file_actions_t* actions, const posix_spawnattr_t* attributes, char* const* words,
                              char* const* given) noexcept {
    RESTORE_SETTINGS(variables, given)
    return spawn(real.posix_spawnp, pid, name, actions, attributes, words, variables);
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
