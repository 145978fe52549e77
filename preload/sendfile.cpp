// sendfile to a socket of ours: read a piece, send it; the file's position ends behind what was sent, no further. splice between one of ours and
// a pipe: what cannot go on stays where it was.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>

#include "preload/handover.hpp"
#include "preload/libc.hpp"
#include "preload/shim.hpp"

namespace shunt::preload {
namespace {

constexpr std::size_t piece_bytes = 16 * 1024;  // on the caller's stack, which may be small

long send_file(Word word, int in, off_t* offset, std::size_t size) noexcept {
    if (const long mode = sys::fcntl(in, F_GETFL); mode < 0 || (mode & O_ACCMODE) == O_WRONLY) {
        return -EBADF;
    }
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
            error = taken == -ESPIPE ? -EINVAL : taken;
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
    if (done == 0 && error == -EPIPE && word.is_stream()) {
        raise_sigpipe();
    }
    return done != 0 ? done : error;
}

bool is_pipe(int fd) noexcept {
    return sys::fcntl(fd, F_GETPIPE_SZ) >= 0;
}

// The pipe's first bytes, at most `size`, without taking them out: tee to a pipe of our own.
long peek(int pipe_fd, std::byte* to, std::size_t size, unsigned flags) noexcept {
    int ends[2];
    if (const long error = sys::call(SYS_pipe2, sys::word(ends), O_CLOEXEC); error != 0) {
        return error;
    }
    long count = sys::call(SYS_tee, pipe_fd, ends[1], static_cast<long>(size), flags & SPLICE_F_NONBLOCK);
    if (count > 0) {
        count = sys::read(ends[0], to, static_cast<std::size_t>(count));
    }
    sys::close(ends[0]);
    sys::close(ends[1]);
    return count;
}

long splice_out(int pipe_fd, Word word, std::size_t size, unsigned flags) noexcept {
    std::byte piece[piece_bytes];
    const long count = peek(pipe_fd, piece, std::min(size, piece_bytes), flags);
    if (count <= 0) {
        return count;
    }
    const long sent = socket::send(word.socket(), piece, static_cast<std::size_t>(count), (flags & SPLICE_F_MORE) != 0 ? MSG_MORE : 0);
    if (sent == -EPIPE && word.is_stream()) {
        raise_sigpipe();
    }
    return sent > 0 ? sys::read(pipe_fd, piece, static_cast<std::size_t>(sent)) : sent;
}

// A pipe that can be written to has room for a page; so much, and no more, is taken from the socket.
long splice_page(int fd, Word word, int pipe_fd, std::size_t size, bool waits) noexcept {
    constexpr std::size_t page_bytes = 4096;
    pollfd room{pipe_fd, POLLOUT, 0};
    const timespec zero{0, 0};
    if (const long ready = sys::ppoll(&room, 1, waits ? nullptr : &zero, nullptr); ready <= 0) {
        return ready < 0 ? ready : -EAGAIN;
    }
    if ((room.revents & POLLERR) != 0) {  // nobody reads it any more
        raise_sigpipe();
        return -EPIPE;
    }
    std::byte piece[page_bytes];
    const long count = socket::receive(word.socket(), fd, piece, std::min(size, page_bytes), socket::receive_up_to_urgent);
    return count > 0 ? sys::write(pipe_fd, piece, static_cast<std::size_t>(count)) : count;
}

// Page by page: waits for the first, and takes what is there beside it.
long splice_in(int fd, Word word, int pipe_fd, std::size_t size, unsigned flags) noexcept {
    const bool waits = (flags & SPLICE_F_NONBLOCK) == 0 && (sys::fcntl(pipe_fd, F_GETFL) & O_NONBLOCK) == 0;
    long done = splice_page(fd, word, pipe_fd, size, waits);
    int left = 0;
    while (done > 0 && word.is_stream() && static_cast<std::size_t>(done) < size && socket::control(word.socket(), FIONREAD, &left) == 0 && left > 0) {
        const long next = splice_page(fd, word, pipe_fd, size - static_cast<std::size_t>(done), false);
        if (next <= 0) {
            break;
        }
        done += next;
    }
    return done;
}

// What the kernel's call gave, which may have bound a candidate and then found that there is no peer.
ssize_t noted(int out, Word word, ssize_t result) noexcept {
    if (result < 0 && word.is_candidate()) {
        const int error = errno;
        follow_kernel_port(out, word);
        errno = error;
    }
    return result;
}

// Into a pipe it is splice by another name; a socket's data go nowhere else.
ssize_t send_any_file(int out, int in, off_t* offset, size_t size) {
    const Word word = settled(out), source = settled(in);
    const auto again = [&] { return send_any_file(out, in, offset, size); };
    if (!word.is_socket() && source.is_socket() && size != 0 && is_pipe(out) && (sys::fcntl(out, F_GETFL) & O_ACCMODE) != O_RDONLY) {
        return answer<ssize_t>(offset != nullptr ? -ESPIPE : splice_in(in, source, out, size, 0), again);
    }
    if (!word.is_socket()) {
        return noted(out, word, real.sendfile(out, in, offset, size));
    }
    return answer<ssize_t>(source.is_socket() ? -EINVAL : send_file(word, in, offset, size), again);
}

ssize_t splice_any(int in, off64_t* in_offset, int out, off64_t* out_offset, size_t size, unsigned flags) {
    const Word from = settled(in), to = settled(out);
    if (!from.is_socket() && !to.is_socket()) {
        return noted(out, to, real.splice(in, in_offset, out, out_offset, size, flags));
    }
    if (size == 0) {
        return 0;
    }
    constexpr unsigned known = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;
    if ((flags & ~known) != 0) {
        return answer<ssize_t>(-EINVAL);
    }
    const int other = to.is_socket() ? in : out;
    const long mode = sys::fcntl(other, F_GETFL);
    const bool has_pipe = mode >= 0 && is_pipe(other);
    if (has_pipe && (to.is_socket() ? in_offset : out_offset) != nullptr) {
        return answer<ssize_t>(-ESPIPE);
    }
    if (mode < 0 || (mode & O_ACCMODE) == (to.is_socket() ? O_WRONLY : O_RDONLY)) {
        return answer<ssize_t>(-EBADF);
    }
    if (!has_pipe || in_offset != nullptr || out_offset != nullptr) {
        return answer<ssize_t>(-EINVAL);
    }
    const long result = to.is_socket() ? splice_out(in, to, size, flags) : splice_in(in, from, out, size, flags);
    return answer<ssize_t>(result, [&] { return splice_any(in, in_offset, out, out_offset, size, flags); });
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
SHUNT_EXPORT ssize_t splice(int in, off64_t* in_offset, int out, off64_t* out_offset, size_t size, unsigned flags) {
    return shunt::preload::splice_any(in, in_offset, out, out_offset, size, flags);
}
}
