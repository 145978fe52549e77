// See claim.hpp.
#include "pmd/claim.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/sys.hpp"
#include "pmd/driver_calls.hpp"

namespace shunt::pmd {
namespace {

constexpr Duration between_tries = std::chrono::milliseconds(5);
constexpr Duration between_requests = std::chrono::milliseconds(50);  // the holder's answer may become another one
constexpr int answers_per_call = 64;

struct Message {
    std::array<char, 7> magic = {'S', 'h', 'u', 'n', 't', '/', '1'};
    char verb = 0;
};
constexpr char leave = 'L';

bool is_ours(const Message& message, long size) noexcept {
    return size == sizeof message && message.magic == Message{}.magic;
}

struct Address {
    sockaddr_un name{};
    socklen_t size = 0;

    explicit Address(const std::string& text) noexcept : size(static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size())) {
        name.sun_family = AF_UNIX;
        std::copy_n(text.data(), std::min(text.size(), sizeof name.sun_path - 1), name.sun_path + 1);
    }
    const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&name); }
    bool is_whole() const noexcept { return size <= sizeof name; }
};

// A descriptor, or -errno.
int open_socket() noexcept {
    return move_up(sys::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

Duration read_clock() noexcept {
    timespec now{};
    sys::call(SYS_clock_gettime, CLOCK_MONOTONIC, sys::word(&now));
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

void sleep_for(Duration time) noexcept {
    const timespec wanted{0, static_cast<long>(time.count())};
    sys::call(SYS_nanosleep, sys::word(&wanted), 0);
}

// A conversation with the holder of the name. Connected, so that nobody else can answer and a new holder is not taken for this one.
class Question {
public:
    Question() = default;
    Question(const Question&) = delete;
    Question& operator=(const Question&) = delete;
    ~Question() { end(); }

    // Asks when it is time to, and hears what has been answered. 0, or -ECONNREFUSED when the holder has gone, or what else -errno says.
    long put(const Address& holder, Duration now) noexcept {
        if (fd_ < 0) {
            if (const long begun = begin(holder, now); begun < 0) {
                return begun;
            }
        }
        if (now >= ask_again_at_) {
            const Message request{.verb = leave};
            const long sent = sys::call(SYS_sendto, fd_, sys::word(&request), sizeof request, MSG_NOSIGNAL);
            if (sent == -ECONNREFUSED) {
                end();
                return sent;
            }
            if (sent > 0) {   // else its queue is full, or it is no socket of ours: it does not answer
                ask_again_at_ = now + between_requests;
            }
        }
        hear();
        return 0;
    }

    bool was_answered() const noexcept { return answer_ != 0; }
    bool is_hopeless(Duration now, Duration silence_max) const noexcept {
        return was_answered() ? answer_ == static_cast<char>(Answer::busy) : now - begun_at_ >= silence_max;
    }

private:
    long begin(const Address& holder, Duration now) noexcept {
        fd_ = open_socket();
        if (fd_ < 0) {
            return fd_;
        }
        begun_at_ = ask_again_at_ = now;
        answer_ = 0;
        const sockaddr_un any{AF_UNIX, {}};
        sys::bind(fd_, reinterpret_cast<const sockaddr*>(&any), sizeof any.sun_family);   // the kernel finds a name to answer to
        if (sys::call(SYS_connect, fd_, sys::word(holder.get()), holder.size) == -ECONNREFUSED) {
            end();
            return -ECONNREFUSED;
        }
        return 0;
    }
    void hear() noexcept {
        for (int i = 0; i < answers_per_call; ++i) {
            Message heard;
            const long size = sys::call(SYS_recvfrom, fd_, sys::word(&heard), sizeof heard, MSG_TRUNC);
            if (size < 0) {
                return;
            }
            if (is_ours(heard, size)) {
                answer_ = heard.verb;
            }
        }
    }
    void end() noexcept {
        if (fd_ >= 0) {
            close_ours(fd_);
            fd_ = -1;
        }
    }

    int fd_ = -1;
    Duration begun_at_{};
    Duration ask_again_at_{};
    char answer_ = 0;   // of the holder that is asked now; 0: none yet
};

std::unexpected<Refused> refuse(Claim& claim, Refusal reason, long code = 0) noexcept {
    release(claim);
    return std::unexpected(Refused{reason, static_cast<int>(code)});
}

constinit std::array<Claim, claims_max> kept{};

}  // namespace

void keep(std::uint16_t port, const Claim& claim) noexcept {
    kept[port] = claim;
}

void give_back(std::uint16_t port) noexcept {
    if (port < kept.size()) {
        release(kept[port]);
    }
}

std::span<const Claim> kept_claims() noexcept {
    return kept;
}

std::expected<Claim, Refused> try_claim(const std::string& name, Patience patience) {
    const Address address(name);
    Claim claim{address.is_whole() ? open_socket() : -ENAMETOOLONG};
    if (claim.fd < 0) {
        return refuse(claim, Refusal::system, -claim.fd);
    }
    Question question;
    const Duration begin = read_clock();
    for (Duration now = begin;; now = read_clock()) {
        const long bound = sys::bind(claim.fd, address.get(), address.size);
        if (bound == 0) {
            return claim;
        }
        const long asked = bound == -EADDRINUSE ? question.put(address, now) : bound;
        if (asked < 0 && asked != -ECONNREFUSED) {
            return refuse(claim, Refusal::system, -asked);
        }
        if (asked == 0 && question.is_hopeless(now, patience.silent)) {
            return refuse(claim, Refusal::in_use);
        }
        if (now - begin >= patience.delivering) {
            return refuse(claim, question.was_answered() ? Refusal::is_delivering : Refusal::in_use);
        }
        if (asked == 0) {
            sleep_for(between_tries);   // a holder that has gone left the name free: no sleep before the next try then
        }
    }
}

void release(Claim& claim) noexcept {
    if (claim.fd >= 0) {
        close_ours(claim.fd);
        claim.fd = -1;
    }
}

bool answer(const Claim& claim, Answer what) noexcept {
    bool was_asked = false;
    for (int i = 0; i < answers_per_call; ++i) {
        Message message{};
        sockaddr_un from{};
        socklen_t from_size = sizeof from;
        const long size = sys::call(SYS_recvfrom, claim.fd, sys::word(&message), sizeof message, MSG_DONTWAIT | MSG_TRUNC, sys::word(&from),
                                    sys::word(&from_size));
        if (size < 0) {
            break;
        }
        if (!is_ours(message, size) || message.verb != leave) {
            continue;
        }
        was_asked = true;
        message.verb = static_cast<char>(what);
        sys::call(SYS_sendto, claim.fd, sys::word(&message), sizeof message, MSG_DONTWAIT | MSG_NOSIGNAL, sys::word(&from), from_size);
    }
    return was_asked;
}

}  // namespace shunt::pmd
