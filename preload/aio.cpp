// POSIX asynchronous I/O: libc's threads read and write by system call, which the kernel's socket cannot answer. On sockets of ours it is refused.
#include <aio.h>

#include <algorithm>

#include "base/log.hpp"
#include "preload/fd_table.hpp"
#include "preload/libc.hpp"
#include "preload/shim.hpp"

namespace shunt::preload {
namespace {

int refuse(int fd) noexcept {
    log::info("fd {}: aio is refused (ENOSYS), because libc would use the kernel's socket", fd);
    return answer(-ENOSYS);
}

int read_or_write(aiocb* request, int (*function)(aiocb*)) {
    return fds.socket_of(request->aio_fildes) != nullptr ? refuse(request->aio_fildes) : function(request);
}

int submit(int mode, aiocb* const* list, int count, sigevent* event) {
    const auto* ours = std::find_if(list, list + std::max(count, 0), [](const aiocb* each) {
        return each != nullptr && each->aio_lio_opcode != LIO_NOP && fds.socket_of(each->aio_fildes) != nullptr;
    });
    return ours != list + std::max(count, 0) ? refuse((*ours)->aio_fildes) : real.lio_listio(mode, list, count, event);
}

}  // namespace
}  // namespace shunt::preload

using namespace shunt::preload;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
// The 64-bit names take the same structure here.
extern "C" {
SHUNT_EXPORT int aio_read(aiocb* request) noexcept {
    return read_or_write(request, real.aio_read);
}
SHUNT_EXPORT int aio_read64(aiocb64* request) noexcept {
    return read_or_write(reinterpret_cast<aiocb*>(request), real.aio_read);
}
SHUNT_EXPORT int aio_write(aiocb* request) noexcept {
    return read_or_write(request, real.aio_write);
}
SHUNT_EXPORT int aio_write64(aiocb64* request) noexcept {
    return read_or_write(reinterpret_cast<aiocb*>(request), real.aio_write);
}
SHUNT_EXPORT int lio_listio(int mode, aiocb* const list[], int count, sigevent* event) noexcept {
    return submit(mode, list, count, event);
}
SHUNT_EXPORT int lio_listio64(int mode, aiocb64* const list[], int count, sigevent* event) noexcept {
    return submit(mode, reinterpret_cast<aiocb* const*>(list), count, event);
}
}
