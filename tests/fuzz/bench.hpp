// What the fuzzers share: the input as a source of decisions, and a stack with one peer that knows the connection's numbers, so that what it sends gets
// past the first checks. A broken rule aborts, which is what libFuzzer looks for.
#pragma once

#include <cstdint>
#include <span>

#include "simulator/station.hpp"

namespace shunt::fuzz {

using simulator::Station;
using namespace std::chrono_literals;
using test::Bytes;

// Reads decisions off the input; at its end all are zero.
class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) noexcept : left_(data, size) {}
    bool is_empty() const noexcept { return left_.empty(); }
    std::uint8_t byte() noexcept;
    std::uint16_t word() noexcept { return static_cast<std::uint16_t>(byte() << 8 | byte()); }
    std::uint32_t long_word() noexcept { return std::uint32_t{word()} << 16 | word(); }
    std::uint32_t below(std::uint32_t bound) noexcept { return bound <= 256 ? byte() % bound : word() % bound; }
    Bytes bytes(std::size_t size) noexcept;

private:
    std::span<const std::uint8_t> left_;
};

// What peer 10.0.0.2 writes at a place of its stream, wherever it comes in a segment.
constexpr char stream_byte(std::uint32_t at) noexcept { return static_cast<char>((at * 2654435761U) >> 24); }
Bytes stream_bytes(std::uint32_t at, std::size_t size);

// Ends the program when a rule does not hold.
void require(bool holds, const char* rule);

// In the end every packet is free.
struct PacketCount {
    PacketCount();
    ~PacketCount();
};

class Bench {
public:
    static constexpr std::uint16_t our_port = 80, peer_port = 40000;
    static constexpr std::uint32_t peer_iss = 1'000'000;

    explicit Bench(const Tunables& tunables = {});
    ~Bench();

    void give(const Bytes& frame);
    void give_ip(const Bytes& packet);
    void give_tcp(std::uint32_t seq, std::uint32_t ack, std::uint8_t flags, std::uint16_t window, const wire::TcpOptions& options, const Bytes& payload);
    void pass(Duration time);
    void settle();  // sends what calls have produced, and checks every rule

    // The connection between us and the peer, established; ours in every state from then on until release().
    void open(bool actively, const wire::TcpOptions& offered);
    void begin_open(bool actively, const wire::TcpOptions& offered);  // one segment only
    void read(std::uint32_t size);
    void write(std::uint32_t size);
    void shutdown();
    void release(bool with_reset);
    wire::TcpOptions plain_options() const;  // what an ordinary segment of the peer carries

private:
    PacketCount count_;  // before the station, so that it counts after it

public:
    Station station;
    Time now = simulator::beginning;
    tcp::Connection* c = nullptr;  // while it is the program's
    std::uint32_t received = 0;    // bytes

private:
    void accept();
    void drain();
    void poll();

    tcp::Listener* listener_ = nullptr;
};

}  // namespace shunt::fuzz
