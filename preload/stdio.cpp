// Streams over sockets of ours: libc's own streams read and write by system call, which the kernel's socket cannot answer. fdopen of one of ours
// makes a stream that calls us instead; its fileno() is -1. fclose of a stream that was opened before the decision must not leave a stale word.
#include <stdio.h>

#include <cstdint>

#include "preload/fd_table.hpp"
#include "preload/libc.hpp"
#include "preload/process.hpp"
#include "preload/shim.hpp"

extern "C" {
ssize_t read(int fd, void* data, size_t size);
ssize_t write(int fd, const void* data, size_t size);
int close(int fd);
}

namespace shunt::preload {
namespace {

int fd_of(void* cookie) noexcept {
    return static_cast<int>(reinterpret_cast<std::intptr_t>(cookie));
}

ssize_t read_stream(void* cookie, char* data, size_t size) {
    return ::read(fd_of(cookie), data, size);
}

ssize_t write_stream(void* cookie, const char* data, size_t size) {
    const ssize_t written = ::write(fd_of(cookie), data, size);
    return written < 0 ? 0 : written;  // what a cookie's write returns for an error
}

int close_stream(void* cookie) {
    return ::close(fd_of(cookie));
}

FILE* open_stream(int fd, const char* mode) noexcept {
    const cookie_io_functions_t functions{read_stream, write_stream, nullptr, close_stream};
    return fopencookie(reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)), mode, functions);
}

int close_file(FILE* stream) {
    const int fd = fds.end() != 0 ? fileno(stream) : -1;
    if (fds.find(fd).is_none() || !is_this_process()) {
        return real.fclose(stream);
    }
    const Word removed = remove_descriptor(fd);
    const int result = real.fclose(stream);
    const int error = errno;
    release(removed, fd);
    errno = error;
    return result;
}

}  // namespace
}  // namespace shunt::preload

using namespace shunt::preload;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
SHUNT_EXPORT FILE* fdopen(int fd, const char* mode) noexcept {
    return fds.socket_of(fd) != nullptr ? open_stream(fd, mode) : real.fdopen(fd, mode);
}
SHUNT_EXPORT int fclose(FILE* stream) {
    return close_file(stream);
}
}
