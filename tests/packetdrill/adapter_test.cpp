// Drives lib/libshunt_packetdrill.so as the real packetdrill does: dlopen, the table, its clock, a blocking call in a second thread.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <thread>

#include "packetdrill/flow.hpp"
#include "packetdrill/tool_interface.hpp"
#include "wire/ipv4.hpp"

namespace shunt::packetdrill {
namespace {

// As the tool loads it; the sanitizers' runtime refuses RTLD_DEEPBIND, as their own names must bind to it.
#ifdef __SANITIZE_ADDRESS__
constexpr int kLoadFlags = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE;
#else
constexpr int kLoadFlags = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE | RTLD_DEEPBIND;
#endif

class AdapterTest : public ::testing::Test {
protected:
    explicit AdapterTest(const std::string& flags = "local=192.168.0.1,mtu=1500") {
        handle_ = ::dlopen(SHUNT_ADAPTER, kLoadFlags);
        const char* const complaint = handle_ == nullptr ? ::dlerror() : "";
        EXPECT_NE(handle_, nullptr) << complaint;
        const auto init = reinterpret_cast<decltype(&packetdrill_interface_init)>(::dlsym(handle_, "packetdrill_interface_init"));
        init(flags.c_str(), &tool);
        flow.protocol = wire::protocol_tcp;
        flow.local = 0xC0A80001;
        flow.remote = 0xC0000201;
        flow.local_port = 8080;
        flow.remote_port = 40001;
        flow.remote_offset = 1'000'000;
    }
    ~AdapterTest() override { tool.free(tool.userdata); }

