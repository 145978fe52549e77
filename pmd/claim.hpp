// Who has a port. A claim is a name that one holder at a time can have: an abstract socket, which the kernel gives back when the last
// descriptor of it closes, however its holders end. After a program's end its keeper may hold the port for a while; who names the same link
// then asks it to leave, by a datagram to that socket. Knows nothing of ports: the name is the caller's.
//
// A request and its answer are one message: a magic word and a verb. The only request so far is "leave"; others are ignored, as is what
// carries no magic. Names are a network namespace's, for every user of it; who asks believes the claim's socket only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>

#include "base/time.hpp"

namespace shunt::pmd {

// The bound socket: high-numbered, close-on-exec, non-blocking, readable when somebody asks. Whoever holds it, or inherits it, has the claim.
struct Claim {
    int fd = -1;
};

enum class Refusal {
    in_use,         // its programs live, or it does not answer: an older build, a stopped process, no socket of ours
    is_delivering,  // its keeper has not finished within the patience
    system,         // what the kernel said
};

struct Refused {
    Refusal reason = Refusal::system;
    int code = 0;  // for `system`: the errno
};

struct Patience {
    Duration delivering = std::chrono::seconds(3);   // for a holder that is about to leave
    Duration silent = std::chrono::seconds(1);       // for one that does not answer; it may just not have had a processor
};

// Takes the name, or asks its holder to leave and tries again until the patience is over. Does not block for a holder whose programs live.
// A name of more than 107 bytes is ENAMETOOLONG.
std::expected<Claim, Refused> try_claim(const std::string& name, Patience patience = {});

void release(Claim& claim) noexcept;

// The holder's side.
enum class Answer : unsigned char {
    busy = 'b',        // a program lives: who asks gives up at once
    delivering = 'd',  // leaves when what was written has been delivered: who asks goes on trying
    leaving = 'l',     // leaves now
};

// Answers whoever waits, a bounded number a call. Whether somebody asked. Does not block, takes nothing from the heap.
bool answer(const Claim& claim, Answer what) noexcept;

// The claims of this process's ports (DPDK's numbers). The keeper inherits them.
inline constexpr std::size_t claims_max = 32;
void keep(std::uint16_t port, const Claim& claim) noexcept;
void give_back(std::uint16_t port) noexcept;
std::span<const Claim> kept_claims() noexcept;   // fd -1: none

}  // namespace shunt::pmd
