// A packetdrill script, read: what is to happen, when, in which line. The language is that of Google's tool; docs/packetdrill.md says which of it is here.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/time.hpp"

namespace shunt::packetdrill {

// Why a script cannot be read, or what was not as it says.
struct ScriptError : std::runtime_error {
    ScriptError(int at, const std::string& what) : std::runtime_error(what), line(at) {}
    int line;
};

// An argument or a result of a system call.
struct Expression {
    enum class Kind { none, ellipsis, number, text, list, record, call };
    Kind kind = Kind::none;
    std::int64_t number = 0;
    std::string text;                                        // text; of a call its name; of a number its spelling
    std::vector<std::pair<std::string, Expression>> fields;  // of lists and calls without names

    bool is_number() const { return kind == Kind::number; }
    bool is_ellipsis() const { return kind == Kind::ellipsis; }
    const Expression* find(std::string_view name) const {
        for (const auto& [key, value] : fields) {
            if (key == name) {
                return &value;
            }
        }
        return nullptr;
    }
};

struct SystemCall {
    std::string name;
    std::vector<Expression> arguments;
    Expression result;
    std::string error;            // "EAGAIN"
    std::optional<Duration> end;  // it blocks, until then
};

enum class OptionKind : std::uint8_t { eol = 0, nop = 1, mss = 2, wscale = 3, sack_ok = 4, sack = 5, timestamp = 8, fast_open = 34, fast_open_experimental = 254 };

struct TcpOption {
    OptionKind kind = OptionKind::nop;
    std::uint32_t value = 0, echo = 0;                               // mss, wscale; a time stamp's two
    std::vector<std::pair<std::uint32_t, std::uint32_t>> blocks;     // of SACK
    std::string cookie;                                              // of Fast Open: hexadecimal, or a name that stands for the stack's
};

enum class Ecn : std::uint8_t { any, none, ect1, ect0, ce, ect01 };

struct TcpSpec {
    std::uint8_t flags = 0;
    std::uint32_t seq = 0, length = 0;
    std::optional<std::uint32_t> ack, window, urgent;
    bool any_options = false;
    std::vector<TcpOption> options;
};
struct UdpSpec {
    std::uint32_t length = 0;
};
struct IcmpSpec {
    std::string type, code;
    std::uint32_t mtu = 0;
    bool quotes_udp = false;
    std::uint32_t seq = 0, length = 0;  // of the segment it quotes
};
struct PacketSpec {
    bool is_inbound = false;
    Ecn ecn = Ecn::any;
    std::optional<std::uint32_t> tos, ttl;
    std::variant<TcpSpec, UdpSpec, IcmpSpec> content;
    std::string text;                   // as the script has it
};

struct Command {
    std::string text;
};
struct CodeBlock {
    std::string text;
};

struct EventTime {
    enum class Kind { absolute, relative, any };
    Kind kind = Kind::absolute;
    Duration first{}, last{};           // the same but for a range
};

struct Event {
    int line = 0;
    EventTime time;
    std::variant<SystemCall, PacketSpec, Command, CodeBlock> what;
};

struct Script {
    std::string path;
    std::vector<std::pair<std::string, std::string>> options;  // --name=value
    std::vector<Event> events;                                 // initial commands among them
};

Script parse_script(const std::string& path, std::string text);  // throws ScriptError
std::optional<std::int64_t> find_symbol(std::string_view name);  // SOL_SOCKET, ...
// From the place behind < or >, up to the end of the packet; moves `at` there.
PacketSpec parse_packet(bool is_inbound, std::string_view text, std::size_t& at, int line);

}  // namespace shunt::packetdrill
