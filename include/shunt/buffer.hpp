// Bytes without a copy: what was received, as the NIC wrote it; what will be sent, where the NIC will read it.
//
//     auto received = socket.receive();                  // a ReceivedBuffer: ours until it is destroyed
//     auto sending = socket.claim(received->size());     // a SendBuffer: ours until commit
//     std::ranges::copy(received->bytes(), sending->bytes().begin());
//     socket.commit(std::move(*sending), received->size());
//
// Both are packets of a common, fixed pool: a program that keeps many of them starves its own receiving. Give them back soon, in
// any order, from any thread (each takes the stack's lock for that, unless the thread has a Session). A buffer may outlive its
// socket, not the process's stack. Moving one is free and leaves an empty one behind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "shunt/types.hpp"

namespace shunt::socket {
struct Layer;
}

namespace shunt::inline v0 {

struct Access;

// A received packet's payload, borrowed. Read-only; given back on destruction. An empty one holds nothing.
class ReceivedBuffer {
public:
    ReceivedBuffer() noexcept = default;
    ReceivedBuffer(ReceivedBuffer&& other) noexcept
        : layer_(other.layer_),
          packet_(std::exchange(other.packet_, nullptr)),
          data_(other.data_),
          run_bytes_(std::exchange(other.run_bytes_, 0U)),
          bytes_(std::exchange(other.bytes_, 0U)),
          run_(other.run_) {}
    ReceivedBuffer& operator=(ReceivedBuffer&& other) noexcept {
        if (this != &other) {
            release();
            layer_ = other.layer_;
            packet_ = std::exchange(other.packet_, nullptr);
            data_ = other.data_;
            run_bytes_ = std::exchange(other.run_bytes_, 0U);
            bytes_ = std::exchange(other.bytes_, 0U);
            run_ = other.run_;
        }
        return *this;
    }
    ~ReceivedBuffer() { release(); }

    // The payload; all of it, unless the datagram came in fragments: then its first run, and next_run() leads on.
    std::span<const std::byte> bytes() const noexcept { return {data_, run_bytes_}; }
    // Bytes of the whole payload.
    std::size_t size() const noexcept { return bytes_; }
    bool empty() const noexcept { return bytes_ == 0; }
    bool is_contiguous() const noexcept { return run_bytes_ == bytes_; }
    // Makes bytes() the next run. False, and nothing changes, behind the last.
    SHUNT_API bool next_run() noexcept;
    // Copies from the payload's start, as much as fits; the number of bytes copied.
    SHUNT_API std::size_t copy_to(std::span<std::byte> to) const noexcept;
    // Gives the packet back now; the buffer is empty then, and spans of it are dangling.
    void release() noexcept {
        if (packet_ != nullptr) {
            give_back();
        }
    }

private:
    friend struct Access;
    ReceivedBuffer(socket::Layer* layer, void* packet, const std::byte* data, std::uint32_t run_bytes,
                   std::uint32_t bytes) noexcept
        : layer_(layer), packet_(packet), data_(data), run_bytes_(run_bytes), bytes_(bytes) {}
    SHUNT_API void give_back() noexcept;

    socket::Layer* layer_ = nullptr;
    void* packet_ = nullptr;
    const std::byte* data_ = nullptr;
    std::uint32_t run_bytes_ = 0;
    std::uint32_t bytes_ = 0;
    std::uint32_t run_ = 0;
};

// A packet to fill: headers will be put in front of its bytes when it is committed. Given back, unsent, on destruction.
class SendBuffer {
public:
    SendBuffer() noexcept = default;
    SendBuffer(SendBuffer&& other) noexcept
        : layer_(other.layer_),
          packet_(std::exchange(other.packet_, nullptr)),
          data_(other.data_),
          bytes_(std::exchange(other.bytes_, 0U)) {}
    SendBuffer& operator=(SendBuffer&& other) noexcept {
        if (this != &other) {
            release();
            layer_ = other.layer_;
            packet_ = std::exchange(other.packet_, nullptr);
            data_ = other.data_;
            bytes_ = std::exchange(other.bytes_, 0U);
        }
        return *this;
    }
    ~SendBuffer() { release(); }

    // Exactly as many bytes as were claimed, uninitialised.
    std::span<std::byte> bytes() const noexcept { return {data_, bytes_}; }
    std::size_t size() const noexcept { return bytes_; }
    // Gives the packet back unsent.
    void release() noexcept {
        if (packet_ != nullptr) {
            give_back();
        }
    }

private:
    friend struct Access;
    SendBuffer(socket::Layer* layer, void* packet, std::byte* data, std::uint32_t bytes) noexcept
        : layer_(layer), packet_(packet), data_(data), bytes_(bytes) {}
    SHUNT_API void give_back() noexcept;

    socket::Layer* layer_ = nullptr;
    void* packet_ = nullptr;
    std::byte* data_ = nullptr;
    std::uint32_t bytes_ = 0;
};

}  // namespace shunt::inline v0
