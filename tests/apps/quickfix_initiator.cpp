// A FIX 4.4 initiator: logs on, sends ORDERS orders one after another, each when the report of the one before has come, sits
// idle through a heartbeat, logs out. Prints the median time from order to report.
//   quickfix_initiator ADDRESS PORT STORE_FOLDER ORDERS
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "quickfix_session.hpp"

namespace {

using Clock = std::chrono::steady_clock;

class Firm : public QuietApplication {
public:
    void fromAdmin(const FIX::Message& message, const FIX::SessionID&) throw(FIX::FieldNotFound, FIX::IncorrectDataFormat,
                                                                             FIX::IncorrectTagValue, FIX::RejectLogon) override {
        if (message.getHeader().getField(FIX::FIELD::MsgType) == FIX::MsgType_Heartbeat)
            ++heartbeats;
    }

    void onMessage(const FIX44::ExecutionReport& report, const FIX::SessionID&) override {
        FIX::ClOrdID id;
        FIX::OrdStatus status;
        report.get(id);
        report.get(status);
        std::lock_guard<std::mutex> hold(mutex_);
        if (status == FIX::OrdStatus_FILLED)
            reported_ = id.getValue();
        changed_.notify_all();
    }

    // False when no report of this order came within five seconds.
    bool trade(const FIX::SessionID& session, const std::string& id) {
        FIX44::NewOrderSingle order{FIX::ClOrdID(id), FIX::Side(FIX::Side_BUY), FIX::TransactTime(),
                                    FIX::OrdType(FIX::OrdType_LIMIT)};
        order.set(FIX::Symbol("SHNT"));
        order.set(FIX::OrderQty(100));
        order.set(FIX::Price(12.5));
        if (!FIX::Session::sendToTarget(order, session))
            return false;
        std::unique_lock<std::mutex> hold(mutex_);
        return changed_.wait_for(hold, std::chrono::seconds(5), [&] { return reported_ == id; });
    }

    std::atomic<int> heartbeats{0};

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::string reported_;
};

template <typename Condition>
bool wait_until(Condition condition, int seconds) {
    const auto end = Clock::now() + std::chrono::seconds(seconds);
    while (!condition()) {
        if (Clock::now() > end)
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

int fail(const char* what) {
    std::fprintf(stderr, "quickfix_initiator: %s\n", what);
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::fprintf(stderr, "usage: quickfix_initiator ADDRESS PORT STORE_FOLDER ORDERS\n");
        return 2;
    }
    const int orders = std::atoi(argv[4]);
    try {
        FIX::SessionSettings settings = session_settings("FIRM", "EXCHANGE");
        FIX::Dictionary defaults = settings.get();
        defaults.setString("ConnectionType", "initiator");
        defaults.setString("SocketConnectHost", argv[1]);
        defaults.setString("SocketConnectPort", argv[2]);
        settings.set(defaults);
        FIX::FileStoreFactory store(argv[3]);
        Firm firm;
        FIX::SocketInitiator initiator(firm, store, settings);
        const FIX::SessionID session("FIX.4.4", "FIRM", "EXCHANGE");
        initiator.start();
        if (!wait_until([&] { return firm.logons > 0; }, 10))
            return fail("no logon");
        std::vector<double> times;
        for (int i = 0; i < orders; ++i) {
            const auto sent = Clock::now();
            if (!firm.trade(session, "order-" + std::to_string(i)))
                return fail("an order without a report");
            times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - sent).count());
        }
        if (!wait_until([&] { return firm.heartbeats > 0; }, 5))
            return fail("no heartbeat");
        initiator.stop();
        if (firm.logons != 1 || firm.logouts != 1)
            return fail("the session did not log on and out exactly once");
        std::nth_element(times.begin(), times.begin() + orders / 2, times.end());
        std::printf("%d orders, median %.1f us\n", orders, times.empty() ? 0.0 : times[times.size() / 2]);
    } catch (const std::exception& error) {
        return fail(error.what());
    }
    return 0;
}