    void give(const char* packet) {
        std::size_t at = 0;
        const Bytes bytes = write_packet(parse_packet(true, packet, at, 1), flow);
        EXPECT_EQ(tool.netdev_send(tool.userdata, bytes.data(), bytes.size()), 0);
    }
    // The next packet out of the stack; returns the time at which it left.
    long long expect(const char* packet) {
        char buffer[65536];
        std::size_t size = sizeof buffer;
        long long usecs = 0;
        EXPECT_EQ(tool.netdev_receive(tool.userdata, buffer, &size, &usecs), 0);
        const auto live = read_packet(Bytes(buffer, size));
        std::size_t at = 0;
        EXPECT_TRUE(live) << packet;
        if (live) {
            EXPECT_EQ(compare(parse_packet(false, packet, at, 1), *live, flow, 0), "") << packet << "; got " << describe(*live, flow);
        }
        return usecs;
    }
    long long now() {
        timeval tv{};
        tool.gettimeofday(tool.userdata, &tv, nullptr);
        return tv.tv_sec * 1'000'000LL + tv.tv_usec;
    }
    int listen() {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(8080);
        address.sin_addr.s_addr = htonl(0xC0A80001);
        const int fd = tool.socket(tool.userdata, AF_INET, SOCK_STREAM, IPPROTO_TCP);
        EXPECT_EQ(tool.bind(tool.userdata, fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(tool.listen(tool.userdata, fd, 8), 0);
        return fd;
    }
    int open() {
        const int listener = listen();
        give("S 0:0(0) win 32792 <mss 1000>");
        expect("S. 0:0(0) ack 1 <mss 1460>");
        give(". 1:1(0) ack 1 win 32792");
        return tool.accept(tool.userdata, listener, nullptr, nullptr);
    }

    packetdrill_interface tool{};
    Flow flow;

private:
    void* handle_ = nullptr;
};

TEST_F(AdapterTest, every_entry_of_the_table_is_set) {
    const auto* entries = reinterpret_cast<void* const*>(&tool);
    for (std::size_t i = 0; i < sizeof tool / sizeof(void*); ++i) {
        EXPECT_NE(entries[i], nullptr) << "entry " << i;
    }
}

TEST_F(AdapterTest, handshake_data_and_close_go_through_the_table) {
    const int fd = open();
    ASSERT_GE(fd, 0);
    char buffer[1000] = "hello";
    EXPECT_EQ(tool.write(tool.userdata, fd, buffer, sizeof buffer), 1000);
    expect("P. 1:1001(1000) ack 1");
    give("P. 1:301(300) ack 1001 win 32792");
    EXPECT_EQ(tool.read(tool.userdata, fd, buffer, sizeof buffer), 300);
    expect(". 1001:1001(0) ack 301");
    tcp_info info{};
    socklen_t length = sizeof info;
    EXPECT_EQ(tool.getsockopt(tool.userdata, fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    EXPECT_EQ(info.tcpi_state, TCP_ESTABLISHED);
    EXPECT_EQ(tool.close(tool.userdata, fd), 0);
    expect("F. 1001:1001(0) ack 301");
}

TEST_F(AdapterTest, an_error_is_in_errno) {
    EXPECT_EQ(tool.connect(tool.userdata, 999, nullptr, 0), -1);
    EXPECT_EQ(errno, EBADF);
}

TEST_F(AdapterTest, time_passes_by_looking_at_it_by_sleeping_and_by_waiting_for_a_packet) {
    const long long start = now();
    EXPECT_EQ(now(), start + 1);
    tool.usleep(tool.userdata, 5'000'000);
    EXPECT_EQ(now(), start + 5'000'002);
    open();
    // An unanswered SYN-ACK of a second connection comes again after a second.
    flow.remote_port = 40002;
    flow.local_offset.reset();
    give("S 0:0(0) win 32792 <mss 1000>");
    const long long first = expect("S. 0:0(0) ack 1 <mss 1460>");
    EXPECT_NEAR(static_cast<double>(expect("S. 0:0(0) ack 1 <mss 1460>") - first), 1e6, 4000);
}

TEST_F(AdapterTest, a_stack_that_has_nothing_more_to_send_says_so) {
    listen();
    char buffer[100];
    std::size_t size = sizeof buffer;
    long long usecs = 0;
    EXPECT_EQ(tool.netdev_receive(tool.userdata, buffer, &size, &usecs), 0);
    EXPECT_EQ(size, 0U);
}

TEST_F(AdapterTest, a_blocked_call_wakes_at_the_time_of_its_packet) {
    const int fd = open();
    long result = 0;
    timeval woken{};
    std::thread reader([&] {
        char buffer[100];
        result = tool.read(tool.userdata, fd, buffer, sizeof buffer);
        tool.gettimeofday(tool.userdata, &woken, nullptr);
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // as the tool, which looks in /proc until the thread sleeps
    tool.usleep(tool.userdata, 300'000);
    const long long sent = now();
    give("P. 1:51(50) ack 1 win 32792");
    tool.usleep(tool.userdata, 300'000);
    reader.join();
    EXPECT_EQ(result, 50);
    EXPECT_EQ(woken.tv_sec * 1'000'000LL + woken.tv_usec, sent);
}

TEST_F(AdapterTest, a_file_of_tunables_is_read_again_when_it_changes) {
    const std::string path = ::testing::TempDir() + "/shunt_packetdrill_tunables";
    tool.free(tool.userdata);
    std::ofstream(path) << "net.ipv4.tcp_sack = 0\n";
    const auto init = reinterpret_cast<decltype(&packetdrill_interface_init)>(::dlsym(::dlopen(SHUNT_ADAPTER, RTLD_NOW | RTLD_LOCAL), "packetdrill_interface_init"));
    init(("tunables=" + path).c_str(), &tool);
    listen();
    give("S 0:0(0) win 32792 <mss 1000,nop,nop,sackOK>");
    expect("S. 0:0(0) ack 1 <mss 1460>");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::ofstream(path) << "net.ipv4.tcp_sack = 1\n";
    flow.remote_port = 40002;
    flow.local_offset.reset();
    give("S 0:0(0) win 32792 <mss 1000,nop,nop,sackOK>");
    expect("S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK>");
    std::remove(path.c_str());
}

}  // namespace
}  // namespace shunt::packetdrill
