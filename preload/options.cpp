// Socket options and ioctl. The kernel's socket gets what is set as well, so that whoever takes over has it.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <cstdarg>

#include "base/log.hpp"
#include "base/user_memory.hpp"
#include "preload/handover.hpp"
#include "preload/interfaces.hpp"
#include "preload/libc.hpp"
#include "preload/shim.hpp"

namespace shunt::preload {

bool passes_on_options = false;

namespace {

bool joins_group(int level, int name) noexcept {
    if (level == IPPROTO_IP) {
        return name == IP_ADD_MEMBERSHIP || name == IP_ADD_SOURCE_MEMBERSHIP || name == MCAST_JOIN_GROUP || name == MCAST_JOIN_SOURCE_GROUP;
    }
    return level == IPPROTO_IPV6 && (name == IPV6_JOIN_GROUP || name == MCAST_JOIN_GROUP || name == MCAST_JOIN_SOURCE_GROUP);
}

// What Linux has against it, asked of a socket that nobody uses; else that it is not carried.
long refuse(int fd, Word word, int level, int name, const void* value, socklen_t length) noexcept {
    const auto scratch = static_cast<int>(sys::socket(word.is_v6() ? AF_INET6 : AF_INET, (word.is_stream() ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
    const long error = sys::setsockopt(scratch, level, name, value, length);
    sys::close(scratch);
    if (error < 0) {
        return error;
    }
    log::info("fd {}: option {} of level {} is not carried: ENOPROTOOPT", fd, name, level);
    return -ENOPROTOOPT;
}

// A fresh socket may still be the kernel's: it is from here on, when it is asked for what the stack does not have.
int set_foreign_option(int fd, Word word, int level, int name, const void* value, socklen_t length) noexcept {
    if (word.is_socket() || must_be_ours()) {
        return answer(refuse(fd, word, level, name, value, length));
    }
    const int result = real.setsockopt(fd, level, name, value, length);
    if (result == 0) {
        log_kernel(fd, "it was given an option that Shunt does not carry", nullptr, 0);
        give_to_kernel(fd, word);
    }
    return result;
}

int set_option(int fd, Word word, int level, int name, const void* value, socklen_t length) noexcept {
    if (binds_to_device(level, name)) {
        if (const auto done = bind_to_device(fd, word, name, value, length)) {
            return *done;
        }
    }
    const socket::OptionKind kind = socket::kind_of_option(word.is_stream(), level, name);
    if (kind == socket::OptionKind::foreign) {
        return set_foreign_option(fd, word, level, name, value, length);
    }
    if (joins_group(level, name)) {
        log_kernel(fd, "Shunt does not carry multicast groups yet", nullptr, 0);
    }
    if (word.is_socket() && socket::is_ours_alone(word.is_stream(), level, name)) {
        return answer(socket::set_option(word.socket(), level, name, value, length));
    }
    const int result = real.setsockopt(fd, level, name, value, length);
    if (kind == socket::OptionKind::kept && result == 0 && word.is_stream() && socket::is_passed_on(level, name)) {
        passes_on_options = true;
    }
    const bool is_done = !word.is_socket() || result != 0 || kind == socket::OptionKind::kept;
    return is_done ? result : answer(socket::set_option(word.socket(), level, name, value, length));
}

int get_option(int fd, Word word, int level, int name, void* value, socklen_t* length) noexcept {
    if ((value != nullptr && is_bad_pointer(value)) || (length != nullptr && is_bad_pointer(length))) {
        return real.getsockopt(fd, level, name, value, length);  // which says what is wrong
    }
    if (binds_to_device(level, name)) {
        if (const auto told = tell_device(word, name, value, length)) {
            return *told;
        }
    }
    const long ours = socket::get_option(word.socket(), level, name, value, length);
    if (ours == -ENOPROTOOPT) {
        return real.getsockopt(fd, level, name, value, length);
    }
    const bool is_error = level == SOL_SOCKET && name == SO_ERROR && ours == 0 && *length >= sizeof(int);
    if (is_error && *static_cast<int*>(value) == 0 && socket::is_both(word.socket())) {
        return real.getsockopt(fd, level, name, value, length);
    }
    return answer(ours);
}

int control(int fd, Word word, unsigned long request, void* argument) noexcept {
    if (request == FIONBIO) {
        const int result = real.ioctl(fd, request, argument);
        if (result == 0) {
            socket::set_nonblocking(word.socket(), *static_cast<int*>(argument) != 0);
        }
        return result;
    }
    if (request == FIOASYNC || request == FIOSETOWN || request == SIOCSPGRP) {
        const int result = real.ioctl(fd, request, argument);
        if (result == 0) {
            socket::follow_signals(word.socket(), fd);
        }
        return result;
    }
    const long ours = socket::control(word.socket(), request, argument);
    const bool looks_further = ours == 0 && request == FIONREAD && socket::is_both(word.socket()) && *static_cast<int*>(argument) == 0;
    return ours == -ENOTTY || looks_further ? real.ioctl(fd, request, argument) : answer(ours);
}

}  // namespace
}  // namespace shunt::preload

using namespace shunt::preload;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
SHUNT_EXPORT int setsockopt(int fd, int level, int name, const void* value, socklen_t length) noexcept {
    const Word word = settled(fd);
    return word.is_socket() || word.is_candidate() ? set_option(fd, word, level, name, value, length) : real.setsockopt(fd, level, name, value, length);
}
SHUNT_EXPORT int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept {
    const Word word = settled(fd);
    return word.is_socket() ? get_option(fd, word, level, name, value, length) : real.getsockopt(fd, level, name, value, length);
}
SHUNT_EXPORT int ioctl(int fd, unsigned long request, ...) noexcept {
    va_list list;
    va_start(list, request);
    void* argument = va_arg(list, void*);
    va_end(list);
    if (active) {
        if (const auto told = control_interfaces(fd, request, argument)) {
            return *told;
        }
    }
    const Word word = settled(fd);
    return word.is_socket() ? control(fd, word, request, argument) : real.ioctl(fd, request, argument);
}
SHUNT_EXPORT int sockatmark(int fd) noexcept {
    int mark = 0;
    return ::ioctl(fd, SIOCATMARK, &mark) < 0 ? -1 : mark;
}
}
