// sendfile to a socket of ours: read a piece, send it; the file's position ends behind what was sent, no further.
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>

#include "preload/fd_table.hpp"
#include "preload/libc.hpp"
#include "preload/shim.hpp"

namespace shunt::preload {
namespace {

constexpr std::size_t piece_bytes = 16 * 1024;  // on the caller's stack, which may be small

long send_file(Word word, int in, off_t* offset, std::size_t size) noexcept {
    const long start = offset != nullptr ? *offset : sys::call(SYS_lseek, in, 0, SEEK_CUR);
    if (start < 0) {
        return offset != nullptr ? -EINVAL : start == -ESPIPE ? -EINVAL : start;
    }
    std::byte piece[piece_bytes];
    long done = 0;
    long error = 0;
    while (static_cast<std::size_t>(done) < size) {
        const auto wanted = static_cast<long>(std::min(size - static_cast<std::size_t>(done), piece_bytes));
        const long taken = sys::call(SYS_pread64, in, sys::word(piece), wanted, start + done);
        if (taken <= 0) {
            error = taken;
            break;
        }
        const bool more = taken == wanted && static_cast<std::size_t>(done + taken) < size;
        const long sent = socket::send(word.socket(), piece, static_cast<std::size_t>(taken), more ? MSG_MORE : 0);
        if (sent < 0) {
            error = sent;
            break;
        }
        done += sent;
        if (sent < taken) {
            break;
        }
    }
    if (offset != nullptr) {
        *offset = start + done;
    } else if (done != 0) {
        sys::call(SYS_lseek, in, start + done, SEEK_SET);
    }
    if (done == 0 && error == -EPIPE) {
        sys::call(SYS_tgkill, sys::getpid(), sys::gettid(), SIGPIPE);
    }
    return done != 0 ? done : error;
}

ssize_t send_any_file(int out, int in, off_t* offset, size_t size) {
    const Word word = fds.find(out);
    if (!word.is_socket()) {
        return real.sendfile(out, in, offset, size);
    }
    return answer<ssize_t>(fds.find(in).is_socket() ? -EINVAL : send_file(word, in, offset, size));
}

}  // namespace
}  // namespace shunt::preload

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
SHUNT_EXPORT ssize_t sendfile(int out, int in, off_t* offset, size_t size) noexcept {
    return shunt::preload::send_any_file(out, in, offset, size);
}
SHUNT_EXPORT ssize_t sendfile64(int out, int in, off64_t* offset, size_t size) noexcept {
    return shunt::preload::send_any_file(out, in, offset, size);
}
}
