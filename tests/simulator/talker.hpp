// A program at one end of a connection: writes a pattern, reads its peer's, at its own pace, and ends as it was told to.
#pragma once

#include "simulator/network.hpp"

namespace shunt::simulator {

enum class Ending {
    after_peer,  // shuts down when all is written, reads to the end, closes
    at_once,     // closes when all is written; what it wrote must arrive nevertheless
    reset,       // SO_LINGER with 0, at a time of its own
};

struct TalkerPlan {
    std::uint64_t stream = 0;      // which pattern it writes
    std::uint64_t peer_stream = 0;
    std::size_t to_write = 0;
    Ending ending = Ending::after_peer;
    Time reset_at = never;
    Time stall_at = never;         // reads nothing from then on ...
    Duration stall{};              // ... for so long: the window closes
    std::uint32_t write_max = 20'000;
    std::uint32_t read_max = 30'000;
    bool is_lazy = false;          // takes its time between calls
};

class Talker {
public:
    Talker(Network& network, unsigned station, const TalkerPlan& talker_plan, std::uint64_t seed) : plan(talker_plan), network_(network), station_(station), random_(seed) {}

    void take(tcp::Connection* connection);
    void step();
    // The machine under it was switched off: whatever it had is gone.
    void lose_connection();
    // Closes whatever state it is in; for the end of a run that went wrong on purpose.
    void give_up();

    bool is_open() const noexcept { return c_ != nullptr; }
    bool was_opened() const noexcept { return was_opened_; }
    bool has_finished() const noexcept { return has_finished_; }  // as planned
    int error() const noexcept { return error_; }
    unsigned station() const noexcept { return station_; }
    std::size_t written() const noexcept { return written_; }
    std::size_t read() const noexcept { return read_; }
    bool saw_end() const noexcept { return saw_end_; }

    TalkerPlan plan;

private:
    void write(Time now);
    void read(Time now);
    void close(bool with_reset);
    bool dawdles(Time now);
    tcp::Tcp& tcp() { return network_.station(station_).tcp(); }

    Network& network_;
    unsigned station_;
    Random random_;
    tcp::Connection* c_ = nullptr;
    std::size_t written_ = 0, read_ = 0;
    Time idle_until_{};
    int error_ = 0;
    bool was_opened_ = false, is_shut_ = false, saw_end_ = false, has_finished_ = false;
};

}  // namespace shunt::simulator
