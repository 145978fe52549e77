// Who holds what: the processes that share the stack, and how many references of each socket and epoll set belong to each, so that a process that dies
// gives them up. Counted together with the references themselves, under the stack's lock. Private to src/socket/.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "base/time.hpp"

namespace shunt::socket {

inline constexpr unsigned processes_max = 256;
inline constexpr int in_flight = static_cast<int>(processes_max) - 1;  // the row of sockets on their way in a message, which is nobody's
inline constexpr unsigned sleeper_slots = 64;  // sleepers share them, see state.hpp

struct Process {
    // expected: a fork is under way, the child has not said who it is; departed: another program runs there, after exec.
    enum class State : std::uint8_t { none, expected, alive, departed };
    State state = State::none;
    std::int32_t pid = 0;
    Time since{};
    bool is_guest = false;       // pmd/guest.hpp
    bool hands_on = false;       // departed: the next program has inherited sockets
    std::uint32_t sleepers = 0;  // threads asleep in a call
    std::array<std::uint16_t, sleeper_slots> slot_sleepers{};
};

// Whose references are counted by this process; none: there was no room for one more process, whose death will go unnoticed.
inline constexpr int no_process = -1;
extern int this_process;

class Ledger {
public:
    static std::size_t bytes_for(std::uint32_t sockets, std::uint32_t sets) noexcept { return processes_max * sizeof(Count) * (sockets + sets) + 2 * 64; }
    void create(Arena& arena, std::uint32_t sockets, std::uint32_t sets) noexcept;

    // A row for a process, or no_process. `changes` tells the keeper to look.
    int enter(Process::State state, std::int32_t pid, Time now) noexcept;
    void claim(int row, std::int32_t pid) noexcept;
    void leave(int row) noexcept;

    void add_socket(int row, std::uint32_t index) noexcept { add(sockets_, socket_count_, row, index); }
    void add_set(int row, std::uint32_t index) noexcept { add(sets_, set_count_, row, index); }
    void remove_socket(int row, std::uint32_t index) noexcept { remove(sockets_, socket_count_, row, index); }
    void remove_set(int row, std::uint32_t index) noexcept { remove(sets_, set_count_, row, index); }
    std::span<std::uint32_t> sockets_of(int row) noexcept { return row_of(sockets_, socket_count_, row); }
    std::span<std::uint32_t> sets_of(int row) noexcept { return row_of(sets_, set_count_, row); }

    // For repair.cpp: how many references there are, whoever has them. `is_complete`: no process was without a row.
    std::uint32_t references_of_socket(std::uint32_t index) const noexcept { return sum(sockets_, socket_count_, index); }
    std::uint32_t references_of_set(std::uint32_t index) const noexcept { return sum(sets_, set_count_, index); }
    bool is_complete() const noexcept { return is_complete_; }

    void note_sleeper(int row, unsigned slot, bool sleeps) noexcept;
    std::span<Process> processes() noexcept { return processes_; }
    bool is_empty() const noexcept;  // of processes that may call
    // `hands_on`: the next program has inherited sockets, and the stack waits for it.
    void set_departed(int row, bool has, bool hands_on) noexcept;
    std::uint32_t changes() const noexcept { return changes_; }

private:
    using Count = std::uint32_t;
    static std::span<Count> row_of(Count* table, std::uint32_t width, int row) noexcept { return {table + static_cast<std::size_t>(row) * width, width}; }
    static void add(Count* table, std::uint32_t width, int row, std::uint32_t index) noexcept {
        if (row != no_process) {
            ++row_of(table, width, row)[index];
        }
    }
    static void remove(Count* table, std::uint32_t width, int row, std::uint32_t index) noexcept {
        if (row != no_process) {
            --row_of(table, width, row)[index];
        }
    }

    std::uint32_t sum(const Count* table, std::uint32_t width, std::uint32_t index) const noexcept {
        std::uint32_t total = 0;
        for (std::size_t row = 0; row < processes_max; ++row) {
            const bool counts = processes_[row].state != Process::State::none || row == static_cast<std::size_t>(in_flight);
            total += counts ? table[row * width + index] : 0;
        }
        return total;
    }

    std::array<Process, processes_max> processes_{};
    bool is_complete_ = true;
    Count* sockets_ = nullptr;  // a row a process; pages are touched as they are used
    Count* sets_ = nullptr;
    std::uint32_t socket_count_ = 0, set_count_ = 0;
    std::uint32_t changes_ = 0;
};

}  // namespace shunt::socket
