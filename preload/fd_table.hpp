// Which descriptors of this process are ours: a table of words, mapped at the first one, never moved.
//
// A look-up is one comparison and one load and takes no lock. Changes of more than one word (duplicates, epoll registrations, fork)
// happen under the shim's lock (lock.hpp). A word whose pointer is a Socket or an EpollRecord holds one reference of it.
#pragma once

#include <atomic>
#include <cstdint>

#include "socket/socket.hpp"

namespace shunt::preload {

struct EpollRecord;

enum class Kind : std::uint64_t {
    none = 0,       // the kernel's, or not open
    candidate = 1,  // a kernel socket whose side has not been decided
    socket = 2,     // ours (and perhaps the kernel's too: socket::is_both)
    epoll = 3,
    internal = 4,   // the stack's own: the program cannot close it
};

// kind in the low three bits, flags in the top byte, between them a pointer or a candidate's number.
class Word {
public:
    constexpr Word() noexcept = default;
    constexpr explicit Word(std::uint64_t bits) noexcept : bits_(bits) {}
    Word(Kind kind, std::uint64_t flags, std::uint64_t middle) noexcept : bits_(static_cast<std::uint64_t>(kind) | flags | middle) {}
    static Word of(socket::Socket& socket, std::uint64_t flags) noexcept {
        return {Kind::socket, flags, reinterpret_cast<std::uint64_t>(&socket)};
    }
    static Word of(EpollRecord& record) noexcept { return {Kind::epoll, 0, reinterpret_cast<std::uint64_t>(&record)}; }

    static constexpr std::uint64_t stream_flag = std::uint64_t{1} << 56;
    static constexpr std::uint64_t v6_flag = std::uint64_t{1} << 57;
    static constexpr std::uint64_t shared_flag = std::uint64_t{1} << 58;  // a candidate that was duplicated
    static constexpr std::uint64_t shut_flag = std::uint64_t{1} << 59;    // a candidate that was shut down for sending
    static constexpr std::uint64_t forked_flag = std::uint64_t{1} << 60;  // a candidate that another process has as well

    Kind kind() const noexcept { return static_cast<Kind>(bits_ & 7); }
    bool is_none() const noexcept { return kind() == Kind::none; }
    bool is_candidate() const noexcept { return kind() == Kind::candidate; }
    bool is_socket() const noexcept { return kind() == Kind::socket; }
    bool is_stream() const noexcept { return (bits_ & stream_flag) != 0; }
    bool is_v6() const noexcept { return (bits_ & v6_flag) != 0; }
    bool is_shared() const noexcept { return (bits_ & shared_flag) != 0; }
    std::uint64_t flags() const noexcept { return bits_ & (stream_flag | v6_flag); }
    socket::Socket& socket() const noexcept { return *reinterpret_cast<socket::Socket*>(bits_ & middle_mask); }
    EpollRecord& record() const noexcept { return *reinterpret_cast<EpollRecord*>(bits_ & middle_mask); }
    std::uint64_t bits() const noexcept { return bits_; }
    bool is_shut() const noexcept { return (bits_ & shut_flag) != 0; }
    Word shut() const noexcept { return Word(bits_ | shut_flag); }
    // The same candidate, as it is stored once it has a duplicate.
    Word shared() const noexcept { return Word(bits_ | shared_flag); }
    bool is_forked() const noexcept { return (bits_ & forked_flag) != 0; }
    Word forked() const noexcept { return Word(bits_ | forked_flag); }
    bool is_same(Word other) const noexcept { return (bits_ | shared_flag | forked_flag) == (other.bits_ | shared_flag | forked_flag); }
    friend bool operator==(Word, Word) noexcept = default;

private:
    static constexpr std::uint64_t middle_mask = 0x00ff'ffff'ffff'fff8;
    std::uint64_t bits_ = 0;
};

class FdTable {
public:
    static constexpr std::uint32_t size_max = 1U << 20;  // 8 MiB of addresses; pages are touched as descriptors are

    Word find(int fd) const noexcept {
        if (__builtin_expect(static_cast<std::uint32_t>(fd) >= size_.load(std::memory_order_acquire), true)) {
            return {};
        }
        return Word(words_[fd].load(std::memory_order_acquire));
    }
    socket::Socket* socket_of(int fd) const noexcept {
        const Word word = find(fd);
        return word.is_socket() ? &word.socket() : nullptr;
    }
    EpollRecord* epoll_of(int fd) const noexcept {
        const Word word = find(fd);
        return word.kind() == Kind::epoll ? &word.record() : nullptr;
    }

    // Puts `word` there and gives back what was: its reference is the caller's now. False where the table has no such number.
    bool try_set(int fd, Word word, Word& before) noexcept;
    Word take(int fd) noexcept;
    bool try_replace(int fd, Word expected, Word word) noexcept;
    // A fresh candidate, with a number of its own. What the descriptor stood for before is let go.
    void add_candidate(int fd, bool is_stream, bool is_v6) noexcept;

    // Calls of ours look twice (cancel.hpp): a thread of this process has been cancelled once. Here, where every call looks anyway.
    bool is_careful() const noexcept { return is_careful_.load(std::memory_order_relaxed); }
    void set_careful() noexcept { is_careful_.store(true); }

    // There is a candidate that another process may decide on; look_for_forked() looks anew whether there is. With the shim's lock held.
    bool has_forked() const noexcept { return has_forked_.load(std::memory_order_relaxed); }
    void look_for_forked() noexcept;

    // Numbers below this may be in use.
    int end() const noexcept { return end_.load(std::memory_order_acquire); }

private:
    bool map() noexcept;

    std::atomic<std::uint32_t> size_{0};
    std::atomic<bool> is_careful_{false};
    std::atomic<bool> has_forked_{false};
    std::atomic<std::uint64_t>* words_ = nullptr;
    std::atomic<int> end_{0};
    std::atomic<std::uint64_t> candidates_{0};
};

extern FdTable fds;

// ---- references that words hold
void retain(Word word) noexcept;
// `fd` was its descriptor (closed by now, or standing for something else). May block (SO_LINGER); not under the shim's lock.
void release(Word word, int fd) noexcept;
// Takes the word of `fd` out of the table and its epoll registrations away, before the number is free for others. Its reference is the
// caller's to release, after the kernel's close.
Word remove_descriptor(int fd) noexcept;

}  // namespace shunt::preload
