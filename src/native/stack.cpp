// Starting and stopping, sessions, waiting for the stack as a whole.
#include <ctime>
#include <mutex>

#include "native/core.hpp"

namespace shunt::inline v0 {

constinit thread_local socket::Guard* current_guard = nullptr;

namespace {

std::unexpected<StartError> refuse(const CoreError& error) {
    return std::unexpected(StartError{error.code, error.message});
}

const char* name_of(Stack::Profile profile) noexcept {
    switch (profile) {
        case Stack::Profile::latency: return "latency";
        case Stack::Profile::balanced: return "balanced";
        case Stack::Profile::throughput: return "throughput";
    }
    return "balanced";
}

// The options as the launcher would be given them: one parser and one set of messages for all ways in.
std::vector<std::string> as_arguments(const Stack::Options& options) {
    std::vector<std::string> arguments;
    for (const std::string& link : options.links) {
        arguments.push_back("--link=" + link);
    }
    for (const std::string& address : options.addresses) {
        arguments.push_back("--ip=" + address);
    }
    if (!options.gateway.empty()) {
        arguments.push_back("--gateway=" + options.gateway);
    }
    if (options.profile) {
        arguments.push_back(std::string("--profile=") + name_of(*options.profile));
    }
    for (const std::string& setting : options.more) {
        arguments.push_back("--" + setting);
    }
    return arguments;
}

Outcome<config::Config> read(const Stack::Options& options) {
    config::Inputs inputs;
    if (options.use_environment) {
        inputs.environment = config::shunt_environment();
    }
    const std::vector<std::string> arguments = as_arguments(options);
    for (std::size_t index = 0; index < arguments.size();) {
        auto setting = config::parse_option(arguments, index);
        if (!setting) {
            return std::unexpected(setting.error());
        }
        inputs.command_line.push_back(std::move(*setting));
    }
    auto config = config::load(inputs);
    if (config) {
        if (auto complete = config::check_complete(*config); !complete) {
            return std::unexpected(complete.error());
        }
    }
    return config;
}

std::mutex open_mutex;
bool was_opened = false;

}  // namespace

std::expected<Stack, StartError> Stack::open(const Options& options) {
    const auto config = read(options);
    if (!config) {
        return refuse(config.error());
    }
    const std::scoped_lock lock(open_mutex);
    if (was_opened) {
        return std::unexpected(
            StartError{EBUSY, "a stack was opened before in this process, and a process can have one; pass that one on"});
    }
    was_opened = true;
    socket::Runtime& runtime = socket::Runtime::instance();
    runtime.configure(*config);
    if (const auto stack = runtime.stack(); !stack) {
        return refuse(stack.error());
    }
    socket::layer().lends_packets = true;
    return Stack(&socket::layer());
}

Stack::~Stack() {
    if (layer_ != nullptr && current_guard == nullptr) {
        socket::Runtime::instance().finish();
    }
}

bool Stack::poll() noexcept {
    const Inside inside(*layer_);
    return inside.poll(inside.now());
}

bool Stack::wait(Instant deadline) noexcept {
    const Inside inside(*layer_);
    const Counters& counters = inside.stack().counters();
    const std::uint64_t before = counters.of(Event::rx_packets);
    return wait_until(inside, {}, deadline, [&counters, before] { return counters.of(Event::rx_packets) != before; });
}

Instant Stack::now() const noexcept {
    return to_instant(layer_->now());
}

std::chrono::system_clock::time_point Stack::to_system_time(Instant at) const noexcept {
    timespec wall{};
    clock_gettime(CLOCK_REALTIME, &wall);
    const auto age = now() - at;
    const auto since_epoch = std::chrono::seconds(wall.tv_sec) + std::chrono::nanoseconds(wall.tv_nsec) - age;
    return std::chrono::system_clock::time_point(std::chrono::duration_cast<std::chrono::system_clock::duration>(since_epoch));
}

std::size_t Stack::addresses(std::span<std::uint32_t> to) const noexcept {
    const auto ours = layer_->stack->ipv4().addresses();
    for (std::size_t i = 0; i < std::min(to.size(), ours.size()); ++i) {
        to[i] = ours[i].address;
    }
    return ours.size();
}

bool Stack::is_link_up() const noexcept {
    const auto links = layer_->stack->links();
    return links.empty() || links[0]->port.is_link_up();
}

std::size_t Stack::packets_free() const noexcept {
    return layer_->stack->ipv4().packet_source()->pool_available();
}

Session::Session(Stack& stack) noexcept {
    static_assert(sizeof state_ >= sizeof(Inside) && alignof(Inside) <= alignof(void*));
    new (state_.data()) Inside(Access::layer(stack));
}

Session::~Session() {
    reinterpret_cast<Inside*>(state_.data())->~Inside();
}

void Inside::look_after_others() const noexcept {
    socket::Layer& here = layer();
    if (here.is_armed && here.sleepers == 0) {  // nobody sleeps, and an armed port costs a system call a burst
        socket::disarm_interrupts(here);
    }
    if (here.sleepers != 0) {
        socket::dispatch(here);
    }
    if (here.pending_wakes != 0 || here.stack->is_wanted()) {
        guard_->yield();
        here.stack->forget_spinners();
    }
}

}  // namespace shunt::inline v0
