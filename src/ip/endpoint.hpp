// What a UDP socket, a TCP connection and a TCP listener have in common: addresses, an error waiting for the program, and news for the
// layer above. A transport does not call upwards: it notes what changed and puts the endpoint on the stack's list of changed ones.
#pragma once

#include <cstdint>

namespace shunt {

// News, as bits.
namespace ready {
inline constexpr std::uint8_t input = 1;     // data, a datagram, a connection to accept, or end of file
inline constexpr std::uint8_t output = 2;    // room to send, or connected
inline constexpr std::uint8_t error = 4;     // an error to be fetched
inline constexpr std::uint8_t hangup = 8;    // both directions are over
inline constexpr std::uint8_t peer_shut = 16;  // the peer will send no more
inline constexpr std::uint8_t urgent = 32;     // urgent data are announced
}  // namespace ready

enum class EndpointKind : std::uint8_t { udp, tcp_connection, tcp_listener };

struct Endpoint {
    explicit Endpoint(EndpointKind of) noexcept : kind(of) {}
    Endpoint(const Endpoint&) = delete;
    Endpoint& operator=(const Endpoint&) = delete;

    EndpointKind kind;
    std::uint8_t news = 0;         // ready:: bits since the socket layer last looked
    bool is_changed = false;       // on the ChangedList
    std::uint16_t local_port = 0;
    std::uint16_t remote_port = 0;
    std::uint32_t local_address = 0;   // 0: any of ours
    std::uint32_t remote_address = 0;  // 0: not connected
    int error = 0;                 // errno for the program's next call or SO_ERROR
    Endpoint* next_changed = nullptr;
    void* owner = nullptr;         // the socket layer's mark; null when no program holds it
};

class ChangedList {
public:
    bool is_empty() const noexcept { return head_ == nullptr; }
    void note(Endpoint& endpoint, std::uint8_t news) noexcept {
        endpoint.news |= news;
        if (!endpoint.is_changed && endpoint.owner != nullptr) {
            endpoint.is_changed = true;
            endpoint.next_changed = head_;
            head_ = &endpoint;
        }
    }
    Endpoint* pop() noexcept {
        Endpoint* endpoint = head_;
        if (endpoint != nullptr) {
            head_ = endpoint->next_changed;
            endpoint->is_changed = false;
        }
        return endpoint;
    }
    void remove(Endpoint& endpoint) noexcept {
        if (!endpoint.is_changed) {
            return;
        }
        Endpoint** link = &head_;
        while (*link != &endpoint) {
            link = &(*link)->next_changed;
        }
        *link = endpoint.next_changed;
        endpoint.is_changed = false;
    }

private:
    Endpoint* head_ = nullptr;
};

}  // namespace shunt
