// See memif_sharing.hpp.
#include "pmd/memif_sharing.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/descriptors.hpp"
#include "base/sys.hpp"
#include "pmd/descriptor_message.hpp"

namespace shunt::pmd::memif {

Gates* gates = nullptr;
std::array<std::uint32_t, ports_max> seen{};

namespace {

constexpr std::size_t window_bytes = std::size_t{1} << 30;  // rings of 1,024 frames of 2 KiB each way are 4 MiB
constexpr std::size_t page = 4096;
constexpr std::size_t mappings_max = 64;
constexpr std::size_t bells_max = 128;

struct Mapping {
    std::atomic<std::uintptr_t> begin{0};
    std::atomic<std::uintptr_t> end{0};
    int fd = -1;
};
std::array<Mapping, mappings_max> mappings;

struct Bell {
    int number = -1;  // in the owner
    int fd = -1;      // here
};
std::array<Bell, bells_max> bells;

bool owns = true;
std::uintptr_t window = 0;
int mailbox_in = -1, mailbox_out = -1;

struct Item {
    std::uint64_t address = 0;  // 0: a bell
    std::uint64_t size = 0;
    std::int32_t bell = -1;
    std::int32_t unused = 0;
};
struct Message {
    std::uint32_t generation = 0;
    std::uint32_t count = 0;
    std::array<Item, mappings_max + bells_max> items{};
};
void sleep_us(long us) noexcept {
    const timespec time{0, us * 1000};
    sys::call(SYS_nanosleep, sys::word(&time), 0);
}

std::size_t to_pages(std::size_t size) noexcept {
    return (size + page - 1) / page * page;
}

bool is_free(std::uintptr_t begin, std::uintptr_t end) noexcept {
    return std::none_of(mappings.begin(), mappings.end(), [&](const Mapping& m) { return m.begin.load() < end && begin < m.end.load(); });
}

// The first place of the window that is free; 0: none.
std::uintptr_t find_room(std::size_t size) noexcept {
    if (is_free(window, window + size)) {
        return window;
    }
    for (const Mapping& each : mappings) {
        const std::uintptr_t after = to_pages(each.end.load());
        if (after >= window && after + size <= window + window_bytes && is_free(after, after + size)) {
            return after;
        }
    }
    return 0;
}

void note_mapping(std::uintptr_t begin, std::size_t size, int fd) noexcept {
    for (Mapping& each : mappings) {
        if (each.begin.load() == 0) {
            each.fd = fd;
            each.end.store(begin + size);
            each.begin.store(begin);
            return;
        }
    }
}

void drop_bells() noexcept {
    for (Bell& bell : bells) {
        if (bell.fd >= 0) {
            close_ours(bell.fd);
        }
        bell = {};
    }
}

// Puts what the message names where it belongs; its descriptors are ours.
bool adopt(const Message& message, std::span<const int> fds) noexcept {
    drop_bells();
    for (Mapping& each : mappings) {
        each.begin.store(0);
        each.end.store(0);
    }
    bool is_complete = fds.size() == message.count;
    auto bell = bells.begin();
    for (std::size_t i = 0; i < fds.size(); ++i) {
        const Item& item = message.items[i];
        if (item.address == 0) {
            const int fd = move_up(fds[i]);
            if (bell != bells.end()) {
                *bell++ = {item.bell, fd};
            }
            continue;
        }
        const long mapped = sys::call(SYS_mmap, static_cast<long>(item.address), static_cast<long>(item.size), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fds[i], 0);
        sys::close(fds[i]);
        if (mapped == static_cast<long>(item.address)) {
            note_mapping(item.address, item.size, -1);
        } else {
            is_complete = false;
        }
    }
    return is_complete;
}

}  // namespace

bool create_gates() noexcept {
    if (gates != nullptr) {
        return true;
    }
    const long address = sys::call(SYS_mmap, 0, sizeof(Gates), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const long reserved = sys::call(SYS_mmap, 0, static_cast<long>(window_bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int ends[2];
    if ((address < 0 && address > -4096) || sys::call(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sys::word(ends)) != 0) {
        return false;
    }
    window = reserved < 0 && reserved > -4096 ? 0 : static_cast<std::uintptr_t>(reserved);  // without one only those share who fork after the link is up
    mailbox_in = move_up(ends[0]);
    mailbox_out = move_up(ends[1]);
    gates = new (reinterpret_cast<void*>(address)) Gates;
    return true;
}

bool is_owner() noexcept {
    return owns;
}

void set_owner(bool is) noexcept {
    owns = is;
}

// memif has marked the port as not connected before it closes anything. After a millisecond every processor sees that; whoever went
// in before comes out. A process killed inside never does: hence the bound.
void wait_for_bursts() noexcept {
    if (gates == nullptr) {
        return;
    }
    sleep_us(1000);
    for (int tries = 0; tries < 200; ++tries) {
        if (std::none_of(gates->of.begin(), gates->of.end(), [](const Gate& g) { return g.busy.load(std::memory_order_acquire) != 0; })) {
            return;
        }
        sleep_us(50);   // a spinning poller is inside most of the time: look often
    }
}

long map_rings(std::size_t size, int protection, int flags, int fd, long offset) noexcept {
    const std::uintptr_t place = window == 0 ? 0 : find_room(to_pages(size));
    const long result =
        sys::call(SYS_mmap, static_cast<long>(place), static_cast<long>(size), protection, flags | (place != 0 ? MAP_FIXED : 0), fd, offset);
    if (result < 0 && result > -4096) {
        return result;
    }
    note_mapping(static_cast<std::uintptr_t>(result), size, fd);
    if (gates != nullptr) {
        gates->generation.fetch_add(1);
        wait_for_bursts();   // whoever is inside has looked at the generation before
    }
    return result;
}

long unmap_rings(void* address, std::size_t size) noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    for (Mapping& each : mappings) {
        if (each.begin.load() == at) {
            each.begin.store(0);
            each.end.store(0);
        }
    }
    if (window != 0 && at >= window && at < window + window_bytes) {
        const long held = sys::call(SYS_mmap, sys::word(address), static_cast<long>(to_pages(size)), PROT_NONE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        return held < 0 && held > -4096 ? held : 0;
    }
    return sys::call(SYS_munmap, sys::word(address), static_cast<long>(size));
}

bool is_mapped_here(const void* address) noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    return std::any_of(mappings.begin(), mappings.end(), [&](const Mapping& m) { return at >= m.begin.load() && at < m.end.load(); });
}

void share(std::span<const int> own_bells) noexcept {
    Message message;
    std::array<int, mappings_max + bells_max> fds{};
    message.generation = gates->generation.load();
    for (const Mapping& each : mappings) {
        if (each.begin.load() >= window && each.begin.load() != 0 && each.fd >= 0) {
            fds[message.count] = each.fd;
            message.items[message.count++] = {each.begin.load(), each.end.load() - each.begin.load(), -1, 0};
        }
    }
    for (const int bell : own_bells.first(std::min(own_bells.size(), bells_max))) {
        fds[message.count] = bell;
        message.items[message.count++] = {0, 0, bell, 0};
    }
    Message old;
    iovec old_part{&old, sizeof old};
    msghdr drained{};
    drained.msg_iov = &old_part;
    drained.msg_iovlen = 1;
    while (sys::recvmsg(mailbox_out, &drained, MSG_DONTWAIT) > 0) {   // without room for descriptors they are closed
    }
    if (message.count != 0) {
        DescriptorMessage().send(mailbox_in, message, std::span(fds).first(message.count));
    }
}

bool fetch() noexcept {
    Message message;
    std::array<int, mappings_max + bells_max> fds{};
    std::size_t count = 0;
    if (DescriptorMessage().receive(mailbox_out, message, fds, count, MSG_PEEK) != static_cast<long>(sizeof message)) {
        return false;
    }
    if (message.generation != gates->generation.load()) {
        std::for_each_n(fds.begin(), count, [](int fd) { sys::close(fd); });
        return false;
    }
    return adopt(message, std::span(fds).first(count));
}

int bell_here(int number) noexcept {
    if (owns) {
        return number;
    }
    const auto bell = std::find_if(bells.begin(), bells.end(), [number](const Bell& each) { return each.number == number; });
    return bell == bells.end() ? -1 : bell->fd;
}

}  // namespace shunt::pmd::memif
