#include "differential/child.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>
#include <vector>

namespace differential {
namespace {

constexpr std::size_t message_max = 1 << 17;
constexpr int silent_ms_max = 5000;

std::string receive_message(int channel) {
    std::vector<char> room(message_max);
    ssize_t size = 0;
    do {
        size = recv(channel, room.data(), room.size(), 0);
    } while (size < 0 && errno == EINTR);
    return {room.data(), static_cast<std::size_t>(size > 0 ? size : 0)};
}

}  // namespace

void Child::start(const Answer& answer) {
    int ends[2];
    if (is_there() || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return;
    }
    const pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        for (std::string message; !(message = receive_message(ends[1])).empty();) {
            const std::string text = answer(message) + "\n";
            send(ends[1], text.data(), text.size(), MSG_NOSIGNAL);
        }
        _exit(0);
    }
    close(ends[1]);
    pid_ = pid;
    channel_ = ends[0];
}

std::string Child::ask(const std::string& message) {
    if (!is_there()) {
        return "(no child)";
    }
    send(channel_, message.data(), message.size(), MSG_NOSIGNAL);
    pollfd wait{channel_, POLLIN, 0};
    std::string text;
    if (poll(&wait, 1, silent_ms_max) > 0) {
        text = receive_message(channel_);
    } else {
        kill(pid_, SIGKILL);
    }
    if (!text.empty()) {
        text.pop_back();
        return text;
    }
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    end();
    return "(child ended with status " + std::to_string(status) + ")";
}

void Child::end() {
    if (channel_ >= 0) {
        close(std::exchange(channel_, -1));
    }
    if (is_there()) {
        waitpid(std::exchange(pid_, -1), nullptr, 0);
    }
}

}  // namespace differential
