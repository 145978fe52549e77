// Packets on loan.
#include "native/core.hpp"

namespace shunt::inline v0 {

void ReceivedBuffer::give_back() noexcept {
    const Inside inside(*layer_);  // the pool's cache belongs to whoever holds the lock
    auto* packet = static_cast<Packet*>(std::exchange(packet_, nullptr));
    packet->meta().lent_to = 0;
    packet->free();
    run_bytes_ = bytes_ = 0;
}

bool ReceivedBuffer::next_run() noexcept {
    if (packet_ == nullptr) {
        return false;
    }
    std::uint32_t index = 0;
    bool found = false;
    static_cast<const Packet*>(packet_)->for_each_segment([&](const std::byte* data, std::uint32_t bytes) {
        if (index++ == run_ + 1) {
            data_ = data;
            run_bytes_ = bytes;
            found = true;
        }
    });
    run_ += found ? 1 : 0;
    return found;
}

std::size_t ReceivedBuffer::copy_to(std::span<std::byte> to) const noexcept {
    const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(to.size(), bytes_));
    if (n != 0) {
        static_cast<const Packet*>(packet_)->copy_out(0, to.data(), n);
    }
    return n;
}

void SendBuffer::give_back() noexcept {
    const Inside inside(*layer_);
    auto* packet = static_cast<Packet*>(std::exchange(packet_, nullptr));
    packet->meta().lent_to = 0;
    packet->free();
    bytes_ = 0;
}

}  // namespace shunt::inline v0
