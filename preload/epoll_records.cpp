#include "preload/epoll_records.hpp"

#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

#include "base/descriptors.hpp"
#include "base/sys.hpp"
#include "preload/handover.hpp"
#include "preload/libc.hpp"
#include "preload/lock.hpp"
#include "preload/open_side.hpp"
#include "preload/shim.hpp"
#include "preload/slab.hpp"

namespace shunt::preload {
namespace {

// A socket (or candidate) in an epoll set, under the descriptor that it was added by.
struct Registration {
    EpollRecord* record = nullptr;
    int fd = -1;
    bool is_in_kernel = false;
    epoll_event event{};
    Registration* next = nullptr;
};

constexpr std::size_t buckets_count = 4096;
constinit Registration* buckets[buckets_count]{};
constinit std::size_t registrations_count = 0;
constinit Slab<Registration> registrations;
constinit Slab<EpollRecord> records;

Registration*& bucket_of(int fd) noexcept {
    return buckets[static_cast<unsigned>(fd) % buckets_count];
}

Registration* find(const EpollRecord& record, int fd) noexcept {
    for (Registration* each = bucket_of(fd); each != nullptr; each = each->next) {
        if (each->record == &record && each->fd == fd) {
            return each;
        }
    }
    return nullptr;
}

template <class Predicate>
void remove_from(Registration*& bucket, Predicate matches) noexcept {
    for (Registration** link = &bucket; *link != nullptr;) {
        Registration* each = *link;
        if (matches(*each)) {
            *link = each->next;
            registrations.destroy(each);
            --registrations_count;
        } else {
            link = &each->next;
        }
    }
}

// Keeps what the program asked for.
void note(EpollRecord& record, int operation, int fd, const epoll_event* event, bool is_in_kernel) noexcept {
    if (operation == EPOLL_CTL_DEL) {
        remove_from(bucket_of(fd), [&](const Registration& each) { return each.record == &record && each.fd == fd; });
        return;
    }
    Registration* found = find(record, fd);
    if (found == nullptr) {
        found = registrations.create();
        if (found == nullptr) {
            return;  // the socket will not move with its side; without memory for 40 bytes much else fails first
        }
        found->record = &record;
        found->fd = fd;
        found->next = bucket_of(fd);
        bucket_of(fd) = found;
        ++registrations_count;
    }
    found->event = *event;
    found->is_in_kernel = is_in_kernel;
}

// Of a socket that is both, the kernel's side reports input only: writability is ours to tell.
epoll_event for_both(epoll_event event) noexcept {
    event.events &= ~static_cast<std::uint32_t>(EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND);
    return event;
}

// Threads that sleep in the kernel's epoll_wait do not hear of the first socket of ours in the set: an event of our own gets them out. Who polls the set
// has a bell.
void nudge(EpollRecord& record) noexcept {
    tell_of_side(Word::of(record));
    if (record.kernel_waiters.load() == 0 || record.nudge_fd.load() >= 0) {
        return;
    }
    const int fd = move_up(sys::eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &record.nudge_fd;
    if (fd >= 0 && sys::epoll_ctl(record.fd, EPOLL_CTL_ADD, fd, &event) == 0) {
        record.nudge_fd.store(fd);
    }
}

// The last of them is out.
void end_nudge(EpollRecord& record) noexcept {
    const Locked lock;
    const int fd = record.nudge_fd.load();
    if (fd >= 0 && record.kernel_waiters.load() == 0) {
        record.nudge_fd.store(-1);
        sys::close(fd);
    }
}

long nest(EpollRecord& record, int fd, socket::EpollSet& inner, const epoll_event& event) noexcept;

socket::EpollSet* set_of(EpollRecord& record) noexcept {
    socket::EpollSet* set = record.set.load(std::memory_order_acquire);
    if (set != nullptr) {
        return set;
    }
    Stack* stack = started_stack();
    const auto made = stack != nullptr ? socket::open_epoll(*stack) : fail(ENETDOWN);
    if (!made) {
        return nullptr;
    }
    record.set.store(*made, std::memory_order_release);
    for (int fd = 0; fd < fds.end(); ++fd) {  // the sets that it is in hear of ours from now on
        for (const Registration* each = fds.epoll_of(fd) == &record ? bucket_of(fd) : nullptr; each != nullptr; each = each->next) {
            if (each->fd == fd) {
                nest(*each->record, fd, **made, each->event);
            }
        }
    }
    return *made;
}

// A set of ours into the one behind `record`; the kernel has its descriptor already.
long nest(EpollRecord& record, int fd, socket::EpollSet& inner, const epoll_event& event) noexcept {
    socket::EpollSet* set = set_of(record);
    if (set == nullptr) {
        return -ENOMEM;
    }
    const bool was_empty = socket::is_empty(*set);
    const long result = socket::epoll_control(*set, EPOLL_CTL_ADD, fd, inner, &event);
    if (result == 0) {
        epoll_event marked{event.events, socket::mark_in_kernel(*set, fd, inner)};
        sys::epoll_ctl(record.fd, EPOLL_CTL_MOD, fd, &marked);
        if (was_empty) {
            nudge(record);
        }
    }
    return result;
}

long add_to_ours(EpollRecord& record, int fd, Word word, const epoll_event& event) noexcept {
    socket::EpollSet* set = set_of(record);
    if (set == nullptr) {
        return -ENOMEM;
    }
    const bool was_empty = socket::is_empty(*set);
    const long result = socket::epoll_control(*set, EPOLL_CTL_ADD, fd, word.socket(), &event);
    if (result == 0 && was_empty) {
        nudge(record);
    }
    return result;
}

template <class F>
void for_each_record(F f) noexcept {
    for (int fd = 0; fd < fds.end(); ++fd) {
        EpollRecord* record = fds.epoll_of(fd);
        if (record != nullptr && record->fd == fd) {
            f(*record);
        }
    }
}

}  // namespace

void add_epoll(int fd) noexcept {
    EpollRecord* record = nullptr;
    {
        const Locked lock;
        record = records.create();
    }
    if (record == nullptr) {
        return;
    }
    record->references = 1;
    record->fd = fd;
    Word before;
    if (!fds.try_set(fd, Word::of(*record), before)) {
        const Locked lock;
        records.destroy(record);
        return;
    }
    release(before, fd);
}

void retain(EpollRecord& record) noexcept {
    record.references.fetch_add(1);
}

void release(EpollRecord& record, int fd) noexcept {
    const Locked lock;
    if (record.references.fetch_sub(1) > 1) {
        for (int other = 0; record.fd == fd && other < fds.end(); ++other) {
            if (other != fd && fds.epoll_of(other) == &record) {
                record.fd = other;
            }
        }
        return;
    }
    for (Registration*& bucket : buckets) {
        remove_from(bucket, [&](const Registration& each) { return each.record == &record; });
    }
    if (socket::EpollSet* set = record.set.exchange(nullptr)) {
        socket::release(*set);
    }
    if (const int nudge_fd = record.nudge_fd.exchange(-1); nudge_fd >= 0) {
        sys::close(nudge_fd);
    }
    records.destroy(&record);
}

long control_candidate(EpollRecord& record, int epfd, int operation, int fd, epoll_event* event) noexcept {
    const Locked lock;
    const long result = sys::epoll_ctl(epfd, operation, fd, event);
    if (result == 0) {
        note(record, operation, fd, event, true);
    }
    return result;
}

long control_socket(EpollRecord& record, int epfd, int operation, int fd, Word word, epoll_event* event) noexcept {
    const Locked lock;
    if (fds.find(fd) != word) {
        return -EBADF;  // closed by another thread meanwhile
    }
    socket::EpollSet* set = record.set.load(std::memory_order_acquire);
    long result = operation == EPOLL_CTL_MOD || operation == EPOLL_CTL_DEL ? -ENOENT : -EINVAL;
    if (event == nullptr && operation != EPOLL_CTL_DEL) {
        result = -EFAULT;
    } else if (operation == EPOLL_CTL_MOD && (event->events & EPOLLEXCLUSIVE) != 0) {
        result = -EINVAL;  // also where the set has nothing of ours yet
    } else if (operation == EPOLL_CTL_ADD) {
        result = add_to_ours(record, fd, word, *event);
    } else if (set != nullptr) {
        result = socket::epoll_control(*set, operation, fd, word.socket(), event);
    }
    if (result != 0) {
        return result;
    }
    const Registration* known = find(record, fd);
    const bool is_in_kernel = known != nullptr ? known->is_in_kernel : operation == EPOLL_CTL_ADD && socket::is_both(word.socket());
    if (is_in_kernel) {
        epoll_event kernel_event = event != nullptr ? for_both(*event) : epoll_event{};
        kernel_event.data = socket::mark_in_kernel(*record.set.load(), fd, word.socket(), true);
        sys::epoll_ctl(epfd, operation, fd, &kernel_event);
    }
    note(record, operation, fd, event, is_in_kernel);
    return 0;
}

long control_nested(EpollRecord& record, int epfd, int operation, int fd, EpollRecord& inner, epoll_event* event) noexcept {
    const Locked lock;
    if (const long result = sys::epoll_ctl(epfd, operation, fd, event); result != 0) {
        return result;
    }
    note(record, operation, fd, event, true);
    socket::EpollSet* inner_set = inner.set.load();
    socket::EpollSet* set = record.set.load();
    if (inner_set == nullptr) {
        return 0;
    }
    if (operation == EPOLL_CTL_ADD) {
        return nest(record, fd, *inner_set, *event);
    }
    const long result = set != nullptr ? socket::epoll_control(*set, operation, fd, *inner_set, event) : 0;
    if (result == 0 && set != nullptr && operation == EPOLL_CTL_MOD) {
        epoll_event marked{event->events, socket::mark_in_kernel(*set, fd, *inner_set)};
        sys::epoll_ctl(epfd, operation, fd, &marked);
    }
    return result;
}

namespace {

// EPOLLONESHOT in the kernel's set: told, and not armed again since. The kernel has taken its events away then, which proc(5) shows.
bool has_fired(const Registration& registration) noexcept {
    if (!registration.is_in_kernel || (registration.event.events & EPOLLONESHOT) == 0) {
        return false;
    }
    std::ifstream info("/proc/self/fdinfo/" + std::to_string(registration.record->fd));
    for (std::string line; std::getline(info, line);) {
        int fd = -1;
        unsigned events = 0;
        if (std::sscanf(line.c_str(), "tfd: %d events: %x", &fd, &events) == 2 && fd == registration.fd) {
            return (events & 0xffff) == 0;
        }
    }
    return false;
}

}  // namespace

void move_to_ours(int fd, Word word) noexcept {
    const bool both = socket::is_both(word.socket());
    for (Registration* each = bucket_of(fd); each != nullptr; each = each->next) {
        if (each->fd != fd) {
            continue;
        }
        const bool is_silent = has_fired(*each);
        epoll_event event = each->event;
        event.events |= is_silent ? socket::epoll_fired : 0;
        add_to_ours(*each->record, fd, word, event);  // -EEXIST: it was there already
        if (each->is_in_kernel) {
            event = for_both(each->event);
            event.events = is_silent ? std::uint32_t{EPOLLONESHOT} : event.events;  // as where one fires
            if (socket::EpollSet* set = each->record->set.load()) {
                event.data = socket::mark_in_kernel(*set, fd, word.socket(), both);
            }
            sys::epoll_ctl(each->record->fd, both ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, fd, &event);
            each->is_in_kernel = both;
        }
    }
}

void move_to_kernel(int fd) noexcept {
    for (const Registration* each = bucket_of(fd); each != nullptr; each = each->next) {
        if (each->fd == fd) {
            epoll_event event = each->event;
            sys::epoll_ctl(each->record->fd, each->is_in_kernel ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
        }
    }
    forget(fd);
}

void forget(int fd) noexcept {
    remove_from(bucket_of(fd), [fd](const Registration& each) { return each.fd == fd; });
}

bool has_registrations() noexcept {
    return registrations_count != 0;
}

void retain_all_sets_for_child() noexcept {
    for_each_record([](const EpollRecord& record) {
        if (socket::EpollSet* set = record.set.load()) {
            socket::retain_for_child(*set);
        }
    });
}

void retain_all_sets() noexcept {
    for_each_record([](const EpollRecord& record) {
        if (socket::EpollSet* set = record.set.load()) {
            socket::retain(*set);
        }
    });
}

void release_all_sets() noexcept {
    for_each_record([](const EpollRecord& record) {
        if (socket::EpollSet* set = record.set.load()) {
            socket::release(*set);
        }
    });
}

namespace {

timespec now_monotonic() noexcept {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now;
}

// Takes our own event out of what the kernel reported.
long without_nudge(const EpollRecord& record, epoll_event* events, long count) noexcept {
    if (count <= 0) {
        return count;
    }
    epoll_event* end = std::remove_if(events, events + count, [&](const epoll_event& each) { return each.data.ptr == &record.nudge_fd; });
    return end - events;
}

// A thread that waits in the kernel, also when it is cancelled there.
class KernelWait {
public:
    explicit KernelWait(EpollRecord& record) noexcept : record_(record) { record.kernel_waiters.fetch_add(1); }
    ~KernelWait() {
        if (record_.kernel_waiters.fetch_sub(1) == 1 && record_.nudge_fd.load() >= 0) {
            end_nudge(record_);
        }
    }
    KernelWait(const KernelWait&) = delete;
    KernelWait& operator=(const KernelWait&) = delete;

private:
    EpollRecord& record_;
};

long wait_in_kernel(EpollRecord& record, int epfd, epoll_event* events, int max_events, const timespec* timeout, const sigset_t* mask) {
    long count = -EAGAIN;
    {
        const KernelWait counted(record);
        const socket::EpollSet* set = record.set.load();
        if (set == nullptr || socket::is_empty(*set)) {  // looked at after the count went up: nudge() sees one of the two
            count = real.epoll_pwait2(epfd, events, max_events, timeout, mask);
            count = count < 0 ? -errno : count;
        }
    }
    if (count <= 0 || record.set.load() == nullptr) {
        return count;
    }
    count = without_nudge(record, events, count);  // and there may be some of ours by now
    count = socket::take_from_kernel(*record.set.load(), epfd, events, static_cast<int>(count));
    return count > 0 ? count : -EAGAIN;
}

}  // namespace

long wait(EpollRecord& record, int epfd, epoll_event* events, int max_events, const timespec* timeout, const sigset_t* mask) {
    const bool is_bounded = timeout != nullptr && (timeout->tv_sec != 0 || timeout->tv_nsec != 0);
    const timespec start = is_bounded ? now_monotonic() : timespec{};
    timespec left = timeout != nullptr ? *timeout : timespec{};
    while (true) {
        socket::EpollSet* set = record.set.load(std::memory_order_acquire);
        const timespec* limit = timeout != nullptr ? &left : nullptr;
        const bool is_ours = set != nullptr && !socket::is_empty(*set);
        const long raw = is_ours ? socket::epoll_wait(*set, epfd, events, max_events, limit, mask)
                                 : wait_in_kernel(record, epfd, events, max_events, limit, mask);
        const long count = without_nudge(record, events, raw);
        if (raw != -EAGAIN && (raw <= 0 || count > 0)) {
            return count;
        }
        if (is_bounded) {  // only our own event came: wait for what is left
            const timespec now = now_monotonic();
            const long used_ns = (now.tv_sec - start.tv_sec) * 1'000'000'000 + (now.tv_nsec - start.tv_nsec);
            const long whole_ns = std::min(timeout->tv_sec, 1'000'000'000L) * 1'000'000'000 + timeout->tv_nsec;
            const long left_ns = std::max(whole_ns - used_ns, 0L);
            left = {left_ns / 1'000'000'000, left_ns % 1'000'000'000};
        }
    }
}

}  // namespace shunt::preload
