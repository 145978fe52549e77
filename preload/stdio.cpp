// Streams over sockets of ours: libc's own streams read and write by system call, which the kernel's socket cannot answer. fdopen of one of ours
// makes a stream that calls us instead. fclose of a stream that was opened before the decision must not leave a stale word. libc's freopen does not know
// such streams: ours puts the file under the same number, which the stream goes on calling for.
#include <stdio.h>

#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "preload/fd_table.hpp"
#include "preload/libc.hpp"
#include "preload/process.hpp"
#include "preload/shim.hpp"

extern "C" {
ssize_t read(int fd, void* data, size_t size);
ssize_t write(int fd, const void* data, size_t size);
int close(int fd);
int dup3(int fd, int wanted, int flags) noexcept;
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

// Of a socket ESPIPE; after freopen it may be a file.
int seek_stream(void* cookie, off64_t* offset, int whence) {
    const long at = sys::call(SYS_lseek, fd_of(cookie), *offset, whence);
    *offset = at;
    return answer(at < 0 ? at : 0);
}

int close_stream(void* cookie) {
    return ::close(fd_of(cookie));
}

// What libc's own stream functions do not show: behind a stream lies the table of its operations.
const void* operations_of(FILE* stream) noexcept {
    const void* table;
    std::memcpy(&table, stream + 1, sizeof table);
    return table;
}
std::atomic<const void*> our_operations{nullptr};

FILE* open_stream(int fd, const char* mode) noexcept {
    const cookie_io_functions_t functions{read_stream, write_stream, seek_stream, close_stream};
    FILE* stream = fopencookie(reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)), mode, functions);
    if (stream != nullptr) {
        stream->_fileno = fd;  // for fileno(); a cookie's stream does not use it otherwise
        our_operations.store(operations_of(stream));
    }
    return stream;
}

int close_file(FILE* stream) {
    const int fd = fds.end() != 0 ? fileno(stream) : -1;
    const Word word = fds.find(fd);
    if (word.is_none() || !is_this_process()) {
        return real.fclose(stream);
    }
    const bool is_flushed = !word.is_socket() || fflush(stream) == 0;  // by us: afterwards the descriptor is the kernel's
    const int flush_error = errno;
    const Word removed = remove_descriptor(fd);
    const int result = real.fclose(stream);
    const int error = is_flushed ? errno : flush_error;
    release(removed, fd);
    errno = error;
    return is_flushed ? result : EOF;
}

FILE* reopen(const char* path, const char* mode, FILE* stream) {
    constexpr int way_flags = 0x4 | 0x8 | 0x1000;  // libc's: no reading, no writing, appending
    constexpr int state_flags = 0x10 | 0x20 | 0x800;  // end of file, error, writing
    const int fd = fileno(stream);
    fflush(stream);
    stream->_IO_read_base = stream->_IO_read_ptr = stream->_IO_read_end = stream->_IO_buf_base;
    stream->_IO_write_base = stream->_IO_write_ptr = stream->_IO_write_end = stream->_IO_buf_base;
    FILE* fresh = path != nullptr ? std::fopen(path, mode) : nullptr;  // a socket cannot be opened again
    if (fresh == nullptr) {
        const int error = path != nullptr ? errno : ENXIO;
        ::close(fd);
        errno = error;
        return nullptr;
    }
    const bool is_moved = ::dup3(fileno(fresh), fd, 0) >= 0;
    stream->_flags = (stream->_flags & ~(way_flags | state_flags)) | (fresh->_flags & way_flags);
    std::fclose(fresh);
    return is_moved ? stream : nullptr;
}

FILE* reopen_any(const char* path, const char* mode, FILE* stream, FILE* (*otherwise)(const char*, const char*, FILE*)) {
    const void* ours = our_operations.load();
    const bool is_ours = ours != nullptr && operations_of(stream) == ours && fileno(stream) >= 0;
    return is_ours ? reopen(path, mode, stream) : otherwise(path, mode, stream);
}

int print(int fd, const char* format, va_list list) {
    char* text = nullptr;
    const int size = vasprintf(&text, format, list);
    int done = 0;
    while (done < size) {
        const ssize_t written = ::write(fd, text + done, static_cast<size_t>(size - done));
        if (written < 0) {
            break;
        }
        done += static_cast<int>(written);
    }
    if (size >= 0) {
        std::free(text);
    }
    return size >= 0 && done == size ? size : -1;
}

}  // namespace
}  // namespace shunt::preload

using namespace shunt::preload;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
SHUNT_EXPORT FILE* fdopen(int fd, const char* mode) noexcept {
    return fds.socket_of(fd) != nullptr ? open_stream(fd, mode) : real.fdopen(fd, mode);
}
SHUNT_EXPORT FILE* _IO_fdopen(int fd, const char* mode) noexcept {
    return fdopen(fd, mode);
}
SHUNT_EXPORT int fclose(FILE* stream) {
    return close_file(stream);
}
SHUNT_EXPORT FILE* freopen(const char* path, const char* mode, FILE* stream) {
    return reopen_any(path, mode, stream, real.freopen);
}
SHUNT_EXPORT FILE* freopen64(const char* path, const char* mode, FILE* stream) {
    return reopen_any(path, mode, stream, real.freopen);
}
SHUNT_EXPORT int vdprintf(int fd, const char* format, va_list list) {
    return fds.socket_of(fd) != nullptr ? print(fd, format, list) : real.vdprintf(fd, format, list);
}
SHUNT_EXPORT int __vdprintf_chk(int fd, int flag, const char* format, va_list list) {
    return fds.socket_of(fd) != nullptr ? print(fd, format, list) : real.__vdprintf_chk(fd, flag, format, list);
}
SHUNT_EXPORT int dprintf(int fd, const char* format, ...) {
    va_list list;
    va_start(list, format);
    const int result = vdprintf(fd, format, list);
    va_end(list);
    return result;
}
SHUNT_EXPORT int __dprintf_chk(int fd, int flag, const char* format, ...) {
    va_list list;
    va_start(list, format);
    const int result = __vdprintf_chk(fd, flag, format, list);
    va_end(list);
    return result;
}
}
