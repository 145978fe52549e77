// Which sockets are ours: rules in the user's words, one a line, of which the first that matches decides. Without a match the addresses and routes do.
//
//   kernel peer=10.0.0.9:22              that peer's port: the kernel's
//   shunt program=gateway* tcp           TCP of programs so called: ours, where an address or a route of ours leads there
//   kernel local=*:9000-9099 udp         UDP bound to these ports: the kernel's
//   kernel                               all else: the kernel's
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "config/prefix.hpp"

namespace shunt::config {

enum class Protocol : std::uint8_t { any, tcp, udp };
// What a rule speaks of: the address that a socket binds, or the peer that it connects to or sends to; or both.
enum class End : std::uint8_t { any, local, peer };

struct Rule {
    bool is_for_kernel = false;
    Protocol protocol = Protocol::any;
    End end = End::any;
    Ipv4Prefix prefix{0, 0};          // of `end`; length 0: any
    std::uint16_t first_port = 0, last_port = 65535;
    std::string program;              // a pattern (glob) of the program's name, or of its path where it has a slash; empty: any
    std::string text;                 // as given

    friend bool operator==(const Rule&, const Rule&) = default;
};

// "kernel|shunt [tcp|udp] [program=GLOB] [local|peer=ADDR[/LEN][:PORT[-PORT]]]", in any order behind the side; * is any address. The error says what is
// wrong with which word.
Outcome<Rule> parse_rule(std::string_view text);

// Those that speak of this program, by the name it was started with, the name of its file, or its path.
std::vector<Rule> rules_for(const std::vector<Rule>& rules, const std::string& name, const std::string& path);

// One socket's question: may it bind to, or talk to, this address?
struct Question {
    bool is_tcp;
    End end;  // local or peer
    std::uint32_t address;  // host order
    std::uint16_t port;
};
// The first rule that matches; null: none does.
const Rule* first_match(const std::vector<Rule>& rules, const Question& question) noexcept;

}  // namespace shunt::config
