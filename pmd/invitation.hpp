// How a program that starts apart comes to share a stack that runs already: it asks the keeper, at the claim of the link (claim.hpp), and is given the
// memory of the stack and of its packets, to map at the same addresses, and descriptors, to have under the same numbers. Both run the same build of
// this library, or nothing is shared. Knows nothing of stacks.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/arena.hpp"
#include "base/time.hpp"
#include "pmd/claim.hpp"

namespace shunt::pmd {

struct Invitation {
    static constexpr std::size_t pieces_max = 24, numbers_max = 80;
    struct Piece {
        std::uint64_t address = 0, size = 0, offset = 0;
    };
    std::array<char, 8> magic = {'S', 'h', 'u', 'n', 't', '/', 'J', '1'};
    std::array<unsigned char, 20> build{};
    std::uint32_t piece_count = 0, number_count = 0;
    std::uint64_t stack = 0;                          // the address of what the caller shares
    std::array<char, 256> facts{};                    // what both must agree on, as text
    std::array<Piece, pieces_max> pieces{};
    std::array<std::int32_t, numbers_max> numbers{};  // descriptors
};

// In the process that starts the stack, before its keeper is born: what joins get. False where the memory has no descriptors: then nobody can.
bool prepare_invitation(const void* stack, std::span<const int> descriptors, std::string_view facts) noexcept;

// The keeper's side, for claim.hpp's answer(): -errno.
long send_invitation(int fd, const sockaddr* to, socklen_t size) noexcept;

enum class Joining { nobody, refused, silent, joined };  // refused: other facts, another build, no room at the addresses; silent: a holder that does not answer
struct Joined {
    Joining outcome = Joining::nobody;
    void* stack = nullptr;
};
// Asks the holder of the claim. Blocks for `silent` at most when it does not answer.
Joined join(const std::string& name, std::string_view facts, Duration silent);
// What it has mapped and put into the table of descriptors goes again.
void undo_join() noexcept;

}  // namespace shunt::pmd
