// Stands in for src/socket/wait.cpp: the same names, for a time that does not pass by itself. A call that has to wait leaves the lock and sleeps until
// the World's driver has brought what it waits for. Linked before the archive, so that the archive's wait.cpp stays out; a function added there needs
// its twin here.
#include "base/sys.hpp"
#include "packetdrill/world.hpp"

namespace shunt::socket {
namespace {

thread_local ThreadState thread_state;
Layer* current_layer = nullptr;

}  // namespace

void arm_interrupts(Layer&) noexcept {}
void disarm_interrupts(Layer&) noexcept {}
void send_keeper_to_nap(Layer&) noexcept {}
void clear_rx_events(const Layer&) noexcept {}
void wake_all(Layer&) noexcept {}

ThreadState& this_thread() noexcept {
    if (thread_state.tid == 0) {
        thread_state.tid = static_cast<std::uint32_t>(sys::gettid());
    }
    return thread_state;
}

// The epoch of the virtual clock is the wall's, as the adapter's gettimeofday has it.
timespec wall_time(const Layer& layer) noexcept {
    const std::int64_t ns = layer.now().time_since_epoch().count();
    return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

Layer& layer() noexcept { return *current_layer; }
void set_layer(Layer* layer) noexcept { current_layer = layer; }

bool stands_for(int, const Socket&) noexcept { return true; }
bool defer_signal() noexcept { return false; }
void note_handled_signal(bool) noexcept {}
void set_deferred_runner(void (*)() noexcept) noexcept {}

void Guard::leave(bool) noexcept {
    dispatch(layer_);
    layer_.pending_wakes = 0;  // the World looks at everybody who waits
    layer_.stack->unlock();
    thread_.is_inside = false;
}

Wake wait(Guard& guard, const WaitFor& what, bool (*ready)(void*) noexcept, void* context) noexcept {
    return packetdrill::World::current()->wait(guard, what, ready, context);
}

}  // namespace shunt::socket
