#include "simulator/talker.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace shunt::simulator {
namespace {

// Bytes that tell which stream they belong to and where in it they stand.
constexpr char byte_at(std::uint64_t stream, std::size_t at) noexcept {
    const std::uint64_t mixed = (at + 1) * (stream * 2 + 0x9E3779B97F4A7C15U);
    return static_cast<char>(mixed >> 56);
}

}  // namespace

void Talker::take(tcp::Connection* connection) {
    c_ = connection;
    c_->owner = this;
    was_opened_ = true;
}

// Now and then a program has something else to do.
bool Talker::dawdles(Time now) {
    if (now < idle_until_) {
        return true;
    }
    if (plan.is_lazy && random_.below(4) == 0) {
        idle_until_ = now + Duration(random_.below(20'000'000));
        network_.wake_at(idle_until_);
        return true;
    }
    return false;
}

void Talker::step() {
    if (c_ == nullptr) {
        return;
    }
    const Time now = network_.now();
    if (now >= plan.reset_at) {
        close(true);
        has_finished_ = true;
        return;
    }
    if (dawdles(now)) {
        return;
    }
    write(now);
    if (c_ != nullptr) {
        read(now);
    }
    if (c_ == nullptr) {
        return;
    }
    if (c_->error != 0) {
        error_ = c_->error;
        close(false);
    } else if (plan.ending == Ending::after_peer && is_shut_ && saw_end_) {
        close(false);
        has_finished_ = true;
    }
}

void Talker::write(Time now) {
    if (is_shut_ || !c_->can_send()) {
        return;
    }
    if (written_ < plan.to_write) {
        const std::size_t size = std::min<std::size_t>(1 + random_.below(random_.below(2) == 0 ? 200 : plan.write_max), plan.to_write - written_);
        Bytes data(size, '\0');
        for (std::size_t i = 0; i < size; ++i) {
            data[i] = byte_at(plan.stream, written_ + i);
        }
        const std::uint32_t taken = tcp().send(*c_, std::as_bytes(std::span(data)), false, now);
        written_ += taken;
        if (taken == size) {
            network_.wake_at(now + Duration(random_.below(100'000)));  // there is more to write
        } else {
            c_->wants_room = true;
        }
        return;
    }
    if (plan.ending == Ending::at_once) {
        close(false);
        has_finished_ = true;
    } else if (plan.ending == Ending::after_peer) {
        tcp().shutdown_send(*c_, now);
        is_shut_ = true;
    }
}

void Talker::read(Time now) {
    if (now >= plan.stall_at && now < plan.stall_at + plan.stall) {
        network_.wake_at(plan.stall_at + plan.stall);
        return;
    }
    Bytes data(1 + random_.below(plan.read_max), '\0');
    data.resize(tcp().receive(*c_, reinterpret_cast<std::byte*>(data.data()), static_cast<std::uint32_t>(data.size()), false, 0, now));
    for (std::size_t i = 0; i < data.size(); ++i) {
        if (data[i] != byte_at(plan.peer_stream, read_ + i)) {
            throw Violation(fmt::format("byte {} of stream {} arrived wrong", read_ + i, plan.peer_stream));
        }
    }
    read_ += data.size();
    saw_end_ = c_->fin_received && c_->rcv_queued == 0;
    if (c_->rcv_queued != 0) {
        network_.wake_at(now + Duration(random_.below(200'000)));
    }
}

void Talker::close(bool with_reset) {
    tcp().release(*c_, with_reset, network_.now());
    c_ = nullptr;
}

// The stack's end frees what connections in its table hold; one that is over is the program's alone.
void Talker::lose_connection() {
    if (c_ != nullptr && c_->state == tcp::State::closed) {
        close(false);
    }
    c_ = nullptr;
}

void Talker::give_up() {
    if (c_ != nullptr) {
        error_ = c_->error;
        close(false);
    }
}

}  // namespace shunt::simulator
