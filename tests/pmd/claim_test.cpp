// Claims between real processes: who has a name, who gives it up when asked, and who cannot be asked.
#include "pmd/claim.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "pmd/driver_calls.hpp"

namespace shunt::pmd {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
constexpr auto silence = 200ms;        // after which a holder counts as one that does not answer
constexpr uid_t stranger = 65534;

std::string fresh_name() {
    static int count = 0;
    return "claim-test-" + std::to_string(getpid()) + "-" + std::to_string(++count);
}

// A process of its own, which says when it is ready and ends on its own account after a while.
class Process {
public:
    template <class Body>
    explicit Process(Body body) {
        std::array<int, 2> ready{};
        EXPECT_EQ(pipe(ready.data()), 0);
        id_ = fork();
        if (id_ == 0) {
            alarm(30);
            close(ready[0]);
            _exit(body([end = ready[1]] { EXPECT_EQ(write(end, "r", 1), 1); }));
        }
        close(ready[1]);
        char letter = 0;
        EXPECT_EQ(read(ready[0], &letter, 1), 1) << "the process ended before it was ready";
        close(ready[0]);
    }
    Process(Process&& other) noexcept : id_(std::exchange(other.id_, 0)) {}
    ~Process() { end(); }

    int wait() {
        int status = 0;
        waitpid(std::exchange(id_, 0), &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    void signal(int number) const { kill(id_, number); }
    void end() {
        if (id_ > 0) {
            signal(SIGKILL);
            wait();
        }
    }

private:
    pid_t id_ = 0;
};

bool wait_for_request(const Claim& claim) {
    pollfd event{claim.fd, POLLIN, 0};
    return poll(&event, 1, 20'000) == 1;
}

// Holds the name; `then` is what it does with the claim until it ends.
template <class Body>
Process hold(const std::string& name, Body then) {
    return Process([&](auto say_ready) {
        auto claim = try_claim(name);
        if (!claim) {
            return 2;
        }
        say_ready();
        then(*claim);
        return 0;
    });
}

// Gives one answer to all who ask.
Process hold_and_answer(const std::string& name, Answer what) {
    return hold(name, [what](Claim& claim) {
        while (wait_for_request(claim)) {
            answer(claim, what);
        }
    });
}

struct Asked {
    std::expected<Claim, Refused> result;
    Clock::duration took;
};

Asked ask(const std::string& name, Duration delivering = Patience{}.delivering) {
    const auto begin = Clock::now();
    auto result = try_claim(name, {.delivering = delivering, .silent = silence});
    return {result, Clock::now() - begin};
}

void expect_refusal(const Asked& asked, Refusal reason) {
    ASSERT_FALSE(asked.result);
    EXPECT_EQ(asked.result.error().reason, reason);
}

void expect_claimed_and_release(Asked asked) {
    ASSERT_TRUE(asked.result) << "refused for reason " << static_cast<int>(asked.result.error().reason);
    release(*asked.result);
}

struct Named {
    sockaddr_un address{};
    socklen_t size = 0;

    explicit Named(const std::string& name) : size(static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())) {
        address.sun_family = AF_UNIX;
        std::copy(name.begin(), name.end(), address.sun_path + 1);
    }
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

TEST(Claim, AFreeNameIsTakenByAHighDescriptorThatNoProgramInherits) {
    const std::string name = fresh_name();
    Asked asked = ask(name);
    ASSERT_TRUE(asked.result);
    EXPECT_GE(asked.result->fd, internal_fd_base());
    EXPECT_EQ(fcntl(asked.result->fd, F_GETFD), FD_CLOEXEC);
    EXPECT_TRUE(fcntl(asked.result->fd, F_GETFL) & O_NONBLOCK);
    expect_refusal(ask(name), Refusal::in_use);   // nobody answers for this process
    release(*asked.result);
    EXPECT_EQ(asked.result->fd, -1);
    expect_claimed_and_release(ask(name));
}

TEST(Claim, NamesThatDifferInTheirLastLetterAreTwo) {
    const std::string name = fresh_name() + std::string(60, 'x');
    Asked one = ask(name + "a"), other = ask(name + "b");
    EXPECT_TRUE(one.result && other.result);
    expect_claimed_and_release(one);
    expect_claimed_and_release(other);
}

TEST(Claim, ANameThatDoesNotFitIsRefusedAndNotCut) {
    const std::string longest(107, 'n');
    const Asked fits = ask(longest);
    expect_claimed_and_release(fits);
    const Asked asked = ask(longest + "n");
    expect_refusal(asked, Refusal::system);
    EXPECT_EQ(asked.result.error().code, ENAMETOOLONG);
}

TEST(Claim, WithoutDescriptorsTheKernelsReasonIsTold) {
    const std::string name = fresh_name();
    Process process([&](auto say_ready) {
        say_ready();
        const Asked held = ask(name);
        std::vector<int> all;
        for (int fd = 0; fd >= 0 && all.size() < 2'000'000; fd = dup(2)) {
            all.push_back(fd);
        }
        const auto none = try_claim(fresh_name());   // no descriptor for the claim
        close(all.back());
        const auto one = try_claim(name);   // none to ask with
        const bool is_right = held.result && !none && none.error().reason == Refusal::system && none.error().code == EMFILE && !one &&
                              one.error().reason == Refusal::system && one.error().code == EMFILE;
        return is_right ? 0 : 1;
    });
    EXPECT_EQ(process.wait(), 0);
}

TEST(Claim, ABusyHolderIsBelievedAtOnce) {
    const std::string name = fresh_name();
    const Process holder = hold_and_answer(name, Answer::busy);
    auto fastest = Clock::duration::max();
    for (int i = 0; i < 20; ++i) {   // of many, since the machine may be busy with something else
        const Asked asked = ask(name);
        expect_refusal(asked, Refusal::in_use);
        fastest = std::min(fastest, asked.took);
    }
    EXPECT_LT(fastest, silence);
}

TEST(Claim, AHolderThatLeavesGivesTheNameAway) {
    const std::string name = fresh_name();
    Process holder = hold(name, [](Claim& claim) {
        wait_for_request(claim);
        EXPECT_TRUE(answer(claim, Answer::leaving));
        usleep(300'000);   // closing a port takes longer than an answer may
    });
    expect_claimed_and_release(ask(name, 20s));
    EXPECT_EQ(holder.wait(), 0);
}

TEST(Claim, AHolderThatDeliversHasTimeForIt) {
    const std::string name = fresh_name();
    Process holder = hold(name, [](Claim& claim) {
        const auto begin = Clock::now();
        while (Clock::now() - begin < 500ms) {
            pollfd event{claim.fd, POLLIN, 0};
            poll(&event, 1, 10);
            answer(claim, Answer::delivering);
        }
    });
    expect_claimed_and_release(ask(name, 20s));
    EXPECT_EQ(holder.wait(), 0);
}

TEST(Claim, AHolderThatDeliversForTooLongKeepsTheName) {
    const std::string name = fresh_name();
    const Process holder = hold_and_answer(name, Answer::delivering);
    const Asked asked = ask(name, 400ms);
    expect_refusal(asked, Refusal::is_delivering);
    EXPECT_GE(asked.took, 400ms);
    expect_refusal(ask(name, 100ms), Refusal::is_delivering);   // and it can be asked again
}

TEST(Claim, AHolderThatSaysItLeavesAndDoesNotIsNotWaitedForForEver) {
    const std::string name = fresh_name();
    const Process holder = hold_and_answer(name, Answer::leaving);
    expect_refusal(ask(name, 300ms), Refusal::is_delivering);
}

TEST(Claim, ALaterAnswerTakesThePlaceOfAnEarlierOne) {
    const std::string name = fresh_name();
    const Process holder = hold(name, [](Claim& claim) {
        for (Answer what = Answer::delivering; wait_for_request(claim); what = Answer::busy) {
            answer(claim, what);
        }
    });
    const Asked asked = ask(name, 20s);
    expect_refusal(asked, Refusal::in_use);
    EXPECT_LT(asked.took, 15s);
}

TEST(Claim, AHolderThatDoesNotAnswerIsInUse) {
    const std::string name = fresh_name();
    const Process holder = hold(name, [](Claim&) { pause(); });
    const Asked asked = ask(name, 20s);
    expect_refusal(asked, Refusal::in_use);
    EXPECT_GE(asked.took, silence);
    EXPECT_LT(asked.took, 15s);
}

TEST(Claim, AStoppedHolderIsInUseAndAnswersWhenItGoesOn) {
    const std::string name = fresh_name();
    const Process holder = hold_and_answer(name, Answer::delivering);
    holder.signal(SIGSTOP);
    expect_refusal(ask(name, 20s), Refusal::in_use);
    holder.signal(SIGCONT);
    expect_refusal(ask(name, 300ms), Refusal::is_delivering);
}

TEST(Claim, AHolderThatIsKilledWhileItIsAskedGivesTheNameBack) {
    for (const bool has_answered : {false, true}) {
        const std::string name = fresh_name();
        Process holder = hold(name, [has_answered](Claim& claim) {
            wait_for_request(claim);
            if (has_answered) {
                answer(claim, Answer::delivering);
            }
            usleep(50'000);
            kill(getpid(), SIGKILL);
        });
        expect_claimed_and_release(ask(name, 20s));
        EXPECT_EQ(holder.wait(), -1);
    }
}

struct Tally {
    std::atomic<int> claimed{0}, in_use{0}, other{0};
};

TEST(Claim, OfManyWhoAskAtOnceExactlyOneGetsIt) {
    void* const shared = mmap(nullptr, sizeof(Tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(shared, MAP_FAILED);
    for (int round = 0; round < 20; ++round) {
        auto& tally = *new (shared) Tally;
        const std::string name = fresh_name();
        const Process holder = hold(name, [](Claim& claim) {
            wait_for_request(claim);
            usleep(20'000);
            answer(claim, Answer::leaving);
        });
        std::vector<Process> askers;
        for (int i = 0; i < 4; ++i) {
            askers.push_back(Process([&](auto say_ready) {
                say_ready();
                auto claim = try_claim(name, {.delivering = 20s});
                ++(claim ? tally.claimed : claim.error().reason == Refusal::in_use ? tally.in_use : tally.other);
                while (claim && wait_for_request(*claim)) {
                    answer(*claim, Answer::busy);
                }
                return 0;
            }));
        }
        for (const auto begin = Clock::now(); tally.claimed + tally.in_use + tally.other < 4 && Clock::now() - begin < 20s; usleep(1000)) {
        }
        EXPECT_EQ(tally.claimed, 1) << "round " << round;
        EXPECT_EQ(tally.in_use, 3) << "round " << round;
    }
    munmap(shared, sizeof(Tally));
}

TEST(Claim, GarbageIsNotAnsweredAndDoesNotHideARequest) {
    const std::string name = fresh_name();
    auto claim = try_claim(name);
    ASSERT_TRUE(claim);
    const Named named(name);
    const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    const Named own(fresh_name());
    ASSERT_EQ(bind(fd, own.get(), own.size), 0);
    const auto send = [&](const std::string& text) {
        return sendto(fd, text.data(), text.size(), MSG_DONTWAIT, named.get(), named.size) == static_cast<ssize_t>(text.size());
    };
    // Empty, too short, too long, another magic word, another verb.
    const std::vector<std::string> garbage{"", "Shunt/1", "Shunt/1LL", "Tnuhs/1L", std::string(8, '\0'), "Shunt/1l", "Shunt/1b",
                                           std::string(9000, 'L')};
    for (const std::string& text : garbage) {
        EXPECT_TRUE(send(text));
    }
    EXPECT_FALSE(answer(*claim, Answer::leaving));
    for (const std::string& text : garbage) {
        EXPECT_TRUE(send(text));
    }
    EXPECT_TRUE(send("Shunt/1L"));
    EXPECT_TRUE(answer(*claim, Answer::leaving));
    EXPECT_FALSE(answer(*claim, Answer::leaving)) << "a request is taken once";
    std::array<char, 64> heard{};
    EXPECT_EQ(recv(fd, heard.data(), heard.size(), MSG_DONTWAIT), 8);
    EXPECT_EQ(std::string(heard.data()), "Shunt/1l");
    EXPECT_EQ(recv(fd, heard.data(), heard.size(), MSG_DONTWAIT), -1);
    close(fd);
    release(*claim);
}

TEST(Claim, WhoAsksWithoutAnAddressOrLeavesBeforeTheAnswerDoesNoHarm) {
    const std::string name = fresh_name();
    auto claim = try_claim(name);
    ASSERT_TRUE(claim);
    const Named named(name), own(fresh_name());
    for (const bool has_address : {false, true}) {
        const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        if (has_address) {
            ASSERT_EQ(bind(fd, own.get(), own.size), 0);
        }
        ASSERT_EQ(sendto(fd, "Shunt/1L", 8, 0, named.get(), named.size), 8);
        close(fd);
        EXPECT_TRUE(answer(*claim, Answer::leaving));
    }
    EXPECT_FALSE(answer(*claim, Answer::leaving));
    release(*claim);
}

TEST(Claim, OnlyTheHolderIsBelieved) {
    const std::string name = fresh_name();
    Process holder = hold(name, [](Claim& claim) {
        wait_for_request(claim);
        sockaddr_un asker{};
        socklen_t size = sizeof asker;
        std::array<char, 8> request{};
        recvfrom(claim.fd, request.data(), request.size(), 0, reinterpret_cast<sockaddr*>(&asker), &size);
        const int other = socket(AF_UNIX, SOCK_DGRAM, 0);
        EXPECT_EQ(sendto(other, "Shunt/1b", 8, 0, reinterpret_cast<sockaddr*>(&asker), size), -1);
        EXPECT_EQ(sendto(claim.fd, "Shunt/1d", 8, 0, reinterpret_cast<sockaddr*>(&asker), size), 8);
        usleep(300'000);
        if (testing::Test::HasFailure()) {
            _exit(1);
        }
    });
    expect_claimed_and_release(ask(name, 20s));
    EXPECT_EQ(holder.wait(), 0);
}

TEST(Claim, AskerAndHolderMayBeDifferentUsers) {
    if (geteuid() != 0) {
        GTEST_SKIP() << "needs root";
    }
    const auto become_stranger = [] { return setgid(stranger) == 0 && setuid(stranger) == 0; };
    for (const bool holder_is_stranger : {false, true}) {
        const std::string name = fresh_name();
        const Process holder([&](auto say_ready) {
            const bool is_right = !holder_is_stranger || become_stranger();
            auto claim = try_claim(name);
            if (!is_right || !claim) {
                return 2;
            }
            say_ready();
            wait_for_request(*claim);
            answer(*claim, Answer::leaving);
            return 0;
        });
        Process asker([&](auto say_ready) {
            const bool is_right = holder_is_stranger || become_stranger();
            say_ready();
            return is_right && try_claim(name, {.delivering = 20s}) ? 0 : 1;
        });
        EXPECT_EQ(asker.wait(), 0);
    }
}

TEST(Claim, OneCallAnswersABoundedNumber) {
    if (geteuid() != 0) {
        GTEST_SKIP() << "needs root, for a longer queue in a namespace of its own";
    }
    Process process([](auto say_ready) {
        constexpr int requests = 200;
        if (unshare(CLONE_NEWNET) != 0) {
            return 2;
        }
        std::ofstream("/proc/sys/net/unix/max_dgram_qlen") << 1000 << std::flush;
        say_ready();
        const std::string name = fresh_name();
        auto claim = try_claim(name);
        const Named named(name), own(fresh_name());
        const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        EXPECT_EQ(bind(fd, own.get(), own.size), 0);
        for (int i = 0; i < requests; ++i) {
            EXPECT_EQ(sendto(fd, "Shunt/1L", 8, MSG_DONTWAIT, named.get(), named.size), 8);
        }
        std::array<char, 8> heard{};
        int most = 0, all = 0;
        while (answer(*claim, Answer::busy)) {
            int count = 0;
            while (recv(fd, heard.data(), heard.size(), MSG_DONTWAIT) == 8) {
                ++count;
            }
            most = std::max(most, count);
            all += count;
        }
        EXPECT_EQ(all, requests);
        EXPECT_LE(most, 100);
        return testing::Test::HasFailure() ? 1 : 0;
    });
    EXPECT_EQ(process.wait(), 0);
}

}  // namespace
}  // namespace shunt::pmd
